"""The Celery tasks: thin doors to the engine. Their arguments are hints, never state."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_process_init, worker_process_shutdown, worker_shutdown
from sqlalchemy.exc import DBAPIError

from abstractruntime.app import load_app
from abstractruntime.core.errors import ConcurrentUpdateError, RuntimeFault, ServiceUnavailableError

from .deployment import Deployment
from .schedules import check_schedules, fire_due
from .settings import Settings
from .timekeeper import Timekeeper

__all__ = ["deployment_of", "register_tasks"]

logger = logging.getLogger(__name__)

# The database is away or broke the transaction (a deadlock, for one): nothing was written, so the same
# hint is tried again.
RETRIED = (DBAPIError, ServiceUnavailableError, ConcurrentUpdateError)

_deployments: dict[tuple[int, int], Deployment] = {}


def deployment_of(celery: Celery, settings: Settings) -> Deployment:
    """This process's deployment, made on first use (in a prefork child: after the fork)."""
    key = (os.getpid(), id(celery))
    deployment = _deployments.get(key)
    if deployment is None:
        deployment = _deployments[key] = _build(celery, settings)
    return deployment


def _build(celery: Celery, settings: Settings) -> Deployment:
    from .dispatch import CeleryDispatcher
    from .opening import open_store

    app = load_app(settings.app)
    store = open_store(settings)
    timekeeper = Timekeeper(
        CeleryDispatcher(celery, settings), limit=settings.timer_limit, eta_limit=settings.eta_limit
    )
    return Deployment.build(settings, app, store, timekeeper)


def register_tasks(celery: Celery, settings: Settings) -> None:
    """Declare the fleet's tasks on a Celery app."""
    options: dict[str, Any] = {
        "shared": False,
        "autoretry_for": RETRIED,
        "max_retries": 8,
        "retry_backoff": 1,
        "retry_backoff_max": 30,
        "retry_jitter": True,
    }

    def tick(run_id: str, version: int, node: str = "", workflow: str = "", first: bool = False) -> None:
        deployment_of(celery, settings).engine.tick(run_id, version, first=first)

    def effect(run_id: str, version: int, node: str = "", workflow: str = "") -> None:
        deployment_of(celery, settings).engine.effect(run_id, version)

    def sweep() -> int:
        from .sweep import sweep as look

        deployment = deployment_of(celery, settings)
        dispatcher = deployment.dispatcher
        room = (lambda: dispatcher.room) if isinstance(dispatcher, Timekeeper) else None
        return look(deployment.store, dispatcher, deployment.timing, batch=settings.sweep_batch, room=room)

    def fire_schedules() -> int:
        return fire_due(deployment_of(celery, settings))

    def purge() -> dict[str, Any] | None:
        from .retention import purge_pulse

        report = purge_pulse(deployment_of(celery, settings))
        return None if report is None else report.to_dict()

    def check_deployment(**_: object) -> None:
        """Say at start what is wrong, instead of failing every task."""
        try:
            check_schedules(_build(celery, settings).app)
        except RuntimeFault as exc:
            logger.error("worker can't start: %s", exc)
            raise SystemExit(f"worker can't start: {exc}") from exc

    def forget_parents_connections(**_: object) -> None:
        _deployments.clear()

    def hand_over(**_: object) -> None:
        """Timers this process keeps go to the others."""
        deployment = _deployments.get((os.getpid(), id(celery)))
        if deployment is not None and isinstance(deployment.dispatcher, Timekeeper):
            deployment.dispatcher.close()

    celery.task(name="abstractruntime.tick", queue=settings.tick_queue, **options)(tick)
    celery.task(name="abstractruntime.effect", queue=settings.effect_queue, **options)(effect)
    celery.task(name="abstractruntime.sweep", queue=settings.tick_queue, shared=False)(sweep)
    celery.task(name="abstractruntime.fire_schedules", queue=settings.tick_queue, shared=False)(
        fire_schedules
    )
    celery.task(name="abstractruntime.purge", queue=settings.tick_queue, shared=False)(purge)
    worker_init.connect(check_deployment, weak=False)
    worker_process_init.connect(forget_parents_connections, weak=False)
    worker_process_shutdown.connect(hand_over, weak=False)
    worker_shutdown.connect(hand_over, weak=False)
