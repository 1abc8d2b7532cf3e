"""How the in-process runtime applies transitions to whatever stores it was given.

What is stored is looked at again before each write, under the run's lock: one winner per step and per wait,
and pause or cancel are never overwritten (`spec/01 §14`, §19.4).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from .control import goes_on, is_paused
from .environment import Environment
from .errors import UnknownRunError, WaitMismatchError
from .members import RUNNING
from .models import RunState, RunStatus, StepRecord
from .overrides import has_own, is_as_written
from .repair import missing_closing, was_left_over
from .reuse import ReuseLookup
from .run_locks import Writing, locks_of
from .step_stamp import marks_of_others
from .step_writer import StepWriter, StepWriting
from .store_ports import LedgerPort, PutBack, RunStorePort, Seen, Swap, seen_as
from .tally import Tally
from .traces import attach_traces
from .transition import Transition

__all__ = ["Persistence"]

logger = logging.getLogger(__name__)


_UNKNOWN = object()
"""The version of what was saved, where the store has none."""


class Persistence:
    """Loads and commits runs of one pair of stores.

    Attributes:
        put_back: the ledger's, else the run store's (see `store_ports`); ``None`` where nothing is kept
            elsewhere.
    """

    def __init__(self, run_store: RunStorePort, ledger_store: LedgerPort) -> None:
        self.run_store = run_store
        self.ledger_store = ledger_store
        self.locks = locks_of(run_store)
        self.tally = Tally()
        self._version_of = getattr(run_store, "version_of", None)
        self._swap: Swap | None = getattr(run_store, "swap", None)
        self._save_of_swap = _save_beside_swap(run_store)
        self._atomic: Callable[[], AbstractContextManager[object]] | None = getattr(run_store, "atomic", None)
        self.step_writing = StepWriting.of(run_store, ledger_store)
        own: PutBack | None = getattr(run_store, "put_back", None)
        self.put_back: PutBack | None = getattr(ledger_store, "put_back", own)

    # -- reading --------------------------------------------------------------------------------

    def load(self, run_id: str) -> RunState:
        """The stored run, its node traces served from the ledger.

        Raises:
            UnknownRunError: there is none.
        """
        run = self.find(run_id)
        if run is None:
            raise UnknownRunError(run_id)
        return run

    def find(self, run_id: str) -> RunState | None:
        """The stored run or ``None``."""
        run = self.run_store.load(run_id)
        return None if run is None else self.with_traces(run)

    def with_traces(self, run: RunState) -> RunState:
        """The run with its node traces served from the ledger, computed when somebody reads them."""
        run_id = run.run_id  # the view is part of the run: holding on to it would make it a cycle
        attach_traces(run, lambda: self.ledger_store.list(run_id), self.put_back)
        return run

    def see(self, run_id: str) -> Seen:
        """The stored run and its version.

        Raises:
            UnknownRunError: there is none.
        """
        version = self._version(run_id)  # first: a write in between makes this version look old, not new
        run = self.load(run_id)
        return seen_as(run, version)

    def current(self, seen: Seen) -> Seen:
        """`see` again, which costs no load if the store can tell that the run is still the one seen.

        Raises:
            UnknownRunError: it is gone.
        """
        run_id = seen.run.run_id
        if seen.version is not None and self._version(run_id) == seen.version:
            return seen
        return self.see(run_id)

    def _version(self, run_id: str) -> object:
        return None if self._version_of is None else self._version_of(run_id)

    def changed_since(self, seen: Seen) -> RunState | None:
        """The stored run, if it is not the one that was seen; else ``None``.

        A store that fails here counts as unchanged, as in the contract (`spec/01 §14`); the write that
        follows will say what is wrong.
        """
        run = seen.run
        version_of, version = self._version_of, seen.version
        try:
            if version_of is not None and version is not None and version_of(run.run_id) == version:
                return None
            stored = self.run_store.load(run.run_id)
        except Exception:
            logger.warning("control read of run %s failed", run.run_id, exc_info=True)
            self.tally.add("control_read")
            return None
        if stored is None or stored is run:
            return None
        if seen.version is None and stored.updated_at == run.updated_at and stored.status is run.status:
            return stored if is_paused(stored) else None  # a host may set the flag and nothing else
        return stored

    # -- writing --------------------------------------------------------------------------------

    def writing(self, run_id: str) -> AbstractContextManager[Writing]:
        """No other write of this run meanwhile, and all writes together where the store can. Reentrant."""
        return self.locks.writing(run_id) if self._atomic is None else self._writing_at_once(run_id)

    @contextmanager
    def _writing_at_once(self, run_id: str) -> Iterator[Writing]:
        """The store's transaction comes before the lock: a ledger subscriber called inside may write another
        run, and two locks taken in either order would be a deadlock."""
        if self._atomic is not None:
            with self._atomic(), self.locks.writing(run_id) as held:
                yield held

    def update(self, run_id: str, change: Callable[[RunState], Transition | None]) -> RunState:
        """Apply a change from outside to the stored run; the run afterwards.

        A resume or control record is best effort: its loss must not fail the call (`spec/01 §10.14`).
        """
        refusal: WaitMismatchError | None = None
        with self.writing(run_id) as held:
            made = change(run := self.load(run_id))
            writes = held.writes
            for record in made.records if made else ():
                if not self._is_there_already(record):
                    self._append_best_effort(record)
            if held.writes != writes:  # somebody who saw the record wrote the run: judge again
                try:
                    made = change(run := self.load(run_id))
                except WaitMismatchError as exc:
                    made, refusal = None, exc  # raised outside: what that somebody wrote must stay
            if made is not None:
                self.run_store.save(made.run)
                held.writes += 1
                self._close(made)
                run = made.run
            writes = held.writes
        if refusal is not None:
            raise refusal
        return self.load(run_id) if held.writes != writes else self.with_traces(run)

    def _is_there_already(self, record: StepRecord) -> bool:
        """Whether a process that died before the checkpoint has left this very record (`spec/01 §19.5`)."""
        last = getattr(self.ledger_store, "last", None) if self._atomic is None else None
        try:
            return last is not None and was_left_over(last(record.run_id), record)
        except Exception:
            logger.warning("ledger of run %s can't be read", record.run_id, exc_info=True)
            return False

    def repair(self, run_id: str, env: Environment) -> int:
        """Append the closing records that a lost process left out; how many."""
        with self.writing(run_id):
            tail = ReuseLookup(self.ledger_store, run_id).tail()
            missing = missing_closing(self.load(run_id), tail, env)
            for record in missing:
                self.ledger_store.append(record)
        return len(missing)

    def commit(
        self,
        seen: Seen,
        make: Callable[[], Transition],
        driver: object,
        outcome: StepRecord | None = None,
    ) -> tuple[Seen, bool]:
        """Write what ended a step: its outcome's record, whatever else happened meanwhile, and the transition
        made of it, unless somebody else has taken the step or stopped the run.

        Returns the run as it is stored now, and whether the transition was written. If the run can't go on,
        ``driver`` has given it back: whoever makes it go on later finds it free.
        """
        is_recorded = False
        writing = self.step_writing
        writer = None if writing is None or seen.version is None else writing.writer
        is_one_write = writer is not None or self._atomic is None
        if outcome is not None and not is_one_write and self._is_watched():
            self.ledger_store.append(outcome)
            outcome = None
        made: Transition | None = None
        try:
            if writer is not None:
                record = None if outcome is None else writer.encoded(outcome)
                is_recorded = True  # as far as the effect goes: it has happened, and can be recorded
                made = make()
                found = self._ended(writer, seen, made, record)
                if found is not None:
                    return found, True
            run_id = seen.run.run_id
            held = self.locks.writing(run_id)
            with held.lock if self._atomic is None else self._writing_at_once(run_id):
                if outcome is not None:
                    self.ledger_store.append(outcome)
                    is_recorded = True
                found, is_ours = self._write(seen, made or make(), driver, held)
                writes = held.writes
        except BaseException:  # an interrupt as well: the effect has happened
            if outcome is not None and is_recorded:
                self._keep_outcome(outcome)
            raise
        if held.writes == writes:
            return found, is_ours
        with self.writing(run_id):  # somebody who was told after the transaction wrote the run
            return self._refreshed(seen, driver)

    def _ended(self, writer: StepWriter, seen: Seen, made: Transition, record: object) -> Seen | None:
        """The run as written in one call; ``None`` if there is more to write, or more to look at."""
        run = made.run
        is_running = seen.run.status is run.status is RUNNING
        if made.records or made.closing or not is_running:
            return None
        version = writer.end(record, run, version=seen.version)
        if version is None:
            return None
        # Without the lock, which must not be taken outside of the store's transaction. If another thread
        # counts at the same moment one of the two is lost: then the driver meets that write at its next
        # commit, which the version guards, instead of before the node.
        held = self.locks.writing(run.run_id)
        held.writes += 1
        return seen_as(run, version, held.writes)

    def _write(self, seen: Seen, made: Transition, driver: object, held: Writing) -> tuple[Seen, bool]:
        if made.records:
            if not self._is_ours(seen, made):
                return self._refreshed(seen, driver)
            for record in made.records:
                self.ledger_store.append(record)
        writes = held.writes
        is_plain = self._is_plain_save()
        version = self._save(seen, made, is_plain)
        if version is None:
            return self._refreshed(seen, driver)
        if made.closing:
            self._close(made)
        if held.writes != writes:  # somebody who saw the save or a record of it wrote the run
            return self._refreshed(seen, driver)
        held.writes += 1
        if made.run.status is not RUNNING:
            self.locks.give_back(seen.run.run_id, driver)
        if version is _UNKNOWN:
            return seen_as(made.run, None), True
        return seen_as(made.run, version, held.writes if is_plain else None), True

    def _save(self, seen: Seen, made: Transition, is_plain: bool) -> object | None:
        """The version saved; ``None`` if the step is somebody else's."""
        swap = self._swap
        if swap is None or seen.version is None or not is_plain:
            if not self._is_ours(seen, made):
                return None
            self.run_store.save(made.run)
            version = self._version(seen.run.run_id)
            return _UNKNOWN if version is None else version
        while True:
            version = swap(made.run, before=seen.run, version=seen.version)
            if version is not None:
                return version
            now = self.see(seen.run.run_id)
            if not goes_on(seen.run, now.run):
                return None
            _keep_control(now.run, seen, made.run)
            seen = now

    def _is_plain_save(self) -> bool:
        """Whether ``save`` is the store's own: one that somebody wrote over it must see every save."""
        own = self._save_of_swap
        return own is not None and getattr(self.run_store.save, "__func__", None) is own

    def _is_watched(self) -> bool:
        """Whether somebody wrote over ``save`` or ``append``. Where that breaks off, or looks at the store,
        between a step's two writes, the outcome is in the ledger for good, as in `spec/02 §9`; else one
        transaction writes both."""
        runs, ledger = self.run_store, self.ledger_store
        return has_own(runs, "save", beside="atomic") or has_own(ledger, "append", beside="atomic")

    def _keep_outcome(self, outcome: StepRecord) -> None:
        """The checkpoint could not be written, and a store with transactions took the record back with it:
        the effect has happened all the same, and must not happen again."""
        try:
            records = self.ledger_store.list(outcome.run_id) if self._atomic is not None else None
            if records is not None and not any(
                record["step_id"] == outcome.step_id and record["status"] == outcome.status.value
                for record in records
            ):
                self.ledger_store.append(outcome)
        except Exception:  # the caller gets the first error, which most likely is the same
            logger.exception("outcome of step %s of run %s is lost", outcome.step_id, outcome.run_id)
            self.tally.add("ledger_record")

    def _is_ours(self, seen: Seen, made: Transition) -> bool:
        """Whether the step is still the next one; what control commands wrote meanwhile is taken over."""
        stored = self.changed_since(seen)
        if stored is None:
            return True
        if not goes_on(seen.run, stored):
            return False
        _keep_control(stored, seen, made.run)
        return True

    def refresh(self, seen: Seen, driver: object) -> Seen:
        """The run as stored now, given back by ``driver`` if it can't go on (`spec/01 §14`)."""
        writes, seen.writes = seen.writes, None  # once: a node or an effect takes its time
        if writes is not None and self.locks.writing(seen.run.run_id).writes == writes:
            return seen
        if self.changed_since(seen) is None:
            return seen
        with self.writing(seen.run.run_id):
            return self._refreshed(seen, driver)[0]

    def _refreshed(self, seen: Seen, driver: object) -> tuple[Seen, bool]:
        fresh = self.see(seen.run.run_id)
        if fresh.run.status is not RunStatus.RUNNING:
            self.locks.give_back(seen.run.run_id, driver)
        return fresh, False

    def _close(self, made: Transition) -> None:
        """Completion record and status event of a run that has ended; the latter is best effort."""
        for record in made.closing:
            if (record.idempotency_key or "").startswith("system:"):
                self._append_best_effort(record)
            else:
                self.ledger_store.append(record)

    def _append_best_effort(self, record: StepRecord) -> None:
        try:
            self.ledger_store.append(record)
        except Exception:
            logger.warning("record of run %s could not be appended", record.run_id, exc_info=True)
            self.tally.add("ledger_record")


def _save_beside_swap(store: object) -> object:
    """The ``save`` of the class that has the ``swap``; ``None`` if somebody has put another in its place."""
    owner = next((kind for kind in type(store).__mro__ if "swap" in kind.__dict__), None)
    return owner.__dict__.get("save") if owner is not None and is_as_written(owner, "save") else None


def _keep_control(stored: RunState, seen: Seen, new: RunState) -> None:
    """What others wrote while the step ran survives the step."""
    limits, mine = stored.vars.get("_limits"), new.vars.get("_limits")
    if isinstance(limits, dict) and isinstance(mine, dict):
        mine.update((name, value) for name, value in limits.items() if seen.limits.get(name) != value)
    elif isinstance(limits, dict):
        new.vars["_limits"] = limits
    runtime = stored.vars.get("_runtime")
    marks = marks_of_others(runtime) if isinstance(runtime, dict) else {}
    own = new.vars.setdefault("_runtime", {}) if marks else None
    if isinstance(own, dict):
        own.update(marks)
