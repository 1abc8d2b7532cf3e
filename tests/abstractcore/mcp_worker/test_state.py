"""What a worker serves, from the ids of toolsets (`spec/04 §14.2`)."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore._default_tools.catalogue import FILES
from abstractruntime.integrations.abstractcore._mcp_worker.state import _mcp_tool
from abstractruntime.integrations.abstractcore.mcp_worker import McpWorkerState, build_worker_state
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor


@pytest.fixture
def abstractcore() -> None:
    pytest.importorskip("abstractcore", reason="needs abstractruntime[mcp-worker]")


@pytest.fixture(autouse=True)
def _all_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COMMS", "EMAIL", "WHATSAPP", "TELEGRAM"):
        monkeypatch.delenv(f"ABSTRACT_ENABLE_{name}_TOOLS", raising=False)


def names(state: McpWorkerState) -> list[str]:
    return [tool["name"] for tool in state.tools]


@pytest.mark.usefixtures("abstractcore")
def test_the_tools_of_the_toolsets_sorted_by_name() -> None:
    state = build_worker_state(toolsets=["web", "system"])
    assert names(state) == ["execute_command", "fetch_url", "web_search"]
    assert isinstance(state.executor, MappingToolExecutor)
    assert (state.http_require_auth, state.http_auth_token, state.http_allowed_origins) == (False, None, ())
    assert "open_attachment" not in names(build_worker_state(toolsets=["files"]))
    with pytest.raises(FrozenInstanceError):
        state.http_require_auth = True  # type: ignore[misc]


@pytest.mark.usefixtures("abstractcore")
def test_entries_are_json_with_the_required_arguments() -> None:
    tools = {tool["name"]: tool for tool in build_worker_state(toolsets=["files", "web", "system"]).tools}
    assert json.loads(json.dumps(tools, allow_nan=False)) == tools
    assert all(set(tool) == {"name", "description", "inputSchema"} for tool in tools.values())
    schema = tools["write_file"]["inputSchema"]
    assert schema["type"] == "object"
    assert sorted(schema["required"]) == ["content", "file_path"]
    assert schema["properties"]["mode"] == {"type": "string", "default": "w"}
    assert "required" not in tools["list_files"]["inputSchema"]
    assert tools["skim_files"]["inputSchema"]["properties"]["paths"]["type"] == "array"


def test_an_empty_description_is_filled_in() -> None:
    def silent(first: str, second: str = "") -> str:
        return first + second

    class Definition:
        def to_dict(self) -> dict[str, Any]:
            parameters = {
                "first": {"type": "string"},
                "second": {"type": "string", "default": ""},
                "odd": True,
            }
            return {"name": "silent", "description": "", "parameters": parameters}

    silent._tool_definition = Definition()  # type: ignore[attr-defined]
    entry = _mcp_tool(silent, FILES)
    assert entry["description"] == "Tool 'silent'"
    assert entry["inputSchema"]["required"] == ["first", "odd"]


@pytest.mark.usefixtures("abstractcore")
def test_unknown_ids_are_left_out() -> None:
    assert len(names(build_worker_state(toolsets=["nonsense", " web ", "comms", "web"]))) == 2
    assert len(names(build_worker_state(toolsets="web,system"))) == 3


@pytest.mark.parametrize("toolsets", [[], ["nonsense"], ["", "  "], ["comms"], ["nonsense", "comms"]])
def test_nothing_left(toolsets: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^No tools selected\.") as raised:
        build_worker_state(toolsets=toolsets)
    assert "Available: files, web, system." in str(raised.value)
    for name in toolsets:
        assert name.strip() in str(raised.value)


@pytest.mark.weakness("spec/04 §16.28")
def test_strictly_unknown_ids_are_refused() -> None:
    with pytest.raises(ValueError, match=r"can't be served: nonsense, comms\. .*'comms' is switched off"):
        build_worker_state(toolsets=["files", "nonsense", "comms"], strict=True)


@pytest.mark.usefixtures("abstractcore")
def test_messages_are_served_where_they_are_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACT_ENABLE_WHATSAPP_TOOLS", "1")
    assert names(build_worker_state(toolsets=["comms"], strict=True)) == [
        "list_whatsapp_messages",
        "read_whatsapp_message",
        "send_whatsapp_message",
    ]
