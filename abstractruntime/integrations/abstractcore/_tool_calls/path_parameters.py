"""Which parameters of which tools are paths (`spec/04 §10`, §16.14).

The workspace policy can only judge what it knows to be a path. The default tools are known here; a host says
it of its own with `path_parameters`, or by name where its executor is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from abstractruntime.core.errors import InvalidInputError

__all__ = [
    "PathField",
    "declared_paths",
    "known_field",
    "known_paths",
    "path_parameters",
    "paths_of_function",
]

_ATTRIBUTE = "__workspace_paths__"
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class PathField:
    """The one parameter by which a default tool takes its path, or paths.

    Attributes:
        name: the parameter.
        aliases: other names by which models give it.
        many: it takes a list.
        needed: a call without it is refused; else the workspace root stands in.
    """

    name: str
    aliases: tuple[str, ...] = ()
    many: bool = False
    needed: bool = True


_ONE_FILE = PathField("file_path", ("path", "filename", "file"))

_FIELDS: Mapping[str, PathField] = MappingProxyType(
    {
        "list_files": PathField("directory_path", ("path", "directory", "dir", "folder"), needed=False),
        "search_files": PathField("path", ("file_path", "directory_path"), needed=False),
        "execute_command": PathField("working_directory", needed=False),
        "read_file": _ONE_FILE,
        "write_file": _ONE_FILE,
        "edit_file": _ONE_FILE,
        "analyze_code": _ONE_FILE,
        "analyze_media": _ONE_FILE,
        "skim_files": PathField("paths", ("path", "file_path", "filename", "file"), many=True),
        "skim_folders": PathField("paths", ("path", "directory_path", "folder"), many=True),
    }
)

_ELSEWHERE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "open_attachment": (),
        "web_search": (),
        "fetch_url": (),
        "skim_url": (),
        "skim_websearch": (),
        "list_email_accounts": (),
        "list_email_folders": (),
        "list_emails": (),
        "search_emails": (),
        "read_email": (),
        "send_email": ("attachments",),
        "reply_email": ("attachments",),
        "get_email_attachment": ("output_dir",),
        "send_whatsapp_message": (),
        "list_whatsapp_messages": (),
        "read_whatsapp_message": (),
        "send_telegram_message": (),
        "send_telegram_artifact": (),
    }
)
"""AbstractCore's other tools."""


def path_parameters(*names: str) -> Callable[[_Function], _Function]:
    """Declare which parameters of the decorated tool are paths (text, or a list of texts); none for a tool
    that touches no files::

        @path_parameters("source", "target")
        def copy_file(source: str, target: str) -> str: ...

    Raises:
        InvalidInputError: a name that is no text.
    """
    checked = declared_paths(names)

    def declare(function: _Function) -> _Function:
        setattr(function, _ATTRIBUTE, checked)
        return function

    return declare


def declared_paths(names: Iterable[str]) -> tuple[str, ...]:
    """The names, checked.

    Raises:
        InvalidInputError: a text instead of several, or a name that is none.
    """
    found = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in found):
        raise InvalidInputError(f"Path parameters must be names, like ['source', 'target'], not {names!r}")
    return found


def paths_of_function(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """What `path_parameters` has declared of it."""
    declared: tuple[str, ...] | None = getattr(function, _ATTRIBUTE, None)
    return declared


def known_field(tool_name: str) -> PathField | None:
    """How a default file tool takes its path."""
    return _FIELDS.get(tool_name)


def known_paths(tool_name: str) -> tuple[str, ...] | None:
    """The path parameters of AbstractCore's tools without a `PathField`; ``None`` = not one of them."""
    return _ELSEWHERE.get(tool_name)
