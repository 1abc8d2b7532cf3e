"""Real worker processes, started in milliseconds: forked from one process that has everything imported.

A worker spends two seconds of CPU on its imports, several times what a crash test needs otherwise. Here they
are paid once per test process: `Nursery` is a child that has imported Celery, ``workers`` and the tests' App
and has opened nothing; it forks for every worker, which then runs the same main program, ``celery`` or
``workers.resumer``, as on a command line. It dies with the test process and takes its children along.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

__all__ = ["Born", "Nursery"]

ROOT = Path(__file__).resolve().parent.parent.parent


class Nursery:
    """The parent of the workers of one test process; started at first use."""

    _shared: Nursery | None = None

    def __init__(self) -> None:
        self._lock = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @classmethod
    def shared(cls) -> Nursery:
        """This process's nursery."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    @classmethod
    def close_shared(cls) -> None:
        """End it and all its children."""
        if cls._shared is not None:
            cls._shared._end()
            cls._shared = None

    def bear(
        self, module: str, arguments: Sequence[str], env: Mapping[str, str], log: Path, *, fresh: bool = False
    ) -> Born:
        """Start ``python -m module arguments``; its output is appended to ``log``.

        Args:
            fresh: with an interpreter of its own that imports everything itself.
        """
        pid = self._ask(module=module, arguments=list(arguments), env=dict(env), log=str(log), fresh=fresh)[
            "pid"
        ]
        return Born(self, pid)

    def status(self, pid: int) -> int | None:
        """A child's return code as `subprocess` counts it; ``None`` while it lives."""
        code: int | None = self._ask(status=pid)["code"]
        return code

    def _ask(self, **question: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class Born:
    """A process of the nursery; what `subprocess.Popen` offers, as far as tests use it."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.status(self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def is_stopped(self) -> bool:
        """Whether it has been stopped by SIGSTOP, or has stopped itself at a fault point."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


# -- the nursery's own program ----------------------------------------------------------------------


def _serve() -> None:
    _import_everything()
    ended: dict[int, int] = {}
    alive: set[int] = set()
    for line in sys.stdin:
        question = json.loads(line)
        if "status" in question:
            _reap(alive, ended)
            answer: dict[str, object] = {"code": ended.get(question["status"])}
        else:
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                _live(question)
            alive.add(pid)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _reap(alive: set[int], ended: dict[int, int]) -> None:
    for pid in list(alive):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            alive.remove(pid)
            ended[pid] = os.waitstatus_to_exitcode(status)


def _import_everything() -> None:
    """Modules only: no Celery app is made, no connection opened, so that a fork inherits nothing live."""
    import importlib

    for name in (
        "celery.__main__",
        "celery.bin.celery",
        "celery.apps.beat",
        "celery.apps.worker",
        "celery.concurrency.prefork",
        "celery.concurrency.solo",
        "celery.concurrency.thread",
        "kombu.transport.redis",
        "psycopg",
        "abstractruntime.app",
        "workers.celery_app",
        "workers.deployment",
        "workers.dispatch",
        "workers.opening",
        "workers.resumer",
        "workers.retention",
    ):
        importlib.import_module(name)


def _live(question: dict[str, Any]) -> None:
    """The forked child: becomes the asked-for program and never returns."""
    import runpy

    from abstractruntime.core import faults

    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(question["env"])
        faults.configure(os.environ.get("ABSTRACTRUNTIME_FAULTS", ""))
        if question["fresh"]:
            os.execv(sys.executable, [sys.executable, "-m", question["module"], *question["arguments"]])
        sys.argv = [question["module"], *question["arguments"]]
        runpy.run_module(question["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
