"""EMIT_EVENT (`spec/01 §12.5`)."""

from __future__ import annotations

from typing import Any

from ..event_keys import build_event_wait_key
from ..models import Effect, RunState
from ..outcome import EffectOutcome
from .scope import EffectScope, Emission, ScopeError, payload_of

__all__ = ["emit_event"]

MAX_LISTENER_NAMES = 15


def emit_event(run: RunState, effect: Effect, default_next: str | None, scope: EffectScope) -> EffectOutcome:
    """Wake the runs that wait for an event, and say who they were.

    Beyond the contract: ``run_id`` / ``workflow_id`` in the payload address another run or workflow
    (scopes ``run`` and ``workflow``); without them these scopes mean the emitter's own.
    """
    payload = payload_of(effect)
    name = payload.get("name") or payload.get("event_name")
    if not isinstance(name, str) or not name.strip():
        return EffectOutcome.failed("emit_event requires payload.name")
    name = name.strip()
    given_scope = str(payload.get("scope") or "session")
    event_scope = given_scope.strip().lower()
    try:
        wait_key, wildcard_key = (_key(run, payload, given_scope, target) for target in (name, "*"))
        max_steps = int(payload.get("max_steps") or 0)
    except (ValueError, TypeError) as exc:
        return EffectOutcome.failed(f"emit_event invalid payload: {exc}")
    emission = Emission(
        emitter=run,
        wait_key=wait_key,
        wildcard_key=wildcard_key,
        envelope=_envelope(run, payload, name, event_scope, scope),
        max_steps=max_steps,
    )
    try:
        deliveries = scope.deliver(emission)
    except ScopeError as exc:
        return EffectOutcome.failed(str(exc))
    delivered_to = [
        entry["run_id"] for entry in deliveries.resumed if entry["status"] not in ("skipped", "error")
    ]
    result: dict[str, Any] = {
        "wait_key": wait_key,
        "name": name,
        "scope": event_scope,
        "delivered": len(delivered_to),
        "delivered_to": delivered_to,
        "resumed": deliveries.resumed,
    }
    if not delivered_to and deliveries.listeners:
        result["available_listeners_in_session"] = deliveries.listeners[:MAX_LISTENER_NAMES]
    return EffectOutcome.completed(result)


def _session_id(run: RunState, payload: dict[str, Any], scope: str) -> str | None:
    given = payload.get("session_id")
    if given is not None:
        return str(given)
    return (run.session_id or run.run_id) if scope == "session" else None


def _key(run: RunState, payload: dict[str, Any], scope: str, name: str) -> str:
    return build_event_wait_key(
        scope=scope,
        name=name,
        session_id=_session_id(run, payload, scope.strip().lower()),
        workflow_id=str(payload.get("workflow_id") or run.workflow_id),
        run_id=str(payload.get("run_id") or run.run_id),
    )


def _envelope(
    run: RunState, payload: dict[str, Any], name: str, event_scope: str, scope: EffectScope
) -> dict[str, Any]:
    body = payload.get("payload") or {}
    return {
        "event_id": payload.get("event_id"),
        "name": name,
        "scope": event_scope,
        "session_id": _session_id(run, payload, event_scope),
        "payload": dict(body) if isinstance(body, dict) else {"value": body},
        "emitted_at": scope.now().isoformat(),
        "emitter": {"run_id": run.run_id, "workflow_id": run.workflow_id, "node_id": run.current_node},
    }
