"""A batch that breaks off keeps what it has (`spec/04 §16.6`)."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.integrations.abstractcore._tool_calls.handler import make_tool_calls_handler
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore

from ..kernel.flows import asks, done, flow
from .attached import SESSION, attach
from .toolbox import Recording, call, echoed, make_run

pytestmark = pytest.mark.weakness("spec/04 §16.6")


class Death(BaseException):
    """What no handler catches: the process is gone."""


class World:
    """Stores that outlive runtimes."""

    def __init__(self, folder: Path, artifacts: Any) -> None:
        self.run_store = JsonFileRunStore(folder)
        self.ledger_store = JsonlLedgerStore(folder)
        self.artifacts = artifacts

    def runtime(self, tools: Any, **options: Any) -> Runtime:
        handler = make_tool_calls_handler(tools=tools, artifact_store=self.artifacts)
        return Runtime(
            run_store=self.run_store,
            ledger_store=self.ledger_store,
            artifact_store=self.artifacts,
            effect_handlers={EffectType.TOOL_CALLS: handler},
            **options,
        )


@pytest.fixture(params=["artifacts", "variables"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, InMemoryArtifactStore() if request.param == "artifacts" else None)


@pytest.fixture
def durable(tmp_path: Path) -> World:
    return World(tmp_path, InMemoryArtifactStore())


def batch(*calls: dict[str, Any], then: str = "done") -> WorkflowSpec:
    """A run that asks for these calls, then for one more."""
    return flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": list(calls)}, then=then), done=done)


THREE = [call("a", None, "1"), call("open_attachment", {"handle": "none"}, "2"), call("b", None, "3")]


def test_a_retry_executes_only_what_has_no_result(world: World) -> None:
    tools = Recording(echoed([call("a", {"kept": True})]), RuntimeError("second segment"))
    runtime = world.runtime(tools, effect_policy=RetryPolicy(tool_max_attempts=2, backoff_base=0))
    workflow = batch(*THREE)
    run_id = runtime.start(workflow=workflow, session_id=SESSION)
    state = runtime.tick(workflow=workflow, run_id=run_id)
    assert state.status is RunStatus.COMPLETED
    assert [[each["name"] for each in calls] for calls in tools.batches] == [["a"], ["b"], ["b"]]
    found = state.vars["out"]["results"]
    assert found[0]["output"] == {"kept": True}
    assert [each["success"] for each in found] == [True, False, True]
    assert "tool_results_in_progress" not in state.vars["_runtime"]


def test_another_executor_goes_on_after_a_failed_run(world: World) -> None:
    """The run has failed; somebody mends the cause and sets it back to its node."""
    tools = Recording(echoed([call("a", {"kept": True})]), RuntimeError("down"))
    runtime = world.runtime(tools)
    workflow = batch(*THREE)
    run_id = runtime.start(workflow=workflow, session_id=SESSION)
    failed = runtime.tick(workflow=workflow, run_id=run_id)
    assert failed.error == "Effect failed after 1 attempts: down"
    failed.status = RunStatus.RUNNING
    world.run_store.save(failed)
    mended = Recording()
    state = world.runtime(mended).tick(workflow=workflow, run_id=run_id)
    assert state.status is RunStatus.COMPLETED
    assert [[each["name"] for each in calls] for calls in mended.batches] == [["b"]]


def test_calls_of_one_segment_are_kept_one_by_one(durable: World) -> None:
    """The process dies in the second of three calls; a new one executes two."""
    ran: list[str] = []

    def second() -> str:
        ran.append("second")
        if len(ran) == 2:
            raise Death
        return "second"

    def tools() -> MappingToolExecutor:
        return MappingToolExecutor(
            {"first": lambda: ran.append("first"), "second": second, "third": lambda: ran.append("third")}
        )

    workflow = batch(call("first", None, "1"), call("second", None, "2"), call("third", None, "3"))
    runtime = durable.runtime(tools())
    run_id = runtime.start(workflow=workflow)
    with pytest.raises(Death):
        runtime.tick(workflow=workflow, run_id=run_id)
    state = durable.runtime(tools()).tick(workflow=workflow, run_id=run_id)
    assert state.status is RunStatus.COMPLETED
    assert ran == ["first", "second", "second", "third"]


def test_a_killed_process(tmp_path: Path) -> None:
    def process(run_id: str, ending: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.abstractcore.dying_batch", str(tmp_path), run_id, ending]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    killed = process("-", "die")
    assert killed.returncode == 9, killed.stderr
    again = process(killed.stdout.strip(), "live")
    assert again.returncode == 0, again.stderr
    output = json.loads(again.stdout.splitlines()[-1])
    assert [each["output"] for each in output["out"]["results"]] == [0, 1, 2]
    assert (tmp_path / "calls.txt").read_text().split() == ["0", "1", "2"]


def test_a_cancelled_run_begins_no_further_call(durable: World) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        durable.runtime(None).cancel_run(run_id)

    tools = MappingToolExecutor({"first": first, "second": lambda: ran.append("second")})
    workflow = batch(call("first", None, "1"), call("second", None, "2"))
    runtime = durable.runtime(tools)
    run_id = runtime.start(workflow=workflow)
    assert runtime.tick(workflow=workflow, run_id=run_id).status is RunStatus.CANCELLED
    assert ran == ["first"]


def kept(world: World, run_id: str) -> list[dict[str, str]]:
    return [each.tags for each in world.artifacts.list_by_run(run_id)]


PAIR_THEN_ONE = flow(
    a=asks(EffectType.TOOL_CALLS, {"tool_calls": [call("a", None, "1"), call("b", None, "2")]}, then="b"),
    b=asks(EffectType.TOOL_CALLS, {"tool_calls": [call("c")]}, then="done"),
    done=done,
)


@pytest.fixture
def three_tools() -> MappingToolExecutor:
    return MappingToolExecutor({name: lambda: None for name in "abc"})


def test_what_was_kept_is_deleted_once_the_outcome_is_committed(
    durable: World, three_tools: MappingToolExecutor, tmp_path: Path
) -> None:
    """So a run's artifacts are what it has found, and nothing else (`spec/03 §15.2`)."""
    seen: list[list[dict[str, str]]] = []

    class Watching(JsonFileRunStore):
        def save(self, run: RunState) -> None:
            super().save(run)
            seen.append(kept(durable, run.run_id))

    durable.run_store = Watching(tmp_path)
    runtime = durable.runtime(three_tools)
    run_id = runtime.start(workflow=PAIR_THEN_ONE)
    runtime.tick(workflow=PAIR_THEN_ONE, run_id=run_id, max_steps=1)
    assert seen[-1] == [{"kind": "tool_results_in_progress"}]  # until the checkpoint is written
    assert kept(durable, run_id) == []


def test_what_a_dead_process_did_not_delete_is_deleted_by_the_next_batch(
    durable: World, three_tools: MappingToolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable.artifacts, "delete", MagicMock(side_effect=Death))
    runtime = durable.runtime(three_tools)
    run_id = runtime.start(workflow=PAIR_THEN_ONE)
    with pytest.raises(Death):
        runtime.tick(workflow=PAIR_THEN_ONE, run_id=run_id, max_steps=1)
    assert kept(durable, run_id) == [{"kind": "tool_results_in_progress"}]
    monkeypatch.undo()
    state = durable.runtime(three_tools).tick(workflow=PAIR_THEN_ONE, run_id=run_id)
    assert state.status is RunStatus.COMPLETED
    assert kept(durable, run_id) == []


def test_a_single_call_keeps_nothing(durable: World) -> None:
    workflow = batch(call("a"))
    runtime = durable.runtime(Recording())
    run_id = runtime.start(workflow=workflow)
    assert runtime.tick(workflow=workflow, run_id=run_id).status is RunStatus.COMPLETED
    assert kept(durable, run_id) == []


def test_a_store_that_fails_costs_no_result(
    durable: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(durable.artifacts, "store", MagicMock(side_effect=OSError("disk full")))
    workflow = batch(call("a", None, "1"), call("b", None, "2"))
    tools = MappingToolExecutor({"a": lambda: 1, "b": lambda: 2})
    runtime = durable.runtime(tools)
    with caplog.at_level(logging.WARNING):
        state = runtime.tick(workflow=workflow, run_id=runtime.start(workflow=workflow))
    assert [each["output"] for each in state.vars["out"]["results"]] == [1, 2]
    assert "not kept for a retry" in caplog.text


def test_keeping_can_be_switched_off() -> None:
    store = InMemoryArtifactStore()
    calls = [call("a", None, "1", runtime_call_id="r1"), call("b", None, "2", runtime_call_id="r2")]
    handler = make_tool_calls_handler(tools=Recording(), artifact_store=store, keep_results=False)
    handler(make_run(), Effect(EffectType.TOOL_CALLS, {"tool_calls": calls}), None)
    assert store.list_all() == []


def test_another_request_takes_no_result_of_this_one(durable: World) -> None:
    """The same ids, other arguments: a host that gives ids of its own."""
    handler = make_tool_calls_handler(tools=tools_that_fail(), artifact_store=durable.artifacts)
    for argument in (1, 2):
        calls = [
            call("a", {"n": argument}, "1", runtime_call_id="r1"),
            call("open_attachment", {"handle": "x"}, "2", runtime_call_id="r2"),
            call("b", None, "3", runtime_call_id="r3"),
        ]
        effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": calls}, "out")
        handler(make_run(session_id=SESSION), effect, None)
    assert asked == [1, 2]


asked: list[int] = []


def tools_that_fail() -> Any:
    asked.clear()

    class Failing(Recording):
        def execute(self, *, tool_calls: list[dict[str, Any]]) -> Any:
            if tool_calls and tool_calls[0]["name"] == "a":
                asked.append(tool_calls[0]["arguments"]["n"])
                return echoed(tool_calls)
            if tool_calls:
                raise RuntimeError("b")
            return {"results": []}

    return Failing()


@pytest.fixture
def attached() -> InMemoryArtifactStore:
    store = InMemoryArtifactStore()
    attach(store, b"\x89PNG", path="a.png", content_type="image/png")
    return store


@pytest.mark.weakness("spec/04 §16.4")
def test_media_is_queued_also_when_the_outcome_comes_from_the_ledger(attached: InMemoryArtifactStore) -> None:
    """The process dies between ledger and checkpoint: the next one finds the outcome, and its media too."""

    class Dying(InMemoryRunStore):
        dies = True

        def save(self, run: RunState) -> None:
            if self.dies and run.current_node == "done":
                raise Death
            super().save(run)

    class PlainLedger(InMemoryLedgerStore):
        """Written apart from the checkpoint."""

        def append(self, record: Any) -> None:
            super().append(record)

    run_store, ledger = Dying(), PlainLedger()

    def wait(run: RunState, context: Any) -> StepPlan:
        return StepPlan("done", complete_output={"queue": run.vars["_runtime"]["pending_media"]})

    opening = [call("open_attachment", {"handle": "a.png"})]
    workflow = flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": opening}), done=wait)

    def runtime() -> Runtime:
        handler = make_tool_calls_handler(tools=Recording(), artifact_store=attached)
        return Runtime(
            run_store=run_store, ledger_store=ledger, effect_handlers={EffectType.TOOL_CALLS: handler}
        )

    first = runtime()
    run_id = first.start(workflow=workflow, session_id=SESSION)
    with pytest.raises(Death):
        first.tick(workflow=workflow, run_id=run_id)
    assert [each["status"] for each in ledger.list(run_id)] == ["started", "completed"]
    run_store.dies = False
    state = runtime().tick(workflow=workflow, run_id=run_id)
    assert ledger.list(run_id)[2]["effect"] is None  # nothing was executed again
    assert state.output is not None
    assert [each["filename"] for each in state.output["queue"]] == ["a.png"]
