"""Whether a span carries the tags one looks for (`spec/03 §2.3`)."""

from __future__ import annotations

from collections.abc import Mapping

from .spans import Span, object_at

__all__ = ["WantedTags", "tags_match", "wanted_tags"]

WantedTags = dict[str, frozenset[str]]
"""Accepted values by key, all trimmed and in lower case."""

_DERIVED = ("kind", "compression_mode", "focus")


def wanted_tags(tags: object) -> WantedTags:
    """What a caller asks for; keys without a usable value, and ``kind``, ask for nothing."""
    if not isinstance(tags, Mapping):
        return {}
    wanted = {_plain(key): _values(value) for key, value in tags.items() if isinstance(key, str)}
    return {key: values for key, values in wanted.items() if key and key != "kind" and values}


def _values(value: object) -> frozenset[str]:
    several = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    return frozenset(_plain(item) for item in several if isinstance(item, str) and item.strip())


def tags_match(wanted: WantedTags, mode: object, span: Span, artifact_tags: Mapping[str, str]) -> bool:
    """Whether the span has all wanted tags, or with ``mode`` ``any`` (or ``or``) one of them.

    The span's own tags go before its artifact's: they are the layer that can be changed.
    """
    if not wanted:
        return True
    derived = {key: span.get(key) for key in _DERIVED}
    has: dict[str, str] = {}
    for layer in (object_at(span, "tags"), artifact_tags, derived):
        for key, value in layer.items():
            if isinstance(key, str) and isinstance(value, str):
                has.setdefault(_plain(key), _plain(value))
    found = (has.get(key) in values for key, values in wanted.items())
    return any(found) if isinstance(mode, str) and _plain(mode) in ("any", "or") else all(found)


def _plain(text: str) -> str:
    return text.strip().lower()
