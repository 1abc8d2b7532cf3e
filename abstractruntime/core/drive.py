"""Taking steps of one run in this process (`spec/01 §9.2`, §10, §14)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from . import records, transition
from .control import backed_off, goes_on, is_paused
from .copies import copied
from .effect_context import EffectContext, carrying_out
from .effect_step import EffectStep
from .effects import BUILTIN_EFFECTS
from .effects.scope import EffectScope
from .environment import Environment
from .evidence import outcome_kept
from .handler_parts import apply_completed, notify_committed
from .handler_set import HandlerSet, WholeHandler
from .hooks import EvidenceRecorder, Hooks
from .members import RUNNING
from .models import Effect, RunState, RunStatus, StepPlan, StepRecord
from .outcome import EffectOutcome, invoke
from .persistence import Persistence
from .policy import EffectPolicy
from .resume import woken
from .reuse import PriorFailure, ReuseLookup
from .spec import RunContext, WorkflowSpec
from .step import begin_effect, checked_plan, not_json, unencodable_step
from .step_stamp import is_same_step
from .store_ports import Seen
from .traces import renew_traces

__all__ = ["Drive", "Host"]

logger = logging.getLogger(__name__)

UNKNOWN_ERROR = "unknown error"


@dataclass(frozen=True, slots=True)
class Host:
    """What a drive needs of the runtime it belongs to.

    Attributes:
        stores: where runs and records go.
        environment: clock and ids.
        context: handed to node handlers.
        policy: attempts, backoff and idempotency keys.
        handlers: the host's effect handlers; they win over the built-in ones.
        scope: makes what a built-in effect may ask for.
        hooks: what the host asked for beyond the contract.
        evidence: keeps tool results, if somebody does.
        open_artifacts: see `EffectContext`.
    """

    stores: Persistence
    environment: Environment
    context: RunContext
    policy: EffectPolicy
    handlers: HandlerSet
    scope: Callable[[RunState, EffectStep], EffectScope]
    hooks: Hooks
    evidence: EvidenceRecorder | None = None
    open_artifacts: Callable[[], Any] | None = None


class Drive:
    """One caller's exclusive drive of one run: it has the run's lease until the run can't go on.

    Between two commits nothing is written but the records of an effect's attempts, which the ledger must
    have before anything depends on them.
    """

    def __init__(self, host: Host, workflow: WorkflowSpec, seen: Seen) -> None:
        self._host = host
        self._workflow = workflow
        self._seen = seen
        self._reuse = ReuseLookup(host.stores.ledger_store, seen.run.run_id)
        self._is_first_effect = True
        self._handler: WholeHandler
        """Of the effect under way."""

    @property
    def run(self) -> RunState:
        """The run as it is stored."""
        return self._seen.run

    def wake(self) -> None:
        """The run's timer is due: it goes on, or ends, in one durable transition (`spec/01 §13.2`)."""
        self._commit(woken(self.run, self._host.environment))

    def take_steps(self, max_steps: int) -> RunState:
        """Up to ``max_steps`` node executions, while the run is RUNNING and not paused."""
        for _ in range(max_steps):
            if self._seen.run.status is not RUNNING or not self._step():
                break
        return self.run

    def give_up(self, error: str) -> bool:
        """End a run that would go on FAILED with ``error``; whether that was so."""
        seen = self._seen = self._host.stores.refresh(self._seen, self)
        if seen.run.status is not RUNNING or is_paused(seen.run):
            return False
        self._commit(transition.failed(seen.run, error, self._host.environment))
        return self.run.status is RunStatus.FAILED and self.run.error == error

    def _step(self) -> bool:
        """One node execution, unless somebody has stopped the run; whether there was one."""
        host = self._host
        seen = self._seen = host.stores.refresh(self._seen, self)
        run = seen.run
        if run.status is not RUNNING or is_paused(run):
            return False
        try:
            node = self._workflow.get_node(run.current_node)
            plan = node(run, host.context)
            if type(plan) is not StepPlan:
                checked_plan(plan, run.current_node)
            effect = plan.effect if plan.complete_output is None else None
            made = self._without_effect(run, plan) if effect is None else None
        except Exception as exc:
            self._note_node_error(exc)
            raise
        if effect is not None:
            self._effect_step(run, plan, effect)
        elif made is not None:
            self._commit(made)
        return True

    def _without_effect(self, run: RunState, plan: StepPlan) -> transition.Transition:
        env = self._host.environment
        if plan.complete_output is not None:
            return transition.completed_by_plan(run, plan, env)
        made = transition.advanced(run, plan, env)
        if self._host.hooks.record_transitions:
            change = {"from": run.current_node, "to": plan.next_node}
            made.records.append(records.control(run, "transition", change, env))
        return made

    def _note_node_error(self, exc: Exception) -> None:
        """What the host wants to find in the stored run of an exception. Its caller gets that in any case,
        so what fails here is only reported."""
        if self._host.hooks.node_errors == "raise":
            return
        try:
            self._store_node_error(exc)
        except Exception:
            logger.warning("exception of run %s could not be recorded", self.run.run_id, exc_info=True)
            self._host.stores.tally.add("node_error")

    def _store_node_error(self, exc: Exception) -> None:
        before, env = self.run, self._host.environment
        self._seen = self._host.stores.see(before.run_id)  # without what the node did to its copy
        if not is_same_step(before, self.run):
            return  # somebody else has taken the step
        error = f"Node '{before.current_node}' raised {type(exc).__name__}: {exc}"
        attempt = self._reuse.node_failures() + 1
        record = records.node_failure(self.run, error, env, attempt=attempt)
        if self._host.hooks.node_errors == "record":
            self._append(record)
        else:
            self._commit(transition.failed(self.run, error, env, reasons=[record]))

    def _effect_step(self, run: RunState, plan: StepPlan, effect: Effect) -> None:
        self._handler = self._host.handlers[effect.type]
        step = begin_effect(run, plan, self._host.policy)
        if isinstance(step, str):
            self._refuse(unencodable_step(plan, effect), step)
            return
        prior = self._reuse.completed(step.key)
        if prior is not None:
            found = EffectOutcome.completed(prior.result)
            self._end(step, self._kept(step, found, reused=True), reused=True)
            return
        transform = self._handler.transform
        if transform is not None:
            try:
                payload = transform(run, deepcopy(step.effect.payload))
            except Exception as exc:
                self._refuse(step, f"Payload transformer raised exception: {exc}")
                return
            step = replace(step, effect=replace(step.effect, payload=payload))
        failure = self._lost_failure(step) if self._is_first_effect else None
        if failure is None:
            self._attempts(step)
        elif failure.attempt < step.max_attempts:
            self._attempts(replace(step, attempt=failure.attempt + 1))
        else:
            lost = replace(step, attempt=failure.attempt)
            self._end(lost, EffectOutcome.failed(failure.error or UNKNOWN_ERROR))

    def _lost_failure(self, step: EffectStep) -> PriorFailure | None:
        """The attempt after which a drive before this one was lost or stopped (`spec/01 §19.13`).

        Only the first effect of a drive can have one, and only an effect that is retried counts attempts.
        """
        self._is_first_effect = False
        return self._reuse.failed(step.key) if step.max_attempts > 1 else None

    # -- attempts (spec/01 §5.6) ----------------------------------------------------------------

    def _attempts(self, step: EffectStep) -> None:
        while self._claim(step) and not self._attempt(step) and self._may_try_again(step):
            step = step.next_attempt()

    def _claim(self, step: EffectStep) -> bool:
        """Put the attempt's STARTED record into the ledger; ``False`` if it can't be recorded and so has
        ended."""
        started = step.claim(self._seen.run, self._host.environment)
        try:
            self._host.stores.ledger_store.append(started)
        except (TypeError, ValueError):
            problem = not_json(step.effect.payload, "Effect payload")
            if problem is None:
                raise
            self._refuse(replace(step, effect=replace(step.effect, payload={})), problem)
            return False
        return True

    def _attempt(self, step: EffectStep) -> bool:
        """One attempt; whether the step has ended with it. An outcome that can't be stored is a failure
        (`spec/01 §19.6`)."""
        outcome = self._execute(step)
        if self._host.evidence is not None:
            outcome = self._kept(step, outcome)
        is_last = step.attempt >= step.max_attempts
        if outcome.status != "failed" or is_last:
            problem = self._end_recorded(step, outcome)
            if problem is None:
                return True
            outcome = EffectOutcome.failed(problem)
            if is_last:
                self._end_recorded(step, outcome)
                return True
        self._append(transition.effect_record(self.run, step, outcome, self._host.environment))
        return False

    def _end_recorded(self, step: EffectStep, outcome: EffectOutcome) -> str | None:
        """End the step with this outcome and its record, in one write where the store can; or why the outcome
        can't be stored."""
        record = transition.effect_record(self._seen.run, step, outcome, self._host.environment)
        try:
            self._end(step, outcome, record)
        except (TypeError, ValueError):
            problem = _unstorable(outcome)
            if problem is None:
                raise
            return problem
        if outcome.status == "completed":
            self._reuse.remember(step.key, outcome.result)
            told = self._handler.on_committed
            if told is not None:
                self._seen.writes = None  # it may write to the store by itself
                with carrying_out(self._context(step)):
                    notify_committed(told, self.run, step.effect, step.key)
        return None

    def _append(self, record: StepRecord) -> None:
        self._host.stores.ledger_store.append(record)

    def _refuse(self, step: EffectStep, problem: str) -> None:
        """The effect can't be recorded as it is: a record without its payload stands in the ledger."""
        outcome = EffectOutcome.failed(problem)
        self._append(step.claim(self.run, self._host.environment))
        self._append(transition.effect_record(self.run, step, outcome, self._host.environment))
        self._end(step, outcome)

    def _may_try_again(self, step: EffectStep) -> bool:
        """Wait before the next attempt; not if somebody has stopped the run meanwhile (`spec/01 §19.13`)."""
        if self._is_stopped():
            return False
        backoff = self._host.policy.backoff_seconds(effect=step.effect, attempt=step.attempt)
        if backoff <= 0:
            return True
        durable_from = self._host.hooks.durable_backoff_s
        if durable_from is not None and backoff >= durable_from:
            self._park(step, backoff)
            return False
        time.sleep(backoff)
        return not self._is_stopped()

    def _park(self, step: EffectStep, seconds: float) -> None:
        """The run waits for its next attempt, as it was before its node ran: the node will run again."""
        before = self.run
        self._seen = self._host.stores.see(before.run_id)
        self._is_first_effect = True
        if is_same_step(before, self.run):
            self._commit(backed_off(self.run, step.attempt, seconds, self._host.environment))

    def _is_stopped(self) -> bool:
        """Whether the step is not ours to go on with; then the run is seen as it is stored now."""
        stored = self._host.stores.changed_since(self._seen)
        if stored is None or goes_on(self.run, stored):
            return False
        self._seen = self._host.stores.refresh(self._seen, self)
        self._is_first_effect = True
        return True

    def _execute(self, step: EffectStep) -> EffectOutcome:
        host, run, effect = self._host, self._seen.run, step.effect
        handler = self._handler.call
        if handler is not None:
            return invoke(handler, run, _private(effect), step.next_node, self._context(step))
        builtin = BUILTIN_EFFECTS.get(effect.type)
        if builtin is None:
            return EffectOutcome.failed(f"No effect handler registered for {effect.type.value}")
        scope = host.scope(run, step)
        return invoke(
            lambda state, asked, default_next: builtin(state, asked, default_next, scope),
            run,
            effect,
            step.next_node,
        )

    def _context(self, step: EffectStep) -> EffectContext:
        return EffectContext(
            self._seen.run.run_id,
            step.key,
            step.attempt,
            self._is_cancelled,
            self._host.open_artifacts,
            self._handler.on_completed,
        )

    def _is_cancelled(self) -> bool:
        stored = self._host.stores.changed_since(self._seen)
        return stored is not None and stored.status is RunStatus.CANCELLED

    # -- commits --------------------------------------------------------------------------------

    def _end(
        self,
        step: EffectStep,
        outcome: EffectOutcome,
        record: StepRecord | None = None,
        *,
        reused: bool = False,
    ) -> None:
        """``record``: the outcome's, if it is not in the ledger yet."""

        def made() -> transition.Transition:
            host, run, handler = self._host, self._seen.run, self._handler
            if handler.call is None or outcome.status != "completed":
                return transition.effect_ended(run, step, outcome, host.environment, reused=reused)
            # The ledger has its own copy; what a handler keeps must not be what the run keeps (§19.10).
            result = outcome.result if reused else copied(outcome.result)
            applied = handler.on_completed
            if applied is not None and not apply_completed(applied, run, step.effect, result, step.key):
                host.stores.tally.add("on_completed")
            now = None if record is None else record.ended_at
            return transition.effect_completed(run, step, result, host.environment, reused=reused, now=now)

        self._commit_made(made, record)

    def _kept(self, step: EffectStep, outcome: EffectOutcome, *, reused: bool = False) -> EffectOutcome:
        """The outcome with tool results kept as evidence, if somebody does that."""
        host = self._host
        if host.evidence is None:
            return outcome
        return outcome_kept(
            host.evidence, self.run, step, outcome, host.environment, host.stores.tally, reused=reused
        )

    def _commit(self, made: transition.Transition) -> None:
        self._commit_made(lambda: made)

    def _commit_made(
        self, make: Callable[[], transition.Transition], outcome: StepRecord | None = None
    ) -> None:
        stores = self._host.stores
        self._seen, is_ours = stores.commit(self._seen, make, self, outcome)
        run = self._seen.run
        if not renew_traces(run):
            stores.with_traces(run)
        if not is_ours:
            self._is_first_effect = True  # somebody else was here


def _unstorable(outcome: EffectOutcome) -> str | None:
    if outcome.status == "completed":
        return not_json(outcome.result, "Effect result")
    return None if outcome.wait is None else not_json(outcome.wait.to_dict(), "Effect wait")


def _private(effect: Effect) -> Effect:
    """The handler's own copy: what it does to the payload must not reach ledger or workflow."""
    return Effect(effect.type, copied(effect.payload), effect.result_key)
