"""Ledgers and their timeline in a bundle (`spec/01 §16.3`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from abstractruntime.core.copies import copied

from .ledger_reader import LedgerReader
from .ports import LedgerPort
from .values import as_object, as_text, moment

__all__ = ["empty_ledger", "ledger_part", "timeline"]

Ledger = dict[str, Any]


def ledger_part(store: LedgerPort, run_id: str, max_items: int | None) -> Ledger:
    """The last ``max_items`` records (``None``: all) with their absolute positions."""
    reader = LedgerReader(store, run_id)
    skipped = 0 if max_items is None else max(0, reader.total - max_items)
    items = [
        {"cursor": cursor, "record": copied(record)}
        for cursor, record in reader.between(skipped, reader.total)
    ]
    return {
        "run_id": run_id,
        "total": reader.total,
        "cursor_start": skipped + 1,
        "cursor_end": reader.total,
        "items": items,
    }


def empty_ledger(run_id: str) -> Ledger:
    """The part of a run without records."""
    return {"run_id": run_id, "total": 0, "cursor_start": 1, "cursor_end": 0, "items": []}


def timeline(ledgers: Iterable[Ledger]) -> list[dict[str, Any]]:
    """One entry per record, in the order of the ledgers, then of their records."""
    return [
        _entry(ledger["run_id"], item["cursor"], as_object(item["record"]))
        for ledger in ledgers
        for item in ledger["items"]
    ]


def _entry(run_id: str, cursor: int, record: Any) -> dict[str, Any]:
    started = as_text(record.get("started_at"))
    ended = as_text(record.get("ended_at")) or started
    return {
        "run_id": run_id,
        "cursor": cursor,
        "node_id": as_text(record.get("node_id")),
        "status": as_text(record.get("status")),
        "effect_type": as_text(as_object(record.get("effect")).get("type")),
        "started_at": started,
        "ended_at": ended,
        "duration_ms": _milliseconds(started, ended),
    }


def _milliseconds(started: str | None, ended: str | None) -> float | None:
    since, until = moment(started), moment(ended)
    if since is None or until is None:
        return None
    return round(max(0.0, (until - since).total_seconds() * 1000), 2)
