"""``$ref`` in response schemas: local definitions, named schemas of AbstractSemantics (`spec/04 §6.8`)."""

from __future__ import annotations

from typing import Any

from .errors import SchemaError

__all__ = ["NOT_AN_OBJECT", "local_target", "resolved_root"]

NOT_AN_OBJECT = "response_schema must be a JSON schema object"

Schema = dict[str, Any]

_NAMED = "abstractsemantics:"
_MAX_HOPS = 20


def resolved_root(schema: Schema) -> Schema:
    """The schema a root ``$ref`` stands for; its definitions stay reachable.

    Raises:
        SchemaError: the reference leads nowhere.
    """
    for _ in range(_MAX_HOPS):
        ref = schema.get("$ref")
        if ref is None:
            return schema
        if isinstance(ref, str) and ref.startswith(_NAMED):
            schema = _named_schema(ref)
            continue
        target = local_target(schema, ref)
        if target is None:
            raise SchemaError(NOT_AN_OBJECT)
        definitions: Schema = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
        schema = {**definitions, **target}
    raise SchemaError(f"{NOT_AN_OBJECT}: its $ref leads in a circle")


def local_target(root: Schema, ref: object) -> Schema | None:
    """What ``#/…`` names inside ``root``, ``None`` if nothing or no object is there."""
    if not isinstance(ref, str) or not ref.startswith("#/"):
        return None
    found: Any = root
    for part in ref[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found if isinstance(found, dict) else None


def _named_schema(ref: str) -> Schema:
    try:
        from abstractsemantics import resolve_schema_ref
    except ImportError as exc:
        raise SchemaError(
            f"{NOT_AN_OBJECT}: $ref '{ref}' needs AbstractSemantics (pip install abstractsemantics)"
        ) from exc
    try:
        found = resolve_schema_ref({"$ref": ref})
    except Exception as exc:
        raise SchemaError(f"Unknown structured-output schema ref: {ref} ({exc})") from exc
    if not isinstance(found, dict):
        raise SchemaError(f"Unknown structured-output schema ref: {ref}")
    return found
