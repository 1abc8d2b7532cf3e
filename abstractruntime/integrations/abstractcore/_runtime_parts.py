"""What the factories put together beside the client and the handlers (`spec/04 §2`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.storage.artifact_files import FileArtifactStore
from abstractruntime.storage.artifact_memory import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.jsonl_ledger import JsonlLedgerStore
from abstractruntime.storage.observable import ObservableLedgerStore, ObservableLedgerStoreProtocol

__all__ = ["Stores", "file_stores", "local_config", "set_timeout", "stores_or_memory"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a runtime keeps runs, ledger and artifacts; the ledger can be subscribed to."""

    run: Any
    ledger: Any
    artifacts: Any


def stores_or_memory(run_store: Any, ledger_store: Any, artifact_store: Any) -> Stores:
    """Those given, and memory for each that is not (the published package drops one given alone)."""
    ledger = InMemoryLedgerStore() if ledger_store is None else ledger_store
    return Stores(
        run=InMemoryRunStore() if run_store is None else run_store,
        ledger=ledger if isinstance(ledger, ObservableLedgerStoreProtocol) else ObservableLedgerStore(ledger),
        artifacts=InMemoryArtifactStore() if artifact_store is None else artifact_store,
    )


def file_stores(base_dir: str | Path) -> dict[str, Any]:
    """The three file stores in this folder, which is made; as keywords of `stores_or_memory`."""
    base = Path(base_dir)
    base.mkdir(parents=True, exist_ok=True)
    return {
        "run_store": JsonFileRunStore(base),
        "ledger_store": JsonlLedgerStore(base),
        "artifact_store": FileArtifactStore(base),
    }


def local_config(
    config: RuntimeConfig | None, *, provider: str, model: str, capabilities: Mapping[str, Any] | None
) -> RuntimeConfig:
    """The caller's configuration with the model's capabilities; without one, one made of them."""
    if config is not None:
        return config.with_capabilities(capabilities)
    return RuntimeConfig(
        provider=str(provider or "").strip() or None,
        model=str(model or "").strip() or None,
        model_capabilities=dict(capabilities or {}),
    )


def set_timeout(executor: Any, timeout_s: float) -> None:
    """Tell an executor that can be told. A timeout it refuses is logged: it keeps its own."""
    tell = None
    with suppress(AttributeError):
        tell = executor.set_timeout_s
    if not callable(tell):
        return
    try:
        tell(timeout_s)
    except Exception:
        logger.warning("%s refused a timeout of %s s", type(executor).__name__, timeout_s, exc_info=True)
