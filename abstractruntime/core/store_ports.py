"""What the in-process runtime asks of the stores it is given, and how it remembers what it has seen there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .models import RunState, StepRecord

__all__ = ["LedgerPort", "PutBack", "RunStorePort", "Seen", "Swap", "seen_as"]


PutBack = Callable[[Any], Any]
"""Gives a part of a run or record with what a store has moved elsewhere put back. It is asked for what a
reader gets, and not before."""


class RunStorePort(Protocol):
    """The two methods every run store has (`spec/02 §2.1`).

    Beyond the contract a store may offer ``version_of(run_id)``, which changes with every save and spares
    full loads, ``swap(run, before=, version=)``, a save that happens only if the stored run still has that
    version and returns the new one (else ``None``), ``lock_domain``, an object that several stores over the
    same runs share, and ``atomic()``, a context in which nobody else writes, and in which (where the store
    has transactions) all writes through this store and its ledger commit together or not at all;
    ``step_writer(ledger_store)``: see `step_writer.StepWriter`. A store that keeps parts of ended
    runs elsewhere offers ``whole(run)``, a loaded run with its output put back, and ``put_back(value)`` for
    any other part of it.
    """

    def save(self, run: RunState) -> None: ...

    def load(self, run_id: str) -> RunState | None: ...


class LedgerPort(Protocol):
    """The two methods every ledger store has (`spec/02 §2.2`).

    One that keeps parts of records elsewhere offers ``put_back(value)``: the part as it was appended.
    """

    def append(self, record: StepRecord) -> None: ...

    def list(self, run_id: str) -> list[dict[str, Any]]: ...


class Swap(Protocol):
    def __call__(self, run: RunState, *, before: RunState, version: Any) -> object | None: ...


@dataclass(slots=True)
class Seen:
    """A run as a driver knows it to be stored.

    Attributes:
        run: the state; its ``vars`` are the driver's to change.
        version: the store's mark of this version, ``None`` if it has none.
        limits: ``_limits`` as stored, to merge changes of others with the step's own.
        writes: after the driver itself has written this version, `Writing.writes` of the run: while it is the
            same, nobody in this process has written since, and the driver need not look again at once.
    """

    run: RunState
    version: object
    limits: dict[str, Any]
    writes: int | None = None


def seen_as(run: RunState, version: object, writes: int | None = None) -> Seen:
    """The run with what it is compared with later."""
    limits = run.vars.get("_limits")
    return Seen(run, version, limits.copy() if isinstance(limits, dict) else {}, writes)
