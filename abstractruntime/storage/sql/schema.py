"""The tables. A superset of the contract's (`spec/02 §6.2`), so that its SQLite files are adopted in place.

Indexes differ by database. SQLite files keep the contract's, because published readers share them, but for
the one of the ledger that its primary key already is. On PostgreSQL a step must be able to stay a heap-only
update, which an index on any column that it changes would forbid: there ``updated_at`` moves only when
status or wait do (`statements.py`), and nothing that moves with every step is indexed but ``wake_at``, the
one wake-up index.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

__all__ = ["HEAD", "build_metadata"]

HEAD = "0006"
"""The newest revision of `migrations/`: what a database made from this metadata is stamped with."""

_WAITS_FOR_EVENT = text("wait_reason = 'event' AND status = 'waiting'")
_HAS_PARENT = text("parent_run_id IS NOT NULL")
_HAS_SESSION = text("session_id IS NOT NULL")
_WAKES = text("wake_at IS NOT NULL")
_DUE = text("due_at IS NOT NULL AND wake_at IS NULL")
_RANKED = text("priority <> 0 AND wake_at IS NOT NULL")
_HELD = text("state = 'held'")
_IN_LINE = text("state = 'waiting'")
_COMPLETED_WITH_KEY = text("status = 'completed' AND idempotency_key IS NOT NULL")


def build_metadata(dialect: str) -> MetaData:
    """The schema for ``"sqlite"`` or ``"postgresql"``."""
    metadata = MetaData()
    _runs(metadata, dialect)
    _ledger(metadata, dialect)
    _inbox(metadata, dialect)
    _commands(metadata, dialect)
    _artifacts(metadata, dialect)
    _snapshots(metadata, dialect)
    _limits(metadata, dialect)
    Table(
        "schedules",
        metadata,
        Column("schedule_id", Text, nullable=False),
        Column("cursor", Double, nullable=False),
        PrimaryKeyConstraint("schedule_id", name="schedules_pkey"),
    )
    return metadata


def _seq(dialect: str) -> Column[int]:
    """A position that only grows: SQLite wants exactly INTEGER PRIMARY KEY AUTOINCREMENT for that."""
    if dialect == "sqlite":
        return Column("seq", Integer, primary_key=True, autoincrement=True)
    return Column("seq", BigInteger, Identity(always=False), primary_key=True)


def _leave_room(runs: Table, connection: Connection, **_: object) -> None:
    """Each page keeps room for the next version of its rows. (SQLAlchemy 2.0 has no argument for it.)"""
    connection.execute(text("ALTER TABLE runs SET (fillfactor = 80)"))


def _runs(metadata: MetaData, dialect: str) -> None:
    runs = Table(
        "runs",
        metadata,
        Column("run_id", Text, primary_key=True),
        Column("workflow_id", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("wait_reason", Text),
        Column("wait_until", Text),
        Column("parent_run_id", Text),
        Column("actor_id", Text),
        Column("session_id", Text),
        Column("created_at", Text),
        Column("updated_at", Text),
        Column("version", BigInteger, nullable=False, server_default=text("1")),
        Column("wake_at", Double),
        Column("due_at", Double),
        Column("wait_key", Text),
        Column("current_node", Text),
        Column("ledger_seq", BigInteger, nullable=False, server_default=text("0")),
        Column("depth", Integer, nullable=False, server_default=text("0")),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("redeliveries", Integer, nullable=False, server_default=text("0")),
        Column("task", Text, nullable=False, server_default=text("'tick'")),
        Column("lease_until", Double),
        Column("hold_reason", Text),
        Column("inserted_at", Double, nullable=False, server_default=text("0")),
        Column("priority", Integer, nullable=False, server_default=text("0")),
        Column("admission", Text),
        # Last, so that SQLite finds all other columns without walking the pages of a large state.
        Column("run_json", Text, nullable=False),
        Column("step_json", Text),
    )
    if dialect == "postgresql":
        event.listen(runs, "after_create", _leave_room)
    Index("idx_runs_wake", runs.c.wake_at, postgresql_where=_WAKES, sqlite_where=_WAKES)
    Index("idx_runs_urgency", runs.c.priority, runs.c.wake_at, postgresql_where=_RANKED, sqlite_where=_RANKED)
    Index("idx_runs_due", runs.c.due_at, runs.c.run_id, postgresql_where=_DUE, sqlite_where=_DUE)
    Index(
        "idx_runs_wait_key",
        runs.c.wait_key,
        postgresql_where=_WAITS_FOR_EVENT,
        sqlite_where=_WAITS_FOR_EVENT,
    )
    Index("idx_runs_parent", runs.c.parent_run_id, postgresql_where=_HAS_PARENT)
    Index("idx_runs_session", runs.c.session_id, postgresql_where=_HAS_SESSION)
    Index("idx_runs_waiting", runs.c.status, runs.c.wait_reason, runs.c.wait_until)
    Index("idx_runs_updated", runs.c.updated_at)
    if dialect == "postgresql":
        Index("idx_runs_workflow_updated", runs.c.workflow_id, runs.c.updated_at)
    Table(
        "wait_keys",
        metadata,
        Column("run_id", Text, nullable=False),
        Column("wait_key", Text, nullable=False),
        PrimaryKeyConstraint("run_id", "wait_key", name="wait_keys_pkey"),
        Index("idx_wait_keys_key", "wait_key"),
    )
    if dialect == "sqlite":
        Index("idx_runs_status_updated", runs.c.status, runs.c.updated_at.desc())
        Index("idx_runs_workflow_updated", runs.c.workflow_id, runs.c.updated_at.desc())
        # Kept exact for published readers of the file; our own queries read `runs`.
        wait_index = Table(
            "wait_index",
            metadata,
            Column("run_id", Text, primary_key=True),
            Column("next_due_iso", Text, nullable=False),
            Column("updated_at_iso", Text, nullable=False),
            Column("status", Text),
        )
        Index("idx_wait_index_next_due", wait_index.c.next_due_iso)


def _ledger(metadata: MetaData, dialect: str) -> None:
    ledger = Table(
        "ledger",
        metadata,
        Column("run_id", Text, nullable=False),
        Column("seq", Integer if dialect == "sqlite" else BigInteger, nullable=False, autoincrement=False),
        Column("record_json", Text, nullable=False),
        Column("status", Text),
        Column("idempotency_key", Text),
        PrimaryKeyConstraint("run_id", "seq", name="ledger_pkey"),
    )
    Index(
        "idx_ledger_completed_key",
        ledger.c.run_id,
        ledger.c.idempotency_key,
        postgresql_where=_COMPLETED_WITH_KEY,
        sqlite_where=_COMPLETED_WITH_KEY,
    )
    Table(
        "ledger_heads",
        metadata,
        Column("run_id", Text, primary_key=True),
        Column("last_seq", Integer if dialect == "sqlite" else BigInteger, nullable=False),
    )


def _inbox(metadata: MetaData, dialect: str) -> None:
    events = Table(
        "events",
        metadata,
        _seq(dialect),
        Column("event_id", Text, nullable=False),
        Column("wait_key", Text, nullable=False),
        Column("wildcard_key", Text),
        Column("payload_json", Text, nullable=False),
        Column("emitter_run_id", Text),
        Column("added_at", Double, nullable=False),
        Column("expires_at", Double, nullable=False),
        UniqueConstraint("event_id", name="events_event_id_key"),
        sqlite_autoincrement=True,
    )
    Index("idx_events_key", events.c.wait_key, events.c.seq)
    Index("idx_events_wildcard", events.c.wildcard_key, events.c.seq)
    Index("idx_events_expires", events.c.expires_at)
    Table(
        "event_cursors",
        metadata,
        Column("run_id", Text, nullable=False),
        Column("wait_key", Text, nullable=False),
        Column("seq", BigInteger, nullable=False),
        PrimaryKeyConstraint("run_id", "wait_key", name="event_cursors_pkey"),
    )


def _commands(metadata: MetaData, dialect: str) -> None:
    commands = Table(
        "commands",
        metadata,
        _seq(dialect),
        Column("command_id", Text, nullable=False),
        Column("run_id", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("payload_json", Text, nullable=False),
        Column("ts", Text, nullable=False),
        Column("client_id", Text),
        UniqueConstraint("command_id", name="commands_command_id_key"),
        sqlite_autoincrement=True,
    )
    Index("idx_commands_run_id", commands.c.run_id)
    Table(
        "command_cursors",
        metadata,
        Column("consumer_id", Text, primary_key=True),
        Column("cursor", Integer if dialect == "sqlite" else BigInteger, nullable=False),
        Column("updated_at", Text, nullable=False),
    )


def _limits(metadata: MetaData, dialect: str) -> None:
    slots = Table(
        "limit_slots",
        metadata,
        Column("limit_key", Text, nullable=False),
        Column("run_id", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("scope", Text, nullable=False),
        Column("terms_json", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("rank", Double, nullable=False),
        Column("called_at", Double),
        Column("calls", Integer, nullable=False, server_default=text("0")),
        PrimaryKeyConstraint("limit_key", "run_id", name="limit_slots_pkey"),
    )
    # A line may be long while few slots are held: each has its own index.
    Index("idx_limit_slots_held", slots.c.limit_key, postgresql_where=_HELD, sqlite_where=_HELD)
    Index(
        "idx_limit_slots_line",
        slots.c.limit_key,
        slots.c.rank,
        slots.c.run_id,
        postgresql_where=_IN_LINE,
        sqlite_where=_IN_LINE,
    )
    Index("idx_limit_slots_run", slots.c.run_id)
    claims = Table(
        "limit_claims",
        metadata,
        _seq(dialect),
        Column("limit_key", Text, nullable=False),
        Column("claimed_at", Double, nullable=False),
        Column("expires_at", Double, nullable=False),
        sqlite_autoincrement=True,
    )
    Index("idx_limit_claims_key", claims.c.limit_key, claims.c.claimed_at)
    Index("idx_limit_claims_expires", claims.c.expires_at)


def _time(dialect: str) -> Column[str]:
    """ISO text, in the order of its characters whatever the language of the database."""
    return Column("created_at", Text(collation="C") if dialect == "postgresql" else Text, nullable=False)


def _artifacts(metadata: MetaData, dialect: str) -> None:
    blobs = Table(
        "artifact_blobs",
        metadata,
        Column("blob_id", Text, primary_key=True),
        Column("size_bytes", BigInteger, nullable=False),
        Column("content", LargeBinary, nullable=False),
    )
    artifacts = Table(
        "artifacts",
        metadata,
        Column("artifact_id", Text, primary_key=True),
        # The database itself refuses to lose a content that an artifact names.
        Column("blob_id", Text, ForeignKey(blobs.c.blob_id, name="artifacts_blob_id_fkey"), nullable=False),
        Column("run_id", Text),
        Column("content_type", Text, nullable=False),
        Column("size_bytes", BigInteger, nullable=False),
        _time(dialect),
        Column("tags_json", Text, nullable=False),
    )
    Index("idx_artifacts_run", artifacts.c.run_id, artifacts.c.created_at)
    Index("idx_artifacts_created", artifacts.c.created_at)
    Index("idx_artifacts_blob", artifacts.c.blob_id)


def _snapshots(metadata: MetaData, dialect: str) -> None:
    snapshots = Table(
        "snapshots",
        metadata,
        Column("snapshot_id", Text, primary_key=True),
        Column("run_id", Text, nullable=False),
        Column("step_id", Text),
        Column("name", Text, nullable=False),
        Column("description", Text),
        Column("tags_json", Text, nullable=False),
        _time(dialect),
        Column("updated_at", Text, nullable=False),
        # Last, so that a listing passes the pages of a large state by.
        Column("run_state_json", Text, nullable=False),
    )
    Index("idx_snapshots_run", snapshots.c.run_id, snapshots.c.created_at)
    Index("idx_snapshots_created", snapshots.c.created_at)
