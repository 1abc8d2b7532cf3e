"""A runtime over some pair of stores, with shorthands for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from abstractruntime.core.environment import Environment
from abstractruntime.core.models import RunState
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import WorkflowSpec


class Clock:
    """Moves on by a microsecond per look, and as far as a test wants."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        self.moment += timedelta(microseconds=1)
        return self.moment

    def skip(self, **parts: float) -> None:
        self.moment += timedelta(**parts)

    def iso(self, **parts: float) -> str:
        """A time from now on."""
        return (self.moment + timedelta(**parts)).isoformat(timespec="microseconds")


@dataclass
class Kernel:
    """One runtime and what it was given."""

    run_store: Any
    ledger_store: Any
    clock: Clock = field(default_factory=Clock)
    registry: dict[str, WorkflowSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runtime = self.make()

    def make(self, **options: Any) -> Runtime:
        """A runtime over the same stores: what a restarted process would have."""
        options.setdefault("environment", Environment(now=self.clock))
        options.setdefault("workflow_registry", self.registry)
        return Runtime(run_store=self.run_store, ledger_store=self.ledger_store, **options)

    def use(self, **options: Any) -> Kernel:
        """Go on with a runtime of other options."""
        self.runtime = self.make(**options)
        return self

    def know(self, *workflows: WorkflowSpec) -> None:
        self.registry.update({workflow.workflow_id: workflow for workflow in workflows})

    def start(self, workflow: WorkflowSpec, vars: dict[str, Any] | None = None, **of: Any) -> str:
        self.know(workflow)
        return self.runtime.start(workflow=workflow, vars=vars, **of)

    def go(self, workflow: WorkflowSpec, vars: dict[str, Any] | None = None, **of: Any) -> RunState:
        """Start and tick until the run waits or ends."""
        return self.tick(workflow, self.start(workflow, vars, **of))

    def tick(self, workflow: WorkflowSpec, run_id: str, max_steps: int = 100) -> RunState:
        return self.runtime.tick(workflow=workflow, run_id=run_id, max_steps=max_steps)

    def resume(self, workflow: WorkflowSpec, run_id: str, payload: Any, **options: Any) -> RunState:
        """Resume with whatever key the run waits for."""
        options.setdefault("wait_key", None)
        return self.runtime.resume(workflow=workflow, run_id=run_id, payload=payload, **options)

    def state(self, run_id: str) -> RunState:
        return self.runtime.get_state(run_id)

    def ledger(self, run_id: str) -> list[dict[str, Any]]:
        return self.runtime.get_ledger(run_id)

    def kinds(self, run_id: str) -> list[str]:
        return [kind(record) for record in self.ledger(run_id)]


def kind(record: dict[str, Any]) -> str:
    """A record in short: ``started ask_user``, ``resume``, ``completion``, ``status completed``, ..."""
    effect, status = record["effect"], str(getattr(record["status"], "value", record["status"]))
    if effect is None:
        return "completion via resume" if "via" in (record["result"] or {}) else "completion"
    if (record["idempotency_key"] or "").startswith("system:"):
        return f"status {effect['payload']['payload']['text']}"
    if record["idempotency_key"] is None and record["result"] is not None:
        return str(effect["type"])
    return f"{status} {effect['type']}"


def counting(handler: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """A handler of two arguments, and the payloads it was called with."""
    calls: list[Any] = []

    def counted(run: RunState, effect: Any) -> Any:
        calls.append(effect.payload)
        return handler(run, effect)

    return counted, calls
