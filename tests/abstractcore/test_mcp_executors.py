"""Tools of MCP servers, over real HTTP (`spec/04 §7.5`, §7.6)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from abstractruntime.core.effect_context import EffectContext, carrying_out
from abstractruntime.integrations.abstractcore._mcp_worker.http_server import McpHttpServer
from abstractruntime.integrations.abstractcore._mcp_worker.state import McpWorkerState
from abstractruntime.integrations.abstractcore._mcp_worker.wsgi import build_wsgi_app
from abstractruntime.integrations.abstractcore.tool_executor import (
    DelegatingMcpToolExecutor,
    MappingToolExecutor,
    McpToolExecutor,
)

from . import toolbox
from .toolbox import call, handled, make_run, result, results

NOWHERE = "http://127.0.0.1:1/mcp"


def shouting(text: str) -> str:
    return text.upper()


def structured() -> dict[str, Any]:
    return {"a": [1, None]}


def tracing() -> str:
    return "Traceback (most recent call last): x"


def marked() -> dict[str, Any]:
    """A dict on our side, ``null`` text here: the worker sends what it is given."""
    return {"success": False, "error": "no paper"}


TOOLS = {
    "add": toolbox.add,
    "shouting": shouting,
    "structured": structured,
    "tracing": tracing,
    "marked": marked,
    "raising": toolbox.raising,
}


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """The MCP worker with the tools above, in a thread of this process."""
    app = build_wsgi_app(state=McpWorkerState(tools=(), executor=MappingToolExecutor(TOOLS)))
    server = McpHttpServer("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.url
    server.shutdown()
    server.server_close()
    thread.join()


def executed(executor: Any, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    answer = executor.execute(tool_calls=list(calls))
    assert answer["mode"] == "executed"
    found: list[dict[str, Any]] = answer["results"]
    return found


class Answering:
    """A client that answers what it is told, and notes what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []

    def call_tool(self, *, name: str, arguments: Any) -> Any:
        self.asked.append((name, arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def text(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": part} for part in parts], **more}


def with_client(*answers: Any) -> tuple[McpToolExecutor, Answering]:
    client = Answering(*answers)
    return McpToolExecutor(server_id="s", mcp_url=NOWHERE, mcp_client=client), client


# -- over HTTP ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("server_url")
def test_a_real_server(server_url: str) -> None:
    pytest.importorskip("abstractcore.mcp", reason="needs AbstractCore")
    executor = McpToolExecutor(server_id="box", mcp_url=server_url, timeout_s=30)
    found = executed(
        executor,
        call("mcp::box::add", {"a": 1, "b": 2}, "c1", runtime_call_id="r1"),
        call("shouting", {"text": "loud"}),
        call("structured"),
        call("tracing"),
        call("marked"),
        call("raising"),
        call("ghost"),
        call("mcp::other::add", {"a": 1, "b": 2}),
    )
    assert found[0] == result(call("mcp::box::add", None, "c1", runtime_call_id="r1"), output=3)
    assert [each["output"] for each in found[1:3]] == ["LOUD", {"a": [1, None]}]
    assert [each["success"] for each in found[3:]] == [False] * 5
    assert found[3]["error"].startswith("Traceback")
    assert [each["error"] for each in found[4:]] == [
        "no paper",
        "out of paper",
        "Tool 'ghost' not found",
        "MCP tool 'mcp::other::add' targets server 'other', expected 'box'",
    ]


def test_a_server_that_is_away() -> None:
    pytest.importorskip("abstractcore.mcp", reason="needs AbstractCore")
    executor = McpToolExecutor(server_id="box", mcp_url=NOWHERE, timeout_s=5)
    (found,) = executed(executor, call("add"))
    assert found["success"] is False
    assert found["error"]


def test_in_the_handler(server_url: str) -> None:
    pytest.importorskip("abstractcore.mcp", reason="needs AbstractCore")
    executor = McpToolExecutor(server_id="box", mcp_url=server_url)
    outcome = handled(executor, [call("add", '{"a": 2, "b": 2}')], allowed_tools=["add"])
    assert results(outcome)[0]["output"] == 4


# -- what a server may say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "output", "error"),
    [
        (text(" one ", "two\n"), "one\ntwo", None),
        (text('{"a": 1}'), {"a": 1}, None),
        (text("[1]"), [1], None),
        (text("null"), None, None),
        (text(), {"content": []}, None),
        ({"content": [{"type": "image"}], "x": 1}, {"content": [{"type": "image"}], "x": 1}, None),
        (text("broken", isError=True), None, "broken"),
        (text('{"a": 1}', isError=True), None, "MCP tool call reported error"),
        (text(isError=True), None, "MCP tool call reported error"),
        (text("Error: no"), None, "no"),
        (text("❌ no"), None, "no"),
        (text("  TRACEBACK: x"), None, "TRACEBACK: x"),
        (text("broken", isError="true"), "broken", None),
        (OSError("reset"), None, "reset"),
        ("no object", "no object", None),
    ],
)
def test_answers(answer: Any, output: Any, error: str | None) -> None:
    executor, client = with_client(answer)
    (found,) = executed(executor, call("mcp::s::tool", "no json"))
    assert (found["success"], found["output"], found["error"]) == (error is None, output, error)
    assert found["name"] == "mcp::s::tool"
    assert client.asked == [("tool", {})]


@pytest.mark.parametrize("name", ["plain", "mcp::s", "mcp::", "mcp::::x", "other::s::t"])
def test_names_that_are_no_full_names(name: str) -> None:
    executor, client = with_client(text("x"))
    executed(executor, call(name, {"arguments": {"own": 1}}))
    assert client.asked == [(name, {"arguments": {"own": 1}})]


@pytest.mark.parametrize("kind", [McpToolExecutor, DelegatingMcpToolExecutor])
@pytest.mark.parametrize(
    ("options", "missing"),
    [({"server_id": " ", "mcp_url": "u"}, "server_id"), ({"server_id": "s", "mcp_url": ""}, "mcp_url")],
)
def test_blank_options(kind: Any, options: dict[str, str], missing: str) -> None:
    with pytest.raises(ValueError, match=f"^{kind.__name__} requires a non-empty {missing}$"):
        kind(**options)


@pytest.mark.weakness("spec/04 §16.14")
def test_paths_of_a_server_are_denied_unless_declared(tmp_path: Any) -> None:
    run = make_run(vars={"workspace_root": str(tmp_path)})
    asked = [call("mcp::s::zip", {"source": "/etc/passwd"})]
    executor, client = with_client()
    assert "not declared" in results(handled(executor, asked, run=run))[0]["error"]
    client = Answering(text("done"))
    executor = McpToolExecutor(server_id="s", mcp_url=NOWHERE, mcp_client=client, paths={"zip": []})
    assert results(handled(executor, asked, run=run))[0]["output"] == "done"


# -- delegating ---------------------------------------------------------------------------------


def test_delegating() -> None:
    made = DelegatingMcpToolExecutor(server_id="s", mcp_url=NOWHERE, wait_key_factory=lambda: "job:1")
    assert made.execute(tool_calls=[call("t")]) == {
        "mode": "delegated",
        "wait_reason": "job",
        "wait_key": "job:1",
        "tool_calls": [call("t")],
        "details": {
            "protocol": "mcp",
            "transport": "streamable_http",
            "url": NOWHERE,
            "server_id": "s",
            "tool_name_prefix": "mcp::s::",
        },
    }
    outcome = handled(made, [call("t")])
    assert outcome.wait is not None
    assert (outcome.wait.reason.value, outcome.wait.wait_key) == ("job", "job:1")


@pytest.mark.weakness("spec/04 §16.8")
def test_the_key_comes_from_the_idempotency_key() -> None:
    made = DelegatingMcpToolExecutor(server_id="s", mcp_url=NOWHERE, transport="stdio")

    def key(idempotency_key: str) -> str:
        with carrying_out(EffectContext("run", idempotency_key)):
            found: str = made.execute(tool_calls=[call("t")])["wait_key"]
        return found

    assert key("a") == key("a") != key("b")
    prefix, _, digits = key("a").partition(":")
    assert (prefix, len(digits), set(digits) <= set("0123456789abcdef")) == ("mcp_job", 32, True)
    outside = {made.execute(tool_calls=[call("t")])["wait_key"] for _ in range(2)}
    assert len(outside) == 2
