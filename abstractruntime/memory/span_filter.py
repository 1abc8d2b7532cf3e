"""Finding spans by time, tags, author, place and words (`spec/03 §2.3`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.models import RunState

from .span_artifacts import SpanArtifacts, artifact_tags, note_payload
from .span_tags import tags_match, wanted_tags
from .spans import Span, object_at, span_id, spans_of, summaries
from .time_range import TimeRange

__all__ = ["SpanFilter", "filter_spans"]

_TEXT_FIELDS = (
    "kind",
    "compression_mode",
    "focus",
    "from_timestamp",
    "to_timestamp",
    "created_by",
    "location",
)


@dataclass(frozen=True)
class SpanFilter:
    """What to look for; all conditions that are set must hold.

    Attributes:
        time_range: the span must touch it.
        tags: required values by key; a list means any of its values. Ignores the key ``kind``.
        tags_mode: ``all`` or ``any`` of the keys.
        authors, locations: any of them, whatever the case.
        query: a piece of text that must occur in what is known of the span, whatever the case.
    """

    time_range: TimeRange | None = None
    tags: Mapping[str, Any] | None = None
    tags_mode: str = "all"
    authors: Iterable[str] | None = None
    locations: Iterable[str] | None = None
    query: str | None = None


def filter_spans(run: RunState, artifacts: SpanArtifacts, wanted: SpanFilter, limit: int) -> list[Span]:
    """The run's spans that match, newest first, at most ``limit``.

    Raises:
        InvalidInputError: (a ``ValueError``) a time of the range, or of a span that it is compared with,
            can't be read.
    """
    matches = _matcher(run, artifacts, wanted)
    found: list[Span] = []
    for span in spans_of(run):
        if len(found) >= limit:
            break
        if span_id(span) and matches(span):
            found.append(span)
    return found


def _matcher(run: RunState, artifacts: SpanArtifacts, wanted: SpanFilter) -> Callable[[Span], bool]:
    """Cheap conditions first: artifacts are read for the spans that are left."""
    tags = wanted_tags(wanted.tags)
    authors, locations = _names(wanted.authors), _names(wanted.locations)
    query = (wanted.query or "").strip().lower()
    texts = summaries(run) if query else {}

    def matches(span: Span) -> bool:
        if wanted.time_range is not None and not wanted.time_range.contains(
            start=span.get("from_timestamp"), end=span.get("to_timestamp")
        ):
            return False
        if authors and _name(span.get("created_by")) not in authors:
            return False
        if locations and _location(span) not in locations:
            return False
        if not tags and not query:
            return True
        known = artifact_tags(artifacts, span_id(span))
        if not tags_match(tags, wanted.tags_mode, span, known):
            return False
        return not query or query in _haystack(span, known, texts, artifacts)

    return matches


def _haystack(span: Span, known: dict[str, str], texts: dict[str, str], artifacts: SpanArtifacts) -> str:
    """All that is known of the span, as one text. Without the content type, which says the same of all."""
    return " ".join(part for part in _parts(span, known, texts, artifacts) if part).lower()


def _parts(
    span: Span, known: dict[str, str], texts: dict[str, str], artifacts: SpanArtifacts
) -> Iterator[str]:
    yield texts.get(span_id(span), "")
    if span.get("kind") == "memory_note":
        note = note_payload(artifacts, span_id(span))
        yield from _strings([note.get("note")])
        sources = object_at(note, "sources").get("span_ids")
        yield from (
            texts.get(source, "") for source in _strings(sources if isinstance(sources, list) else [])
        )
    yield from _strings(span.get(field) for field in _TEXT_FIELDS)
    for tags in (object_at(span, "tags"), known):
        for key, value in tags.items():
            yield from _strings([key, value])


def _strings(values: Iterable[object]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str))


def _location(span: Span) -> str:
    return _name(span.get("location")) or _name(object_at(span, "tags").get("location"))


def _names(values: Iterable[str] | None) -> frozenset[str]:
    several = [values] if isinstance(values, str) else values or ()
    return frozenset(name for name in map(_name, several) if name)


def _name(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""
