"""A JSON schema as a Pydantic model, which is how AbstractCore takes it (`spec/04 §6.8`).

Beyond the published package, bounds, patterns, ``anyOf``/``oneOf``/``allOf``, ``const`` and local ``$ref``
hold; a keyword that would not is refused (`spec/04 §16.28`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, Optional

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PydanticUserError, create_model
from pydantic_core import SchemaError as CoreSchemaError

from .errors import SchemaError
from .schema_refs import NOT_AN_OBJECT, local_target, resolved_root

__all__ = ["model_of"]

Schema = Mapping[str, Any]

_UNENFORCED = frozenset(
    {
        "not",
        "if",
        "then",
        "else",
        "contains",
        "prefixItems",
        "patternProperties",
        "propertyNames",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedProperties",
        "unevaluatedItems",
    }
)
_BOUNDS = {"minimum": "ge", "maximum": "le", "multipleOf": "multiple_of"}
_EXCLUSIVE = {"exclusiveMinimum": ("gt", "minimum", "ge"), "exclusiveMaximum": ("lt", "maximum", "le")}
_MODEL_NAME = re.compile(r"[^A-Za-z0-9_]+")


class _Answer(BaseModel):
    """Names that Pydantic keeps for itself are fields under another name; nobody outside sees that."""

    model_config = ConfigDict(protected_namespaces=())

    def model_dump(self, **options: Any) -> dict[str, Any]:
        options.setdefault("by_alias", True)
        return super().model_dump(**options)


class _ClosedAnswer(_Answer):
    model_config = ConfigDict(extra="forbid")


class _OpenAnswer(_Answer):
    model_config = ConfigDict(extra="allow")


def model_of(schema: dict[str, Any], name: str) -> type[BaseModel]:
    """A model that accepts what the schema accepts. Fields that are not required are ``None`` by default.

    Args:
        schema: normalised; its root must be an object with properties.
        name: of the model.

    Raises:
        SchemaError: the schema can't be enforced; the message says what and where.
    """
    root = resolved_root(schema)
    kinds = root.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "object" not in kinds:
        raise SchemaError(NOT_AN_OBJECT)
    if not isinstance(root.get("properties"), dict) or not root["properties"]:
        raise SchemaError("response_schema must define properties")
    place = _Place(root, "$", _MODEL_NAME.sub("_", name).strip("_") or "StructuredOutput")
    _check_keywords(root, place)
    try:
        return _model(root, place)
    except (PydanticUserError, CoreSchemaError, TypeError) as exc:
        raise SchemaError(f"response_schema can't be turned into a model: {exc}") from exc


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema: for messages, names of nested models and references."""

    root: dict[str, Any]
    path: str
    name: str
    refs: tuple[str, ...] = ()

    def below(self, part: str) -> _Place:
        return replace(self, path=f"{self.path}.{part}", name=f"{self.name}_{part}")


def _model(schema: Schema, place: _Place) -> type[BaseModel]:
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    fields = {
        name: (_field(name, below, place, is_required=name in needed))
        for name, below in schema["properties"].items()
    }
    extra = schema.get("additionalProperties")
    base = _ClosedAnswer if extra is False else _OpenAnswer if extra else _Answer
    definitions: dict[str, Any] = {_field_name(name): field for name, field in fields.items()}
    model: type[BaseModel] = create_model(place.name, __base__=base, **definitions)
    return model


def _field(name: object, schema: Any, place: _Place, *, is_required: bool) -> tuple[Any, Any]:
    if not isinstance(name, str) or not name.isidentifier():
        raise SchemaError(
            f"Invalid property name '{name}'. Use identifier-style names (letters, digits, underscore)."
        )
    options: dict[str, Any] = {}
    if _field_name(name) != name:
        options["alias"] = name
    description = schema.get("description") if isinstance(schema, Mapping) else None
    if isinstance(description, str) and description:
        options["description"] = description
    annotation = _annotation(schema, place.below(name))
    if is_required:
        return annotation, Field(..., **options)
    return Optional[annotation], Field(default=None, **options)  # noqa: UP045  # annotation is a value


def _field_name(name: str) -> str:
    return f"field_{name.lstrip('_')}" if name.startswith("_") or hasattr(_Answer, name) else name


def _check_keywords(schema: Schema, place: _Place) -> None:
    unknown = sorted(_UNENFORCED & schema.keys())
    if isinstance(schema.get("items"), list):
        unknown.append("items (as a list)")
    if unknown:
        raise SchemaError(
            f"response_schema keyword '{unknown[0]}' at {place.path} is not supported; "
            "leave it out, or check the answer in a later node"
        )


def _annotation(schema: Any, place: _Place) -> Any:
    """The type of what a schema accepts; what it does not restrict is any."""
    if not isinstance(schema, Mapping) or not schema:
        return Any
    _check_keywords(schema, place)
    if "$ref" in schema:
        schema, place = _referenced(schema["$ref"], place)
        return _annotation(schema, place)
    annotation = _unwrapped_annotation(schema, place)
    return Optional[annotation] if schema.get("nullable") is True else annotation  # noqa: UP045


def _unwrapped_annotation(schema: Schema, place: _Place) -> Any:
    if "const" in schema:
        return _one_of([schema["const"]], place)
    if isinstance(schema.get("enum"), list):
        return _one_of(schema["enum"], place)
    if isinstance(schema.get("allOf"), list):
        return _annotation(_merged(schema, place), place)
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            return _union([_annotation(each, place) for each in schema[name]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union([_annotation({**schema, "type": each}, place) for each in kind])
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else None
    make = _MAKERS.get(kind) if isinstance(kind, str) else None
    return Any if make is None else make(schema, place)


def _referenced(ref: object, place: _Place) -> tuple[Schema, _Place]:
    if ref in place.refs:
        raise SchemaError(f"response_schema $ref '{ref}' at {place.path} leads in a circle")
    found = local_target(place.root, ref)
    if found is None:
        raise SchemaError(f"response_schema $ref '{ref}' at {place.path} leads nowhere")
    return found, replace(place, refs=(*place.refs, str(ref)))


def _merged(schema: Schema, place: _Place) -> dict[str, Any]:
    """``allOf`` as one schema: properties and required names add up, of other keywords the last wins."""
    whole = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        inner = part
        if isinstance(inner, Mapping) and "$ref" in inner:
            inner, place = _referenced(inner["$ref"], place)
        if not isinstance(inner, Mapping):
            continue
        properties = {**whole.get("properties", {}), **inner.get("properties", {})}
        required = [*whole.get("required", []), *inner.get("required", [])]
        whole = {**whole, **inner}
        if properties:
            whole["properties"] = properties
        if required:
            whole["required"] = required
    return whole


def _union(annotations: list[Any]) -> Any:
    if any(annotation is Any for annotation in annotations):
        return Any
    kinds = [annotation for annotation in annotations if annotation is not None]
    if not kinds:
        return None
    union = reduce(or_, kinds)
    return union if len(kinds) == len(annotations) else Optional[union]  # noqa: UP045


def _one_of(values: list[Any], place: _Place) -> Any:
    if not values:
        raise SchemaError(f"response_schema enum at {place.path} allows nothing")
    if all(value is None or isinstance(value, (str, bool, int)) for value in values):
        return Literal[tuple(values)]

    def check(value: Any) -> Any:
        if not any(type(value) is type(allowed) and value == allowed for allowed in values):
            raise ValueError(f"must be one of {values}")
        return value

    return Annotated[Any, AfterValidator(check), Field(json_schema_extra={"enum": values})]


# -- types ---------------------------------------------------------------------------------------------


def _text(schema: Schema, place: _Place) -> Any:
    limits = _lengths(schema, "minLength", "maxLength")
    pattern = schema.get("pattern")
    if not isinstance(pattern, str):
        return Annotated[str, Field(**limits)] if limits else str
    try:
        expression = re.compile(pattern)
    except re.error as exc:
        raise SchemaError(f"response_schema pattern at {place.path} is no regular expression: {exc}") from exc

    def check(value: str) -> str:
        if expression.search(value) is None:
            raise ValueError(f"must match {pattern!r}")
        return value

    return Annotated[str, Field(**limits, json_schema_extra={"pattern": pattern}), AfterValidator(check)]


def _number(kind: type) -> Callable[[Schema, _Place], Any]:
    def make(schema: Schema, place: _Place) -> Any:
        bounds = _bounds(schema)
        return Annotated[kind, Field(**bounds)] if bounds else kind

    return make


def _bounds(schema: Schema) -> dict[str, Any]:
    bounds = {ours: schema[name] for name, ours in _BOUNDS.items() if _is_number(schema.get(name))}
    for name, (exclusive, inclusive_name, inclusive) in _EXCLUSIVE.items():
        if schema.get(name) is True and _is_number(schema.get(inclusive_name)):  # as in draft 4
            bounds[exclusive] = bounds.pop(inclusive)
        elif _is_number(schema.get(name)):
            bounds[exclusive] = schema[name]
    return bounds


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _lengths(schema: Schema, least: str, most: str) -> dict[str, Any]:
    named = {"min_length": schema.get(least), "max_length": schema.get(most)}
    return {name: value for name, value in named.items() if isinstance(value, int) and value >= 0}


def _list(schema: Schema, place: _Place) -> Any:
    item = _annotation(schema.get("items"), place.below("item"))
    kind: Any = list if item is Any else list[item]  # type: ignore[valid-type]
    limits = _lengths(schema, "minItems", "maxItems")
    if limits:
        kind = Annotated[kind, Field(**limits)]
    return Annotated[kind, AfterValidator(_unique)] if schema.get("uniqueItems") is True else kind


def _unique(values: list[Any]) -> list[Any]:
    if any(value in values[:index] for index, value in enumerate(values)):
        raise ValueError("items must be different")
    return values


def _object(schema: Schema, place: _Place) -> Any:
    if isinstance(schema.get("properties"), dict) and schema["properties"]:
        return _model(schema, place)
    values = _annotation(schema.get("additionalProperties"), place.below("value"))
    kind: Any = dict[str, values]  # type: ignore[valid-type]
    limits = _lengths(schema, "minProperties", "maxProperties")
    return Annotated[kind, Field(**limits)] if limits else kind


_MAKERS: dict[str, Callable[[Schema, _Place], Any]] = {
    "string": _text,
    "integer": _number(int),
    "number": _number(float),
    "boolean": lambda schema, place: bool,
    "null": lambda schema, place: None,
    "array": _list,
    "object": _object,
}
