"""The durable inbox of events: deduplicated on the way in, consumed in order by the runs that wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from ..checkpoints import Event, StoredEvent
from ..json_text import decode, encode
from . import statements as sql
from .driver import Session

__all__ = ["add_event", "consume", "lock_keys", "next_event", "waiting_on"]


def lock_keys(session: Session, keys: Iterable[str]) -> None:
    """Hold the keys until the transaction ends. On SQLite a write transaction excludes all others anyway.

    The locks are PostgreSQL's transaction-level advisory locks on a 64-bit hash, taken in one order by
    everybody, so that two units can't wait for each other. Lock all keys in one call, before loading or
    writing runs.
    """
    if session.dialect.name == "sqlite":
        return
    hashes = sorted({_hash(key) for key in keys})
    if hashes:
        session.execute(sql.LOCK_KEYS, {"keys": hashes})


def _hash(key: str) -> int:
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, person=b"ar-wait-key").digest()
    return int.from_bytes(digest, "big", signed=True)


def add_event(session: Session, event: Event) -> int | None:
    """The event's position, or ``None`` if its id is known."""
    row = session.execute(
        sql.ADD_EVENT,
        {
            "event_id": event.event_id,
            "wait_key": event.wait_key,
            "wildcard_key": event.wildcard_key,
            "payload_json": encode(event.payload, f"the payload of event '{event.event_id}'"),
            "emitter_run_id": event.emitter_run_id,
            "ttl_s": event.ttl_s,
        },
    ).fetchall()
    return int(row[0][0]) if row else None


def waiting_on(session: Session, keys: Iterable[str]) -> list[tuple[str, str]]:
    """Waiting runs with the key that matched (the first of ``keys``, if several do), by run id."""
    rank = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    if not rank:
        return []
    params = {f"key_{i}": key for key, i in rank.items()}
    found: dict[str, str] = {}
    for run_id, key in session.execute(sql.waiting_on_statement(len(rank)), params).fetchall():
        if run_id not in found or rank[key] < rank[found[run_id]]:
            found[run_id] = key
    return sorted(found.items())


MOST_LISTENERS = 20
"""Matches whose runs are loaded with them; an event with more listeners loads each by itself."""


def listeners(session: Session, keys: Iterable[str]) -> tuple[list[tuple[str, str]], dict[str, Any]] | None:
    """PostgreSQL: `waiting_on`, and the rows of those runs, locked, by run id. ``None``: there are too many.

    What is locked here was not waiting any more when its lock was had, if it is not in the answer.
    """
    rank = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    if not rank:
        return [], {}
    params: dict[str, object] = {f"key_{i}": key for key, i in rank.items()}
    params["limit"] = MOST_LISTENERS + 1
    found = session.execute(sql.listeners_statement(len(rank)), params).fetchall()
    if len(found) > MOST_LISTENERS:
        return None
    matched: dict[str, str] = {}
    for run_id, key, *_ in found:
        if run_id not in matched or rank[key] < rank[matched[run_id]]:
            matched[run_id] = key
    return sorted(matched.items()), {row[0]: row[2:] for row in found}


def next_event(session: Session, run_id: str, keys: Sequence[str], *, since: float) -> StoredEvent | None:
    """See `checkpoints.Unit.next_event`."""
    if not keys:
        return None
    params: dict[str, object] = {f"key_{i}": key for i, key in enumerate(keys)}
    params["run_id"] = run_id
    params["since"] = since
    row = session.execute(sql.next_event_statement(len(keys)), params).fetchone()
    if row is None:
        return None
    seq, event_id, matched, payload = row[:4]
    return StoredEvent(seq, event_id, matched, decode(payload))


def consume(session: Session, run_id: str, wait_key: str, seq: int) -> None:
    """Move the run's cursor of this key forward."""
    session.execute(sql.CONSUME, {"run_id": run_id, "wait_key": wait_key, "seq": seq})
