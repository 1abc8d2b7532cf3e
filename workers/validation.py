"""What comes in at a door is looked at once, here: ids, JSON values, sizes (`DESIGN §6`).

Each complaint says which part is wrong and what is accepted; nothing has been written then.
"""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

from abstractruntime.core.control import is_paused
from abstractruntime.core.errors import InvalidInputError, PayloadTooLargeError, WaitMismatchError
from abstractruntime.core.evidence import is_tool_wait
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.resume import check_resumable

__all__ = ["MAX_ID_LENGTH", "MAX_KEY_LENGTH", "check_answerable", "check_text", "check_waiting", "json_copy"]

MAX_ID_LENGTH = 200
MAX_KEY_LENGTH = 600
_MAX_DEPTH = 500
_UNUSABLE = ("Cc", "Cs")


def check_text(value: object, what: str, *, longest: int = MAX_ID_LENGTH) -> str:
    """``value`` as an id or key: text of 1 to ``longest`` characters without control characters.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{what} must be text, got {type(value).__name__}")
    if not value.strip():
        raise InvalidInputError(f"{what} must not be empty")
    if len(value) > longest:
        raise InvalidInputError(
            f"{what} has {len(value)} characters, at most {longest} are possible: {value[:40]!r}..."
        )
    if any(unicodedata.category(char) in _UNUSABLE for char in value):
        raise InvalidInputError(f"{what} must not hold control characters or broken text: {value!r}")
    return value


def json_copy(value: Any, what: str, *, max_bytes: int) -> Any:
    """A deep copy of a JSON value, as it will come back from the store.

    Args:
        what: names the value in errors, e.g. ``vars``.
        max_bytes: largest size of its UTF-8 JSON text.

    Raises:
        InvalidInputError: something in it has no JSON form; the message has the path.
        PayloadTooLargeError: it is larger than ``max_bytes``.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        complaint = _first_fault(value, what)
        raise InvalidInputError(complaint or f"{what} can't be written as JSON: {exc}") from exc
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise PayloadTooLargeError(
            f"{what} is {size} bytes of JSON, at most {max_bytes} are accepted "
            "(ABSTRACTRUNTIME_MAX_PAYLOAD_BYTES). Store large data elsewhere and pass a reference."
        )
    copy = json.loads(text)
    # JSON turns keys that are numbers into text without a word: only a copy that differs needs the walk.
    if copy != value:
        complaint = _first_fault(value, what)
        if complaint is not None:
            raise InvalidInputError(complaint)
    return copy


def _first_fault(root: object, name: str) -> str | None:
    """Path and kind of the first part without a JSON form, in reading order."""
    todo: list[tuple[object, str, int]] = [(root, name, 0)]
    while todo:
        value, path, depth = todo.pop()
        if depth > _MAX_DEPTH:
            return f"{path[:80]}... is nested deeper than {_MAX_DEPTH} levels, or contains itself"
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    return f"{path} has the key {key!r} of type {type(key).__name__}; keys must be text"
            todo += [(item, f"{path}.{key}", depth + 1) for key, item in reversed(value.items())]
        elif isinstance(value, (list, tuple)):
            items = [(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
            todo += reversed(items)
        elif isinstance(value, float) and not math.isfinite(value):
            return f"{path} is {value}, which JSON has no form for; use null or text instead"
        elif value is not None and not isinstance(value, (str, bool, int, float)):
            return (
                f"{path} is a {type(value).__name__}, which JSON has no form for; "
                "use dict, list, str, int, float, bool or None"
            )
    return None


def check_waiting(run: RunState, wait_key: str | None) -> None:
    """Whether a signal may resume the run; ``None`` matches any key.

    Raises:
        WaitMismatchError: it has ended, is paused, runs, or waits for another key.
    """
    if is_paused(run):
        raise WaitMismatchError(f"Run is paused: '{run.run_id}'; unpause it first")
    if run.status is not RunStatus.WAITING or run.waiting is None:
        raise WaitMismatchError(f"Run '{run.run_id}' is not waiting (status={run.status.value})")
    check_resumable(run, wait_key)


def check_answerable(run: RunState) -> None:
    """Whether the run waits for a person's answer, or for somebody to carry out or approve its tool calls.

    Raises:
        WaitMismatchError: it does not.
    """
    check_waiting(run, None)
    waiting = run.waiting
    if waiting is not None and waiting.reason is not WaitReason.USER and not is_tool_wait(waiting):
        raise WaitMismatchError(
            f"Run '{run.run_id}' waits for {waiting.reason.value} '{waiting.wait_key}', "
            "not for a person; use resume() or emit_event()"
        )
