"""What carries out LLM and tool effects, as one map for a runtime or an app (`spec/04 §6`, §7.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from abstractruntime.core.models import EffectType
from abstractruntime.core.outcome import EffectHandler

from ._llm_call.handler import make_llm_call_handler
from ._tool_calls.handler import make_tool_calls_handler

if TYPE_CHECKING:
    from .llm_client import AbstractCoreLLMClient
    from .tool_executor import ToolExecutor

__all__ = ["build_effect_handlers", "make_llm_call_handler", "make_tool_calls_handler"]


def build_effect_handlers(
    *,
    llm: AbstractCoreLLMClient,
    tools: ToolExecutor | None = None,
    artifact_store: Any = None,
    run_store: Any = None,
) -> dict[EffectType, EffectHandler]:
    """Handlers for ``LLM_CALL`` and ``TOOL_CALLS``.

    Args:
        llm: anything with ``generate(*, prompt, messages, system_prompt, tools, media, params) -> dict``.
        tools: without an executor, tool calls fail with a text that says how to give one.
        artifact_store: of media and session attachments.
        run_store: where the owner of a session's attachments is kept, and owners of media are looked up.
    """
    return {
        EffectType.LLM_CALL: make_llm_call_handler(
            llm=llm, artifact_store=artifact_store, run_store=run_store
        ),
        EffectType.TOOL_CALLS: make_tool_calls_handler(
            tools=tools, artifact_store=artifact_store, run_store=run_store
        ),
    }
