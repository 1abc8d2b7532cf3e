"""Who may write and who may drive a run: among the threads of one process, and where the store can, among the
processes that share it.

Stores of the contract have no transaction over run and ledger and no compare-and-swap. So all runtimes of a
process over the same run store share one lock per run for short writes, and one lease per run for driving it
(`spec/01 §19.4`). A store whose ``lock_domain`` has ``drivers`` extends the leases to all processes; for
writes it has ``atomic``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock, RLock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

__all__ = ["RunLocks", "Writing", "alone", "locks_of"]


class Drivers(Protocol):
    """Leases of runs among processes, free again when their holder dies."""

    def take(self, run_id: str) -> bool: ...

    def give_back(self, run_id: str) -> None: ...


class Writing:
    """The write lock of one run; holds it while used as a context. Reentrant.

    Attributes:
        writes: how often the run was written under it; grows when somebody writes from inside, for example a
            ledger subscriber that cancels the run at the sight of a record.
    """

    __slots__ = ("_locks", "_run_id", "lock", "users", "writes")

    def __init__(self, locks: RunLocks, run_id: str) -> None:
        self._locks = locks
        self._run_id = run_id
        self.lock = RLock()
        self.users = 0
        self.writes = 0

    def __enter__(self) -> Writing:
        self.lock.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.lock.release()
        self._locks.release(self._run_id, self)


class RunLocks:
    """Write locks and driving leases of one run store, by run id.

    Args:
        drivers: the leases among processes, where the store has them.
    """

    def __init__(self, drivers: Drivers | None = None) -> None:
        self._guard = Lock()
        self._outer = drivers
        self._writers: dict[str, Writing] = {}
        self._drivers: dict[str, object] = {}

    def writing(self, run_id: str) -> Writing:
        """The lock to enter (once) for a write of this run. One per run, so that a ledger subscriber may act
        on another run from inside."""
        with self._guard:
            held = self._writers.get(run_id)
            if held is None:
                held = self._writers[run_id] = Writing(self, run_id)
            held.users += 1
        return held

    def release(self, run_id: str, held: Writing) -> None:
        """One user less; the last one takes the lock along."""
        with self._guard:
            held.users -= 1
            if not held.users:
                del self._writers[run_id]

    def take(self, run_id: str, driver: object) -> bool:
        """Make ``driver`` the one that drives the run; False if another does, here or in another process."""
        with self._guard:
            known = self._drivers.get(run_id)
            if known is not None:
                return known is driver
            if self._outer is not None and not self._outer.take(run_id):
                return False
            self._drivers[run_id] = driver
            return True

    def give_back(self, run_id: str, driver: object) -> None:
        """``driver`` does not drive the run any more; nothing happens if it did not."""
        with self._guard:
            if driver is None or self._drivers.get(run_id) is not driver:
                return
            del self._drivers[run_id]
            if self._outer is not None:
                self._outer.give_back(run_id)


_registry: WeakKeyDictionary[Any, RunLocks] = WeakKeyDictionary()
_registry_guard = Lock()


def locks_of(store: object) -> RunLocks:
    """The locks of a run store; of its own ``lock_domain`` where several store objects share their runs."""
    domain = getattr(store, "lock_domain", store)
    if not isinstance(domain, Hashable) or not hasattr(domain, "__weakref__"):
        return RunLocks()  # nobody can share it by identity: the locks are this runtime's own
    with _registry_guard:
        found = _registry.get(domain)
        if found is None:
            found = _registry[domain] = RunLocks(getattr(domain, "drivers", None))
        return found


@contextmanager
def alone(store: object, run_id: str) -> Iterator[Writing]:
    """No other write of this run meanwhile, for a change that writes the run but no ledger.

    The store's transaction comes before the lock, as in `Persistence.writing`: two orders would be a
    deadlock.
    """
    atomic = getattr(store, "atomic", None)
    with nullcontext() if atomic is None else atomic(), locks_of(store).writing(run_id) as held:
        yield held
