"""Events from outside the runs: what they are called, and what listeners receive (`spec/02 §13.4`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from abstractruntime.core.environment import Environment
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.event_keys import WILDCARD, build_event_wait_key, wildcard_key

from .commits import Batch, Commits
from .validation import MAX_KEY_LENGTH, check_text

__all__ = ["EventReceipt", "ExternalEvent", "emit_external"]


@dataclass(frozen=True, slots=True)
class EventReceipt:
    """What became of an event.

    Attributes:
        event_id: its id, for a repeat.
        accepted: False when its id was accepted before; nothing has happened then.
        resumed: ids of the runs it resumed at once, in order.
    """

    event_id: str
    accepted: bool
    resumed: list[str]


@dataclass(frozen=True, slots=True)
class ExternalEvent:
    """A checked event. ``name`` is ``None`` for a raw one, whose payload is delivered as it is."""

    event_id: str
    wait_key: str
    payload: Any
    name: str | None = None
    scope: str | None = None
    session_id: str | None = None
    wildcard_key: str | None = None

    @classmethod
    def of(
        cls,
        name: str | None,
        payload: Any,
        *,
        scope: str = "session",
        session_id: str | None = None,
        workflow_id: str | None = None,
        run_id: str | None = None,
        wait_key: str | None = None,
        event_id: str | None = None,
    ) -> ExternalEvent:
        """From name and scope, or from an explicit wait key.

        Raises:
            InvalidInputError: neither, or unusable ones.
        """
        event_id = str(uuid4()) if event_id is None else check_text(event_id, "event_id")
        if wait_key is not None:
            return cls._to_key(wait_key, name, payload, scope, session_id, event_id)
        if not isinstance(name, str) or not name.strip():
            raise InvalidInputError("emit_event requires a non-empty name")
        name, kind = name.strip(), (scope or "").strip().lower() or "session"
        keys = [
            build_event_wait_key(
                scope=kind, name=target, session_id=session_id, workflow_id=workflow_id, run_id=run_id
            )
            for target in (name, WILDCARD)
        ]
        for key in keys:
            check_text(key, "the event's wait key", longest=MAX_KEY_LENGTH)
        return cls(event_id, keys[0], payload, name, kind, session_id, keys[1])

    @classmethod
    def _to_key(
        cls,
        wait_key: str,
        name: str | None,
        payload: Any,
        scope: str,
        session_id: str | None,
        event_id: str,
    ) -> ExternalEvent:
        check_text(wait_key, "wait_key", longest=MAX_KEY_LENGTH)
        if name is None or not name.strip():
            return cls(event_id, wait_key, payload)
        name = name.strip()
        is_event_key = wait_key.startswith("evt:") and wait_key.endswith(f":{name}")
        wildcard = wildcard_key(wait_key, name) if is_event_key else None
        return cls(event_id, wait_key, payload, name, scope, session_id, wildcard)

    def content(self, env: Environment) -> Any:
        """What a listener receives."""
        if self.name is None:
            return self.payload
        body = {} if self.payload is None else self.payload
        return {
            "event_id": self.event_id,
            "name": self.name,
            "scope": self.scope,
            "session_id": self.session_id,
            "payload": body if isinstance(body, dict) else {"value": body},
            "emitted_at": env.now_iso(),
            "emitter": {"source": "external"},
        }


def emit_external(commits: Commits, batch: Batch, external: ExternalEvent) -> EventReceipt:
    """Put the event in the inbox and resume who waits for it, as part of ``batch``."""
    event = commits.new_event(
        external.wait_key,
        external.content(batch.env),
        event_id=external.event_id,
        wildcard_key=external.wildcard_key,
    )
    went_on = commits.emit(batch, event)
    return EventReceipt(external.event_id, went_on is not None, [run.run_id for run in went_on or ()])
