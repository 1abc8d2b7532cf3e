"""WAIT_EVENT and WAIT_UNTIL (`spec/01 §12.1`, §12.2)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ..event_keys import build_event_wait_key
from ..models import Effect, RunState, WaitReason, WaitState
from ..outcome import EffectOutcome
from ..times import parse_time, to_iso, utc_text
from .scope import EffectScope, payload_of, resume_node

__all__ = ["timeout_until", "wait_event", "wait_until"]


def wait_event(run: RunState, effect: Effect, default_next: str | None, scope: EffectScope) -> EffectOutcome:
    """Park until an event arrives.

    Beyond the contract: ``names`` or ``wait_keys`` (lists) wait for any of several, ``timeout_s`` or
    ``timeout_at`` end the wait with ``{"timed_out": true, "until": ...}``.
    """
    payload = payload_of(effect)
    try:
        keys = _keys(run, payload)
    except ValueError as exc:
        return EffectOutcome.failed(f"wait_event invalid payload: {exc}")
    if not keys:
        return EffectOutcome.failed("wait_event requires payload.wait_key or payload.name")
    try:
        until = timeout_until(payload, scope)
    except ValueError as exc:
        return EffectOutcome.failed(f"wait_event invalid payload: {exc}")
    details = dict(payload["details"]) if isinstance(payload.get("details"), dict) else None
    if len(keys) > 1:
        details = {**(details or {}), "wait_keys": keys}
    wait = WaitState(
        reason=WaitReason.EVENT,
        wait_key=keys[0],
        until=until,
        resume_to_node=resume_node(effect, default_next),
        result_key=effect.result_key,
        prompt=_prompt(payload.get("prompt")),
        choices=_choices(payload.get("choices")),
        allow_free_text=_free_text(payload),
        details=details,
    )
    return EffectOutcome.waiting(wait)


def _keys(run: RunState, payload: dict[str, Any]) -> list[str]:
    explicit = payload.get("wait_keys")
    if isinstance(explicit, list) and any(explicit):
        return list(dict.fromkeys(str(key) for key in explicit if key))
    if payload.get("wait_key"):
        return [str(payload["wait_key"])]
    names = payload.get("names") if isinstance(payload.get("names"), list) else None
    if not names:
        name = payload.get("name") or payload.get("event_name")
        names = [name] if name else []
    session_id = payload.get("session_id") or run.session_id or run.run_id
    keys = [
        build_event_wait_key(
            scope=str(payload.get("scope") or "session"),
            name=str(name),
            session_id=str(session_id),
            workflow_id=run.workflow_id,
            run_id=run.run_id,
        )
        for name in names
    ]
    return list(dict.fromkeys(keys))


def timeout_until(payload: dict[str, Any], scope: EffectScope) -> str | None:
    """When a wait times out, as ISO text in UTC; ``None`` without a time-out.

    Raises:
        ValueError: ``timeout_s`` is not a positive number, or ``timeout_at`` is not a time.
    """
    if payload.get("timeout_at") is not None:
        return to_iso(parse_time(str(payload["timeout_at"])))
    seconds = payload.get("timeout_s")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f"timeout_s must be a positive number of seconds, got {seconds!r}")
    return to_iso(scope.now() + timedelta(seconds=seconds))


def _prompt(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _choices(value: object) -> list[str] | None:
    if not isinstance(value, list):
        return None
    return [item.strip() for item in value if isinstance(item, str) and item.strip()]


def _free_text(payload: dict[str, Any]) -> bool:
    for name in ("allow_free_text", "allowFreeText"):
        if payload.get(name) is not None:
            return bool(payload[name])
    return True


def wait_until(run: RunState, effect: Effect, default_next: str | None, scope: EffectScope) -> EffectOutcome:
    """Park until a time; an unparsable time fails instead of never firing (`spec/01 §19.11`)."""
    raw = payload_of(effect).get("until")
    if not raw:
        return EffectOutcome.failed("wait_until requires payload.until (ISO timestamp)")
    try:
        until = parse_time(str(raw))
    except ValueError as exc:
        return EffectOutcome.failed(f"wait_until requires payload.until (ISO timestamp): {exc}")
    if scope.now() >= until:
        return EffectOutcome.completed({"until": str(raw), "ready": True})
    wait = WaitState(
        reason=WaitReason.UNTIL,
        until=utc_text(str(raw)),
        resume_to_node=resume_node(effect, default_next),
        result_key=effect.result_key,
    )
    return EffectOutcome.waiting(wait)
