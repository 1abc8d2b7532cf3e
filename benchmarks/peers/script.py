"""A peer's script as a child process: requests go in, replies come out, one JSON object per line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Timer
from types import TracebackType
from typing import Any

__all__ = ["SCRIPTS", "PeerError", "Script", "clean_environment"]

SCRIPTS = Path(__file__).resolve().parent / "scripts"
_LOG_TAIL = 2000
_NOT_PASSED_ON = ("PYTHON", "PG", "DBOS", "LANGSMITH", "LANGCHAIN", "LANGGRAPH", "OTEL", "CELERY", "ABSURD")


class PeerError(Exception):
    """A peer's script failed; the message has its last words."""


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This environment and `variables`, without what would lead a peer here or out of the machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    return {**kept, **variables}


class Script:
    """One running script. Ends when the block does; a script that does not answer in time is killed."""

    def __init__(self, python: Path | str, name: str, *arguments: str, variables: Mapping[str, str]) -> None:
        with ExitStack() as undo:
            folder = undo.enter_context(TemporaryDirectory(prefix="ar-peer-"))
            self._log = Path(folder) / "log"
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [str(python), str(SCRIPTS / name), *arguments],
                    cwd=folder,
                    env=clean_environment(variables),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
            self._name = " ".join((name, *arguments))
            self._undo = undo.pop_all()

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Until the script says so."""
        self._reply("start", timeout)

    def send(self, command: str, **arguments: Any) -> None:
        """Ask; `receive` has the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._process.stdin.flush()

    def receive(self, command: str, timeout: float = 300.0) -> Any:
        """The answer to the last request.

        Raises:
            PeerError: the script raised, ended, or was still silent after `timeout` seconds.
        """
        return self._reply(command, timeout)

    def ask(self, command: str, **arguments: Any) -> Any:
        """`send`, then `receive`."""
        self.send(command, **arguments)
        return self.receive(command)

    def _reply(self, command: str, timeout: float) -> Any:
        assert self._process.stdout is not None
        silent = Event()

        def give_up() -> None:
            silent.set()
            self._process.kill()

        watchdog = Timer(timeout, give_up)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            what = f"was silent for {timeout:g} s" if silent.is_set() else "ended"
            tail = self._log.read_text(errors="replace")[-_LOG_TAIL:]
            raise PeerError(f"{self._name} {what} at {command!r}. Its last words:\n{tail}")
        reply = json.loads(line)
        if "error" in reply:
            raise PeerError(f"{self._name}: {command}: {reply['error']}")
        return reply["result"]

    def close(self) -> None:
        """End the script: its input ends, then SIGTERM, then SIGKILL."""
        with self._undo:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def __enter__(self) -> Script:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
