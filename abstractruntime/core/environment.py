"""Time and identity as ports, so that a seeded simulation can drive the kernel (`DESIGN §7.1`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from os import urandom

from .models import utc_now, utc_now_iso

__all__ = ["Environment"]

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def _random_id() -> str:
    """A random UUID (version 4) as text. Each step takes one, and `uuid.uuid4` takes twice as long."""
    digits = urandom(16).hex()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _as_text(now: Callable[[], datetime]) -> str:
    return now().isoformat(timespec="microseconds")


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a driver's time and fresh ids come from.

    Attributes:
        now: the current time, aware UTC. A fleet gives the database's clock (`DESIGN §3`).
        new_id: a fresh unique id (36 characters for UUIDs).
        now_iso: ``now`` as ISO 8601 text.
    """

    now: Callable[[], datetime] = field(default=utc_now)
    new_id: Callable[[], str] = field(default=_random_id)
    now_iso: Callable[[], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Asked three times per step: the real clock's own function, without one of ours around it.
        as_text = utc_now_iso if self.now is utc_now else partial(_as_text, self.now)
        object.__setattr__(self, "now_iso", as_text)
