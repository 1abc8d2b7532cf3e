"""What a host asks for by itself: give a run its answer, emit an event, cancel a tree (`spec/02 §13.4`)."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any

from abstractruntime.core.control import is_paused
from abstractruntime.core.errors import InvalidInputError, UnknownRunError, WaitMismatchError
from abstractruntime.core.event_keys import build_event_wait_key
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.core.waiters import event_keys_of, find_waiters
from abstractruntime.storage.base import QueryableRunStore

from ._host_runtime import HostRuntime, environment_of, state_of
from ._turns import TURN_STEPS, Report, Turns
from .registry import WorkflowRegistry

__all__ = ["HostCalls", "waiting_of"]

logger = logging.getLogger(__name__)

_UNBOUNDED = 2**31 - 1


def waiting_of(run: RunState) -> WaitState:
    """What the run waits for.

    Raises:
        WaitMismatchError: (a ``ValueError``) it does not wait.
    """
    if run.status is not RunStatus.WAITING:
        raise WaitMismatchError(f"Run '{run.run_id}' is not waiting (status={run.status.value})")
    if run.waiting is None:
        raise WaitMismatchError(f"Run '{run.run_id}' has no waiting state")
    return run.waiting


class HostCalls:
    """The scheduler's calls for hosts, in the caller's thread."""

    def __init__(
        self,
        runtime: HostRuntime,
        store: QueryableRunStore,
        registry: WorkflowRegistry,
        turns: Turns,
        report: Report,
    ) -> None:
        self._runtime = runtime
        self._environment = environment_of(runtime)
        self._store = store
        self._registry = registry
        self._turns = turns
        self._report = report

    def resume_event(self, *, run_id: str, wait_key: str, payload: Any) -> RunState:
        run = state_of(self._runtime, run_id)
        waiting_of(run)
        return self._resume(run, wait_key, payload, TURN_STEPS)

    def _resume(self, run: RunState, wait_key: str | None, payload: Any, max_steps: int) -> RunState:
        workflow = self._registry.get_or_raise(run.workflow_id)
        state = self._runtime.resume(
            workflow=workflow, run_id=run.run_id, wait_key=wait_key, payload=payload, max_steps=max_steps
        )
        if max_steps >= TURN_STEPS:  # a caller that gave it less steps it by hand
            self._turns.keep_going(state)
        return state

    def emit_event(
        self,
        *,
        name: str,
        payload: Any,
        scope: str,
        session_id: str | None,
        workflow_id: str | None,
        run_id: str | None,
        max_steps: int,
        limit: int,
    ) -> list[RunState]:
        event = str(name or "").strip()
        if not event:
            raise InvalidInputError("emit_event requires a non-empty name")
        kind = str(scope or "").strip().lower() or "session"
        key = build_event_wait_key(
            scope=kind, name=event, session_id=session_id, workflow_id=workflow_id, run_id=run_id
        )
        envelope = {
            "event_id": None,
            "name": event,
            "scope": kind,
            "session_id": session_id,
            "payload": payload if isinstance(payload, dict) else {"value": payload},
            "emitted_at": self._environment.now_iso(),
            "emitter": {"source": "external"},
        }
        listeners = [run for run in self._listeners(key, limit) if not is_paused(run)]
        states = [self._deliver(run, key, envelope, max_steps) for run in listeners]
        return [state for state in states if state is not None]

    def _listeners(self, key: str, limit: int) -> list[RunState]:
        """At most ``limit``; of a store without an index by key, those among so many waiting runs."""
        if hasattr(self._store, "list_waiting_on"):
            return find_waiters(self._store, [key])[: max(0, limit)]
        waiting = self._store.list_runs(status=RunStatus.WAITING, wait_reason=WaitReason.EVENT, limit=limit)
        return [run for run in waiting if key in event_keys_of(run)]

    def _deliver(
        self, listener: RunState, key: str, envelope: dict[str, Any], max_steps: int
    ) -> RunState | None:
        """One listener's error must not keep the event from the others: it is counted and reported."""
        try:
            return self._resume(listener, key, deepcopy(envelope), max_steps)
        except WaitMismatchError:
            logger.info("run %s does not listen to %s any more", listener.run_id, key)
        except Exception as exc:
            self._report.failed(listener.run_id, exc)
        return None

    def find_waiting_runs(
        self, *, wait_reason: WaitReason | None, workflow_id: str | None, limit: int
    ) -> list[RunState]:
        return self._store.list_runs(
            status=RunStatus.WAITING, wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
        )

    def resume_subworkflow_parent(self, *, child_run_id: str, child_output: Any) -> RunState | None:
        parent = self._waiting_parent(child_run_id)
        if parent is None or parent.waiting is None:
            return None
        payload = {"sub_run_id": child_run_id, "output": child_output}
        return self._resume(parent, parent.waiting.wait_key, payload, TURN_STEPS)

    def _waiting_parent(self, child_run_id: str) -> RunState | None:
        """By the child's own word; else, for a child stored elsewhere, whoever says it waits for it."""
        try:
            parent_run_id = state_of(self._runtime, child_run_id).parent_run_id
            if parent_run_id:
                parent = state_of(self._runtime, parent_run_id)
                if _waits_for(parent, child_run_id):
                    return parent
        except UnknownRunError:
            logger.debug("child %s or its parent is not in this store", child_run_id)
        waiting = self._store.list_runs(
            status=RunStatus.WAITING, wait_reason=WaitReason.SUBWORKFLOW, limit=_UNBOUNDED
        )
        return next((run for run in waiting if _waits_for(run, child_run_id)), None)

    def cancel_with_children(self, run_id: str, *, reason: str | None) -> list[RunState]:
        try:
            root = self._runtime.cancel_run(run_id, reason=reason)
        except UnknownRunError:
            return []
        cancelled = [root] if root.status is RunStatus.CANCELLED else []
        seen, queue = {run_id}, [run_id]
        for parent_run_id in queue:  # grows while it is walked: breadth first
            for child in self._store.list_children(parent_run_id=parent_run_id):
                if child.run_id in seen:
                    continue
                seen.add(child.run_id)
                queue.append(child.run_id)  # an ended child may have children that have not
                if child.is_terminal:
                    continue
                state = self._runtime.cancel_run(child.run_id, reason=reason)
                if state.status is RunStatus.CANCELLED:
                    cancelled.append(state)
        return cancelled


def _waits_for(run: RunState, child_run_id: str) -> bool:
    wait = run.waiting
    if run.status is not RunStatus.WAITING or wait is None or is_paused(run):
        return False
    details = wait.details if isinstance(wait.details, dict) else {}
    return wait.reason is WaitReason.SUBWORKFLOW and details.get("sub_run_id") == child_run_id
