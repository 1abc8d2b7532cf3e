"""The command inbox and its consumers' positions in SQLite or PostgreSQL (`spec/02 §6.5`, §7.4)."""

from __future__ import annotations

import logging
from typing import Any

from ..command_types import (
    CommandAppendResult,
    CommandRecord,
    checked_command,
    duplicate_of,
    now_text,
    page_size,
)
from ..json_text import decode, encode
from .engine import Database
from .statements import statement

__all__ = ["DEFAULT_CONSUMER", "SqlCommandCursorStore", "SqlCommandStore"]

logger = logging.getLogger(__name__)

DEFAULT_CONSUMER = "gateway_runner"

_COLUMNS = "command_id, run_id, type, payload_json, ts, client_id, seq"
_BY_ID = statement(f"SELECT {_COLUMNS} FROM commands WHERE command_id = :command_id")
_INSERT = statement("""
INSERT INTO commands (command_id, run_id, type, payload_json, ts, client_id)
VALUES (:command_id, :run_id, :type, :payload_json, :ts, :client_id) RETURNING seq
""")
_AFTER = statement(f"SELECT {_COLUMNS} FROM commands WHERE seq > :after ORDER BY seq LIMIT :limit")
_LAST = statement("SELECT COALESCE(MAX(seq), 0) FROM commands")
_DELETE = statement("DELETE FROM commands WHERE seq <= :seq AND seq < (SELECT MAX(seq) FROM commands)")
_CURSOR = statement("SELECT cursor FROM command_cursors WHERE consumer_id = :consumer_id")
_SLOWEST = statement("SELECT MIN(cursor) FROM command_cursors")
_SAVE_CURSOR = statement("""
INSERT INTO command_cursors (consumer_id, cursor, updated_at) VALUES (:consumer_id, :cursor, :updated_at)
ON CONFLICT (consumer_id) DO UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at
""")
# One appender at a time until its commit: otherwise a command could become visible after one with a greater
# seq, and a reader whose cursor has passed that one would never see it. SQLite has one writer anyway.
_APPEND_ALONE = statement("", postgresql=f"SELECT pg_advisory_xact_lock({0x61725F636D6473})")


class SqlCommandStore:
    """A `CommandStore` in a migrated database, shared by threads, processes and machines.

    A reader that has got a command has been shown all with a smaller seq: commands become visible in the
    order of their seq. Inside ``database.atomic()`` appenders wait for each other until its end.

    Args:
        database: see `abstractruntime.storage.sql.open_database`; its schema must be current (`migrate`).
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, record: CommandRecord) -> CommandAppendResult:
        """See `CommandStore.append`. A duplicate uses up no seq."""
        command = checked_command(record)
        params = command.to_json()
        params["payload_json"] = encode(params.pop("payload"), f"command '{command.command_id}'")
        del params["seq"]
        with self._database.transaction() as session:
            if session.dialect.name == "postgresql":
                session.execute(_APPEND_ALONE)
            row = session.execute(_BY_ID, {"command_id": command.command_id}).fetchone()
            if row is not None:
                return duplicate_of(_command(row), command)
            seq = int(session.execute(_INSERT, params).fetchall()[0][0])
        return CommandAppendResult(True, False, seq, command.command_id)

    def list_after(self, *, after: int, limit: int = 1000) -> tuple[list[CommandRecord], int]:
        """See `CommandStore.list_after`. A damaged payload reads as ``{}`` and is reported in the log."""
        after = after or 0
        params = {"after": after, "limit": page_size(limit)}
        rows = self._database.read(lambda session: session.execute(_AFTER, params).fetchall())
        commands = [_command(row) for row in rows]
        return commands, commands[-1].seq if commands else after

    def get_last_seq(self) -> int:
        """See `CommandStore.get_last_seq`."""
        return int(self._database.read(lambda session: session.execute(_LAST).fetchone())[0])

    def delete_through(self, seq: int) -> int:
        """Remove the commands up to and including ``seq``; how many there were.

        Pass what every consumer has read, see `slowest_cursor`. The newest command always stays, so that
        `get_last_seq` never goes back. The ids of removed commands are forgotten: one that is sent again is
        accepted again, so keep commands for as long as their senders may repeat them.
        """
        with self._database.transaction() as session:
            return session.execute(_DELETE, {"seq": int(seq)}).rowcount

    def slowest_cursor(self) -> int | None:
        """What all consumers that ever saved a position in this database have read; ``None`` without any."""
        row = self._database.read(lambda session: session.execute(_SLOWEST).fetchone())
        return None if row[0] is None else int(row[0])


class SqlCommandCursorStore:
    """A `CommandCursorStore` in a migrated database.

    Args:
        consumer_id: whose position; blank means ``"gateway_runner"``.
    """

    def __init__(self, database: Database, *, consumer_id: str = DEFAULT_CONSUMER) -> None:
        self._database = database
        self._consumer_id = str(consumer_id or "").strip() or DEFAULT_CONSUMER

    def load(self) -> int:
        """See `CommandCursorStore.load`."""
        params = {"consumer_id": self._consumer_id}
        row = self._database.read(lambda session: session.execute(_CURSOR, params).fetchone())
        return 0 if row is None else int(row[0])

    def save(self, cursor: int) -> None:
        """See `CommandCursorStore.save`."""
        params = {
            "consumer_id": self._consumer_id,
            "cursor": int(cursor or 0),
            "updated_at": now_text(),
        }
        with self._database.transaction() as session:
            session.execute(_SAVE_CURSOR, params)


def _command(row: Any) -> CommandRecord:
    command_id, run_id, kind, payload_json, ts, client_id, seq = row
    try:
        payload = decode(payload_json)
    except ValueError:
        # One damaged row must not hide the commands after it.
        logger.warning("the payload of command '%s' (seq %s) is damaged and left out", command_id, seq)
        payload = None
    return CommandRecord(
        command_id, run_id, kind, payload if isinstance(payload, dict) else {}, ts, client_id, int(seq)
    )
