"""Who may write and who may drive a run: among the threads of one process, and where the store can, among the
processes that share it.

Stores of the contract have no transaction over run and ledger and no compare-and-swap. So all runtimes of a
process over the same run store share one lock per run for short writes, and one lease per run for driving it
(`spec/01 §19.4`). A store whose ``lock_domain`` has ``drivers`` extends the leases to all processes; for
writes it has ``atomic``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock, RLock
from typing import Protocol
from weakref import WeakValueDictionary

from .per_object import PerObject

__all__ = ["RunLocks", "Writing", "alone", "locks_of"]


class Drivers(Protocol):
    """Leases of runs among processes, free again when their holder dies."""

    def take(self, run_id: str) -> bool: ...

    def give_back(self, run_id: str) -> None: ...


class Writing:
    """The write lock of one run; holds it while used as a context. Reentrant. Lives while somebody knows it.

    Attributes:
        writes: how often the run was written under it; grows when somebody writes from inside, for example a
            ledger subscriber that cancels the run at the sight of a record.
    """

    __slots__ = ("__weakref__", "_entered", "lock", "writes")

    def __init__(self) -> None:
        self.lock = RLock()
        self.writes = 0
        self._entered = 0

    def __enter__(self) -> Writing:
        self.lock.acquire()
        self._entered += 1
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._entered -= 1
        self.lock.release()

    @property
    def is_nested(self) -> bool:
        """Whether its holder has entered it more than once: then a write further out is not at its end."""
        return self._entered > 1


class RunLocks:
    """Write locks and driving leases of one run store, by run id.

    Args:
        drivers: the leases among processes, where the store has them.
    """

    def __init__(self, drivers: Drivers | None = None) -> None:
        self._guard = Lock()
        self._outer = drivers
        self._writers: WeakValueDictionary[str, Writing] = WeakValueDictionary()
        self._drivers: dict[str, tuple[object, Writing]] = {}

    @property
    def among_processes(self) -> bool:
        """Whether other processes may write these runs, and have leases on them."""
        return self._outer is not None

    def writing(self, run_id: str) -> Writing:
        """The lock to enter for a write of this run. One per run, so that a ledger subscriber may act on
        another run from inside."""
        lease = self._drivers.get(run_id)
        if lease is not None:
            return lease[1]
        with self._guard:  # only one of two threads makes it
            held = self._writers.get(run_id)
            if held is None:
                held = self._writers[run_id] = Writing()
            return held

    def take(self, run_id: str, driver: object) -> bool:
        """Make ``driver`` the one that drives the run; False if another does, here or in another process."""
        writing = self.writing(run_id)
        with self._guard:
            known = self._drivers.get(run_id)
            if known is not None:
                return known[0] is driver
            if self._outer is not None and not self._outer.take(run_id):
                return False
            self._drivers[run_id] = (driver, writing)  # with the lock: each step will want it
            return True

    def give_back(self, run_id: str, driver: object) -> None:
        """``driver`` does not drive the run any more; nothing happens if it did not."""
        with self._guard:
            known = self._drivers.get(run_id)
            if known is None or known[0] is not driver:
                return
            del self._drivers[run_id]
            if self._outer is not None:
                self._outer.give_back(run_id)


_registry: PerObject[RunLocks] = PerObject()


def locks_of(store: object) -> RunLocks:
    """The locks of a run store; of its own ``lock_domain`` where several store objects share their runs. A
    store without weak references gets new ones, which are this runtime's own."""
    domain = getattr(store, "lock_domain", store)
    return _registry.of(domain, lambda: RunLocks(getattr(domain, "drivers", None)))


@contextmanager
def alone(store: object, run_id: str) -> Iterator[Writing]:
    """No other write of this run meanwhile, for a change that writes the run but no ledger.

    The store's transaction comes before the lock, as in `Persistence.writing`: two orders would be a
    deadlock.
    """
    atomic = getattr(store, "atomic", None)
    with nullcontext() if atomic is None else atomic(), locks_of(store).writing(run_id) as held:
        try:
            yield held
        finally:
            held.writes += 1
