"""What models are told about the default tools, and that the tools do it (`spec/04 §8.1`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore._default_tools.specs import tool_spec
from abstractruntime.integrations.abstractcore.default_tools import (
    build_default_tool_map,
    filter_tool_specs,
    list_default_tool_specs,
)

pytest.importorskip("abstractcore", reason="needs abstractruntime[abstractcore]")

SWITCHES = ("COMMS", "EMAIL", "WHATSAPP", "TELEGRAM")


@pytest.fixture(autouse=True)
def _all_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(f"ABSTRACT_ENABLE_{name}_TOOLS", raising=False)


@pytest.fixture
def specs(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    monkeypatch.setenv("ABSTRACT_ENABLE_COMMS_TOOLS", "1")
    return {spec["name"]: spec for spec in list_default_tool_specs()}


def test_specs_are_json_sorted_and_complete(specs: dict[str, dict[str, Any]]) -> None:
    listed = list(specs.values())
    assert json.loads(json.dumps(listed, allow_nan=False)) == listed
    assert [spec["toolset"] for spec in listed] == ["comms"] * 9 + ["files"] * 9 + ["system"] + ["web"] * 2
    keys = [(spec["toolset"], spec["name"]) for spec in listed]
    assert keys == sorted(keys)
    for spec in listed:
        assert spec["description"]
        assert all("type" in parameter for parameter in spec["parameters"].values())


def test_required_arguments_are_those_without_a_default(specs: dict[str, dict[str, Any]]) -> None:
    for name, spec in specs.items():
        without = sorted(key for key, said in spec["parameters"].items() if "default" not in said)
        assert spec.get("required_args", []) == without, name
    assert specs["write_file"]["required_args"] == ["content", "file_path"]


@pytest.mark.parametrize("name", ["skim_files", "skim_folders"])
def test_paths_are_a_required_list(specs: dict[str, dict[str, Any]], name: str) -> None:
    paths = specs[name]["parameters"]["paths"]
    assert {key: paths[key] for key in paths if key != "description"} == {
        "type": "array",
        "items": {"type": "string"},
    }
    assert "paths" in specs[name]["required_args"]


def test_a_string_schema_of_paths_is_presented_as_a_list() -> None:
    def skim_files(paths: str = "", max_output_lines: int = 5, max_chars_per_excerpt: int = 5) -> str:
        """Skim."""
        return paths + str(max_output_lines) + str(max_chars_per_excerpt)

    class Definition:
        def to_dict(self) -> dict[str, Any]:
            return {
                "name": "skim_files",
                "description": "Skim.",
                "parameters": {
                    "paths": {"type": "string", "default": "", "description": "Which files."},
                    "max_output_lines": {"type": "integer", "default": 5},
                    "max_chars_per_excerpt": {"type": "integer", "default": 5},
                },
            }

    skim_files._tool_definition = Definition()  # type: ignore[attr-defined]
    assert tool_spec(skim_files, toolset="files")["parameters"] == {
        "paths": {"type": "array", "items": {"type": "string"}, "description": "Which files."}
    }


def test_a_plain_function_gets_a_spec_from_its_signature() -> None:
    def add(first: int, second: int = 1) -> int:
        """Add two numbers."""
        return first + second

    assert tool_spec(add, toolset="mine") == {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {"first": {"type": "integer"}, "second": {"type": "integer", "default": 1}},
        "required_args": ["first"],
        "toolset": "mine",
    }


def test_internal_parameters_are_not_shown(specs: dict[str, dict[str, Any]]) -> None:
    assert not {"max_output_lines", "max_chars_per_excerpt"} & specs["skim_files"]["parameters"].keys()
    assert {"max_hits", "head_limit"} <= specs["search_files"]["parameters"].keys()


def test_the_spec_of_open_attachment(specs: dict[str, dict[str, Any]]) -> None:
    spec = specs["open_attachment"]
    shown = {key: (said["type"], said["default"]) for key, said in spec["parameters"].items()}
    assert shown == {
        "artifact_id": ("string", None),
        "handle": ("string", None),
        "expected_sha256": ("string", None),
        "start_line": ("integer", 1),
        "end_line": ("integer", None),
        "max_chars": ("integer", 8000),
    }
    assert spec["required_args"] == []
    assert spec["toolset"] == "files"
    arguments = [example["arguments"] for example in spec["examples"]]
    assert "artifact_id" in arguments[0]
    assert "handle" in arguments[1]
    assert arguments[2]["max_chars"] == 0
    from abstractcore.tools.core import ToolDefinition

    told = ("name", "description", "parameters", "when_to_use", "examples")
    ToolDefinition(**{key: spec[key] for key in told})  # AbstractCore's own caps hold for it too


def test_filtered_specs_keep_the_order_asked_for() -> None:
    asked = ["web_search", "nonsense", "open_attachment", "read_file", "web_search", "send_email"]
    assert [spec["name"] for spec in filter_tool_specs(asked)] == [
        "web_search",
        "open_attachment",
        "read_file",
    ]
    assert filter_tool_specs([]) == []


def test_specs_are_the_callers_own() -> None:
    for spec in list_default_tool_specs():
        spec["parameters"].clear()
        spec["name"] = "spoilt"
    again = list_default_tool_specs()
    assert {"read_file", "open_attachment"} <= {spec["name"] for spec in again}
    assert all(spec["parameters"] for spec in again)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        (tmp_path / f"note{number}.txt").write_text("hit\n" * 7, encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inner.txt").write_text("first\nsecond\n", encoding="utf-8")
    return tmp_path


def test_searching_is_bounded_in_files_and_lines(folder: Path) -> None:
    search = build_default_tool_map()["search_files"]
    found = search(pattern="hit", path=str(folder), max_hits=2, head_limit=3)
    assert [line.startswith("📄 ") for line in found.splitlines()].count(True) == 2
    assert sum(line.strip().endswith("hit") for line in found.splitlines()) == 2 * 3


def test_what_reading_and_skimming_look_like(folder: Path) -> None:
    tools = build_default_tool_map()
    inner = folder / "sub" / "inner.txt"
    assert tools["read_file"](file_path=str(inner)).splitlines() == [
        f"File: {inner} (2 lines)",
        "",
        "1: first",
        "2: second",
    ]
    for paths in (str(inner), [str(inner)]):
        skimmed = tools["skim_files"](paths=paths)
        assert "File:" in skimmed
        assert "1: first" in skimmed
        assert "Folder:" in tools["skim_folders"](paths=str(folder))
    assert "sub/ (" in tools["skim_folders"](paths=[str(folder)])
