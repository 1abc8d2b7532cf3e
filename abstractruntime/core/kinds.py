"""The words a run, a wait, a record and an effect are described with (`spec/01 §2.1`).

Enums are strings: a member compares equal to its value and serialises to it.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

__all__ = ["TERMINAL_STATUSES", "EffectType", "RunStatus", "StepStatus", "WaitReason", "member_of"]


class RunStatus(str, Enum):
    """Where a run stands. ``completed``, ``failed`` and ``cancelled`` are terminal (`spec/01 §2.1`)."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATUSES = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class WaitReason(str, Enum):
    """What a waiting run waits for."""

    EVENT = "event"
    UNTIL = "until"
    USER = "user"
    JOB = "job"
    SUBWORKFLOW = "subworkflow"


class StepStatus(str, Enum):
    """The state that one ledger record tells of."""

    STARTED = "started"
    COMPLETED = "completed"
    WAITING = "waiting"
    FAILED = "failed"


class EffectType(str, Enum):
    """The kinds of effect a node may ask for (`spec/01 §2.1`)."""

    WAIT_EVENT = "wait_event"
    WAIT_UNTIL = "wait_until"
    ASK_USER = "ask_user"
    ANSWER_USER = "answer_user"
    EMIT_EVENT = "emit_event"
    LLM_CALL = "llm_call"
    TOOL_CALLS = "tool_calls"
    MEMORY_QUERY = "memory_query"
    MEMORY_TAG = "memory_tag"
    MEMORY_COMPACT = "memory_compact"
    MEMORY_NOTE = "memory_note"
    MEMORY_REHYDRATE = "memory_rehydrate"
    MEMORY_KG_ASSERT = "memory_kg_assert"
    MEMORY_KG_QUERY = "memory_kg_query"
    MEMORY_KG_RESOLVE = "memory_kg_resolve"
    VARS_QUERY = "vars_query"
    START_SUBWORKFLOW = "start_subworkflow"


_Member = TypeVar("_Member", bound=Enum)


def member_of(kind: type[_Member], given: _Member | str) -> _Member:
    """The member that plain text stands for: enums are equal to their text, so hosts use either.

    Raises:
        ValueError: there is none.
    """
    return given if isinstance(given, kind) else kind(given)
