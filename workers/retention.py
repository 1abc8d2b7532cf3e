"""The fleet's retention: what the settings let go is removed at every pulse of beat."""

from __future__ import annotations

import logging
from datetime import timedelta

from abstractruntime.core.models import RunStatus
from abstractruntime.retention import PurgeReport, RetentionPolicy
from abstractruntime.storage.sql.store import SqlCheckpointStore

from . import metrics
from .artifacts import Artifacts
from .deployment import Deployment
from .settings import Settings

__all__ = ["policy_of", "purge_pulse"]

logger = logging.getLogger(__name__)


def policy_of(settings: Settings) -> RetentionPolicy:
    """What ``ABSTRACTRUNTIME_RETENTION_*`` says."""
    seconds = {
        RunStatus.COMPLETED: settings.retention_completed,
        RunStatus.FAILED: settings.retention_failed,
        RunStatus.CANCELLED: settings.retention_cancelled,
    }
    return RetentionPolicy(
        {status: timedelta(seconds=age) for status, age in seconds.items() if age is not None},
        events=_age(settings.retention_events),
        commands=_age(settings.retention_commands),
    )


def _age(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def purge_pulse(deployment: Deployment) -> PurgeReport | None:
    """Remove what is due, at most ``retention_limit`` runs; ``None`` if nothing may ever go."""
    from abstractruntime.retention.database import purge_database

    store, settings = deployment.store, deployment.settings
    policy = policy_of(settings)
    if not policy.removes_anything() or not isinstance(store, SqlCheckpointStore):
        return None
    report = purge_database(
        policy,
        store.database,
        artifact_store=Artifacts(deployment.app, store).open(),
        limit=settings.retention_limit,
    )
    for name in ("runs", "events", "commands"):
        metrics.count("purged", getattr(report, name), what=name)
    if report.runs or report.events or report.commands:
        logger.info(
            "purged %d run(s), %d event(s), %d command(s)", report.runs, report.events, report.commands
        )
    for error in report.errors:
        logger.error("purge: %s", error)
    return report
