"""The command inbox: types, and the stores in memory and in files (`spec/02 §7`)."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from threading import Lock

from abstractruntime.core.copies import copied

from .command_files import JsonFileCommandCursorStore, JsonlCommandStore
from .command_types import (
    CommandAppendResult,
    CommandCursorStore,
    CommandRecord,
    CommandStore,
    checked_command,
    duplicate_of,
    page_size,
)

__all__ = [
    "CommandAppendResult",
    "CommandCursorStore",
    "CommandRecord",
    "CommandStore",
    "InMemoryCommandCursorStore",
    "InMemoryCommandStore",
    "JsonFileCommandCursorStore",
    "JsonlCommandStore",
]


class InMemoryCommandStore:
    """A `CommandStore` that lives as long as the process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._records: list[CommandRecord] = []
        self._last_seq = 0
        self._by_id: dict[str, CommandRecord] = {}

    def append(self, record: CommandRecord) -> CommandAppendResult:
        """See `CommandStore.append`."""
        command = checked_command(record)
        with self._lock:
            first = self._by_id.get(command.command_id)
            if first is not None:
                return duplicate_of(first, command)
            self._last_seq += 1
            kept = replace(command, seq=self._last_seq)
            self._records.append(kept)
            self._by_id[kept.command_id] = kept
        return CommandAppendResult(True, False, kept.seq, kept.command_id)

    def list_after(self, *, after: int, limit: int = 1000) -> tuple[list[CommandRecord], int]:
        """See `CommandStore.list_after`."""
        after = after or 0
        with self._lock:
            start = self._position(after)
            found = self._records[start : start + page_size(limit)]
        copies = [replace(record, payload=copied(record.payload)) for record in found]
        return copies, found[-1].seq if found else after

    def get_last_seq(self) -> int:
        """See `CommandStore.get_last_seq`."""
        with self._lock:
            return self._last_seq

    def delete_through(self, seq: int) -> int:
        """Remove the commands up to and including ``seq``, but never the newest; how many it were. Their ids
        are forgotten."""
        with self._lock:
            end = self._position(min(int(seq), self._last_seq - 1))
            for record in self._records[:end]:
                del self._by_id[record.command_id]
            del self._records[:end]
        return end

    def _position(self, seq: int) -> int:
        return bisect_right(self._records, seq, key=lambda record: record.seq)


class InMemoryCommandCursorStore:
    """A `CommandCursorStore` that lives as long as the process."""

    def __init__(self, initial: int = 0) -> None:
        self._lock = Lock()
        self._cursor = int(initial or 0)

    def load(self) -> int:
        """See `CommandCursorStore.load`."""
        with self._lock:
            return self._cursor

    def save(self, cursor: int) -> None:
        """See `CommandCursorStore.save`."""
        with self._lock:
            self._cursor = int(cursor or 0)
