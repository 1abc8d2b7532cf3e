"""A dict that is computed when somebody looks, and never stored."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import Any

__all__ = ["Derived", "without_derived"]


class Derived(dict[str, Any]):
    """A dict whose content comes from elsewhere (the ledger) on first access.

    It lets ``vars["_runtime"]["node_traces"]`` be served unchanged (`spec/01 §11.1`) without growing the
    checkpoint with every step (`DESIGN §1.5`). `RunState.to_dict` leaves it out; a deep copy stays lazy.
    """

    def __init__(self, source: Any = ()) -> None:
        super().__init__()
        self._source: Callable[[], dict[str, Any]] | None = source if callable(source) else None
        if self._source is None:
            super().update(source)

    def _fill(self) -> None:
        if self._source is not None and not dict.__len__(self):
            super().update(self._source())

    def refresh(self) -> None:
        """Forget what was computed; the next access computes it again."""
        if self._source is not None:
            super().clear()

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

    def __len__(self) -> int:
        self._fill()
        return super().__len__()

    def __bool__(self) -> bool:
        return len(self) > 0

    def __eq__(self, other: object) -> bool:
        self._fill()
        return super().__eq__(other)

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

    def __copy__(self) -> Derived:
        return Derived(self._source) if self._source is not None else Derived(dict(super().items()))

    def __deepcopy__(self, memo: dict[int, Any]) -> Derived:
        return self.__copy__()

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return (dict, (self.copy(),))


def without_derived(vars: dict[str, Any]) -> dict[str, Any]:
    """``vars`` as it may be stored: the same object, or a shallow copy without computed views."""
    runtime = vars.get("_runtime")
    if type(runtime) is not dict or not any(type(value) is Derived for value in runtime.values()):
        return vars
    kept = {key: value for key, value in runtime.items() if type(value) is not Derived}
    return {**vars, "_runtime": kept}
