"""Functions as tools: arguments, failures, time, order (`spec/04 §7.1`, §7.2)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.effect_context import EffectContext, carrying_out, current_effect
from abstractruntime.integrations.abstractcore._tool_calls import threads as _tool_threads
from abstractruntime.integrations.abstractcore._tool_calls.arguments import Parameters, canonical_arguments
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor

from ..poll import eventually
from . import toolbox
from .toolbox import call, result


def executed(executor: MappingToolExecutor, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    answer = executor.execute(tool_calls=list(calls))
    assert answer["mode"] == "executed"
    found: list[dict[str, Any]] = answer["results"]
    return found


def seen_by(function: Any, arguments: Any) -> Any:
    (found,) = executed(MappingToolExecutor({"tool": function}), call("tool", arguments))
    assert found["error"] is None
    return found["output"]


def read_file(file_path: str = "", start_line: int = 0, end_line: int = 0) -> list[Any]:
    return [file_path, start_line, end_line]


def search(pattern: str = "", path: str = "") -> list[Any]:
    return [pattern, path]


def listing(directory_path: str = "") -> list[Any]:
    return [directory_path]


def anything(**given: Any) -> dict[str, Any]:
    return given


def plain(query: str = "", regex: str = "", start: int = 0, end: int = 0) -> list[Any]:
    return [query, regex, start, end]


class Unreadable:
    def __call__(self) -> None: ...


# -- shapes -------------------------------------------------------------------------------------


def test_results_are_in_order_and_of_the_shape() -> None:
    executor = MappingToolExecutor({"add": toolbox.add})
    first = call("add", {"a": 1, "b": 2}, "c1", runtime_call_id="r1")
    second = call(" add ", {"a": 1, "b": 3}, None, runtime_call_id="  ")
    ended = {"name": "add", "success": True, "error": None}
    assert executed(executor, first, second) == [
        {"call_id": "c1", "runtime_call_id": "r1", "output": 3, **ended},
        {"call_id": "", "runtime_call_id": None, "output": 4, **ended},
    ]
    assert executor.execute(tool_calls=[]) == {"mode": "executed", "results": []}


def test_unknown_tool_and_exceptions_do_not_end_the_batch() -> None:
    def leaving() -> None:
        raise SystemExit("bye")

    executor = MappingToolExecutor({"raising": toolbox.raising, "leaving": leaving, "add": toolbox.add})
    found = executed(
        executor, call("ghost"), call("raising"), call("leaving"), call("add"), call("add", {"a": 1, "b": 1})
    )
    assert [each["error"] for each in found[:3]] == ["Tool 'ghost' not found", "out of paper", "bye"]
    assert "missing 2 required" in found[3]["error"]
    assert found[4]["output"] == 2


@dataclass
class Point:
    x: int


def test_output_is_json_like() -> None:
    assert seen_by(lambda: {1: (Point(2), {3})}, {}) == {"1": [{"x": 2}, [3]]}


class Definition:
    def __init__(self, name: str, function: Any) -> None:
        self.name, self.function = name, function


def test_from_tools_names() -> None:
    def decorated() -> str:
        return "outer"

    decorated._tool_definition = Definition("given_name", lambda: "inner")  # type: ignore[attr-defined]
    executor = MappingToolExecutor.from_tools([toolbox.add, decorated], timeout_s=5)
    found = executed(executor, call("add", {"a": 1, "b": 1}), call("given_name"), call("decorated"))
    assert [each["output"] for each in found] == [2, "inner", None]
    assert found[2]["error"] == "Tool 'decorated' not found"


class Named:
    __name__ = "thing"


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([Unreadable()], "Tool is missing a name"),
        ([Named()], "Tool 'thing' is not callable"),
        ([toolbox.add, toolbox.add], "Duplicate tool name 'add'"),
    ],
)
def test_from_tools_refuses(tools: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        MappingToolExecutor.from_tools(tools)


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (read_file, '{"file_path": "a"}', ["a", 0, 0]),
        (read_file, "no json", ["", 0, 0]),
        (read_file, ["a"], ["", 0, 0]),
        (read_file, None, ["", 0, 0]),
        (read_file, {"filePath": "a", "Start-Line": 3}, ["a", 3, 0]),
        (read_file, {"file path": "a"}, ["a", 0, 0]),
        (read_file, {"path": "a", "start": 1, "end": 2}, ["a", 1, 2]),
        (read_file, {"filename": "a"}, ["a", 0, 0]),
        (read_file, {"file_path": "a", "path": "b", "filePath": "c"}, ["a", 0, 0]),
        (read_file, {"start_line_one_indexed": 4, "end_line_one_indexed_inclusive": 6}, ["", 4, 6]),
        (read_file, {"file_path": "a", "stray": 1}, ["a", 0, 0]),
        (search, {"query": "x", "directory": "d"}, ["x", "d"]),
        (search, {"regex": "x", "folder": "d"}, ["x", "d"]),
        (listing, {"path": "d"}, ["d"]),
        (listing, {"dir": "d"}, ["d"]),
        (plain, {"query": "q", "regex": "r", "start": 1, "end": 2}, ["q", "r", 1, 2]),
        (anything, {"path": "d", "Free": 1}, {"path": "d", "Free": 1}),
        (read_file, {"arguments": {"file_path": "in"}, "name": "read_file", "call_id": "1"}, ["in", 0, 0]),
        (read_file, {"arguments": '{"file_path": "in"}', "file_path": "out"}, ["in", 0, 0]),
        (read_file, {"arguments": {"file_path": "in"}, "start_line": 7}, ["in", 7, 0]),
        (anything, {"arguments": "plain text"}, {"arguments": "plain text"}),
        (anything, {"id": 1, "name": "n"}, {"id": 1, "name": "n"}),
        (anything, {"arguments": {"arguments": {"arguments": {"arguments": {"a": 1}}}}}, {"a": 1}),
    ],
)
def test_canonical_arguments(function: Any, arguments: Any, expected: Any) -> None:
    assert seen_by(function, arguments) == expected


@pytest.mark.weakness("spec/04 §16.13")
def test_what_is_wrapped_too_often_is_refused() -> None:
    """Five levels: what is left inside could be taken out by somebody else, after the policy."""
    wrapped: dict[str, Any] = {"file_path": "/etc/passwd"}
    for _ in range(5):
        wrapped = {"arguments": wrapped, "file_path": "harmless"}
    (found,) = executed(MappingToolExecutor({"t": anything}), call("t", wrapped))
    assert found["success"] is False
    assert "more than 4 times" in found["error"]


KEYS = ["file_path", "filePath", "path", "PATH", "dir", "query", "regex", "start", "end", "x", "arguments"]
TARGETS = ["file_path", "directory_path", "path", "pattern", "query", "start_line", "start", "x"]


@pytest.mark.weakness("spec/04 §16.13")
@given(
    arguments=st.dictionaries(st.sampled_from(KEYS), st.one_of(st.text("ab", max_size=3), st.integers())),
    names=st.lists(st.sampled_from(TARGETS), unique=True),
    accepts_others=st.booleans(),
)
def test_canonical_arguments_stay_as_they_are(
    arguments: dict[str, Any], names: list[str], accepts_others: bool
) -> None:
    parameters = Parameters(tuple(names), accepts_others)
    once = canonical_arguments(arguments, parameters)
    assert canonical_arguments(once, parameters) == once


# -- declared failures --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "success", "output", "error"),
    [
        ({"success": False, "error": "e", "message": "m"}, False, "same", "e"),
        ({"ok": False, "message": "m"}, False, "same", "m"),
        ({"success": False}, False, "same", "Tool reported failure"),
        ({"success": 0, "error": "e"}, True, "same", None),
        ({"error": "e"}, True, "same", None),
        ("Error: no such file", False, None, "no such file"),
        ("  Error:", False, None, "Error:"),
        ("error: lower case is text", True, "same", None),
        ("❌ broken", False, None, "broken"),
        ("🚫 Error: closed", False, None, "closed"),
        ("⏰", False, None, "⏰"),
        ("⏰️ too late", False, None, "too late"),
        ("It failed: Error: x", True, "same", None),
        ("", True, "same", None),
        (None, True, "same", None),
    ],
)
def test_declared_failures(value: Any, success: bool, output: Any, error: str | None) -> None:
    (found,) = executed(MappingToolExecutor({"t": lambda: value}), call("t"))
    expected = value if output == "same" else output
    assert (found["success"], found["output"], found["error"]) == (success, expected, error)


# -- time ---------------------------------------------------------------------------------------


class Gate:
    """A tool that runs until the test opens it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> str:
        assert self.event.wait(60)
        self.ended.set()
        return "late"


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.event.set()
    eventually(lambda: _tool_threads.runaways() == 0)


@pytest.mark.weakness("spec/04 §16.11")
def test_a_timed_out_call_says_so_and_goes_on(gate: Gate) -> None:
    executor = MappingToolExecutor({"gate": gate, "add": toolbox.add}, timeout_s=0.05)
    found = executed(executor, call("gate"), call("add", {"a": 1, "b": 1}))
    assert found[0] == {
        **result(call("gate"), error="Tool execution timed out after 0.05s"),
        "timed_out": True,
    }
    assert found[1]["output"] == 2
    assert "timed_out" not in found[1]
    assert _tool_threads.runaways() == 1
    gate.event.set()
    eventually(gate.ended.is_set)


@pytest.mark.weakness("spec/04 §16.11")
def test_the_number_of_runaway_threads_is_bounded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tool_threads, "MAX_RUNAWAYS", 2)
    executor = MappingToolExecutor({"gate": gate}, timeout_s=0.01)
    found = executed(executor, *[call("gate")] * 4)
    assert [each.get("timed_out", False) for each in found] == [True, True, False, False]
    assert "2 timed-out tool calls still run" in found[3]["error"]
    assert _tool_threads.runaways() == 2


@pytest.mark.parametrize("timeout_s", [None, 0, -1, "soon", float("inf"), True])
def test_unlimited(timeout_s: Any) -> None:
    executor = MappingToolExecutor({"thread": lambda: threading.current_thread().name}, timeout_s=9)
    executor.set_timeout_s(timeout_s)
    (found,) = executed(executor, call("thread"))
    assert found["output"] == threading.current_thread().name


def test_a_limited_tool_knows_its_effect() -> None:
    executor = MappingToolExecutor({"key": lambda: current_effect().idempotency_key}, timeout_s="30")  # type: ignore[arg-type]
    with carrying_out(EffectContext("run", "the-key")):
        (found,) = executed(executor, call("key"))
    assert found["output"] == "the-key"


# -- processes ----------------------------------------------------------------------------------


@pytest.mark.weakness("spec/04 §16.11")
def test_isolated_tools_run_elsewhere() -> None:
    tools = {"noisy": toolbox.noisy, "raising": toolbox.raising, "dying": toolbox.dying}
    executor = MappingToolExecutor(tools, timeout_s=60, isolated=list(tools))
    found = executed(executor, call("noisy", {"text": "ä"}), call("raising"), call("dying"))
    assert found[0]["output"]["text"] == "ä"
    assert found[0]["output"]["pid"] != os.getpid()
    assert found[1]["error"] == "out of paper"
    assert "ended with code 3" in found[2]["error"]


@pytest.mark.weakness("spec/04 §16.11")
def test_an_isolated_tool_is_stopped_when_its_time_is_over() -> None:
    executor = MappingToolExecutor({"hanging": toolbox.hanging}, timeout_s=0.5, isolated=["hanging"])
    (found,) = executed(executor, call("hanging"))
    assert found["timed_out"] is True
    assert _tool_threads.runaways() == 0
    children = [each.cmdline() for each in psutil.Process().children(recursive=True)]
    assert not [words for words in children if any("isolated_main" in word for word in words)]


@pytest.mark.weakness("spec/04 §16.11")
def test_an_isolated_tool_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a workspace that tools write to."""
    monkeypatch.chdir(tmp_path)
    for name in ("json", "abstractruntime", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from the workspace')")
    executor = MappingToolExecutor({"noisy": toolbox.noisy}, isolated=["noisy"])
    (found,) = executed(executor, call("noisy", {"text": "x"}))
    assert found["success"] is True


@pytest.mark.weakness("spec/04 §16.11")
def test_default_tools_can_be_isolated() -> None:
    common = pytest.importorskip("abstractcore.tools.common_tools", reason="needs AbstractCore")
    executor = MappingToolExecutor.from_tools(
        [common.execute_command], timeout_s=60, isolated=["execute_command"]
    )
    (found,) = executed(executor, call("execute_command", {"command": "echo isolated"}))
    assert "isolated" in str(found["output"])


@pytest.mark.parametrize(
    "options",
    [
        {"isolated": ["closure"]},
        {"isolated": ["ghost"]},
        {"read_only": ["ghost"]},
        {"read_only": "closure"},
        {"paths": {"ghost": ["a"]}},
        {"paths": {"closure": "a"}},
        {"max_parallel": 0},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"closure|ghost|max_parallel|Path|process of its own"):
        MappingToolExecutor({"closure": lambda: 1}, **options)


# -- side by side -------------------------------------------------------------------------------


@pytest.mark.weakness("spec/04 §16.26")
def test_read_only_tools_run_side_by_side_and_keep_their_order() -> None:
    meeting = threading.Barrier(3, timeout=60)

    def look(number: int) -> int:
        meeting.wait()
        return number

    executor = MappingToolExecutor({"look": look}, read_only=["look"], max_parallel=3)
    found = executed(executor, *[call("look", {"number": n}) for n in range(3)])
    assert [each["output"] for each in found] == [0, 1, 2]


@pytest.mark.weakness("spec/04 §16.26")
def test_a_writing_tool_waits_for_the_reading_ones_before_it() -> None:
    log: list[tuple[str, bool]] = []

    def noting(name: str) -> Any:
        return lambda: log.append((name, threading.current_thread() is threading.main_thread()))

    executor = MappingToolExecutor(
        {"look": noting("look"), "write": noting("write")}, read_only=["look"], max_parallel=8
    )
    calls = [call("look"), call("look"), call("write"), call("write"), call("look")]
    assert len(executed(executor, *calls)) == 5
    beside, alone = [("look", False)] * 2, [("write", True)] * 2
    assert log == [*beside, *alone, ("look", True)]


def test_without_parallelism_a_call_begins_when_the_one_before_it_was_taken() -> None:
    log: list[int] = []
    executor = MappingToolExecutor({"t": lambda n: log.append(n)})
    stream = executor.execute_each(tool_calls=[call("t", {"n": n}) for n in (1, 2)])
    next(stream)
    assert log == [1]
