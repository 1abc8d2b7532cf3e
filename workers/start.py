"""A caller's wish to start runs: checked, and carried out unless the run is there already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from abstractruntime.app import App
from abstractruntime.core.environment import Environment
from abstractruntime.core.errors import (
    ConcurrentUpdateError,
    InvalidInputError,
    RunConflictError,
    UnknownWorkflowError,
)
from abstractruntime.core.models import RunState
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.starting import new_run
from abstractruntime.storage.checkpoints import HIGHEST_PRIORITY, LOWEST_PRIORITY, Checkpoint

from .validation import check_text, json_copy

if TYPE_CHECKING:
    from .commits import Batch, Commits

__all__ = ["MOST_AT_ONCE", "Request", "find_conflict", "insert_runs", "requested_run", "requested_runs"]

MOST_AT_ONCE = 10_000
"""Runs that one transaction may start."""

_MARK = "started_with"


@dataclass(frozen=True, slots=True)
class Request:
    """What to start."""

    workflow: WorkflowSpec
    vars: dict[str, Any]
    run_id: str
    session_id: str | None
    actor_id: str | None
    mark: str | None
    priority: int = 0

    def make(self, app: App, env: Environment) -> RunState:
        """The run. One with a caller's id remembers what it was started with (``_runtime.started_with``),
        because its vars will change."""
        run = new_run(
            self.workflow,
            config=app.config,
            env=env,
            vars=self.vars,
            actor_id=self.actor_id,
            session_id=self.session_id,
            run_id=self.run_id,
        )
        if self.mark is not None:
            run.vars["_runtime"][_MARK] = self.mark
        return run


def requested_run(
    app: App,
    workflow_id: str,
    vars: dict[str, Any] | None,
    *,
    run_id: str | None,
    session_id: str | None,
    actor_id: str | None,
    max_bytes: int,
    priority: int = 0,
    name: str = "vars",
) -> Request:
    """Check everything that `Client.start` is given; ``name`` is what errors call the vars.

    Raises:
        UnknownWorkflowError, InvalidInputError, PayloadTooLargeError: see `Client.start`.
    """
    workflow = app.get(workflow_id) if isinstance(workflow_id, str) else None
    if workflow is None:
        known = ", ".join(f"'{known}'" for known in sorted(app.workflow_ids())) or "none"
        raise UnknownWorkflowError(
            f"App '{app.name}' does not declare workflow {workflow_id!r}; it declares {known}"
        )
    if vars is not None and not isinstance(vars, dict):
        raise InvalidInputError(f"{name} must be a dict, got {type(vars).__name__}")
    for value, what in ((run_id, "run_id"), (session_id, "session_id"), (actor_id, "actor_id")):
        if value is not None:
            check_text(value, what)
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise InvalidInputError(f"priority must be an integer, got {type(priority).__name__}")
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise InvalidInputError(
            f"priority must be from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, got {priority}"
        )
    given = json_copy(vars or {}, name, max_bytes=max_bytes)
    return Request(
        workflow=workflow,
        vars=given,
        run_id=run_id or str(uuid4()),
        session_id=session_id,
        actor_id=actor_id,
        mark=None if run_id is None else _digest(given),
        priority=priority,
    )


def requested_runs(
    app: App,
    workflow_id: str,
    vars: Iterable[dict[str, Any] | None],
    *,
    run_ids: Sequence[str] | None,
    session_id: str | None,
    actor_id: str | None,
    max_bytes: int,
    priority: int = 0,
) -> list[Request]:
    """Check everything that `Client.start_many` is given.

    Raises:
        UnknownWorkflowError, InvalidInputError, PayloadTooLargeError: see `Client.start_many`.
    """
    if isinstance(vars, dict) or not isinstance(vars, Iterable):
        raise InvalidInputError(f"vars must be a list of dicts, one for each run, got {type(vars).__name__}")
    each = list(vars)
    if len(each) > MOST_AT_ONCE:
        raise InvalidInputError(
            f"{len(each)} runs are too many for one call; start at most {MOST_AT_ONCE} at once"
        )
    if run_ids is not None and (isinstance(run_ids, str) or len(run_ids) != len(each)):
        raise InvalidInputError(f"run_ids must be a list with one id for each of the {len(each)} runs")
    return [
        requested_run(
            app,
            workflow_id,
            given,
            run_id=None if run_ids is None else check_text(run_ids[i], f"run_ids[{i}]"),
            session_id=session_id,
            actor_id=actor_id,
            max_bytes=max_bytes,
            priority=priority,
            name=f"vars[{i}]",
        )
        for i, given in enumerate(each)
    ]


def insert_runs(app: App, commits: Commits, batch: Batch, requests: Sequence[Request], *, room: int) -> None:
    """Insert runs of one workflow and priority, those that exist already excepted. Of the first ``room`` the
    hints are published, as far as the queue takes them; the others are the sweep's, which feeds the queue as
    it drains.

    Raises:
        RunConflictError: see `find_conflict`; then the batch must be undone.
    """
    # In one order by everybody: two calls with the same ids must not wait for each other.
    runs = [request.make(app, batch.env) for request in sorted(requests, key=lambda request: request.run_id)]
    is_limited = bool(app.start_limits(requests[0].workflow.workflow_id))
    for some, may_send in ((runs[:room], True), (runs[room:], False)):
        for run in commits.insert_runs(
            batch, some, depth=0, priority=requests[0].priority, is_limited=is_limited, may_send=may_send
        ):
            # Seen unlocked if it is committed: its steps must not wait for a caller's transaction.
            find_conflict(run, commits.store.load(run.run_id) or batch.unit.load(run.run_id))


def _digest(vars: dict[str, Any]) -> str:
    text = json.dumps(vars, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def find_conflict(wanted: RunState, there: Checkpoint | None) -> None:
    """The id is taken: by the same request, or by something else?

    Raises:
        RunConflictError: by another workflow's run, or one started with other vars.
    """
    run_id = wanted.run_id
    if there is None:
        raise ConcurrentUpdateError(f"Run '{run_id}' appeared and vanished meanwhile; try again")
    found = there.run
    if found.workflow_id != wanted.workflow_id:
        raise RunConflictError(
            f"Run '{run_id}' exists and is of workflow '{found.workflow_id}', "
            f"not '{wanted.workflow_id}'; use another run_id"
        )
    mark = _mark(found)
    if mark is not None and mark != _mark(wanted):
        raise RunConflictError(
            f"Run '{run_id}' of workflow '{found.workflow_id}' exists and was started with other vars; "
            "use another run_id, or the same vars to repeat a call"
        )


def _mark(run: RunState) -> str | None:
    """``None`` for a run whose nodes have thrown it away: then its workflow must do."""
    runtime = run.vars.get("_runtime")
    mark = runtime.get(_MARK) if isinstance(runtime, dict) else None
    return mark if isinstance(mark, str) else None
