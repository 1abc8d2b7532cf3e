"""Tamper-evident ledgers: each record carries the hash of the one before it (`spec/02 §8.1`).

The chain shows edits and removals, not who made them. It can't show on its own that the newest records were
cut off: export `HashChainedLedgerStore.head` to a place of trust and verify against it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import StepRecord
from abstractruntime.core.per_object import PerObject

from .base import LedgerStore, RecordDicts
from .forwarding import LedgerDecorator, stores_inside

__all__ = ["HashChainedLedgerStore", "compute_record_hash", "verify_ledger_chain"]

_HEADS_KEPT = 1024
_UNHASHED = ("record_hash", "signature")


def compute_record_hash(*, record: dict[str, Any], prev_hash: str | None) -> str:
    """SHA-256 (64 lowercase hex digits) over the canonical JSON of all keys of ``record``.

    ``record_hash`` and ``signature`` are left out, ``prev_hash`` is the argument (``None`` for the first
    record of a run), whatever the record says.

    Raises:
        TypeError: a value has no JSON form, or the keys of one object have several types.
    """
    hashed = {key: value for key, value in record.items() if key not in _UNHASHED}
    hashed["prev_hash"] = prev_hash
    # Through JSON first: integer keys sort as numbers before the trip and as text after it, and the hash
    # must be the same for the record in memory and the one read back.
    stored = json.loads(json.dumps(hashed, sort_keys=True, default=_enum_value))
    text = json.dumps(stored, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # Broken text from outside (lone surrogates) can be stored, so it must have a hash as well.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _enum_value(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


class _Heads:
    """The heads of the chains of a ledger that can't say what is last and exclude others, and a lock; shared
    by all decorators around the ledger."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.known: OrderedDict[str, tuple[str | None, int]] = OrderedDict()

    def remember(self, run_id: str, head: str | None, count: int) -> None:
        self.known[run_id] = (head, count)
        self.known.move_to_end(run_id)
        while len(self.known) > _HEADS_KEPT:
            self.known.popitem(last=False)


_heads: PerObject[_Heads] = PerObject()


def _heads_of(inner: LedgerStore) -> _Heads:
    """Those of the innermost store; the decorator's own where that store has no weak references."""
    domain = getattr(inner, "lock_domain", None) or list(stores_inside(inner))[-1]
    return _heads.of(domain, _Heads)


class HashChainedLedgerStore(LedgerDecorator):
    """A ledger whose records form one hash chain per run.

    Threads, processes and several objects around one ledger extend the same chain (`spec/02 §15.3`, S-5), if
    the ledger offers, as the SQL and JSONL stores do, ``last(run_id)`` and ``appending(run_id)``: a context
    in which nobody else who asks for it appends to the run; its holder may enter it again. Around a ledger
    without them this holds within one process, and where its class has ``__slots__`` without
    ``__weakref__``, within one decorator.

    Args:
        inner: where the records go. Offloading belongs outside, ``Offloading(HashChained(store))``: a chain
            around it would hash values that the ledger does not hold.

    Raises:
        InvalidInputError: ``inner`` offloads.
    """

    def __init__(self, inner: LedgerStore) -> None:
        if any(getattr(store, "replaces_values", False) is True for store in stores_inside(inner)):
            raise InvalidInputError(
                "HashChainedLedgerStore around an offloading ledger never verifies: the hash would cover "
                "values the ledger does not hold. Nest them the other way: "
                "OffloadingLedgerStore(HashChainedLedgerStore(store))."
            )
        super().__init__(inner)
        self._heads = _heads_of(inner)

    def append(self, record: StepRecord) -> None:
        """Set ``prev_hash`` and ``record_hash`` on the passed record, then append it.

        Raises:
            TypeError: the record has no JSON form; nothing was written and the record is as it was.
        """
        before = (record.prev_hash, record.record_hash)
        with self._alone(record.run_id):
            head, count = self._read_head(record.run_id)
            try:
                record.record_hash = compute_record_hash(record=record.to_dict(), prev_hash=head)
                record.prev_hash = head
                self._inner.append(record)
            except BaseException:
                record.prev_hash, record.record_hash = before
                # The inner store may or may not have written: what it says next time counts.
                self._heads.known.pop(record.run_id, None)
                raise
            if not hasattr(self._inner, "last"):
                self._heads.remember(record.run_id, record.record_hash, count + 1)

    def head(self, run_id: str) -> str | None:
        """The hash of the run's newest record: what to keep elsewhere as ``trusted_head``."""
        if hasattr(self._inner, "last"):  # it changes no cache of ours, so needs no lock
            return self._read_head(run_id)[0]
        with self._heads.lock:
            return self._read_head(run_id)[0]

    def _alone(self, run_id: str) -> AbstractContextManager[object]:
        """Nobody else adds to the run's chain meanwhile."""
        if not hasattr(self._inner, "appending") or not hasattr(self._inner, "last"):
            return self._heads.lock
        alone: AbstractContextManager[object] = self._inner.appending(run_id)
        return alone

    def _read_head(self, run_id: str) -> tuple[str | None, int]:
        """The newest hash and, for ledgers that can't say their last record, how many records there are."""
        last = getattr(self._inner, "last", None)
        if last is not None:
            return _hash_of(last(run_id)), 0
        known = self._heads.known.get(run_id)
        count = getattr(self._inner, "count", None)
        if known is not None and (count is None or count(run_id) == known[1]):
            return known
        records = self._inner.list(run_id)
        return _hash_of(records[-1] if records else None), len(records)


def _hash_of(record: dict[str, Any] | None) -> str | None:
    return None if record is None else record.get("record_hash")


def verify_ledger_chain(records: RecordDicts, *, trusted_head: str | None = None) -> dict[str, Any]:
    """Check one run's records, in ledger order.

    Args:
        records: as ``list`` returns them, without added keys.
        trusted_head: a hash exported earlier (`HashChainedLedgerStore.head`). It must be among the records,
            else the ledger was cut behind it or rewritten.

    Returns:
        ``ok``, ``count``, ``errors``, ``first_bad_index`` (``None`` when ok), ``head_hash`` (as stored in the
        last record) and ``computed_head_hash`` (computed anew from the last record that was reached). Errors
        have a ``type``: ``prev_hash_mismatch``, ``missing_record_hash`` (verification stops there),
        ``record_hash_mismatch`` or ``trusted_head_missing``.
    """
    errors: list[dict[str, Any]] = []
    expected: str | None = None
    computed_head: str | None = None
    for index, record in enumerate(records):
        actual, stored = record.get("prev_hash"), record.get("record_hash")
        if actual != expected:
            errors.append(
                {
                    "type": "prev_hash_mismatch",
                    "index": index,
                    "expected_prev_hash": expected,
                    "actual_prev_hash": actual,
                }
            )
        if not stored:
            errors.append({"type": "missing_record_hash", "index": index})
            break
        computed_head = compute_record_hash(record=record, prev_hash=actual)
        if computed_head != stored:
            errors.append(
                {"type": "record_hash_mismatch", "index": index, "stored": stored, "computed": computed_head}
            )
        expected = stored
    if trusted_head is not None and all(record.get("record_hash") != trusted_head for record in records):
        errors.append({"type": "trusted_head_missing", "index": len(records), "trusted_head": trusted_head})
    return {
        "ok": not errors,
        "count": len(records),
        "errors": errors,
        "first_bad_index": min((error["index"] for error in errors), default=None),
        "head_hash": records[-1].get("record_hash") if records else None,
        "computed_head_hash": computed_head,
    }
