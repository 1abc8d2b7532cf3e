"""Real worker processes that tests talk to over their pipes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.poll import eventually

__all__ = ["OWN_TOOLS", "REAL", "ROOT", "WorkerProcess"]

ROOT = Path(__file__).resolve().parents[3]
OWN_TOOLS = ("-m", "tests.abstractcore.mcp_worker.own_tools")
REAL = ("-m", "abstractruntime.integrations.abstractcore.mcp_worker")


class WorkerProcess:
    """A worker as a child process: stdin and stdout are pipes, stderr is a file."""

    def __init__(self, *arguments: str, log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            )

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return self._log.read_text(encoding="utf-8")

    def send(self, *messages: bytes | dict[str, Any] | list[Any]) -> None:
        """One line each; bytes as they are."""
        assert self.process.stdin is not None
        for message in messages:
            line = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n"
            self.process.stdin.write(line)
        self.process.stdin.flush()

    def line(self) -> bytes:
        """The next line of stdout; empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def answer(self) -> Any:
        """The next line, which must be JSON."""
        return json.loads(self.line())

    def finish(self) -> tuple[int, bytes]:
        """Close stdin; the exit code and what was left on stdout."""
        rest, _ = self.process.communicate(timeout=60)
        return self.process.returncode, rest

    def url(self) -> str:
        """Where it listens, once it does."""

        def found() -> Sequence[str]:
            assert self.process.poll() is None, self.log
            return re.findall(r"\[LISTENING\] \S+ (\S+)", self.log)

        return eventually(found, timeout=60)[0]
