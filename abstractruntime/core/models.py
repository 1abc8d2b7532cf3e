"""What a run is: its state, its waits, the plans its nodes return and the records it leaves.

Everything here is JSON-like data without behaviour beyond its own shape (`spec/01 §2`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .derived import without_derived
from .kinds import TERMINAL_STATUSES, EffectType, RunStatus, StepStatus, WaitReason, member_of
from .making import setters, wholly_frozen
from .utc import utc_now, utc_now_iso

__all__ = [
    "TERMINAL_STATUSES",
    "Effect",
    "EffectType",
    "LimitWarning",
    "RunState",
    "RunStatus",
    "StepPlan",
    "StepRecord",
    "StepStatus",
    "WaitReason",
    "WaitState",
    "utc_now",
    "utc_now_iso",
]


_FRESH: dict[str, Any] = {}
"""Stands for "a new dict" where an `Effect` is made without payload."""


# Several times per step an enum is asked for its value: ``_value_`` is the attribute behind ``value``, which
# runs two Python functions to read it.
#
# Effect, StepPlan and EffectOutcome are made in every step and read thirty times. The ``__init__`` frozen
# dataclasses are given sets each field through ``object.__setattr__``; the setters of the slots do the same
# for less. For everybody else they are frozen.


@wholly_frozen
@dataclass(frozen=True, init=False, slots=True)
class Effect:
    """Something a node asks the runtime to do.

    Attributes:
        type: what to do.
        payload: JSON-like arguments; their shape depends on ``type``.
        result_key: dotted path into ``run.vars`` that receives the result; ``None`` drops it.

    Raises:
        ValueError: ``type`` is neither an `EffectType` nor the value of one.
    """

    type: EffectType
    payload: dict[str, Any] = field(default_factory=dict)
    result_key: str | None = None

    def __init__(
        self, type: EffectType, payload: dict[str, Any] = _FRESH, result_key: str | None = None
    ) -> None:
        _set_type(self, type if type.__class__ is EffectType else EffectType(type))
        _set_payload(self, {} if payload is _FRESH else payload)
        _set_result_key(self, result_key)


_set_type, _set_payload, _set_result_key = setters(Effect, "type", "payload", "result_key")


@wholly_frozen
@dataclass(frozen=True, init=False, slots=True)
class StepPlan:
    """What a node wants to happen next (`spec/01 §3.3`).

    ``complete_output`` (an empty dict counts) ends the run and wins over the rest; without an effect the
    plan is a pure transition to ``next_node``; with one, the effect runs and then ``next_node``. An effect
    without ``next_node`` ends the run with the effect's result.
    """

    node_id: str
    effect: Effect | None = None
    next_node: str | None = None
    complete_output: dict[str, Any] | None = None

    def __init__(
        self,
        node_id: str,
        effect: Effect | None = None,
        next_node: str | None = None,
        complete_output: dict[str, Any] | None = None,
    ) -> None:
        _set_node_id(self, node_id)
        _set_effect(self, effect)
        _set_next_node(self, next_node)
        _set_complete_output(self, complete_output)


_set_node_id, _set_effect, _set_next_node, _set_complete_output = setters(
    StepPlan, "node_id", "effect", "next_node", "complete_output"
)


@dataclass
class WaitState:
    """What a waiting run needs to go on, complete enough for a fresh process to resume it.

    Attributes:
        reason: what it waits for.
        wait_key: identifies the signal that unblocks it; ``None`` for pure time waits.
        until: ISO time, UTC: when a time wait is due (or another wait times out).
        resume_to_node: the node that runs next; ``None`` makes the wait terminal.
        result_key: dotted path that receives the resume payload.
        prompt, choices, allow_free_text: for whoever shows the question to a person.
        details: JSON-like extras (tool waits, subworkflow waits, pause).
    """

    reason: WaitReason
    wait_key: str | None = None
    until: str | None = None
    resume_to_node: str | None = None
    result_key: str | None = None
    prompt: str | None = None
    choices: list[str] | None = None
    allow_free_text: bool = True
    details: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.reason = member_of(WaitReason, self.reason)

    def to_dict(self) -> dict[str, Any]:
        """The nine fields in stored order, ``reason`` as its value (`spec/01 §2.6`)."""
        return {
            "reason": self.reason._value_,
            "wait_key": self.wait_key,
            "until": self.until,
            "resume_to_node": self.resume_to_node,
            "result_key": self.result_key,
            "prompt": self.prompt,
            "choices": self.choices,
            "allow_free_text": self.allow_free_text,
            "details": self.details,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WaitState:
        """Read the stored form (`spec/02 §3.1`).

        Raises:
            ValueError: the object has no ``reason``, or an unknown one.
        """
        if not data.get("reason"):
            raise ValueError("Persisted waiting state missing 'reason'")
        return cls(
            reason=WaitReason(data["reason"]),
            wait_key=data.get("wait_key"),
            until=data.get("until"),
            resume_to_node=data.get("resume_to_node"),
            result_key=data.get("result_key"),
            prompt=data.get("prompt"),
            choices=data.get("choices"),
            allow_free_text=bool(data.get("allow_free_text", True)),
            details=data.get("details"),
        )


@dataclass
class RunState:
    """The checkpoint of one run: all that is needed to go on (`spec/01 §2.5`).

    ``vars`` must stay JSON-serialisable; the store says so when it is not. Made of a stored form
    (``RunState(**stored)``) it takes the text of a status and the dict of a wait.
    """

    run_id: str
    workflow_id: str
    status: RunStatus
    current_node: str
    vars: dict[str, Any] = field(default_factory=dict)
    waiting: WaitState | None = None
    output: dict[str, Any] | None = None
    error: str | None = None
    created_at: str = field(default_factory=utc_now_iso)
    updated_at: str = field(default_factory=utc_now_iso)
    actor_id: str | None = None
    session_id: str | None = None
    parent_run_id: str | None = None

    def __post_init__(self) -> None:
        self.status = member_of(RunStatus, self.status)
        if isinstance(self.waiting, dict):
            self.waiting = WaitState.from_dict(self.waiting)

    @classmethod
    def new(
        cls,
        *,
        workflow_id: str,
        entry_node: str,
        actor_id: str | None = None,
        session_id: str | None = None,
        vars: dict[str, Any] | None = None,
        parent_run_id: str | None = None,
    ) -> RunState:
        """A RUNNING run at ``entry_node`` with a random UUID4 id. ``vars`` is kept, not copied."""
        return cls(
            run_id=str(uuid4()),
            workflow_id=workflow_id,
            status=RunStatus.RUNNING,
            current_node=entry_node,
            vars=vars or {},
            actor_id=actor_id,
            session_id=session_id,
            parent_run_id=parent_run_id,
        )

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended for good."""
        return self.status in TERMINAL_STATUSES

    def to_dict(self) -> dict[str, Any]:
        """The stored form, keys in stored order (`spec/02 §3.1`), without computed views such as node traces.

        Shares nested values with the run.
        """
        return {
            "run_id": self.run_id,
            "workflow_id": self.workflow_id,
            "status": self.status._value_,
            "current_node": self.current_node,
            "vars": without_derived(self.vars),
            "waiting": None if self.waiting is None else self.waiting.to_dict(),
            "output": self.output,
            "error": self.error,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "actor_id": self.actor_id,
            "session_id": self.session_id,
            "parent_run_id": self.parent_run_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunState:
        """Read the stored form; unknown keys are ignored (`spec/02 §3.1`).

        Raises:
            KeyError: ``run_id``, ``workflow_id``, ``status`` or ``current_node`` is missing.
            ValueError: an unknown status or wait reason, or a wait without reason.
        """
        waiting = data.get("waiting")
        created = data.get("created_at") or utc_now_iso()
        return cls(
            run_id=data["run_id"],
            workflow_id=data["workflow_id"],
            status=RunStatus(data["status"]),
            current_node=data["current_node"],
            vars=data.get("vars") or {},
            waiting=WaitState.from_dict(waiting) if isinstance(waiting, dict) else None,
            output=data.get("output"),
            error=data.get("error"),
            created_at=created,
            updated_at=data.get("updated_at") or created,
            actor_id=data.get("actor_id"),
            session_id=data.get("session_id"),
            parent_run_id=data.get("parent_run_id"),
        )


@dataclass
class StepRecord:
    """One entry of a run's ledger (`spec/01 §2.6`). The field order is the stored key order."""

    run_id: str
    step_id: str
    node_id: str
    status: StepStatus
    effect: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    started_at: str = field(default_factory=utc_now_iso)
    ended_at: str | None = None
    actor_id: str | None = None
    session_id: str | None = None
    attempt: int = 1
    idempotency_key: str | None = None
    prev_hash: str | None = None
    record_hash: str | None = None
    signature: str | None = None

    def __post_init__(self) -> None:
        self.status = member_of(StepStatus, self.status)

    @classmethod
    def start(
        cls,
        *,
        run: RunState,
        node_id: str,
        effect: Effect | None,
        attempt: int = 1,
        idempotency_key: str | None = None,
    ) -> StepRecord:
        """A STARTED record with a fresh ``step_id``, carrying the run's actor and session."""
        rendered: dict[str, Any] | None = None
        if effect is not None:
            rendered = {
                "type": effect.type.value,
                "payload": effect.payload,
                "result_key": effect.result_key,
            }
        return cls(
            run_id=run.run_id,
            step_id=str(uuid4()),
            node_id=node_id,
            status=StepStatus.STARTED,
            effect=rendered,
            actor_id=run.actor_id,
            session_id=run.session_id,
            attempt=attempt,
            idempotency_key=idempotency_key,
        )

    def finish_success(self, result: dict[str, Any] | None = None) -> StepRecord:
        """Mark COMPLETED, now, with ``result``; returns the record itself."""
        self.status = StepStatus.COMPLETED
        self.result = result
        self.ended_at = utc_now_iso()
        return self

    def finish_waiting(self, wait_state: WaitState) -> StepRecord:
        """Mark WAITING, now, with the wait under ``result["wait"]``; returns the record itself."""
        self.status = StepStatus.WAITING
        self.result = {"wait": wait_state.to_dict()}
        self.ended_at = utc_now_iso()
        return self

    def finish_failure(self, error: str) -> StepRecord:
        """Mark FAILED, now, with ``error``; ``result`` stays; returns the record itself."""
        self.status = StepStatus.FAILED
        self.error = error
        self.ended_at = utc_now_iso()
        return self

    def to_dict(self) -> dict[str, Any]:
        """The stored form, keys in stored order, absent optionals as ``None`` (`spec/02 §3.2`)."""
        return {
            "run_id": self.run_id,
            "step_id": self.step_id,
            "node_id": self.node_id,
            "status": self.status._value_,
            "effect": self.effect,
            "result": self.result,
            "error": self.error,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "actor_id": self.actor_id,
            "session_id": self.session_id,
            "attempt": self.attempt,
            "idempotency_key": self.idempotency_key,
            "prev_hash": self.prev_hash,
            "record_hash": self.record_hash,
            "signature": self.signature,
        }


@dataclass
class LimitWarning:
    """A limit that is close (``warning``) or reached (``exceeded``) (`spec/01 §2.7`).

    ``pct`` is in percent with one decimal; it is computed whenever ``maximum > 0``.
    """

    limit_type: str
    status: str
    current: int
    maximum: int
    pct: float = 0.0

    def __post_init__(self) -> None:
        if self.maximum > 0:
            self.pct = round(self.current / self.maximum * 100, 1)
