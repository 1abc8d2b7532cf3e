"""What a scheduler takes of the runtime it is given (`spec/02 §13.1`).

The contract names ``run_store``, ``tick`` and ``resume``. A runtime that a host wrote itself may have nothing
else: then the clock is the system's, claims leave no ledger records, and states come from the store.
"""

from __future__ import annotations

from typing import Any, Protocol

from abstractruntime.core.environment import Environment
from abstractruntime.core.last_words import LastWords
from abstractruntime.core.models import RunState, StepRecord
from abstractruntime.core.persistence import Persistence
from abstractruntime.core.spec import WorkflowSpec

__all__ = ["HostRuntime", "environment_of", "last_words_of", "state_of", "stores_of"]


class HostRuntime(Protocol):
    """The least that a runtime of a scheduler has."""

    @property
    def run_store(self) -> Any: ...

    def tick(self, *, workflow: WorkflowSpec, run_id: str) -> RunState: ...

    def resume(
        self, *, workflow: WorkflowSpec, run_id: str, wait_key: str | None, payload: Any, max_steps: int
    ) -> RunState: ...

    def cancel_run(self, run_id: str, *, reason: str | None = None) -> RunState:
        """Only `Scheduler.cancel_with_children` asks for it."""
        ...


class _NoLedger:
    """The ledger of a runtime that has none."""

    def append(self, record: StepRecord) -> None:
        """Nobody would read it."""

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return []


def environment_of(runtime: HostRuntime) -> Environment:
    """Its clock and ids, or the system's."""
    own: Environment | None = getattr(runtime, "environment", None)
    return Environment() if own is None else own


def stores_of(runtime: HostRuntime) -> Persistence:
    """Its stores, to claim runs in."""
    ledger = getattr(runtime, "ledger_store", None)
    return Persistence(runtime.run_store, _NoLedger() if ledger is None else ledger)


def state_of(runtime: HostRuntime, run_id: str) -> RunState:
    """The stored run.

    Raises:
        UnknownRunError: (a ``KeyError``) there is none.
    """
    get_state = getattr(runtime, "get_state", None)
    state: RunState = stores_of(runtime).load(run_id) if get_state is None else get_state(run_id)
    return state


def last_words_of(runtime: HostRuntime) -> LastWords | None:
    """What looks after its ended runs; ``None`` if it has nothing like that, or no need of it."""
    own: LastWords | None = getattr(runtime, "last_words", None)
    return own if own is not None and own.may_lack else None
