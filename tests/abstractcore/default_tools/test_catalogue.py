"""Which toolsets there are, and when messages may be sent (`spec/04 §8`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from abstractruntime.integrations.abstractcore import default_tools
from abstractruntime.integrations.abstractcore.default_tools import (
    build_default_tool_map,
    comms_tools_enabled,
    email_tools_enabled,
    filter_tool_specs,
    get_default_tools,
    get_default_toolsets,
    list_default_tool_specs,
    telegram_tools_enabled,
    whatsapp_tools_enabled,
)

SWITCHES = {
    "ABSTRACT_ENABLE_COMMS_TOOLS",
    "ABSTRACT_ENABLE_EMAIL_TOOLS",
    "ABSTRACT_ENABLE_WHATSAPP_TOOLS",
    "ABSTRACT_ENABLE_TELEGRAM_TOOLS",
}
FILES = [
    "list_files",
    "skim_folders",
    "search_files",
    "analyze_code",
    "skim_files",
    "read_file",
    "write_file",
    "edit_file",
]
WEB = ["web_search", "fetch_url"]
SYSTEM = ["execute_command"]
EMAIL = ["list_email_accounts", "send_email", "list_emails", "read_email"]
WHATSAPP = ["send_whatsapp_message", "list_whatsapp_messages", "read_whatsapp_message"]
TELEGRAM = ["send_telegram_message", "send_telegram_artifact"]


@pytest.fixture
def abstractcore() -> ModuleType:
    module: ModuleType = pytest.importorskip("abstractcore", reason="needs abstractruntime[abstractcore]")
    return module


@pytest.fixture(autouse=True)
def _all_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("abstractcore")
def test_the_catalogue_without_switches() -> None:
    toolsets = get_default_toolsets()
    assert list(toolsets) == ["files", "web", "system"]
    assert [each["label"] for each in toolsets.values()] == ["Files", "Web", "System"]
    assert [each["id"] for each in toolsets.values()] == list(toolsets)
    named = {key: [tool.__name__ for tool in each["tools"]] for key, each in toolsets.items()}
    assert named == {"files": FILES, "web": WEB, "system": SYSTEM}


@pytest.mark.usefixtures("abstractcore")
def test_tools_and_map_have_each_name_once_and_no_open_attachment() -> None:
    assert [tool.__name__ for tool in get_default_tools()] == FILES + WEB + SYSTEM
    tool_map = build_default_tool_map()
    assert list(tool_map) == FILES + WEB + SYSTEM
    assert all(callable(tool) for tool in tool_map.values())


@pytest.mark.parametrize(
    ("switch", "offered"),
    [
        ("ABSTRACT_ENABLE_COMMS_TOOLS", EMAIL + WHATSAPP + TELEGRAM),
        ("ABSTRACT_ENABLE_EMAIL_TOOLS", EMAIL),
        ("ABSTRACT_ENABLE_WHATSAPP_TOOLS", WHATSAPP),
        ("ABSTRACT_ENABLE_TELEGRAM_TOOLS", TELEGRAM),
    ],
)
@pytest.mark.usefixtures("abstractcore")
def test_a_switch_offers_its_group(switch: str, offered: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "comms" not in get_default_toolsets()
    monkeypatch.setenv(switch, " Yes ")
    toolsets = get_default_toolsets()
    assert list(toolsets) == ["files", "web", "system", "comms"]
    assert [tool.__name__ for tool in toolsets["comms"]["tools"]] == offered
    assert toolsets["comms"]["label"] == "Comms"
    assert set(offered) <= set(build_default_tool_map())
    monkeypatch.setenv(switch, "no")
    assert "comms" not in get_default_toolsets()


def test_the_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (email_tools_enabled, whatsapp_tools_enabled, telegram_tools_enabled)
    assert not comms_tools_enabled()
    assert [each() for each in asked] == [False, False, False]
    for position, name in enumerate(("EMAIL", "WHATSAPP", "TELEGRAM")):
        with monkeypatch.context() as only:
            only.setenv(f"ABSTRACT_ENABLE_{name}_TOOLS", "1")
            assert [each() for each in asked] == [position == place for place in range(3)]
            assert comms_tools_enabled()
    monkeypatch.setenv("ABSTRACT_ENABLE_COMMS_TOOLS", "on")
    assert all(each() for each in asked)
    assert comms_tools_enabled()


def _loaded_after(code: str, env: dict[str, str]) -> list[str]:
    """The AbstractCore tool modules that are loaded after the code, in a process of its own."""
    script = (
        f"{code}\nimport sys, json\n"
        "print(json.dumps(sorted(name for name in sys.modules if name.startswith('abstractcore.tools.'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return [name.rpartition(".")[2] for name in names]


@pytest.fixture
def plain_env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SWITCHES}


PACKAGE = "abstractruntime.integrations.abstractcore"


def test_importing_the_module_loads_nothing(plain_env: dict[str, str]) -> None:
    assert _loaded_after(f"import {PACKAGE}.default_tools, {PACKAGE}.mcp_worker", plain_env) == []


@pytest.mark.usefixtures("abstractcore")
def test_only_modules_of_chosen_toolsets_are_loaded(plain_env: dict[str, str]) -> None:
    everything = f"from {PACKAGE}.default_tools import get_default_toolsets; get_default_toolsets()"
    loaded = _loaded_after(everything, plain_env)
    assert "common_tools" in loaded
    assert not {"comms_tools", "telegram_tools"} & set(loaded)

    worker = f"from {PACKAGE}.mcp_worker import build_worker_state; build_worker_state(toolsets=['comms'])"
    loaded = _loaded_after(worker, {**plain_env, "ABSTRACT_ENABLE_TELEGRAM_TOOLS": "1"})
    assert "telegram_tools" in loaded
    assert not {"comms_tools", "common_tools"} & set(loaded)


@pytest.mark.usefixtures("abstractcore")
def test_a_tool_that_is_missing_from_abstractcore_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from abstractcore.tools import common_tools

    monkeypatch.delattr(common_tools, "skim_files")
    with pytest.raises(ImportError, match=r"common_tools has no skim_files: .*abstractcore>=2\.30,<3"):
        get_default_toolsets()


def test_without_abstractcore_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "abstractcore", None)
    monkeypatch.delitem(sys.modules, "abstractcore.tools", raising=False)
    monkeypatch.delitem(sys.modules, "abstractcore.tools.common_tools", raising=False)
    with pytest.raises(ImportError, match=r'pip install "abstractruntime\[abstractcore\]"'):
        build_default_tool_map()
    assert [spec["name"] for spec in filter_tool_specs(["open_attachment"])] == ["open_attachment"]


@pytest.mark.usefixtures("abstractcore")
def test_everything_public_is_exported() -> None:
    assert all(hasattr(default_tools, name) for name in default_tools.__all__)
    assert len(list_default_tool_specs()) == len(FILES + WEB + SYSTEM) + 1
