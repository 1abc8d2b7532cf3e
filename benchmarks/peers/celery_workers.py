"""Worker processes of a Celery app that lies among the scripts, in a peer's environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .script import SCRIPTS, clean_environment

__all__ = ["celery_workers"]


@contextmanager
def celery_workers(
    python: Path, app: str, queue: str, variables: Mapping[str, str], *, pool: str, processes: int
) -> Iterator[None]:
    """``processes`` processes that execute tasks: one prefork worker, or that many solo workers."""
    prefork = pool == "prefork"
    command = [str(python), "-W", "ignore", "-m", "celery", "-A", app, "worker", "-Q", queue, "-P", pool]
    command += ["-c", str(processes if prefork else 1), "--without-gossip", "--without-mingle"]
    command += ["--without-heartbeat", "-l", "error"]
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(1 if prefork else processes):
            workers.append(
                subprocess.Popen(
                    [*command, "-n", f"{app}{index}@{os.getpid()}"],
                    env=clean_environment(variables),
                    cwd=SCRIPTS,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
