"""What decorators of stores pass on to the store inside: the optional methods it happens to have.

The runtime discovers optional methods by attribute presence (`spec/02 §2.2`), so a decorator has one exactly
if its inner store has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import getattr_static

from .base import LedgerStore, RecordDicts

__all__ = ["LEDGER_OPTIONS", "RUN_OPTIONS", "LedgerDecorator", "stores_inside"]

LEDGER_OPTIONS = frozenset(
    {
        "count",
        "count_many",
        "metrics_many",
        "list_after",
        "last",
        "appending",
        "find_completed",
        "put_back",
        "subscribe",
        "lock_domain",
        "atomic",
        "after_commit",
        "delete",
        "delete_many",
    }
)
RUN_OPTIONS = frozenset(
    {
        "version_of",
        "atomic",
        "delete",
        "delete_many",
        "list_due",
        "list_oldest_roots",
        "list_trees",
        "lock_ended",
        "list_waiting_on",
        "list_wait_keys",
    }
)


class LedgerDecorator(LedgerStore):
    """A ledger around another one; subclasses say what happens at ``append``."""

    def __init__(self, inner: LedgerStore) -> None:
        self._inner = inner

    @property
    def inner(self) -> LedgerStore:
        """The store inside."""
        return self._inner

    def list(self, run_id: str) -> RecordDicts:
        """The records as the store inside has them."""
        return self._inner.list(run_id)

    def __getattr__(self, name: str) -> object:
        # Only reached for names the class does not define; `_inner` itself is missing while unpickling.
        if name in LEDGER_OPTIONS and "_inner" in self.__dict__:
            return getattr(self._inner, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def stores_inside(store: object) -> Iterator[object]:
    """The store and, from the outside in, all stores it decorates.

    Only an ``inner`` that a store really has counts, not what a catch-all ``__getattr__`` (a mock's, say)
    makes up; and no store comes twice.
    """
    seen: set[int] = set()
    while store is not None and id(store) not in seen:
        seen.add(id(store))
        yield store
        has_inner = getattr_static(store, "inner", None) is not None
        store = getattr(store, "inner", None) if has_inner else None
