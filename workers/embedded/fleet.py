"""The embedded fleet as an object: for ``abstractruntime dev``, the demo, tests and benchmarks."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import TracebackType

from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.testing.valkey import ValkeyServer

from ..dispatch import signals_client
from ..roles import Role, beat_command, resumer_command, worker_command
from ..settings import Settings, load_settings
from .errors import EmbeddedFleetError, StartBrokenOffError
from .lock import FolderLock
from .record import DEFAULT_DIRECTORY, FleetRecord
from .supervisor import FLEET, Member, OnLine, ProcessInfo, Supervisor

__all__ = ["EmbeddedFleet", "default_tick_workers"]

_START_TIMEOUT_S = 60.0
_LISTENER_POLL_S = 0.05


def default_tick_workers() -> int:
    """One tick worker per core, from 1 to 4: more only wait for the database."""
    return max(1, min(4, os.cpu_count() or 1))


class EmbeddedFleet:
    """Everything a fleet needs, on this machine, from ``pip install`` alone.

    All that must survive is in ``directory``; a fleet started there again goes on with all unfinished runs.
    Its processes die with the process that started them; the Valkey stays and is taken over.

    Args:
        app: ``module:attribute`` of the App.
        directory: where Valkey's data and the database live; one fleet per directory.
        tick_workers: processes that take steps; default: one per core, at most 4.
        effect_threads: outside calls that may run at once.
        port: Valkey's loopback port; default: the directory's last one, or a free one.
        database_url: another database than the SQLite file ``runs.db`` in ``directory``.
        redis_url: a Redis of your own instead of the Valkey from the wheel.
        working_directory: where children run and import the App from; default: the current one.
        environment: further variables for the children, e.g. ``ABSTRACTRUNTIME_LEASE``.
        die_with_parent: Valkey, too, dies with the process that started it.
        on_line: receives ``(process, line)`` of all output; default: nothing is shown.
        verbose: children log at level info instead of warning.

    Raises:
        ConfigurationError: (constructor) a setting can't be used.
    """

    def __init__(
        self,
        app: str,
        directory: Path | str = DEFAULT_DIRECTORY,
        *,
        tick_workers: int | None = None,
        effect_threads: int = 8,
        port: int | None = None,
        database_url: str | None = None,
        redis_url: str | None = None,
        working_directory: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        die_with_parent: bool = False,
        on_line: OnLine | None = None,
        verbose: bool = False,
    ) -> None:
        self.app = app
        self.directory = Path(directory).absolute()
        self._tick_workers = default_tick_workers() if tick_workers is None else tick_workers
        self._effect_threads = effect_threads
        self._port = port
        self._database_url = database_url or f"sqlite:///{self.directory / 'runs.db'}"
        self._redis_url = redis_url
        self._cwd = Path(working_directory or Path.cwd()).absolute()
        self._environment = dict(environment or {})
        self._die_with_parent = die_with_parent
        self._on_line = on_line or (lambda name, line: None)
        self._log_level = "info" if verbose else "warning"
        self._settings: Settings | None = None
        self._supervisor: Supervisor | None = None
        self._running = ExitStack()

    # -- life -----------------------------------------------------------------------------------

    def start(self, timeout: float = _START_TIMEOUT_S, *, give_up: Event | None = None) -> None:
        """Start everything and wait until it is at work.

        Args:
            give_up: once it is set, the start is broken off and leaves nothing behind. An exception of a
                signal handler can't promise that: one raised while a process is being made loses its pid.

        Raises:
            StartBrokenOffError: ``give_up`` was set.
            EmbeddedFleetError: another fleet uses the directory, or a process can't start.
            PortInUseError, ServerError, ServerMissingError: Valkey.
            ServiceUnavailableError: the database can't be used.
        """
        if self._supervisor is not None:
            raise EmbeddedFleetError("This fleet is running already")
        wanted = _Wanted(give_up)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as started:
            lock = FolderLock(self.directory)
            lock.acquire()
            started.callback(lock.release)
            redis_url = self._redis_url or self._start_valkey(started)
            wanted.check()
            self._settings = load_settings(
                app=self.app, database_url=self._database_url, redis_url=redis_url, **self._own_broker()
            )
            upgrade(open_database(self._settings.database_url))
            FleetRecord(self.app, self._settings.database_url, redis_url, os.getpid()).write(self.directory)
            supervisor = Supervisor(
                self._members(self._settings),
                cwd=self._cwd,
                env=self._child_environment(self._settings),
                on_line=self._on_line,
            )
            started.callback(supervisor.stop)
            wanted.check()
            supervisor.start(timeout, wanted.check)
            self._await_listener(supervisor, self._settings, timeout, wanted)
            self._supervisor = supervisor
            self._running = started.pop_all()

    def stop(self) -> None:
        """End everything, softly where possible; no-op when it does not run. Runs go on at the next start."""
        self._supervisor = None
        self._running.close()

    def __enter__(self) -> EmbeddedFleet:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- what is there --------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The fleet's settings: what a `Client` needs to reach it. Known once it was started."""
        if self._settings is None:
            raise EmbeddedFleetError("The fleet has no settings before its first start()")
        return self._settings

    @property
    def processes(self) -> list[ProcessInfo]:
        """The child processes, Valkey not among them; empty when the fleet does not run."""
        return [] if self._supervisor is None else self._supervisor.processes()

    @property
    def failure(self) -> str | None:
        """Why the fleet can't go on (a process keeps dying), or ``None``. Call `stop` then."""
        return None if self._supervisor is None else self._supervisor.failure

    @property
    def broken(self) -> Event:
        """Set when there is a `failure`."""
        return self._require().broken

    def kill_worker(self, name: str = "ticks-1") -> int:
        """``kill -9`` one process, as a crash would; gives its pid. The fleet starts it again.

        Raises:
            KeyError: no process of this name runs.
        """
        return self._require().kill(name)

    def _require(self) -> Supervisor:
        if self._supervisor is None:
            raise EmbeddedFleetError("The fleet does not run: call start() first")
        return self._supervisor

    # -- parts ----------------------------------------------------------------------------------

    def _start_valkey(self, started: ExitStack) -> str:
        server = ValkeyServer(
            self.directory / "valkey",
            port=self._port,
            append_only=True,
            die_with_parent=self._die_with_parent,
        )
        if server.adopt_or_start():
            self._on_line(FLEET, f"took over the running Valkey (pid {server.pid})")
        started.callback(server.stop)
        return server.url

    def _await_listener(
        self, supervisor: Supervisor, settings: Settings, timeout: float, wanted: _Wanted
    ) -> None:
        """What is published after `start` must be heard: wait for the resumer's subscription."""
        with signals_client(settings) as client:
            deadline = time.monotonic() + timeout
            while client.pubsub_numpat() == 0:
                wanted.check()
                if supervisor.broken.wait(_LISTENER_POLL_S):
                    raise EmbeddedFleetError(supervisor.failure or "a process could not start")
                if time.monotonic() > deadline:
                    raise EmbeddedFleetError(f"The resumer does not listen after {timeout:g} s")

    def _own_broker(self) -> dict[str, object]:
        # A broker named in the environment belongs to another fleet than the Valkey started here.
        return {"broker_url": None} if self._redis_url is None else {}

    def _members(self, settings: Settings) -> list[Member]:
        ticks = [f"ticks-{number}" for number in range(1, self._tick_workers + 1)]
        members = [
            Member(name, worker_command(Role.TICKS, settings, name=name, log_level=self._log_level))
            for name in ticks
        ]
        effects = worker_command(
            Role.EFFECTS, settings, concurrency=self._effect_threads, log_level=self._log_level
        )
        return [
            *members,
            Member("effects", effects),
            Member("beat", beat_command(log_level=self._log_level)),
            Member("resumer", resumer_command(log_level=self._log_level)),
        ]

    def _child_environment(self, settings: Settings) -> dict[str, str]:
        env = {**os.environ, **self._environment}
        if self._redis_url is None:
            env.pop("ABSTRACTRUNTIME_BROKER_URL", None)
        env.update(
            ABSTRACTRUNTIME_APP=self.app,
            DATABASE_URL=settings.database_url,
            REDIS_URL=settings.redis_url,
            PYTHONUNBUFFERED="1",
        )
        return env


class _Wanted:
    """Whether a start is to go on."""

    def __init__(self, give_up: Event | None) -> None:
        self._give_up = give_up

    def check(self) -> None:
        if self._give_up is not None and self._give_up.is_set():
            raise StartBrokenOffError("The start was broken off; nothing of it is left")
