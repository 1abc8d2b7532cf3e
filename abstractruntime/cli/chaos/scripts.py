"""What people and other systems do to one run, in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Act", "Ending", "PlannedRun", "Verb"]


class Verb(str, Enum):
    """One thing somebody does."""

    EMIT = "emit"
    PUBLISH = "publish"
    STREAM = "stream"
    ANSWER = "answer"
    CANCEL = "cancel"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    LIMITS = "limits"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Act:
    """Done not before ``at_s`` seconds after the start of the chaos, and not before the act before it.

    Attributes:
        key: the wait key of an event or of an answer.
        value: payload of an event, an answer, or the limits.
        event_id: of an event; `Verb.PUBLISH` and `Verb.STREAM` send it by that way first, and then make sure
            through the client, with the same id.
    """

    at_s: float
    verb: Verb
    key: str = ""
    value: Any = None
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run must end.

    Attributes:
        status: ``completed``, ``failed``, or ``waiting`` for one that is left parked on purpose.
        output: of a completed run.
        error: must be part of a failed run's error.
        or_cancelled: somebody cancels it, perhaps too late.
        or_paused: somebody pauses it for good, perhaps too late.
    """

    status: str = "completed"
    output: dict[str, Any] | None = None
    error: str = ""
    or_cancelled: bool = False
    or_paused: bool = False


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run that is started from outside.

    Attributes:
        start_at_s: when it is started, seconds after the start of the chaos.
        after: id of a run that must be started before.
        script: what is done to it then, in order.
        meddling: what somebody else does to it meanwhile, in order.
        children: how many runs it has started once it has completed.
    """

    run_id: str
    workflow_id: str
    vars: dict[str, Any]
    start_at_s: float
    ending: Ending
    script: tuple[Act, ...] = ()
    meddling: tuple[Act, ...] = ()
    session_id: str | None = None
    after: str | None = None
    children: int = 0
