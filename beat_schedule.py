"""What beat fires. Beat is a pulse: what it triggers is idempotent, so any number of beats may run.

Add schedules of your own to ``SCHEDULES`` (or declare them on your App, which is the same)::

    SCHEDULES = [Cron("nightly-report", "0 2 * * *", workflow_id="report", timezone="Europe/Paris")]
"""

from __future__ import annotations

from typing import Any

from abstractruntime.schedule import Schedule

__all__ = ["SCHEDULES", "pulse"]

SCHEDULES: list[Schedule] = []
"""Cron and interval entries that start workflows, beside those declared on the App."""

SCHEDULE_CHECK_S = 1.0
PULSE_LIFE_S = 300.0


def pulse(sweep_interval_s: float, purge_interval_s: float = 300.0) -> dict[str, dict[str, Any]]:
    """Celery's ``beat_schedule``: the sweep, the check of ``SCHEDULES``, and the purge, which removes nothing
    unless ``ABSTRACTRUNTIME_RETENTION_*`` says what.

    Pulses expire, so that a fleet that was away does not work through a queue of old ones. Not too soon:
    Celery compares beat's clock with the worker's, and either may be wrong by a minute (`DESIGN §4`); and
    a queue that is minutes long must not keep the sweep from ever running.
    """
    return {
        "abstractruntime-sweep": {
            "task": "abstractruntime.sweep",
            "schedule": sweep_interval_s,
            "options": {"expires": max(PULSE_LIFE_S, sweep_interval_s * 2)},
        },
        "abstractruntime-schedules": {
            "task": "abstractruntime.fire_schedules",
            "schedule": SCHEDULE_CHECK_S,
            "options": {"expires": PULSE_LIFE_S},
        },
        "abstractruntime-purge": {
            "task": "abstractruntime.purge",
            "schedule": purge_interval_s,
            "options": {"expires": max(PULSE_LIFE_S, purge_interval_s)},
        },
    }
