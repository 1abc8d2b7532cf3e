"""Tools of the tests' own, so that the protocol is tested without AbstractCore too.

As a program it is a worker with these tools: ``python -m tests.abstractcore.mcp_worker.own_tools stdio``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from abstractruntime.integrations.abstractcore._mcp_worker.stdio import own_process_streams
from abstractruntime.integrations.abstractcore.mcp_worker import McpWorkerState, serve_stdio
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor


def echo(text: str) -> str:
    return text


def value(kind: str) -> Any:
    return {
        "none": None,
        "dict": {"a": [1, None], "b": float("nan")},
        "list": [1, "é"],
        "surrogate": "half \ud800 of one",
        "lines": "one\ntwo\u2028three",
    }[kind]


def fail(how: str) -> Any:
    if how == "raise":
        raise RuntimeError("it broke")
    return {"success": False, "error": "declared", "retry_after": 3}


def noisy() -> str:
    """Prints, as do the processes it starts, and reads stdin."""
    print("printed by the tool")
    command = [sys.executable, "-c", "import sys; print('printed by a child', sys.stdin.read())"]
    subprocess.run(command, check=True, timeout=60)
    return f"read {sys.stdin.read()!r}"


def touch_and_wait(path: str) -> str:
    """Says that it has begun, then waits for a file to vanish."""
    Path(path).touch()
    while Path(path).exists():
        time.sleep(0.01)
    return "done"


TOOLS = {each.__name__: each for each in (echo, value, fail, noisy, touch_and_wait)}


def state_of(**fields: Any) -> McpWorkerState:
    """A state that serves them."""
    tools = [
        {"name": name, "description": f"Tool {name}", "inputSchema": {"type": "object", "properties": {}}}
        for name in sorted(TOOLS)
    ]
    return McpWorkerState(**{"tools": tools, "executor": MappingToolExecutor(TOOLS), **fields})


if __name__ == "__main__":
    with own_process_streams():
        serve_stdio(state=state_of(max_request_bytes=100_000))
