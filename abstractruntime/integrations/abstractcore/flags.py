"""Switches as people and models write them (`spec/04 §1.3`, §6.1)."""

from __future__ import annotations

import os

__all__ = ["boolish", "env_flag", "is_truthy_text"]

_TRUTHY = frozenset({"1", "true", "yes", "y", "on"})


def is_truthy_text(text: str) -> bool:
    """Whether the trimmed text is one of ``1 true yes y on``, in any case."""
    return text.strip().lower() in _TRUTHY


def boolish(value: object) -> bool:
    """A bool as it is, a number other than 0, a truthy text; everything else is false."""
    if isinstance(value, (bool, int, float)):
        return bool(value)
    return isinstance(value, str) and is_truthy_text(value)


def env_flag(name: str) -> bool:
    """Whether the environment variable is set to a truthy text, now: nothing is read at import."""
    return is_truthy_text(os.environ.get(name, ""))
