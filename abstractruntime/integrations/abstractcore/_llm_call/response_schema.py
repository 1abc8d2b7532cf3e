"""A response schema in whatever wrapping it comes, as one JSON schema (`spec/04 §6.8`)."""

from __future__ import annotations

import json
from typing import Any

from .errors import SchemaError

__all__ = ["JSON_TYPES", "normalised_schema"]

JSON_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})

Schema = dict[str, Any]

_SCHEMA_KEYS = frozenset(
    {"$schema", "$id", "$ref", "$defs", "definitions", "oneOf", "anyOf", "allOf", "enum", "const", "items"}
)
_ENVELOPE_KEYS = frozenset({"name", "strict", "schema", "description"})
_MAX_WRAPPERS = 8


def normalised_schema(value: object) -> Schema | None:
    """The schema, ``None`` if none is asked for (``None``, blank text, an empty object).

    A *field map* (``{"answer": "what to say", "score": 1}``) becomes an object schema: every key a required
    property, its type that of the sample.

    Raises:
        SchemaError: text that is not JSON, or something else than an object.
    """
    for _ in range(_MAX_WRAPPERS):
        value = _parsed(value)
        if value is None or value in ("", {}, []):
            return None
        if not isinstance(value, dict):
            raise SchemaError(f"response_schema must be a JSON schema object (got {type(value).__name__})")
        inner = _unwrapped(value)
        if inner is value:
            break
        value = inner
    assert isinstance(value, dict)
    if not _looks_like_schema(value):
        return _from_sample(value)
    if "type" not in value and isinstance(value.get("properties"), dict):
        return {**value, "type": "object"}
    return value


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    try:
        parsed: object = json.loads(text)
    except ValueError as exc:
        raise SchemaError(f"response_schema is not valid JSON: {exc}") from exc
    return parsed


def _unwrapped(value: Schema) -> object:
    """What a provider's request format carries around a schema, taken off once; else ``value`` itself."""
    if _looks_like_schema(value):
        return value
    for name in ("response_format", "responseFormat"):
        if isinstance(value.get(name), (dict, str)):
            return value[name]
    carried = value.get("json_schema")
    if isinstance(carried, (dict, str)):
        return carried
    if isinstance(value.get("schema"), (dict, str)) and value.keys() <= _ENVELOPE_KEYS:
        return value["schema"]
    return value


def _looks_like_schema(value: Schema) -> bool:
    if value.keys() & _SCHEMA_KEYS:
        return True
    if isinstance(value.get("required"), list) or isinstance(value.get("properties"), dict):
        return True
    kind = value.get("type")
    if isinstance(kind, list):
        return bool(kind) and all(isinstance(name, str) and name in JSON_TYPES for name in kind)
    return isinstance(kind, str) and kind in JSON_TYPES


def _from_sample(sample: Schema) -> Schema:
    properties = {str(name): _property(value) for name, value in sample.items()}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _property(sample: object) -> Schema:
    if isinstance(sample, bool):
        return {"type": "boolean"}
    if isinstance(sample, int):
        return {"type": "integer"}
    if isinstance(sample, float):
        return {"type": "number"}
    if isinstance(sample, str):
        text = sample.strip()
        return {"type": "string", "description": text} if text else {"type": "string"}
    if isinstance(sample, list):
        first = next((item for item in sample if item is not None), None)
        return {"type": "array"} if first is None else {"type": "array", "items": _property(first)}
    if isinstance(sample, dict):
        if _looks_like_schema(sample):
            return sample
        return _from_sample(sample) if sample else {"type": "object"}
    return {}
