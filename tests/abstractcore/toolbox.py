"""Tools, executors and shorthands for tests of tool calls."""

from __future__ import annotations

import os
import time
from typing import Any

from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.integrations.abstractcore._tool_calls.handler import make_tool_calls_handler


def make_run(**of: Any) -> RunState:
    """A run that stands at node ``node``."""
    of.setdefault("vars", {})
    return RunState(
        run_id=of.pop("run_id", "run-1"),
        workflow_id="wf",
        status=RunStatus.RUNNING,
        current_node="node",
        created_at="2026-01-01T00:00:00+00:00",
        updated_at="2026-01-01T00:00:00+00:00",
        **of,
    )


def call(name: Any, arguments: Any = None, call_id: str | None = "c1", **more: Any) -> dict[str, Any]:
    made = {"name": name, "arguments": {} if arguments is None else arguments, **more}
    return made if call_id is None else {**made, "call_id": call_id}


def handled(
    tools: Any, calls: Any, *, run: RunState | None = None, then: str | None = "next", **options: Any
) -> EffectOutcome:
    """The outcome of one effect, the handler called directly; other ``options`` are the payload's."""
    parts = {name: options.pop(name) for name in ("artifact_store", "run_store") if name in options}
    handler = make_tool_calls_handler(tools=tools, **parts)
    effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": calls, **options}, "out")
    return handler(make_run() if run is None else run, effect, then)


def results(outcome: EffectOutcome) -> list[dict[str, Any]]:
    assert outcome.status == "completed", outcome
    assert outcome.result is not None
    assert outcome.result["mode"] == "executed"
    found: list[dict[str, Any]] = outcome.result["results"]
    return found


class Recording:
    """An executor without any capability: it answers what it is told, and remembers the batches it got."""

    def __init__(self, *answers: Any, probe: Any = None) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.probes = 0
        self._answers = list(answers)
        self._probe = {"mode": "executed", "results": []} if probe is None else probe

    def execute(self, *, tool_calls: list[dict[str, Any]]) -> Any:
        if not tool_calls:
            self.probes += 1
            answer = self._probe
        else:
            self.batches.append(tool_calls)
            answer = self._answers.pop(0) if self._answers else echoed(tool_calls)
        if isinstance(answer, Exception):
            raise answer
        return answer


def echoed(calls: list[dict[str, Any]]) -> dict[str, Any]:
    return {"mode": "executed", "results": [result(each, output=each["arguments"]) for each in calls]}


def result(of: dict[str, Any], *, output: Any = None, error: str | None = None) -> dict[str, Any]:
    return {
        "call_id": of.get("call_id") or "",
        "runtime_call_id": of.get("runtime_call_id"),
        "name": of["name"],
        "success": error is None,
        "output": output,
        "error": error,
    }


# -- tools that another process can import ------------------------------------------------------


def add(a: int, b: int) -> int:
    return a + b


def noisy(text: str) -> dict[str, Any]:
    print("this goes to stderr")
    return {"text": text, "pid": os.getpid()}


def raising() -> None:
    raise ValueError("out of paper")


def dying() -> None:
    os._exit(3)


def hanging() -> None:
    time.sleep(600)
