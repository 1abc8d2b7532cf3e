"""Snapshots in SQLite or PostgreSQL (`spec/02 §11`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from abstractruntime.core.models import utc_now_iso

from ..file_names import checked_id
from ..json_text import decode, encode
from ..snapshots import CorruptSnapshotError, Snapshot, SnapshotStore, answers
from . import deletion
from .engine import Database
from .statements import statement

__all__ = ["SqlSnapshotStore"]

logger = logging.getLogger(__name__)

_COLUMNS = (
    "snapshot_id, run_id, step_id, name, description, tags_json, created_at, updated_at, run_state_json"
)
_SAVE = statement(f"""
INSERT INTO snapshots ({_COLUMNS})
VALUES (:snapshot_id, :run_id, :step_id, :name, :description, :tags_json, :created_at, :updated_at,
        :run_state_json)
ON CONFLICT (snapshot_id) DO UPDATE SET run_id = excluded.run_id, step_id = excluded.step_id,
    name = excluded.name, description = excluded.description, tags_json = excluded.tags_json,
    created_at = excluded.created_at, updated_at = excluded.updated_at,
    run_state_json = excluded.run_state_json
""")
_LOAD = statement(f"SELECT {_COLUMNS} FROM snapshots WHERE snapshot_id = :snapshot_id")
_DELETE = statement("DELETE FROM snapshots WHERE snapshot_id = :snapshot_id")
# Without the states, which are large: they are read of the snapshots that match.
_LOOK = "SELECT snapshot_id, name, description, tags_json FROM snapshots"
_NEWEST = "ORDER BY created_at DESC, snapshot_id DESC"
_LOOK_AT_ALL = statement(f"{_LOOK} {_NEWEST}")
_LOOK_AT_RUN = statement(f"{_LOOK} WHERE run_id = :run_id {_NEWEST}")


class SqlSnapshotStore(SnapshotStore):
    """Snapshots in a table of a migrated database.

    All methods raise `ServiceUnavailableError` when the database can't be reached.

    Args:
        database: see `abstractruntime.storage.sql.open_database`; its schema must be current (`migrate`).
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, snapshot: Snapshot) -> None:
        """See `SnapshotStore.save`."""
        what = f"snapshot '{checked_id(snapshot.snapshot_id, 'snapshot_id')}'"
        updated_at = utc_now_iso()
        params = {
            "snapshot_id": snapshot.snapshot_id,
            "run_id": snapshot.run_id,
            "step_id": snapshot.step_id,
            "name": snapshot.name,
            "description": snapshot.description,
            "tags_json": encode(snapshot.tags, what),
            "created_at": snapshot.created_at,
            "updated_at": updated_at,
            "run_state_json": encode(snapshot.run_state, what),
        }
        with self._database.transaction() as session:
            session.execute(_SAVE, params)
        snapshot.updated_at = updated_at

    def load(self, snapshot_id: str) -> Snapshot | None:
        """See `SnapshotStore.load`.

        Raises:
            CorruptSnapshotError: what is stored is not a snapshot.
        """
        params = {"snapshot_id": checked_id(snapshot_id, "snapshot_id")}
        row = self._database.read(lambda session: session.execute(_LOAD, params).fetchone())
        return None if row is None else _snapshot(row)

    def delete(self, snapshot_id: str) -> bool:
        """See `SnapshotStore.delete`."""
        params = {"snapshot_id": checked_id(snapshot_id, "snapshot_id")}
        with self._database.transaction() as session:
            return session.execute(_DELETE, params).rowcount > 0

    def delete_by_runs(self, run_ids: Sequence[str]) -> int:
        """Remove all snapshots of these runs in one transaction; how many there were."""
        return deletion.delete_snapshots(self._database, run_ids)

    def count_of_runs(self, run_ids: Sequence[str]) -> int:
        """How many snapshots there are of these runs."""
        return deletion.count_snapshots(self._database, run_ids)

    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> list[Snapshot]:
        """See `SnapshotStore.list`. Damaged ones are left out and reported in the log."""
        if limit <= 0:
            return []
        look, params = (_LOOK_AT_RUN, {"run_id": run_id}) if run_id else (_LOOK_AT_ALL, {})
        rows = self._database.read(lambda session: session.execute(look, params).fetchall())
        found: list[Snapshot] = []
        for snapshot_id in _matching(rows, tag, query):
            try:
                snapshot = self.load(snapshot_id)
            except ValueError as exc:
                logger.warning("snapshot '%s' is left out: %s", snapshot_id, exc)
                continue
            if snapshot is not None:  # not deleted meanwhile
                found.append(snapshot)
            if len(found) == limit:
                break
        return found


def _matching(rows: Iterable[Any], tag: str | None, query: str | None) -> Iterable[str]:
    """Compared here, because the databases disagree on what is the same in another case."""
    for snapshot_id, name, description, tags_json in rows:
        try:
            tags = [*map(str, decode(tags_json))]
        except (TypeError, ValueError) as exc:
            logger.warning("snapshot '%s' is left out, its tags are damaged: %s", snapshot_id, exc)
            continue
        if answers(name, description, tags, tag, query):
            yield snapshot_id


def _snapshot(row: Any) -> Snapshot:
    snapshot_id, run_id, step_id, name, description, tags_json, created_at, updated_at, state_json = row
    try:
        tags, state = list(decode(tags_json)), dict(decode(state_json))
    except (TypeError, ValueError) as exc:
        raise CorruptSnapshotError(f"snapshot '{snapshot_id}' is damaged: {exc}") from exc
    return Snapshot(
        snapshot_id, run_id, step_id, name, description, tags, created_at, updated_at, run_state=state
    )
