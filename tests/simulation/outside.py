"""The world outside: effect handlers with an oracle that records every call by its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, RunState, WaitReason, WaitState
from abstractruntime.core.outcome import EffectOutcome

from .database import SimulatedDatabase
from .fibers import Fiber, Fibers
from .journal import Journal

__all__ = ["Call", "Outside"]


@dataclass(slots=True)
class Call:
    """One call of a handler.

    Attributes:
        returned: the handler has given its outcome to the engine.
        safe: the process that made the call lived on to the end of its task, with its database.
    """

    number: int
    run_id: str
    key: str
    attempt: int
    fiber: Fiber | None
    returned: bool = False
    safe: bool = False


class Outside:
    """Answers effects as their payload asks: ``fails``, ``raises`` (the first n attempts), ``wait``,
    ``rubbish`` (what can't be stored), ``kills`` (its worker)."""

    def __init__(
        self,
        database: SimulatedDatabase,
        journal: Journal,
        point: Callable[[str], None],
        die: Callable[[str], None],
        trace: Callable[[str], None],
    ) -> None:
        self.calls: list[Call] = []
        self._database = database
        self._journal = journal
        self._point = point
        self._die = die
        self._trace = trace

    def handler(self, run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
        context = current_effect()
        self._point("effect.before")
        call = Call(len(self.calls), run.run_id, context.idempotency_key, context.attempt, Fibers.current())
        self.calls.append(call)
        self._trace(f"call {call.number}: {run.run_id} {effect.payload} attempt {call.attempt}")
        self._check_claim(call)
        if effect.payload.get("kills"):
            self._die("effect")
        self._point("effect.inside")
        payload = dict(effect.payload)
        effect.payload["scribble"] = call.number  # must reach nobody
        # What a handler leaves in the variables is part of the step, whatever happens to the run meanwhile.
        run.vars["last_call"] = call.number
        call.returned = True
        if payload.get("rubbish") == "vars":
            run.vars["rubbish"] = {1, 2}
        if payload.get("rubbish") == "result":
            return EffectOutcome.completed({"call": call.number, "set": {1, 2}})
        if call.attempt <= payload.get("raises", 0):
            raise OSError(f"call {call.number} broke")
        if call.attempt <= payload.get("fails", 0):
            return EffectOutcome.failed(f"call {call.number} refused")
        if payload.get("wait"):
            return EffectOutcome.waiting(_wait(run, payload, effect.result_key, default_next))
        return EffectOutcome.completed(answer(call))

    def _check_claim(self, call: Call) -> None:
        """The claim must be durable before the outside is touched (`DESIGN §1.3`)."""
        for entry in reversed(self._database.inner.ledger(call.run_id)):
            record = entry.record
            if record["idempotency_key"] == call.key and record["status"] == "started":
                if record["attempt"] >= call.attempt:
                    return
                break
        self._journal.violate(
            f"run {call.run_id}: attempt {call.attempt} was called without a STARTED record"
        )


def answer(call: Call) -> dict[str, Any]:
    """The result of a call; its number makes it unmistakable."""
    return {"call": call.number, "key": call.key, "attempt": call.attempt}


def _wait(
    run: RunState, payload: dict[str, Any], result_key: str | None, default_next: str | None
) -> WaitState:
    return WaitState(
        reason=WaitReason.EVENT if payload["wait"].startswith("evt:") else WaitReason.JOB,
        wait_key=payload["wait"],
        resume_to_node=default_next,
        result_key=result_key,
    )
