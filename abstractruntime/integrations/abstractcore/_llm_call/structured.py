"""Structured results: what a client's answer amounts to, and when to ask again without structure
(`spec/04 §6.9`, §16.5)."""

from __future__ import annotations

import ast
import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..json_values import json_value
from .errors import SchemaError, causes

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["is_structured_failure", "parsed_answer", "with_structured_data"]

PARSE_ERROR = "_structured_output_parse_error"
VALIDATION_ERROR = "_structured_output_validation_error"

_SIGNS = (
    "validation errors for",
    "validation error for",
    "structured output generation failed",
    "structured output was truncated",
)
_FENCED = re.compile(r"\A```[\w-]*[ \t]*\r?\n?(.*?)\r?\n?```\Z", re.DOTALL)
_MAX_REPORT = 2000
_MAX_STARTS = 200
"""Places in a text where JSON is looked for: each costs a look at all that follows."""


def is_structured_failure(error: BaseException) -> bool:
    """Whether a call failed because the model's answer did not fit the schema, and not for another reason.

    By cause: a failed validation, an answer that is not JSON, or AbstractCore saying so.
    """
    for cause in causes(error):
        if type(cause).__name__ == "ValidationError" and type(cause).__module__.startswith("pydantic"):
            return True
        if isinstance(cause, json.JSONDecodeError):
            return True
        if any(sign in str(cause).lower() for sign in _SIGNS):
            return True
    return False


def with_structured_data(
    result: dict[str, Any], model: type[BaseModel], *, is_strict: bool
) -> dict[str, Any]:
    """The result with ``data``; where the client gave only text, that is parsed.

    What is wrong is told in ``metadata``: ``_structured_output_parse_error`` (``data`` stays unset) or
    ``_structured_output_validation_error`` (``data`` does not match the schema).

    Raises:
        SchemaError: with ``is_strict``, instead of telling it in the metadata.
    """
    metadata, data = result["metadata"], result.get("data")
    if data is None:
        content = result.get("content")
        if not isinstance(content, str) or not content.strip():
            if is_strict:
                raise SchemaError("LLM_CALL answer is not structured: it is empty")
            return result
        try:
            data = parsed_answer(content)
        except ValueError as exc:
            if is_strict:
                raise SchemaError(f"LLM_CALL answer is not structured: {exc}") from exc
            metadata[PARSE_ERROR] = str(exc)
            return result
        result["data"] = data
    problem = _mismatch(model, data)
    if problem is not None and is_strict:
        raise SchemaError(f"LLM_CALL answer does not match response_schema: {problem}")
    if problem is not None:
        metadata[VALIDATION_ERROR] = problem
    return result


def _mismatch(model: type[BaseModel], data: Any) -> str | None:
    """What does not match, without the values: those are in ``data``."""
    from pydantic import ValidationError

    try:
        model.model_validate(data)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        lines = [f"{'.'.join(str(part) for part in error['loc']) or '$'}: {error['msg']}" for error in errors]
        return "; ".join(lines)[:_MAX_REPORT]
    return None


def parsed_answer(content: str) -> dict[str, Any]:
    """The object a model has written: JSON, else the first JSON inside the text, else a Python literal.
    Values that are no objects become ``{"value": …}``.

    Raises:
        ValueError: nothing of that is there.
    """
    text = content.strip()
    fenced = _FENCED.match(text)
    if fenced is not None:
        text = fenced.group(1).strip()
    value = _json(text)
    return value if isinstance(value, dict) else {"value": value}


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        strict_error = exc
    decoder = json.JSONDecoder(parse_constant=_refuse)
    for start in islice(re.finditer(r"[{\[]", text), _MAX_STARTS):
        try:
            return decoder.raw_decode(text, start.start())[0]
        except (ValueError, RecursionError):
            continue
    try:
        return json_value(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"no JSON in the answer ({strict_error})") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
