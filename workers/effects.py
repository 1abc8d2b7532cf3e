"""Carrying out effects with outside contact: claim, call, record (`DESIGN §1.3`, §3.4).

The claim (STARTED record, attempt, lease) is committed before the call; the outcome is committed before
anything depends on it. Whoever holds the claim is recognised by the STARTED record's step id, so an outcome
that arrives after somebody paused or cancelled the run is still recorded, and one that arrives after another
worker took over is not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from time import monotonic, sleep

from abstractruntime.app import App, EffectBinding
from abstractruntime.core import faults
from abstractruntime.core.control import hold, is_paused
from abstractruntime.core.effect_context import EffectContext, carrying_out
from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.environment import Environment
from abstractruntime.core.errors import ConcurrentUpdateError, ServiceUnavailableError
from abstractruntime.core.handler_parts import (
    apply_completed,
    notify_committed,
    on_committed_of,
    on_completed_of,
)
from abstractruntime.core.models import Effect, RunState, RunStatus, StepRecord
from abstractruntime.core.outcome import EffectOutcome, invoke
from abstractruntime.core.step_stamp import marks_of_others
from abstractruntime.core.transition import Transition, effect_ended, effect_record
from abstractruntime.storage.checkpoints import Checkpoint, CheckpointStore, Task, Write

from . import metrics
from .artifacts import Artifacts
from .clock import StepClock
from .commits import Commits, after_write
from .evidence import Evidence
from .heartbeat import Heartbeat
from .hints import Message
from .limiter import LEASED
from .lost_race import LostRace
from .placement import Placement, timer

__all__ = ["EffectRunner"]

logger = logging.getLogger(__name__)

Committed = tuple[Checkpoint, list[Message]]
MAX_RECORD_TRIES = 20
OUTCOME_PATIENCE_S = 60.0


def backoffs() -> Iterator[float]:
    """Growing pauses in seconds, without end."""
    pause = 0.05
    while True:
        yield pause
        pause = min(pause * 2, 2.0)


class EffectRunner:
    """Runs the handlers an App declares."""

    def __init__(self, app: App, store: CheckpointStore, commits: Commits, *, max_crashes: int = 3) -> None:
        self._app = app
        self._store = store
        self._commits = commits
        self.max_crashes = max_crashes
        self._artifacts = Artifacts(app, store)
        self.evidence = Evidence(self._artifacts)

    def begin(
        self, checkpoint: Checkpoint, step: EffectStep, clock: StepClock, env: Environment
    ) -> Committed:
        """The node has asked for ``step``: carry it out here if it is quick, else queue it."""
        binding = self._binding(step)
        if binding.quick and not binding.limits:
            return self._attempt(checkpoint, step, binding, clock, unless_completed=(step.key,))
        now = clock.epoch()
        place = Placement(wake_at=now + self._commits.timing.grace_s, hint_in_s=0.0)
        write = Write(
            before=checkpoint,
            run=checkpoint.run,
            step=step,
            task=Task.TICK if binding.quick else Task.EFFECT,
            wake_at=place.wake_at,
            unless_completed=(step.key,),
        )
        pending, hints = self._commits.commit_write(write, place, clock)
        if binding.quick:  # it may have to wait for a slot, so it is stored first
            return self._attempt(pending, step, binding, clock)
        return pending, hints

    def take_over(self, checkpoint: Checkpoint) -> list[Message]:
        """Carry out a pending step: a queued one, a retry, or one whose worker was lost.

        Raises:
            LostRace: somebody else has it.
        """
        step = checkpoint.step
        if step is None:
            metrics.count("effect_dropped", reason="no_step")
            return []
        clock = StepClock(checkpoint.now)
        if step.step_id is not None:
            metrics.count("effect_recovered")
            step = step.next_attempt()
        if checkpoint.attempts >= self.max_crashes:
            return self._stop_poison(checkpoint, step, clock)[1]
        return self._attempt(checkpoint, step, self._binding(step), clock)[1]

    def _binding(self, step: EffectStep) -> EffectBinding:
        binding = self._app.binding(step.effect.type)
        if binding is None:
            return EffectBinding(_no_handler)
        return binding

    def _stop_poison(self, checkpoint: Checkpoint, step: EffectStep, clock: StepClock) -> Committed:
        """The effect lost its worker too often; its key says whether the outside has seen it."""
        env = clock.environment()
        error = (
            f"its worker was lost {checkpoint.attempts} times while it ran; "
            "retry the run once the cause is mended"
        )
        claimed, started = step.started(checkpoint.run, env)
        outcome = EffectOutcome.failed(error)
        record = effect_record(checkpoint.run, claimed, outcome, env)
        change = effect_ended(checkpoint.run, claimed, outcome, env)
        change.records = [started, record, *change.records]
        return self._commits.commit_step(checkpoint, change, clock)

    def _attempt(
        self,
        checkpoint: Checkpoint,
        step: EffectStep,
        binding: EffectBinding,
        clock: StepClock,
        *,
        unless_completed: tuple[str, ...] = (),
    ) -> Committed:
        lease_s = binding.lease_s or self._commits.timing.lease_s
        claimed, started = step.started(checkpoint.run, clock.environment())
        lease_until = clock.epoch() + lease_s
        claim = Write(
            before=checkpoint,
            run=checkpoint.run,
            records=[started],
            step=claimed,
            attempts=checkpoint.attempts + 1,
            task=Task.TICK if binding.quick else Task.EFFECT,
            wake_at=lease_until,
            lease_until=lease_until,
            unless_completed=unless_completed,
        )
        if binding.limits:
            return self._attempt_limited(claim, claimed, binding, lease_s, clock)
        held, _ = self._commits.commit_write(claim, Placement(wake_at=lease_until), clock)
        return self._carry_out(held, claimed, binding, lease_s, clock)

    def _carry_out(
        self, held: Checkpoint, step: EffectStep, binding: EffectBinding, lease_s: float, clock: StepClock
    ) -> Committed:
        faults.hit("effect.claimed")
        outcome = self._call(held, step, binding, lease_s, clock)
        faults.hit("effect.done")
        after, messages = self._record(held, step, outcome, clock)
        told = on_committed_of(binding.handler)
        if told is not None and outcome.status == "completed":
            with carrying_out(self._context(held, step, binding)):
                notify_committed(told, after.run, step.effect, step.key)
        return after, messages

    def _attempt_limited(
        self, claim: Write, step: EffectStep, binding: EffectBinding, lease_s: float, clock: StepClock
    ) -> Committed:
        """The same with a slot of every limit; without one the step stays pending and says why."""
        try:
            found = [limit.demand(claim.run, step.effect) for limit in binding.limits]
        except Exception as exc:
            error = f"A limit's key could not be told: {type(exc).__name__}: {exc}"
            return self._refuse(claim, step, error, clock)
        demands = [demand for demand in found if demand is not None]
        if not demands:
            held, _ = self._commits.commit_write(claim, Placement(wake_at=claim.wake_at), clock)
            return self._carry_out(held, step, binding, lease_s, clock)
        limiter = self._commits.limiter
        granted, hints = limiter.claim(claim.before, demands, claim)
        if hints:
            self._commits.publish([*hints])
        if not granted:
            return claim.before, []
        after, messages = self._carry_out(after_write(claim, clock), step, binding, lease_s, clock)
        return after, [*limiter.hand_over(claim.run.run_id, LEASED), *messages]

    def _refuse(self, claim: Write, step: EffectStep, error: str, clock: StepClock) -> Committed:
        env = clock.environment()
        outcome = EffectOutcome.failed(error)
        change = effect_ended(claim.run, step, outcome, env)
        change.records = [*claim.records, effect_record(claim.run, step, outcome, env), *change.records]
        return self._commits.commit_step(claim.before, change, clock)

    def _call(
        self, held: Checkpoint, step: EffectStep, binding: EffectBinding, lease_s: float, clock: StepClock
    ) -> EffectOutcome:
        heartbeat = Heartbeat(self._store, held, lease_s, has_slot=bool(binding.limits))
        context = replace(self._context(held, step, binding), cancelled=heartbeat.is_unwanted)
        with heartbeat.beating(quick=binding.quick):
            outcome = invoke(binding.handler, held.run, _private(step.effect), step.next_node, context)
            return self.evidence.of_outcome(held.run, step, outcome, clock.environment())

    def _context(self, held: Checkpoint, step: EffectStep, binding: EffectBinding) -> EffectContext:
        return EffectContext(
            held.run.run_id,
            step.key,
            step.attempt,
            open_artifacts=self._artifacts.open,
            on_completed=on_completed_of(binding.handler),
        )

    # -- the outcome ----------------------------------------------------------------------------

    def _record(
        self, held: Checkpoint, step: EffectStep, outcome: EffectOutcome, clock: StepClock
    ) -> Committed:
        """Commit the outcome, whatever people did to the run meanwhile; never if the claim is lost.

        An outcome that was obtained is not thrown away because the database is away for a moment
        (`DESIGN §1.3`): the commit is tried again for as long as somebody may wait for it.
        """
        deadline = monotonic() + OUTCOME_PATIENCE_S
        for pause in backoffs():
            try:
                return self._record_once(held, step, outcome, clock)
            except (ServiceUnavailableError, ConcurrentUpdateError):
                if monotonic() > deadline:
                    raise
                logger.warning("outcome of %s of run %s not stored yet", step.node_id, held.run.run_id)
                metrics.count("outcome_retried")
                sleep(pause)
        raise AssertionError("backoffs never end")

    def _record_once(
        self, held: Checkpoint, step: EffectStep, outcome: EffectOutcome, clock: StepClock
    ) -> Committed:
        try:
            return self._commit_outcome(held, step, outcome, clock)
        except LostRace:
            pass
        except (TypeError, ValueError) as exc:
            return self._record_unstorable(held, step, exc, clock)
        for _ in range(MAX_RECORD_TRIES):
            current = self._still_claimed(held.run.run_id, step)
            _carry_vars(held.run, current.run)
            try:
                return self._commit_outcome(current, step, outcome, clock)
            except LostRace:
                continue
            except (TypeError, ValueError) as exc:
                return self._record_unstorable(held, step, exc, clock)
        raise LostRace

    def _record_unstorable(
        self, held: Checkpoint, step: EffectStep, problem: Exception, clock: StepClock
    ) -> Committed:
        """What the handler answered, or left in the variables, has no JSON form: a failure like any other.
        The variables are those from before the call (`spec/01 §19.6`)."""
        outcome = EffectOutcome.failed(f"The effect handler's outcome can't be stored: {problem}")
        for _ in range(MAX_RECORD_TRIES):
            current = self._still_claimed(held.run.run_id, step)
            try:
                return self._commit_outcome(current, step, outcome, clock)
            except LostRace:
                continue
        raise LostRace

    def _still_claimed(self, run_id: str, step: EffectStep) -> Checkpoint:
        """The run as stored, if the attempt is still ours to end."""
        current = self._store.load(run_id)
        if current is None or current.step is None or current.step.step_id != step.step_id:
            metrics.count("effect_dropped", reason="fenced")
            logger.warning("late outcome of %s of run %s refused", step.node_id, run_id)
            raise LostRace
        return current

    def _commit_outcome(
        self,
        current: Checkpoint,
        step: EffectStep,
        outcome: EffectOutcome,
        clock: StepClock,
    ) -> Committed:
        run = current.run
        env = clock.environment()
        record = effect_record(run, step, outcome, env)
        if run.is_terminal:
            write = Write(before=current, run=run, records=[record])
            return self._commits.commit_write(write, Placement(), clock)
        if outcome.status == "failed" and step.attempt < step.max_attempts:
            return self._retry_later(current, step, record, clock)
        self.apply(run, step, outcome)
        change = effect_ended(_as_running(run), step, outcome, env)
        if is_paused(run) and change.run.status is RunStatus.RUNNING:
            change = Transition(hold(change.run, env), change.records)
        change.records = [record, *change.records]
        return self._commits.commit_step(current, change, clock)

    def apply(self, run: RunState, step: EffectStep, outcome: EffectOutcome) -> None:
        """What the step's handler makes of its completed outcome in the run's variables."""
        if outcome.status != "completed":
            return
        on_completed = on_completed_of(self._binding(step).handler)
        if on_completed is None:
            return
        if not apply_completed(on_completed, run, step.effect, outcome.result, step.key):
            metrics.count("on_completed_failed")

    def _retry_later(
        self, current: Checkpoint, step: EffectStep, record: StepRecord, clock: StepClock
    ) -> Committed:
        """The next attempt is a timer, never a sleeping worker."""
        backoff = self._app.policy.backoff_seconds(effect=step.effect, attempt=step.attempt)
        now = clock.epoch()
        place = timer(now + max(0.0, backoff), now, self._commits.timing)
        if is_paused(current.run):
            place = Placement(due_at=place.due_at)
        write = Write(
            before=current,
            run=current.run,
            records=[record],
            step=step.next_attempt(),
            task=current.task,
            wake_at=place.wake_at,
            due_at=place.due_at,
        )
        return self._commits.commit_write(write, place, clock)


def _private(effect: Effect) -> Effect:
    """The handler's own copy: what it does to the payload must not reach the ledger or a later attempt."""
    return Effect(effect.type, deepcopy(effect.payload), effect.result_key)


def _as_running(run: RunState) -> RunState:
    """A run that was paused while its effect ran, as the effect's outcome finds it."""
    return replace(run, status=RunStatus.RUNNING, waiting=None)


def _carry_vars(held: RunState, current: RunState) -> None:
    """The handler's changes survive a control command; the command's own marks win."""
    merged = dict(held.vars)
    merged["_limits"] = current.vars.get("_limits", merged.get("_limits"))
    runtime, marks = merged.get("_runtime"), current.vars.get("_runtime")
    if isinstance(runtime, dict) and isinstance(marks, dict):
        merged["_runtime"] = {**runtime, "control": {}, **marks_of_others(marks)}
    current.vars = merged


def _no_handler(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
    return EffectOutcome.failed(f"No effect handler registered for {effect.type.value}")
