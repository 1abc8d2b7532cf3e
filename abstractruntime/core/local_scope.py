"""The in-process side of built-in effects: children run here, events resume listeners here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .config import RuntimeConfig
from .control import is_controlled
from .deliveries import delivery_id, has_received
from .derived_ids import derived_id
from .effect_step import EffectStep
from .effects.scope import ChildStart, Deliveries, Emission, ScopeError
from .errors import UnknownRunError
from .models import RunState, RunStatus
from .spec import WorkflowSpec
from .step_stamp import step_stamp
from .waiters import find_waiters, keys_waited_for

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["LocalScope"]

logger = logging.getLogger(__name__)

_QUERY_METHODS = ("list_runs", "list_due_wait_until", "list_children")


class LocalScope:
    """`EffectScope` over a `Runtime` and its stores, for one attempt of one effect."""

    def __init__(self, runtime: Runtime, run: RunState, step: EffectStep) -> None:
        self._runtime = runtime
        self._run = run
        self._step = step

    @property
    def config(self) -> RuntimeConfig:
        return self._runtime.config

    def may_read(self, target: RunState) -> bool:
        return self._runtime.hooks.access.may_read(self._run, target, self._runtime.run_store.load)

    def now(self) -> datetime:
        return self._runtime.environment.now()

    def find_workflow(self, workflow_id: str) -> WorkflowSpec | None:
        registry = self._runtime.workflow_registry
        if registry is None:
            raise ScopeError(
                "start_subworkflow requires a workflow_registry. "
                "Pass Runtime(workflow_registry=...) or call set_workflow_registry(...)."
            )
        workflow: WorkflowSpec | None = registry.get(workflow_id)
        return workflow

    def load_run(self, run_id: str) -> RunState | None:
        try:
            return self._runtime.get_state(run_id)
        except UnknownRunError:
            return None

    def child_traces(self, run_id: str) -> dict[str, Any]:
        return self._runtime.get_node_traces(run_id)

    def start_child(self, child: ChildStart) -> RunState:
        self._check_depth(child)
        run_id = self._child_id()
        state = self._runtime.run_store.load(run_id)
        if state is None:
            self._runtime.start_as(
                run_id,
                workflow=child.workflow,
                vars=child.vars,
                actor_id=child.parent.actor_id,
                session_id=child.session_id,
                parent_run_id=child.parent.run_id,
            )
            state = self._runtime.get_state(run_id)
        return self._whole(state if child.detached else self._drive(child.workflow, state))

    def _whole(self, child: RunState) -> RunState:
        """A child that ended before a crash is read back; what its store keeps elsewhere is the parent's to
        have (`spec/02 §15 D-5`)."""
        put_back: Callable[[RunState], RunState] | None = getattr(self._runtime.run_store, "whole", None)
        return child if put_back is None or not child.is_terminal else put_back(child)

    def _child_id(self) -> str:
        """The same id when the same step runs again, after a crash or a pause: a child is never started
        twice (`spec/02 §15 D-4a`). Another attempt starts another child (`spec/01 §12.6`)."""
        name = f"{self._run.run_id}|{step_stamp(self._run)}|{self._step.key}|{self._step.attempt}"
        return derived_id(name)

    def _check_depth(self, child: ChildStart) -> None:
        limit = self._runtime.config.max_subworkflow_depth
        ancestor: RunState | None = child.parent
        for _ in range(limit):
            if ancestor is None or not ancestor.parent_run_id:
                return
            ancestor = self._runtime.run_store.load(ancestor.parent_run_id)
        if ancestor is not None:
            raise ScopeError(
                f"Subworkflow '{child.workflow.workflow_id}' not started: nesting is limited to {limit} "
                "levels (RuntimeConfig.max_subworkflow_depth)"
            )

    def _drive(self, workflow: WorkflowSpec, child: RunState) -> RunState:
        """Run the child until it waits or ends; RUNNING if somebody else drives it already.

        Raises:
            ScopeError: it did neither within its limit of steps.
        """
        try:
            state, given_up = self._runtime.run_child(workflow=workflow, run_id=child.run_id)
        except Exception as exc:
            # A child whose own code raised must not stay RUNNING with nobody to drive it (spec/01 §19.6).
            logger.warning("subworkflow run %s raised", child.run_id, exc_info=True)
            self._runtime.count_fault("subworkflow")
            return self._runtime.fail_run(child.run_id, str(exc) or type(exc).__name__)
        if given_up:
            logger.warning("subworkflow run %s was ended: %s", child.run_id, state.error)
            raise ScopeError(f"Unexpected subworkflow status: {RunStatus.RUNNING.value}")
        return state

    def deliver(self, emission: Emission) -> Deliveries:
        store = self._runtime.run_store
        if not all(hasattr(store, name) for name in _QUERY_METHODS):
            raise ScopeError(
                "emit_event requires a QueryableRunStore to find waiting runs. "
                f"{type(store).__name__} has no list_runs/list_due_wait_until/list_children."
            )
        may_emit = self._runtime.hooks.access.may_emit
        listeners = [
            run
            for run in find_waiters(store, (emission.wait_key, emission.wildcard_key))
            if not is_controlled(run) and may_emit(emission.emitter, run, store.load)
        ]
        if listeners and self._runtime.workflow_registry is None:
            raise ScopeError(
                "emit_event requires a workflow_registry to resume target runs. "
                "Pass Runtime(workflow_registry=...) or call set_workflow_registry(...)."
            )
        delivery = delivery_id(self._run, self._step.key)
        deliveries = Deliveries([self._deliver_to(listener, emission, delivery) for listener in listeners])
        prefix = emission.wildcard_key.removesuffix("*")
        is_unheard = all(entry["status"] in ("skipped", "error") for entry in deliveries.resumed)
        if is_unheard and prefix.startswith("evt:session:"):
            names = (key.removeprefix(prefix) for key in keys_waited_for(store, prefix))
            deliveries.listeners = list(dict.fromkeys(names))
        return deliveries

    def _deliver_to(self, listener: RunState, emission: Emission, delivery: str) -> dict[str, Any]:
        if has_received(listener, self._run.run_id, delivery):
            # This step ran before and its process died: the listener waits for the next event already.
            return {"run_id": listener.run_id, "status": listener.status.value, "already_delivered": True}
        registry = self._runtime.workflow_registry
        workflow = registry.get(listener.workflow_id) if registry is not None else None
        if workflow is None:
            return {"run_id": listener.run_id, "status": "skipped", "error": "workflow_not_registered"}
        try:
            state = self._runtime.deliver_event(
                workflow=workflow,
                run_id=listener.run_id,
                wait_key=listener.waiting.wait_key if listener.waiting else None,
                envelope=emission.envelope,
                max_steps=emission.max_steps,
                emitter_run_id=self._run.run_id,
                delivery=delivery,
            )
        except Exception as exc:
            logger.warning(
                "event %s failed for listener %s", emission.wait_key, listener.run_id, exc_info=True
            )
            self._runtime.count_fault("event_delivery")
            return {"run_id": listener.run_id, "status": "error", "error": str(exc)}
        return {"run_id": listener.run_id, "status": state.status.value}
