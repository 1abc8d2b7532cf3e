"""What a run and its descendants took: time, calls, tokens (`spec/01 §16.4`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from .ledger_reader import LedgerReader
from .ports import LedgerPort, RunPort, best_effort
from .run_tree import run_tree
from .values import Object, as_object, moment

__all__ = ["turn_stats"]

_USAGES = ("usage", "token_usage", "tokens")
_NAMES = {
    "input_tokens": ("input_tokens", "prompt_tokens", "prompt", "input", "in"),
    "output_tokens": ("output_tokens", "completion_tokens", "completion", "output", "out"),
    "total_tokens": ("total_tokens", "total"),
}


@dataclass
class _Tally:
    first: datetime | None = None
    last: datetime | None = None
    llm_calls: int = 0
    tool_calls: int = 0
    usage: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_NAMES, 0))

    def add(self, record: Object) -> None:
        at = moment(record.get("ended_at") or record.get("started_at"))
        if at is not None:
            self.first = at if self.first is None else min(self.first, at)
            self.last = at if self.last is None else max(self.last, at)
        if record.get("status") != "completed":
            return
        effect = as_object(record.get("effect"))
        if effect.get("type") == "llm_call":
            self.llm_calls += 1
            for name, tokens in _usage(as_object(record.get("result"))).items():
                self.usage[name] += tokens
        elif effect.get("type") == "tool_calls":
            calls = as_object(effect.get("payload")).get("tool_calls")
            self.tool_calls += sum(call is not None for call in calls) if isinstance(calls, list) else 0

    def to_dict(self) -> dict[str, Any]:
        seconds = 0.0 if self.first is None or self.last is None else (self.last - self.first).total_seconds()
        tokens = self.usage["total_tokens"]
        return {
            "duration_ms": round(seconds * 1000),
            "llm_calls": self.llm_calls,
            "tool_calls": self.tool_calls,
            "usage": dict(self.usage),
            "tok_s": tokens / seconds if tokens and seconds else None,
        }


def turn_stats(runs: RunPort, ledgers: LedgerPort, root_id: str) -> dict[str, Any]:
    """Over all records of the run and its descendants, a page in memory at a time."""
    tally = _Tally()

    def count(run_id: str) -> None:
        for record in LedgerReader(ledgers, run_id).forward():
            tally.add(record)

    for run_id in run_tree(runs, root_id):
        best_effort(f"ledger of run '{run_id}'", partial(count, run_id), None)
    return tally.to_dict()


def _usage(result: Object) -> dict[str, int]:
    """The call's tokens by our names; empty when the result tells none."""
    for holder in (result, as_object(result.get("output"))):
        for key in _USAGES:
            usage = holder.get(key)
            if isinstance(usage, dict) and usage:
                return _tokens(usage)
    return {}


def _tokens(usage: Object) -> dict[str, int]:
    known = {name: _number(usage, accepted) for name, accepted in _NAMES.items()}
    given, made = known["input_tokens"] or 0, known["output_tokens"] or 0
    total = known["total_tokens"]
    return {
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": given + made if total is None else total,
    }


def _number(usage: Object, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
    return None
