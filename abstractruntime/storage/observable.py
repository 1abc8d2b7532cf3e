"""A ledger that tells subscribers in this process of every record it takes (`spec/02 §8.2`)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, runtime_checkable

from abstractruntime.core.copies import copied
from abstractruntime.core.models import StepRecord
from abstractruntime.core.tally import Tally

from .base import LedgerStore
from .forwarding import LedgerDecorator
from .ledger_metrics import Metrics, wanted_ids

__all__ = [
    "LedgerRecordDict",
    "LedgerSubscriber",
    "ObservableLedgerStore",
    "ObservableLedgerStoreProtocol",
]

logger = logging.getLogger(__name__)

COUNT_FAILED = "count_failed"

LedgerRecordDict = dict[str, Any]
"""A record as subscribers get it (`spec/02 §3.2`); each gets a copy of its own."""

LedgerSubscriber = Callable[[LedgerRecordDict], None]


@runtime_checkable
class ObservableLedgerStoreProtocol(Protocol):
    """A ledger that can be subscribed to."""

    def subscribe(self, callback: LedgerSubscriber, *, run_id: str | None = None) -> Callable[[], None]:
        """Call ``callback`` with every later record (of one run, if given); returns how to stop it."""
        ...


class ObservableLedgerStore(LedgerDecorator):
    """Appends to ``inner``, then calls the subscribers in the appending thread, in subscription order.

    Where the ledger inside is part of a transaction (a run that ends in a SQL database), they are called when
    that has committed: what a subscriber is told, everybody can read; what was undone, nobody is told.

    Records that other processes append are not delivered, and there is no replay: use ``list`` for the past.

    Attributes:
        failed_callbacks: how often a subscriber raised. The error is logged; the append stands and the other
            subscribers are called all the same.
        tally: its ``counts()`` say how often the ledger inside could not be counted (``count_failed``).
    """

    def __init__(self, inner: LedgerStore) -> None:
        super().__init__(inner)
        self.failed_callbacks = 0
        self.tally = Tally()
        self._lock = threading.Lock()
        self._next_token = 0
        self._subscribers: dict[int, tuple[str | None, LedgerSubscriber]] = {}

    def append(self, record: StepRecord) -> None:
        """Append to the ledger inside; if that raises, nobody is told."""
        self._inner.append(record)
        with self._lock:
            tokens = [token for token, (of, _) in self._subscribers.items() if of in (None, record.run_id)]
        if not tokens:  # a copy costs as much as the append itself
            return
        tell = partial(self._tell, tokens, copied({**record.to_dict(), "status": record.status}))
        after_commit = getattr(self._inner, "after_commit", None)
        if after_commit is None or after_commit(tell) is not True:
            tell()

    def _tell(self, tokens: list[int], payload: LedgerRecordDict) -> None:
        for token in tokens:
            with self._lock:  # one of those before may have unsubscribed this one
                _, callback = self._subscribers.get(token, (None, None))
            if callback is None:
                continue
            try:
                callback(copied(payload))
            except Exception:
                with self._lock:
                    self.failed_callbacks += 1
                logger.warning("a ledger subscriber failed on run '%s'", payload["run_id"], exc_info=True)

    def subscribe(self, callback: LedgerSubscriber, *, run_id: str | None = None) -> Callable[[], None]:
        """Deliver every later record to ``callback``.

        Args:
            callback: gets the record as a dict of its own.
            run_id: only records of this run; ``None`` means all.

        Returns:
            The unsubscribe function; it may be called more than once.
        """
        with self._lock:
            token = self._next_token
            self._next_token += 1
            self._subscribers[token] = (run_id, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.pop(token, None)

        return unsubscribe

    def clear_subscribers(self) -> None:
        """Forget all subscribers."""
        with self._lock:
            self._subscribers.clear()

    def count(self, run_id: str) -> int:
        """Number of the run's records; 0, and a line in the log, if the ledger inside can't say."""
        return count_records(self._inner, run_id, self.tally)

    def count_many(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Number of records by run; unknown runs are left out."""
        return count_records_many(self._inner, run_ids, self.tally)

    def metrics_many(self, run_ids: Iterable[str]) -> dict[str, Metrics]:
        """The metrics of the ledger inside; ``{}`` if it has none."""
        return metrics_of_many(self._inner, run_ids, self.tally)


def count_records(ledger: LedgerStore, run_id: str, tally: Tally | None = None) -> int:
    """``ledger.count`` where there is one, else the list's length; 0 on any error, as in the contract."""
    count = getattr(ledger, "count", None)
    try:
        return len(ledger.list(run_id)) if count is None else int(count(run_id))
    except Exception:
        _count(tally)
        logger.warning("can't count the records of run '%s'", run_id, exc_info=True)
        return 0


def count_records_many(
    ledger: LedgerStore, run_ids: Iterable[str], tally: Tally | None = None
) -> dict[str, int]:
    """``ledger.count_many`` where there is one, else run by run; unknown runs are left out either way."""
    wanted = wanted_ids(run_ids)
    count_many = getattr(ledger, "count_many", None)
    if count_many is None:
        counts = {run_id: count_records(ledger, run_id, tally) for run_id in wanted}
        return {run_id: count for run_id, count in counts.items() if count}
    return _dict_or_empty(count_many, wanted, tally)


def metrics_of_many(
    ledger: LedgerStore, run_ids: Iterable[str], tally: Tally | None = None
) -> dict[str, Metrics]:
    """``ledger.metrics_many`` where there is one, else ``{}``."""
    metrics_many = getattr(ledger, "metrics_many", None)
    return {} if metrics_many is None else _dict_or_empty(metrics_many, wanted_ids(run_ids), tally)


def _dict_or_empty(
    method: Callable[[list[str]], object], run_ids: list[str], tally: Tally | None
) -> dict[str, Any]:
    try:
        found = method(run_ids)
    except Exception:
        _count(tally)
        logger.warning("the ledger inside failed", exc_info=True)
        return {}
    return found if isinstance(found, dict) else {}


def _count(tally: Tally | None) -> None:
    if tally is not None:
        tally.add(COUNT_FAILED)
