"""Slots over Python objects; see `slots.Slots`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from abstractruntime.core.limit_terms import Scope, Terms
from abstractruntime.core.models import RunStatus

from .checkpoints import ADMITTED, QUEUED
from .in_memory_tables import Row, SlotRow, Tables, put, put_back
from .slots import MAX_CALLS, UNSENT, Usage, Waiter

__all__ = ["InMemorySlots"]

Undo = list[Callable[[], object]]


class InMemorySlots:
    """Writes at once and remembers how to undo."""

    def __init__(self, tables: Tables, clock: Callable[[], float], undo: Undo) -> None:
        self._tables = tables
        self._clock = clock
        self._undo = undo

    def usage(self, key: str, terms: Terms, *, but: str = "") -> Usage:
        now = self._clock()
        rows = [row for row in self._tables.slots.get(key, {}).values() if row.held]
        live = []
        for row in rows:
            run = self._tables.runs.get(row.run_id)
            if _holds(row.terms.scope, run, now):
                if row.run_id != but:
                    live.append((row, run))
            elif _is_over(row.terms.scope, run):
                self._set(key, row.run_id, None)
        ends = [
            run.lease_until
            for row, run in live
            if row.terms.scope is Scope.LEASE and run is not None and run.lease_until is not None
        ]
        since = now - terms.per_s
        claims = [at for at, _ in self._tables.claims.get(key, []) if at > since]
        return Usage(now, len(live), min(ends, default=None), tuple(claims[-(terms.count or 0) :]))

    def held_by(self, run_id: str) -> list[tuple[str, Terms]]:
        return [
            (key, rows[run_id].terms)
            for key, rows in sorted(self._tables.slots.items())
            if run_id in rows and rows[run_id].held
        ]

    def rank_of(self, run_id: str) -> float | None:
        rows = [rows[run_id] for rows in self._tables.slots.values() if run_id in rows]
        return min((row.rank for row in rows if not row.held), default=None)

    def take(self, run_id: str, claims: list[tuple[str, Terms]]) -> None:
        self._leave_lines(run_id)
        now = self._clock()
        for key, terms in claims:
            self._set(key, run_id, SlotRow(run_id, terms, held=True))
            if terms.count is not None:
                self._count(key, terms, now)

    def _count(self, key: str, terms: Terms, now: float) -> None:
        old = self._tables.claims.get(key, [])
        kept = [entry for entry in old if entry[1] > now]
        self._tables.claims[key] = [*kept, (now, now + terms.per_s)]
        self._undo.append(lambda: self._tables.claims.__setitem__(key, old))

    def queue_up(self, key: str, run_id: str, version: int, terms: Terms, rank: float) -> None:
        self._leave_lines(run_id)
        self._set(key, run_id, SlotRow(run_id, terms, held=False, version=version, rank=rank))

    def _leave_lines(self, run_id: str) -> None:
        for key, rows in list(self._tables.slots.items()):
            if run_id in rows and not rows[run_id].held:
                self._set(key, run_id, None)

    def line(self, key: str, limit: int) -> list[Waiter]:
        found: list[Waiter] = []
        rows = (row for row in self._tables.slots.get(key, {}).values() if not row.held)
        for row in sorted(rows, key=lambda row: (row.rank, row.run_id)):
            if len(found) >= limit:
                break
            if row.calls >= MAX_CALLS:
                continue
            run = self._tables.runs.get(row.run_id)
            if run is None or not _waits(run, row):
                self._set(key, row.run_id, None)
                continue
            seen = run.summary
            found.append(
                Waiter(
                    row.run_id,
                    row.version,
                    row.rank,
                    row.called_at,
                    run.task,
                    seen.current_node,
                    seen.workflow_id,
                )
            )
        return found

    def ahead(self, key: str, rank: float, run_id: str, limit: int) -> int:
        rows = self._tables.slots.get(key, {}).values()
        return min(limit, sum(not row.held and (row.rank, row.run_id) < (rank, run_id) for row in rows))

    def call(self, key: str, waiter: Waiter, *, called_at: float, wake_at: float) -> bool:
        row = self._tables.slots.get(key, {}).get(waiter.run_id)
        if row is None or not self._change(waiter.run_id, waiter.version, wake_at=wake_at, redeliveries=0):
            return False
        self._set(key, waiter.run_id, replace(row, called_at=called_at, calls=row.calls + 1))
        return True

    def hold(self, run_id: str, version: int, *, wake_at: float, reason: str, admission: str | None) -> bool:
        row = self._tables.runs.get(run_id)
        if row is None:
            return False
        return self._change(
            run_id,
            version,
            wake_at=wake_at,
            redeliveries=UNSENT,
            summary=replace(row.summary, hold_reason=reason),
            admission=admission or row.admission,
        )

    def admit(self, run_id: str, version: int) -> bool:
        row = self._tables.runs.get(run_id)
        if row is None or row.admission == ADMITTED:
            return False
        return self._change(
            run_id,
            version,
            redeliveries=0,
            summary=replace(row.summary, hold_reason=None),
            admission=ADMITTED,
        )

    def _change(self, run_id: str, version: int, **fields: object) -> bool:
        row = self._tables.runs.get(run_id)
        if row is None or row.summary.version != version:
            return False
        put(self._tables, replace(row, **fields))  # type: ignore[arg-type]  # names checked by the callers
        self._undo.append(lambda: put_back(self._tables, run_id, row))
        return True

    def _set(self, key: str, run_id: str, row: SlotRow | None) -> None:
        rows = self._tables.slots.setdefault(key, {})
        old = rows.get(run_id)
        if row is None:
            rows.pop(run_id, None)
        else:
            rows[run_id] = row

        def put_old_back() -> None:
            if old is None:
                rows.pop(run_id, None)
            else:
                rows[run_id] = old

        self._undo.append(put_old_back)


def _holds(scope: Scope, run: Row | None, now: float) -> bool:
    if run is None:
        return False
    if scope is Scope.LEASE:
        return run.lease_until is not None and run.lease_until > now
    if run.admission == QUEUED:
        return False
    waits = run.summary.status is RunStatus.WAITING
    return run.summary.status is RunStatus.RUNNING or (waits and scope is Scope.RUN)


def _is_over(scope: Scope, run: Row | None) -> bool:
    """Whether a slot that is not held now never will be."""
    if run is None or scope is Scope.LEASE or run.admission == QUEUED:
        return True
    return run.summary.status not in (RunStatus.RUNNING, RunStatus.WAITING)


def _waits(run: Row, row: SlotRow) -> bool:
    return run.summary.version == row.version and run.summary.status is RunStatus.RUNNING
