"""When a workflow starts by itself: cron lines in a time zone, and fixed intervals.

A schedule only says when. The fleet derives a run's id from (schedule, nominal fire time), so an occurrence
is started once whatever number of beats runs (`DESIGN §3, Cron`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from .core.errors import AppError

__all__ = ["Cron", "Every", "Schedule"]

DEFAULT_CATCH_UP_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What an occurrence starts."""

    workflow_id: str
    vars: Mapping[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    actor_id: str | None = None
    catch_up_s: float = DEFAULT_CATCH_UP_S


@dataclass(frozen=True)
class Cron(_Entry):
    """Start a workflow by a five-field cron line.

    Attributes:
        schedule_id: its name, unique in the deployment.
        expression: e.g. ``"0 7 * * 1-5"``.
        workflow_id: what to start.
        timezone: IANA name the line is read in, e.g. ``"Europe/Paris"``; days with a clock change fire
            once (Debian cron's rules).
        vars, session_id, actor_id: given to each run; ``vars["_meta"]["schedule"]`` tells the run its
            schedule id and nominal time.
        catch_up_s: occurrences missed while nothing ran are started if not older than this (seconds).

    Raises:
        AppError: the line or the time zone can't be read.
    """

    schedule_id: str
    expression: str
    timezone: str = field(default="UTC", kw_only=True)

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as exc:
            raise AppError(f"Schedule '{self.schedule_id}': unknown time zone '{self.timezone}'") from exc
        try:
            CronSim(self.expression, datetime.now(timezone.utc))
        except CronSimError as exc:
            raise AppError(
                f"Schedule '{self.schedule_id}': can't read cron line '{self.expression}': {exc}"
            ) from exc

    def occurrences(self, after: float, until: float) -> Iterator[float]:
        """Nominal times (epoch seconds) in ``(after, until]``, ascending."""
        start = datetime.fromtimestamp(after, ZoneInfo(self.timezone))
        for moment in CronSim(self.expression, start):
            nominal = moment.timestamp()
            if nominal > until:
                return
            if nominal > after:
                yield nominal


@dataclass(frozen=True)
class Every(_Entry):
    """Start a workflow every so many seconds, counted from midnight UTC of 1970-01-01.

    Attributes are those of `Cron`, with ``seconds`` (more than 0) instead of the cron line.

    Raises:
        AppError: ``seconds`` is not positive.
    """

    schedule_id: str
    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise AppError(f"Schedule '{self.schedule_id}': seconds must be positive, got {self.seconds!r}")

    def occurrences(self, after: float, until: float) -> Iterator[float]:
        """Nominal times (epoch seconds) in ``(after, until]``, ascending."""
        number = int(after // self.seconds) + 1
        while number * self.seconds <= until:
            yield number * self.seconds
            number += 1


Schedule = Cron | Every


def nominal_iso(nominal: float) -> str:
    """A nominal time as ISO text in UTC."""
    return datetime.fromtimestamp(nominal, timezone.utc).isoformat()
