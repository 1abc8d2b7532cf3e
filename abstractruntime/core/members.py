"""The enum members that every step is compared with.

Reading a member from its class takes ten times as long as reading a global, and a step does it a dozen times.
"""

from __future__ import annotations

from typing import Final

from .models import EffectType, RunStatus, StepStatus

__all__ = ["LLM_CALL", "RUNNING", "STEP_COMPLETED", "STEP_STARTED", "TOOL_CALLS"]

RUNNING: Final = RunStatus.RUNNING
STEP_STARTED: Final = StepStatus.STARTED
STEP_COMPLETED: Final = StepStatus.COMPLETED
LLM_CALL: Final = EffectType.LLM_CALL
TOOL_CALLS: Final = EffectType.TOOL_CALLS
