"""Which toolsets there are, what is in them, and when they are offered (`spec/04 §8.1`, §8.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..flags import env_flag

__all__ = [
    "ALL_TOOLSETS",
    "COMMS",
    "Tool",
    "Toolset",
    "comms_tools_enabled",
    "email_tools_enabled",
    "enabled_toolsets",
    "load_tools",
    "telegram_tools_enabled",
    "tool_name",
    "whatsapp_tools_enabled",
]

Tool = Callable[..., Any]

_ALL_SWITCH = "ABSTRACT_ENABLE_COMMS_TOOLS"
_EMAIL_SWITCH = "ABSTRACT_ENABLE_EMAIL_TOOLS"
_WHATSAPP_SWITCH = "ABSTRACT_ENABLE_WHATSAPP_TOOLS"
_TELEGRAM_SWITCH = "ABSTRACT_ENABLE_TELEGRAM_TOOLS"


def email_tools_enabled() -> bool:
    """Whether the four email tools are offered, by the environment as it is now (`spec/04 §8.2`)."""
    return env_flag(_ALL_SWITCH) or env_flag(_EMAIL_SWITCH)


def whatsapp_tools_enabled() -> bool:
    """Whether the three WhatsApp tools are offered, by the environment as it is now (`spec/04 §8.2`)."""
    return env_flag(_ALL_SWITCH) or env_flag(_WHATSAPP_SWITCH)


def telegram_tools_enabled() -> bool:
    """Whether the two Telegram tools are offered, by the environment as it is now (`spec/04 §8.2`)."""
    return env_flag(_ALL_SWITCH) or env_flag(_TELEGRAM_SWITCH)


def comms_tools_enabled() -> bool:
    """Whether any tool that writes to people is offered: all of them, or one group (`spec/04 §8.2`)."""
    return email_tools_enabled() or whatsapp_tools_enabled() or telegram_tools_enabled()


def _always() -> bool:
    return True


@dataclass(frozen=True)
class ToolGroup:
    """Tools of one AbstractCore module that are switched on together."""

    module: str
    names: tuple[str, ...]
    enabled: Callable[[], bool] = _always


@dataclass(frozen=True)
class Toolset:
    """One entry of the catalogue; its tools are imported only by `load_tools`."""

    id: str
    label: str
    groups: tuple[ToolGroup, ...]

    @property
    def tool_names(self) -> tuple[str, ...]:
        """Its tools, whether they are switched on or not."""
        return tuple(name for group in self.groups for name in group.names)


_COMMON_TOOLS = "abstractcore.tools.common_tools"
_COMMS_TOOLS = "abstractcore.tools.comms_tools"
_TELEGRAM_TOOLS = "abstractcore.tools.telegram_tools"

FILES = Toolset(
    "files",
    "Files",
    (
        ToolGroup(
            _COMMON_TOOLS,
            (
                "list_files",
                "skim_folders",
                "search_files",
                "analyze_code",
                "skim_files",
                "read_file",
                "write_file",
                "edit_file",
            ),
        ),
    ),
)
WEB = Toolset("web", "Web", (ToolGroup(_COMMON_TOOLS, ("web_search", "fetch_url")),))
SYSTEM = Toolset("system", "System", (ToolGroup(_COMMON_TOOLS, ("execute_command",)),))
COMMS = Toolset(
    "comms",
    "Comms",
    (
        ToolGroup(
            _COMMS_TOOLS,
            ("list_email_accounts", "send_email", "list_emails", "read_email"),
            email_tools_enabled,
        ),
        ToolGroup(
            _COMMS_TOOLS,
            ("send_whatsapp_message", "list_whatsapp_messages", "read_whatsapp_message"),
            whatsapp_tools_enabled,
        ),
        ToolGroup(
            _TELEGRAM_TOOLS, ("send_telegram_message", "send_telegram_artifact"), telegram_tools_enabled
        ),
    ),
)
ALL_TOOLSETS = (FILES, WEB, SYSTEM, COMMS)


def enabled_toolsets() -> list[Toolset]:
    """The toolsets that have a tool to offer now, in the order of the catalogue."""
    return [each for each in ALL_TOOLSETS if any(group.enabled() for group in each.groups)]


def load_tools(toolset: Toolset) -> list[Tool]:
    """The toolset's callables in order; imports the modules of its enabled groups and no others.

    Raises:
        ImportError: AbstractCore is not installed, or is a release without one of the tools.
    """
    return [tool for group in toolset.groups if group.enabled() for tool in _load(group.module, group.names)]


def _load(module_name: str, names: Sequence[str]) -> list[Tool]:
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"The default tools need {missing.name!r}, which is not installed: "
            'pip install "abstractruntime[abstractcore]".',
            name=missing.name,
        ) from missing
    absent = [name for name in names if not callable(getattr(module, name, None))]
    if absent:
        raise ImportError(
            f"{module_name} has no {', '.join(absent)}: the default tools need abstractcore>=2.30,<3.",
            name=module_name,
        )
    return [getattr(module, name) for name in names]


def tool_name(tool: Tool) -> str:
    """The name a model calls it by: that of its AbstractCore definition, else the function's."""
    defined = getattr(getattr(tool, "_tool_definition", None), "name", None)
    return defined if isinstance(defined, str) and defined else str(getattr(tool, "__name__", ""))
