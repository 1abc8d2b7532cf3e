"""A run and its descendants."""

from __future__ import annotations

import logging
from collections import deque

from .ports import RunPort, best_effort

__all__ = ["MAX_RUNS", "run_tree"]

logger = logging.getLogger(__name__)

MAX_RUNS = 5000
"""Most runs of one tree in a bundle."""


def run_tree(store: RunPort, root_id: str) -> list[str]:
    """Ids of the run and all its descendants, breadth first, each once; what is beyond the limit is left out
    and reported in the log. A store without ``list_children`` knows the root only."""
    found = {root_id: None}
    queue = deque([root_id])
    while queue:
        for child_id in _children(store, queue.popleft()):
            if child_id in found:
                continue
            if len(found) >= MAX_RUNS:
                logger.warning("history of run '%s' is cut after %s runs", root_id, MAX_RUNS)
                return list(found)
            found[child_id] = None
            queue.append(child_id)
    return list(found)


def _children(store: RunPort, parent_id: str) -> list[str]:
    list_children = getattr(store, "list_children", None)
    if list_children is None:
        return []
    none: list[str] = []
    return best_effort(
        f"children of run '{parent_id}'",
        lambda: [child.run_id for child in list_children(parent_run_id=parent_id)],
        none,
    )
