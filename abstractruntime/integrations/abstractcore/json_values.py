"""Whatever a provider or tool returned, as JSON-like data (`spec/04 §3`)."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["json_value"]

_SCALARS = (str, int, float, type(None))  # bool is an int
_MAX_DEPTH = 200


def json_value(value: Any) -> Any:
    """A copy made of dicts with string keys, lists and scalars.

    Dataclasses become dicts, objects with ``model_dump()`` or ``dict()`` what those give, tuples and sets
    become lists; everything else, also what is inside itself or too deep, becomes its ``str()``.
    """
    return _render(value, 0, frozenset())


def _render(value: Any, depth: int, outer: frozenset[int]) -> Any:
    if isinstance(value, _SCALARS):
        return value
    if depth > _MAX_DEPTH or id(value) in outer:
        return str(value)
    inside = outer | {id(value)}
    if isinstance(value, dict):
        return {str(key): _render(item, depth + 1, inside) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_render(item, depth + 1, inside) for item in value]
    if isinstance(value, (set, frozenset)):
        return [_render(item, depth + 1, inside) for item in sorted(value, key=repr)]
    data = _as_dict(value)
    return str(value) if data is None else _render(data, depth + 1, inside)


def _as_dict(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, type):
        return None
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    for method in ("model_dump", "dict"):
        convert = getattr(value, method, None)
        if not callable(convert):
            continue
        try:
            data = convert()
        except Exception:  # an object of somebody else's that can't say what it is: its text has to do
            continue
        if isinstance(data, dict):
            return data
    return None
