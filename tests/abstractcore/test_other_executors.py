"""AbstractCore's registry, and executors that execute nothing (`spec/04 §7.3`, §7.4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore.tool_executor import (
    AbstractCoreToolExecutor,
    PassthroughToolExecutor,
)

from . import toolbox
from .toolbox import call, result

NEEDED = "needs AbstractCore"


def test_passthrough() -> None:
    calls = [call("a", {"x": {1}})]
    answer = PassthroughToolExecutor().execute(tool_calls=calls)
    assert answer == {"mode": "passthrough", "tool_calls": [call("a", {"x": [1]})]}
    assert answer["tool_calls"] is not calls
    assert (
        PassthroughToolExecutor(mode="approval_required").execute(tool_calls=[])["mode"]
        == "approval_required"
    )


@pytest.fixture
def registered() -> Iterator[threading.Event]:
    """Tools in the registry, one of which waits for the event."""
    registry = pytest.importorskip("abstractcore.tools.registry", reason=NEEDED)
    event = threading.Event()

    def waiting() -> str:
        """Waits."""
        event.wait(60)
        return "late"

    def described(text: str) -> dict[str, Any]:
        """Answers."""
        return {"success": False, "message": text}

    known = registry.get_registry() if hasattr(registry, "get_registry") else registry._global_registry
    before = dict(known._tools)
    for tool in (waiting, described, toolbox.add, toolbox.raising):
        tool.__doc__ = tool.__doc__ or "A tool."
        known.register(tool)
    yield event
    event.set()
    known._tools.clear()
    known._tools.update(before)


def executed(executor: AbstractCoreToolExecutor, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    answer = executor.execute(tool_calls=list(calls))
    assert answer["mode"] == "executed"
    found: list[dict[str, Any]] = answer["results"]
    return found


@pytest.mark.usefixtures("registered")
def test_registry_tools() -> None:
    found = executed(
        AbstractCoreToolExecutor(),
        call("add", {"a": 1, "b": 2}, "c1", runtime_call_id="r1"),
        call("add", '{"a": 1, "b": 2}'),
        call("add", {"arguments": {"a": 1, "b": 3}}),
        call("described", {"text": "no"}),
        call("ghost"),
        call("raising"),
    )
    assert found[0] == result(call("add", None, "c1", runtime_call_id="r1"), output=3)
    assert [each["output"] for each in found[1:3]] == [3, 4]
    assert (found[3]["success"], found[3]["error"]) == (False, "no")
    assert found[4] == {**result(call("ghost"), error="Tool 'ghost' not found"), "output": ""}
    assert "out of paper" in found[5]["error"]


def test_registry_time_out(registered: threading.Event) -> None:
    executor = AbstractCoreToolExecutor(timeout_s=5)
    executor.set_timeout_s(0.05)
    (found,) = executed(executor, call("waiting"))
    assert found["error"] == "Tool execution timed out after 0.05s"
    assert found["timed_out"] is True
