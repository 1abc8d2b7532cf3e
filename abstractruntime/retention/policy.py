"""What may be removed, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunStatus
from abstractruntime.core.times import parse_time, to_iso
from abstractruntime.storage.run_trees import ENDED, RunMark

__all__ = ["RetentionPolicy"]

_EARLIEST = datetime(1, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, init=False)
class RetentionPolicy:
    """How long ended runs and expired events are kept. Running and waiting runs are kept always.

    Runs go as whole trees: a run with all its descendants, once every one of them has ended and is old enough
    for its own status. Age counts from the last update. The id of a removed run is forgotten: a start with
    the same id starts it anew, so keep runs for as long as their starters may repeat themselves.

    Attributes:
        older_than: for each status, how old a run must be; a status that is not named is kept for ever.
        events: how old an event of the inbox must be that has also expired; ``None`` = kept for ever. An
            event's id is known, so that a repeated one changes nothing, for as long as it is kept.
        commands: how old a command must be that all consumers have read; ``None`` = kept for ever. Its id
            is known for as long as it is kept, too.

    Raises:
        InvalidInputError: a status of runs that have not ended, or a negative duration.
    """

    older_than: Mapping[RunStatus, timedelta]
    events: timedelta | None
    commands: timedelta | None

    def __init__(
        self,
        older_than: timedelta | Mapping[RunStatus, timedelta] | Mapping[str, timedelta] | None = None,
        *,
        statuses: Iterable[RunStatus | str] = ENDED,
        events: timedelta | None = None,
        commands: timedelta | None = None,
    ) -> None:
        """
        Args:
            older_than: one duration for all ``statuses``, or one for each status.
            statuses: of which runs; only with one duration.
            events, commands: see above.
        """
        if older_than is None:
            ages: dict[RunStatus, timedelta] = {}
        elif isinstance(older_than, timedelta):
            ages = {_ended(status): older_than for status in statuses}
        elif isinstance(older_than, Mapping):
            ages = {_ended(status): age for status, age in older_than.items()}
        else:
            raise InvalidInputError(
                f"older_than must be a timedelta or a dict of them by status, not {type(older_than).__name__}"
            )
        for what, age in (*ages.items(), ("events", events), ("commands", commands)):
            _check_age(str(getattr(what, "value", what)), age)
        object.__setattr__(self, "older_than", ages)
        object.__setattr__(self, "events", events)
        object.__setattr__(self, "commands", commands)

    def removes_anything(self) -> bool:
        """Whether there is anything this policy lets go."""
        return bool(self.older_than) or self.events is not None or self.commands is not None

    def updated_before(self, status: RunStatus, now: datetime) -> str:
        """Runs with this status, last updated before this time, are old enough."""
        return to_iso(before(now, self.older_than[status]))

    def lets_go(self, mark: RunMark, now: datetime) -> bool:
        """Whether this run has ended and is old enough. One whose age can't be read is kept."""
        age = self.older_than.get(RunStatus(mark.status))
        if age is None:
            return False
        try:
            return parse_time(mark.updated_at) < before(now, age)
        except InvalidInputError:
            return False


def before(now: datetime, age: timedelta) -> datetime:
    """``now - age``, not before the first time there is."""
    return now - age if age < now - _EARLIEST else _EARLIEST


def _ended(status: RunStatus | str) -> RunStatus:
    known = ", ".join(each.value for each in ENDED)
    try:
        found = RunStatus(status)
    except ValueError:
        raise InvalidInputError(f"Unknown status {status!r}; runs of these can be purged: {known}") from None
    if found not in ENDED:
        raise InvalidInputError(f"Runs that are {found.value} are never purged, only those of: {known}")
    return found


def _check_age(what: str, age: timedelta | None) -> None:
    if age is None:
        return
    if not isinstance(age, timedelta) or age < timedelta():
        raise InvalidInputError(f"How old {what} must be is a timedelta of 0 or more, not {age!r}")
