"""A control command for a run and everything it started (`spec/01 §19`, row 19)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import InvalidInputError
from .models import RunState

__all__ = ["for_descendants"]


def for_descendants(store: Any, run_id: str, act: Callable[[str], RunState]) -> None:
    """Call ``act`` for every run below ``run_id``, parents before their children.

    Children are listed after their parent was acted upon, so one that it starts until then is found too.

    Raises:
        InvalidInputError: the store can't list children.
    """
    list_children = getattr(store, "list_children", None)
    if list_children is None:
        raise InvalidInputError(
            f"cascade=True needs a run store with list_children; {type(store).__name__} has none"
        )
    seen = {run_id}
    level = [run_id]
    while level:
        children = [child.run_id for parent in level for child in list_children(parent_run_id=parent)]
        level = [child for child in dict.fromkeys(children) if child not in seen]
        seen.update(level)
        for child in level:
            act(child)
