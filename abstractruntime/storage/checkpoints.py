"""The port behind which a fleet keeps its runs: checkpoints with versions, leases, wake-ups and an inbox.

Every write of a run is a compare-and-swap on its ``version``, the fencing token: it grows by one with each
commit, so a writer that slept through a commit of somebody else is refused (`DESIGN §1.2, §3`). All times
are epoch seconds of the *store's* clock, never of a worker's.

Two implementations run the same contract suite: `in_memory_checkpoints` (simulation, unit tests) and `sql`
(SQLite and PostgreSQL).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitReason
from abstractruntime.core.reuse import PriorResult

if TYPE_CHECKING:
    from .slots import Slots

__all__ = [
    "ADMITTED",
    "HIGHEST_PRIORITY",
    "LOWEST_PRIORITY",
    "QUEUED",
    "Checkpoint",
    "CheckpointStore",
    "DueRun",
    "Event",
    "LedgerEntry",
    "PriorResult",
    "RunFilter",
    "RunSummary",
    "StoredEvent",
    "Task",
    "Unit",
    "Write",
    "Written",
]


QUEUED = "queued"
ADMITTED = "admitted"
LOWEST_PRIORITY = -9
HIGHEST_PRIORITY = 9


class Task(str, Enum):
    """Which task takes the run next."""

    TICK = "tick"
    EFFECT = "effect"


@dataclass(slots=True)
class Checkpoint:
    """A run as stored, with what the fleet keeps beside it.

    Attributes:
        run: the state.
        version: the fencing token; the next commit must name it and makes it ``version + 1``.
        ledger_seq: position of the run's last ledger record (0 = none).
        depth: number of ancestors (a root run has 0).
        step: the effect step in flight, or ``None``.
        attempts: times the current step was begun without being committed (crashes of its workers);
            counted before the work starts, so that a step which kills its worker can be stopped.
        redeliveries: how often the sweep has sent this run's task since its last commit.
        task: who takes it next.
        wake_at: when somebody must look at this run next; ``None`` = parked until a signal.
        due_at: when its timer (or time-out) is due; ``None`` = it has none.
        lease_until: until when the worker that claimed the effect step owns it; ``None`` = unclaimed.
        hold_reason: why it is deferred (for example no worker knows its workflow), for people.
        started_at: when the run was inserted.
        now: the store's time when this was loaded.
        priority: higher is served first; given at the start.
        admission: `QUEUED` or `ADMITTED` for a run whose start is limited, ``None`` for all others.
    """

    run: RunState
    version: int
    ledger_seq: int = 0
    depth: int = 0
    step: EffectStep | None = None
    attempts: int = 0
    redeliveries: int = 0
    task: Task = Task.TICK
    wake_at: float | None = None
    due_at: float | None = None
    lease_until: float | None = None
    hold_reason: str | None = None
    started_at: float = 0.0
    now: float = 0.0
    priority: int = 0
    admission: str | None = None


@dataclass(slots=True)
class Write:
    """What one commit does to one run. ``version`` becomes ``before.version + 1``; ``redeliveries`` and
    ``hold_reason`` are reset.

    Attributes:
        before: the checkpoint this change was computed from; its version must still be the stored one.
        run: the new state.
        records: ledger records to append, in order, at ``before.ledger_seq + 1`` and on.
        step, attempts, task, wake_at, due_at, lease_until: the new values of the checkpoint's fields.
        unless_completed: idempotency keys. If the run's ledger holds a COMPLETED record with one of these,
            nothing is written and the result is ``Written.ALREADY_DONE`` (`spec/01 §5.5`).
        run_text: the state as the store has written it; for who has committed and goes on.
    """

    before: Checkpoint
    run: RunState
    records: Sequence[StepRecord] = ()
    step: EffectStep | None = None
    attempts: int = 0
    task: Task = Task.TICK
    wake_at: float | None = None
    due_at: float | None = None
    lease_until: float | None = None
    unless_completed: tuple[str, ...] = ()
    run_text: str | None = field(default=None, init=False, compare=False, repr=False)


class Written(Enum):
    """How a compare-and-swap ended."""

    OK = "ok"
    CONFLICT = "conflict"
    ALREADY_DONE = "already_done"


@dataclass(frozen=True, slots=True)
class Event:
    """An event on its way into the inbox.

    Attributes:
        event_id: deduplication key; the same id is accepted once.
        wait_key: the key it wakes, e.g. ``evt:session:s1:paid``.
        wildcard_key: the wildcard listener key of the same scope, if there is one.
        payload: what a waiting run receives (the envelope of `spec/01 §12.5`, or a raw payload).
        emitter_run_id: a run never consumes what it emitted itself.
        ttl_s: seconds the inbox keeps it for runs that wait later.
    """

    event_id: str
    wait_key: str
    payload: Any
    wildcard_key: str | None = None
    emitter_run_id: str | None = None
    ttl_s: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of the inbox; ``wait_key`` is the key under which the asking run matched it."""

    seq: int
    event_id: str
    wait_key: str
    payload: Any


@dataclass(frozen=True, slots=True)
class DueRun:
    """A run somebody must look at. ``delay_s`` > 0 for a timer that is due that many seconds from now."""

    run_id: str
    version: int
    node: str
    workflow_id: str
    task: Task
    delay_s: float


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One record with its position (1-based) in its run's ledger."""

    seq: int
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Filters for listings, combined with AND; ``None`` = any."""

    status: RunStatus | None = None
    wait_reason: WaitReason | None = None
    workflow_id: str | None = None
    session_id: str | None = None
    parent_run_id: str | None = None
    root_only: bool = False


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A row of a listing: what people scan, without ``vars``."""

    run_id: str
    workflow_id: str
    status: RunStatus
    current_node: str
    wait_reason: WaitReason | None
    wait_key: str | None
    parent_run_id: str | None
    actor_id: str | None
    session_id: str | None
    created_at: str
    updated_at: str
    version: int
    hold_reason: str | None
    due_at: float | None


class Unit(Protocol):
    """One transaction. Leave its context normally to commit, with an exception to undo everything."""

    @property
    def now(self) -> float:
        """The store's time at the unit's first use."""
        ...

    def load(self, run_id: str) -> Checkpoint | None:
        """The checkpoint, locked against other writers until the unit ends."""
        ...

    def write(self, write: Write) -> Written:
        """Compare-and-swap one run and append its records."""
        ...

    def insert(
        self,
        run: RunState,
        *,
        depth: int,
        wake_at: float | None,
        priority: int = 0,
        admission: str | None = None,
        unsent: bool = False,
    ) -> bool:
        """Add a new run at version 1 (False: a run with this id exists; nothing was written).

        ``unsent``: no hint will be published, so the sweep's first one is no redelivery.
        """
        ...

    def insert_many(
        self,
        runs: Sequence[RunState],
        *,
        depth: int,
        wake_at: float | None,
        priority: int = 0,
        admission: str | None = None,
        unsent: bool = False,
    ) -> list[str]:
        """`insert` for each; the ids of those that were added, an id that comes twice once."""
        ...

    @property
    def slots(self) -> Slots:
        """Limits: who holds a slot, who waits for one. Lock the keys first."""
        ...

    def lock_keys(self, keys: Iterable[str]) -> None:
        """Serialise with every other unit that locks one of these wait keys, until the unit ends.

        A run that begins to wait and an event that arrives both lock the key first, so each sees the
        other: no event falls between "not waiting yet" and "no event yet" (`DESIGN §3, Events`).
        """
        ...

    def add_event(self, event: Event) -> int | None:
        """Insert into the inbox; its position, or ``None`` if the event id is known already."""
        ...

    def waiting_on(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        """``(run_id, matched key)`` of all runs with status waiting, reason event, on one of the keys;
        by run id. A run that waits for several keys appears once."""
        ...

    def next_event(self, run_id: str, keys: Sequence[str], *, since: float) -> StoredEvent | None:
        """The first event, in inbox order, added at or after ``since``, not expired, not emitted by the
        run itself, whose wait key or wildcard key is one of ``keys`` and which the run has not consumed
        under that key yet."""
        ...

    def consume(self, run_id: str, wait_key: str, seq: int) -> None:
        """Remember that the run has consumed all events of this key up to ``seq``."""
        ...

    def open_children(self, run_id: str) -> list[str]:
        """Ids of the children that are running or waiting."""
        ...

    def completed_result(self, run_id: str, key: str) -> PriorResult | None:
        """The result of the first COMPLETED record with this idempotency key."""
        ...


class CheckpointStore(Protocol):
    """Durable runs for a fleet."""

    def load(self, run_id: str) -> Checkpoint | None:
        """The checkpoint, unlocked, or ``None`` when unknown.

        Raises:
            CorruptCheckpointError: the stored state can't be decoded.
        """
        ...

    def commit(self, write: Write) -> Written:
        """One run's compare-and-swap with its ledger records, as cheap as the backend allows."""
        ...

    def unit(self) -> AbstractContextManager[Unit]:
        """A transaction over several runs and the inbox."""
        ...

    def extend_lease(self, run_id: str, version: int, seconds: float, *, revive: bool = True) -> bool:
        """Heartbeat: lease_until and wake_at become now + seconds, if the version is still this one.

        ``revive=False``: only while at least a twentieth of ``seconds`` is left of the lease. Its slot is
        free once it ends, so it must not come back to life, not even in the moment in which somebody looks.
        """
        ...

    def defer(self, run_id: str, version: int, seconds: float, reason: str) -> bool:
        """Look again in ``seconds``; keeps the version and says why in ``hold_reason``."""
        ...

    def claim_due(
        self, *, limit: int, grace_s: float, ageing_s: float = 60.0, only: Task | None = None
    ) -> list[DueRun]:
        """Take up to ``limit`` runs whose ``wake_at`` has passed, in order of ``priority + (time passed since
        wake_at) / ageing_s``, highest first, and push their wake-up to
        ``max(now, due_at) + grace_s * 2 ** min(redeliveries, 2)``, so that the next sweep leaves them
        alone. A run whose work was due already counts one more redelivery; a timer that merely enters
        the horizon does not. ``only``: runs whose next task is this. Concurrent callers get disjoint runs
        (skip locked)."""
        ...

    def forget_claims(self, *, limit: int = 1000) -> int:
        """Remove up to ``limit`` beginnings that have left the window of their rate; how many it were."""
        ...

    def find_runs(self, where: RunFilter, *, limit: int = 100, before: str | None = None) -> list[RunSummary]:
        """Newest ``updated_at`` first; ``before`` pages on: rows with an older ``updated_at``."""
        ...

    def ledger(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[LedgerEntry]:
        """Records with seq > ``after``, ascending."""
        ...

    def status_counts(self) -> Mapping[str, int]:
        """Number of runs by status."""
        ...

    def schedule_cursor(self, schedule_id: str) -> float:
        """Nominal time up to which the schedule's occurrences are handled; the first call for an unknown
        schedule records now and returns it, so that a new schedule starts with its next occurrence."""
        ...

    def advance_schedule(self, schedule_id: str, *, seen: float, to: float) -> bool:
        """Move the cursor from ``seen`` to ``to``; False if somebody else has moved it."""
        ...

    def now(self) -> float:
        """The store's clock, epoch seconds."""
        ...
