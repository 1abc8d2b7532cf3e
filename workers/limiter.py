"""Who may begin: slots of limits, asked for in the database at the moment of the claim.

A slot is not counted anywhere: it is a row that names a run, and counts while that run's lease (an effect) or
the run itself (a start) lives. So a worker killed with -9 frees its slot when its lease ends, and nothing can
leak. Who gets no slot stays where it is, with the reason in ``hold_reason``, and stands in a line that is
ordered by (priority, age); whoever frees a slot calls the first of the line at once, and a newcomer never
passes those who wait. A call that is lost is repaired like any lost hint: by ``wake_at`` and the sweep.

Keys are locked first and rows after them, as everywhere (`workers/control.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from zlib import crc32

from abstractruntime.core.errors import ConcurrentUpdateError, ServiceUnavailableError
from abstractruntime.core.limit_terms import Scope, Terms
from abstractruntime.limits import Demand
from abstractruntime.storage.checkpoints import (
    QUEUED,
    Checkpoint,
    CheckpointStore,
    Unit,
    Write,
    Written,
)
from abstractruntime.storage.slots import Usage, Waiter

from . import metrics
from .hints import Hint
from .lost_race import LostRace
from .placement import Timing

__all__ = ["LEASED", "STARTED", "Limiter"]

logger = logging.getLogger(__name__)

LEASED = frozenset({Scope.LEASE})
STARTED = frozenset({Scope.RUN, Scope.ACTIVE})
JITTER = 0.2
ROUNDS_AHEAD = 20
AT_ONCE = 50
"""So many are called by one who frees slots; each of them calls further ones when it begins."""


class Limiter:
    """Gives out the slots of a deployment's limits."""

    def __init__(self, store: CheckpointStore, timing: Timing) -> None:
        self._store = store
        self._timing = timing

    def claim(self, before: Checkpoint, demands: Sequence[Demand], claim: Write) -> tuple[bool, list[Hint]]:
        """Commit the claim of an effect, if every demand is met; else hold its run.

        Returns:
            whether it was claimed, and hints to publish.

        Raises:
            LostRace: somebody else has moved the run; nothing was written.
        """
        with self._store.unit() as unit:
            granted, hints = self._seek(unit, before, demands)
            if granted and unit.write(claim) is not Written.OK:
                raise LostRace
        metrics.count("slot_granted" if granted else "slot_refused", kind="effect")
        return granted, hints

    def admit(self, before: Checkpoint, demands: Sequence[Demand]) -> tuple[bool, list[Hint]]:
        """Let a run begin, if every demand is met; else hold it at its entry. See `claim`."""
        with self._store.unit() as unit:
            granted, hints = self._seek(unit, before, demands, start=True)
            if granted and not unit.slots.admit(before.run.run_id, before.version):
                raise LostRace
        metrics.count("slot_granted" if granted else "slot_refused", kind="start")
        return granted, hints

    def hand_over(self, run_id: str, scopes: frozenset[Scope]) -> list[Hint]:
        """The run has given its slots up: call the next in line. Never raises for a database that is away:
        those who wait look again by themselves."""
        try:
            with self._store.unit() as unit:
                held = [(key, terms) for key, terms in unit.slots.held_by(run_id) if terms.scope in scopes]
                if not held:
                    return []
                unit.lock_keys([key for key, _ in held])
                hints: list[Hint] = []
                for key, terms in held:
                    hints += self._call_next(unit, key, terms, unit.slots.usage(key, terms))
                return hints
        except (ServiceUnavailableError, ConcurrentUpdateError) as exc:
            logger.warning("slots of run %s are handed over by the sweep: %s", run_id, exc)
            return []

    # -- one who asks ---------------------------------------------------------------------------

    def _seek(
        self, unit: Unit, before: Checkpoint, demands: Sequence[Demand], *, start: bool = False
    ) -> tuple[bool, list[Hint]]:
        run_id = before.run.run_id
        unit.lock_keys([demand.key for demand in demands])
        since = before.started_at if start else unit.now
        rank = unit.slots.rank_of(run_id)
        if rank is None:
            # Linear ageing is a constant head start: priority + waited / ageing orders as this does.
            rank = since - before.priority * self._timing.ageing_s
        used = [unit.slots.usage(demand.key, demand.terms, but=run_id) for demand in demands]
        reason = None
        for demand, usage in zip(demands, used, strict=True):
            reason = self._refusal(unit, demand, usage, (rank, run_id))
            if reason is not None:
                hints = self._wait(unit, before, demand, usage, rank, reason, start)
                break
        else:
            unit.slots.take(run_id, [(demand.key, demand.terms) for demand in demands])
            hints, used = [], [_with_one_more(usage) for usage in used]
        # Slots may be free without anybody to hand them over: a worker was killed, a slot was not taken.
        for demand, usage in zip(demands, used, strict=True):
            hints += self._call_next(unit, demand.key, demand.terms, usage)
        return reason is None, hints

    def _refusal(self, unit: Unit, demand: Demand, usage: Usage, place: tuple[float, str]) -> str | None:
        terms = demand.terms
        if terms.concurrency is not None and usage.live >= terms.concurrency:
            return f"waits for {demand.label}: {usage.live} of {terms.concurrency} slots in use"
        if terms.count is not None and len(usage.claims) >= terms.count:
            return f"waits for {demand.label}: {terms.count} per {terms.per_s:g} s are used up"
        free = _free(terms, usage)
        # Counted first, which is cheap; the line itself is read only to leave out who is not there any more.
        if unit.slots.ahead(demand.key, *place, free) < free:
            return None
        line = unit.slots.line(demand.key, free)
        ahead = sum((waiter.rank, waiter.run_id) < place for waiter in line if waiter.run_id != place[1])
        if ahead < free:
            return None
        return f"waits for {demand.label}: others were first"

    def _wait(
        self,
        unit: Unit,
        before: Checkpoint,
        demand: Demand,
        usage: Usage,
        rank: float,
        reason: str,
        start: bool,
    ) -> list[Hint]:
        run, terms = before.run, demand.terms
        unit.slots.queue_up(demand.key, run.run_id, before.version, terms, rank)
        at_once = terms.concurrency or terms.count or 1
        ahead = unit.slots.ahead(demand.key, rank, run.run_id, ROUNDS_AHEAD * max(50, at_once))
        at, is_sure = self._next_look(terms, usage, ahead)
        # Spread, so that those who wait for one lease don't come in one crowd.
        wake_at = at + (at - usage.now) * JITTER * _fraction(run.run_id)
        hints: list[Hint] = []
        if is_sure and at - usage.now <= self._timing.horizon_s:
            delay, node = max(0.0, at - usage.now), run.current_node
            hints.append(Hint(before.task, run.run_id, before.version, node, run.workflow_id, delay))
            wake_at = at + self._timing.grace_s
        held = unit.slots.hold(
            run.run_id,
            before.version,
            wake_at=wake_at,
            reason=reason,
            admission=QUEUED if start else None,
        )
        if not held:
            raise LostRace
        return hints

    def _next_look(self, terms: Terms, usage: Usage, ahead: int) -> tuple[float, bool]:
        """When to ask again if nobody calls, and whether there is a slot then for sure."""
        now, looks = usage.now, []
        is_full = terms.concurrency is not None and usage.live >= terms.concurrency
        if terms.concurrency is not None:
            # At most ``concurrency`` of the line look in each lease time, however long it is.
            pause = self._timing.lease_s if terms.scope is Scope.LEASE else 2.0 * self._timing.lease_s
            first = max(now, usage.first_end or now + pause)
            looks.append(first + pause * (ahead // terms.concurrency))
        if terms.count is not None:
            looks.append(_window_opens(terms, usage, ahead))
        if terms.concurrency is None or (not is_full and ahead == 0 and terms.count is not None):
            return looks[-1], True
        return max(looks), False

    # -- those who wait -------------------------------------------------------------------------

    def _call_next(self, unit: Unit, key: str, terms: Terms, usage: Usage) -> list[Hint]:
        """Call as many of the line as there are slots; who was called a moment ago is on his way."""
        hints: list[Hint] = []
        line = unit.slots.line(key, min(AT_ONCE, _slots_left(terms, usage)))
        for position, waiter in enumerate(line):
            if waiter.called_at is not None and waiter.called_at > usage.now - self._timing.grace_s:
                continue
            at = usage.now if terms.count is None else max(usage.now, _window_opens(terms, usage, position))
            delay = at - usage.now
            if delay > self._timing.horizon_s:
                break  # the sweep will find him in time
            wake_at = at + self._timing.grace_s
            if unit.slots.call(key, waiter, called_at=at, wake_at=wake_at):
                hints.append(_call(waiter, delay))
        return hints


def _call(waiter: Waiter, delay: float) -> Hint:
    # Who calls has just freed a place in the queue, or is about to: the call takes it.
    return Hint(
        waiter.task,
        waiter.run_id,
        waiter.version,
        waiter.node,
        waiter.workflow_id,
        delay,
        takes_room=False,
    )


def _with_one_more(usage: Usage) -> Usage:
    return Usage(usage.now, usage.live + 1, usage.first_end, (*usage.claims, usage.now))


def _slots_left(terms: Terms, usage: Usage) -> int:
    """Of the concurrency alone; of a key without one, what the window leaves."""
    if terms.concurrency is None:
        return max(0, (terms.count or 0) - len(usage.claims))
    return max(0, terms.concurrency - usage.live)


def _free(terms: Terms, usage: Usage) -> int:
    """How many may begin now."""
    left = _slots_left(terms, usage)
    return left if terms.count is None else min(left, max(0, terms.count - len(usage.claims)))


def _window_opens(terms: Terms, usage: Usage, position: int) -> float:
    """When the one at this position of the line may begin, if all before him do as soon as they may."""
    count = terms.count or 1
    later = position - (count - len(usage.claims))
    if later < 0:
        return usage.now
    first = usage.claims[-count:]
    rounds, nth = divmod(later, count)
    base = first[nth] if nth < len(first) else usage.now
    return base + terms.per_s * (rounds + 1)


def _fraction(run_id: str) -> float:
    """The same for a run each time, spread evenly over runs."""
    return crc32(run_id.encode("utf-8", "surrogatepass")) / 2**32
