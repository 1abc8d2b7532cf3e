"""Commands from outside to runs, and the places they are kept in (`spec/02 §7`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from math import isfinite
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.times import to_iso

__all__ = [
    "CommandAppendResult",
    "CommandCursorStore",
    "CommandRecord",
    "CommandStore",
    "checked_command",
    "duplicate_of",
    "now_text",
    "page_size",
]


@dataclass(frozen=True)
class CommandRecord:
    """One command.

    Attributes:
        command_id: names it for its sender: a second command with the same id is a duplicate.
        run_id, type, payload: what is asked of which run; the payload is JSON-like.
        ts: ISO time of sending.
        client_id: who sent it.
        seq: its place among all commands, from 1; given by the store.
    """

    command_id: str
    run_id: str
    type: str
    payload: dict[str, Any]
    ts: str
    client_id: str | None = None
    seq: int = 0

    def to_json(self) -> dict[str, Any]:
        """All seven fields in stored order."""
        return {
            "command_id": self.command_id,
            "run_id": self.run_id,
            "type": self.type,
            "payload": self.payload,
            "ts": self.ts,
            "client_id": self.client_id,
            "seq": self.seq,
        }


@dataclass(frozen=True)
class CommandAppendResult:
    """What became of an appended command: exactly one of ``accepted`` and ``duplicate`` is true.

    Attributes:
        seq: its place; that of the first one for a duplicate.
        command_id: the id it is stored under, also when the store made it up. Not compared.
        conflict: a duplicate that says something else (run, type or payload) than the first. Not compared.
    """

    accepted: bool
    duplicate: bool
    seq: int
    command_id: str | None = field(default=None, compare=False)
    conflict: bool = field(default=False, compare=False)


@runtime_checkable
class CommandStore(Protocol):
    """An inbox of commands, in the order of acceptance."""

    def append(self, record: CommandRecord) -> CommandAppendResult:
        """Store the command unless its id is known. A blank id is replaced by a fresh one, a blank ``ts`` by
        the time.

        Raises:
            InvalidInputError: (a ``ValueError``) blank run id or type, or a payload that is not JSON.
        """
        ...

    def list_after(self, *, after: int, limit: int = 1000) -> tuple[list[CommandRecord], int]:
        """Commands with a seq beyond ``after``, ascending, at most ``limit`` (0 and ``None`` mean 1000,
        negatives 1), and the last seq returned (``after`` if there was none)."""
        ...

    def get_last_seq(self) -> int:
        """The greatest seq given so far; 0 when there is none."""
        ...


@runtime_checkable
class CommandCursorStore(Protocol):
    """How far a consumer has read."""

    def load(self) -> int:
        """The saved position; 0 when nothing was saved."""
        ...

    def save(self, cursor: int) -> None:
        """Keep the position, also a smaller one."""
        ...


def now_text() -> str:
    """The time as it is stored."""
    return to_iso(datetime.now(timezone.utc))


def page_size(limit: int | None) -> int:
    """How many commands one page may hold."""
    return max(1, limit or 1000)


def checked_command(record: CommandRecord) -> CommandRecord:
    """The command as every store keeps it, sharing nothing with the caller's; without a seq.

    Raises:
        InvalidInputError: blank run id or type, or a payload that is not JSON.
    """
    for name in ("run_id", "type"):
        if not str(getattr(record, name) or "").strip():
            raise InvalidInputError(f"CommandRecord.{name} must be non-empty")
    try:
        payload = _plain(dict(record.payload or {}))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInputError("CommandRecord.payload must be a JSON-serializable dict") from exc
    return CommandRecord(
        command_id=str(record.command_id or "").strip() or uuid4().hex,
        run_id=str(record.run_id).strip(),
        type=str(record.type).strip(),
        payload=payload,
        ts=str(record.ts or "").strip() or now_text(),
        client_id=record.client_id if isinstance(record.client_id, str) and record.client_id else None,
    )


def duplicate_of(first: CommandRecord, again: CommandRecord) -> CommandAppendResult:
    """What the sender of a known id is told."""
    conflict = replace(again, ts=first.ts, client_id=first.client_id, seq=first.seq) != first
    return CommandAppendResult(False, True, first.seq, first.command_id, conflict)


def _plain(value: Any) -> Any:
    """A copy of what JSON gives back equal; anything else (tuples, other keys, NaN) is refused.

    Subclasses of text and numbers, such as members of an enum, become what they are for JSON.
    """
    kind = type(value)
    if value is None or kind in (str, int, bool) or (kind is float and isfinite(value)):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int.__int__(value)  # not what the subclass makes of it
    if isinstance(value, float) and isfinite(value):
        return float.__float__(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _text(value: str) -> str:
    return value if type(value) is str else str.__str__(value)
