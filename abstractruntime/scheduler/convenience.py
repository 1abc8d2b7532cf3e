"""Runtime, registry and scheduler in one object (`spec/02 §14`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.errors import WaitMismatchError
from abstractruntime.core.models import EffectType, RunState, WaitReason
from abstractruntime.core.outcome import EffectHandler
from abstractruntime.core.policy import EffectPolicy
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.store_ports import LedgerPort, RunStorePort
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore

from ._host_calls import waiting_of
from ._turns import TURN_STEPS, RunFailed, RunResumed
from .registry import WorkflowRegistry
from .scheduler import Scheduler, SchedulerStats

__all__ = ["ScheduledRuntime", "create_scheduled_runtime"]

logger = logging.getLogger(__name__)


@dataclass
class ScheduledRuntime:
    """A runtime whose waiting runs go on by themselves. Leaving it as a context stops the scheduler.

    Attributes:
        runtime: the kernel's driver.
        scheduler: its background thread and host calls.
        registry: the workflows both know.
    """

    runtime: Runtime
    scheduler: Scheduler
    registry: WorkflowRegistry

    def __enter__(self) -> ScheduledRuntime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- runs -----------------------------------------------------------------------------------

    def run(
        self,
        workflow: WorkflowSpec,
        *,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
        session_id: str | None = None,
        max_steps: int = 100,
    ) -> tuple[str, RunState]:
        """Start a run and let it take up to ``max_steps`` steps; its id and state.

        The workflow is registered if its id is new. A run that has used up 100 steps goes on in the
        background.
        """
        run_id = self.start(workflow=workflow, vars=vars, actor_id=actor_id, session_id=session_id)
        state = self.runtime.tick(workflow=workflow, run_id=run_id, max_steps=max_steps)
        if max_steps >= TURN_STEPS:
            self.scheduler.keep_going(state)
        return run_id, state

    def start(
        self,
        *,
        workflow: WorkflowSpec,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
        session_id: str | None = None,
    ) -> str:
        """Start a run, execute nothing; its id. The workflow is registered if its id is new."""
        if self.registry.register_if_new(workflow) is not workflow:
            logger.warning(
                "Another workflow is registered as '%s': later steps of the run follow that one. "
                "Call registry.unregister() first to replace it.",
                workflow.workflow_id,
            )
        return self.runtime.start(workflow=workflow, vars=vars, actor_id=actor_id, session_id=session_id)

    def tick(self, run_id: str, *, max_steps: int = 100) -> RunState:
        """Let the run take up to ``max_steps`` steps.

        Raises:
            UnknownRunError, UnknownWorkflowError: (``KeyError``) no such run, or workflow not registered.
        """
        workflow = self.registry.get_or_raise(self.runtime.get_state(run_id).workflow_id)
        return self.runtime.tick(workflow=workflow, run_id=run_id, max_steps=max_steps)

    def respond(self, run_id: str, payload: dict[str, Any]) -> RunState:
        """Give a waiting run its answer, under whatever key it waits for.

        Raises:
            UnknownRunError, UnknownWorkflowError: (``KeyError``) no such run, or workflow not registered.
            WaitMismatchError: (a ``ValueError``) it does not wait, or not for an answer.
        """
        wait_key = waiting_of(self.runtime.get_state(run_id)).wait_key
        if wait_key is None:
            raise WaitMismatchError(f"Run '{run_id}' has no wait_key")
        return self.scheduler.resume_event(run_id=run_id, wait_key=wait_key, payload=payload)

    def get_state(self, run_id: str) -> RunState:
        """The stored run. Raises `UnknownRunError` (a ``KeyError``)."""
        return self.runtime.get_state(run_id)

    def get_ledger(self, run_id: str) -> list[dict[str, Any]]:
        """The run's ledger records in order."""
        return self.runtime.get_ledger(run_id)

    def cancel_run(self, run_id: str, *, reason: str | None = None) -> RunState:
        """End the run CANCELLED. Raises `UnknownRunError` (a ``KeyError``)."""
        return self.runtime.cancel_run(run_id, reason=reason)

    # -- the scheduler's --------------------------------------------------------------------------

    def resume_event(self, *, run_id: str, wait_key: str, payload: Any) -> RunState:
        """See `Scheduler.resume_event`."""
        return self.scheduler.resume_event(run_id=run_id, wait_key=wait_key, payload=payload)

    def emit_event(
        self,
        *,
        name: str,
        payload: Any,
        scope: str = "session",
        session_id: str | None = None,
        workflow_id: str | None = None,
        run_id: str | None = None,
        max_steps: int = 100,
        limit: int = 10_000,
    ) -> list[RunState]:
        """See `Scheduler.emit_event`."""
        return self.scheduler.emit_event(
            name=name,
            payload=payload,
            scope=scope,
            session_id=session_id,
            workflow_id=workflow_id,
            run_id=run_id,
            max_steps=max_steps,
            limit=limit,
        )

    def find_waiting_runs(
        self,
        *,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """See `Scheduler.find_waiting_runs`."""
        return self.scheduler.find_waiting_runs(wait_reason=wait_reason, workflow_id=workflow_id, limit=limit)

    def resume_subworkflow_parent(self, *, child_run_id: str, child_output: Any) -> RunState | None:
        """See `Scheduler.resume_subworkflow_parent`."""
        return self.scheduler.resume_subworkflow_parent(child_run_id=child_run_id, child_output=child_output)

    def cancel_with_children(self, run_id: str, *, reason: str | None = None) -> list[RunState]:
        """See `Scheduler.cancel_with_children`."""
        return self.scheduler.cancel_with_children(run_id, reason=reason)

    @property
    def stats(self) -> SchedulerStats:
        """The scheduler's live counters."""
        return self.scheduler.stats

    @property
    def is_running(self) -> bool:
        """Whether the scheduler polls in the background."""
        return self.scheduler.is_running

    def start_scheduler(self) -> None:
        """Poll in the background; nothing if it does already."""
        if not self.scheduler.is_running:
            self.scheduler.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop the scheduler, waiting up to ``timeout`` seconds for runs under way."""
        self.scheduler.stop(timeout)


def create_scheduled_runtime(
    *,
    run_store: RunStorePort | None = None,
    ledger_store: LedgerPort | None = None,
    artifact_store: Any = None,
    effect_policy: EffectPolicy | None = None,
    workflows: list[WorkflowSpec] | None = None,
    effect_handlers: Mapping[EffectType, EffectHandler] | None = None,
    poll_interval_s: float = 1.0,
    auto_start: bool = True,
    on_run_resumed: RunResumed | None = None,
    on_run_failed: RunFailed | None = None,
    max_errors_kept: int = 100,
    config: RuntimeConfig | None = None,
    max_workers: int = 4,
    recover_running_after_s: float | None = 60.0,
) -> ScheduledRuntime:
    """A runtime, a registry and a scheduler that know each other.

    Args:
        run_store, ledger_store: default: in memory.
        artifact_store, effect_policy, effect_handlers, config: the runtime's.
        workflows: registered beforehand.
        auto_start: poll in the background at once.
        poll_interval_s, on_run_resumed, on_run_failed, max_errors_kept, max_workers, recover_running_after_s:
            the scheduler's.

    Raises:
        InvalidInputError: (a ``ValueError``) two workflows have one id.
        TypeError: the run store can't be searched.
    """
    registry = WorkflowRegistry()
    for workflow in workflows or ():
        registry.register(workflow)
    runtime = Runtime(
        run_store=InMemoryRunStore() if run_store is None else run_store,
        ledger_store=InMemoryLedgerStore() if ledger_store is None else ledger_store,
        effect_handlers=effect_handlers,
        workflow_registry=registry,
        artifact_store=artifact_store,
        effect_policy=effect_policy,
        config=config,
    )
    scheduler = Scheduler(
        runtime=runtime,
        registry=registry,
        poll_interval_s=poll_interval_s,
        max_errors_kept=max_errors_kept,
        on_run_resumed=on_run_resumed,
        on_run_failed=on_run_failed,
        max_workers=max_workers,
        recover_running_after_s=recover_running_after_s,
    )
    if auto_start:
        scheduler.start()
    return ScheduledRuntime(runtime=runtime, scheduler=scheduler, registry=registry)
