"""What web backends and scripts use to start, signal, control and watch runs of a fleet.

Every call is durable once it returns and needs no broker for that: what is published afterwards is a hint,
sent within `Settings.publish_timeout`, and the sweep repairs a lost one (`DESIGN §3`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from abstractruntime.app import App, load_app
from abstractruntime.core.errors import InvalidInputError, UnknownRunError
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.traces import attach_traces, derive_traces, stored_traces
from abstractruntime.retention import PurgeReport, RetentionPolicy
from abstractruntime.retention.database import purge_database
from abstractruntime.storage.artifact_base import ArtifactStore
from abstractruntime.storage.checkpoints import Checkpoint, LedgerEntry, RunFilter, RunSummary
from abstractruntime.storage.sql.store import SqlCheckpointStore

from .artifacts import Artifacts
from .celery_app import make_celery
from .commits import Batch, Commits
from .control import Control, check_key, persistently
from .dispatch import CeleryDispatcher
from .endings import Endings, until_ended
from .evidence import Evidence
from .external_events import EventReceipt, ExternalEvent, emit_external
from .hints import Dispatcher
from .joining import Joinable, Joining
from .opening import open_store
from .placement import Timing
from .settings import Settings, load_settings
from .start import insert_runs, requested_run, requested_runs
from .validation import check_answerable, check_text, json_copy

__all__ = ["Client", "EventReceipt"]

KEEP_CLOCK_S = 2.0
"""How long the database's clock is not looked at again; what is written is wrong by its drift at most."""

Ids = list[str]
Runs = list[RunState]
Summaries = list[RunSummary]
Entries = list[LedgerEntry]


class Client:
    """A door to a fleet. Safe to share among threads, and across a fork.

    Args:
        app: the deployment's App or its ``module:attribute``; default: the settings' one. It is needed by
            `start` only, and imported then.
        settings: default: from the environment.
        store, dispatcher: parts to use instead of those the settings name; a store given stays open.

    Raises:
        ConfigurationError: a setting is wrong, or the database's schema is not this release's.
        ServiceUnavailableError: (every method, too) the database can't be reached.
    """

    def __init__(
        self,
        app: App | str | None = None,
        *,
        settings: Settings | None = None,
        store: SqlCheckpointStore | None = None,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self._app = app
        self._owns_store = store is None
        self.store = store or open_store(self.settings)
        self._celery_dispatcher: CeleryDispatcher | None = None
        if dispatcher is None:
            dispatcher = self._celery_dispatcher = CeleryDispatcher(make_celery(self.settings), self.settings)
        self.dispatcher: Dispatcher = dispatcher
        self.commits = Commits(
            self.store,
            dispatcher,
            Timing.of(self.settings),
            event_ttl_s=self.settings.event_ttl,
            keep_clock_s=KEEP_CLOCK_S,
        )
        self.endings = Endings(self.settings)
        self._control = Control(self.commits, lambda: Evidence(self._opened_artifacts()))
        self._joining = Joining(self.store, dispatcher)
        self._artifacts: Artifacts | None = None

    @property
    def app(self) -> App:
        """The deployment's App.

        Raises:
            AppError: none is given, or it can't be imported.
        """
        if not isinstance(self._app, App):
            self._app = load_app(self._app or self.settings.app)
        return self._app

    @property
    def artifacts(self) -> ArtifactStore:
        """Where the deployment's large payloads live: what its App declares; without an App, and by default,
        the fleet's database. An id is no permission: check that the artifact's run is the caller's.

        Raises:
            AppError: the App is named but can't be imported, or declares no artifact store.
        """
        return self._opened_artifacts().open()

    def _opened_artifacts(self) -> Artifacts:
        if self._artifacts is None:
            has_app = self._app is not None or self.settings.app is not None
            self._artifacts = Artifacts(self.app if has_app else None, self.store)
        return self._artifacts

    # -- start and signal -----------------------------------------------------------------------

    def start(
        self,
        workflow_id: str,
        vars: dict[str, Any] | None = None,
        *,
        run_id: str | None = None,
        session_id: str | None = None,
        actor_id: str | None = None,
        priority: int = 0,
        connection: Joinable | None = None,
    ) -> str:
        """Create a run of a workflow; its id.

        Args:
            vars: a JSON object; copied.
            run_id: an id of yours makes the call repeatable: the same id with the same workflow and vars
                gives the run that is there already. Default: a new UUID4.
            priority: -9 to 9; higher is served first where runs have to wait, and waiting
                (``settings.priority_ageing`` seconds for each step) makes up for it. Children inherit it.
            connection: join this SQLAlchemy Connection's or Session's transaction, which must be on the
                runs' database: the run exists if it commits, and is published then. On SQLite let that
                transaction begin as ``BEGIN IMMEDIATE`` if it reads before this call.

        Raises:
            UnknownWorkflowError: the App does not declare it; the message names those it does.
            InvalidInputError: an id or ``vars`` can't be used; the message has the path.
            PayloadTooLargeError: ``vars`` is over ``settings.max_payload_bytes``.
            RunConflictError: the id exists with another workflow or other vars.
        """
        request = requested_run(
            self.app,
            workflow_id,
            vars,
            run_id=run_id,
            session_id=session_id,
            actor_id=actor_id,
            max_bytes=self.settings.max_payload_bytes,
            priority=priority,
        )
        with self._batch(connection) as batch:
            insert_runs(self.app, self.commits, batch, [request], room=1)
        return request.run_id

    def start_many(
        self,
        workflow_id: str,
        vars: Iterable[dict[str, Any] | None],
        *,
        run_ids: Sequence[str] | None = None,
        session_id: str | None = None,
        actor_id: str | None = None,
        priority: int = 0,
        connection: Joinable | None = None,
    ) -> Ids:
        """`start` for many runs in one transaction: all exist afterwards, or none. Their ids, in order.

        Args:
            vars: one JSON object for each run, at most `start.MOST_AT_ONCE` of them.
            run_ids: ids of yours, one for each; they make the call repeatable as for `start`.
            session_id, actor_id, priority, connection: as for `start`, for all of them.

        Raises:
            InvalidInputError: also for too many, or if there is not one id for each; `start`'s other errors.
        """
        requests = requested_runs(
            self.app,
            workflow_id,
            vars,
            run_ids=run_ids,
            session_id=session_id,
            actor_id=actor_id,
            max_bytes=self.settings.max_payload_bytes,
            priority=priority,
        )
        if requests:
            with self._batch(connection) as batch:
                insert_runs(self.app, self.commits, batch, requests, room=self.settings.queue_limit)
        return [request.run_id for request in requests]

    def resume(self, run_id: str, payload: Any = None, *, wait_key: str | None = None) -> RunState:
        """Give a waiting run what it waits for.

        Args:
            payload: a JSON value; stored at the wait's ``result_key``.
            wait_key: must be (one of) the wait's; ``None`` resumes any wait.

        Raises:
            UnknownRunError: no such run.
            WaitMismatchError: it has ended, is paused, is not waiting, or waits for another key.
            InvalidInputError, PayloadTooLargeError: as for `start`.
            ConcurrentUpdateError: others kept changing it.
        """
        return self._control.resume(run_id, self._json(payload, "payload"), check_key(wait_key))

    def respond(self, run_id: str, payload: Any) -> RunState:
        """`resume` for a run that asks a person; any other wait is a WaitMismatchError."""
        return self._control.resume(run_id, self._json(payload, "payload"), check_answerable)

    def emit_event(
        self,
        name: str | None = None,
        payload: Any = None,
        *,
        scope: str = "session",
        session_id: str | None = None,
        workflow_id: str | None = None,
        run_id: str | None = None,
        wait_key: str | None = None,
        event_id: str | None = None,
        connection: Joinable | None = None,
    ) -> EventReceipt:
        """Put an event in the inbox and resume the runs that wait for it; it is kept for later ones.

        With ``name`` the listeners receive the envelope of `spec/02 §13.4` (a payload that is no dict
        becomes ``{"value": payload}``); with ``wait_key`` alone they receive ``payload`` as it is.

        Args:
            scope: ``session``, ``workflow``, ``run`` or ``global``; all but the last need their id.
            wait_key: an explicit key, instead of one made of name and scope.
            event_id: the same id is accepted once; default: a new one.
            connection: as for `start`.

        Raises:
            InvalidInputError: no name, an unknown scope, its id is missing, or the payload is no JSON.
            PayloadTooLargeError: the payload is too large.
        """
        external = ExternalEvent.of(
            name,
            self._json(payload, "payload"),
            scope=scope,
            session_id=session_id,
            workflow_id=workflow_id,
            run_id=run_id,
            wait_key=wait_key,
            event_id=event_id,
        )
        if connection is not None:
            return self._emit(external, connection)
        return persistently(f"Event '{external.event_id}'", lambda: self._emit(external, None))

    def _emit(self, external: ExternalEvent, connection: Joinable | None) -> EventReceipt:
        with self._batch(connection) as batch:
            return emit_external(self.commits, batch, external)

    def _batch(self, connection: Joinable | None) -> AbstractContextManager[Batch]:
        return self.commits.batch() if connection is None else self._joining.batch(connection)

    def _json(self, value: Any, what: str) -> Any:
        return json_copy(value, what, max_bytes=self.settings.max_payload_bytes)

    # -- control --------------------------------------------------------------------------------

    def cancel(self, run_id: str, *, reason: str | None = None) -> Runs:
        """End the run and everything running below it, in one transaction; those cancelled, root first.

        An effect in flight ends, its outcome is kept in the ledger. A run that has ended stays as it is.

        Raises:
            UnknownRunError: no such run.
        """
        return self._control.cancel(run_id, reason)

    def pause(self, run_id: str, *, reason: str | None = None) -> RunState:
        """Stop the run until `unpause`. No-op for one that has ended, is paused or asks a person."""
        return self._control.pause(run_id, reason)

    def unpause(self, run_id: str) -> RunState:
        """Undo `pause`; an event or a child's end that came meanwhile is met at once."""
        return self._control.unpause(run_id)

    def retry(self, run_id: str) -> RunState:
        """Let a FAILED run go on from the step that failed.

        Raises:
            InvalidInputError: it has not failed.
        """
        return self._control.retry(run_id)

    def update_limits(self, run_id: str, updates: dict[str, Any]) -> RunState:
        """Set known limits of the run (`spec/01 §9.9`); unknown names are ignored."""
        if not isinstance(updates, dict):
            raise InvalidInputError(f"updates must be a dict of limits, got {type(updates).__name__}")
        return self._control.update_limits(run_id, self._json(updates, "updates"))

    # -- look -----------------------------------------------------------------------------------

    def get(self, run_id: str) -> RunState:
        """The run as stored. Raises UnknownRunError."""
        return self._with_traces(self.checkpoint(run_id).run)

    def checkpoint(self, run_id: str) -> Checkpoint:
        """The run with what the fleet keeps beside it. Raises UnknownRunError."""
        found = self.store.load(check_text(run_id, "run_id", longest=10_000))
        if found is None:
            raise UnknownRunError(run_id)
        return found

    def ledger(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Entries:
        """Ledger records with a position greater than ``after``, ascending. Raises UnknownRunError."""
        entries = self.store.ledger(run_id, after=after, limit=limit)
        if not entries:
            self.checkpoint(run_id)
        return entries

    def traces(self, run_id: str) -> dict[str, Any]:
        """Node traces (`spec/01 §11.1`), from the ledger. Raises UnknownRunError."""
        run = self.checkpoint(run_id).run
        runtime = run.vars.get("_runtime")
        marks = runtime.get("reused_steps") if isinstance(runtime, dict) else None
        records = [entry.record for entry in self.store.ledger(run_id)]
        return derive_traces(records, marks, stored_traces(run))

    def list(
        self,
        *,
        status: RunStatus | str | None = None,
        wait_reason: WaitReason | str | None = None,
        workflow_id: str | None = None,
        session_id: str | None = None,
        parent_run_id: str | None = None,
        root_only: bool = False,
        limit: int = 100,
        before: str | None = None,
    ) -> Summaries:
        """Runs, last updated first; ``before`` (an ``updated_at``) pages on.

        Raises:
            InvalidInputError: an unknown status or wait reason.
        """
        try:
            where = RunFilter(
                status=None if status is None else RunStatus(status),
                wait_reason=None if wait_reason is None else WaitReason(wait_reason),
                workflow_id=workflow_id,
                session_id=session_id,
                parent_run_id=parent_run_id,
                root_only=root_only,
            )
        except ValueError as exc:
            known = ", ".join(member.value for member in (*RunStatus, *WaitReason))
            raise InvalidInputError(f"{exc}; known are: {known}") from exc
        return self.store.find_runs(where, limit=limit, before=before)

    def counts(self) -> dict[str, int]:
        """Number of runs by status."""
        return dict(self.store.status_counts())

    def wait(self, run_id: str, timeout: float | None = None) -> RunState:
        """The run once it has ended; known within milliseconds while Redis is there, else by polling.

        Args:
            timeout: seconds; ``None`` = for ever.

        Raises:
            TimeoutError: it has not ended in time.
            UnknownRunError: no such run.
        """
        return until_ended(lambda: self.get(run_id), self.endings, run_id, timeout)

    def _with_traces(self, run: RunState) -> RunState:
        attach_traces(run, lambda: [entry.record for entry in self.store.ledger(run.run_id)])
        return run

    # -- retention ------------------------------------------------------------------------------

    def purge(
        self, policy: RetentionPolicy, *, dry_run: bool = False, limit: int | None = None
    ) -> PurgeReport:
        """Remove old runs with all they have, expired events and read commands; see `retention.purge`.

        Raises:
            AppError: see `artifacts`.
        """
        return purge_database(
            policy, self.store.database, artifact_store=self.artifacts, dry_run=dry_run, limit=limit
        )

    # -- end ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close connections; hints of joined transactions that have committed are published first."""
        self._joining.close()
        self.endings.close()
        if self._celery_dispatcher is not None:
            self._celery_dispatcher.close()
        if self._owns_store:
            self.store.database.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
