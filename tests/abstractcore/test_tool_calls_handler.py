"""The effect TOOL_CALLS, its handler called directly (`spec/04 §7.7`)."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import MagicMock

import pytest

from abstractruntime.core.models import Effect, EffectType, RunState, WaitReason, WaitState
from abstractruntime.core.outcome import EffectOutcome, bind_handler
from abstractruntime.core.tool_results import merge_tool_results
from abstractruntime.integrations.abstractcore._tool_calls.handler import make_tool_calls_handler
from abstractruntime.integrations.abstractcore._tool_calls.pairing import paired
from abstractruntime.integrations.abstractcore.tool_executor import (
    DelegatingMcpToolExecutor,
    MappingToolExecutor,
    PassthroughToolExecutor,
)
from abstractruntime.storage.artifacts import InMemoryArtifactStore

from . import toolbox
from .attached import SESSION, attach
from .toolbox import Recording, call, handled, make_run, result, results


def failed(outcome: EffectOutcome) -> str | None:
    assert outcome.status == "failed"
    return outcome.error


def wait_of(outcome: EffectOutcome) -> WaitState:
    assert outcome.status == "waiting"
    assert outcome.wait is not None
    return outcome.wait


def details_of(outcome: EffectOutcome) -> dict[str, Any]:
    details = wait_of(outcome).details
    assert details is not None
    return details


# -- what fails the effect ----------------------------------------------------------------------


@pytest.mark.parametrize("payload", [None, {}, {"tool_calls": "x"}, {"tool_calls": {"name": "t"}}])
def test_the_list_is_required(payload: Any) -> None:
    handler = make_tool_calls_handler()
    outcome = handler(make_run(), Effect(EffectType.TOOL_CALLS, payload), None)
    assert failed(outcome) == "tool_calls requires payload.tool_calls (list)"


def test_an_executor_is_required() -> None:
    assert failed(handled(None, [])) == (
        "TOOL_CALLS requires a ToolExecutor; configure Runtime with "
        "MappingToolExecutor/AbstractCoreToolExecutor/PassthroughToolExecutor."
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (RuntimeError("no line"), "no line"),
        ({"mode": "ask"}, "ToolExecutor returned delegated mode during executed TOOL_CALLS batch"),
        ({"mode": "executed"}, "ToolExecutor returned invalid results"),
        ({"mode": "executed", "results": {}}, "ToolExecutor returned invalid results"),
        (None, "ToolExecutor returned invalid results"),
    ],
)
def test_an_executor_that_breaks_its_word(answer: Any, error: str) -> None:
    tools = Recording(answer if answer is not None else [])
    assert failed(handled(tools, [call("t")])) == error


def test_the_handler_takes_two_or_three_arguments() -> None:
    handler = make_tool_calls_handler(tools=Recording())
    effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": []})
    assert handler(make_run(), effect).status == "completed"
    assert bind_handler(handler)(make_run(), effect, "next").status == "completed"


# -- executing ----------------------------------------------------------------------------------


def test_variables_of_the_user_are_left_alone() -> None:
    """Whatever they are called: the runtime's own namespace is `_runtime` only."""
    run = make_run(vars={"context": "text", "scratchpad": 1})
    calls = [call("a", None, "1", runtime_call_id="r1"), call("b", None, "2", runtime_call_id="r2")]
    results(handled(MappingToolExecutor({"a": dict, "b": dict}), calls, run=run))
    assert {name: value for name, value in run.vars.items() if name != "_runtime"} == {
        "context": "text",
        "scratchpad": 1,
    }


def test_empty_batch_touches_no_executor() -> None:
    tools = Recording()
    assert results(handled(tools, [])) == []
    assert results(handled(PassthroughToolExecutor(), [])) == []
    assert (tools.probes, tools.batches) == (0, [])


def test_arguments_and_names_are_cleaned() -> None:
    tools = Recording()
    calls = [
        call(" add ", '{"a": 1}'),
        call("add", "no json", "c2"),
        call("add", [1], "c3"),
        {"name": "add", "call_id": "c4", "extra": 1},
    ]
    handled(tools, calls)
    assert [each["name"] for each in tools.batches[0]] == ["add"] * 4
    assert [each["arguments"] for each in tools.batches[0]] == [{"a": 1}, {}, {}, {}]


def test_results_keep_their_places() -> None:
    tools = Recording({"results": [result(call("a"), output=1), "odd"]})
    found = results(handled(tools, [call("a"), 5, call("b", None, "c2"), call("c", None, "c3")]))
    assert found == [
        result(call("a"), output=1),
        result(call("", None, None), error="Invalid tool call (expected an object)"),
        result(call("b", None, "c2"), error="Invalid tool result"),
        result(call("c", None, "c3"), error="Missing tool result"),
    ]
    assert len(tools.batches) == 1


def test_an_unknown_executor_is_asked_once_with_an_empty_list() -> None:
    tools = Recording(probe=RuntimeError("no empty lists"))
    assert results(handled(tools, [call("t")]))[0]["success"] is True
    assert tools.probes == 1


def test_an_object_that_answers_to_every_name() -> None:
    tools = MagicMock()
    tools.execute.return_value = {"mode": "executed", "results": [result(call("t"), output=1)]}
    assert results(handled(tools, [call("t")]))[0]["output"] == 1


@pytest.mark.weakness("spec/04 §16.9")
def test_results_are_paired_by_their_ids() -> None:
    calls = [call("a", None, "x", runtime_call_id="r1"), call("b", None, "x"), call("c", None, "y")]
    by_runtime_id = {"runtime_call_id": "r1", "call_id": "y", "n": 1}
    by_call_id = {"call_id": "y", "n": 3}
    stranger = {"call_id": "x", "n": 2}  # two calls have this id: only its position tells
    assert paired(calls, [by_call_id, stranger, by_runtime_id]) == [by_runtime_id, stranger, by_call_id]
    assert paired(calls, [stranger])[0] == stranger
    assert [each["error"] for each in paired(calls, [stranger])[1:]] == ["Missing tool result"] * 2
    assert paired(calls, None)[2]["error"] == "Missing tool result"
    assert paired(calls[:1], [{"call_id": "unheard of", "n": 1}, {"n": 2}]) == [
        {"call_id": "unheard of", "n": 1}
    ]


@pytest.mark.weakness("spec/04 §16.9")
def test_host_results_are_paired_by_their_ids_among_blocked_calls() -> None:
    calls = [call("a", None, "1"), call("no", None, "2"), call("b", None, "3"), call("c", None, "4")]
    outcome = handled(PassthroughToolExecutor(), calls, allowed_tools=["a", "b", "c"])
    late, early = result(calls[3], output="c"), result(calls[0], output="a")
    merged = merge_tool_results(wait_of(outcome), {"results": [late, early]})["results"]
    assert [each["output"] for each in merged] == ["a", None, None, "c"]
    assert [each["error"] for each in merged[1:3]] == [
        "Tool 'no' is not allowed for this node",
        "Missing tool result",
    ]


# -- allowlist ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("danger", "Tool 'danger' is not allowed for this node"),
        ("Safe", "Tool 'Safe' is not allowed for this node"),
        ("", "Tool call missing a valid name"),
        (None, "Tool call missing a valid name"),
        (7, "Tool call missing a valid name"),
    ],
)
def test_allowlist(name: Any, error: str) -> None:
    tools = Recording()
    found = results(handled(tools, [call(name), call(" safe ", None, "c2")], allowed_tools=[" safe "]))
    assert found[0]["error"] == error
    assert found[1]["success"] is True
    assert [each["name"] for each in tools.batches[0]] == ["safe"]


def test_an_empty_allowlist_blocks_all() -> None:
    tools = Recording()
    assert results(handled(tools, [call("safe")], allowed_tools=[]))[0]["success"] is False
    assert (tools.probes, tools.batches) == (0, [])


@pytest.mark.parametrize(
    "widened",
    [
        {"name": "danger", "arguments": {"allowed_tools": ["danger"]}},
        {"name": "danger", "allowed_tools": ["danger"]},
        {"name": "safe", "arguments": {"name": "danger", "arguments": {"allowed_tools": ["danger"]}}},
        {"function": {"name": "danger", "arguments": {}}, "name": "safe"},
        {"name": "safe\u200b"},
        {"name": "open_attachment"},
    ],
)
def test_a_model_can_not_widen_the_allowlist(widened: dict[str, Any]) -> None:
    ran: list[str] = []
    tools = MappingToolExecutor(
        {name: lambda name=name, **_: ran.append(name) for name in ("safe", "danger")}
    )
    store = InMemoryArtifactStore()
    handled(tools, [{"call_id": "c", **widened}], allowed_tools=["safe"], artifact_store=store)
    assert ran in ([], ["safe"])


def test_arguments_of_blocked_calls_are_seen_by_nobody() -> None:
    calls = [call("danger", {"secret": "hush"}, "1"), call("safe", {"a": 1}, "2")]
    details = details_of(handled(PassthroughToolExecutor(), calls, allowed_tools=["safe"]))
    assert "hush" not in str(details)
    assert details["tool_calls_for_evidence"][0] == {
        "name": "danger",
        "arguments": {},
        "call_id": "1",
        "runtime_call_id": None,
    }


# -- waiting ------------------------------------------------------------------------------------


def test_passthrough_wait() -> None:
    calls = [call("a", {"x": 1}, "1", runtime_call_id="r1")]
    outcome = handled(PassthroughToolExecutor(mode="approval_required"), calls)
    assert wait_of(outcome) == WaitState(
        WaitReason.EVENT,
        wait_key="tool_calls:run-1:node",
        resume_to_node="next",
        result_key="out",
        details={"mode": "approval_required", "tool_calls": calls},
    )


def test_wait_around_answered_calls() -> None:
    store = InMemoryArtifactStore()
    attach(store, "text", path="a.txt")
    run = make_run(session_id=SESSION)
    calls = [
        call("no", {"x": 1}, "1"),
        call("open_attachment", {"handle": "a.txt"}, "2"),
        call("yes", {"y": 1}, "3"),
    ]
    outcome = handled(
        PassthroughToolExecutor(),
        calls,
        run=run,
        allowed_tools=["yes", "open_attachment"],
        artifact_store=store,
    )
    details = details_of(outcome)
    assert details["tool_calls"] == [calls[2]]
    assert details["original_call_count"] == 3
    assert details["blocked_by_index"] == {
        "0": result(calls[0], error="Tool 'no' is not allowed for this node")
    }
    assert list(details["pre_results_by_index"]) == ["1"]
    assert details["pre_results_by_index"]["1"]["success"] is True
    assert [each["arguments"] for each in details["tool_calls_for_evidence"]] == [
        {},
        {"handle": "a.txt"},
        {"y": 1},
    ]
    merged = merge_tool_results(wait_of(outcome), {"results": [result(calls[2], output="z")]})
    assert [each["success"] for each in merged["results"]] == [False, True, True]
    assert merged["mode"] == "executed"


@pytest.mark.parametrize(
    ("answer", "payload", "reason", "key", "node"),
    [
        ({}, {}, "event", "tool_calls:run-1:node", "next"),
        ({"mode": "delegated"}, {}, "job", "tool_calls:run-1:node", "next"),
        ({"mode": "delegated", "wait_reason": "user"}, {}, "user", "tool_calls:run-1:node", "next"),
        ({"mode": "delegated", "wait_reason": "nonsense"}, {}, "event", "tool_calls:run-1:node", "next"),
        ({"wait_key": "own"}, {}, "event", "own", "next"),
        ({"wait_key": "own"}, {"wait_key": "given", "resume_to_node": "there"}, "event", "given", "there"),
    ],
)
def test_where_a_wait_leads(
    answer: dict[str, Any], payload: dict[str, Any], reason: str, key: str, node: str
) -> None:
    tools = Recording({"mode": "ask", "details": {"queue": "q"}, **answer}, probe={"mode": "ask"})
    outcome = handled(tools, [call("t")], **payload)
    wait = wait_of(outcome)
    assert (wait.reason.value, wait.wait_key, wait.resume_to_node) == (reason, key, node)
    assert wait.details is not None
    assert wait.details["executor"] == {"queue": "q"}
    assert wait.details["tool_calls"] == [call("t")]


def test_a_delegating_executor_may_fail_or_answer_after_all() -> None:
    probe = {"mode": "ask"}
    assert failed(handled(Recording(RuntimeError("full"), probe=probe), [call("t")])) == "full"
    found = results(handled(Recording(probe=probe), [call("t", {"x": 1})]))
    assert found[0]["output"] == {"x": 1}


@pytest.mark.weakness("spec/04 §16.8")
def test_the_key_of_a_delegated_batch_is_always_the_same() -> None:
    tools = DelegatingMcpToolExecutor(server_id="files", mcp_url="http://127.0.0.1:1/")
    calls = [call("t", None, "c", runtime_call_id="rtcall_abc_1")]
    keys = {wait_of(handled(tools, calls)).wait_key for _ in range(3)}
    other = wait_of(handled(tools, [call("t", None, "c", runtime_call_id="rtcall_abd_1")])).wait_key
    assert len(keys) == 1
    assert other not in keys


@pytest.mark.weakness("spec/04 §16.8")
def test_no_key_is_burnt_by_asking() -> None:
    made: list[str] = []

    def factory() -> str:
        made.append(f"job:{len(made)}")
        return made[-1]

    tools = DelegatingMcpToolExecutor(server_id="f", mcp_url="http://127.0.0.1:1/", wait_key_factory=factory)
    assert wait_of(handled(tools, [call("t")])).wait_key == "job:0"
    assert made == ["job:0"]


# -- attachments --------------------------------------------------------------------------------


@pytest.fixture
def store() -> InMemoryArtifactStore:
    return InMemoryArtifactStore()


@pytest.fixture
def session_run() -> RunState:
    return make_run(session_id=SESSION)


def opened(store: Any, run: RunState, arguments: Any) -> dict[str, Any]:
    tools = Recording()
    (found,) = results(handled(tools, [call("open_attachment", arguments)], run=run, artifact_store=store))
    assert (tools.probes, tools.batches) == (0, [])
    return found


@pytest.mark.parametrize("name", ["handle", "path"])
def test_open_by_handle(store: InMemoryArtifactStore, session_run: RunState, name: str) -> None:
    attach(store, "one\ntwo\nthree\n", path="a.txt")
    found = opened(store, session_run, {name: "a.txt", "startLine": 2, "endLine": "3"})
    assert found["success"] is True
    assert found["output"]["content_text"] == "two\nthree"


@pytest.mark.parametrize("name", ["artifact_id", "$artifact", "id"])
def test_open_by_id(store: InMemoryArtifactStore, session_run: RunState, name: str) -> None:
    artifact_id = attach(store, "one", path="a.txt")
    assert opened(store, session_run, {name: artifact_id, "sha256": "x"})["success"] is True


def test_no_cap(store: InMemoryArtifactStore, session_run: RunState) -> None:
    attach(store, "line\n" * 20_000, path="a.txt")
    assert opened(store, session_run, {"handle": "a.txt"})["output"]["truncated"] is True
    assert opened(store, session_run, {"handle": "a.txt", "maxChars": 0})["output"]["truncated"] is False


@pytest.mark.weakness("spec/04 §16.7")
@pytest.mark.parametrize(
    "arguments",
    [
        {"handle": "a.txt", "start_line": "first"},
        {"handle": "a.txt", "end_line": [1]},
        {"handle": "a.txt", "max_chars": {"x": 1}},
        {"handle": {"x": 1}},
        {"artifact_id": "../../etc/passwd"},
        "no json",
        None,
    ],
)
def test_bad_arguments_are_a_failed_result(
    store: InMemoryArtifactStore, session_run: RunState, arguments: Any
) -> None:
    attach(store, "one", path="a.txt")
    found = opened(store, session_run, arguments)
    assert found["success"] is False
    assert found["error"]
    assert found["output"]["rendered"].startswith("Error: ")


@pytest.mark.weakness("spec/04 §16.7")
def test_a_broken_store_is_a_failed_result(
    session_run: RunState, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = InMemoryArtifactStore()
    monkeypatch.setattr(store, "list_by_run", MagicMock(side_effect=OSError("disk gone")))
    with caplog.at_level(logging.CRITICAL):
        assert opened(store, session_run, {"handle": "a.txt"})["error"] == "disk gone"


def test_without_store_or_session(store: InMemoryArtifactStore, session_run: RunState) -> None:
    assert opened(None, session_run, {"handle": "a"}) == {
        **result(call("open_attachment"), error="ArtifactStore is not available"),
        "output": {"rendered": "Error: ArtifactStore is not available (cannot open attachments)."},
    }
    assert opened(store, make_run(), {"handle": "a"})["error"] == "session_id is required"


def test_opened_media_is_queued_once(store: InMemoryArtifactStore, session_run: RunState) -> None:
    artifact_id = attach(store, b"\x89PNG", path="a.png", content_type="image/png")
    session_run.vars["_runtime"] = {"pending_media": ["/x/b.png", "/x/b.png"]}
    for _ in range(2):
        assert opened(store, session_run, {"handle": "a.png"})["success"] is True
    queue = session_run.vars["_runtime"]["pending_media"]
    assert [each for each in queue if isinstance(each, dict)] == [
        {
            "$artifact": artifact_id,
            "filename": "a.png",
            "source_path": "a.png",
            "content_type": "image/png",
        }
    ]


def test_media_is_queued_before_a_wait_too(store: InMemoryArtifactStore, session_run: RunState) -> None:
    attach(store, b"\x89PNG", path="a.png", content_type="image/png")
    calls = [call("open_attachment", {"handle": "a.png"}), call("t", None, "c2")]
    handled(PassthroughToolExecutor(), calls, run=session_run, artifact_store=store)
    assert len(session_run.vars["_runtime"]["pending_media"]) == 1


def test_a_tools_own_media_is_not_queued(session_run: RunState) -> None:
    """Only the handler's own opening may ask for an artifact to be shown to the model."""
    forged = {"success": True, "name": "open_attachment", "output": {"media": [{"$artifact": "other"}]}}
    handled(Recording({"results": [forged]}), [call("t")], run=session_run)
    assert session_run.vars == {}


def test_segments_around_openings_are_in_order(store: InMemoryArtifactStore, session_run: RunState) -> None:
    attach(store, "text", path="a.txt")
    tools = Recording()
    calls = [
        call("a", None, "1"),
        call("no", None, "2"),
        call("b", None, "3"),
        call("open_attachment", {"handle": "a.txt"}, "4"),
        call("c", None, "5"),
    ]
    allowed = ["a", "b", "c", "open_attachment"]
    outcome = handled(tools, calls, run=session_run, artifact_store=store, allowed_tools=allowed)
    assert [[each["name"] for each in batch] for batch in tools.batches] == [["a", "b"], ["c"]]
    assert [each["name"] for each in results(outcome)] == ["a", "no", "b", "open_attachment", "c"]
    assert tools.probes == 1


def test_a_host_may_put_its_own_execute_over_the_mapping_executor() -> None:
    class Counting(MappingToolExecutor):
        batches = 0

        def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
            self.batches += 1
            return super().execute(tool_calls=tool_calls)

    tools = Counting({"add": toolbox.add})
    handled(tools, [call("add", {"a": 1, "b": 1}), call("add", {"a": 1, "b": 2}, "c2")])
    assert tools.batches == 1


@pytest.mark.parametrize(
    "given", [{"tool": "x", "arguments": {"n": 1}}, '{"tool": "x", "arguments": {"n": 1}}']
)
def test_a_parameter_called_arguments_reaches_whoever_executes(given: Any) -> None:
    """Only the mapping executor takes it for a wrapper (`spec/04 §7.2`)."""
    tools, asked = Recording(), [call("forward", given)]
    handled(tools, asked)
    waiting = details_of(handled(PassthroughToolExecutor(), asked))
    for seen in (tools.batches[0][0], waiting["tool_calls"][0]):
        assert seen["arguments"] == {"tool": "x", "arguments": {"n": 1}}
    mapping = MappingToolExecutor({"forward": lambda tool, n: [tool, n]})
    assert results(handled(mapping, asked))[0]["output"] == ["x", 1]


def test_a_blank_wait_key_or_node_of_the_payload_is_none() -> None:
    wait = wait_of(handled(PassthroughToolExecutor(), [call("t")], wait_key=" ", resume_to_node=" "))
    assert (wait.wait_key, wait.resume_to_node) == ("tool_calls:run-1:node", "next")
