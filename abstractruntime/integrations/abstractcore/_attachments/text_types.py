"""Which content types are text that a model can read as it is (`spec/04 §6.7`)."""

from __future__ import annotations

__all__ = ["bare_type", "is_text_type"]

_TEXT_APPLICATIONS = frozenset({"json", "yaml", "x-yaml", "xml", "javascript", "typescript"})


def bare_type(content_type: object) -> str:
    """The type without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower() if isinstance(content_type, str) else ""


def is_text_type(content_type: object) -> bool:
    """``text/*``, or JSON, YAML, XML, JavaScript or TypeScript."""
    kind, _, subtype = bare_type(content_type).partition("/")
    return kind == "text" or (kind == "application" and subtype in _TEXT_APPLICATIONS)
