"""What is kept of a request beside its result (`spec/04 §6.11`, §16.18, §16.23)."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any, Literal, get_args

from abstractruntime.core.errors import ConfigurationError
from abstractruntime.core.models import RunState

from ..json_values import json_value
from .payload import as_text
from .run_settings import runtime_of

__all__ = ["Capture", "capture_level", "checked_capture", "with_capture"]

logger = logging.getLogger(__name__)

Capture = Literal["full", "reference", "none"]
"""``full``: verbatim in the result's metadata. ``reference``: stored once, as an artifact by content, and
named by its hash. ``none``: only what the result itself says."""

LEVELS: tuple[str, ...] = get_args(Capture)
SETTING = "llm_capture"

_KEY = "_runtime_observability"
_SPOKEN = ("prompt", "messages", "system_prompt", "tools")


def checked_capture(level: str) -> Capture:
    """The level.

    Raises:
        ConfigurationError: there is none of this name.
    """
    if level not in LEVELS:
        raise ConfigurationError(f"LLM capture level is {level!r}; use 'full', 'reference' or 'none'")
    return level  # type: ignore[return-value]


def capture_level(run: RunState, default: Capture) -> Capture:
    """The run's own level (``vars._runtime.llm_capture``), else the handler's."""
    own = as_text(runtime_of(run).get(SETTING))
    return own if own in LEVELS else default  # type: ignore[return-value]


def with_capture(
    result: dict[str, Any], request: dict[str, Any], level: Capture, run: RunState, store: Any
) -> dict[str, Any]:
    """The result whose ``metadata`` tells how it was asked for.

    Args:
        result: changed in place; has a ``metadata`` object.
        request: what the client was called with, and media as references.
        store: for ``reference``; without one only hashes are kept.
    """
    kept = json_value(request)
    metadata = result["metadata"]
    if level == "full":
        metadata[_KEY] = {"llm_generate_kwargs": kept}
        return result
    metadata.pop("_provider_request", None)
    result.pop("raw_response", None)
    if level == "reference":
        spoken = {name: kept.pop(name) for name in _SPOKEN}
        metadata[_KEY] = {"llm_generate_kwargs": kept, "request": _reference(spoken, run, store)}
    return result


def _reference(spoken: dict[str, Any], run: RunState, store: Any) -> dict[str, Any]:
    content = json.dumps(spoken, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    reference: dict[str, Any] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
    }
    if store is None:
        return reference
    tags = {"kind": "llm_request"}
    try:
        stored = store.store(content, content_type="application/json", run_id=run.run_id, tags=tags)
    except Exception:  # the call has been made; its result must not get lost with the copy of its request
        logger.warning("request of run %s could not be stored", run.run_id, exc_info=True)
        return reference
    return {**reference, "$artifact": stored.artifact_id}
