"""Starting scheduled workflows: each occurrence once, whatever number of beats runs (`DESIGN §3, Cron`)."""

from __future__ import annotations

import logging
from uuid import NAMESPACE_URL, uuid5

from abstractruntime.app import App
from abstractruntime.core import faults
from abstractruntime.core.errors import ConfigurationError
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.starting import new_run
from abstractruntime.schedule import Schedule, nominal_iso

from . import metrics
from .deployment import Deployment

__all__ = ["check_schedules", "fire_due", "occurrence_run_id"]

logger = logging.getLogger(__name__)


def occurrence_run_id(schedule_id: str, nominal: float) -> str:
    """The id of the run that an occurrence starts: the same wherever and however often it is computed."""
    return str(uuid5(NAMESPACE_URL, f"abstractruntime:schedule:{schedule_id}:{nominal_iso(nominal)}"))


def fire_due(deployment: Deployment) -> int:
    """Start the occurrences that have become due since the last look; how many were started here."""
    started = 0
    for schedule in _all(deployment.app):
        try:
            started += _fire(deployment, schedule)
        except ConfigurationError:
            # One wrong entry must not keep the others from firing; it is said again at every look.
            logger.exception("schedule %s can't fire", schedule.schedule_id)
            metrics.count("schedule_failed", schedule=schedule.schedule_id)
    return started


def check_schedules(app: App) -> None:
    """Whether everything that ``beat_schedule.py`` starts is declared.

    Raises:
        ConfigurationError: a schedule names a workflow the App does not declare, or shares its id.
    """
    seen: set[str] = set()
    for schedule in _all(app):
        _workflow(app, schedule)
        if schedule.schedule_id in seen:
            raise ConfigurationError(f"Two schedules are called '{schedule.schedule_id}'; rename one")
        seen.add(schedule.schedule_id)


def _all(app: App) -> list[Schedule]:
    from beat_schedule import SCHEDULES

    return [*app.schedules, *SCHEDULES]


def _workflow(app: App, schedule: Schedule) -> WorkflowSpec:
    workflow = app.get(schedule.workflow_id)
    if workflow is None:
        raise ConfigurationError(
            f"Schedule '{schedule.schedule_id}' starts workflow '{schedule.workflow_id}', "
            f"which App '{app.name}' does not declare"
        )
    return workflow


def _fire(deployment: Deployment, schedule: Schedule) -> int:
    store = deployment.store
    seen = store.schedule_cursor(schedule.schedule_id)
    now = store.now()
    if now <= seen:
        return 0
    started = 0
    for nominal in schedule.occurrences(max(seen, now - schedule.catch_up_s), now):
        started += _start(deployment, schedule, nominal)
    # Started first, moved on after: a crash in between starts nothing twice (the ids are the same).
    if started:
        faults.hit("schedule.started")
    store.advance_schedule(schedule.schedule_id, seen=seen, to=now)
    return started


def _start(deployment: Deployment, schedule: Schedule, nominal: float) -> int:
    workflow = _workflow(deployment.app, schedule)
    with deployment.commits.batch() as batch:
        meta = {"schedule": {"id": schedule.schedule_id, "nominal_time": nominal_iso(nominal)}}
        run = new_run(
            workflow,
            config=deployment.app.config,
            env=batch.env,
            vars={**schedule.vars, "_meta": meta},
            actor_id=schedule.actor_id,
            session_id=schedule.session_id,
            run_id=occurrence_run_id(schedule.schedule_id, nominal),
        )
        inserted = deployment.commits.insert_run(
            batch, run, depth=0, is_limited=bool(deployment.app.start_limits(run.workflow_id))
        )
    if inserted:
        metrics.count("schedule_started", schedule=schedule.schedule_id)
        logger.info("schedule %s started run %s", schedule.schedule_id, run.run_id)
    return int(inserted)
