"""Counters of what workers do, for logs and Prometheus."""

from __future__ import annotations

from collections import Counter
from threading import Lock

__all__ = ["count", "snapshot"]

_lock = Lock()
_counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()


def count(name: str, amount: int = 1, **labels: str) -> None:
    """Add to a counter."""
    with _lock:
        _counts[name, tuple(sorted(labels.items()))] += amount


def snapshot() -> dict[str, int]:
    """All counters of this process, as ``name{label=value}``."""
    with _lock:
        items = list(_counts.items())
    return {_text(name, labels): value for (name, labels), value in items}


def _text(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return name
    return name + "{" + ",".join(f"{key}={value}" for key, value in labels) + "}"
