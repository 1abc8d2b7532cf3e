"""The effects the kernel carries out itself, one file per family (`spec/01 §12`).

MEMORY_* effects will stand beside these in `memory.py`; LLM_CALL, TOOL_CALLS and MEMORY_KG_* are wired by
hosts or integrations.
"""

from __future__ import annotations

from ..models import EffectType
from .events import emit_event
from .scope import BuiltinEffect
from .subworkflows import start_subworkflow
from .users import answer_user, ask_user
from .vars_query import vars_query
from .waits import wait_event, wait_until

__all__ = ["BUILTIN_EFFECTS"]

BUILTIN_EFFECTS: dict[EffectType, BuiltinEffect] = {
    EffectType.WAIT_EVENT: wait_event,
    EffectType.WAIT_UNTIL: wait_until,
    EffectType.ASK_USER: ask_user,
    EffectType.ANSWER_USER: answer_user,
    EffectType.EMIT_EVENT: emit_event,
    EffectType.START_SUBWORKFLOW: start_subworkflow,
    EffectType.VARS_QUERY: vars_query,
}
