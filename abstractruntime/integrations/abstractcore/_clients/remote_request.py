"""The body and headers of a request to an AbstractCore server (`spec/04 §5`)."""

from __future__ import annotations

import json
import logging
from typing import Any

from ..json_values import json_value
from .internal_messages import without_internal_messages

__all__ = ["chat_body", "chat_headers"]

logger = logging.getLogger(__name__)

_COPIED = (
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "top_p",
    "thinking",
    "reasoning_effort",
    "tool_choice",
    "prompt_cache_retention",
    "unload_after",
)
"""Params that the server takes under the same name; the last six are ours, not the published package's."""

_TRACE_HEADERS = {
    "actor_id": "X-AbstractCore-Actor-Id",
    "session_id": "X-AbstractCore-Session-Id",
    "run_id": "X-AbstractCore-Run-Id",
    "parent_run_id": "X-AbstractCore-Parent-Run-Id",
}
_TRACE_METADATA = "X-AbstractCore-Trace-Metadata"


def chat_body(
    *,
    model: str,
    timeout_s: float,
    prompt: Any,
    messages: Any,
    system_prompt: Any,
    tools: Any,
    params: dict[str, Any],
) -> dict[str, Any]:
    """The JSON body of ``POST /v1/chat/completions``.

    Prompt and messages both go out, the prompt last, as in local mode. ``max_output_tokens`` becomes
    ``max_tokens``, ``_provider`` and ``_model`` the model's name, ``response_model`` a ``response_format``
    (`spec/04 §16.1`, §16.2). Params that the server does not know are left out.
    """
    body: dict[str, Any] = {
        "model": _model_name(model, params),
        "messages": _messages(prompt, messages, system_prompt),
        "stream": False,
        "timeout_s": timeout_s,
    }
    if params.get("base_url"):
        body["base_url"] = params["base_url"]
    cache_key = params.get("prompt_cache_key")
    if isinstance(cache_key, str) and cache_key.strip():
        body["prompt_cache_key"] = cache_key.strip()
    temperature = _as_float(params.get("temperature"))
    if temperature is not None:
        body["temperature"] = temperature
    seed = _as_seed(params.get("seed"))
    if seed is not None:
        body["seed"] = seed
    budget = params.get("max_output_tokens")
    max_tokens = budget if budget is not None else params.get("max_tokens")
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    for name in _COPIED:
        if params.get(name) is not None:
            body[name] = json_value(params[name])
    if tools is not None:
        body["tools"] = tools
    _add_response_format(body, params.get("response_model"))
    return body


def chat_headers(own: dict[str, str], params: dict[str, Any]) -> dict[str, str]:
    """The client's headers and those of the trace; values are printable ASCII, as HTTP wants them.

    In the JSON of the metadata other characters are ``\\u`` escapes, in the ids they are backslash escapes.
    """
    headers = dict(own)
    trace = params.get("trace_metadata")
    if not isinstance(trace, dict) or not trace:
        return headers
    taken = {name.lower() for name in headers if name.lower() != _TRACE_METADATA.lower()}
    headers = {name: value for name, value in headers.items() if name.lower() in taken}
    headers[_TRACE_METADATA] = json.dumps(json_value(trace), separators=(",", ":"), ensure_ascii=True)
    for key, name in _TRACE_HEADERS.items():
        value = trace.get(key)
        if value is not None and str(value) and name.lower() not in taken:
            headers[name] = _printable(str(value))
    return headers


def _model_name(model: str, params: dict[str, Any]) -> str:
    """What the call asks for, as the server names it: ``provider/model``."""
    provider, wanted = (_text(params.get(key)) for key in ("_provider", "_model"))
    name = wanted or model
    if not provider:
        return name
    provider = provider.lower()
    return name if name.lower().startswith(f"{provider}/") else f"{provider}/{name}"


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _messages(prompt: Any, messages: Any, system_prompt: Any) -> list[dict[str, Any]]:
    turns = without_internal_messages(messages) or []
    turn = {"role": "user", "content": prompt}
    has_prompt = isinstance(prompt, str) and bool(prompt.strip())
    if not turns or (has_prompt and not _is_same_turn(turns[-1], prompt)):
        turns = [*turns, turn]
    return [{"role": "system", "content": system_prompt}, *turns] if system_prompt else turns


def _is_same_turn(message: dict[str, Any], prompt: str) -> bool:
    return message.get("role") == "user" and message.get("content") == prompt


def _as_float(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _as_seed(value: Any) -> int | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        seed = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seed if seed >= 0 else None


def _add_response_format(body: dict[str, Any], model: Any) -> None:
    schema = model if isinstance(model, dict) else None
    describe = getattr(model, "model_json_schema", None)
    if callable(describe):
        schema = describe()
    if schema is None:
        return
    if body.get("tools"):
        # The server refuses both together; without the schema the answer is still parsed by the handler.
        logger.warning("the server takes no schema together with tools: the answer's shape is not enforced")
        return
    name = getattr(model, "__name__", "StructuredOutput")
    body["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": str(name), "schema": json_value(schema)},
    }


def _printable(text: str) -> str:
    """Also no line breaks, with which an id could end the header and begin another."""
    return "".join(
        char if " " <= char <= "~" else char.encode("unicode_escape").decode("ascii") for char in text
    ).strip()
