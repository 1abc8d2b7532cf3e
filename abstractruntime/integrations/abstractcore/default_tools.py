"""The default toolsets: AbstractCore's file, web, system and message tools (`spec/04 §8`).

Importing this module loads nothing of AbstractCore; asking for tools imports the modules of the toolsets
that are switched on. Tools that write to people (``comms``) are off unless an environment variable says so:
``ABSTRACT_ENABLE_COMMS_TOOLS``, or one of ``ABSTRACT_ENABLE_EMAIL_TOOLS``,
``ABSTRACT_ENABLE_WHATSAPP_TOOLS``, ``ABSTRACT_ENABLE_TELEGRAM_TOOLS``. All are read on every call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from ._default_tools.catalogue import (
    Tool,
    Toolset,
    comms_tools_enabled,
    email_tools_enabled,
    enabled_toolsets,
    load_tools,
    telegram_tools_enabled,
    tool_name,
    whatsapp_tools_enabled,
)
from ._default_tools.specs import (
    OPEN_ATTACHMENT,
    OPEN_ATTACHMENT_TOOLSET,
    ToolSpec,
    open_attachment_spec,
    tool_spec,
)

__all__ = [
    "build_default_tool_map",
    "comms_tools_enabled",
    "email_tools_enabled",
    "filter_tool_specs",
    "get_default_tools",
    "get_default_toolsets",
    "list_default_tool_specs",
    "telegram_tools_enabled",
    "whatsapp_tools_enabled",
]


class DefaultToolset(TypedDict):
    """One toolset with its callables."""

    id: str
    label: str
    tools: list[Tool]


def get_default_toolsets() -> dict[str, DefaultToolset]:
    """The toolsets that are switched on now, by id: files, web, system, comms (`spec/04 §8.1`).

    Raises:
        ImportError: AbstractCore is not installed, or too old or new; the message says what to install.
    """
    return {
        each.id: {"id": each.id, "label": each.label, "tools": load_tools(each)}
        for each in enabled_toolsets()
    }


def get_default_tools() -> list[Tool]:
    """All callables of the toolsets that are switched on, the first of each name."""
    return list(build_default_tool_map().values())


def build_default_tool_map() -> dict[str, Tool]:
    """The same by name, for `MappingToolExecutor`. ``open_attachment`` has no callable and is not in it."""
    tools: dict[str, Tool] = {}
    for toolset in get_default_toolsets().values():
        for tool in toolset["tools"]:
            tools.setdefault(tool_name(tool), tool)
    return tools


def list_default_tool_specs() -> list[ToolSpec]:
    """What models are told about each tool, by toolset and name, as JSON-like data of the caller's own.

    Keys: ``name``, ``description``, ``parameters`` (argument → ``{"type", "default"?, ...}``; without a
    ``default`` it is required), ``toolset``, and where they apply ``required_args``, ``when_to_use``,
    ``examples``, ``tags``. The spec-only ``open_attachment`` is among them (`spec/04 §7.7`).
    """
    specs = [spec for toolset in enabled_toolsets() for spec in _specs(toolset)]
    return sorted(specs, key=lambda spec: (spec["toolset"], spec["name"]))


def filter_tool_specs(tool_names: Iterable[str]) -> list[ToolSpec]:
    """The specs of these tools, in this order, each once; names that are not offered are left out.

    Imports the modules of the toolsets concerned only: ``open_attachment`` alone needs no AbstractCore.
    """
    wanted = dict.fromkeys(tool_names)
    by_name = {
        spec["name"]: spec
        for toolset in enabled_toolsets()
        if not wanted.keys().isdisjoint(toolset.tool_names)
        for spec in _specs(toolset)
    }
    if OPEN_ATTACHMENT in wanted:
        by_name[OPEN_ATTACHMENT] = open_attachment_spec()
    return [by_name[name] for name in wanted if name in by_name]


def _specs(toolset: Toolset) -> list[ToolSpec]:
    specs = [tool_spec(tool, toolset=toolset.id) for tool in load_tools(toolset)]
    return [*specs, open_attachment_spec()] if toolset.id == OPEN_ATTACHMENT_TOOLSET else specs
