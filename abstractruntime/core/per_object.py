"""One value for each object, shared by all who ask with the same object, for as long as it lives."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, TypeVar
from weakref import ref

__all__ = ["PerObject"]

T = TypeVar("T")


class PerObject(Generic[T]):
    """Values by object, safe to share among threads; a value is let go with its object.

    It goes by identity, so that objects without a hash (a dataclass with ``eq``, a subclass of dict) and
    those that only equal each other have values of their own.
    """

    def __init__(self) -> None:
        self._values: dict[int, tuple[ref[Any], T]] = {}
        self._guard = RLock()  # a collection of garbage may call `_forget` inside of `of`

    def of(self, owner: object, make: Callable[[], T]) -> T:
        """The owner's value, made at the first question.

        Nobody is told when an owner without weak references goes (a class with ``__slots__``), so it gets a
        new value each time.
        """
        key = id(owner)
        with self._guard:
            found = self._values.get(key)
            if found is not None and found[0]() is owner:
                return found[1]
            try:
                link = ref(owner, lambda gone: self._forget(key, gone))
            except TypeError:
                return make()
            value = make()
            self._values[key] = (link, value)
            return value

    def _forget(self, key: int, gone: ref[Any]) -> None:
        with self._guard:
            found = self._values.get(key)
            if found is not None and found[0] is gone:  # else the number is another object's by now
                del self._values[key]
