"""JSON-RPC of the worker, message by message (`spec/04 §14.3`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from abstractruntime import __version__
from abstractruntime.integrations.abstractcore._mcp_worker.rpc import encoded, parsed
from abstractruntime.integrations.abstractcore.mcp_worker import handle_mcp_request

from .own_tools import TOOLS, state_of

STATE = state_of()


def request(method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, **more}
    return message if params is None else {**message, "params": params}


def call(name: object, arguments: object = None) -> dict[str, Any]:
    params = {"name": name} if arguments is None else {"name": name, "arguments": arguments}
    answer = handle_mcp_request(req=request("tools/call", params), state=STATE)
    assert answer is not None
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", 1)
    return answer


def error(code: int, message: str, request_id: object = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


@pytest.mark.weakness("spec/04 §16.30")
@pytest.mark.parametrize("not_an_object", [None, 1, "text", True, [], [request("ping")]])
def test_what_is_no_object_is_refused_also_a_batch(not_an_object: object) -> None:
    refused = error(-32600, "Invalid Request: must be an object", None)
    assert handle_mcp_request(req=not_an_object, state=STATE) == refused


@pytest.mark.parametrize("version", [None, "1.0", 2.0, 2, ""])
def test_the_version_of_json_rpc(version: object) -> None:
    message = {**request("ping"), "jsonrpc": version}
    refused = error(-32600, "Invalid Request: jsonrpc must be '2.0'")
    assert handle_mcp_request(req=message, state=STATE) == refused
    without_id = {"jsonrpc": version, "method": "ping"}
    assert handle_mcp_request(req=without_id, state=STATE) == {**refused, "id": None}


@pytest.mark.parametrize("method", [None, "", "  ", 5, ["ping"]])
def test_the_method_must_be_text(method: object) -> None:
    refused = error(-32600, "Invalid Request: missing method")
    assert handle_mcp_request(req={"jsonrpc": "2.0", "id": 1, "method": method}, state=STATE) == refused
    assert handle_mcp_request(req={"jsonrpc": "2.0", "id": 1}, state=STATE) == refused


@pytest.mark.parametrize("request_id", [None, True, 1.5, [], {}])
def test_an_id_that_is_none_is_refused(request_id: object) -> None:
    refused = error(-32600, "Invalid Request: id must be a string or an integer", None)
    assert handle_mcp_request(req=request("ping", id=request_id), state=STATE) == refused


@pytest.mark.parametrize("request_id", [0, -1, 2**70, "", "a b"])
def test_ids_come_back_as_they_were(request_id: object) -> None:
    answer = handle_mcp_request(req=request("ping", id=request_id), state=STATE)
    assert answer == {"jsonrpc": "2.0", "id": request_id, "result": {}}


@pytest.mark.parametrize(
    "method", ["notifications/initialized", "notifications/cancelled", "tools/call", "x"]
)
def test_notifications_get_no_answer_and_do_nothing(method: str) -> None:
    class Untouched:
        def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
            raise AssertionError(tool_calls)

    message = {"jsonrpc": "2.0", "method": method, "params": {"name": "echo", "arguments": {"text": "x"}}}
    assert handle_mcp_request(req=message, state=state_of(executor=Untouched())) is None


@pytest.mark.parametrize("outcome", [{"result": {}}, {"error": {"code": 1, "message": "m"}}])
def test_responses_get_no_answer(outcome: dict[str, Any]) -> None:
    assert handle_mcp_request(req={"jsonrpc": "2.0", "id": 1, **outcome}, state=STATE) is None


@pytest.mark.weakness("spec/04 §16.17")
@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", "2024-11-05"),
        ("2999-01-01", "2025-11-25"),
        ("", "2025-11-25"),
        (None, "2025-11-25"),
        (7, "2025-11-25"),
        (["2024-11-05"], "2025-11-25"),
    ],
)
def test_the_protocol_revision_is_negotiated(asked: object, answered: str) -> None:
    answer = handle_mcp_request(req=request("initialize", {"protocolVersion": asked}), state=STATE)
    assert answer is not None
    assert answer["result"] == {
        "protocolVersion": answered,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "abstractruntime-mcp-worker", "version": __version__},
    }


@pytest.mark.parametrize("params", [None, [], "x", {}])
def test_initialize_without_usable_params(params: object) -> None:
    answer = handle_mcp_request(req=request("initialize", params), state=STATE)
    assert answer is not None
    assert answer["result"]["protocolVersion"] == "2025-11-25"


def test_tools_are_listed_in_one_page() -> None:
    answer = handle_mcp_request(req=request("tools/list", {"cursor": "anything"}), state=STATE)
    assert answer == {"jsonrpc": "2.0", "id": 1, "result": {"tools": list(STATE.tools)}}


@pytest.mark.weakness("spec/04 §16.30")
def test_ping_and_unknown_methods() -> None:
    assert handle_mcp_request(req=request("ping"), state=STATE) == {"jsonrpc": "2.0", "id": 1, "result": {}}
    unknown = handle_mcp_request(req=request("resources/list"), state=STATE)
    assert unknown == error(-32601, "Method not found: resources/list")


@pytest.mark.parametrize("params", [None, {}, [], "echo", {"name": None}, {"name": " "}, {"name": 5}])
def test_a_call_needs_a_name(params: object) -> None:
    answer = handle_mcp_request(req=request("tools/call", params), state=STATE)
    assert answer == error(-32602, "Invalid params: missing tool name")


@pytest.mark.parametrize("arguments", [[], [1], "text", 5, True])
def test_arguments_are_an_object(arguments: object) -> None:
    assert call("echo", arguments) == error(-32602, "Invalid params: arguments must be an object")


def text_result(text: str, *, is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("echo", {"text": "as it is"}, text_result("as it is")),
        (" echo ", {"text": '{"not": "parsed"}'}, text_result('{"not": "parsed"}')),
        ("value", {"kind": "none"}, text_result("null")),
        ("value", {"kind": "list"}, text_result('[1, "é"]')),
        ("fail", {"how": "raise"}, text_result("it broke", is_error=True)),
        ("nonsense", {}, text_result("Tool 'nonsense' not found", is_error=True)),
    ],
)
def test_results_as_text(name: str, arguments: dict[str, Any], result: dict[str, Any]) -> None:
    assert call(name, arguments)["result"] == result


@pytest.mark.weakness("spec/04 §16.30")
def test_objects_are_structured_content_too() -> None:
    result = call("value", {"kind": "dict"})["result"]
    assert result["structuredContent"] == {"a": [1, None], "b": None}  # there is no NaN in JSON
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    failed = call("fail", {"how": "declare"})["result"]
    assert failed["content"] == [{"type": "text", "text": "declared"}]
    assert failed["isError"] is True
    assert failed["structuredContent"]["retry_after"] == 3


@pytest.mark.parametrize(
    "answered",
    [
        None,
        [],
        {},
        {"mode": "executed"},
        {"mode": "executed", "results": []},
        {"mode": "executed", "results": ["text"]},
        {"mode": "executed", "results": [{"success": True}, {"success": True}]},
        {"mode": "delegated", "tool_calls": []},
    ],
)
def test_a_malformed_answer_of_the_executor(answered: object) -> None:
    class Odd:
        def execute(self, *, tool_calls: list[dict[str, Any]]) -> Any:
            return answered

    answer = handle_mcp_request(req=request("tools/call", {"name": "echo"}), state=state_of(executor=Odd()))
    assert answer == error(-32000, "Tool execution failed (malformed result)")


def test_an_executor_that_raises_is_an_error_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
            raise OSError("disk gone")

    answer = handle_mcp_request(
        req=request("tools/call", {"name": "echo"}), state=state_of(executor=Broken())
    )
    assert answer == error(-32603, "Internal error: OSError: disk gone")
    assert "disk gone" in caplog.text


def test_what_the_executor_is_given() -> None:
    seen: list[Any] = []

    class Spy:
        def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
            seen.extend(tool_calls)
            return {"mode": "executed", "results": [{"success": True, "output": "x"}]}

    message = request("tools/call", {"name": "echo", "arguments": {"text": "a"}}, id="abc")
    handle_mcp_request(req=message, state=state_of(executor=Spy()))
    assert seen == [{"name": "echo", "arguments": {"text": "a"}, "call_id": "abc"}]


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"nonsense", b"\xff", b'{"a": NaN}', b"[Infinity]", b"[" * 100_000, b"1" * 5000, b"{} {}"],
)
def test_what_is_no_strict_json(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(document)


def test_answers_are_one_line_of_valid_json_and_utf8() -> None:
    for kind in ("surrogate", "lines", "dict", "list"):
        line = encoded(call("value", {"kind": kind}))
        assert b"\n" not in line
        json.loads(line.decode("utf-8"), parse_constant=pytest.fail)
    assert "half ? of one" in encoded(call("value", {"kind": "surrogate"})).decode("utf-8")


def test_the_token_is_not_in_the_repr() -> None:
    assert "s3cret" not in repr(state_of(http_auth_token="s3cret"))
    assert set(TOOLS) == {tool["name"] for tool in STATE.tools}
