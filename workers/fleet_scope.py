"""The fleet's side of built-in effects: children and events commit with the step that makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from abstractruntime.app import App
from abstractruntime.core.access import SessionAccess
from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.derived_ids import derived_id
from abstractruntime.core.effects.scope import ChildStart, Deliveries, Emission, ScopeError
from abstractruntime.core.models import EffectType, RunState
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.starting import new_run
from abstractruntime.core.traces import derive_traces
from abstractruntime.storage.checkpoints import Checkpoint, CheckpointStore

from .clock import StepClock
from .commits import Batch, Commits

__all__ = ["WRITING_EFFECTS", "FleetScope"]

WRITING_EFFECTS = frozenset({EffectType.EMIT_EVENT, EffectType.START_SUBWORKFLOW})
"""Built-in effects that write more than their own run; they need a batch."""


class FleetScope:
    """`EffectScope` for one effect of one run; ``batch`` is given for `WRITING_EFFECTS`."""

    def __init__(
        self,
        app: App,
        commits: Commits,
        checkpoint: Checkpoint,
        clock: StepClock,
        batch: Batch | None = None,
    ) -> None:
        self._app = app
        self._commits = commits
        self._checkpoint = checkpoint
        self._clock = clock
        self._batch = batch

    @property
    def _store(self) -> CheckpointStore:
        return self._commits.store

    def _writing(self) -> Batch:
        if self._batch is None:
            raise ScopeError("this effect can't write here")
        return self._batch

    @property
    def config(self) -> RuntimeConfig:
        return self._app.config

    def may_read(self, target: RunState) -> bool:
        return SessionAccess().may_read(self._checkpoint.run, target, self.load_run)

    def now(self) -> datetime:
        return self._clock.now()

    def find_workflow(self, workflow_id: str) -> WorkflowSpec | None:
        return self._app.get(workflow_id)

    def load_run(self, run_id: str) -> RunState | None:
        found = self._store.load(run_id)
        return None if found is None else found.run

    def child_traces(self, run_id: str) -> dict[str, Any]:
        return derive_traces([entry.record for entry in self._store.ledger(run_id)])

    def start_child(self, child: ChildStart) -> RunState:
        limit = self._app.config.max_subworkflow_depth
        depth = self._checkpoint.depth + 1
        if depth > limit:
            raise ScopeError(
                f"Subworkflow '{child.workflow.workflow_id}' not started: nesting is limited to {limit} "
                "levels (RuntimeConfig.max_subworkflow_depth)"
            )
        batch = self._writing()
        # Named after the step that starts it: the same step, run again, starts the same child.
        name = f"{self._checkpoint.run.run_id}|{self._checkpoint.version}"
        run = new_run(
            child.workflow,
            config=self._app.config,
            env=batch.env,
            vars=child.vars,
            actor_id=child.parent.actor_id,
            session_id=child.session_id,
            parent_run_id=child.parent.run_id,
            run_id=derived_id(name),
        )
        if not self._commits.insert_run(batch, run, depth=depth, priority=self._checkpoint.priority):
            raise ScopeError(f"Run '{run.run_id}' exists already")
        return run

    def deliver(self, emission: Emission) -> Deliveries:
        envelope = emission.envelope
        event = self._commits.new_event(
            emission.wait_key,
            envelope,
            event_id=envelope.get("event_id") and str(envelope["event_id"]),
            wildcard_key=emission.wildcard_key,
            emitter_run_id=emission.emitter.run_id,
        )
        went_on = self._commits.emit(self._writing(), event) or []
        return Deliveries([{"run_id": run.run_id, "status": run.status.value} for run in went_on])
