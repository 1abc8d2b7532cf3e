"""Named points at which a crash test may stop, kill or break a process. Free when off.

``ABSTRACTRUNTIME_FAULTS`` holds rules like ``step.before_commit=kill`` or ``effect.claimed=kill:2`` (the
second time the point is reached in this process), separated by commas. ``FILE`` in ``...=kill@FILE`` must be
creatable: the rule then acts once among all processes. Actions: ``kill`` (SIGKILL to oneself), ``stop``
(SIGSTOP), ``raise`` (`FaultInjected`), ``exit`` (``os._exit(1)``).
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

__all__ = ["FaultInjected", "configure", "hit"]


class FaultInjected(Exception):
    """Raised at a fault point whose rule says ``raise``."""


@dataclass(slots=True)
class _Rule:
    action: str
    at: int
    once_file: str | None
    reached: int = 0


_rules: dict[str, _Rule] = {}


def configure(text: str) -> None:
    """Replace all rules; an empty text switches every point off.

    Raises:
        ValueError: a rule can't be read.
    """
    _rules.clear()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        point, _, rest = part.partition("=")
        rest, _, once_file = rest.partition("@")
        action, _, at = rest.partition(":")
        if action not in ("kill", "stop", "raise", "exit") or not point:
            raise ValueError(f"fault rule '{part}': expected POINT=kill|stop|raise|exit[:N][@FILE]")
        _rules[point] = _Rule(action, int(at or 1), once_file or None)


def hit(point: str) -> None:
    """A named point has been reached."""
    if _rules:
        _act(point)


def _act(point: str) -> None:
    rule = _rules.get(point)
    if rule is None:
        return
    rule.reached += 1
    if rule.reached != rule.at or not _first_of_all(rule.once_file):
        return
    if rule.action == "raise":
        raise FaultInjected(point)
    if rule.action == "exit":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL if rule.action == "kill" else signal.SIGSTOP)


def _first_of_all(path: str | None) -> bool:
    if path is None:
        return True
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


configure(os.environ.get("ABSTRACTRUNTIME_FAULTS", ""))
