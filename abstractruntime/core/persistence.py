"""How the in-process runtime applies transitions to whatever stores it was given.

Stores of the contract have no transaction over run and ledger and no compare-and-swap, so this module keeps
one lock per run (shared by all runtimes of this process over the same store) and re-checks the stored state
before it writes: one winner per step and per wait, and pause or cancel are never overwritten
(`spec/01 §14`, §19.4).
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from .control import is_paused
from .errors import UnknownRunError
from .models import RunState, RunStatus, StepRecord
from .transition import Transition

__all__ = ["LedgerPort", "Persistence", "RunStorePort"]

logger = logging.getLogger(__name__)

_LOCK_SHARDS = 64


class RunStorePort(Protocol):
    """The two methods every run store has (`spec/02 §2.1`)."""

    def save(self, run: RunState) -> None: ...

    def load(self, run_id: str) -> RunState | None: ...


class LedgerPort(Protocol):
    """The two methods every ledger store has (`spec/02 §2.2`)."""

    def append(self, record: StepRecord) -> None: ...

    def list(self, run_id: str) -> list[dict[str, Any]]: ...


class _StoreLocks:
    """Commit locks and the set of driven runs of one store."""

    def __init__(self) -> None:
        self._shards = [RLock() for _ in range(_LOCK_SHARDS)]
        self._driven: set[str] = set()
        self._driven_lock = Lock()

    def commit_lock(self, run_id: str) -> RLock:
        return self._shards[hash(run_id) % _LOCK_SHARDS]

    def take(self, run_id: str) -> bool:
        with self._driven_lock:
            if run_id in self._driven:
                return False
            self._driven.add(run_id)
            return True

    def give_back(self, run_id: str) -> None:
        with self._driven_lock:
            self._driven.discard(run_id)


_registry: WeakKeyDictionary[Any, _StoreLocks] = WeakKeyDictionary()
_registry_lock = Lock()


def _locks_of(store: object) -> _StoreLocks:
    if not isinstance(store, Hashable) or not hasattr(store, "__weakref__"):
        return _StoreLocks()  # a store nobody can share by identity guards only its own runtime
    with _registry_lock:
        return _registry.setdefault(store, _StoreLocks())


class Persistence:
    """Loads and commits runs of one pair of stores."""

    def __init__(self, run_store: RunStorePort, ledger_store: LedgerPort) -> None:
        self.run_store = run_store
        self.ledger_store = ledger_store
        self._locks = _locks_of(run_store)
        self._version_of = getattr(run_store, "version_of", None)

    @contextmanager
    def driving(self, run_id: str) -> Iterator[bool]:
        """Whether this caller may drive the run: nobody else in this process does at the moment."""
        mine = self._locks.take(run_id)
        try:
            yield mine
        finally:
            if mine:
                self._locks.give_back(run_id)

    @contextmanager
    def locked(self, run_id: str) -> Iterator[None]:
        """No other commit of this run in this process meanwhile. Reentrant."""
        with self._locks.commit_lock(run_id):
            yield

    def load(self, run_id: str) -> RunState:
        """The stored run.

        Raises:
            UnknownRunError: there is none.
        """
        run = self.run_store.load(run_id)
        if run is None:
            raise UnknownRunError(run_id)
        return run

    def token(self, run_id: str) -> object:
        """Identifies the stored version, if the store can tell it cheaply; else ``None``."""
        return None if self._version_of is None else self._version_of(run_id)

    def changed_since(self, run: RunState, token: object) -> RunState | None:
        """The stored run, if it is not the one that ``run`` was computed from; else ``None``.

        A store that fails here counts as unchanged, as in the contract (`spec/01 §14`); the write that
        follows will say what is wrong.
        """
        try:
            if token is not None and self.token(run.run_id) == token:
                return None
            stored = self.run_store.load(run.run_id)
        except Exception:
            logger.warning("control read of run %s failed", run.run_id, exc_info=True)
            return None
        if stored is None or stored is run:
            return None
        if token is None and not is_controlled(stored) and stored.updated_at == run.updated_at:
            return None
        return stored

    def commit(self, before: RunState, token: object, transition: Transition) -> RunState | None:
        """Write the transition unless somebody else has moved the run; then give the stored run back.

        Changed limits (`update_limits`) are merged instead of lost.
        """
        with self.locked(before.run_id):
            stored = self.changed_since(before, token)
            if stored is not None:
                if not _is_same_step(before, stored):
                    return stored
                if isinstance(stored.vars.get("_limits"), dict):
                    transition.run.vars["_limits"] = stored.vars["_limits"]
            self.write(transition)
        return None

    def write(self, transition: Transition) -> None:
        """Records, checkpoint, closing records: the order of `spec/01 §10`."""
        for record in transition.records:
            self.ledger_store.append(record)
        self.run_store.save(transition.run)
        for record in transition.closing:
            self._append_closing(record)

    def _append_closing(self, record: StepRecord) -> None:
        is_status_event = (record.idempotency_key or "").startswith("system:")
        try:
            self.ledger_store.append(record)
        except Exception:
            if not is_status_event:
                raise
            logger.warning("status event of run %s could not be recorded", record.run_id, exc_info=True)

    def append_best_effort(self, record: StepRecord) -> None:
        """Append a record whose loss must not fail the call (`spec/01 §10.14`, resume record)."""
        try:
            self.ledger_store.append(record)
        except Exception:
            logger.warning("record of run %s could not be appended", record.run_id, exc_info=True)


def is_controlled(run: RunState) -> bool:
    """Whether a person stopped the run: cancelled or paused."""
    return run.status is RunStatus.CANCELLED or is_paused(run)


def _is_same_step(before: RunState, stored: RunState) -> bool:
    if is_controlled(stored):
        return False
    return stored.status is before.status and stored.current_node == before.current_node
