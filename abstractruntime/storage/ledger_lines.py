"""Where the records of one ledger file are, so that questions cost the same however long it is."""

from __future__ import annotations

import os
from array import array

from abstractruntime.core.members import STEP_COMPLETED
from abstractruntime.core.models import StepRecord

from .line_files import LineFile, lines_of, object_of

__all__ = ["LedgerLines"]


class LedgerLines:
    """Positions of one run's records, and the first completed one by idempotency key.

    Attributes:
        starts: where in the file each record begins.
        end: how far the file has been read.
        completed: index into ``starts`` by idempotency key.
    """

    __slots__ = ("_identity", "completed", "end", "starts")

    def __init__(self) -> None:
        self._identity: tuple[int, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self.starts = array("Q")
        self.end = 0
        self.completed: dict[str, int] = {}

    def catch_up(self, file: LineFile) -> None:
        """Take in what was appended, by whomever, since the last time."""
        if file.identity != self._identity or file.end < self.end:
            self._forget()
            self._identity = file.identity
        if file.end == self.end:
            return
        for start, line in lines_of(file.read(self.end, file.end), self.end):
            # Only these can matter here; decoding a record costs far more than looking for the word.
            record = (object_of(line) if b'"completed"' in line else None) or {}
            is_completed = record.get("status") == "completed"
            self._add(start, record.get("idempotency_key") if is_completed else None)
        self.end = file.end

    def follow(self, file: LineFile, start: int, record: StepRecord) -> None:
        """Take in a record that was appended to the file at ``start``, if all before it is known."""
        if file.identity == self._identity and start == self.end:
            self._add(start, record.idempotency_key if record.status is STEP_COMPLETED else None)
            self.end = file.end

    def is_all_of(self, path: str) -> bool:
        """Whether nothing was appended to the file of this name since the last time."""
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity and status.st_size == self.end

    def _add(self, start: int, completed_key: object) -> None:
        if isinstance(completed_key, str):
            self.completed.setdefault(completed_key, len(self.starts))
        self.starts.append(start)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Where in the file the records ``first`` up to ``last`` (not included) are."""
        if first >= len(self.starts):
            return self.end, self.end
        return self.starts[first], self.starts[last] if last < len(self.starts) else self.end
