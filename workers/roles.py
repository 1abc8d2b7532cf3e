"""The command line of each kind of process of a fleet, in one place for the CLI and the embedded fleet.

Ticks are short, so a process of its own with the ``solo`` pool is the quickest way to take them
(`RESEARCH §7`); effects are slow calls, so they want many threads (or processes) of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["Command", "Pool", "Role", "beat_command", "resumer_command", "worker_command"]


class Role(str, Enum):
    """What a worker takes from the broker."""

    TICKS = "ticks"
    EFFECTS = "effects"


class Pool(str, Enum):
    """Celery's pools that this fleet is tested with."""

    SOLO = "solo"
    THREADS = "threads"
    PREFORK = "prefork"


@dataclass(frozen=True, slots=True)
class Command:
    """A Python module to run as a program, and its arguments."""

    module: str
    args: tuple[str, ...] = ()


_EFFECT_CONCURRENCY = 8


def worker_command(
    role: Role,
    settings: Settings,
    *,
    concurrency: int | None = None,
    pool: Pool | None = None,
    name: str | None = None,
    log_level: str = "info",
    extra: Sequence[str] = (),
) -> Command:
    """A Celery worker for one of the two queues.

    Args:
        concurrency: parallel tasks; default: 1 for ticks, 8 for effects.
        pool: default: ``solo`` for one tick at a time, else ``threads``.
        name: the worker's node name; default: the role.
        log_level: as Celery knows it, e.g. ``warning``.
        extra: further arguments for Celery.
    """
    if concurrency is None:
        concurrency = 1 if role is Role.TICKS else _EFFECT_CONCURRENCY
    if pool is None:
        pool = Pool.SOLO if role is Role.TICKS and concurrency == 1 else Pool.THREADS
    queue = settings.tick_queue if role is Role.TICKS else settings.effect_queue
    # Gossip and mingle talk to every other worker at start and on each change: nobody here needs it.
    args = ["-Q", queue, "--pool", pool.value, "--concurrency", str(concurrency)]
    args += ["--without-gossip", "--without-mingle", "-n", f"{name or role.value}@%h", "-l", log_level]
    return Command("celery", ("-q", "-A", "workers", "worker", *args, *extra))


def beat_command(*, log_level: str = "info", extra: Sequence[str] = ()) -> Command:
    """Celery beat. Its schedule is kept in memory: it is a pulse, so there is nothing to remember, and
    nothing that a killed beat could leave broken on disk."""
    args = ("-S", "celery.beat:Scheduler", "--pidfile=", "-l", log_level)
    return Command("celery", ("-q", "-A", "workers", "beat", *args, *extra))


def resumer_command(*, log_level: str = "info") -> Command:
    """The process that turns published events into inbox events."""
    return Command("workers.resumer", ("-l", log_level))
