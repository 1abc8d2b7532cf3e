"""Writing inside a caller's own transaction, and publishing once that is committed.

SQLAlchemy tells of a commit just *before* it sends it, so the messages are handed to a thread that waits
until the runs they speak of can be seen, and publishes then. A rollback publishes nothing. If the process
ends in between, the sweep finds the runs: their ``wake_at`` came with the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Event as ThreadEvent
from threading import Lock, Thread
from time import monotonic
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, scoped_session

from abstractruntime.core.errors import ConfigurationError, RuntimeFault
from abstractruntime.storage.sql.store import SqlCheckpointStore

from .clock import StepClock
from .commits import Batch
from .hints import Dispatcher, Hint, Message

__all__ = ["Joinable", "Joining"]

logger = logging.getLogger(__name__)

Joinable = Connection | Session | scoped_session[Session]
_DRIVERS = {"psycopg", "psycopg_async", "psycopg2", "pysqlite", "aiosqlite"}
VISIBLE_WITHIN_S = 5.0
IDLE_S = 10.0
SHORTEST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.1


class Joining:
    """Batches on callers' connections. Safe for threads."""

    def __init__(self, store: SqlCheckpointStore, dispatcher: Dispatcher) -> None:
        self._store = store
        self._publisher = _Publisher(store, dispatcher)
        self._pending: WeakKeyDictionary[Connection, list[Message]] = WeakKeyDictionary()
        self._lock = Lock()

    @contextmanager
    def batch(self, joinable: Joinable) -> Iterator[Batch]:
        """A batch whose writes become part of the caller's transaction. SQLAlchemy's errors pass through.

        Raises:
            ConfigurationError: it is no SQLAlchemy connection, or not to the runs' database system.
        """
        connection = _connection(joinable)
        unit = self._store.unit_on(connection)
        batch = Batch(unit, StepClock(unit.now))
        yield batch
        self._after_commit(connection, batch.messages)

    def close(self) -> None:
        """Publish what is committed already; give up on the rest."""
        self._publisher.close()

    def _after_commit(self, connection: Connection, messages: list[Message]) -> None:
        with self._lock:
            waiting = self._pending.get(connection)
            if waiting is None:
                waiting = self._pending[connection] = []
                self._listen(connection, waiting)
            waiting += messages

    def _listen(self, connection: Connection, waiting: list[Message]) -> None:
        """Once for each connection object, however many transactions it sees."""

        def committing(_connection: Connection, *_args: object) -> None:
            if waiting:
                self._publisher.publish(list(waiting))
                waiting.clear()

        def rolled_back(_connection: Connection, *_args: object) -> None:
            waiting.clear()

        event.listen(connection, "commit", committing)
        event.listen(connection, "commit_twophase", committing)
        event.listen(connection, "rollback", rolled_back)
        event.listen(connection, "rollback_twophase", rolled_back)


def _connection(joinable: Joinable) -> Connection:
    if isinstance(joinable, (Session, scoped_session)):
        connection = joinable.connection()
    elif isinstance(joinable, Connection):
        connection = joinable
    else:
        raise ConfigurationError(
            f"connection= takes a SQLAlchemy Connection or Session, not {type(joinable).__name__}"
        )
    if connection.dialect.driver not in _DRIVERS:
        raise ConfigurationError(
            f"connection= uses the driver {connection.dialect.driver}; transactions can be joined on "
            + ", ".join(sorted(_DRIVERS))
        )
    return connection


class _Publisher:
    """A thread that lives while there is something to publish."""

    def __init__(self, store: SqlCheckpointStore, dispatcher: Dispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._queue: Queue[tuple[float, list[Message]]] = Queue()
        self._lock = Lock()
        self._closing = ThreadEvent()
        self._thread: Thread | None = None

    def publish(self, messages: list[Message]) -> None:
        with self._lock:
            self._closing.clear()
            self._queue.put((monotonic() + VISIBLE_WITHIN_S, messages))
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._work, name="publish-after-commit", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._closing.set()
        thread = self._thread
        if thread is not None:
            self._queue.put((0.0, []))
            thread.join(VISIBLE_WITHIN_S)

    def _work(self) -> None:
        waiting: list[tuple[float, list[Message]]] = []
        pause = SHORTEST_PAUSE_S
        while True:
            try:
                waiting.append(self._queue.get(timeout=pause if waiting else IDLE_S))
                pause = SHORTEST_PAUSE_S
            except Empty:
                pause = min(pause * 2.0, LONGEST_PAUSE_S)
                with self._lock:
                    if not waiting and self._queue.empty():
                        self._thread = None
                        return
            if self._closing.is_set() and self._queue.empty():
                self._publish_visible(waiting)
                return
            waiting = self._publish_visible(waiting)

    def _publish_visible(
        self, waiting: list[tuple[float, list[Message]]]
    ) -> list[tuple[float, list[Message]]]:
        """Publish what is committed; those of whom nothing is, and who may yet be."""
        try:
            return [entry for entry in waiting if not self._is_settled(*entry)]
        except RuntimeFault as exc:
            logger.warning("database away, hints of %d commit(s) left to the sweep: %s", len(waiting), exc)
            return []

    def _is_settled(self, deadline: float, messages: list[Message]) -> bool:
        # All of a commit is seen at once; what is still missing then was undone by a savepoint.
        visible = [message for message in messages if self._is_visible(message)]
        if visible:
            self._dispatcher.send(visible)
        elif messages and monotonic() > deadline:
            logger.warning("commit not seen in time, %d hint(s) left to the sweep", len(messages))
        return bool(visible) or monotonic() > deadline

    def _is_visible(self, message: Message) -> bool:
        stored = self._store.load(message.run_id)
        if stored is None:
            return False
        return not isinstance(message, Hint) or stored.version >= message.version
