"""Removing commands that everybody has read and that are old."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, runtime_checkable

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.times import parse_time
from abstractruntime.storage.command_types import CommandCursorStore, CommandRecord

__all__ = ["PurgeableCommandStore", "read_by_all", "remove_commands"]

_AT_ONCE = 1000


@runtime_checkable
class PurgeableCommandStore(Protocol):
    """A command store from which old commands can be removed."""

    def list_after(self, *, after: int, limit: int = 1000) -> tuple[list[CommandRecord], int]:
        """See `CommandStore.list_after`."""
        ...

    def get_last_seq(self) -> int:
        """See `CommandStore.get_last_seq`."""
        ...

    def delete_through(self, seq: int) -> int:
        """Remove the commands up to and including ``seq``, but never the newest; how many it were."""
        ...


def read_by_all(commands: object, cursors: Iterable[CommandCursorStore]) -> int:
    """The position up to which every consumer has read; 0 if none ever has.

    Raises:
        InvalidInputError: nobody can say who reads these commands.
    """
    positions = [cursor.load() for cursor in cursors]
    slowest = getattr(commands, "slowest_cursor", None)
    if slowest is not None:
        known = slowest()
        positions += [] if known is None else [int(known)]
    elif not positions:
        raise InvalidInputError(
            "The policy lets commands go that have been read, but nobody says how far: pass the consumers' "
            "command_cursors"
        )
    return min(positions, default=0)


def remove_commands(
    commands: PurgeableCommandStore, *, up_to: int, sent_before: datetime, dry_run: bool
) -> int:
    """Remove the oldest commands, up to the first that is too young or not read; how many (or would be)."""
    # The newest one stays: positions count on from it.
    up_to = min(up_to, commands.get_last_seq() - 1)
    removed = after = 0
    while True:
        page, _ = commands.list_after(after=after, limit=_AT_ONCE)
        due: list[CommandRecord] = []
        for command in page:
            if command.seq > up_to or not _is_old(command, sent_before):
                break
            due.append(command)
        if due:
            after = due[-1].seq
            removed += len(due) if dry_run else commands.delete_through(after)
        if len(due) < _AT_ONCE:
            return removed


def _is_old(command: CommandRecord, sent_before: datetime) -> bool:
    try:
        return parse_time(command.ts) < sent_before
    except InvalidInputError:  # the sender's own text; as old as the ones before it
        return True
