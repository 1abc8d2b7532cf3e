"""The outside: whoever starts runs, sends events, answers, cancels. Acts go on until they are acknowledged.

A client call may fail because the database is away; it is then repeated, as an application would do it. Every
act can be repeated: by a run id or an event id of one's own, or by a look at what has become of it.
"""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Condition, Thread
from types import TracebackType

from redis import Redis
from redis.exceptions import RedisError

from abstractruntime.core.errors import (
    ConcurrentUpdateError,
    InvalidInputError,
    ServiceUnavailableError,
    WaitMismatchError,
)
from abstractruntime.core.models import RunStatus
from workers.client import Client
from workers.dispatch import signals_client

from .scripts import Act, PlannedRun, Verb

__all__ = ["Journal", "Outside"]

_THREADS = 6
_AGAIN_S = 0.25
_Field = bytes | bytearray | memoryview | str | int | float
_Fields = dict[_Field, _Field]
_AWAY = (ServiceUnavailableError, ConcurrentUpdateError)


@dataclass(slots=True)
class Journal:
    """What the outside was told is durable.

    Attributes:
        started: ids of runs whose start was acknowledged.
        accepted: event ids that were acknowledged, with the run they are for.
        repeated: client calls that had to be made again, by kind of error.
        failures: what a client must never say, with the run.
    """

    started: set[str] = field(default_factory=set)
    accepted: dict[str, str] = field(default_factory=dict)
    repeated: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Chain:
    """Acts of one actor on one run, in order."""

    run: PlannedRun
    acts: tuple[Act, ...]
    position: int = 0


class _NotYet(Exception):
    """The run is not so far; look again."""


class Outside:
    """Carries out the scripts of all planned runs; starts with its context and ends with it."""

    def __init__(self, client: Client, runs: Iterable[PlannedRun]) -> None:
        self._client = client
        self._redis: Redis = signals_client(client.settings)
        self.journal = Journal()
        self._condition = Condition()
        self._due: list[tuple[float, int, PlannedRun | _Chain]] = []
        self._order = 0
        self._open = 0
        self._followers: dict[str, list[PlannedRun]] = defaultdict(list)
        self._ending = False
        self._began = time.monotonic()
        with self._condition:
            for run in runs:
                self._open += 1
                if run.after is not None:
                    self._followers[run.after].append(run)
                else:
                    self._push(run.start_at_s, run)
        self._threads = [Thread(target=self._work, name=f"outside-{n}", daemon=True) for n in range(_THREADS)]

    def __enter__(self) -> Outside:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._ending = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(30.0)
        self._redis.close()

    @property
    def open(self) -> int:
        """Starts and chains of acts that are not done yet."""
        with self._condition:
            return self._open

    def unfinished(self) -> list[tuple[str, str]]:
        """Runs with something still to be done to them, and what."""
        with self._condition:
            return [
                (item.run_id, "was never started")
                if isinstance(item, PlannedRun)
                else (item.run.run_id, f"could not be done: {item.acts[item.position].verb.value}")
                for _, _, item in self._due
            ]

    # -- the queue ------------------------------------------------------------------------------

    def _push(self, at_s: float, item: PlannedRun | _Chain) -> None:
        self._order += 1
        heapq.heappush(self._due, (at_s, self._order, item))
        self._condition.notify()

    def _next(self) -> PlannedRun | _Chain | None:
        with self._condition:
            while not self._ending:
                now = time.monotonic() - self._began
                if self._due and self._due[0][0] <= now:
                    return heapq.heappop(self._due)[2]
                self._condition.wait(min(1.0, self._due[0][0] - now) if self._due else 1.0)
        return None

    def _work(self) -> None:
        while (item := self._next()) is not None:
            run = item if isinstance(item, PlannedRun) else item.run
            try:
                self._start(item) if isinstance(item, PlannedRun) else self._go_on(item)
            except (*_AWAY, _NotYet) as exc:
                with self._condition:
                    if not isinstance(exc, _NotYet):
                        self.journal.repeated[type(exc).__name__] += 1
                    self._push(time.monotonic() - self._began + _AGAIN_S, item)
            except Exception as exc:  # the verdict names it: a client says nothing else
                self._give_up(run, f"{type(exc).__name__}: {exc}")

    def _give_up(self, run: PlannedRun, why: str) -> None:
        with self._condition:
            self.journal.failures.append((run.run_id, why))
            self._open -= 1

    def _start(self, run: PlannedRun) -> None:
        self._client.start(run.workflow_id, run.vars, run_id=run.run_id, session_id=run.session_id)
        with self._condition:
            self.journal.started.add(run.run_id)
            self._open -= 1
            for acts in filter(None, (run.script, run.meddling)):
                self._open += 1
                self._push(acts[0].at_s, _Chain(run, acts))
            for follower in self._followers.pop(run.run_id, ()):
                self._push(follower.start_at_s, follower)

    def _go_on(self, chain: _Chain) -> None:
        act = chain.acts[chain.position]
        self._act(chain.run.run_id, act)
        with self._condition:
            if act.event_id:
                self.journal.accepted[act.event_id] = chain.run.run_id
            chain.position += 1
            if chain.position < len(chain.acts):
                self._push(chain.acts[chain.position].at_s, chain)
            else:
                self._open -= 1

    # -- the acts -------------------------------------------------------------------------------

    def _act(self, run_id: str, act: Act) -> None:
        client = self._client
        if act.verb in (Verb.EMIT, Verb.PUBLISH, Verb.STREAM):
            self._emit(act)
        elif act.verb is Verb.ANSWER:
            self._answer(run_id, act)
        elif act.verb is Verb.CANCEL:
            client.cancel(run_id, reason="chaos")
        elif act.verb is Verb.PAUSE:
            client.pause(run_id, reason="chaos")
        elif act.verb is Verb.UNPAUSE:
            client.unpause(run_id)
        elif act.verb is Verb.LIMITS:
            client.update_limits(run_id, act.value)
        else:
            self._retry(run_id)

    def _emit(self, act: Act) -> None:
        """By Redis first, if the act says so: that may be lost on the way; the client makes sure."""
        try:
            if act.verb is Verb.PUBLISH:
                body = json.dumps({"event_id": act.event_id, "payload": act.value})
                self._redis.publish(self._client.settings.event_channel + act.key, body)
            elif act.verb is Verb.STREAM:
                fields: _Fields = {"wait_key": act.key, "event_id": act.event_id}
                fields["payload"] = json.dumps(act.value)
                self._redis.xadd(self._client.settings.event_stream, fields)
        except (RedisError, OSError):
            pass  # the broker is away: the client's way needs none
        self._client.emit_event(wait_key=act.key, payload=act.value, event_id=act.event_id)

    def _answer(self, run_id: str, act: Act) -> None:
        run = self._client.get(run_id)
        if run.is_terminal:
            return
        answered = sum(1 for answer in run.vars.get("answers", ()) if answer == act.value)
        if answered or run.vars.get("answer") == act.value:
            return  # an answer whose acknowledgement was lost
        try:
            self._client.resume(run_id, act.value, wait_key=act.key)
        except WaitMismatchError as exc:
            raise _NotYet from exc

    def _retry(self, run_id: str) -> None:
        run = self._client.get(run_id)
        if run.status in (RunStatus.COMPLETED, RunStatus.CANCELLED):
            return
        if run.status is not RunStatus.FAILED:
            raise _NotYet
        try:
            self._client.retry(run_id)
        except InvalidInputError as exc:
            raise _NotYet from exc
