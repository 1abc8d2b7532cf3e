"""Structured results and the call without structure (`spec/04 §6.9`)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from .llm_calls import RecordingClient, answered, ask, sent

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ASKED = {"prompt": "p", "response_schema": SCHEMA}
FALLING_BACK = {**ASKED, "structured_output_fallback": True}


def parsed(content: str) -> Any:
    return answered(RecordingClient({"content": content, "data": None}), ASKED)


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ('{"n": 1}', {"n": 1}),
        ('```json\n{"n": 1}\n```', {"n": 1}),
        ('```\n{"n": 1}```', {"n": 1}),
        ('Sure: {"n": 1} as you asked', {"n": 1}),
        ('Text {not json} then [1, 2] and {"n": 1}', {"value": [1, 2]}),
        ("{'n': 1, 'm': (1, 2), 'ok': True, 'none': None}", {"n": 1, "m": [1, 2], "ok": True, "none": None}),
        ("[1, 2]", {"value": [1, 2]}),
        ("42", {"value": 42}),
        ('"text"', {"value": "text"}),
        ("null", {"value": None}),
    ],
)
def test_text_is_parsed(content: str, data: Any) -> None:
    result = parsed(content)
    assert result["data"] == data
    assert result["content"] == content
    assert "_structured_output_parse_error" not in result["metadata"]


@pytest.mark.parametrize("content", ["no", "{broken", "NaN", '{"n": NaN}', "__import__('os')", "[" * 5000])
def test_text_that_is_none_is_told(content: str) -> None:
    result = parsed(content)
    assert result["data"] is None
    assert result["metadata"]["_structured_output_parse_error"].startswith("no JSON in the answer")


@pytest.mark.parametrize("content", [None, "", "  "])
def test_an_empty_answer_has_no_data(content: Any) -> None:
    result = answered(RecordingClient({"content": content}), ASKED)
    assert "data" not in result
    assert set(result["metadata"]) == {"_runtime_observability"}


def test_data_of_the_client_stands() -> None:
    result = answered(RecordingClient({"content": '{"n": 2}', "data": {"n": 1}}), ASKED)
    assert result["data"] == {"n": 1}


def test_without_a_schema_nothing_is_parsed() -> None:
    assert "data" not in answered(RecordingClient({"content": '{"n": 1}'}), {"prompt": "p"})


@pytest.mark.weakness("spec/04 §16.5")
@pytest.mark.parametrize("reply", [{"content": '{"n": "SECRET"}'}, {"data": {"n": "SECRET"}}])
def test_data_is_checked_against_the_schema(reply: dict[str, Any]) -> None:
    result = answered(RecordingClient(reply), ASKED)
    problem = result["metadata"]["_structured_output_validation_error"]
    assert problem.startswith("n: Input should be a valid integer")
    assert "SECRET" not in problem
    assert "_structured_output_validation_error" not in parsed('{"n": 1}')["metadata"]


@pytest.mark.weakness("spec/04 §16.5")
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"content": "no"}, "LLM_CALL answer is not structured: no JSON in the answer"),
        ({"content": ""}, "LLM_CALL answer is not structured: it is empty"),
        ({"content": '{"n": "x"}'}, "LLM_CALL answer does not match response_schema: n: "),
        ({"data": {}}, "LLM_CALL answer does not match response_schema: n: Field required"),
    ],
)
def test_a_strict_call_fails_instead(reply: dict[str, Any], error: str) -> None:
    outcome = ask(RecordingClient(reply), {**ASKED, "structured_output_strict": True})
    assert outcome.kind == "validation"
    assert outcome.error is not None
    assert outcome.error.startswith(error)


# -- asking again without structure ---------------------------------------------------------------------


def validation_error() -> Exception:
    class Model(BaseModel):
        n: int

    try:
        Model.model_validate({})
    except ValueError as exc:
        return exc
    raise AssertionError


def decode_error() -> Exception:
    try:
        json.loads("plain text")
    except ValueError as exc:
        return exc
    raise AssertionError


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("provider failed")
    error.__cause__ = cause
    return error


@pytest.mark.weakness("spec/04 §16.5")
@pytest.mark.parametrize(
    "error",
    [
        validation_error(),
        decode_error(),
        wrapped(decode_error()),
        RuntimeError("2 Validation Errors for Model"),
        RuntimeError("Structured output generation failed after 3 attempts"),
        RuntimeError("Structured output was truncated (finish_reason=length)."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_after_a_structured_failure_it_asks_without_structure(error: Exception) -> None:
    client = RecordingClient(error, {"content": '{"n": 1}'})
    run_payload = {**FALLING_BACK, "media": ["a.png"]}
    result = answered(client, run_payload)
    assert result["data"] == {"n": 1}
    assert result["metadata"]["_structured_output_fallback"] == {"used": True, "error": str(error)}
    first, second = (call["params"] for call in client.calls)
    assert "response_model" in first
    assert second == {name: value for name, value in first.items() if name != "response_model"}
    assert second["glyph_compression"] == "never"
    assert "response_model" not in sent(result)["params"]
    assert sent(result)["structured_output_fallback"] is True


def test_other_failures_are_final() -> None:
    client = RecordingClient(RuntimeError("401 unauthorised"))
    assert ask(client, FALLING_BACK).error == "401 unauthorised"
    assert len(client.calls) == 1


def test_without_the_fallback_there_is_exactly_one_call() -> None:
    client = RecordingClient(decode_error())
    outcome = ask(client, ASKED)
    assert (outcome.status, outcome.kind) == ("failed", "validation")
    assert len(client.calls) == 1


def test_the_fallback_needs_a_schema() -> None:
    client = RecordingClient(decode_error())
    assert ask(client, {"prompt": "p", "structured_output_fallback": True}).status == "failed"
    assert len(client.calls) == 1


def test_a_failure_of_the_fallback_is_the_failure() -> None:
    outcome = ask(RecordingClient(decode_error(), RuntimeError("down")), FALLING_BACK)
    assert outcome.error == "down"


def test_a_fallback_answer_may_be_cut() -> None:
    client = RecordingClient(
        decode_error(), {"content": "half", "finish_reason": "length"}, {"data": {"n": 1}}
    )
    result = answered(client, FALLING_BACK)
    assert [each["structured_fallback"] for each in result["metadata"]["_truncation"]["attempts"]] == [
        True,
        False,
    ]
    assert "response_model" in client.calls[2]["params"]


def test_the_recorded_params_name_the_model_as_text() -> None:
    result = answered(RecordingClient({"data": {"n": 1}}), ASKED)
    assert "StructuredOutput" in sent(result)["params"]["response_model"]
    json.dumps(result)
