"""The kernel: what a run is and how it takes one step (`spec/01`). No I/O, no SQL, no Celery.

The names below are imported on first use, so that a fleet's processes don't load the in-process driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import RuntimeConfig
    from .models import (
        Effect,
        EffectType,
        LimitWarning,
        RunState,
        RunStatus,
        StepPlan,
        WaitReason,
        WaitState,
    )
    from .runtime import Runtime
    from .spec import WorkflowSpec
    from .vars import LIMITS, ensure_limits, get_limits

__all__ = [
    "LIMITS",
    "Effect",
    "EffectType",
    "LimitWarning",
    "RunState",
    "RunStatus",
    "Runtime",
    "RuntimeConfig",
    "StepPlan",
    "WaitReason",
    "WaitState",
    "WorkflowSpec",
    "ensure_limits",
    "get_limits",
]

_HOMES = {
    "RuntimeConfig": "config",
    "Runtime": "runtime",
    "WorkflowSpec": "spec",
    "LIMITS": "vars",
    "ensure_limits": "vars",
    "get_limits": "vars",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'models')}"), name)
    globals()[name] = value
    return value
