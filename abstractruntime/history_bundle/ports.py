"""What a bundle asks of the stores; everything else is used where a store has it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState

from .errors import HistoryBundleError, HistoryRunNotFoundError

__all__ = ["ArtifactPort", "LedgerPort", "RunPort", "best_effort", "load_run", "required_id"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class RunPort(Protocol):
    """A run store (`spec/02 §2.1`); ``list_children``, ``list_runs``, ``list_run_index`` are optional."""

    def save(self, run: RunState) -> None: ...

    def load(self, run_id: str) -> RunState | None: ...


class LedgerPort(Protocol):
    """A ledger store (`spec/02 §2.2`); ``count`` and ``list_after`` are optional and spare full reads."""

    def list(self, run_id: str) -> list[dict[str, Any]]: ...


class ArtifactPort(Protocol):
    """An artifact store (`spec/02 §10.4`)."""

    def store_json(
        self, data: Any, *, run_id: str | None = None, tags: dict[str, str] | None = None
    ) -> Any: ...

    def store_text(
        self, text: str, *, run_id: str | None = None, tags: dict[str, str] | None = None
    ) -> Any: ...


def required_id(value: object, name: str) -> str:
    """``value`` stripped.

    Raises:
        InvalidInputError: (a ``ValueError``) it is no text, or blank.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise InvalidInputError(f"{name} is required")
    return text


def load_run(run_store: RunPort, run_id: str) -> RunState:
    """The stored run.

    Raises:
        HistoryRunNotFoundError: (a ``KeyError``) there is none.
        HistoryBundleError: (a ``RuntimeError``) the store failed.
    """
    try:
        run = run_store.load(run_id)
    except Exception as exc:
        raise HistoryBundleError(f"Failed to load run '{run_id}': {exc}") from exc
    if run is None:
        raise HistoryRunNotFoundError(run_id)
    return run


def best_effort(what: str, read: Callable[[], _T], otherwise: _T) -> _T:
    """What ``read`` gives, or ``otherwise`` when it fails: one unreadable part must not cost the rest of a
    history (`spec/01 §16.3`). The failure is logged."""
    try:
        return read()
    except Exception:
        logger.warning("history bundle: %s could not be read and is left out", what, exc_info=True)
        return otherwise
