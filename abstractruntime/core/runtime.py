"""The in-process driver: one kernel over any pair of stores (`spec/01 §8`, §9).

`Runtime` loads a run, lets its node plan, carries effects out and commits what `transition`, `resume` and
`control` say. A fleet has its own driver (package ``workers``) over the same kernel.
"""

from __future__ import annotations

import time  # noqa: F401  # patched by hosts as `abstractruntime.core.runtime.time.sleep` (spec/01 §5.6)
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from . import transition
from .config import RuntimeConfig
from .controls import Controls
from .deliveries import mark_received
from .drive import Drive, Host
from .environment import Environment
from .errors import AccessDeniedError, InvalidInputError
from .evidence import payload_kept, recorder_for
from .handler_set import HandlerSet
from .hooks import Hooks
from .inspection import Inspection
from .last_words import LastWords
from .local_scope import LocalScope
from .models import Effect, EffectType, RunState, RunStatus, utc_now, utc_now_iso
from .outcome import BoundHandler, EffectHandler, EffectOutcome, bind_handler
from .persistence import Persistence
from .policy import DefaultEffectPolicy, EffectPolicy, with_runtime_call_ids
from .redaction import redacting_ledger, redacting_run_store
from .resume import can_go_on, check_resumable, resumed
from .resume_record import recorded_payload
from .spec import RunContext, WorkflowSpec
from .starting import new_run
from .store_ports import LedgerPort, RunStorePort

__all__ = ["DefaultRunContext", "EffectHandler", "EffectOutcome", "Runtime", "utc_now", "utc_now_iso"]


class DefaultRunContext:
    """What node handlers receive as their second argument unless the host passes its own object."""

    def __init__(self, environment: Environment | None = None) -> None:
        self._environment = environment or Environment()

    def now_iso(self) -> str:
        """The current UTC time as ISO 8601 text."""
        return self._environment.now_iso()


def _ensure_tool_calls_have_runtime_ids(*, effect: Effect, idempotency_key: str) -> Effect:
    """Kept for hosts that import it (`spec/01 §1.3`); see `policy.with_runtime_call_ids`."""
    return with_runtime_call_ids(effect, idempotency_key)


class Runtime(Inspection, Controls):
    """Runs workflows durably in this process.

    Args:
        run_store: keeps checkpoints (``save``, ``load``; some effects need its query methods).
        ledger_store: keeps the append-only ledger (``append``, ``list``).
        effect_handlers: by effect type; merged over the built-in effects, so a host may replace those.
        context: handed to node handlers; default `DefaultRunContext`.
        workflow_registry: anything with ``get(workflow_id)``; needed for subworkflows and event delivery.
        artifact_store: where large or evidential payloads live.
        effect_policy: attempts, backoff and idempotency keys; default: one attempt.
        config: limits and defaults seeded into new runs.
        chat_summarizer: used by memory compaction.
        environment: clock and ids; default: the real ones.
        hooks: access rules, redaction, evidence and other doors for hosts and integrations; default: none.

    All arguments are keyword-only (`spec/01 §8.1`).
    """

    def __init__(
        self,
        *,
        run_store: RunStorePort,
        ledger_store: LedgerPort,
        effect_handlers: Mapping[EffectType, EffectHandler] | None = None,
        context: RunContext | None = None,
        workflow_registry: Any = None,
        artifact_store: Any = None,
        effect_policy: EffectPolicy | None = None,
        config: RuntimeConfig | None = None,
        chat_summarizer: Any = None,
        environment: Environment | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self.hooks = Hooks() if hooks is None else hooks
        self._run_store, self._ledger_store = run_store, ledger_store
        self._stores = Persistence(
            redacting_run_store(run_store, self.hooks.redactor),
            redacting_ledger(ledger_store, self.hooks.redactor),
        )
        self._handlers: dict[EffectType, BoundHandler] = {
            kind: bind_handler(handler) for kind, handler in (effect_handlers or {}).items()
        }
        self._workflow_registry = workflow_registry
        self._artifact_store = artifact_store
        self._effect_policy = DefaultEffectPolicy() if effect_policy is None else effect_policy
        self._config = RuntimeConfig() if config is None else config
        self._chat_summarizer = chat_summarizer
        self.environment = environment or Environment()
        self._context = DefaultRunContext(self.environment) if context is None else context
        self.last_words = LastWords(self._stores, self.environment)

    # -- what the runtime was given -------------------------------------------------------------

    @property
    def run_store(self) -> Any:
        """The run store passed in."""
        return self._run_store

    @property
    def ledger_store(self) -> Any:
        """The ledger store passed in."""
        return self._ledger_store

    @property
    def config(self) -> RuntimeConfig:
        """Limits and defaults of new runs."""
        return self._config

    @property
    def workflow_registry(self) -> Any:
        """Where workflows of children and event listeners are looked up, or ``None``."""
        return self._workflow_registry

    def set_workflow_registry(self, registry: Any) -> None:
        """Replace the workflow registry."""
        self._workflow_registry = registry

    @property
    def artifact_store(self) -> Any:
        """The artifact store, or ``None``."""
        return self._artifact_store

    def set_artifact_store(self, store: Any) -> None:
        """Replace the artifact store."""
        self._artifact_store = store

    @property
    def effect_policy(self) -> EffectPolicy:
        """Attempts, backoff and idempotency keys."""
        return self._effect_policy

    def set_effect_policy(self, policy: EffectPolicy) -> None:
        """Replace the effect policy."""
        self._effect_policy = policy

    @property
    def chat_summarizer(self) -> Any:
        """The summariser used by memory compaction, or ``None``."""
        return self._chat_summarizer

    # -- start, tick, resume --------------------------------------------------------------------

    def start(
        self,
        *,
        workflow: WorkflowSpec,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
        session_id: str | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Create a RUNNING run at the entry node, save it, execute nothing (`spec/01 §9.1`).

        Returns:
            the run id (a UUID4).
        """
        return self.start_as(
            self.environment.new_id(),
            workflow=workflow,
            vars=vars,
            actor_id=actor_id,
            session_id=session_id,
            parent_run_id=parent_run_id,
        )

    def start_as(
        self,
        run_id: str,
        *,
        workflow: WorkflowSpec,
        vars: dict[str, Any] | None = None,
        actor_id: str | None = None,
        session_id: str | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """`start` under an id of the caller's choice."""
        run = new_run(
            workflow,
            config=self._config,
            env=self.environment,
            vars=vars,
            actor_id=actor_id,
            session_id=session_id,
            parent_run_id=parent_run_id,
            run_id=run_id,
        )
        self._stores.run_store.save(run)
        return run.run_id

    def tick(self, *, workflow: WorkflowSpec, run_id: str, max_steps: int = 100) -> RunState:
        """Let the run take up to ``max_steps`` node executions (`spec/01 §9.2`).

        Returns at once, without change, when the run is terminal, paused, or waits for something that is
        not due. If another thread drives the run already, or another process over the same SQLite file or
        directory, its stored state is returned.

        Raises:
            UnknownRunError: (a ``KeyError``) no such run.
            InvalidInputError: (a ``ValueError``) the workflow is not the run's.
            Exception: whatever a node handler raises; the run stays RUNNING.
        """
        drive = self._begin_drive(workflow, run_id)
        if not isinstance(drive, Drive):
            return self.last_words.met(drive)
        try:
            return drive.take_steps(max_steps)
        finally:
            self._stores.locks.give_back(run_id, drive)

    def run_child(self, *, workflow: WorkflowSpec, run_id: str) -> tuple[RunState, bool]:
        """`tick` until the run waits or ends, at most ``config.max_subworkflow_steps`` node executions. One
        that would go on ends FAILED: whoever started it can't come back to it (`spec/01 §12.6`, §19.6).

        Returns:
            the run, and whether this ended it.
        """
        drive = self._begin_drive(workflow, run_id)
        if not isinstance(drive, Drive):
            return drive, False
        limit = self._config.max_subworkflow_steps
        try:
            drive.take_steps(limit)
            given_up = drive.give_up(
                f"Neither waiting nor ended after {limit} steps inside its parent's step; raise "
                "RuntimeConfig.max_subworkflow_steps, or start it with async"
            )
            return drive.run, given_up
        finally:
            self._stores.locks.give_back(run_id, drive)

    def _begin_drive(self, workflow: WorkflowSpec, run_id: str) -> Drive | RunState:
        """The exclusive drive of a run that can go on; else the run as it is stored.

        Decided under the run's lock: whoever makes a run go on (resume, unpause) and ticks it then finds it
        driven only by somebody who has seen that.
        """
        seen = self._stores.see(run_id)
        _check_workflow(seen.run, workflow)
        if not can_go_on(seen.run, self.environment):
            return seen.run
        drive: Drive | None = None
        try:
            with self._stores.writing(run_id):
                seen = self._stores.current(seen)
                drive = Drive(self._host(), workflow, seen)
                if not can_go_on(seen.run, self.environment) or not self._stores.locks.take(run_id, drive):
                    return seen.run
                if seen.run.status is RunStatus.WAITING:
                    drive.wake()
                return drive
        except BaseException:
            self._stores.locks.give_back(run_id, drive)
            raise

    def _host(self) -> Host:
        return Host(
            stores=self._stores,
            environment=self.environment,
            context=self._context,
            policy=self._effect_policy,
            handlers=HandlerSet(self._handlers, self.hooks),
            scope=lambda run, step: LocalScope(self, run, step),
            hooks=self.hooks,
            evidence=recorder_for(self.hooks, self._artifact_store),
            open_artifacts=None if self._artifact_store is None else lambda: self._artifact_store,
        )

    def resume(
        self,
        *,
        workflow: WorkflowSpec,
        run_id: str,
        wait_key: str | None,
        payload: Any,
        max_steps: int = 100,
        override_node: str | None = None,
    ) -> RunState:
        """Give a waiting run what it waits for and let it go on (`spec/01 §9.3`).

        Args:
            wait_key: must equal the stored key; ``None`` resumes any wait.
            payload: any JSON value; stored at the wait's ``result_key``.
            max_steps: 0 only records the resumption.
            override_node: go on at this node instead of the wait's.

        Raises:
            UnknownRunError: (a ``KeyError``) no such run.
            WaitMismatchError: (a ``ValueError``) paused, not waiting, or another key.
            AccessDeniedError: (a ``ValueError``) the host's access policy forbids it.
        """

        def go_on(run: RunState) -> transition.Transition:
            check_resumable(run, wait_key)
            if not self.hooks.access.may_resume(run, wait_key):
                raise AccessDeniedError(f"Run '{run_id}' may not be resumed with wait_key {wait_key!r}")
            return self._resumed(run, workflow, payload, override_node)

        with self.last_words.of_refused(run_id):
            run = self._stores.update(run_id, go_on)
        return self._go_on(workflow, run, max_steps)

    def deliver_event(
        self,
        *,
        workflow: WorkflowSpec,
        run_id: str,
        wait_key: str | None,
        envelope: dict[str, Any],
        max_steps: int,
        emitter_run_id: str,
        delivery: str,
    ) -> RunState:
        """`resume` with an event, marked on the listener so that a repetition is recognised
        (`spec/01 §19.15`); the access policy was asked by the emitter."""

        def go_on(run: RunState) -> transition.Transition:
            check_resumable(run, wait_key)
            mark_received(run, emitter_run_id, delivery)
            return self._resumed(run, workflow, envelope, None)

        return self._go_on(workflow, self._stores.update(run_id, go_on), max_steps)

    def _go_on(self, workflow: WorkflowSpec, run: RunState, max_steps: int) -> RunState:
        if run.is_terminal or max_steps <= 0:
            return run
        return self.tick(workflow=workflow, run_id=run.run_id, max_steps=max_steps)

    def _resumed(
        self, run: RunState, workflow: WorkflowSpec, payload: Any, override_node: str | None
    ) -> transition.Transition:
        _check_workflow(run, workflow)
        recorder = recorder_for(self.hooks, self._artifact_store)
        payload = payload_kept(recorder, run, deepcopy(payload), self.environment, self._stores.tally)
        return resumed(
            run,
            payload,
            self.environment,
            override_node=override_node,
            recorded=lambda stored: recorded_payload(
                run.run_id, stored, self._artifact_store, self._stores.tally
            ),
        )

    def count_fault(self, name: str) -> None:
        """Count something that went wrong and must not fail a run; see `fault_counts`."""
        self._stores.tally.add(name)


def _check_workflow(run: RunState, workflow: WorkflowSpec) -> None:
    if run.workflow_id != workflow.workflow_id:
        raise InvalidInputError(
            f"Run '{run.run_id}' belongs to workflow '{run.workflow_id}', not '{workflow.workflow_id}'"
        )
