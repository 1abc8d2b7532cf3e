"""The names under which runs wait for events (`spec/01 §7`): ``evt:<scope>:<scope id>:<name>``.

Stored waits hold these texts, so the format is fixed. Colons inside ids and names are not escaped: a key
can't be taken apart without knowing a part of it, hence no ``parse`` here.
"""

from __future__ import annotations

from .errors import InvalidInputError

__all__ = ["WILDCARD", "build_event_wait_key", "session_key_prefix", "wildcard_key"]

WILDCARD = "*"
"""The event name of a listener that takes every event of its scope id."""


def build_event_wait_key(
    *,
    scope: str | None,
    name: str,
    session_id: str | None = None,
    workflow_id: str | None = None,
    run_id: str | None = None,
) -> str:
    """The wait key of event ``name`` within a scope.

    Args:
        scope: ``session`` (also when empty), ``workflow``, ``run`` or ``global``; case and blanks around it
            don't matter.
        name: the event's name, without blanks around it; ``*`` listens to all.
        session_id, workflow_id, run_id: the scope's id; only the one that ``scope`` names is used.

    Raises:
        InvalidInputError: (a ``ValueError``) no name, an unknown scope, or no id for the scope.
    """
    event = _stripped(name)
    if not event:
        raise InvalidInputError("event name is required")
    kind = _stripped(scope).lower() or "session"
    if kind == "global":
        return f"evt:global:global:{event}"
    ids = {"session": session_id, "workflow": workflow_id, "run": run_id}
    if kind not in ids:
        raise InvalidInputError(f"unknown event scope: {scope!r}")
    scope_id = _stripped(ids[kind])
    if not scope_id:
        raise InvalidInputError(f"missing scope id for scope='{kind}'")
    return f"evt:{kind}:{scope_id}:{event}"


def wildcard_key(wait_key: str, name: str) -> str:
    """The key of those who listen to every event of the same scope id as ``wait_key``.

    Args:
        wait_key: as made by `build_event_wait_key`.
        name: the event name it was made with; needed because names may hold colons.

    Raises:
        InvalidInputError: ``wait_key`` is no event key with that name.
    """
    suffix = f":{_stripped(name)}"
    if not wait_key.startswith("evt:") or len(suffix) == 1 or not wait_key.endswith(suffix):
        raise InvalidInputError(f"{wait_key!r} is not an event key for the name {name!r}")
    return f"{wait_key[: -len(suffix)]}:{WILDCARD}"


def session_key_prefix(session_id: str) -> str:
    """What the keys of all events of a session begin with; the event's name follows.

    Raises:
        InvalidInputError: ``session_id`` is blank.
    """
    return build_event_wait_key(scope="session", name=WILDCARD, session_id=session_id)[: -len(WILDCARD)]


def _stripped(value: str | None) -> str:
    # Payloads come from JSON, so a number may stand where a text is meant.
    return "" if value is None else str(value).strip()
