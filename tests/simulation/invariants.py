"""What must hold when everything has come to rest (`DESIGN §7.1`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from abstractruntime.core.control import is_paused
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.resume import wait_keys
from abstractruntime.storage.checkpoints import Checkpoint, RunFilter
from tests.ledger_invariants import attempts, is_status_event
from workers.schedules import occurrence_run_id

from .journal import History
from .world import World

__all__ = ["check"]

Record = dict[str, Any]


def check(world: World) -> list[str]:
    """All that is broken, in words."""
    broken: list[str] = []
    for history in world.journal.runs.values():
        where = f" (run {history.run_id} of {history.workflow_id})"
        checkpoint = world.database.inner.load(history.run_id)
        if checkpoint is None:
            broken.append(f"a committed run is gone{where}")
            continue
        ledger = [entry.record for entry in world.database.inner.ledger(history.run_id)]
        for found in (
            *_books(history, checkpoint, ledger),
            *attempts(checkpoint.run, ledger),
            *_ending(checkpoint.run, history, ledger),
            *_walk(world, history, checkpoint.run),
            *_rest(world, checkpoint),
            *_deliveries(world, history, ledger),
            *_tree(world, checkpoint.run),
        ):
            broken.append(found + where)
    broken += _calls(world)
    broken += _occurrences(world)
    if world.is_calm and world.database.redelivered:
        broken.append(
            f"nothing was lost, but the sweep had to send {world.database.redelivered} message(s) again"
        )
    return broken


def _books(history: History, checkpoint: Checkpoint, ledger: list[Record]) -> Iterator[str]:
    """The ledger is what was committed, nothing more, nothing less."""
    if checkpoint.version != history.version:
        yield f"version {checkpoint.version} is stored, {history.version} was committed"
    if checkpoint.ledger_seq != len(ledger):
        yield f"ledger_seq is {checkpoint.ledger_seq}, the ledger has {len(ledger)} records"
    if [(record["step_id"], record["status"]) for record in ledger] != history.records:
        yield "the ledger is not the sequence of committed records"


def _ending(run: RunState, history: History, ledger: list[Record]) -> Iterator[str]:
    """One status event per end (a retry opens the run again), and it is last but for late outcomes."""
    events = [index for index, record in enumerate(ledger) if is_status_event(record)]
    expected = history.retries + (1 if run.is_terminal else 0)
    if len(events) != expected:
        yield f"{len(events)} terminal status events, {expected} expected"
    if not run.is_terminal or not events:
        return
    told = ledger[events[-1]]["effect"]["payload"]["payload"]["text"]
    if told != run.status.value:
        yield f"the status event says {told}, the run is {run.status.value}"
    after = ledger[events[-1] + 1 :]
    if after and run.status is not RunStatus.CANCELLED:
        yield f"{len(after)} records after the end"
    for record in after:
        if record["idempotency_key"] is None or record["status"] == "started":
            yield f"a {record['status']} record of {record['node_id']} after the cancellation"


def _walk(world: World, history: History, run: RunState) -> Iterator[str]:
    """The nodes taken are a walk through the workflow: no step is missing, none is there twice."""
    edges = world.flows[history.workflow_id].edges
    repeated = 0
    for here, there in pairwise(history.path):
        if here == there:
            repeated += 1
        elif (here, there) not in edges:
            yield f"the run went from {here} to {there}: {history.path}"
    if repeated > history.retries:
        yield f"{repeated} steps were taken twice, the run was retried {history.retries} times"
    told = (run.output or {}).get("path", history.path)
    if told != history.path:
        yield f"the output tells {told}, taken were {history.path}"


def _rest(world: World, checkpoint: Checkpoint) -> Iterator[str]:
    """No work is left behind: whoever has not ended waits for something that has not happened."""
    run, wait = checkpoint.run, checkpoint.run.waiting
    if checkpoint.wake_at is not None:
        yield f"at rest, but wakes at {checkpoint.wake_at}"
    if run.is_terminal or is_paused(run):
        return
    if run.status is not RunStatus.WAITING or wait is None:
        yield f"left {run.status.value} at {run.current_node}"
    elif checkpoint.step is not None:
        yield f"waits with an effect of {checkpoint.step.node_id} pending"
    elif wait.until is not None:
        yield f"its {wait.reason.value} wait was due at {wait.until}"
    elif wait.reason is WaitReason.SUBWORKFLOW:
        child = world.database.inner.load((wait.wait_key or "").removeprefix("subworkflow:"))
        if child is None or child.run.is_terminal:
            status = "unknown" if child is None else child.run.status.value
            yield f"waits for child {wait.wait_key}, which is {status}"
    elif wait.reason is WaitReason.EVENT:
        yield from _missed_events(world, run, wait_keys(wait))


def _missed_events(world: World, run: RunState, keys: list[str]) -> Iterator[str]:
    history = world.journal.runs[run.run_id]
    for accepted in world.journal.events:
        event = accepted.event
        fresh = history.started_at <= accepted.added_at and world.time < accepted.added_at + event.ttl_s
        if not fresh or event.emitter_run_id == run.run_id:
            continue
        for key in accepted.keys & set(keys):
            taken = history.consumed.get(key)
            if not taken or taken[-1] < accepted.seq:
                yield f"waits for {key}, and event #{accepted.seq} is in its inbox"


def _deliveries(world: World, history: History, ledger: list[Record]) -> Iterator[str]:
    """Each event consumed has resumed the run once, and with its own payload."""
    payloads: dict[int, Any] = {accepted.seq: accepted.event.payload for accepted in world.journal.events}
    consumed = [seq for seqs in history.consumed.values() for seq in seqs]
    for seq in consumed:
        if seq not in payloads:
            yield f"consumed event #{seq}, which nobody accepted"
    got: dict[str, int] = defaultdict(int)
    for record in ledger:
        effect = record["effect"] or {}
        if effect.get("type") == "resume" and record["status"] == "completed":
            got[repr(effect["payload"]["payload"])] += 1
    wanted: dict[str, int] = defaultdict(int)
    for seq in consumed:
        wanted[repr(payloads.get(seq))] += 1
    for payload in {repr(payload) for payload in payloads.values()}:
        if got[payload] != wanted[payload]:
            yield (
                f"resumed {got[payload]} times with an event it consumed {wanted[payload]} times: {payload}"
            )


def _tree(world: World, run: RunState) -> Iterator[str]:
    """What is cancelled is cancelled with all below it (a child may have been retried since)."""
    if run.status is not RunStatus.CANCELLED:
        return
    for child in world.database.inner.find_runs(RunFilter(parent_run_id=run.run_id)):
        is_open = child.status in (RunStatus.RUNNING, RunStatus.WAITING)
        if is_open and not world.journal.runs[child.run_id].retries:
            yield f"its child {child.run_id} outlives the cancellation"


def _occurrences(world: World) -> Iterator[str]:
    """Whatever number of beats there was, each occurrence that is past was started."""
    for schedule in world.schedules:
        seen = world.database.inner.schedule_cursor(schedule.schedule_id)
        for nominal in schedule.occurrences(world.first_pulse or seen, seen):
            if occurrence_run_id(schedule.schedule_id, nominal) not in world.journal.runs:
                yield f"occurrence {nominal} of schedule {schedule.schedule_id} was not started"


def _calls(world: World) -> Iterator[str]:
    """The oracle's book against the ledgers."""
    started: dict[tuple[str, str, int], int] = defaultdict(int)
    outcomes: set[tuple[str, str, int]] = set()
    taken_over: set[tuple[str, str, int]] = set()
    results: dict[int, tuple[str, str, int]] = {}
    for run_id in world.journal.runs:
        for entry in world.database.inner.ledger(run_id):
            record = entry.record
            slot = (run_id, record["idempotency_key"], record["attempt"])
            if record["status"] == "started":
                started[slot] += 1
                taken_over.add((run_id, record["idempotency_key"], record["attempt"] - 1))
                continue
            outcomes.add(slot)
            result = record["result"]
            if record["status"] == "completed" and isinstance(result, dict) and "call" in result:
                results[result["call"]] = slot
    calls: dict[tuple[str, str, int], int] = defaultdict(int)
    for call in world.outside.calls:
        slot = (call.run_id, call.key, call.attempt)
        calls[slot] += 1
        if call.safe and slot not in outcomes and slot not in taken_over:
            yield f"the outcome of call {call.number} (run {call.run_id}) was thrown away"
    for slot, times in calls.items():
        if times > started[slot]:
            yield f"key {slot[1]}: attempt {slot[2]} was called {times} times, started {started[slot]} times"
    for number, slot in results.items():
        call = world.outside.calls[number]
        if (call.run_id, call.key, call.attempt) != slot:
            yield f"the ledger of {slot[0]} holds the result of another call ({number})"
