"""The command inbox and its consumers' positions in a SQLite file (`spec/02 §6.5`, §7.4)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .command_types import (
    CommandAppendResult,
    CommandRecord,
    checked_command,
    duplicate_of,
    now_text,
    page_size,
)
from .json_text import decode, encode
from .sql.statements import statement

if TYPE_CHECKING:
    from .sqlite import SqliteDatabase

__all__ = ["SqliteCommandCursorStore", "SqliteCommandStore"]

logger = logging.getLogger(__name__)

_COLUMNS = "command_id, run_id, type, payload_json, ts, client_id, seq"
_BY_ID = statement(f"SELECT {_COLUMNS} FROM commands WHERE command_id = :command_id")
_INSERT = statement("""
INSERT INTO commands (command_id, run_id, type, payload_json, ts, client_id)
VALUES (:command_id, :run_id, :type, :payload_json, :ts, :client_id) RETURNING seq
""")
_AFTER = statement(f"SELECT {_COLUMNS} FROM commands WHERE seq > :after ORDER BY seq LIMIT :limit")
_LAST = statement("SELECT COALESCE(MAX(seq), 0) FROM commands")
_CURSOR = statement("SELECT cursor FROM command_cursors WHERE consumer_id = :consumer_id")
_SAVE_CURSOR = statement("""
INSERT INTO command_cursors (consumer_id, cursor, updated_at) VALUES (:consumer_id, :cursor, :updated_at)
ON CONFLICT (consumer_id) DO UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at
""")

DEFAULT_CONSUMER = "gateway_runner"


class SqliteCommandStore:
    """A `CommandStore` in a SQLite file, shared by threads and processes."""

    def __init__(self, db: SqliteDatabase) -> None:
        self._database = db.database

    def append(self, record: CommandRecord) -> CommandAppendResult:
        """See `CommandStore.append`. A duplicate uses up no seq."""
        command = checked_command(record)
        params = command.to_json()
        params["payload_json"] = encode(params.pop("payload"), f"command '{command.command_id}'")
        del params["seq"]
        with self._database.transaction() as session:
            row = session.execute(_BY_ID, {"command_id": command.command_id}).fetchone()
            if row is not None:
                return duplicate_of(_command(row), command)
            seq = int(session.execute(_INSERT, params).fetchall()[0][0])
        kept = replace(command, seq=seq)
        return CommandAppendResult(True, False, kept.seq, kept.command_id)

    def list_after(self, *, after: int, limit: int = 1000) -> tuple[list[CommandRecord], int]:
        """See `CommandStore.list_after`."""
        after = after or 0
        params = {"after": after, "limit": page_size(limit)}
        rows = self._database.read(lambda session: session.execute(_AFTER, params).fetchall())
        commands = [_command(row) for row in rows]
        return commands, commands[-1].seq if commands else after

    def get_last_seq(self) -> int:
        """See `CommandStore.get_last_seq`."""
        return int(self._database.read(lambda session: session.execute(_LAST).fetchone())[0])


class SqliteCommandCursorStore:
    """A `CommandCursorStore` in a SQLite file.

    Args:
        consumer_id: whose position; blank means ``"gateway_runner"``.
    """

    def __init__(self, db: SqliteDatabase, *, consumer_id: str = DEFAULT_CONSUMER) -> None:
        self._database = db.database
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
