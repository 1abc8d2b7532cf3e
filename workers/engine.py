"""How a fleet takes a step: load -> kernel -> commit -> publish (`DESIGN §3`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import replace

from abstractruntime.app import App, EffectBinding
from abstractruntime.core import faults, records
from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.effects import BUILTIN_EFFECTS
from abstractruntime.core.environment import Environment
from abstractruntime.core.errors import FailRun
from abstractruntime.core.handler_parts import transformer_for
from abstractruntime.core.models import RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.resume import woken
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.core.step import begin_effect, checked_plan, unencodable_step
from abstractruntime.core.traces import attach_traces
from abstractruntime.core.transition import (
    Transition,
    advanced,
    completed_by_plan,
    effect_ended,
    effect_record,
    failed,
)
from abstractruntime.limits import StartLimit
from abstractruntime.storage.checkpoints import (
    ADMITTED,
    Checkpoint,
    CheckpointStore,
    PriorResult,
    Write,
    Written,
)

from . import metrics
from .clock import StepClock
from .commits import AlreadyDone, Batch, Commits, LostRace
from .effects import EffectRunner
from .fleet_scope import WRITING_EFFECTS, FleetScope
from .held_steps import StepBudget, TakeOneByOne, holds_key, is_held, ledger_of
from .hints import Message
from .loading import Loading, is_ready
from .placement import timer

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

DEFER_S = 5.0
DEFER_MAX_S = 60.0


class _FleetContext:
    """What node handlers receive: the store's clock."""

    def __init__(self, env: Environment) -> None:
        self._env = env

    def now_iso(self) -> str:
        return self._env.now_iso()


class Engine:
    """Takes steps of runs. Stateless: any number of them, in any process, may share a store.

    Every method may be called with a stale or doubled hint; it then does nothing.
    """

    def __init__(
        self,
        app: App,
        store: CheckpointStore,
        commits: Commits,
        effects: EffectRunner,
        *,
        budget: StepBudget | None = None,
    ) -> None:
        self._app = app
        self._store = store
        self._commits = commits
        self._loading = Loading(commits)
        self._effects = effects
        self._budget = budget or StepBudget()

    def tick(self, run_id: str, version: int, *, first: bool = False) -> None:
        """Take the next step(s) of a run, if it still is at this version.

        Args:
            first: this is the hint that the commit sent itself. Nobody has tried the step with it, however
                often the sweep has sent others since: a queue that is slower than the grace must not make
                every step cost the counting of an attempt, or it never catches up.
        """
        checkpoint = self._loading.load(run_id, version, first=first)
        if checkpoint is None or not is_ready(checkpoint):
            return
        if first:
            checkpoint.redeliveries = min(0, checkpoint.redeliveries)
        messages: list[Message] = []
        try:
            self._take_steps(checkpoint, messages)
        except LostRace:
            metrics.count("tick_dropped", reason="lost_race")
        finally:
            self._commits.publish(messages)  # of what was committed, also if a later step raised

    def _take_steps(self, checkpoint: Checkpoint, messages: list[Message]) -> None:
        """Steps up to the budget; ``messages`` receives those of what was committed."""
        pace = self._budget.pace(checkpoint)
        while True:
            try:
                after, sent = self._step(checkpoint, may_hold=pace.may_hold())
                is_over = pace.is_over(checkpoint, after)
                if is_over and is_held(after):
                    after, sent = self._write_held(after)
            except (TakeOneByOne, AlreadyDone):
                # The latter: the ledger has the result of a step that was held, so that step was not to be
                # taken at all. Alone it takes its result from there.
                again = self._loading.load(checkpoint.run.run_id, checkpoint.version)
                if again is None:
                    return
                checkpoint = again
                pace.hold_no_more()
                continue
            if not is_held(after):
                # Only the last hint of this run is of use; those of other runs all are.
                run_id = after.run.run_id
                messages[:] = [message for message in messages if message.run_id != run_id] + sent
            if is_over:
                return
            checkpoint = after

    def _write_held(self, held: Checkpoint) -> tuple[Checkpoint, list[Message]]:
        try:
            return self._commits.commit_held(held, StepClock(held.now))
        except (TypeError, ValueError) as exc:
            # A node left what can't be stored; which one it was shows when each is written by itself.
            raise TakeOneByOne from exc

    def effect(self, run_id: str, version: int) -> None:
        """Carry out the pending effect of a run, if it still is at this version."""
        checkpoint = self._loading.load(run_id, version)
        if checkpoint is None:
            return
        try:
            messages = self._take_over(checkpoint)
        except LostRace:
            metrics.count("effect_dropped", reason="lost_race")
            return
        self._commits.publish(messages)

    # -- one step -------------------------------------------------------------------------------

    def _step(self, checkpoint: Checkpoint, *, may_hold: bool) -> tuple[Checkpoint, list[Message]]:
        clock = StepClock(checkpoint.now)
        env = clock.environment()
        run = checkpoint.run
        if run.status is RunStatus.WAITING:
            return self._commits.commit_step(checkpoint, woken(run, env), clock)
        if checkpoint.step is not None:
            return checkpoint, self._take_over(checkpoint)
        workflow = self._app.get(run.workflow_id)
        if workflow is None or run.current_node not in workflow.nodes:
            if is_held(checkpoint):
                return self._write_held(checkpoint)
            return checkpoint, self._defer(checkpoint, f"node '{run.current_node}'")
        limits = self._app.start_limits(run.workflow_id)
        if limits and waits_for_admission(checkpoint):
            return self._begin(checkpoint, limits, may_hold=may_hold)
        if checkpoint.redeliveries > 0:
            checkpoint = self._count_attempt(checkpoint, clock)
            if checkpoint.attempts > max(self._effects.max_crashes, self._app.node_retry.max_attempts):
                error = (
                    f"Node '{run.current_node}' lost its worker {checkpoint.attempts - 1} times; "
                    "retry the run once the cause is mended"
                )
                change = failed(run, error, env, reasons=[records.node_failure(run, error, env)])
                return self._commits.commit_step(checkpoint, change, clock)
        return self._node_step(checkpoint, workflow, clock, env, may_hold)

    def _begin(
        self, checkpoint: Checkpoint, limits: Sequence[StartLimit], *, may_hold: bool
    ) -> tuple[Checkpoint, list[Message]]:
        """The run's first step, once its start limits admit it."""
        try:
            found = [limit.demand(checkpoint.run) for limit in limits]
        except Exception as exc:
            error = f"The key of a start limit could not be told: {type(exc).__name__}: {exc}"
            return self._give_up(checkpoint, error)
        demands = [demand for demand in found if demand is not None]
        admitted, hints = self._commits.limiter.admit(checkpoint, demands)
        if hints:
            self._commits.publish([*hints])
        if not admitted:
            return checkpoint, []
        begun = copy(checkpoint)
        begun.admission, begun.hold_reason, begun.redeliveries = ADMITTED, None, 0
        return self._step(begun, may_hold=may_hold)

    def _node_step(
        self,
        checkpoint: Checkpoint,
        workflow: WorkflowSpec,
        clock: StepClock,
        env: Environment,
        may_hold: bool,
    ) -> tuple[Checkpoint, list[Message]]:
        run = checkpoint.run
        attach_traces(run, lambda: ledger_of(checkpoint, self._store))
        context: RunContext = _FleetContext(env)
        try:
            plan = checked_plan(workflow.get_node(run.current_node)(run, context), run.current_node)
        except FailRun as exc:
            return self._give_up(checkpoint, str(exc))
        except Exception as exc:
            return self._node_raised(checkpoint, exc)
        try:
            return self._carry_out(checkpoint, plan, clock, env, may_hold)
        except (TypeError, ValueError) as exc:
            # What the node left in its variables or its plan can't be stored: the node's fault, too.
            return self._node_raised(checkpoint, exc)

    def _carry_out(
        self, checkpoint: Checkpoint, plan: StepPlan, clock: StepClock, env: Environment, may_hold: bool
    ) -> tuple[Checkpoint, list[Message]]:
        if plan.complete_output is not None:
            return self._commits.commit_step(checkpoint, completed_by_plan(checkpoint.run, plan, env), clock)
        if plan.effect is None:
            change = advanced(checkpoint.run, plan, env)
            return self._commits.commit_step(checkpoint, change, clock, may_hold=may_hold)
        return self._effect_step(checkpoint, plan, clock, env, may_hold)

    def _take_over(self, checkpoint: Checkpoint) -> list[Message]:
        """A pending effect was asked for by a worker that has its handler; this one may be of the release
        before."""
        step = checkpoint.step
        if step is not None and self._app.binding(step.effect.type) is None:
            effect = f"a handler for effect '{step.effect.type.value}' of node '{step.node_id}'"
            return self._defer(checkpoint, effect)
        return self._effects.take_over(checkpoint)

    def _defer(self, checkpoint: Checkpoint, what: str) -> list[Message]:
        """A worker that knows it will come (rolling deploy); say so meanwhile."""
        run = checkpoint.run
        reason = f"no worker yet knows {what} of workflow '{run.workflow_id}'"
        delay = min(DEFER_S * 2.0 ** min(checkpoint.redeliveries, 5), DEFER_MAX_S)
        self._store.defer(run.run_id, checkpoint.version, delay, reason)
        metrics.count("tick_deferred", workflow=run.workflow_id)
        logger.warning("run %s deferred: %s", run.run_id, reason)
        return []

    def _count_attempt(self, checkpoint: Checkpoint, clock: StepClock) -> Checkpoint:
        """The sweep sent this step before: perhaps it kills its worker. Count it before it runs again."""
        now = clock.epoch()
        write = Write(
            before=checkpoint,
            run=checkpoint.run,
            attempts=checkpoint.attempts + 1,
            task=checkpoint.task,
            wake_at=now + self._commits.timing.grace_s,
        )
        if self._store.commit(write) is not Written.OK:
            raise LostRace
        counted = copy(checkpoint)
        counted.version += 1
        counted.attempts += 1
        counted.wake_at = write.wake_at
        return counted

    def _node_raised(self, checkpoint: Checkpoint, exc: Exception) -> tuple[Checkpoint, list[Message]]:
        """The node's own code raised: try again later, then park the run as FAILED (`DESIGN §3`)."""
        if is_held(checkpoint):
            raise TakeOneByOne from exc
        node = checkpoint.run.current_node
        logger.warning("node '%s' of run %s raised", node, checkpoint.run.run_id, exc_info=exc)
        error = f"Node '{node}' raised {type(exc).__name__}: {exc}"
        attempt = _attempt(checkpoint)
        retry = self._app.node_retry
        if attempt >= retry.max_attempts:
            return self._give_up(checkpoint, error)
        fresh, clock = self._fresh(checkpoint)
        place = timer(clock.epoch() + retry.delay(attempt), clock.epoch(), self._commits.timing)
        record = records.node_failure(fresh.run, error, clock.environment(), attempt=attempt)
        write = Write(
            before=fresh,
            run=fresh.run,
            records=[record],
            attempts=attempt,
            wake_at=place.wake_at,
            due_at=place.due_at,
        )
        return self._commits.commit_write(write, place, clock)

    def _give_up(self, checkpoint: Checkpoint, error: str) -> tuple[Checkpoint, list[Message]]:
        if is_held(checkpoint):
            raise TakeOneByOne
        fresh, clock = self._fresh(checkpoint)
        env = clock.environment()
        record = records.node_failure(fresh.run, error, env, attempt=_attempt(checkpoint))
        return self._commits.commit_step(fresh, failed(fresh.run, error, env, reasons=[record]), clock)

    def _fresh(self, checkpoint: Checkpoint) -> tuple[Checkpoint, StepClock]:
        """The stored run again: what the failed node did to its copy must not be committed."""
        fresh = self._store.load(checkpoint.run.run_id)
        if fresh is None or fresh.version != checkpoint.version:
            raise LostRace
        return fresh, StepClock(fresh.now)

    # -- effects --------------------------------------------------------------------------------

    def _effect_step(
        self, checkpoint: Checkpoint, plan: StepPlan, clock: StepClock, env: Environment, may_hold: bool
    ) -> tuple[Checkpoint, list[Message]]:
        begun = begin_effect(checkpoint.run, plan, self._app.policy)
        if isinstance(begun, str):
            assert plan.effect is not None
            step = unencodable_step(plan, plan.effect)
            change = _outcome_change(checkpoint, step, EffectOutcome.failed(begun), env)
            return self._commits.commit_step(checkpoint, change, clock)
        if holds_key(checkpoint, begun.key):
            raise TakeOneByOne  # its result is taken from the ledger, once it is there
        try:
            binding = self._app.binding(begun.effect.type)
            if binding is not None:
                return self._begin_effect(checkpoint, begun, binding, clock, env)
            return self._builtin(checkpoint, begun, clock, env, may_hold)
        except AlreadyDone:
            if is_held(checkpoint):
                raise TakeOneByOne from None
            return self._reuse(checkpoint, begun, clock, env)

    def _begin_effect(
        self,
        checkpoint: Checkpoint,
        step: EffectStep,
        binding: EffectBinding,
        clock: StepClock,
        env: Environment,
    ) -> tuple[Checkpoint, list[Message]]:
        """The effect with the payload that its attempts and the ledger see (`spec/01 §11.4`)."""
        transform = transformer_for(step.effect.type, binding.handler, self._app.grounding)
        if transform is None:
            return self._effects.begin(checkpoint, step, clock, env)
        try:
            payload = transform(checkpoint.run, deepcopy(step.effect.payload))
        except Exception as exc:
            outcome = EffectOutcome.failed(f"Payload transformer raised exception: {exc}")
            change = _outcome_change(checkpoint, step, outcome, env)
            return self._commits.commit_step(checkpoint, change, clock, unless_completed=(step.key,))
        begun = replace(step, effect=replace(step.effect, payload=payload))
        return self._effects.begin(checkpoint, begun, clock, env)

    def _builtin(
        self, checkpoint: Checkpoint, step: EffectStep, clock: StepClock, env: Environment, may_hold: bool
    ) -> tuple[Checkpoint, list[Message]]:
        builtin = BUILTIN_EFFECTS.get(step.effect.type)
        if builtin is None:
            outcome = EffectOutcome.failed(f"No effect handler registered for {step.effect.type.value}")
            change = _outcome_change(checkpoint, step, outcome, env)
            return self._commits.commit_step(checkpoint, change, clock)
        if step.effect.type in WRITING_EFFECTS:
            return self._writing_builtin(checkpoint, step)
        scope = FleetScope(self._app, self._commits, checkpoint, clock)
        outcome = builtin(checkpoint.run, step.effect, step.next_node, scope)
        change = _outcome_change(checkpoint, step, outcome, env)
        return self._commits.commit_step(
            checkpoint, change, clock, unless_completed=(step.key,), may_hold=may_hold
        )

    def _writing_builtin(self, checkpoint: Checkpoint, step: EffectStep) -> tuple[Checkpoint, list[Message]]:
        """Children and events are written in the same unit as the step that makes them."""
        with self._store.unit() as unit:
            batch = Batch(unit, StepClock(unit.now))
            prior = unit.completed_result(checkpoint.run.run_id, step.key)
            if prior is not None:
                change = self._reused(checkpoint, step, prior, batch.env)
            else:
                scope = FleetScope(self._app, self._commits, checkpoint, batch.clock, batch)
                builtin = BUILTIN_EFFECTS[step.effect.type]
                outcome = builtin(checkpoint.run, step.effect, step.next_node, scope)
                change = _outcome_change(checkpoint, step, outcome, batch.env)
            after = self._commits.write(batch, checkpoint, change)
            faults.hit("step.before_commit")
        faults.hit("step.after_commit")
        return after, batch.messages

    def _reuse(
        self, checkpoint: Checkpoint, step: EffectStep, clock: StepClock, env: Environment
    ) -> tuple[Checkpoint, list[Message]]:
        """The ledger has the result of this effect: take it instead of doing it again (`spec/01 §5.5`)."""
        with self._store.unit() as unit:
            prior = unit.completed_result(checkpoint.run.run_id, step.key)
        if prior is None:
            raise LostRace
        return self._commits.commit_step(checkpoint, self._reused(checkpoint, step, prior, env), clock)

    def _reused(
        self, checkpoint: Checkpoint, step: EffectStep, prior: PriorResult, env: Environment
    ) -> Transition:
        found = EffectOutcome.completed(prior.result)
        outcome = self._effects.evidence.of_outcome(checkpoint.run, step, found, env, reused=True)
        self._effects.apply(checkpoint.run, step, outcome)
        return effect_ended(checkpoint.run, step, outcome, env, reused=True)


def waits_for_admission(checkpoint: Checkpoint) -> bool:
    """Whether the run's start is limited and it has not begun. One that a client of the release before has
    started is known by its version."""
    if checkpoint.depth or checkpoint.admission == ADMITTED:
        return False
    return checkpoint.admission is not None or checkpoint.version == 1


def _attempt(checkpoint: Checkpoint) -> int:
    """Number of the try that runs now; one that the sweep sent again is counted in ``attempts`` already."""
    return checkpoint.attempts if checkpoint.redeliveries > 0 else checkpoint.attempts + 1


def _outcome_change(
    checkpoint: Checkpoint, step: EffectStep, outcome: EffectOutcome, env: Environment
) -> Transition:
    """STARTED and outcome records of an effect without outside contact, and what follows, in one commit."""
    claimed, started = step.started(checkpoint.run, env)
    ended = effect_record(checkpoint.run, claimed, outcome, env)
    change = effect_ended(checkpoint.run, claimed, outcome, env)
    change.records = [started, ended, *change.records]
    return change
