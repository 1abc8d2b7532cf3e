"""A tool's arguments with the paths in them judged and made absolute (`spec/04 §10`, §16.13, §16.14)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from abstractruntime.core.errors import InvalidInputError

from .._tool_calls.arguments import may_become, normalised, unwrapped
from .._tool_calls.path_parameters import PathField, known_field, known_paths
from .._tool_calls.shapes import json_object
from .paths import resolve_user_path
from .scope import WorkspaceScope

__all__ = ["rewrite_tool_arguments", "scoped_arguments", "with_path_of"]


def rewrite_tool_arguments(*, tool_name: str, args: dict[str, Any], scope: WorkspaceScope) -> dict[str, Any]:
    """The arguments of one of the default file tools, for execution inside ``scope``.

    They are unwrapped first; the path parameter gets its own name, an absolute path, and its default (the
    root) where it has one; other names for it are dropped. Arguments of other tools are returned as they are.

    Raises:
        InvalidInputError: (a ``ValueError``) a path is missing or the scope forbids it.
    """
    field = known_field(tool_name)
    return dict(args) if field is None else _rewritten(tool_name, field, unwrapped(args), scope)


def scoped_arguments(
    tool_name: str, args: dict[str, Any], scope: WorkspaceScope, declared: tuple[str, ...] | None
) -> dict[str, Any]:
    """`rewrite_tool_arguments` for any tool: exactly what is executed, or a refusal.

    Args:
        args: canonical, see `_tool_arguments`.
        declared: the tool's path parameters, ``None`` if nobody has declared them. Then, in
            ``workspace_only``, whatever looks like a path is refused: nobody knows where it would lead.

    Raises:
        InvalidInputError: (a ``ValueError``) the scope forbids it, or can't judge it.
    """
    _refuse_wrapped(tool_name, args)
    field = known_field(tool_name) if declared is None else None
    if field is not None:
        _refuse_parent_patterns(tool_name, args)
        return _rewritten(tool_name, field, args, scope)
    names = known_paths(tool_name) if declared is None else declared
    if names is None:
        if scope.access_mode == "workspace_only":
            _refuse_undeclared(tool_name, args)
        return dict(args)
    return {
        key: _resolved_all(value, scope) if _is_one_of(key, names) and value is not None else value
        for key, value in args.items()
    }


def with_path_of(tool_name: str, made: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What an executor has made of the ``given`` arguments of a default file tool, with their path.

    It drops names that the tool doesn't take, and some of them are the path's: ``path`` of ``skim_files``,
    ``file`` of ``read_file``.
    """
    field = known_field(tool_name)
    if field is None or _path_keys(field, made):
        return made
    value = _path_value(given, _path_keys(field, given))
    return made if value is None else {**made, field.name: value}


def _is_one_of(key: str, names: tuple[str, ...]) -> bool:
    return any(may_become(str(key), name) for name in names)


def _refuse_wrapped(tool_name: str, args: dict[str, Any]) -> None:
    """What is in there could be taken out by whoever executes the call, after the paths were judged."""
    inner = args.get("arguments")
    if isinstance(inner, dict) or (isinstance(inner, str) and json_object(inner) is not None):
        raise InvalidInputError(
            f"{tool_name}: arguments inside 'arguments' can't be judged by the workspace policy"
        )


def _refuse_parent_patterns(tool_name: str, args: dict[str, Any]) -> None:
    """Globs of file names, which must not lead out of the folder that was judged."""
    for name in ("file_pattern", *(("pattern",) if tool_name == "list_files" else ())):
        value = args.get(name)
        if isinstance(value, str) and any(_leads_out(part.strip()) for part in value.split("|")):
            raise InvalidInputError(f"{tool_name}: {name} must not leave its folder: '{value}'")


def _rewritten(
    tool_name: str, field: PathField, args: dict[str, Any], scope: WorkspaceScope
) -> dict[str, Any]:
    given = _path_keys(field, args)
    value = _path_value(args, given)
    made = {key: item for key, item in args.items() if key not in given}
    if value is None:
        if field.needed:
            raise InvalidInputError(f"{tool_name} requires {field.name}")
        value = str(scope.root)
    if field.many:
        made[field.name] = [_resolved(item, scope) for item in _items(value)]
    else:
        made[field.name] = _resolved(value, scope)
    return made


def _path_keys(field: PathField, args: dict[str, Any]) -> list[str]:
    """The keys that name the path, the best first."""
    wanted = [normalised(name) for name in (field.name, *field.aliases)]
    given = [key for key in args if normalised(str(key)) in wanted]
    return sorted(given, key=lambda key: (key != field.name, wanted.index(normalised(str(key)))))


def _path_value(args: dict[str, Any], keys: list[str]) -> Any:
    return next((args[key] for key in keys if not _is_blank(args[key])), None)


def _is_blank(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_blank(item) for item in value)
    return value is None or (isinstance(value, str) and not value.strip())


def _items(value: Any) -> list[Any]:
    """One path or several; a list may come as JSON in a text."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):  # a folder may be called so
            parsed = None
        value = parsed if isinstance(parsed, list) else value
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    return [item for item in items if not _is_blank(item)]


def _resolved(value: Any, scope: WorkspaceScope) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"A path must be a text, not {type(value).__name__}")
    return str(resolve_user_path(scope=scope, user_path=value))


def _resolved_all(value: Any, scope: WorkspaceScope) -> Any:
    if isinstance(value, (list, tuple)):
        return [_resolved(item, scope) for item in value]
    return _resolved(value, scope)


_PATH_WORDS = frozenset(
    {
        "path",
        "paths",
        "file",
        "files",
        "filename",
        "filepath",
        "dir",
        "dirs",
        "directory",
        "folder",
        "folders",
    }
)
_ABSOLUTE = re.compile(r"/|~[\w.-]*(/|$)|\\\\|[A-Za-z]:[\\/]|file:")
_MAX_PATH = 4096


def _refuse_undeclared(tool_name: str, args: dict[str, Any]) -> None:
    for name, value in args.items():
        if _is_path_name(str(name)) and any(True for _ in _texts(value)):
            found: str | None = str(name)
        else:
            found = next((f"{name}={text!r}" for text in _texts(value) if _is_path_text(text)), None)
        if found is not None:
            raise InvalidInputError(
                f"Tool '{tool_name}' takes a path ({found}), but its path parameters are not declared: "
                "declare them with path_parameters(...) to use it under workspace_only"
            )


def _is_path_name(name: str) -> bool:
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return bool(words) and words[-1] in _PATH_WORDS


def _is_path_text(text: str) -> bool:
    trimmed = text.strip()
    if not trimmed or len(trimmed) > _MAX_PATH or "\n" in trimmed:
        return False
    return _leads_out(trimmed)


def _leads_out(text: str) -> bool:
    """An absolute path, or one with ``..`` in it."""
    return _ABSOLUTE.match(text) is not None or ".." in re.split(r"[\\/]", text)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value that is not blank."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        yield from _texts_of(value.values())
    elif isinstance(value, (list, tuple)):
        yield from _texts_of(value)


def _texts_of(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield from _texts(value)
