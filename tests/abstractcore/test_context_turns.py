"""What a completed call changes in the run's variables: turns and consumed media (`spec/04 §6.6`, §6.11).

Each test runs on the memory stores and on SQLite, and each crash is followed by a fresh runtime.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import PerVisitPolicy, RetryPolicy
from abstractruntime.core.runtime import Runtime
from abstractruntime.integrations.abstractcore.effect_handlers import (
    build_effect_handlers,
    make_llm_call_handler,
)
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from tests.kernel.flows import asks, done, flow, goes

from .attached import attach
from .llm_calls import RecordingClient, a_run, answered, ask

LLM = EffectType.LLM_CALL
HEADER = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]{2}\] "


class Killed(BaseException):
    """The process ends here."""


class Process:
    """Runtimes over one pair of stores, one after the other."""

    def __init__(self, runs: Any, ledger: Any) -> None:
        self.runs, self.ledger = runs, ledger
        self.artifacts = InMemoryArtifactStore()
        self.client = RecordingClient()

    def runtime(self, **options: Any) -> Runtime:
        handlers = build_effect_handlers(
            llm=self.client, tools=MappingToolExecutor({}), artifact_store=self.artifacts, run_store=self.runs
        )
        options.setdefault("effect_handlers", handlers)
        return Runtime(
            run_store=self.runs, ledger_store=self.ledger, artifact_store=self.artifacts, **options
        )

    def go(self, workflow: Any, vars: dict[str, Any] | None = None, **options: Any) -> RunState:
        runtime = self.runtime(**options)
        return runtime.tick(workflow=workflow, run_id=runtime.start(workflow=workflow, vars=vars))

    def die_before_checkpoint(self, workflow: Any, vars: dict[str, Any] | None = None) -> str:
        """The outcome is in the ledger, the checkpoint is not written."""
        runtime = self.runtime()
        run_id = runtime.start(workflow=workflow, vars=vars)
        save = self.runs.save

        def dying(run: RunState) -> None:
            raise Killed

        self.runs.save = dying
        with pytest.raises(Killed):
            runtime.tick(workflow=workflow, run_id=run_id)
        self.runs.save = save
        assert [record["status"] for record in self.ledger.list(run_id)] == ["started", "completed"]
        assert self.runs.load(run_id).vars.get("context", {}).get("messages", []) == []
        return run_id

    def tick(self, workflow: Any, run_id: str) -> RunState:
        """The next process."""
        return self.runtime().tick(workflow=workflow, run_id=run_id)


@pytest.fixture(params=["memory", "sqlite"])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    if request.param == "memory":
        yield Process(InMemoryRunStore(), InMemoryLedgerStore())
        return
    database = SqliteDatabase(tmp_path / "runs.sqlite3")
    yield Process(SqliteRunStore(database), SqliteLedgerStore(database))
    database.close()


def turns(run: RunState) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in run.vars["context"]["messages"]]


def is_turn(run: RunState, user: str, assistant: str) -> bool:
    (first, said), second = turns(run)
    return (
        first == "user"
        and re.fullmatch(HEADER + user, said) is not None
        and second == ("assistant", assistant)
    )


TALK = {"prompt": " hello ", "use_context": True}
CHAT = flow(ask=asks(LLM, {"prompt": "hello", "use_context": True}), done=done)


# -- called by hand ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["include_context", "use_context"])
def test_by_hand_the_turn_is_there_at_once(name: str) -> None:
    run = a_run()
    answered(RecordingClient({"content": " ok "}), {"prompt": " hello ", name: "yes"}, run)
    metadata = {"kind": "llm_turn", "node_id": "ask"}
    assert run.vars == {
        "context": {
            "messages": [
                {"role": "user", "content": "hello", "metadata": metadata},
                {"role": "assistant", "content": "ok", "metadata": metadata},
            ]
        }
    }


def test_by_hand_each_call_is_a_turn() -> None:
    run = a_run({"context": {"messages": [{"role": "user", "content": "before"}]}}, current_node="")
    for _ in range(2):
        answered(RecordingClient({"content": None, "data": {"a": "ä"}}), TALK, run)
    said = '{\n  "a": "ä"\n}'
    assert turns(run)[1:] == [("user", "hello"), ("assistant", said)] * 2
    assert run.vars["context"]["messages"][1]["metadata"]["node_id"] == "unknown"


def test_without_it_nothing_changes() -> None:
    run = a_run()
    answered(RecordingClient(), {"prompt": "hello", "include_context": False, "use_context": True}, run)
    ask(RecordingClient(RuntimeError("down")), TALK, run)
    assert run.vars == {}


def test_blank_turns_are_left_out() -> None:
    run = a_run()
    answered(RecordingClient({"content": "  "}), TALK, run)
    assert turns(run) == [("user", "hello")]
    run = a_run()
    answered(RecordingClient(), {"messages": [{"role": "assistant", "content": "a"}], "use_context": 1}, run)
    assert turns(run) == [("assistant", "ok")]


def test_without_a_prompt_the_last_user_message_is_the_turn() -> None:
    store = InMemoryArtifactStore()
    ref = {"$artifact": store.store(b"body", content_type="text/plain").artifact_id, "filename": "a.txt"}
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "see"},
        {"role": "user", "content": " "},
        {"role": "assistant", "content": "a"},
    ]
    run = a_run()
    client = RecordingClient()
    answered(client, {"messages": messages, "media": [ref], "use_context": True}, run, store)
    assert turns(run) == [("user", "see"), ("assistant", "ok")]


def test_the_output_shows_the_same_messages() -> None:
    run = a_run(output={"messages": ["old"], "x": 1})
    answered(RecordingClient(), TALK, run)
    assert run.output == {"messages": run.vars["context"]["messages"], "x": 1}


def test_a_handler_wrapped_by_a_host_changes_the_run_itself(process: Process) -> None:
    inner = make_llm_call_handler(llm=process.client)

    def plain(run: RunState, effect: Any, default_next: str | None) -> EffectOutcome:
        return inner(run, effect, default_next)

    state = process.go(CHAT, effect_handlers={LLM: plain}, hooks=Hooks(grounding="off"))
    assert turns(state) == [("user", "hello"), ("assistant", "ok")]

    @wraps(inner)
    def carrying(run: RunState, effect: Any, default_next: str | None) -> EffectOutcome:
        return inner(run, effect, default_next)

    assert is_turn(process.go(CHAT, effect_handlers={LLM: carrying}), "hello", "ok")


# -- through the runtime ----------------------------------------------------------------------------------


def test_the_runtime_keeps_the_grounded_turn(process: Process) -> None:
    state = process.go(CHAT)
    assert is_turn(state, "hello", "ok")
    assert is_turn(process.runs.load(state.run_id), "hello", "ok")


@pytest.mark.weakness("spec/04 §16.4")
def test_after_a_crash_the_turn_is_made_from_the_recorded_outcome(process: Process) -> None:
    run_id = process.die_before_checkpoint(CHAT)
    state = process.tick(CHAT, run_id)
    assert state.status is RunStatus.COMPLETED
    assert is_turn(state, "hello", "ok")
    assert len(process.client.calls) == 1
    (said, _), *_ = [turns(state)]
    assert said[1] == process.client.call["prompt"]  # the header of the call, not of the recovery


@pytest.mark.weakness("spec/04 §16.4")
def test_after_a_crash_attachments_are_no_part_of_the_turn(process: Process) -> None:
    stored = process.artifacts.store(b"body", content_type="text/plain")
    payload = {
        "messages": [{"role": "user", "content": "see"}],
        "media": [{"$artifact": stored.artifact_id}],
        "use_context": True,
    }
    workflow = flow(ask=asks(LLM, payload), done=done)
    state = process.tick(workflow, process.die_before_checkpoint(workflow))
    assert is_turn(state, "see", "ok")


@pytest.mark.weakness("spec/04 §16.4")
def test_a_turn_is_made_once_per_step(process: Process) -> None:
    """Whatever kills the process, however often."""
    workflow = flow(ask=asks(LLM, TALK, then="again"), again=goes("ask2"), ask2=asks(LLM, TALK), done=done)
    state = process.tick(workflow, process.die_before_checkpoint(workflow))
    assert len(turns(state)) == 4  # two nodes, two steps


def visits(then: Any) -> Any:
    """Asks the same twice at the same node."""

    def node(run: RunState, context: Any) -> Any:
        count = run.vars["visits"] = run.vars.get("visits", 0) + 1
        return asks(LLM, TALK, then="ask" if count < 2 else "done")(run, context)

    return flow(ask=node, done=done)


def test_a_reused_result_of_a_later_visit_is_no_new_turn(process: Process) -> None:
    state = process.go(visits("done"))
    assert len(process.client.calls) == 1  # spec/01 §5.5
    assert len(turns(state)) == 2
    state = process.go(visits("done"), effect_policy=PerVisitPolicy())
    assert len(turns(state)) == 4


def test_a_turn_that_can_not_be_kept_fails_no_run(process: Process) -> None:
    handlers = build_effect_handlers(llm=process.client)
    handler: Any = handlers[LLM]

    def broken(*_: Any) -> None:
        raise LookupError("no")

    handler.on_completed = broken
    runtime = process.runtime(effect_handlers=handlers)
    run_id = runtime.start(workflow=CHAT)
    assert runtime.tick(workflow=CHAT, run_id=run_id).status is RunStatus.COMPLETED
    assert runtime.fault_counts == {"on_completed": 1}


# -- pending media ------------------------------------------------------------------------------------------


def pending(run: RunState) -> Any:
    return run.vars["_runtime"].get("pending_media")


def queued(store: InMemoryArtifactStore) -> tuple[dict[str, Any], dict[str, Any]]:
    ref = {"$artifact": store.store(b"PNG", content_type="image/png").artifact_id}
    return ref, {"_runtime": {"pending_media": [ref, {"no": "id"}, "a.png", 7]}}


def test_by_hand_pending_media_are_consumed() -> None:
    store = InMemoryArtifactStore()
    ref, vars = queued(store)
    run, client = a_run(vars), RecordingClient()
    answered(client, {"prompt": "p", "media": ["b.png", "a.png", dict(ref)]}, run, store)
    assert client.call["media"][:2] == ["b.png", "a.png"]
    assert len(client.call["media"]) == 3
    assert pending(run) == []


@pytest.mark.weakness("spec/04 §16.3")
def test_a_failed_call_keeps_them() -> None:
    store = InMemoryArtifactStore()
    ref, vars = queued(store)
    run = a_run(vars)
    ask(RecordingClient(RuntimeError("down")), {"prompt": "p"}, run, store)
    assert pending(run) == [ref, {"no": "id"}, "a.png", 7]


@pytest.mark.weakness("spec/04 §16.3")
def test_the_retry_shows_them_again(process: Process) -> None:
    _, vars = queued(process.artifacts)
    process.client.replies = [RuntimeError("down"), {"content": "ok"}]
    policy = RetryPolicy(backoff_base=0.0)
    state = process.go(flow(ask=asks(LLM, {"prompt": "p"}), done=done), vars, effect_policy=policy)
    assert [len(call["media"]) for call in process.client.calls] == [2, 2]
    assert pending(state) == []


@pytest.mark.weakness("spec/04 §16.3")
def test_after_a_crash_they_are_consumed_from_the_recorded_outcome(process: Process) -> None:
    _, vars = queued(process.artifacts)
    workflow = flow(ask=asks(LLM, {"prompt": "p"}, then="ask2"), ask2=asks(LLM, {"prompt": "q"}), done=done)
    run_id = process.die_before_checkpoint(workflow, vars)
    assert len(pending(process.runs.load(run_id))) == 4
    state = process.tick(workflow, run_id)
    assert pending(state) == []
    assert [call["media"] is None for call in process.client.calls] == [False, True]


def test_what_is_queued_later_waits_for_a_later_call(process: Process) -> None:
    """A reused result of a later visit did not show what was queued meanwhile."""
    _, vars = queued(process.artifacts)
    new = {"$artifact": process.artifacts.store(b"new", content_type="image/png").artifact_id}

    def node(run: RunState, context: Any) -> Any:
        count = run.vars["visits"] = run.vars.get("visits", 0) + 1
        if count == 2:
            run.vars["_runtime"]["pending_media"].append(new)
        return asks(LLM, {"prompt": "p"}, then="ask" if count < 2 else "done")(run, context)

    state = process.go(flow(ask=node, done=done), vars)
    assert len(process.client.calls) == 1
    assert pending(state) == [new]


def test_the_inlined_ones_count_as_shown() -> None:
    store = InMemoryArtifactStore()
    ref = {"$artifact": store.store(b"body", content_type="text/plain").artifact_id}
    run, client = a_run({"_runtime": {"pending_media": [ref]}}), RecordingClient()
    answered(client, {"messages": [{"role": "user", "content": "see"}]}, run, store)
    assert client.call["media"] is None
    assert pending(run) == []


def test_an_opened_attachment_is_shown_to_the_next_call(process: Process) -> None:
    """From the tool call that opens it, over the run's variables, to the client."""
    artifact_id = attach(process.artifacts, b"\x89PNG", path="shot.png", content_type="image/png")
    call = {"name": "open_attachment", "arguments": {"artifact_id": artifact_id}, "call_id": "c1"}
    workflow = flow(
        look=asks(EffectType.TOOL_CALLS, {"tool_calls": [call]}, then="ask"),
        ask=asks(LLM, {"prompt": "what is it?"}),
        done=done,
    )
    runtime = process.runtime()
    run_id = runtime.start(workflow=workflow, session_id="s1")
    looked = runtime.tick(workflow=workflow, run_id=run_id, max_steps=1)
    assert [ref["$artifact"] for ref in pending(looked)] == [artifact_id]
    state = runtime.tick(workflow=workflow, run_id=run_id)
    assert list(process.client.files[0].values()) == [b"\x89PNG"]
    assert pending(state) == []
