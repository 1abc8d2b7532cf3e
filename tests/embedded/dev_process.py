"""``abstractruntime dev`` as a process of its own, started and ended by a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import TracebackType

import psutil

from tests.poll import eventually

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.embedded.flows:app"
PATIENCE_S = 60.0


class DevProcess:
    """Its context starts it, waits until it is ready, and leaves nothing behind."""

    def __init__(self, directory: Path, *args: str) -> None:
        self.directory = directory
        self._args = args
        self.lines: list[str] = []
        self._seen: dict[int, psutil.Process] = {}

    def __enter__(self) -> DevProcess:
        command = [
            sys.executable,
            "-m",
            "abstractruntime.cli",
            "dev",
            "--app",
            APP,
            "-d",
            str(self.directory),
        ]
        env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        self.process = subprocess.Popen(
            [*command, "--workers", "1", *self._args],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            eventually(self._is_ready, timeout=PATIENCE_S, message="dev is ready")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.family()
        for process in (*self._seen.values(), self.process):
            if process.is_running() if isinstance(process, psutil.Process) else process.poll() is None:
                process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def family(self) -> list[psutil.Process]:
        """All processes that it has started and that live."""
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._seen[child.pid] = child
        return [child for child in self._seen.values() if is_alive(child)]

    def named(self, name: str) -> psutil.Process:
        """The child that runs this member."""
        for child in self.family():
            if any(word in (name, f"{name}@%h") for word in child.cmdline()):
                return child
        raise AssertionError(f"no process {name}")

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """As Ctrl-C does; its exit code."""
        self.family()
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"dev ended with {self.process.returncode}:\n{self.text}")
        return "ready." in self.text

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
