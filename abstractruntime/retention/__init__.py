"""Removing what is old: ended runs with all that belongs to them, and expired events (`spec/02 §15` P-8)."""

from __future__ import annotations

from .durations import parse_duration
from .policy import RetentionPolicy
from .purge import EventInbox, purge
from .report import PurgeReport

__all__ = ["EventInbox", "PurgeReport", "RetentionPolicy", "parse_duration", "purge"]
