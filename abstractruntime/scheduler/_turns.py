"""One turn of one run: claim it, let it take some steps, keep count, tell the host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from threading import Lock

from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.spec import WorkflowSpec

from ._backoff import Backoff
from ._claims import claim_due, claim_running
from ._host_runtime import HostRuntime, environment_of, stores_of

__all__ = ["TURN_STEPS", "Report", "RunFailed", "RunResumed", "SchedulerStats", "Turn", "TurnKind", "Turns"]

logger = logging.getLogger(__name__)

TURN_STEPS = 100
"""Steps of one turn: a run that needs more goes to the back of the queue."""

RunResumed = Callable[[RunState], None]
RunFailed = Callable[[str, Exception], None]


@dataclass
class SchedulerStats:
    """What a scheduler has done since it was made (`spec/02 §13.1`).

    Attributes:
        runs_resumed: runs woken, or taken up again after a crash.
        runs_failed: failures to do so, each try counted.
        poll_cycles: how often it looked.
        last_poll_at: when it last did, ISO text.
        errors: the newest errors, oldest first.
    """

    runs_resumed: int = 0
    runs_failed: int = 0
    poll_cycles: int = 0
    last_poll_at: str | None = None
    errors: list[str] = field(default_factory=list)


class Report:
    """Counts, keeps and passes on what happens; safe among threads."""

    def __init__(
        self,
        now_iso: Callable[[], str],
        max_errors_kept: int,
        on_run_resumed: RunResumed | None,
        on_run_failed: RunFailed | None,
    ) -> None:
        self.stats = SchedulerStats()
        self.callback_errors = 0
        self._lock = Lock()
        self._now_iso = now_iso
        self._kept = max_errors_kept
        self._on_run_resumed = on_run_resumed
        self._on_run_failed = on_run_failed

    def polled(self) -> str:
        """A poll begins; its time."""
        with self._lock:
            self.stats.poll_cycles += 1
            self.stats.last_poll_at = now = self._now_iso()
        return now

    def count_resumed(self, number: int) -> None:
        """``number`` more (or, below 0, less) runs were resumed."""
        with self._lock:
            self.stats.runs_resumed += number

    def resumed(self, state: RunState) -> None:
        """Tell the host. Its error is logged and counted, and does not hurt the run."""
        if self._on_run_resumed is None:
            return
        try:
            self._on_run_resumed(state)
        except Exception:
            self._callback_failed("on_run_resumed", state.run_id)

    def failed(self, run_id: str, error: Exception) -> None:
        """A run could not be resumed."""
        logger.warning("run %s could not be resumed", run_id, exc_info=error)
        with self._lock:
            self.stats.runs_failed += 1
            self._keep(f"Run {run_id}: {error}")
        if self._on_run_failed is None:
            return
        try:
            self._on_run_failed(run_id, error)
        except Exception:
            self._callback_failed("on_run_failed", run_id)

    def cycle_failed(self, error: Exception) -> None:
        """A poll cycle broke off."""
        logger.error("poll cycle failed", exc_info=error)
        with self._lock:
            self._keep(f"Poll cycle error: {error}")

    def _keep(self, text: str) -> None:
        self.stats.errors.append(f"{self._now_iso()}: {text}")
        del self.stats.errors[: max(0, len(self.stats.errors) - self._kept)]

    def _callback_failed(self, name: str, run_id: str) -> None:
        logger.warning("%s failed for run %s", name, run_id, exc_info=True)
        with self._lock:
            self.callback_errors += 1


class TurnKind(Enum):
    """Why a run gets a turn."""

    WAKE = "wake"
    """Its time has come."""
    RETRY = "retry"
    """Its time has come, but the turn that it got raised."""
    RECOVER = "recover"
    """It was left RUNNING, or its last turn after that raised."""
    CONTINUE = "continue"
    """It used up the steps of its last turn."""

    @property
    def is_due(self) -> bool:
        """Whether the turn serves a wait that is over: what a poll is for (`spec/02 §13.3`)."""
        return self in (TurnKind.WAKE, TurnKind.RETRY)


@dataclass(frozen=True, slots=True)
class Turn:
    """A run to be driven.

    Attributes:
        run_id, workflow: the run and what it runs.
        kind: why.
        seen_at: its ``updated_at`` when it was found RUNNING; ``None`` takes any.
    """

    run_id: str
    workflow: WorkflowSpec
    kind: TurnKind
    seen_at: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """A run that this scheduler left RUNNING.

    Attributes:
        workflow_id: what it runs.
        seen_at: its ``updated_at`` then.
        next_turn: what its next turn is for.
    """

    workflow_id: str
    seen_at: str | None
    next_turn: TurnKind


class Turns:
    """Takes turns, and remembers the runs it left RUNNING."""

    def __init__(self, runtime: HostRuntime, report: Report) -> None:
        self._runtime = runtime
        self._environment = environment_of(runtime)
        self._stores = stores_of(runtime)
        self._report = report
        self._lock = Lock()
        self._left: dict[str, Left] = {}
        self.backoff = Backoff()

    def left(self) -> dict[str, Left]:
        """Runs that this scheduler left RUNNING, the earliest first."""
        with self._lock:
            return dict(self._left)

    def take(self, turn: Turn) -> bool:
        """Drive the run, if nobody else does; whether that counts as a run resumed."""
        counted = int(turn.kind is not TurnKind.CONTINUE)
        # First: whoever sees the run completed also sees it counted (`spec/02 §13.3`).
        self._report.count_resumed(counted)
        try:
            if not self._claim(turn):
                self._report.count_resumed(-counted)
                if turn.kind is not TurnKind.WAKE:
                    self._forget(turn.run_id)
                return False
            # Without max_steps (`spec/02 §13.3`): its default are the steps of a turn.
            state = self._runtime.tick(workflow=turn.workflow, run_id=turn.run_id)
        except (Exception, SystemExit) as exc:
            self._report.count_resumed(-counted)
            self._raised(turn, exc)
            return False
        self.backoff.forget(turn.run_id)
        self.keep_going(state)
        self._report.resumed(state)
        return bool(counted)

    def keep_going(self, state: RunState) -> None:
        """If the run has used up its steps, it gets another turn."""
        self._forget(state.run_id)
        if state.status is RunStatus.RUNNING:
            with self._lock:
                self._left[state.run_id] = Left(state.workflow_id, state.updated_at, TurnKind.CONTINUE)

    def _claim(self, turn: Turn) -> bool:
        env = self._environment
        if turn.kind is TurnKind.WAKE:
            return claim_due(self._stores, env, turn.run_id)
        return claim_running(self._stores, env, turn.run_id, turn.seen_at)

    def _forget(self, run_id: str) -> None:
        with self._lock:
            self._left.pop(run_id, None)

    def _raised(self, turn: Turn, error: Exception | SystemExit) -> None:
        """The run rests, and is tried again from where it stands: the same in all stores."""
        failure = error if isinstance(error, Exception) else RuntimeError(f"SystemExit: {error}")
        self.backoff.failed(turn.run_id)
        try:
            state = self._runtime.run_store.load(turn.run_id)
        except Exception:
            logger.warning("run %s could not be read after its failure", turn.run_id, exc_info=True)
            state = None
        self._forget(turn.run_id)
        if state is not None and state.status is RunStatus.RUNNING:
            again = TurnKind.RETRY if turn.kind.is_due else TurnKind.RECOVER
            with self._lock:
                self._left[turn.run_id] = Left(state.workflow_id, state.updated_at, again)
        self._report.failed(turn.run_id, failure)
