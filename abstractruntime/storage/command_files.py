"""The command inbox as a file of JSON lines, a consumer's position as a small file (`spec/02 §7.4`)."""

from __future__ import annotations

import json
import logging
import os
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path
from threading import RLock

from .command_types import (
    CommandAppendResult,
    CommandRecord,
    checked_command,
    duplicate_of,
    now_text,
    page_size,
)
from .json_text import encode
from .line_files import LineFile, lines_of, object_of, reading, writing
from .replaced_files import make_private_dir, put_in_place, replacement

__all__ = ["JsonFileCommandCursorStore", "JsonlCommandStore"]

logger = logging.getLogger(__name__)

_HEAD = 128
"""So many bytes of the first command tell it from every other: they hold its id."""


class JsonlCommandStore:
    """A `CommandStore` in one file, shared by threads and processes.

    Every call takes in what others have appended since; what was read once is not read again. A part of a
    record that a dead writer left at the end is cut off before the next one is written.

    Args:
        base_dir: made (with parents) if it is missing.
        filename: of the file in it.
        fsync: True makes every accepted command survive a power cut, at the cost of a disk flush each.
    """

    def __init__(
        self, base_dir: str | Path, *, filename: str = "commands.jsonl", fsync: bool = False
    ) -> None:
        make_private_dir(Path(base_dir))
        self._path = Path(base_dir) / filename
        self._fsync = fsync
        self._guard = RLock()
        self._forget()
        self.get_last_seq()

    def _forget(self) -> None:
        self._identity: tuple[int, int] | None = None
        self._head = b""
        self._end = 0
        self._seqs: list[int] = []
        self._spans: list[tuple[int, int]] = []  # where each command of ``_seqs`` is in the file
        self._by_id: dict[str, tuple[int, tuple[int, int]]] = {}

    def append(self, record: CommandRecord) -> CommandAppendResult:
        """See `CommandStore.append`."""
        command = checked_command(record)
        with self._guard, writing(self._path) as file:
            self._catch_up(file)
            known = self._by_id.get(command.command_id)
            if known is not None:
                seq, span = known
                first = _command_of(file.read(*span))
                return duplicate_of(first or replace(command, seq=seq), command)
            kept = replace(command, seq=self._last_seq() + 1)
            line = encode(kept.to_json(), f"command '{kept.command_id}'").encode() + b"\n"
            file.append(line, fsync=self._fsync)
        return CommandAppendResult(True, False, kept.seq, kept.command_id)

    def list_after(self, *, after: int, limit: int = 1000) -> tuple[list[CommandRecord], int]:
        """See `CommandStore.list_after`. A file that can't be read (the log tells) has nothing new (`spec/02
        §7.4`): the next poll tries again."""
        after = after or 0
        try:
            return self._page(after, page_size(limit))
        except OSError as exc:
            logger.error("%s can't be read, so no commands are listed: %s", self._path, exc)
            return [], after

    def _page(self, after: int, size: int) -> tuple[list[CommandRecord], int]:
        with self._guard, reading(self._path) as file:
            if file is None:
                self._forget()
                return [], after
            self._catch_up(file)
            start = bisect_right(self._seqs, after)
            end = min(start + size, len(self._seqs))
            # Files written by several old writers may hold a seq twice; a page must not end between them.
            while start < end < len(self._seqs) and self._seqs[end] == self._seqs[end - 1]:
                end += 1
            found = [_command_of(file.read(*span)) for span in self._spans[start:end]]
        commands = [command for command in found if command is not None]
        return commands, self._seqs[end - 1] if end > start else after

    def get_last_seq(self) -> int:
        """See `CommandStore.get_last_seq`."""
        with self._guard, reading(self._path) as file:
            if file is None:
                self._forget()
            else:
                self._catch_up(file)
            return self._last_seq()

    def delete_through(self, seq: int) -> int:
        """Remove the commands up to and including ``seq``, but never the newest; how many it were.

        Pass what every consumer has read. The ids of removed commands are forgotten: one that is sent again
        is accepted again. The file is written anew, so do this now and then, not after each command.
        """
        with self._guard:
            if not self._path.exists():
                return 0
            with writing(self._path) as file:
                self._catch_up(file)
                start = bisect_right(self._seqs, min(int(seq), self._last_seq() - 1))
                if start:
                    kept = b"".join(file.read(*span) + b"\n" for span in self._spans[start:])
                    # Last under the lock: from here on the name is another file's, with another lock.
                    with replacement(self._path, kept, fsync=self._fsync) as temporary:
                        put_in_place(temporary, self._path, fsync=self._fsync)
                    self._forget()
        return start

    def _last_seq(self) -> int:
        return self._seqs[-1] if self._seqs else 0

    def _catch_up(self, file: LineFile) -> None:
        # A file that lost its oldest commands is a new one, which may have got the old one's inode number.
        is_other = file.identity != self._identity or file.end < self._end
        if is_other or file.read(0, len(self._head)) != self._head:
            self._forget()
            self._identity = file.identity
        if file.end == self._end:
            return
        for start, line in lines_of(file.read(self._end, file.end), self._end):
            command = _command_of(line)
            if command is None:
                logger.warning("%s: the line at byte %d is no command and is left out", self._path, start)
            else:
                self._add(command, (start, start + len(line)))
        self._end = file.end
        self._head = file.read(0, min(_HEAD, file.end))

    def _add(self, command: CommandRecord, span: tuple[int, int]) -> None:
        place = bisect_right(self._seqs, command.seq)
        self._seqs.insert(place, command.seq)
        self._spans.insert(place, span)
        if command.command_id:
            self._by_id.setdefault(command.command_id, (command.seq, span))


def _command_of(line: bytes) -> CommandRecord | None:
    """The command on a line; ``None`` if there is none with a positive seq."""
    entry = object_of(line)
    if entry is None:
        return None
    seq, payload, client_id = entry.get("seq"), entry.get("payload"), entry.get("client_id")
    if type(seq) is not int or seq < 1:
        return None
    return CommandRecord(
        command_id=str(entry.get("command_id") or ""),
        run_id=str(entry.get("run_id") or ""),
        type=str(entry.get("type") or ""),
        payload=payload if isinstance(payload, dict) else {},
        ts=str(entry.get("ts") or ""),
        client_id=client_id if isinstance(client_id, str) and client_id else None,
        seq=seq,
    )


class JsonFileCommandCursorStore:
    """A `CommandCursorStore` in a file of its own, replaced at once by every save.

    Args:
        path: of the file; its directory is made (with parents) if it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        make_private_dir(self._path.parent)

    def load(self) -> int:
        """The saved position; 0 when there is none, or when the file does not hold one (the log tells)."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        entry = object_of(data)
        cursor = None if entry is None else entry.get("cursor")
        try:
            if isinstance(cursor, (int, float, str)):
                return int(cursor)
        except (ValueError, OverflowError):
            pass
        logger.warning("%s holds no position; starting from 0", self._path)
        return 0

    def save(self, cursor: int) -> None:
        """See `CommandCursorStore.save`."""
        text = json.dumps({"cursor": int(cursor or 0), "updated_at": now_text()}, indent=2)
        with replacement(self._path, text.encode()) as temporary:
            os.replace(temporary, self._path)
