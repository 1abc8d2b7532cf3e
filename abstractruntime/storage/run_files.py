"""One run as one JSON file (`spec/02 §3.1`, §5.1)."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.models import RunState

from .json_text import decode
from .stored_text import state_lines

__all__ = ["id_in_name", "name_of", "read_run", "run_text"]

logger = logging.getLogger(__name__)

_PREFIX, _SUFFIX = "run_", ".json"

_pretty_ascii = json.JSONEncoder(ensure_ascii=True, indent=2).encode


class _WrongValue(CorruptCheckpointError, ValueError):
    """An unknown enum value, a wait without a reason, bytes that are no UTF-8."""


class _MissingKey(CorruptCheckpointError, KeyError):
    """A key every run has is not there."""


class _WrongShape(CorruptCheckpointError, AttributeError):
    """JSON that is no object."""


# Callers of the reference catch the built-in type (`spec/02 §5.1`), ours the typed error: this is both.
_KINDS: dict[type[Exception], type[CorruptCheckpointError]] = {
    ValueError: _WrongValue,
    KeyError: _MissingKey,
    AttributeError: _WrongShape,
}


def name_of(run_id: str) -> str:
    """The name of the run's file."""
    return f"{_PREFIX}{run_id}{_SUFFIX}"


def id_in_name(name: str) -> str | None:
    """The id a file is named after; ``None`` for files that hold no run."""
    if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
        return name[len(_PREFIX) : -len(_SUFFIX)]
    return None


def run_text(run: RunState) -> bytes:
    """The file's content.

    Raises:
        TypeError, InvalidInputError: the run holds something that has no JSON form.
    """
    text = state_lines(run)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, kept as an escape
        return _pretty_ascii(run.to_dict()).encode()


def read_run(path: Path) -> RunState | None:
    """The run in the file; ``None`` if there is none, or if the file can't be read or holds no JSON (which
    is reported in the log).

    Raises:
        CorruptCheckpointError: the file holds JSON (or bytes) that is no run.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        logger.error("%s can't be read: %s", path, exc)
        return None
    try:
        state = decode(data.decode())
    except json.JSONDecodeError as exc:
        logger.error("%s is no JSON and counts as missing: %s", path, exc)
        return None
    except (UnicodeDecodeError, RecursionError) as exc:
        raise _corrupt(path, exc) from exc
    try:
        return RunState.from_dict(state)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _corrupt(path, exc) from exc


def _corrupt(path: Path, exc: Exception) -> CorruptCheckpointError:
    run_id = id_in_name(path.name)
    kind = next((ours for theirs, ours in _KINDS.items() if isinstance(exc, theirs)), CorruptCheckpointError)
    return kind(
        f"Run '{run_id}' can't be loaded: {path} can't be decoded ({type(exc).__name__}: {exc}). "
        "Restore the file from a backup, or remove it."
    )
