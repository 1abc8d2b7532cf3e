"""Ended runs that are met without their last words get them (`spec/01 §19.5`, `spec/02 §9`, D-4).

Over a store without transactions a process may die between the terminal checkpoint and the records that say
so (`repair`). Nobody drives such a run any more, so whoever meets it looks: a tick or a resumption that finds
it ended, and a scheduler when it starts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from .environment import Environment
from .errors import WaitMismatchError
from .models import RunState
from .persistence import Persistence
from .repair import is_status_event
from .times import parse_time

__all__ = ["LastWords"]

logger = logging.getLogger(__name__)

MAX_KNOWN = 10_000
"""Runs whose ledger need not be looked at again; of more, the oldest are forgotten."""

WRITING_S = 0.2
"""A live process that has just written a terminal checkpoint has written the records by then."""


class LastWords:
    """Looks at ended runs, at each of them once. Its own errors are logged and counted, never raised.

    Args:
        stores: the runs and their ledger.
        environment: clock and ids of the records.

    Attributes:
        may_lack: whether a run of these stores can lack them at all: not where run and ledger are written in
            one transaction.
    """

    def __init__(self, stores: Persistence, environment: Environment) -> None:
        self._stores = stores
        self._environment = environment
        self.may_lack = getattr(stores.run_store, "atomic", None) is None
        self._last = getattr(stores.ledger_store, "last", None)
        self._guard = Lock()
        self._known: dict[str, None] = {}

    def met(self, run: RunState) -> RunState:
        """The run itself; if it has ended, its ledger says so now."""
        if self.may_lack and run.is_terminal:
            self.look_at(run.run_id)
        return run

    @contextmanager
    def of_refused(self, run_id: str) -> Iterator[None]:
        """Look at a run that refuses what is done inside: it may have ended."""
        try:
            yield
        except WaitMismatchError:
            if self.may_lack and run_id not in self._known:
                self._look_if_ended(run_id)
            raise

    def _look_if_ended(self, run_id: str) -> None:
        try:
            run = self._stores.run_store.load(run_id)
        except Exception:
            self._failed(run_id)
        else:
            if run is not None:
                self.met(run)

    def look_at(self, run_id: str) -> None:
        """Append what an ended run lacks. Costs a look at the ledger's last record, the first time."""
        if not self.may_lack or run_id in self._known:
            return
        try:
            is_done = self._is_whole(run_id) or self._repaired(run_id)
        except Exception:
            self._failed(run_id)
            is_done = True  # a damaged ledger is reported once, not at every tick
        if is_done:
            self._remember(run_id)

    def _is_whole(self, run_id: str) -> bool:
        record = None if self._last is None else self._last(run_id)
        return record is not None and is_status_event(record)

    def _repaired(self, run_id: str) -> bool:
        """Whether nothing is missing now; False if somebody is about to write it."""
        stores, me = self._stores, object()
        if not stores.locks.take(run_id, me):
            return False
        try:
            with stores.writing(run_id) as held:
                if held.is_nested:  # a ledger subscriber, called between checkpoint and records
                    return False
            self._let_others_write(run_id)
            appended = stores.repair(run_id, self._environment)
        finally:
            stores.locks.give_back(run_id, me)
        if appended:
            logger.warning("run %s had ended without its last %d ledger records", run_id, appended)
        return True

    def _let_others_write(self, run_id: str) -> None:
        """Another process that cancels or resumes a run writes it without the lease."""
        if not self._stores.locks.among_processes:
            return
        run = self._stores.run_store.load(run_id)
        if run is None:
            return
        try:
            age = (self._environment.now() - parse_time(run.updated_at)).total_seconds()
        except ValueError:  # written by somebody else, some time
            return
        if 0 <= age < WRITING_S:
            time.sleep(WRITING_S - age)

    def _remember(self, run_id: str) -> None:
        with self._guard:
            self._known[run_id] = None
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def _failed(self, run_id: str) -> None:
        logger.warning("whether run %s has its last ledger records is unknown", run_id, exc_info=True)
        self._stores.tally.add("ledger_repair")
