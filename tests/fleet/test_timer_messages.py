"""A timer within the horizon is a Celery ETA task in the broker; a later one is a row only."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from redis import Redis

from abstractruntime.app import App
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.store import SqlCheckpointStore
from workers.celery_app import make_celery
from workers.client import Client
from workers.deployment import Deployment
from workers.dispatch import CeleryDispatcher
from workers.settings import load_settings
from workers.timekeeper import Timekeeper


def wait(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("wait", Effect(EffectType.WAIT_UNTIL, {"until": run.vars["until"]}), "end")


def end(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("end", complete_output={})


APP = App(workflows=[WorkflowSpec("timer", "wait", {"wait": wait, "end": end})])


@pytest.mark.parametrize(("seconds", "has_message"), [(20, True), (3600, False)])
def test_wait_until_is_an_eta_task_within_the_horizon(
    redis_url: str, tmp_path: Path, seconds: int, has_message: bool
) -> None:
    settings = load_settings(app="x:y", database_url=f"sqlite:///{tmp_path}/runs.db", redis_url=redis_url)
    database = open_database(settings.database_url)
    migrate.upgrade(database)
    dispatcher = CeleryDispatcher(make_celery(settings), settings)
    keeper = Timekeeper(dispatcher, limit=settings.timer_limit, eta_limit=settings.eta_limit)
    deployment = Deployment.build(settings, APP, SqlCheckpointStore(database), keeper)
    due = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    with Client(APP, settings=settings) as client, Redis.from_url(redis_url) as broker:
        run_id = client.start("timer", {"until": due.isoformat()})
        broker.delete(settings.tick_queue)
        deployment.engine.tick(run_id, 1)
        messages = [json.loads(message) for message in broker.lrange(settings.tick_queue, 0, -1)]
        assert client.get(run_id).status == "waiting"
    keeper.close()
    dispatcher.close()
    database.close()
    etas = [datetime.fromisoformat(message["headers"]["eta"]) for message in messages]
    assert len(etas) == has_message
    assert all(abs(eta - due) < timedelta(seconds=1) for eta in etas)
