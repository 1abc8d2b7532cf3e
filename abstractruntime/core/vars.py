"""The namespaces inside ``run.vars``, and paths into it (`spec/01 §6`).

A top-level key that begins with ``_`` belongs to the runtime, not to the user: exports leave it out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from .errors import InvalidInputError

__all__ = [
    "CONTEXT",
    "DEFAULT_MAX_TOKENS",
    "LIMITS",
    "NODE_TRACES",
    "RUNTIME",
    "SCRATCHPAD",
    "TEMP",
    "PathToken",
    "Vars",
    "clear_temp",
    "default_limits",
    "ensure_limits",
    "ensure_namespaces",
    "get_context",
    "get_limits",
    "get_namespace",
    "get_node_trace",
    "get_node_traces",
    "get_runtime",
    "get_scratchpad",
    "get_temp",
    "parse_vars_path",
    "resolve_vars_path",
    "set_result_path",
]

CONTEXT = "context"
SCRATCHPAD = "scratchpad"
RUNTIME = "_runtime"
TEMP = "_temp"
LIMITS = "_limits"
NODE_TRACES = "node_traces"

DEFAULT_MAX_TOKENS = 32768
"""The context window assumed when neither configuration nor model says one, in tokens."""

Vars: TypeAlias = dict[str, Any]
PathToken: TypeAlias = str | int

_NAMESPACES = (CONTEXT, SCRATCHPAD, RUNTIME, TEMP)
_BRACKETED = re.compile(r"([^\[\]]*)((?:\[[^\[\]]*\])+)")
_MAX_INDEX_DIGITS = 640


class _PaddedIndex(int):
    """A list index written with leading zeros; remembers its text, which may be a key of an object."""

    text: str


def ensure_namespaces(vars: Vars) -> Vars:
    """Make ``context``, ``scratchpad``, ``_runtime`` and ``_temp`` objects, in place; returns ``vars``.

    A value of another type under one of these names is replaced by an empty object.
    """
    for name in _NAMESPACES:
        if not isinstance(vars.get(name), dict):
            vars[name] = {}
    return vars


def get_namespace(vars: Vars, key: str) -> Vars:
    """The live object under ``key``, after `ensure_namespaces`.

    Raises:
        KeyError: ``key`` is none of the four namespaces and not in ``vars``.
    """
    namespace: Vars = ensure_namespaces(vars)[key]
    return namespace


def get_context(vars: Vars) -> Vars:
    """The live ``context``: what the user sees (task, messages, attachments)."""
    return get_namespace(vars, CONTEXT)


def get_scratchpad(vars: Vars) -> Vars:
    """The live ``scratchpad``: working memory of the workflow."""
    return get_namespace(vars, SCRATCHPAD)


def get_runtime(vars: Vars) -> Vars:
    """The live ``_runtime``: metadata of runtime and host."""
    return get_namespace(vars, RUNTIME)


def get_temp(vars: Vars) -> Vars:
    """The live ``_temp``: values handed from step to step."""
    return get_namespace(vars, TEMP)


def clear_temp(vars: Vars) -> None:
    """Empty ``_temp`` in place."""
    get_temp(vars).clear()


def default_limits() -> Vars:
    """A fresh copy of the nine limits of a run that nobody configured (`spec/01 §4.1`)."""
    return {
        "max_iterations": 25,
        "current_iteration": 0,
        "max_tokens": DEFAULT_MAX_TOKENS,
        "max_output_tokens": None,
        "max_input_tokens": None,
        "max_history_messages": -1,
        "estimated_tokens_used": 0,
        "warn_iterations_pct": 80,
        "warn_tokens_pct": 80,
    }


def ensure_limits(vars: Vars) -> Vars:
    """The live ``_limits``; set to `default_limits` first when missing or not an object."""
    limits = vars.get(LIMITS)
    if not isinstance(limits, dict):
        limits = vars[LIMITS] = default_limits()
    return limits


def get_limits(vars: Vars) -> Vars:
    """Same as `ensure_limits`."""
    return ensure_limits(vars)


def get_node_traces(vars: Vars) -> Vars:
    """The live ``_runtime.node_traces``, created when missing or not an object."""
    runtime = get_runtime(vars)
    traces = runtime.get(NODE_TRACES)
    if not isinstance(traces, dict):
        traces = runtime[NODE_TRACES] = {}
    return traces


def get_node_trace(vars: Vars, node_id: str) -> Vars:
    """The stored trace of ``node_id``, else an empty one that is not stored. Reads only."""
    runtime = vars.get(RUNTIME)
    traces = runtime.get(NODE_TRACES) if isinstance(runtime, dict) else None
    trace = traces.get(node_id) if isinstance(traces, dict) else None
    return trace if isinstance(trace, dict) else {"node_id": node_id, "steps": []}


def parse_vars_path(path: str | None) -> list[PathToken]:
    """Split a path into keys and list indices.

    ``/a/0/b`` is read as a JSON pointer (``~1`` is ``/``, ``~0`` is ``~``), anything else as dots and
    brackets (``a.0.b``, ``a[0].b``, ``[3].a``). Empty parts are dropped; all-digit parts become ``int``.
    There is no negative indexing: ``a[-1]`` names a key ``-1``. A part whose brackets don't match is a key.
    ``None``, blank and ``/`` are the root: ``[]``.
    """
    text = "" if path is None else str(path).strip()
    if text.startswith("/"):
        parts = [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]
    else:
        parts = [piece for part in text.split(".") for piece in _split_brackets(part)]
    return [_token(part) for part in parts if part]


def _split_brackets(part: str) -> list[str]:
    match = _BRACKETED.fullmatch(part)
    if match is None:
        return [part]
    name, brackets = match.groups()
    return [name, *(inner.strip() for inner in brackets[1:-1].split("]["))]


def _token(part: str) -> PathToken:
    # ASCII only: isdigit() alone also accepts characters that int() refuses. Longer numbers than the limit
    # may be refused by int() too (the interpreter guards against slow conversions); they can only be keys.
    if not (part.isascii() and part.isdigit()) or len(part) > _MAX_INDEX_DIGITS:
        return part
    if part[0] != "0" or part == "0":
        return int(part)
    index = _PaddedIndex(part)
    index.text = part
    return index


def resolve_vars_path(root: Any, tokens: Sequence[PathToken]) -> Any:
    """The live value that ``tokens`` lead to from ``root``.

    An index that meets an object is looked up as that object's key (``a.0`` finds ``{"a": {"0": …}}``).

    Raises:
        InvalidInputError: (a ``ValueError``) nothing is there; the message says what and where.
    """
    value = root
    for depth, token in enumerate(tokens):
        value = _child(value, token, above=tokens[:depth])
    return value


def _child(value: Any, token: PathToken, *, above: Sequence[PathToken]) -> Any:
    found = type(value).__name__
    if isinstance(token, int):
        if isinstance(value, dict) and _text(token) in value:
            return value[_text(token)]
        if not isinstance(value, list):
            raise InvalidInputError(f"Expected list at {_where(above)} but found {found}")
        if not 0 <= token < len(value):
            raise InvalidInputError(f"Index {token} out of range at {_where(above)} (len={len(value)})")
        return value[token]
    if not isinstance(value, dict):
        raise InvalidInputError(f"Expected object at {_where(above)} but found {found}")
    if token not in value:
        raise InvalidInputError(f"Missing key '{token}' at {_where(above)}")
    return value[token]


def _text(token: PathToken) -> str:
    return token.text if isinstance(token, _PaddedIndex) else str(token)


def _where(tokens: Sequence[PathToken]) -> str:
    return ".".join(_text(token) for token in tokens) or "(root)"


def set_result_path(vars: Vars, dotted: str, value: Any) -> None:
    """Assign ``value`` at a result key such as ``scratchpad.answer``, in place (`spec/01 §6.1`).

    The key is split at dots and nothing else: no brackets, no escapes, and digits are keys of objects. What
    stands in the way is lost: a missing, scalar or list value on the way is **replaced** by an object
    (``{"a": 5}`` with ``a.b`` becomes ``{"a": {"b": value}}``). ``value`` is stored as it is, not copied.

    Raises:
        InvalidInputError: ``dotted`` is empty.
    """
    if not dotted:
        raise InvalidInputError(
            "result_key is empty; name a path such as 'scratchpad.answer', or leave it out"
        )
    *parents, last = dotted.split(".")
    target = vars
    for name in parents:
        below = target.get(name)
        if not isinstance(below, dict):
            below = target[name] = {}
        target = below
    target[last] = value
