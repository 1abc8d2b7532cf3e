"""What a built-in effect may ask of the driver that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ..config import RuntimeConfig
from ..models import Effect, RunState
from ..outcome import EffectOutcome
from ..spec import WorkflowSpec

__all__ = [
    "BuiltinEffect",
    "ChildStart",
    "Deliveries",
    "EffectScope",
    "Emission",
    "ScopeError",
    "payload_of",
    "resume_node",
]


class ScopeError(Exception):
    """The driver lacks what the effect needs; the text becomes the effect's error."""


@dataclass(frozen=True, slots=True)
class ChildStart:
    """A child run to start.

    Attributes:
        parent: the run that starts it.
        workflow: what it runs.
        vars: its variables (a copy of its own).
        session_id: its session.
        detached: nobody waits for it here (``async``); otherwise a driver that can run it at once does.
    """

    parent: RunState
    workflow: WorkflowSpec
    vars: dict[str, Any]
    session_id: str | None
    detached: bool


@dataclass(frozen=True, slots=True)
class Emission:
    """An event on its way to whoever waits for it.

    Attributes:
        emitter: the run that emits.
        wait_key, wildcard_key: the keys it wakes.
        envelope: what a listener receives (`spec/01 §12.5`).
        max_steps: how many steps an in-process listener takes at once.
    """

    emitter: RunState
    wait_key: str
    wildcard_key: str
    envelope: dict[str, Any]
    max_steps: int


@dataclass(slots=True)
class Deliveries:
    """Who received an event: entries as in the result's ``resumed``, and what the emitter's session listens
    for (wanted when nobody received it)."""

    resumed: list[dict[str, Any]] = field(default_factory=list)
    listeners: list[str] = field(default_factory=list)


class EffectScope(Protocol):
    """The driver's side of a built-in effect. In a fleet, all it writes commits with the step."""

    @property
    def config(self) -> RuntimeConfig:
        """Limits of what effects may do."""
        ...

    def now(self) -> datetime:
        """The driver's clock, aware UTC."""
        ...

    def find_workflow(self, workflow_id: str) -> WorkflowSpec | None:
        """The workflow, or ``None`` if it is not known here.

        Raises:
            ScopeError: the driver has no registry.
        """
        ...

    def load_run(self, run_id: str) -> RunState | None:
        """Another run's state, to look at."""
        ...

    def may_read(self, target: RunState) -> bool:
        """Whether the run may look into ``target``, another run (`spec/01 §19.17`)."""
        ...

    def start_child(self, child: ChildStart) -> RunState:
        """Start a child; the state it is in now (still RUNNING if others will run it).

        Raises:
            ScopeError: the tree is too deep.
        """
        ...

    def child_traces(self, run_id: str) -> dict[str, Any]:
        """Node traces of a child."""
        ...

    def deliver(self, emission: Emission) -> Deliveries:
        """Resume who waits for the event (and keep it for who waits later, where the driver can).

        Raises:
            ScopeError: the driver can't find or resume listeners.
        """
        ...


BuiltinEffect = Callable[[RunState, Effect, "str | None", EffectScope], EffectOutcome]


def payload_of(effect: Effect) -> dict[str, Any]:
    """The effect's payload; one that is no object counts as empty, as it does in its key (`spec/01 §5.3`)."""
    return effect.payload if isinstance(effect.payload, dict) else {}


def resume_node(effect: Effect, default_next: str | None) -> str | None:
    """Where a waiting effect goes on: ``payload.resume_to_node``, else the plan's next node, else nowhere."""
    return payload_of(effect).get("resume_to_node") or default_next or None
