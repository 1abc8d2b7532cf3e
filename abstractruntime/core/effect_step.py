"""An effect step in flight: its node has run, its outcome is not committed yet.

In one process it lives on the stack between the STARTED record and the outcome. In a fleet it is stored
with the run, so that another worker can carry the effect out, or take it over, without running the node
again (`DESIGN §3.4`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .environment import Environment
from .making import bare
from .members import STEP_STARTED
from .models import Effect, EffectType, RunState, StepRecord

__all__ = ["EffectStep"]


@dataclass(slots=True)  # frozen costs a call per field, and each step makes two
class EffectStep:
    """One effect a node asked for, with what makes its attempts recognisable.

    Attributes:
        node_id: the plan's node (records, keys and traces carry it).
        effect: the effect as executed (tool calls already have their runtime ids).
        next_node: the plan's next node, ``None`` when the effect ends the run.
        key: the idempotency key (`spec/01 §5.3`).
        max_attempts: how often the effect may be tried, at least 1.
        attempt: 1-based number of the attempt that runs now or runs next.
        step_id, started_at: of the attempt's STARTED record; ``None`` while nobody has claimed it.
    """

    node_id: str
    effect: Effect
    next_node: str | None
    key: str
    max_attempts: int = 1
    attempt: int = 1
    step_id: str | None = None
    started_at: str | None = None
    _fields: dict[str, Any] | None = field(default=None, init=False, repr=False, compare=False)

    def started(self, run: RunState, env: Environment) -> tuple[EffectStep, StepRecord]:
        """Claim the attempt: the step that knows its record, and the STARTED record itself."""
        claimed = replace(self)
        return claimed, claimed.claim(run, env)

    def claim(self, run: RunState, env: Environment) -> StepRecord:
        """`started` of a step that is nobody else's: from now on it knows its record, which is returned."""
        new_id, now_iso = env.new_id, env.now_iso
        self.step_id, self.started_at = new_id(), now_iso()
        self._fields = None
        return self.record(run)

    def record(self, run: RunState) -> StepRecord:
        """The record of the claimed attempt as STARTED, to be finished with its outcome.

        Outcome and STARTED record share step id, start time, attempt, key and effect (`spec/01 §10.14`).
        """
        if self.step_id is None or self.started_at is None:
            raise RuntimeError(f"effect step of node '{self.node_id}' has not been started")
        fields = self._fields
        if fields is None:
            effect = self.effect
            asked = {"type": effect.type._value_, "payload": effect.payload, "result_key": effect.result_key}
            fields = self._fields = {
                "run_id": run.run_id,
                "step_id": self.step_id,
                "node_id": self.node_id,
                "status": STEP_STARTED,
                "effect": asked,
                "result": None,
                "error": None,
                "started_at": self.started_at,
                "ended_at": None,
                "actor_id": run.actor_id,
                "session_id": run.session_id,
                "attempt": self.attempt,
                "idempotency_key": self.key,
                "prev_hash": None,
                "record_hash": None,
                "signature": None,
            }
        # What ``__init__`` does, for a third of the price: each step makes two, as like as twins.
        record = bare(StepRecord)
        record.__dict__ = {**fields, "effect": {**fields["effect"]}}
        return record

    def next_attempt(self) -> EffectStep:
        """The unclaimed step of the following attempt."""
        return replace(self, attempt=self.attempt + 1, step_id=None, started_at=None)

    def to_dict(self) -> dict[str, Any]:
        """The stored form (JSON-like)."""
        return {
            "node_id": self.node_id,
            "effect": {
                "type": self.effect.type.value,
                "payload": self.effect.payload,
                "result_key": self.effect.result_key,
            },
            "next_node": self.next_node,
            "key": self.key,
            "max_attempts": self.max_attempts,
            "attempt": self.attempt,
            "step_id": self.step_id,
            "started_at": self.started_at,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EffectStep:
        """Read the stored form."""
        effect = data["effect"]
        return cls(
            node_id=data["node_id"],
            effect=Effect(EffectType(effect["type"]), effect["payload"], effect["result_key"]),
            next_node=data["next_node"],
            key=data["key"],
            max_attempts=data["max_attempts"],
            attempt=data["attempt"],
            step_id=data["step_id"],
            started_at=data["started_at"],
        )
