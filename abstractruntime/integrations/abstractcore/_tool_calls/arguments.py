"""The one place where arguments of a call get the form in which they are executed (`spec/04 §7.2`).

Models wrap, misspell and rename arguments. Whoever judges a call (the workspace policy, a person who
approves) must see what will be executed, so everything that mends arguments is here, and applied to its own
answer it changes nothing more (`spec/04 §16.13`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from .shapes import json_object, parsed_arguments

__all__ = [
    "AnyParameters",
    "Parameters",
    "canonical_arguments",
    "may_become",
    "normalised",
    "parameters_of",
    "unwrapped",
]

_MAX_LEVELS = 4
_WRAPPER_KEYS = frozenset({"name", "arguments", "call_id", "id"})

_FILE, _FOLDER = ("file_path",), ("directory_path", "path")
_SYNONYMS: dict[str, tuple[str, ...]] = {
    "path": ("file_path", "directory_path", "path"),
    "filename": _FILE,
    "filepath": _FILE,
    "dir": _FOLDER,
    "directory": _FOLDER,
    "folder": _FOLDER,
    "query": ("pattern", "query"),
    "regex": ("pattern", "regex"),
    "start": ("start_line", "start"),
    "end": ("end_line", "end"),
    "startlineoneindexed": ("start_line",),
    "endlineoneindexedinclusive": ("end_line",),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a callable accepts by name.

    Attributes:
        names: its parameters, in order.
        accepts_others: it takes ``**kwargs``.
    """

    names: tuple[str, ...] = ()
    accepts_others: bool = False


AnyParameters = Parameters(accepts_others=True)
"""Of a tool whose signature nobody here can see."""

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parameters_of(function: Callable[..., Any]) -> Parameters:
    """What ``function`` accepts; anything, if it has no readable signature."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return AnyParameters
    return Parameters(
        tuple(parameter.name for parameter in parameters if parameter.kind in _BY_NAME),
        any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters),
    )


def canonical_arguments(arguments: Any, parameters: Parameters) -> dict[str, Any]:
    """The arguments as a tool with these parameters is called: unwrapped, respelt, renamed, filtered.

    Raises:
        ValueError: see `unwrapped`.
    """
    given = unwrapped(arguments)
    made = {key: value for key, value in given.items() if key in parameters.names}
    others = {key: value for key, value in given.items() if key not in made}
    for find in (_respelt, _renamed):
        for key in list(others):
            target = find(key, parameters.names, made)
            if target is not None:
                made[target] = others.pop(key)
    return {**made, **others} if parameters.accepts_others else made


def unwrapped(arguments: Any) -> dict[str, Any]:
    """The arguments without the call they were wrapped in, as in ``{"arguments": {"file_path": ...}}``.

    The inner ones win over those beside the wrapper.

    Raises:
        ValueError: they are wrapped more than four times: what is inside could be taken out later, by
            somebody who judges nothing.
    """
    made = parsed_arguments(arguments)
    for _ in range(_MAX_LEVELS):
        inner = _inner(made)
        if inner is None:
            return made
        beside = {key: value for key, value in made.items() if key not in _WRAPPER_KEYS}
        made = {**beside, **inner}
    if _inner(made) is not None:
        raise ValueError(f"Tool arguments are wrapped in 'arguments' more than {_MAX_LEVELS} times")
    return made


def may_become(key: str, name: str) -> bool:
    """Whether somebody who mends arguments may take ``key`` for the parameter ``name``."""
    return normalised(key) == normalised(name) or name in _SYNONYMS.get(normalised(key), ())


def _inner(arguments: dict[str, Any]) -> dict[str, Any] | None:
    inner = arguments.get("arguments")
    if isinstance(inner, str):
        return json_object(inner)
    return inner if isinstance(inner, dict) else None


def normalised(key: str) -> str:
    """The key without case, spaces, underscores and hyphens."""
    return key.lower().replace(" ", "").replace("_", "").replace("-", "")


def _respelt(key: str, names: Collection[str], taken: Collection[str]) -> str | None:
    plain = normalised(str(key))
    return next((name for name in names if normalised(name) == plain and name not in taken), None)


def _renamed(key: str, names: Collection[str], taken: Collection[str]) -> str | None:
    synonyms = _SYNONYMS.get(normalised(str(key)), ())
    return next((name for name in synonyms if name in names and name not in taken), None)
