"""Whether a store's shortcut may stand for the method it is a shortcut of."""

from __future__ import annotations

__all__ = ["has_own"]


def has_own(store: object, name: str, beside: str) -> bool:
    """Whether somebody has put a ``name`` of their own over the one that belongs to ``beside``.

    A host that writes over a ledger's ``list`` (in a subclass, or on the instance) means every read of it,
    also those that the ledger answers from an index (``find_completed``). A store that hands ``beside`` on to
    another one has thereby said that it fits its own ``name``.
    """
    if name in getattr(store, "__dict__", ()):
        return True
    kind = type(store)
    for owner in kind.__mro__:
        if beside in owner.__dict__:
            return getattr(kind, name, None) is not getattr(owner, name, None)
    return False
