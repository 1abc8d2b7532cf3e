"""Old runs and whole trees of runs: what retention asks of a run store (`spec/02 §2.5`, §15 P-8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any, NamedTuple, Protocol, runtime_checkable

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunStatus

__all__ = [
    "ENDED",
    "DeletableLedgerStore",
    "PurgeableRunStore",
    "RunMark",
    "RunTrees",
    "check_ended",
    "oldest_roots",
    "trees_of",
]

ENDED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)
"""The statuses of runs that never go on by themselves."""


class RunMark(NamedTuple):
    """What is known of a run without its state. Sorts by age, oldest first."""

    updated_at: str
    run_id: str
    status: str


RunTrees = dict[str, list[RunMark]]
"""Root id to the whole tree below it: deepest first, so the root is last."""


@runtime_checkable
class PurgeableRunStore(Protocol):
    """A run store from which old runs can be removed."""

    def delete(self, run_id: str, *, force: bool = False) -> bool:
        """Remove a run; whether there was one. Its ledger stays: that is the ledger store's to delete.

        Args:
            force: also one that has not ended.

        Raises:
            InvalidInputError: it has not ended; nothing was removed.
        """
        ...

    def list_oldest_roots(
        self, *, status: RunStatus, updated_before: str, after: RunMark | None = None, limit: int = 100
    ) -> list[RunMark]:
        """Runs with this status, last updated before that time (as text), whose parent is not in the store.
        Oldest first; ``after`` pages on."""
        ...

    def list_trees(self, root_ids: Sequence[str]) -> RunTrees:
        """Each run with all its descendants; unknown ids are left out."""
        ...


@runtime_checkable
class DeletableLedgerStore(Protocol):
    """A ledger store from which journals can be removed."""

    def delete(self, run_id: str) -> bool:
        """Remove the run's journal; whether there was one. Later records of the run begin a new one."""
        ...


def check_ended(run_id: str, status: RunStatus | str) -> None:
    """Raises InvalidInputError if a run with this status may still go on."""
    if status not in ENDED:
        raise InvalidInputError(
            f"Run '{run_id}' is {RunStatus(status).value}; only ended runs are deleted. Cancel it first, or "
            "pass force=True."
        )


def _mark(row: Mapping[str, Any]) -> RunMark:
    return RunMark(row["updated_at"] or "", row["run_id"], row["status"])


def oldest_roots(
    rows: Sequence[Mapping[str, Any]],
    *,
    status: RunStatus,
    updated_before: str,
    after: RunMark | None,
    limit: int,
) -> list[RunMark]:
    """`PurgeableRunStore.list_oldest_roots` over all rows of a store (as in `list_run_index`)."""
    known = {row["run_id"] for row in rows}
    found = (
        mark
        for row in rows
        if row["status"] == status.value
        and "" < (mark := _mark(row)).updated_at < updated_before
        and (after is None or mark > after)
        and row["parent_run_id"] not in known
    )
    return nsmallest(max(0, limit), found)


def trees_of(rows: Iterable[Mapping[str, Any]], root_ids: Sequence[str]) -> RunTrees:
    """`PurgeableRunStore.list_trees` over all rows of a store."""
    children: defaultdict[str, list[RunMark]] = defaultdict(list)
    roots: dict[str, RunMark] = {}
    wanted = set(root_ids)
    for row in rows:
        mark = _mark(row)
        if mark.run_id in wanted:
            roots[mark.run_id] = mark
        if row["parent_run_id"] and row["parent_run_id"] != mark.run_id:
            children[row["parent_run_id"]].append(mark)
    trees: RunTrees = {}
    for root_id in root_ids:
        if root_id in roots:
            members = [roots[root_id]]
            for member in members:  # grows while it is walked: level after level
                members += children[member.run_id]
            trees[root_id] = members[::-1]
    return trees
