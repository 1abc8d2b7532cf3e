"""The key under which a provider may keep the prefix of a session's prompts (`spec/04 §6.4`)."""

from __future__ import annotations

import hashlib
from typing import Any

from abstractruntime.core.models import RunState

from ..flags import boolish, env_flag
from .payload import LlmCall, as_text
from .run_settings import runtime_of

__all__ = ["PROMPT_CACHE_SWITCHES", "prompt_cache_key"]

PROMPT_CACHE_SWITCHES = ("ABSTRACTRUNTIME_PROMPT_CACHE", "ABSTRACTGATEWAY_PROMPT_CACHE")
_KEY_DIGITS = 24


def prompt_cache_key(run: RunState, call: LlmCall, params: dict[str, Any]) -> str | None:
    """The key to send, ``None`` for none.

    A caller's own ``params.prompt_cache_key`` stands, also an empty one, which switches caching off. The
    run's setting is ``vars._runtime.prompt_cache``; without it the operator's environment decides.

    Args:
        params: with the final ``trace_metadata``.
    """
    if "prompt_cache_key" in params:
        return None
    setting = runtime_of(run).get("prompt_cache")
    namespace = "session"
    if isinstance(setting, dict):
        fixed = as_text(setting.get("key"))
        if fixed is not None:
            return fixed
        enabled = setting.get("enabled")
        is_on = True if enabled is None else boolish(enabled)
        namespace = as_text(setting.get("namespace")) or namespace
    elif isinstance(setting, bool):
        is_on = setting
    else:
        is_on = any(env_flag(name) for name in PROMPT_CACHE_SWITCHES)
    return _derived(run, call, params, namespace) if is_on else None


def _derived(run: RunState, call: LlmCall, params: dict[str, Any], namespace: str) -> str | None:
    session = as_text(run.session_id) or as_text(params["trace_metadata"].get("session_id"))
    if session is None or call.provider is None or call.model is None:
        return None
    parts = ("v1", session, call.provider.lower(), call.model, run.workflow_id, run.current_node)
    return f"{namespace}:{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:_KEY_DIGITS]}"
