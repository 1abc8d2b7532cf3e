"""The resumer: events from anything that speaks Redis, brought to the runs that wait for them.

``PUBLISH abstractruntime:event:<wait key> <JSON>`` wakes the runs that wait for the key within milliseconds;
``XADD abstractruntime:events * wait_key ... payload <JSON>`` does the same with a guarantee (see
`event_messages` for the forms). Both go through the inbox first, so an event whose run does not wait yet is
kept for it, and any number of resumers may run:

- A message with an ``event_id`` is delivered by all of them, and the inbox accepts it once.
- A published message without one is delivered by the active resumer (see `election`): at most once, each of
  two equal messages for itself. Senders that need more give an id, or use the stream.
- A stream entry is delivered at least once, and accepted once, because its id is the event's.

The process also runs the sweep, a second pair of legs beside beat. ``python -m workers.resumer`` starts it;
SIGTERM ends it after the message in hand.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from queue import Empty, Full, Queue
from threading import Event, Thread

from abstractruntime.core.errors import (
    ConcurrentUpdateError,
    InvalidInputError,
    RuntimeFault,
    ServiceUnavailableError,
)
from abstractruntime.storage.checkpoints import CheckpointStore

from . import metrics
from .commits import Commits
from .control import persistently
from .election import Election
from .event_messages import parse_entry, parse_message
from .event_stream import EventStream, Fields
from .external_events import EventReceipt, ExternalEvent, emit_external
from .hints import Dispatcher
from .placement import Timing
from .settings import Settings, load_settings
from .subscription import Subscription
from .sweep import sweep

__all__ = ["Resumer", "main"]

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000
KEEP_CLOCK_S = 2.0
BACKOFF_MAX_S = 5.0
LAST_WORDS_S = 5.0


class Resumer:
    """Subscription, stream reader and sweep of one process; `start` and `close` it.

    Args:
        settings: the deployment's.
        store: its runs.
        dispatcher: how hints leave.
        lease_s: see `Election`.
        take_over_s: see `EventStream`.
    """

    def __init__(
        self,
        settings: Settings,
        store: CheckpointStore,
        dispatcher: Dispatcher,
        *,
        lease_s: float = 2.0,
        take_over_s: float = 30.0,
    ) -> None:
        self.settings = settings
        self._store = store
        self._dispatcher = dispatcher
        self._timing = Timing.of(settings)
        self._commits = Commits(
            store, dispatcher, self._timing, event_ttl_s=settings.event_ttl, keep_clock_s=KEEP_CLOCK_S
        )
        self._heard: Queue[ExternalEvent] = Queue(MAX_WAITING)
        self._stopping = Event()
        self._giving_up = Event()
        self._election = Election(
            settings.redis_url,
            key=f"{settings.prefix}:resumer",
            channel=f"{settings.prefix}:resumer",
            lease_s=lease_s,
            timeout_s=settings.publish_timeout,
        )
        self._subscription = Subscription(
            settings.redis_url,
            on_message=self._hear,
            on_subscribed=self._subscribed,
            on_lost=self._election.disconnected,
            patterns=(settings.event_channel + "*",),
            timeout_s=settings.publish_timeout,
            name="events",
        )
        self._stream = EventStream(
            settings.redis_url,
            settings.event_stream,
            self._deliver_entry,
            take_over_s=take_over_s,
            timeout_s=settings.publish_timeout,
        )
        self._threads = [
            Thread(target=self._deliver_heard, name="deliver", daemon=True),
            Thread(target=self._sweep, name="sweep", daemon=True),
        ]

    @property
    def is_active(self) -> bool:
        """Whether this resumer delivers published messages without an id."""
        return self._election.is_active

    @property
    def is_listening(self) -> bool:
        """Whether it is subscribed."""
        return self._election.is_connected

    @property
    def is_alive(self) -> bool:
        """Whether all its threads run."""
        threads = [thread.is_alive() for thread in self._threads]
        return all([*threads, self._stream.is_alive, self._subscription.is_alive, self._election.is_alive])

    def start(self) -> None:
        """Begin, in background threads; Redis need not be there yet."""
        self._subscription.add(self._election.channel)
        self._subscription.start()
        self._election.start()
        self._stream.start()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Hand over to another resumer, deliver what was heard, and end."""
        self._election.resign()
        self._subscription.close()
        self._stopping.set()
        self._stream.close()
        self._threads[0].join(LAST_WORDS_S)
        self._giving_up.set()
        for thread in self._threads:
            thread.join(LAST_WORDS_S)

    # -- pub/sub ----------------------------------------------------------------------------------

    def _subscribed(self, channel: str) -> None:
        # The pattern is subscribed before the channel of the markers, so both are heard from here on.
        if channel == self._election.channel:
            self._election.connected()

    def _hear(self, channel: str, data: bytes) -> None:
        if channel == self._election.channel:
            self._election.hear(data)
            return
        wait_key = channel.removeprefix(self.settings.event_channel)
        is_active = self._election.is_active
        try:
            event, has_id = parse_message(wait_key, data, max_bytes=self.settings.max_payload_bytes)
        except InvalidInputError as exc:
            if is_active:
                _refuse("published", channel, exc)
            return
        if has_id or is_active:
            self._remember(event)
        else:
            metrics.count("events_heard", source="other")

    def _remember(self, event: ExternalEvent) -> None:
        """Hand the event to the delivering thread; when it lags far behind, Redis has to keep the rest."""
        while not self._giving_up.is_set():
            try:
                self._heard.put(event, timeout=0.5)
                return
            except Full:
                continue

    def _deliver_heard(self) -> None:
        while not self._giving_up.is_set():
            try:
                event = self._heard.get(timeout=0.2)
            except Empty:
                if self._stopping.is_set():
                    return
                continue
            self._deliver(event, "published", self._giving_up)

    # -- the stream -------------------------------------------------------------------------------

    def _deliver_entry(self, entry_id: str, fields: Fields) -> bool:
        name = f"{self.settings.event_stream}:{entry_id}"
        try:
            event = parse_entry(fields, entry_name=name, max_bytes=self.settings.max_payload_bytes)
        except InvalidInputError as exc:
            _refuse("stream", name, exc)
            return True
        return self._deliver(event, "stream", self._stopping)

    # -- both -------------------------------------------------------------------------------------

    def _deliver(self, event: ExternalEvent, source: str, stopping: Event) -> bool:
        """Put the event in the inbox, however long the database is away; False when told to stop."""
        pause = 0.05
        while True:
            try:
                receipt = persistently(f"Event '{event.event_id}'", lambda: self._emit(event))
            except (ServiceUnavailableError, ConcurrentUpdateError) as exc:
                logger.warning("event %s waits for the database: %s", event.event_id, exc)
            except Exception:
                metrics.count("events_failed", source=source)
                logger.exception("event %s for '%s' could not be delivered", event.event_id, event.wait_key)
                return False
            else:
                metrics.count("events_delivered" if receipt.accepted else "events_known", source=source)
                return True
            if stopping.wait(pause):
                logger.error("event %s for '%s' not delivered: stopping", event.event_id, event.wait_key)
                return False
            pause = min(pause * 2.0, BACKOFF_MAX_S)

    def _emit(self, event: ExternalEvent) -> EventReceipt:
        with self._commits.batch() as batch:
            return emit_external(self._commits, batch, event)

    # -- the sweep --------------------------------------------------------------------------------

    def _sweep(self) -> None:
        while not self._stopping.wait(self.settings.sweep_interval):
            try:
                sweep(self._store, self._dispatcher, self._timing, batch=self.settings.sweep_batch)
            except RuntimeFault as exc:
                logger.warning("sweep failed, next one in %g s: %s", self.settings.sweep_interval, exc)


def _refuse(source: str, where: str, exc: InvalidInputError) -> None:
    metrics.count("events_refused", source=source)
    logger.warning("bad event on %s dropped: %s", where, exc)


def main(argv: list[str] | None = None) -> int:
    """``python -m workers.resumer``; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.resumer", description=_summary())
    parser.add_argument("--app", help="module:attribute; accepted like elsewhere, not imported here")
    parser.add_argument("-l", "--log-level", default="info", help="debug, info, warning or error")
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=str(arguments.log_level).upper(), format="[%(asctime)s %(levelname)s/resumer] %(message)s"
    )
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = load_settings(**({"app": arguments.app} if arguments.app else {}))
        return _serve(settings, stopping)
    except RuntimeFault as exc:
        logger.error("resumer can't start: %s", exc)
        return 1


def _summary() -> str:
    return (__doc__ or "").partition("\n")[0]


def _serve(settings: Settings, stopping: Event) -> int:
    from .celery_app import make_celery
    from .dispatch import CeleryDispatcher
    from .opening import open_store

    store = open_store(settings)
    dispatcher = CeleryDispatcher(make_celery(settings), settings)
    resumer = Resumer(settings, store, dispatcher)
    resumer.start()
    logger.info("resumer listens on %s* and %s", settings.event_channel, settings.event_stream)
    while not stopping.wait(1.0):
        if not resumer.is_alive:
            logger.critical("a thread of the resumer has ended; leaving, to be started again")
            return 1
    logger.info("resumer is leaving")
    resumer.close()
    dispatcher.close()
    store.database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
