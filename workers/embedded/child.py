"""One process of the embedded fleet: its life, its lifeline and its output."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread

from ..roles import Command
from .launcher import READY

__all__ = ["ChildProcess"]

_LAUNCHER = "workers.embedded.launcher"
_LAST_LINES = 20
_OUTPUT_PATIENCE_S = 1.0


class ChildProcess:
    """A started child. Its output goes line by line to ``on_line`` (from a thread of its own)."""

    def __init__(
        self, command: Command, *, cwd: Path, env: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _LAUNCHER, str(theirs.fileno()), command.module, *command.args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=_with_own_packages(env),
                pass_fds=(theirs.fileno(),),
                # Ctrl-C in the terminal is for the supervisor: it stops its children in order.
                start_new_session=True,
                text=True,
                errors="replace",
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._lifeline = ours
        self._ready = False
        self._closed = False
        self.started_at = time.monotonic()
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._on_line = on_line
        self._reader = Thread(target=self._read, name=f"output-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it has said that it is at work."""
        if not self._ready and not self._closed:
            with suppress(BlockingIOError, ConnectionError):
                self._ready = self._lifeline.recv(1) == READY
        return self._ready

    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, for people; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"

    def send(self, number: signal.Signals) -> None:
        """A signal to the process, unless it has ended."""
        self._process.send_signal(number)

    def kill_all(self) -> None:
        """SIGKILL to the process and whatever it has started (it leads a process group of its own)."""
        if self.is_running():
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended within ``timeout`` seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """After its end: read its last words and give its descriptors back."""
        self._reader.join(_OUTPUT_PATIENCE_S)
        self._closed = True
        self._lifeline.close()
        if not self._reader.is_alive() and self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            text = line.rstrip()
            if text:
                self.last_lines.append(text)
                self._on_line(text)


def _with_own_packages(env: Mapping[str, str]) -> dict[str, str]:
    """Children run in a folder of the user's; in a clone that is not installed they must still find us."""
    root = Path(__file__).parents[2]
    if root.name in ("site-packages", "dist-packages"):
        return dict(env)
    paths = [str(root), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(paths)}
