"""Response schemas: wrappers, field maps, conversion, what is refused (`spec/04 §6.8`)."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from abstractruntime.integrations.abstractcore._llm_call.response_schema import normalised_schema
from abstractruntime.integrations.abstractcore._llm_call.schema_model import model_of

from .llm_calls import RecordingClient, answered, ask

OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


def model(**properties: Any) -> type[BaseModel]:
    return model_of({"type": "object", "properties": properties, "required": list(properties)}, "Answer")


def accepts(kind: type[BaseModel], **values: Any) -> bool:
    try:
        kind.model_validate(values)
    except ValidationError:
        return False
    return True


# -- normalisation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        OBJECT,
        json.dumps(OBJECT),
        {"response_format": OBJECT},
        {"responseFormat": {"type": "json_schema", "json_schema": {"name": "n", "schema": OBJECT}}},
        {"type": "json_schema", "json_schema": {"schema": OBJECT}},
        {"json_schema": {"name": "n", "strict": True, "schema": OBJECT}},
        {"name": "n", "strict": True, "schema": OBJECT},
        {"response_format": json.dumps({"name": "n", "schema": OBJECT})},
    ],
)
def test_wrappers_come_off(given: Any) -> None:
    assert normalised_schema(given) == OBJECT


@pytest.mark.parametrize("given", [None, "", "  ", {}, "{}", "null", []])
def test_no_schema(given: Any) -> None:
    assert normalised_schema(given) is None
    client = RecordingClient()
    answered(client, {"prompt": "p", "response_schema": given})
    assert "response_model" not in client.params


@pytest.mark.parametrize(
    "marks",
    [
        {"$schema": "x"},
        {"$id": "x"},
        {"oneOf": []},
        {"enum": ["a"]},
        {"const": 1},
        {"items": {}},
        {"required": ["a"]},
        {"type": "string"},
        {"type": ["string", "null"]},
    ],
)
def test_what_looks_like_a_schema_is_one(marks: dict[str, Any]) -> None:
    assert normalised_schema(marks) == marks


def test_properties_make_an_object() -> None:
    assert normalised_schema({"properties": {"a": {}}}) == {"type": "object", "properties": {"a": {}}}


def test_a_map_of_samples_becomes_a_schema() -> None:
    sample = {
        "title": " what it is ",
        "blank": "",
        "count": 3,
        "share": 0.5,
        "good": False,
        "tags": [None, "a tag"],
        "empty": [],
        "who": {"name": "of the person", "age": 1},
        "any": None,
        "type": "kind of invoice",
        "given": {"type": "string", "enum": ["a"]},
    }
    schema = normalised_schema(sample)
    assert schema is not None
    assert schema["required"] == list(sample)
    assert schema["properties"] == {
        "title": {"type": "string", "description": "what it is"},
        "blank": {"type": "string"},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "good": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string", "description": "a tag"}},
        "empty": {"type": "array"},
        "who": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "of the person"},
                "age": {"type": "integer"},
            },
            "required": ["name", "age"],
        },
        "any": {},
        "type": {"type": "string", "description": "kind of invoice"},
        "given": {"type": "string", "enum": ["a"]},
    }
    assert model_of(schema, "Answer").model_fields["title"].description == "what it is"


# -- refusals -----------------------------------------------------------------------------------------------

NO_OBJECT = "response_schema must be a JSON schema object"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"type": "string"}, NO_OBJECT),
        ({"type": "array", "items": {}}, NO_OBJECT),
        ({"enum": ["a"]}, NO_OBJECT),
        ({"$ref": "#/$defs/Missing"}, NO_OBJECT),
        ({"$ref": "https://example.com/schema"}, NO_OBJECT),
        ({"type": "object"}, "response_schema must define properties"),
        ({"type": "object", "properties": {}}, "response_schema must define properties"),
        (
            {"type": "object", "properties": {"a-b": {}}},
            "Invalid property name 'a-b'. Use identifier-style names (letters, digits, underscore).",
        ),
        ({"two words": "x"}, "Invalid property name 'two words'."),
        ({"properties": {"a": {"properties": {"1": {}}}}}, "Invalid property name '1'."),
    ],
)
def test_a_bad_schema_is_a_failure(given: Any, error: str) -> None:
    client = RecordingClient()
    outcome = ask(client, {"prompt": "p", "response_schema": given})
    assert (outcome.status, outcome.kind, client.calls) == ("failed", "validation", [])
    assert outcome.error is not None
    assert outcome.error.startswith(error)


@pytest.mark.weakness("spec/04 §16.28")
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("{broken", "response_schema is not valid JSON: "),
        ("[1]", f"{NO_OBJECT} (got list)"),
        (5, f"{NO_OBJECT} (got int)"),
        ({"properties": {"a": {"not": {}}}}, "response_schema keyword 'not' at $.a is not supported"),
        ({"properties": {"a": {"items": [{}]}}}, "response_schema keyword 'items (as a list)' at $.a"),
        (
            {"properties": {"a": {}}, "patternProperties": {}},
            "response_schema keyword 'patternProperties' at $ ",
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/B"}}},
            "response_schema $ref '#/$defs/B' at $.a leads nowhere",
        ),
        (
            {"properties": {"a": {"properties": {"b": {"$ref": "#/properties/a"}}}}},
            "response_schema $ref '#/properties/a' at $.a.b.b leads in a circle",
        ),
        (
            {"properties": {"a": {"type": "string", "pattern": "("}}},
            "response_schema pattern at $.a is no regular",
        ),
        ({"properties": {"a": {"enum": []}}}, "response_schema enum at $.a allows nothing"),
    ],
)
def test_what_can_not_be_enforced_is_refused(given: Any, error: str) -> None:
    outcome = ask(RecordingClient(), {"prompt": "p", "response_schema": given})
    assert outcome.kind == "validation"
    assert outcome.error is not None
    assert outcome.error.startswith(error)


def test_named_schemas_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "abstractsemantics", None)
    payload = {"prompt": "p", "response_schema": {"$ref": "abstractsemantics:kg_assertion_schema_v0"}}
    outcome = ask(RecordingClient(), payload)
    assert outcome.error == (
        f"{NO_OBJECT}: $ref 'abstractsemantics:kg_assertion_schema_v0' needs AbstractSemantics "
        "(pip install abstractsemantics)"
    )


def test_named_schemas_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("abstractsemantics")

    def resolve(schema: dict[str, Any]) -> dict[str, Any] | None:
        return OBJECT if schema["$ref"] == "abstractsemantics:known" else None

    package.resolve_schema_ref = resolve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "abstractsemantics", package)
    client = RecordingClient()
    answered(client, {"prompt": "p", "response_schema": {"$ref": "abstractsemantics:known"}})
    assert list(client.params["response_model"].model_fields) == ["answer"]
    outcome = ask(RecordingClient(), {"prompt": "p", "response_schema": {"$ref": "abstractsemantics:other"}})
    assert outcome.error == "Unknown structured-output schema ref: abstractsemantics:other"


# -- conversion ---------------------------------------------------------------------------------------------


def test_the_client_gets_a_model() -> None:
    client = RecordingClient({"content": None, "data": {"answer": "yes"}})
    result = answered(
        client, {"prompt": "p", "response_schema": OBJECT, "response_schema_name": "My Answer!"}
    )
    kind = client.params["response_model"]
    assert issubclass(kind, BaseModel)
    assert kind.__name__ == "My_Answer"
    assert result["data"] == {"answer": "yes"}
    client = RecordingClient({"data": {"answer": "yes"}})
    answered(client, {"prompt": "p", "response_schema": OBJECT})
    assert client.params["response_model"].__name__ == "StructuredOutput"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string"}, ["x", ""], [None, ["x"]]),
        ({"type": "integer"}, [1], ["x", 1.5, None]),
        ({"type": "number"}, [1, 1.5], ["x", None]),
        ({"type": "boolean"}, [True], ["maybe", None]),
        ({"type": "null"}, [None], [1]),
        ({"enum": ["a", "b"]}, ["a"], ["c", None]),
        ({"enum": [1, None]}, [1, None], [2]),
        ({"enum": [1.5, ["x"]]}, [1.5, ["x"]], [2, ["y"]]),
        ({"const": "a"}, ["a"], ["b"]),
        ({"type": ["string", "null"]}, ["x", None], [5]),
        ({"type": ["integer", "null"], "minimum": 2}, [2, None], [1]),
        ({"type": "array", "items": {"type": "integer"}}, [[], [1]], [["x"], "x"]),
        ({"type": "array", "items": {"enum": ["a"]}}, [["a"]], [["b"]]),
        ({"type": "array"}, [[1, "x"]], [5]),
        (
            {"type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": True},
            [[1]],
            [[], [1, 2, 3], [1, 1]],
        ),
        ({"type": "object"}, [{"a": 1}, {}], [5]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "x"}]),
        ({"type": "object", "minProperties": 1}, [{"a": 1}], [{}]),
        ({"type": "object", "properties": {"b": {"type": "integer"}}}, [{"b": 1}, {}], [{"b": "x"}]),
        ({"properties": {"b": {}}, "required": ["b"]}, [{"b": 1}], [{}]),
        ({"properties": {"b": {}}, "additionalProperties": False}, [{"b": 1}], [{"c": 1}]),
        ({"type": "colour"}, [1, "x", None], []),
        ({}, [1, None, []], []),
        (True, [1, None], []),
        ({"nullable": True, "type": "string"}, ["x", None], [5]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4]),
        ({"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 3}, [2], [1, 3]),
        ({"type": "number", "minimum": 1, "exclusiveMinimum": True}, [2], [1]),
        ({"type": "integer", "multipleOf": 5}, [10], [7]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab"], ["a", "abcd"]),
        ({"type": "string", "pattern": "^a(?=b)"}, ["ab"], ["ac"]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], ["x"]),
        ({"oneOf": [{"$ref": "#/$defs/T"}, {"type": "string"}]}, [{"k": 1}, "x"], [{"k": "x"}, 5]),
        (
            {"allOf": [{"$ref": "#/$defs/T"}, {"properties": {"l": {"type": "string"}}}]},
            [{"k": 1}],
            [{"l": "x"}],
        ),
        ({"$ref": "#/$defs/T"}, [{"k": 1}], [{}]),
    ],
)
@pytest.mark.weakness("spec/04 §16.28")
def test_what_a_schema_says_holds(schema: Any, good: list[Any], bad: list[Any]) -> None:
    target = {"type": "object", "properties": {"k": {"type": "integer"}}, "required": ["k"]}
    whole = {"type": "object", "properties": {"a": schema}, "required": ["a"], "$defs": {"T": target}}
    kind = model_of(whole, "Answer")
    assert [value for value in good if not accepts(kind, a=value)] == []
    assert [value for value in bad if accepts(kind, a=value)] == []
    kind.model_json_schema()


def test_fields_that_are_not_required_are_none() -> None:
    kind = model_of({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}}, "Answer")
    assert kind.model_validate({}).model_dump() == {"a": None, "b": None}
    assert accepts(kind, a=None)
    assert not accepts(kind, a="x")


@pytest.mark.parametrize(
    "name", ["schema", "json", "copy", "model_config", "model_fields", "_private", "class"]
)
def test_any_identifier_is_a_name(name: str) -> None:
    kind = model(**{name: {"type": "object", "properties": {name: {"type": "integer"}}}})
    found = kind.model_validate({name: {name: 1}})
    assert found.model_dump() == {name: {name: 1}}
    assert found.model_dump(mode="json") == {name: {name: 1}}
    assert list(kind.model_json_schema()["properties"]) == [name]


def test_a_root_reference_is_followed() -> None:
    kind = model_of({"$ref": "#/$defs/A", "$defs": {"A": OBJECT}}, "Answer")
    assert accepts(kind, answer="x")
    assert not accepts(kind)
