"""What was committed, as the database saw it, and the invariants that each commit must keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from abstractruntime.core.control import is_paused
from abstractruntime.core.models import RunState, RunStatus, StepRecord
from abstractruntime.storage.checkpoints import Event, Write

from .fibers import Fibers

__all__ = ["STATUS_KEY", "Accepted", "History", "Journal", "effect_type"]

STATUS_KEY = "system:terminal_status:"
MOST_ATTEMPTS = 6
"""Three tries that fail, three that lose their worker."""
EXPIRING_S = 500.0
"""An event this close to its end of life may have been seen as expired by a slow transaction."""
_OUTCOMES = frozenset({"completed", "waiting", "failed"})


@dataclass(slots=True)
class History:
    """One run as its commits told it."""

    run_id: str
    workflow_id: str
    started_at: float
    version: int = 1
    status: RunStatus = RunStatus.RUNNING
    path: list[str] = field(default_factory=list)
    records: list[tuple[str, str]] = field(default_factory=list)
    open_steps: set[str] = field(default_factory=set)
    retries: int = 0
    has_ended: bool = False
    paused: bool = False
    limit: Any = None
    consumed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event of the inbox."""

    seq: int
    event: Event
    added_at: float

    @property
    def keys(self) -> set[str]:
        return {key for key in (self.event.wait_key, self.event.wildcard_key) if key is not None}


class Journal:
    """Follows every commit; ``violations`` says what broke.

    Args:
        max_steps: how many steps of a run one commit may hold.
    """

    def __init__(
        self, trace: Callable[[str], None], clock: Callable[[], float], *, max_steps: int = 1
    ) -> None:
        self.runs: dict[str, History] = {}
        self.events: list[Accepted] = []
        self.violations: list[str] = []
        self._trace = trace
        self._clock = clock
        self._max_steps = max_steps

    def violate(self, text: str) -> None:
        """Something happened that must never happen."""
        self.violations.append(text)
        self._trace(f"VIOLATION {text}")

    def version(self, run_id: str) -> int:
        """The committed version; 0 for a run nobody has inserted."""
        history = self.runs.get(run_id)
        return 0 if history is None else history.version

    # -- each gives what to note when the transaction commits -----------------------------------

    def insert(self, run: RunState, *, started_at: float) -> Callable[[], None]:
        limit = _limit(run)

        def tell() -> None:
            if run.run_id in self.runs:
                self.violate(f"run {run.run_id} was inserted twice")
            self.runs[run.run_id] = History(run.run_id, run.workflow_id, started_at, limit=limit)
            self._trace(f"committed: {run.run_id} ({run.workflow_id}) starts")

        return tell

    def event(self, seq: int, event: Event, *, added_at: float) -> Callable[[], None]:
        def tell() -> None:
            if any(known.event.event_id == event.event_id for known in self.events):
                self.violate(f"event {event.event_id} was accepted twice")
            self.events.append(Accepted(seq, event, added_at))
            self._trace(f"committed: event #{seq} {event.event_id} for {event.wait_key}")

        return tell

    def consume(self, run_id: str, wait_key: str, seq: int) -> Callable[[], None]:
        def tell() -> None:
            taken = self.runs[run_id].consumed[wait_key]
            last = taken[-1] if taken else 0
            if seq <= last:
                self.violate(f"run {run_id} took event #{seq} of {wait_key} after #{last}")
            for skipped in self._visible(run_id, wait_key, last, seq):
                self.violate(f"run {run_id} took event #{seq} of {wait_key}, past #{skipped}")
            taken.append(seq)
            self._trace(f"committed: {run_id} takes event #{seq} ({wait_key})")

        return tell

    def _visible(self, run_id: str, wait_key: str, after: int, before: int) -> list[int]:
        """Events between two positions that the run should have taken first."""
        since, now = self.runs[run_id].started_at, self._clock()
        return [
            accepted.seq
            for accepted in self.events
            if after < accepted.seq < before
            and wait_key in accepted.keys
            and accepted.added_at >= since
            and now < accepted.added_at + accepted.event.ttl_s - EXPIRING_S
            and accepted.event.emitter_run_id != run_id
        ]

    def write(self, write: Write, row: Any) -> Callable[[], None]:
        before, after = write.before.version, int(row.summary.version)
        run, records = write.run, list(write.records)
        path = list(run.vars.get("path", []))
        marks = is_paused(run), _limit(run), run.vars.get("last_call")
        writer = Fibers.current()

        def tell() -> None:
            history = self.runs[run.run_id]
            if self._trace:
                self._trace(_told(run, before, after, records, write))
            if before != history.version:
                self.violate(
                    f"stale writer: run {run.run_id} is at {history.version}, a commit was based on {before}"
                )
            if after != history.version + 1:
                self.violate(f"run {run.run_id} went from version {history.version} to {after}")
            self._check_end(history, run, records)
            self._check_path(history, path)
            self._check_control(history, records, marks, "" if writer is None else writer.label)
            self._note_records(history, records)
            history.version, history.status, history.path = after, run.status, path
            history.paused, history.limit = marks[:2]
            history.has_ended |= run.is_terminal

        return tell

    # -- what one commit may do -----------------------------------------------------------------

    def _check_end(self, history: History, run: RunState, records: list[StepRecord]) -> None:
        who = f"run {run.run_id} ({history.status.value})"
        retried = [r for r in records if effect_type(r) == "retry"]
        history.retries += len(retried)
        was_terminal = history.status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
        if was_terminal:
            late_outcome = (
                len(records) == 1
                and run.status is history.status is RunStatus.CANCELLED
                and records[0].step_id in history.open_steps
                and records[0].status.value in _OUTCOMES
            )
            new_limits = not records and run.status is history.status
            reopened = history.status is RunStatus.FAILED and bool(retried)
            if not (late_outcome or new_limits or reopened):
                self.violate(f"{who} was written after its end: {[_brief(r) for r in records]}")
            return
        ends = [index for index, record in enumerate(records) if is_status_event(record)]
        if run.is_terminal and ends != [len(records) - 1]:
            self.violate(
                f"{who} ended with {[_brief(r) for r in records]}: no single status event at the end"
            )
        if not run.is_terminal and ends:
            self.violate(f"{who} goes on but has a terminal status event")

    def _check_path(self, history: History, path: list[str]) -> None:
        steps = len(path) - len(history.path)
        if not 0 <= steps <= self._max_steps or path[: len(history.path)] != history.path:
            self.violate(f"run {history.run_id} went from {history.path} to {path} in one commit")

    def _check_control(
        self, history: History, records: list[StepRecord], marks: tuple[bool, Any, Any], writer: str
    ) -> None:
        """What people ordered stands until people order something else (`DESIGN §3, Control`)."""
        paused, limit, last_call = marks
        verb = writer.split(" ")[0]
        if paused != history.paused and verb not in ("pause", "unpause", "cancel"):
            self.violate(f"{writer} changed run {history.run_id} from paused={history.paused} to {paused}")
        if limit != history.limit and verb != "limits":
            self.violate(f"{writer} changed the limits of run {history.run_id}")
        for record in records:
            if history.paused and paused and record.status.value == "started":
                self.violate(f"{writer} started {_brief(record)} of the paused run {history.run_id}")
            call = (record.result or {}).get("call")
            if call is not None and history.status is not RunStatus.CANCELLED and call != last_call:
                self.violate(f"run {history.run_id} lost what call {call} left in its variables: {last_call}")

    def _note_records(self, history: History, records: list[StepRecord]) -> None:
        for record in records:
            history.records.append((record.step_id, record.status.value))
            if record.attempt > MOST_ATTEMPTS:
                self.violate(f"{_brief(record)} of run {history.run_id} should have been stopped before")
            if record.status.value == "started":
                history.open_steps.add(record.step_id)
            else:
                history.open_steps.discard(record.step_id)


def _limit(run: RunState) -> Any:
    return run.vars["_limits"].get("max_iterations")


def effect_type(record: StepRecord) -> str | None:
    return None if record.effect is None else str(record.effect.get("type"))


def is_status_event(record: StepRecord) -> bool:
    """Whether the record is the closing ``abstract.status`` of a run."""
    return (record.idempotency_key or "").startswith(STATUS_KEY)


def _brief(record: StepRecord) -> str:
    kind = effect_type(record) or "-"
    return f"{record.node_id}/{kind}/{record.status.value}/{record.attempt}"


def _told(run: RunState, before: int, after: int, records: list[StepRecord], write: Write) -> str:
    wait = "" if run.waiting is None else f" for {run.waiting.reason.value} {run.waiting.wait_key}"
    step = "" if write.step is None else f" step {write.step.node_id}/{write.step.attempt}"
    wrote = ", ".join(_brief(record) for record in records)
    return (
        f"committed: {run.run_id} v{before}->{after} {run.status.value}{wait} at {run.current_node}{step} "
        f"wake={write.wake_at} [{wrote}]"
    )
