"""Removing what a policy lets go, in bounded batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from time import monotonic

from abstractruntime.core.errors import InvalidInputError, RuntimeFault, ServiceUnavailableError
from abstractruntime.storage.artifact_base import ArtifactStore
from abstractruntime.storage.command_types import CommandCursorStore
from abstractruntime.storage.run_trees import RunMark
from abstractruntime.storage.snapshots import SnapshotStore

from .commands import PurgeableCommandStore, read_by_all, remove_commands
from .policy import RetentionPolicy, before
from .report import PurgeReport
from .stores import EventInbox, PurgedStores, Tree

__all__ = ["EventInbox", "purge"]

logger = logging.getLogger(__name__)

EVENTS_AT_ONCE = 1000
MAX_RUNS_AT_ONCE = 1000
MAX_SECONDS_AT_ONCE = 0.25
"""A transaction ends after so many runs, or so long; a tree is never divided by this."""


def purge(
    policy: RetentionPolicy,
    *,
    run_store: object,
    ledger_store: object,
    artifact_store: ArtifactStore | None = None,
    snapshot_store: SnapshotStore | None = None,
    inbox: EventInbox | None = None,
    command_store: PurgeableCommandStore | None = None,
    command_cursors: Sequence[CommandCursorStore] = (),
    dry_run: bool = False,
    limit: int | None = None,
    batch: int = 1000,
    now: datetime | None = None,
) -> PurgeReport:
    """Remove the trees of runs that ``policy`` lets go, with their ledgers, artifacts and snapshots.

    Of each tree artifacts and snapshots go first, then ledgers, then runs, the root last: a purge that was
    interrupted is finished by the next one. Over SQL stores ledgers and runs of a batch go in one
    transaction, in which nobody can revive them, and which waits for nobody. Any number of purges may run
    at once.

    Args:
        run_store, ledger_store: decorated or not; see `abstractruntime.storage.run_trees` for what they need.
        artifact_store, snapshot_store: where the runs' artifacts and snapshots are; ``None`` leaves them.
            Contents that several artifacts share stay until the last of these is gone. Stores over one
            database must have been given the same database object.
        inbox: where events are, for ``policy.events``.
        command_store, command_cursors: where commands are and how far their consumers have read, for
            ``policy.commands``. SQL stores know the cursors in their database by themselves.
        dry_run: count only.
        limit: stop before more runs than this are removed (but remove at least one tree).
        batch: how many roots are looked at together.
        now: the time from which ages count; default: this machine's.

    Raises:
        InvalidInputError: a store that can't delete, a limit or batch below 1, ``policy.events`` without an
            inbox, or ``policy.commands`` without a command store and its cursors.
        ServiceUnavailableError: the database can't be reached; what was removed before stays removed.
    """
    if (limit is not None and limit < 1) or batch < 1:
        raise InvalidInputError(f"limit and batch must be at least 1, not {limit} and {batch}")
    if policy.events is not None and inbox is None:
        raise InvalidInputError("The policy lets events go, but no inbox is given: these stores have none")
    if policy.commands is not None and not isinstance(command_store, PurgeableCommandStore):
        raise InvalidInputError(
            "The policy lets commands go, but no command_store is given that has delete_through(seq)"
        )
    stores = PurgedStores(run_store, ledger_store, artifact_store, snapshot_store)
    work = _Purge(policy, stores, now or datetime.now(timezone.utc), limit, dry_run)
    work.remove_trees(batch)
    if inbox is not None and policy.events is not None:
        work.remove_events(inbox, before(work.now, policy.events).timestamp())
    if command_store is not None and policy.commands is not None:
        work.report.commands = remove_commands(
            command_store,
            up_to=read_by_all(command_store, command_cursors),
            sent_before=before(work.now, policy.commands),
            dry_run=dry_run,
        )
    if work.report.runs and not dry_run:  # reads the whole artifact store: not for nothing
        work.report.errors += stores.collect_garbage()
    return work.report


class _Purge:
    def __init__(
        self, policy: RetentionPolicy, stores: PurgedStores, now: datetime, limit: int | None, dry_run: bool
    ) -> None:
        self.policy = policy
        self.stores = stores
        self.now = now if now.tzinfo is not None else now.replace(tzinfo=timezone.utc)
        self.limit = limit
        self.report = PurgeReport(dry_run=dry_run)

    def remove_trees(self, batch: int) -> None:
        for page in self._pages(batch):
            waiting = page
            while waiting and not self.report.more:
                waiting = waiting[self._remove_some(waiting) :]
            if self.report.more:
                return

    def _pages(self, batch: int) -> Iterator[list[Tree]]:
        """Trees that may go, oldest roots first."""
        for status in self.policy.older_than:
            last: RunMark | None = None
            while roots := self.stores.runs.list_oldest_roots(
                status=status,
                updated_before=self.policy.updated_before(status, self.now),
                after=last,
                limit=batch,
            ):
                trees = self.stores.runs.list_trees([root.run_id for root in roots]).values()
                due = [
                    tree for tree in trees if all(self.policy.lets_go(member, self.now) for member in tree)
                ]
                self.report.kept_trees += len(trees) - len(due)
                yield due
                last = roots[-1]

    def _remove_some(self, trees: Sequence[Tree]) -> int:
        """Deal with the first of these trees, as many as fit in one transaction; how many."""
        chosen = self._within_bounds(trees)
        if self.report.dry_run:
            self.report.add(self.stores.count(_ids(chosen)))
            return len(chosen)
        try:
            return self._remove_together(chosen)
        except ServiceUnavailableError:
            raise
        except (RuntimeFault, ValueError, OSError) as exc:
            if len(chosen) > 1:  # the others must not stay because of one
                return sum(self._remove_some([tree]) for tree in chosen)
            problem = f"run '{chosen[0][-1].run_id}' could not be removed: {exc}"
            logger.warning("purge: %s", problem)
            self.report.errors.append(problem)
            return 1

    def _within_bounds(self, trees: Sequence[Tree]) -> list[Tree]:
        chosen: list[Tree] = []
        runs = 0
        for tree in trees:
            over_limit = self.limit is not None and self.report.runs + runs + len(tree) > self.limit
            if over_limit and self.report.runs + runs:
                self.report.more = not chosen
                break
            if chosen and runs + len(tree) > MAX_RUNS_AT_ONCE:
                break
            chosen.append(tree)
            runs += len(tree)
        return chosen

    def _remove_together(self, trees: Sequence[Tree]) -> int:
        stores, done = self.stores, PurgeReport()
        gone: list[str] = []
        end = monotonic() + MAX_SECONDS_AT_ONCE
        with stores.together():
            untouched = stores.untouched(trees)
            for part in [[tree] for tree in untouched] if stores.has_slow_payloads() else [untouched]:
                if gone and monotonic() > end:
                    trees = trees[: trees.index(part[0])]
                    break
                run_ids = _ids(part)
                done.add(stores.count(run_ids))
                stores.remove_payloads(run_ids)
                gone += run_ids
            stores.remove_runs(gone)
        self.report.add(done)
        return len(trees)

    def remove_events(self, inbox: EventInbox, added_before: float) -> None:
        if self.report.dry_run:
            self.report.events = inbox.count_expired_events(added_before=added_before)
            return
        while removed := inbox.delete_expired_events(added_before=added_before, limit=EVENTS_AT_ONCE):
            self.report.events += removed


def _ids(trees: Sequence[Tree]) -> list[str]:
    return [member.run_id for tree in trees for member in tree]
