"""Whole sessions with public MCP clients: the official SDK and AbstractCore's own, over both transports."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from .processes import REAL, ROOT, WorkerProcess

pytest.importorskip("abstractcore", reason="needs abstractruntime[mcp-worker]")

TOKEN = "t0ken"
TOOLS = [
    "analyze_code",
    "edit_file",
    "execute_command",
    "list_files",
    "read_file",
    "search_files",
    "skim_files",
    "skim_folders",
    "write_file",
]
ENV = {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "hello.txt").write_text("hello\nwörld\n", encoding="utf-8")
    return folder


@pytest.fixture
def options(root: Path) -> list[str]:
    return [*REAL, "--toolsets", "files,system", "--workspace-root", str(root)]


@pytest.fixture
def url(options: list[str], tmp_path: Path) -> Iterator[str]:
    http = ["--transport=http", "--port=0", "--http-auth-token", TOKEN]
    with WorkerProcess(*options, *http, log=tmp_path / "stderr") as worker:
        yield f"{worker.url()}/mcp"


class TestOfficialSdk:
    """The ``mcp`` package; what it sends and checks follows the specification of the protocol."""

    @pytest.fixture(params=["stdio", "streamable HTTP"])
    def session(
        self, request: pytest.FixtureRequest, options: list[str]
    ) -> Callable[[], AbstractAsyncContextManager[Any]]:
        mcp = pytest.importorskip("mcp", reason="needs the mcp package: see the README's second test command")
        from mcp.client.stdio import stdio_client

        @asynccontextmanager
        async def over_stdio() -> AsyncIterator[Any]:
            server = mcp.StdioServerParameters(command=sys.executable, args=options, env=ENV, cwd=ROOT)
            async with stdio_client(server) as (read, write), mcp.ClientSession(read, write) as opened:
                yield opened

        if request.param == "stdio":
            return over_stdio
        url: str = request.getfixturevalue("url")

        @asynccontextmanager
        async def over_http() -> AsyncIterator[Any]:
            from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

            async with (
                create_mcp_http_client(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
                streamable_http_client(url, http_client=http) as streams,
                mcp.ClientSession(streams[0], streams[1]) as opened,
            ):
                yield opened

        return over_http

    async def test_a_session(self, session: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        async with session() as opened:
            hello = await opened.initialize()
            assert hello.protocol_version == "2025-11-25"
            assert hello.server_info.name == "abstractruntime-mcp-worker"
            listed = await opened.list_tools()
            assert [tool.name for tool in listed.tools] == TOOLS
            schema = {tool.name: tool.input_schema for tool in listed.tools}["read_file"]
            assert (schema["type"], schema["required"]) == ("object", ["file_path"])
            await opened.send_ping()
            read = await opened.call_tool("read_file", {"file_path": "hello.txt"})
            assert read.is_error is False
            assert read.content[0].text.splitlines()[2:] == ["1: hello", "2: wörld"]
            missing = await opened.call_tool("read_file", {"file_path": "nothing.txt"})
            assert missing.is_error is True
            unknown = await opened.call_tool("nonsense", {})
            assert unknown.is_error is True
            assert unknown.content[0].text == "Tool 'nonsense' not found"
            ran = await opened.call_tool("execute_command", {"command": "cat hello.txt"})
            assert ran.structured_content["stdout"] == "hello\nwörld\n"


class TestAbstractCoresClients:
    """AbstractCore is on both sides of the boundary: a host of its own may use a worker's tools."""

    @pytest.fixture(params=["stdio", "streamable HTTP"])
    def client(self, request: pytest.FixtureRequest, options: list[str]) -> Iterator[Any]:
        from abstractcore.mcp import create_mcp_client

        config: dict[str, Any]
        if request.param == "stdio":
            config = {"command": [sys.executable, *options], "env": ENV, "cwd": str(ROOT)}
        else:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            config = {"url": request.getfixturevalue("url"), "headers": headers}
        client = create_mcp_client(config=config, timeout_s=60)
        yield client
        client.close()
        process = getattr(client, "_proc", None)  # its close() leaves stderr to the garbage collector
        if process is not None:
            process.stderr.close()

    def test_a_session(self, client: Any) -> None:
        assert [tool["name"] for tool in client.list_tools()] == TOOLS
        assert client.initialize_result["protocolVersion"] == "2025-11-25"
        assert client.request(method="ping") == {}
        client.notify(method="notifications/roots/list_changed")
        read = client.call_tool(name="read_file", arguments={"file_path": "hello.txt"})
        assert read["isError"] is False
        assert "1: hello" in read["content"][0]["text"]
        outside = client.call_tool(name="read_file", arguments={"file_path": "/etc/hostname"})
        assert outside["isError"] is True
        assert "Path escapes workspace_root" in outside["content"][0]["text"]

    def test_its_tools_become_tool_specs(self, client: Any) -> None:
        from abstractcore.mcp import McpToolSource

        specs = McpToolSource(server_id="worker", client=client, origin_url="test://worker").list_tool_specs()
        assert [spec["name"] for spec in specs] == [f"mcp::worker::{name}" for name in TOOLS]

    def test_unknown_methods_are_errors(self, client: Any) -> None:
        from abstractcore.mcp.client import McpRpcError

        with pytest.raises(McpRpcError, match="Method not found: prompts/list"):
            client.request(method="prompts/list")


def test_the_classes_themselves(url: str, options: list[str]) -> None:
    from abstractcore.mcp import McpClient, McpStdioClient
    from abstractcore.mcp.client import McpHttpError

    with McpClient(url=url, headers={"X-Abstract-Worker-Token": TOKEN}) as over_http:
        assert over_http.initialize()["serverInfo"]["name"] == "abstractruntime-mcp-worker"
    with McpClient(url=url) as stranger, pytest.raises(McpHttpError, match="401"):
        stranger.list_tools()
    with McpClient(url=url, headers={"X-Abstract-Worker-Token": TOKEN}, protocol_version="1999-01-01") as old:
        assert old.initialize()["protocolVersion"] == "2025-11-25"
        assert len(old.list_tools()) == len(TOOLS)
    with McpStdioClient(command=[sys.executable, *options], env=ENV, cwd=str(ROOT)) as over_stdio:
        assert over_stdio.call_tool(name="list_files")["isError"] is False
    over_stdio._proc.stderr.close()


def test_the_executor_of_a_runtime_reaches_a_worker(tmp_path: Path, root: Path) -> None:
    """The other end of §7.5: `McpToolExecutor` calls a worker's tools."""
    from abstractruntime.integrations.abstractcore.tool_executor import McpToolExecutor

    options = [*REAL, "--transport=http", "--port=0", "--toolsets=files", "--workspace-root", str(root)]
    with WorkerProcess(*options, log=tmp_path / "stderr") as worker:
        executor = McpToolExecutor(server_id="files", mcp_url=worker.url())
        calls = [
            {"name": "mcp::files::read_file", "arguments": {"file_path": "hello.txt"}, "call_id": "a"},
            {"name": "mcp::files::read_file", "arguments": {"file_path": "/etc/hostname"}, "call_id": "b"},
        ]
        first, second = executor.execute(tool_calls=calls)["results"]
        assert first["success"] is True
        assert "1: hello" in first["output"]
        assert second["success"] is False
