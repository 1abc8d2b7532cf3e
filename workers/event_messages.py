"""The form in which anything that can PUBLISH or XADD sends events.

A message is JSON text. An object with ``event_id`` and/or ``payload``, and nothing else but ``name``, is an
envelope: ``event_id`` makes the event repeatable, ``payload`` is what is delivered; with ``name`` (the event
name that the wait key ends with) listeners receive the envelope of `spec/02 §13.4`, and wildcard listeners
hear it too. Every other JSON value is itself the payload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from abstractruntime.core.errors import InvalidInputError, PayloadTooLargeError

from .external_events import ExternalEvent
from .validation import json_copy

__all__ = ["parse_entry", "parse_message"]

_ENVELOPE = {"event_id", "name", "payload"}


def parse_message(wait_key: str, data: bytes, *, max_bytes: int) -> tuple[ExternalEvent, bool]:
    """The event of a published message, and whether the sender gave it an id.

    Raises:
        InvalidInputError: it is no JSON, or parts of it can't be used.
        PayloadTooLargeError: it is larger than ``max_bytes``.
    """
    value = _decoded(data, max_bytes)
    if not _is_envelope(value):
        return ExternalEvent.of(None, value, wait_key=wait_key), False
    event_id, name = value.get("event_id"), value.get("name")
    event = ExternalEvent.of(name, value.get("payload"), wait_key=wait_key, event_id=event_id)
    return event, event_id is not None


def parse_entry(fields: Mapping[bytes, bytes], *, entry_name: str, max_bytes: int) -> ExternalEvent:
    """The event of a stream entry: fields ``wait_key``, ``payload`` (JSON text; default null), and perhaps
    ``event_id`` (default: ``entry_name``) and ``name``.

    Raises:
        InvalidInputError, PayloadTooLargeError: as for `parse_message`.
    """
    wait_key, event_id, name = (_field(fields, field) for field in (b"wait_key", b"event_id", b"name"))
    if wait_key is None:
        raise InvalidInputError("the entry has no field wait_key")
    payload = _decoded(fields.get(b"payload", b"null"), max_bytes)
    return ExternalEvent.of(name, payload, wait_key=wait_key, event_id=event_id or entry_name)


def _is_envelope(value: object) -> bool:
    if not isinstance(value, dict) or not ("event_id" in value or "payload" in value):
        return False
    return value.keys() <= _ENVELOPE


def _field(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = fields.get(name)
    if not value:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise InvalidInputError(f"field {name.decode()} is no UTF-8 text: {exc}") from exc


def _decoded(data: bytes, max_bytes: int) -> Any:
    if len(data) > max_bytes:
        raise PayloadTooLargeError(f"the message has {len(data)} bytes, at most {max_bytes} are accepted")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(f"the message is no JSON text: {exc}") from exc
    # json.loads takes NaN and infinities, which are refused from outside: they are no JSON.
    return json_copy(value, "payload", max_bytes=max_bytes)
