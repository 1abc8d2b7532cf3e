"""A server as a child process: started in a session of its own, ended by its pid."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, Signals

from .server_errors import ServerError

__all__ = ["Child", "OrphanGuard", "log_tail", "wait_until"]

_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until the condition holds; False when it still does not after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def log_tail(log: Path, *, offset: int = 0, lines: int = 12) -> str:
    """The last lines of a log file, for an error message. `offset`: where in the file to begin, in bytes."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


class OrphanGuard:
    """Sends `signal` to `pid` when the process that made this guard dies, however it dies.

    A shell waits for the end of a pipe whose other end only the parent holds: the kernel closes it even after
    SIGKILL. Prefer this to PR_SET_PDEATHSIG, which is Linux only and fires when the starting *thread* ends.
    """

    def __init__(self, pid: int, signal: Signals) -> None:
        script = f"read -r _; kill -s {signal.name.removeprefix('SIG')} {pid}"
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """End the guard without the signal. Call it before the pid is given up: a pid may be used again."""
        # SIGKILL first: closing the pipe first would set the guard off.
        self._shell.kill()
        self._shell.wait()
        if self._shell.stdin is not None:
            self._shell.stdin.close()


class Child:
    """A running server process.

    argv: the command, with an absolute path. log: file that takes its output (appended).
    pass_fds: descriptors it inherits. user: name of the system user to run as (needs root), None for one's
    own. env: its whole environment, None to inherit. guard: signal it gets when this process dies, None to
    outlive it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        pass_fds: Sequence[int] = (),
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        guard: Signals | None = None,
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                pass_fds=tuple(pass_fds),
                user=user,
                extra_groups=None if user is None else [],
                # Control-C in the terminal is for the supervisor: it stops its servers in the right order.
                start_new_session=True,
            )
        self._guard = None if guard is None else OrphanGuard(self.pid, guard)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process lives; once it has ended it is reaped here and its guard goes too."""
        if self._process.poll() is None:
            return True
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None
        return False

    def end(self, signal: Signals, timeout: float) -> bool:
        """Send the signal and wait; whether the process has ended within `timeout` seconds."""
        # Popen knows whether the pid is still ours and sends nothing to one that was already reaped.
        self._process.send_signal(signal)
        return wait_until(lambda: not self.is_running(), timeout)

    def kill(self, timeout: float = 10.0) -> None:
        """SIGKILL and wait. Raises ServerError if the kernel has not ended it after `timeout` seconds."""
        if not self.end(SIGKILL, timeout):
            raise ServerError(f"Process {self.pid} is still there {timeout:g} s after SIGKILL.")
