"""Journals as files of JSON lines (`spec/02 §5.2`)."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from json import JSONDecodeError
from pathlib import Path
from threading import RLock
from typing import Any

from abstractruntime.core.models import StepRecord

from .base import LedgerStore, RecordDicts
from .checkpoints import PriorResult
from .file_names import checked_id, is_file_id
from .json_text import decode
from .ledger_lines import LedgerLines
from .ledger_metrics import Metrics, add_completed, wanted_ids
from .line_files import LineFile, lines_of, object_of, reading, writing
from .replaced_files import make_private_dir
from .shared_locks import STORES_LOCK, shared_lock
from .stored_text import record_text

__all__ = ["JsonlLedgerStore"]

logger = logging.getLogger(__name__)

Lines = list[bytes]

MAX_INDEXED_RUNS = 256
"""Runs whose record positions are kept in memory; those of others are read again when they are needed."""


class JsonlLedgerStore(LedgerStore):
    """One file ``ledger_<run_id>.jsonl`` per run, one record per line, shared by threads and processes.

    Args:
        base_dir: made (with parents) if it is missing; ``~`` is not expanded.
        fsync: True makes every record survive a power cut, at the cost of a disk flush each. By default a
            record survives the death of the process.
    """

    def __init__(self, base_dir: str | Path, *, fsync: bool = False) -> None:
        base_dir = Path(base_dir)
        self._fsync = fsync
        make_private_dir(base_dir)
        self._prefix = os.path.join(base_dir, "ledger_")  # text: a step does without `Path`
        self._alone = shared_lock(base_dir / STORES_LOCK)
        self._guard = RLock()
        self._indexes: OrderedDict[str, LedgerLines] = OrderedDict()

    def append(self, record: StepRecord) -> None:
        """Append the record as it is now, in one write under the file's lock.

        Raises:
            InvalidInputError: the run id can't be part of a file name, or the record contains itself.
            TypeError: the record holds something that has no JSON form.
        """
        checked_id(record.run_id, "StepRecord.run_id", may_be_empty=True)
        line = record_text(record).encode() + b"\n"
        with writing(self._path(record.run_id)) as file:
            start = file.append(line, fsync=self._fsync)
        with self._guard:
            index = self._indexes.get(record.run_id)
            if index is not None:
                index.follow(file, start, record)

    def appending(self, run_id: str) -> AbstractContextManager[None]:
        """Nobody else who asks for this appends meanwhile, in any thread or process. One lock for the whole
        directory: a record may make somebody in this thread append to another run."""
        return self._alone.held()

    def list(self, run_id: str) -> RecordDicts:
        """The run's records in append order. What a writer that died left at the end is no record: it is left
        out and reported in the log.

        Raises:
            json.JSONDecodeError: a whole line is malformed.
        """
        return [_strictly(self._path(run_id), *found) for found in enumerate(self._all_lines(run_id), 1)]

    def count(self, run_id: str) -> int:
        """Number of the run's records."""
        with self._guard:
            return len(self._index(run_id).starts)

    def count_many(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Number of records by run; unknown runs are left out."""
        counts = {run_id: self.count(run_id) for run_id in wanted_ids(run_ids)}
        return {run_id: count for run_id, count in counts.items() if count}

    def metrics_many(self, run_ids: Iterable[str]) -> dict[str, Metrics]:
        """``steps, llm_calls, tool_calls, tokens_total`` by run with at least one completed record."""
        metrics: dict[str, Metrics] = {}
        for run_id in wanted_ids(run_ids):
            for record in self._readable(run_id, self._all_lines(run_id)):
                if record.get("status") == "completed":
                    add_completed(metrics, run_id, record)
        return metrics

    def list_after(self, *, run_id: str, after: int, limit: int = 1000) -> tuple[RecordDicts, int]:
        """Records with a position (from 1) beyond ``after``, at most ``limit`` (0 and ``None`` mean 1000,
        negatives 1), and the last position read (``after`` if there was none)."""
        first = max(0, after)
        lines = self._between(run_id, first, first + max(1, limit or 1000))
        return self._readable(run_id, lines), first + len(lines) if lines else after

    def last(self, run_id: str) -> dict[str, Any] | None:
        """The run's newest record, or ``None``. Only the end of the file is read."""
        if not is_file_id(run_id):
            return None
        with reading(self._path(run_id)) as file:
            line = b"" if file is None else file.last_line()
        return next(iter(self._readable(run_id, [line] if line else [])), None)

    def find_completed(self, run_id: str, key: str) -> PriorResult | None:
        """The result of the first COMPLETED record with this idempotency key. Cost does not grow with the
        ledger."""
        with self._guard:
            place = self._index(run_id).completed.get(key)
        if place is None:
            return None
        found = self._readable(run_id, self._between(run_id, place, place + 1))
        return PriorResult(found[0].get("result")) if found else None

    def delete(self, run_id: str) -> bool:
        """Remove the run's journal; whether there was one."""
        path = self._path(run_id)
        if not is_file_id(run_id) or not os.path.exists(path):
            return False
        with writing(path), suppress(FileNotFoundError):  # not in the middle of somebody's append
            os.unlink(path)
        with self._guard:
            self._indexes.pop(run_id, None)
        return True

    # --- lines --------------------------------------------------------------------------------------

    def _path(self, run_id: str) -> str:
        return f"{self._prefix}{run_id}.jsonl"

    def _all_lines(self, run_id: str) -> Lines:
        if not is_file_id(run_id):
            return []
        with reading(self._path(run_id)) as file:
            if file is None:
                return []
            if file.is_torn:
                logger.warning("%s ends with a part of a record, left out", self._path(run_id))
            return [line for _, line in lines_of(file.read(0, file.end))]

    def _between(self, run_id: str, first: int, last: int) -> Lines:
        """The lines of these records."""
        with self._guard:
            data = self._lines(run_id, (first, last))[1]
        return [line for _, line in lines_of(data)]

    def _index(self, run_id: str) -> LedgerLines:
        """Where the run's records are, as of now. The file is not opened if nobody has appended to it."""
        known = self._indexes.get(run_id)
        if known is not None and known.is_all_of(self._path(run_id)):
            self._indexes.move_to_end(run_id)
            return known
        return self._lines(run_id)[0]

    def _lines(self, run_id: str, wanted: tuple[int, int] | None = None) -> tuple[LedgerLines, bytes]:
        """Where the run's records are, as of now, and the bytes of those ``wanted``."""
        if not is_file_id(run_id):
            return LedgerLines(), b""
        with reading(self._path(run_id)) as file:
            if file is None:
                self._indexes.pop(run_id, None)
                return LedgerLines(), b""
            index = self._indexed(run_id, file)
            if wanted is None:
                return index, b""
            return index, file.read(*index.span(*wanted))

    def _indexed(self, run_id: str, file: LineFile) -> LedgerLines:
        index = self._indexes.setdefault(run_id, LedgerLines())
        self._indexes.move_to_end(run_id)
        if len(self._indexes) > MAX_INDEXED_RUNS:
            self._indexes.popitem(last=False)
        index.catch_up(file)
        return index

    def _readable(self, run_id: str, lines: Iterable[bytes]) -> RecordDicts:
        """One damaged line must not hide the others; it is reported, and `list` raises."""
        records: RecordDicts = []
        for line in lines:
            record = object_of(line)
            if record is None:
                logger.warning("%s: a damaged record is left out", self._path(run_id))
            else:
                records.append(record)
        return records


def _strictly(path: str, number: int, line: bytes) -> dict[str, Any]:
    text = line.decode(errors="replace")
    try:
        record = decode(line)
    except JSONDecodeError as exc:
        raise JSONDecodeError(f"{path}, line {number}: {exc.msg}", exc.doc, exc.pos) from exc
    except UnicodeDecodeError as exc:
        raise JSONDecodeError(f"{path}, line {number}: not UTF-8", text, exc.start) from exc
    if not isinstance(record, dict):
        raise JSONDecodeError(f"{path}, line {number}: not an object", text, 0)
    return record
