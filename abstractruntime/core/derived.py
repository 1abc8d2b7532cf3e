"""A dict that is computed when somebody looks, and never stored."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import Any

from .vars import NODE_TRACES

__all__ = ["Derived", "without_derived"]

_UNREAD = "(computed when read)"


class Derived(dict[str, Any]):
    """A dict whose content comes from elsewhere (the ledger) on first access.

    It lets ``vars["_runtime"]["node_traces"]`` be served unchanged (`spec/01 §11.1`) without growing the
    checkpoint with every step (`DESIGN §1.5`). What is stored in its place is ``stored``; a deep copy stays
    lazy. Changes made to it live as long as the object (until `refresh`).

    Attributes:
        stored: what the checkpoint has here: nothing, or what an older release kept in it.

    Until it is read it holds one placeholder, because C code such as the JSON encoder asks the bare dict
    whether it is empty before it asks this class for its items.
    """

    def __init__(self, source: Any = (), *, stored: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.stored: dict[str, Any] = stored or {}
        self._source: Callable[[], dict[str, Any]] | None = source if callable(source) else None
        self._filled = self._source is None
        if self._filled:
            super().update(source)
        else:
            super().__setitem__(_UNREAD, None)

    def _fill(self) -> None:
        if self._filled or self._source is None:
            return
        content = self._source()
        self._filled = True
        super().clear()
        super().update(content)

    def refresh(self) -> None:
        """Forget what was computed; the next access computes it again."""
        if self._filled and self._source is not None:
            self._filled = False
            super().clear()
            super().__setitem__(_UNREAD, None)

    def __getitem__(self, key: str) -> Any:
        self._fill()
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._fill()
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self._fill()
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self._fill()
        return super().__reversed__()

    def __len__(self) -> int:
        self._fill()
        return super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __eq__(self, other: object) -> bool:
        """Equal to a dict with the same content, and to what the checkpoint has in its place: the state that
        a runtime gives is the run that its store loads."""
        self._fill()
        if isinstance(other, Derived):
            other._fill()
            return super().__eq__(other)
        return super().__eq__(other) or (isinstance(other, dict) and other == self.stored)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        self._fill()
        return super().__repr__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]  # dict_keys is not constructible
        self._fill()
        return super().keys()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        self._fill()
        return super().values()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        self._fill()
        return super().items()

    def copy(self) -> dict[str, Any]:
        self._fill()
        return dict(super().items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()

    def __ior__(self, other: Any) -> Derived:  # type: ignore[override]
        self.update(other)
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        self._fill()
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._fill()
        super().__delitem__(key)

    def setdefault(self, key: str, default: Any = None) -> Any:
        self._fill()
        return super().setdefault(key, default)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self._fill()
        super().update(*args, **kwargs)

    def pop(self, *args: Any) -> Any:
        self._fill()
        return super().pop(*args)

    def popitem(self) -> tuple[str, Any]:
        self._fill()
        return super().popitem()

    def clear(self) -> None:
        self._filled = True
        super().clear()

    def __copy__(self) -> Derived:
        source = self._source if self._source is not None else dict(super().items())
        return Derived(source, stored=self.stored)

    def __deepcopy__(self, memo: dict[int, Any]) -> Derived:
        return self.__copy__()

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return (dict, (self.copy(),))


def without_derived(vars: dict[str, Any]) -> dict[str, Any]:
    """``vars`` as it may be stored: the same object, or a shallow copy without what is computed."""
    runtime = vars.get("_runtime")
    if type(runtime) is not dict:
        return vars
    traces = runtime.get(NODE_TRACES)
    if type(traces) is not Derived:
        return vars
    return {**vars, "_runtime": {**runtime, NODE_TRACES: traces.stored}}
