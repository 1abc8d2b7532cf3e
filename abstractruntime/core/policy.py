"""How often an effect is tried, and by which key its outcome is known again (`spec/01 §5.1-5.4`).

Stored data depends on the exact bytes of the key: a key that changes between releases repeats side effects
after an upgrade.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

from .members import TOOL_CALLS
from .models import Effect, EffectType, RunState
from .quick_json import quick_encode
from .step_stamp import step_stamp

__all__ = [
    "DefaultEffectPolicy",
    "EffectPolicy",
    "NoRetryPolicy",
    "PerVisitPolicy",
    "RetryPolicy",
    "compute_idempotency_key",
    "with_runtime_call_ids",
]

_KEY_LENGTH = 32
_CALL_ID_FIELDS = frozenset({"call_id", "id", "runtime_call_id", "model_call_id", "idempotency_key"})
_MAX_EXPONENT = 1023  # 2.0**1024 is no float any more; the cap on the delay is far below either way.

# A set default= would make keys out of values that no store can hold, so there is none.
_encode = quick_encode(json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True))
_text = json.encoder.encode_basestring_ascii


@runtime_checkable
class EffectPolicy(Protocol):
    """What a host may decide about effects. Any object with these methods will do."""

    def max_attempts(self, effect: Effect) -> int:
        """How often to try; 1 is no retry."""
        ...

    def backoff_seconds(self, *, effect: Effect, attempt: int) -> float:
        """Seconds to wait after the failed attempt number ``attempt`` (1-based)."""
        ...

    def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
        """The key under which this effect's outcome is recorded and found again."""
        ...


@dataclass
class DefaultEffectPolicy:
    """One attempt unless told otherwise, exponential backoff, keys by content.

    Attributes:
        default_max_attempts: attempts for effect types not named below.
        default_backoff_base: seconds after the first failure; doubled after each further one.
        default_backoff_max: upper bound of that delay, in seconds.
        effect_max_attempts: attempts by effect type value, e.g. ``{"llm_call": 3}``; ``None`` becomes ``{}``.
    """

    default_max_attempts: int = 1
    default_backoff_base: float = 1.0
    default_backoff_max: float = 60.0
    effect_max_attempts: dict[str, int] | None = None

    def __post_init__(self) -> None:
        if self.effect_max_attempts is None:
            self.effect_max_attempts = {}

    def max_attempts(self, effect: Effect) -> int:
        """The number for the effect's type, else the default."""
        by_type = self.effect_max_attempts
        if not by_type:
            return self.default_max_attempts
        return by_type.get(effect.type._value_, self.default_max_attempts)

    def backoff_seconds(self, *, effect: Effect, attempt: int) -> float:
        """``base * 2**(attempt-1)`` seconds, at most the configured maximum."""
        growth: float = 2.0 ** min(attempt - 1, _MAX_EXPONENT)
        return min(self.default_backoff_base * growth, self.default_backoff_max)

    def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
        """See `compute_idempotency_key`."""
        return compute_idempotency_key(run_id=run.run_id, node_id=node_id, effect=effect)


class RetryPolicy(DefaultEffectPolicy):
    """Retries LLM calls and tool calls; every other effect gets one attempt. Delays are in seconds."""

    def __init__(
        self,
        *,
        llm_max_attempts: int = 3,
        tool_max_attempts: int = 2,
        backoff_base: float = 1.0,
        backoff_max: float = 30.0,
    ) -> None:
        super().__init__(
            default_max_attempts=1,
            default_backoff_base=backoff_base,
            default_backoff_max=backoff_max,
            effect_max_attempts={
                EffectType.LLM_CALL.value: llm_max_attempts,
                EffectType.TOOL_CALLS.value: tool_max_attempts,
            },
        )


class NoRetryPolicy(DefaultEffectPolicy):
    """Every effect gets one attempt."""

    def __init__(self) -> None:
        super().__init__(default_max_attempts=1)


class PerVisitPolicy:
    """Opt-in: each visit of a node is a request of its own, also when it asks the same as the visit before
    (`spec/01 §5.5`, §19.9).

    Two visits differ in the checkpoint they begin at. A step that runs again after a crash or a pause begins
    at the same one and still takes its recorded result; a run that somebody rewound by hand does not.

    Args:
        inner: attempts, backoff and the key of the content; default `DefaultEffectPolicy`.
    """

    def __init__(self, inner: EffectPolicy | None = None) -> None:
        self._inner = DefaultEffectPolicy() if inner is None else inner

    def max_attempts(self, effect: Effect) -> int:
        """As the inner policy has it."""
        return self._inner.max_attempts(effect)

    def backoff_seconds(self, *, effect: Effect, attempt: int) -> float:
        """As the inner policy has it."""
        return self._inner.backoff_seconds(effect=effect, attempt=attempt)

    def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
        """The inner policy's key, made different for each visit; 32 hex characters."""
        key = self._inner.idempotency_key(run=run, node_id=node_id, effect=effect)
        return sha256(f"{key}|{step_stamp(run)}".encode()).hexdigest()[:_KEY_LENGTH]


def compute_idempotency_key(*, run_id: str, node_id: str, effect: Effect) -> str:
    """The 32 hex characters that stand for "this run, this node, this request" (`spec/01 §5.3`).

    ``result_key`` is not part of it, nor are ids that a model provider makes up anew for the same tool call,
    nor the order of ``allowed_tools``. It has no occurrence counter: a loop that asks the same thing at the
    same node gets the same key.

    Raises:
        TypeError, ValueError: JSON can't encode the payload (a foreign type, a cycle).
    """
    payload = effect.payload
    if type(payload) is not dict or effect.type is TOOL_CALLS:
        payload = _normalised_payload(effect)
    # An object of these four names in their order, put together by hand: every step takes one.
    text = (
        f'{{"effect_payload":{_encode(payload)},"effect_type":"{effect.type._value_}",'
        f'"node_id":{_text(node_id)},"run_id":{_text(run_id)}}}'
    )
    return sha256(text.encode("ascii")).hexdigest()[:_KEY_LENGTH]


def _normalised_payload(effect: Effect) -> dict[str, Any]:
    payload = effect.payload
    if not isinstance(payload, dict):
        return {}
    if effect.type is not TOOL_CALLS:
        return payload
    normalised = dict(payload)
    calls = payload.get("tool_calls")
    if isinstance(calls, list):
        normalised["tool_calls"] = [_normalised_call(c) if isinstance(c, dict) else c for c in calls]
    allowed = payload.get("allowed_tools")
    if isinstance(allowed, list):
        normalised["allowed_tools"] = _normalised_names(allowed)
    return normalised


def _normalised_call(call: dict[str, Any]) -> dict[str, Any]:
    normalised = {key: value for key, value in call.items() if key not in _CALL_ID_FIELDS}
    name = normalised.get("name")
    if isinstance(name, str):
        normalised["name"] = name.strip()
    normalised["arguments"] = _normalised_arguments(normalised.get("arguments"))
    function = normalised.get("function")
    if isinstance(function, dict):
        normalised["function"] = _normalised_call(function)
    return normalised


def _normalised_arguments(arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):  # not JSON, or nested beyond what the parser bears
            return {}
    return arguments if isinstance(arguments, dict) else {}


def _normalised_names(names: Iterable[Any]) -> list[str]:
    stripped = {name.strip() for name in names if isinstance(name, str)}
    return sorted(stripped - {""})


def with_runtime_call_ids(effect: Effect, idempotency_key: str) -> Effect:
    """A TOOL_CALLS effect whose calls carry ids of the runtime's own (`spec/01 §5.4`).

    ``runtime_call_id`` is derived from the key and the position, so it survives restarts and providers that
    make up new ids. Entries that are no objects count as positions but stay as they are. Payload, list and
    entries are copies (values inside an entry, such as ``arguments``, are shared); any other effect, or one
    without a list ``tool_calls``, is returned as it is.
    """
    if effect.type is not TOOL_CALLS or not isinstance(effect.payload, dict):
        return effect
    calls = effect.payload.get("tool_calls")
    if not isinstance(calls, list):
        return effect
    payload = dict(effect.payload)
    payload["tool_calls"] = [
        _with_ids(call, f"rtcall_{idempotency_key}_{position}") if isinstance(call, dict) else call
        for position, call in enumerate(calls, start=1)
    ]
    allowed = payload.get("allowed_tools")
    if isinstance(allowed, list):
        payload["allowed_tools"] = _normalised_names(allowed)
    return Effect(type=effect.type, payload=payload, result_key=effect.result_key)


def _with_ids(call: dict[str, Any], fresh_id: str) -> dict[str, Any]:
    named = dict(call)
    if not _stripped(call.get("runtime_call_id")):
        named["runtime_call_id"] = fresh_id
    given = call.get("call_id") if call.get("call_id") is not None else call.get("id")
    named["call_id"] = _stripped(given) or named["runtime_call_id"]
    name = call.get("name")
    if isinstance(name, str):
        named["name"] = name.strip()
    return named


def _stripped(value: Any) -> str:
    return "" if value is None else str(value).strip()
