"""The parameters of a call: the caller's, and what the run adds (`spec/04 §6.3` to §6.7)."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import RunState

from .budgets import with_output_budget
from .payload import LlmCall, first_given
from .prompt_cache import prompt_cache_key
from .run_settings import runtime_of
from .trace_context import trace_metadata

__all__ = ["call_params", "with_media_defaults"]


def call_params(run: RunState, call: LlmCall) -> dict[str, Any]:
    """The caller's params with trace context, prompt cache, routing and output budget. A copy."""
    params = dict(call.params)
    params["trace_metadata"] = trace_metadata(run, params.get("trace_metadata"))
    cache_key = prompt_cache_key(run, call, params)
    if cache_key is not None:
        params["prompt_cache_key"] = cache_key
    for name, value in (("_provider", call.provider), ("_model", call.model)):
        if value is not None:
            params[name] = value
    return with_output_budget(run, call, params)


def with_media_defaults(run: RunState, params: dict[str, Any], *, has_media: bool) -> dict[str, Any]:
    """How media are to be treated, where the caller does not say: never as pictures of text, and speech as
    the run's settings say."""
    params = dict(params)
    if has_media:
        params.setdefault("glyph_compression", "never")
    runtime = runtime_of(run)
    for name, sources in (
        ("audio_policy", ("audio_policy",)),
        ("stt_language", ("stt_language", "audio_language")),
    ):
        value = first_given(runtime, *sources)
        if name not in params and value is not None:
            params[name] = value
    return params
