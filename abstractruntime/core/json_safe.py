"""Rendering any value as JSON-like data, for records that must be written whatever a host put into a run."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["CYCLE", "MAX_DEPTH", "TOO_DEEP", "json_safe"]

CYCLE = "<cycle>"
TOO_DEEP = "<max_depth>"
MAX_DEPTH = 200

_SCALARS = (str, int, float, type(None))  # bool is an int


def json_safe(value: Any) -> Any:
    """A deep copy of ``value`` made of dicts with string keys, lists and scalars (`spec/01 §10.14`).

    Dataclasses and objects with ``model_dump()`` or ``to_dict()`` become what those give; lists and tuples
    become lists; anything else becomes its ``str()``. A value inside itself becomes ``"<cycle>"``, one more
    than 200 levels down ``"<max_depth>"``. Shares nothing mutable with ``value``. What a conversion method of
    a host's object raises is not caught.
    """
    return _render(value, 0, set())


def _render(value: Any, depth: int, open_ids: set[int]) -> Any:
    """``open_ids``: the containers this call is inside of (a value met twice side by side is no cycle)."""
    if depth > MAX_DEPTH:
        return TOO_DEEP
    if isinstance(value, _SCALARS):
        return value
    identity = id(value)
    if identity in open_ids:
        return CYCLE
    open_ids.add(identity)
    try:
        return _render_container(_as_data(value), depth, open_ids)
    finally:
        open_ids.discard(identity)


def _render_container(data: Any, depth: int, open_ids: set[int]) -> Any:
    # Plain loops: before Python 3.12 a comprehension costs a stack frame per level.
    if isinstance(data, dict):
        rendered: dict[str, Any] = {}
        for key, item in data.items():
            rendered[_key(key)] = _render(item, depth + 1, open_ids)
        return rendered
    if isinstance(data, (list, tuple)):
        items: list[Any] = []
        for item in data:
            items.append(_render(item, depth + 1, open_ids))
        return items
    return data if isinstance(data, _SCALARS) else str(data)


def _as_data(value: Any) -> Any:
    """``value`` as a dict, list or scalar where it offers one, else ``value`` itself."""
    if isinstance(value, (dict, list, tuple, type)):
        return value
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    for method in ("model_dump", "to_dict"):
        convert = getattr(value, method, None)
        if callable(convert):
            data = convert()
            return data if isinstance(data, (dict, list, tuple, *_SCALARS)) else value
    return value


def _key(key: Any) -> str:
    # A member of a str enum is its value, as json.dumps has it; str() would give "Color.RED".
    return str.__str__(key) if isinstance(key, str) else str(key)
