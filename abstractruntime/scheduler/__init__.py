"""Driving runs in this process: timers, recovery, events, wired together (`spec/02 §12`-§14)."""

from __future__ import annotations

from .convenience import ScheduledRuntime, create_scheduled_runtime
from .registry import WorkflowRegistry
from .scheduler import Scheduler, SchedulerStats

__all__ = ["ScheduledRuntime", "Scheduler", "SchedulerStats", "WorkflowRegistry", "create_scheduled_runtime"]
