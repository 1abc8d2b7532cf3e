"""Wakes the runs whose time has come and takes up again what was left (`spec/02 §13`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from functools import partial
from threading import Lock
from typing import Any

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState, WaitReason
from abstractruntime.storage.base import DEFAULT_LIMIT, QueryableRunStore

from ._ended_runs import look_at_ended_runs
from ._host_calls import HostCalls
from ._host_runtime import HostRuntime, environment_of, last_words_of
from ._poller import Poller
from ._pool import WorkerPool
from ._search import Search
from ._turns import Report, RunFailed, RunResumed, SchedulerStats, Turn, Turns
from .registry import WorkflowRegistry

__all__ = ["Scheduler", "SchedulerStats"]

logger = logging.getLogger(__name__)

_RECOVERY_INTERVAL_S = 5.0


class Scheduler:
    """Polls the run store and drives the runs that are due.

    Several schedulers may share a store: a run is claimed before it is driven, and one of them wins.

    Args:
        runtime: its run store must be a `QueryableRunStore`. One that you wrote needs ``run_store``, ``tick``
            and ``resume``; without ``environment`` the clock is the system's, without ``ledger_store`` a
            run's waking is in no ledger.
        registry: the workflows this process can run.
        poll_interval_s: seconds between the end of one poll and the next.
        max_errors_kept: how many errors ``stats.errors`` keeps; 0 keeps none.
        on_run_resumed: called with the state of a run after its turn.
        on_run_failed: called with run id and exception when a turn raised.
        max_workers: how many runs the background thread lets go on at the same time.
        recover_running_after_s: a RUNNING run that nobody drives and nobody has moved for so many seconds is
            taken for one whose process died, and goes on here. Over files and SQLite, which processes of one
            machine share, a run that another live process drives is left alone, however long its step takes.
            Over PostgreSQL another process is known only by what it commits: choose more than the longest
            step takes. ``None`` recovers nothing.

    Raises:
        TypeError: the store can't be searched.
        InvalidInputError: (a ``ValueError``) a number is out of range.
    """

    def __init__(
        self,
        *,
        runtime: HostRuntime,
        registry: WorkflowRegistry,
        poll_interval_s: float = 1.0,
        max_errors_kept: int = 100,
        on_run_resumed: RunResumed | None = None,
        on_run_failed: RunFailed | None = None,
        max_workers: int = 4,
        recover_running_after_s: float | None = 60.0,
    ) -> None:
        store = runtime.run_store
        if not isinstance(store, QueryableRunStore):
            raise TypeError(
                f"Scheduler needs a QueryableRunStore; {type(store).__name__} lacks list_runs, "
                "list_due_wait_until or list_children"
            )
        if max_errors_kept < 0 or max_workers < 1 or poll_interval_s < 0:
            raise InvalidInputError(
                "Scheduler needs max_errors_kept >= 0, max_workers >= 1 and poll_interval_s >= 0; got "
                f"{max_errors_kept}, {max_workers} and {poll_interval_s}"
            )
        self._environment = environment_of(runtime)
        self._interval_s = poll_interval_s
        self._max_workers = max_workers
        self._recover_after_s = recover_running_after_s
        self._recovery_interval_s = min(_RECOVERY_INTERVAL_S, recover_running_after_s or _RECOVERY_INTERVAL_S)
        self._next_recovery = 0.0
        self._report = Report(self._environment.now_iso, max_errors_kept, on_run_resumed, on_run_failed)
        self._turns = Turns(runtime, self._report)
        self._search = Search(store, registry, self._turns, self._report, self._is_busy)
        self._host = HostCalls(runtime, store, registry, self._turns, self._report)
        self._look_at_ended = partial(look_at_ended_runs, last_words_of(runtime), store, registry)
        self._has_looked = False
        self._lock = Lock()
        self._poller: Poller | None = None

    @property
    def is_running(self) -> bool:
        """Whether the background thread polls."""
        poller = self._poller
        return poller is not None and poller.is_polling

    @property
    def stats(self) -> SchedulerStats:
        """The live counters."""
        return self._report.stats

    @property
    def callback_errors(self) -> int:
        """How often a callback of the host raised."""
        return self._report.callback_errors

    # -- thread ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Poll in the background, at once and then every ``poll_interval_s``. After the first poll the newest
        ended runs get the ledger records that a process which died has left out (`spec/02 §9`).

        Raises:
            RuntimeError: it does already, or what `stop` left behind is still busy.
        """
        with self._lock:
            if self.is_running:
                raise RuntimeError("Scheduler is already running")
            if self._poller is not None and self._poller.is_alive:
                raise RuntimeError(
                    "Scheduler is already running: a run that it drove before stop() is not at its end yet"
                )
            self._next_recovery = 0.0
            self._has_looked = False
            self._poller = Poller(
                self._poll, self._go_on, interval_s=self._interval_s, size=self._max_workers
            )

    def stop(self, timeout: float = 5.0) -> None:
        """Stop polling, and wait up to ``timeout`` seconds for runs under way. Nothing if it is stopped."""
        with self._lock:
            poller = self._poller
        if poller is None or not poller.is_polling:
            return
        if not poller.stop(timeout):
            logger.warning("scheduler stopped, but a run is still under way after %g s", timeout)

    def _poll(self, pool: WorkerPool) -> None:
        try:
            now = self._report.polled()
            self._submit(pool, self._search.left())
            self._submit(pool, self._search.due(now, room=DEFAULT_LIMIT - pool.backlog, patient=True))
            if time.monotonic() >= self._next_recovery:
                self._next_recovery = time.monotonic() + self._recovery_interval_s
                self._submit(pool, self._abandoned())
            self._turns.backoff.forget_old()
        except Exception as exc:
            self._report.cycle_failed(exc)
        if not self._has_looked:
            self._has_looked = True
            self._look_at_ended()

    def _go_on(self, pool: WorkerPool) -> None:
        self._submit(pool, self._search.left())

    def _submit(self, pool: WorkerPool, turns: Iterable[Turn]) -> None:
        for turn in turns:
            pool.submit(turn.run_id, partial(self._turns.take, turn))

    def _is_busy(self, run_id: str) -> bool:
        poller = self._poller
        return poller is not None and poller.pool.has(run_id)

    def _abandoned(self) -> Iterable[Turn]:
        if self._recover_after_s is None:
            return ()
        return self._search.abandoned(self._environment.now(), after_s=self._recover_after_s)

    def poll_once(self) -> int:
        """One cycle in the calling thread, one run after the other; how many runs were resumed because their
        time had come.

        At most 100 due runs are driven, and each run takes at most 100 steps. Runs that were left RUNNING go
        on as well (S-12): `stats` counts those that were taken up again, the returned number doesn't.
        """
        now = self._report.polled()
        found = [
            *self._search.due(now, room=DEFAULT_LIMIT, patient=False),
            *self._search.left(),
            *self._abandoned(),
        ]
        taken = [turn for turn in found if self._turns.take(turn)]
        return sum(turn.kind.is_due for turn in taken)

    # -- host calls -----------------------------------------------------------------------------

    def resume_event(self, *, run_id: str, wait_key: str, payload: Any) -> RunState:
        """Give a waiting run what it waits for; its state afterwards.

        Raises:
            UnknownRunError: (a ``KeyError``) no such run.
            UnknownWorkflowError: (a ``KeyError``) its workflow is not registered.
            WaitMismatchError: (a ``ValueError``) it is paused, does not wait, or waits for another key.
        """
        return self._host.resume_event(run_id=run_id, wait_key=wait_key, payload=payload)

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
        """Resume all runs that wait for this event; their states.

        A listener that can't be resumed does not keep the event from the others: it counts as a failed run
        (``stats.runs_failed``, ``stats.errors``, ``on_run_failed``).

        Args:
            scope: ``session``, ``workflow``, ``run`` or ``global``; all but the last need their id.
            max_steps: steps that each listener takes at once.
            limit: how many listeners get it at most; of a store without an index by wait key, how many runs
                that wait for any event are looked at.

        Raises:
            InvalidInputError: (a ``ValueError``) no name, an unknown scope, or no id for the scope.
        """
        return self._host.emit_event(
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
        """Waiting runs, most recently updated first."""
        return self._host.find_waiting_runs(wait_reason=wait_reason, workflow_id=workflow_id, limit=limit)

    def resume_subworkflow_parent(self, *, child_run_id: str, child_output: Any) -> RunState | None:
        """Give the parent that waits for this child its output; the parent's state, ``None`` without one."""
        return self._host.resume_subworkflow_parent(child_run_id=child_run_id, child_output=child_output)

    def cancel_with_children(self, run_id: str, *, reason: str | None = None) -> list[RunState]:
        """Cancel a run and all its descendants; those that are cancelled now, root first. ``[]`` for an
        unknown run."""
        return self._host.cancel_with_children(run_id, reason=reason)

    def keep_going(self, state: RunState) -> None:
        """A run that is still RUNNING after a turn of the host's gets its next turn here."""
        self._turns.keep_going(state)
