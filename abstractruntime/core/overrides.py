"""Whether a store's shortcut may stand for the method it is a shortcut of."""

from __future__ import annotations

from types import FunctionType

__all__ = ["has_own", "is_as_written"]


def has_own(store: object, name: str, beside: str) -> bool:
    """Whether somebody has put a ``name`` of their own over the one that belongs to ``beside``.

    A host that writes over a ledger's ``list`` (in a subclass, or on the instance) means every read of it,
    also those that the ledger answers from an index (``find_completed``). A store that hands ``beside`` on to
    another one has thereby said that it fits its own ``name``.
    """
    kind = type(store)
    if _is_on_instance(store, name):
        return True
    for owner in kind.__mro__:
        if beside in owner.__dict__:
            return getattr(kind, name, None) is not getattr(owner, name, None) or not is_as_written(
                owner, name
            )
    return False


def is_as_written(kind: type, name: str) -> bool:
    """Whether the class still has the method that its source says: nobody has put another in its place, as
    tests do to see the calls."""
    for owner in kind.__mro__:
        if name in owner.__dict__:
            method = owner.__dict__[name]
            return (
                isinstance(method, FunctionType)
                and method.__code__.co_name == name
                and method.__globals__.get("__name__") == owner.__module__
            )
    return False


def _is_on_instance(store: object, name: str) -> bool:
    """Whether the instance has a ``name`` beside its class's method. To look into its ``__dict__`` would slow
    down every later read of its attributes (up to CPython 3.12), so that is left for what is no method."""
    method = getattr(type(store), name, None)
    if isinstance(method, FunctionType):
        return getattr(getattr(store, name), "__func__", None) is not method
    return name in getattr(store, "__dict__", ())
