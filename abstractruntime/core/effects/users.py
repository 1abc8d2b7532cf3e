"""ASK_USER and ANSWER_USER (`spec/01 §12.3`, §12.4)."""

from __future__ import annotations

from ..models import Effect, RunState, WaitReason, WaitState
from ..outcome import EffectOutcome
from .scope import EffectScope, payload_of, resume_node
from .waits import timeout_until

__all__ = ["answer_user", "ask_user"]

_LEVELS = {"warn": "warning", "warning": "warning", "error": "error"}


def ask_user(run: RunState, effect: Effect, default_next: str | None, scope: EffectScope) -> EffectOutcome:
    """Park until a person answers. Beyond the contract: ``timeout_s`` / ``timeout_at`` as in WAIT_EVENT."""
    payload = payload_of(effect)
    if not payload.get("prompt"):
        return EffectOutcome.failed("ask_user requires payload.prompt")
    try:
        until = timeout_until(payload, scope)
    except ValueError as exc:
        return EffectOutcome.failed(f"ask_user invalid payload: {exc}")
    choices = payload.get("choices")
    free_text = payload.get("allow_free_text")
    wait = WaitState(
        reason=WaitReason.USER,
        wait_key=str(payload.get("wait_key") or f"user:{run.run_id}:{run.current_node}"),
        until=until,
        resume_to_node=resume_node(effect, default_next),
        result_key=effect.result_key,
        prompt=str(payload["prompt"]),
        choices=choices if isinstance(choices, list) else None,
        allow_free_text=True if free_text is None else bool(free_text),
    )
    return EffectOutcome.waiting(wait)


def answer_user(run: RunState, effect: Effect, default_next: str | None, scope: EffectScope) -> EffectOutcome:
    """Tell the person something without waiting; an empty message is valid."""
    payload = payload_of(effect)
    message = payload.get("message")
    if message is None:
        message = payload.get("text") or payload.get("content")
    if message is None:
        return EffectOutcome.failed("answer_user requires payload.message")
    level = str(payload.get("level") or "").strip().lower()
    return EffectOutcome.completed({"message": str(message), "level": _LEVELS.get(level, "message")})
