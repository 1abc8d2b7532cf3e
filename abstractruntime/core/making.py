"""How objects that every step makes come to their fields without the usual ``__init__``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from typing import Any, TypeVar

__all__ = ["bare", "setters", "wholly_frozen"]

K = TypeVar("K", bound=type)

bare = object.__new__
"""``bare(kind)``: an instance without fields, for who then sets its ``__dict__``. To read ``__new__`` from
``object`` each time takes longer than to call it."""


def setters(kind: type, *names: str) -> tuple[Callable[[object, Any], None], ...]:
    """A function ``set(instance, value)`` for each named slot of ``kind``.

    What a frozen dataclass does by itself, ``object.__setattr__`` by name, takes half as long again.
    """
    return tuple(kind.__dict__[name].__set__ for name in names)


def wholly_frozen(kind: K) -> K:
    """A frozen dataclass with slots that refuses any name as one without slots does.

    The ``__setattr__`` that `dataclasses` makes knows only the class before it got slots, and stumbles over
    names that are no fields.
    """
    names = frozenset(field.name for field in fields(kind))

    def check(instance: object, name: str, verb: str) -> None:
        if type(instance) is kind or name in names:
            raise FrozenInstanceError(f"cannot {verb} field {name!r}")

    def set_attribute(self: object, name: str, value: object) -> None:
        check(self, name, "assign to")
        object.__setattr__(self, name, value)

    def delete_attribute(self: object, name: str) -> None:
        check(self, name, "delete")
        object.__delattr__(self, name)

    kind.__setattr__, kind.__delattr__ = set_attribute, delete_attribute  # type: ignore[method-assign, assignment]
    return kind
