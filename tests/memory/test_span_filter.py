"""Finding spans (`spec/03 §2.3`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import ActiveContextPolicy, InMemoryArtifactStore, InMemoryRunStore, TimeRange

from .runs import message, remembering, span, summary

EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-01-03T00:00:00+00:00"


class BrokenStore(InMemoryArtifactStore):
    def get_metadata(self, artifact_id: str) -> Any:
        raise OSError("no metadata today")

    def load_json(self, artifact_id: str) -> Any:
        raise OSError("no content today")


def found(run: Any, artifacts: Any = None, **filters: Any) -> list[str]:
    store = artifacts or InMemoryArtifactStore()
    spans = ActiveContextPolicy.filter_spans_from_run(run, artifact_store=store, **filters)
    return [record["artifact_id"] for record in spans]


def test_spans_come_newest_first_as_copies_of_all_kinds() -> None:
    spans = (span("a", EARLY), "noise", span("b", LATE, kind="evidence"), {"kind": "odd"}, span("c", LATE))
    run = remembering(spans=spans)
    listed = ActiveContextPolicy.list_memory_spans_from_run(run)
    assert [record.get("artifact_id") for record in listed] == ["b", "c", "a", None]
    listed[0]["kind"] = "changed"
    assert run.vars["_runtime"]["memory_spans"][2]["kind"] == "evidence"


@pytest.mark.parametrize("index", [None, "spans", {"a": 1}])
def test_an_index_that_is_no_list_is_empty(index: Any) -> None:
    assert ActiveContextPolicy.list_memory_spans_from_run(remembering(spans=index)) == []


def test_records_without_an_artifact_never_match() -> None:
    assert found(remembering(spans=(span(""), {"kind": "x"}, span("a")))) == ["a"]


def test_by_time() -> None:
    run = remembering(
        spans=(span("a", from_timestamp=EARLY, to_timestamp=EARLY), span("b", from_timestamp=LATE), span("c"))
    )
    assert found(run, time_range=TimeRange(end=EARLY)) == ["a"]
    assert found(run, time_range=TimeRange()) == ["a", "b", "c"]


def test_by_author_and_by_place() -> None:
    run = remembering(
        spans=(
            span("a", created_by=" Ann ", location="Paris"),
            span("b", created_by="bob", tags={"location": "paris"}),
            span("c"),
        )
    )
    assert found(run, authors=["ANN", "nobody"]) == ["a"]
    assert found(run, locations=[" PARIS"]) == ["a", "b"]
    assert found(run, authors=[], locations=[""]) == ["a", "b", "c"]


def test_by_tags_all_or_any() -> None:
    run = remembering(
        spans=(
            span("a", tags={"Topic": " Memory ", "lang": "en"}),
            span("b", tags={"topic": "time", "n": 3}),
            span("c", compression_mode="heavy", focus="plans"),
        )
    )
    assert found(run, tags={"topic": "memory"}) == ["a"]
    assert found(run, tags={" TOPIC ": ["MEMORY", "time"]}) == ["a", "b"]
    assert found(run, tags={"topic": ("time",), "lang": "en"}) == []
    assert found(run, tags={"topic": "time", "lang": "en"}, tags_mode="ANY") == ["a", "b"]
    assert found(run, tags={"topic": "time", "lang": "en"}, tags_mode="or") == ["a", "b"]
    assert found(run, tags={"topic": "time", "lang": "en"}, tags_mode="sometimes") == []
    assert found(run, tags={"focus": "Plans", "compression_mode": "heavy"}) == ["c"]
    assert found(run, tags={"n": "3"}) == []


@pytest.mark.parametrize("tags", [None, {}, {"kind": "evidence"}, {"topic": 3}, {"topic": ["", " "]}])
def test_tags_that_ask_for_nothing_pass(tags: Any) -> None:
    assert found(remembering(spans=(span("a"),)), tags=tags) == ["a"]


def test_a_spans_own_tags_go_before_its_artifacts() -> None:
    store = InMemoryArtifactStore()
    note = store.store_json({"note": "x"}, tags={"topic": "a", "lang": "en"}).artifact_id
    run = remembering(spans=(span(note, tags={"topic": "b"}),))
    assert found(run, store, tags={"topic": "b", "lang": "en"}) == [note]
    assert found(run, store, tags={"topic": "a"}) == []


def test_by_words_of_summary_fields_and_tags() -> None:
    run = remembering(
        spans=(span("a", focus="Budget", tags={"project": "Apollo"}), span("b", kind="evidence")),
        messages=(summary("b", "old text"), summary("b", "We spoke of Whales"), message("system", "budget")),
    )
    assert found(run, query="  WHALES ") == ["b"]
    assert found(run, query="old text") == []
    assert found(run, query="budget") == ["a"]
    assert found(run, query="apollo") == ["a"]
    assert found(run, query=" ") == ["a", "b"]
    assert found(run, query="budget", tags={"project": "gemini"}) == []


def test_by_words_of_a_note_and_of_what_it_sums_up() -> None:
    store = InMemoryArtifactStore()
    note = store.store_json({"note": "Remember the Milk", "sources": {"span_ids": ["s"]}}).artifact_id
    run = remembering(spans=(span(note, kind="memory_note"),), messages=(summary("s", "all about cows"),))
    assert found(run, store, query="the milk") == [note]
    assert found(run, store, query="cows") == [note]
    assert found(run, store, query="horses") == []


def test_the_content_type_is_no_word_to_look_for() -> None:
    store = InMemoryArtifactStore()
    note = store.store_json({"note": "x"}, tags={"colour": "Red"}).artifact_id
    run = remembering(spans=(span(note),))
    assert found(run, store, query="json") == []
    assert found(run, store, query="red") == [note]


def test_artifacts_that_fail_count_as_unknown() -> None:
    run = remembering(
        spans=(span("a", tags={"topic": "x"}), span("n", kind="memory_note", tags={"topic": "x"}))
    )
    assert found(run, BrokenStore(), tags={"topic": "x"}) == ["a", "n"]
    assert found(run, BrokenStore(), query="memory_note") == ["n"]


def test_notes_are_read_for_a_query_only() -> None:
    class Counting(InMemoryArtifactStore):
        reads = 0

        def load_json(self, artifact_id: str) -> Any:
            self.reads += 1
            return super().load_json(artifact_id)

    store, run = Counting(), remembering(spans=(span("n", kind="memory_note", tags={"a": "b"}),))
    found(run, store, tags={"a": "b"})
    assert store.reads == 0
    found(run, store, tags={"a": "c"}, query="b")
    assert store.reads == 0
    found(run, store, query="b")
    assert store.reads == 1


def test_the_limit_holds_and_zero_is_none() -> None:
    run = remembering(spans=(span("a", EARLY), span("b", LATE)))
    assert found(run, limit=1) == ["b"]
    assert found(run, limit=0) == []


def test_a_run_is_found_by_its_id() -> None:
    store = InMemoryRunStore()
    store.save(remembering(spans=(span("a"),)))
    policy = ActiveContextPolicy(run_store=store, artifact_store=InMemoryArtifactStore())
    assert [record["artifact_id"] for record in policy.list_memory_spans("r")] == ["a"]
    assert [record["artifact_id"] for record in policy.filter_spans("r", query="conversation")] == ["a"]


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("list_memory_spans", {}),
        ("filter_spans", {}),
        ("rehydrate_into_context", {"span_ids": ["a"]}),
        ("select_active_messages_for_llm", {}),
    ],
)
def test_an_unknown_run(method: str, more: dict[str, Any]) -> None:
    policy = ActiveContextPolicy(run_store=InMemoryRunStore(), artifact_store=InMemoryArtifactStore())
    with pytest.raises(KeyError, match="Unknown run_id: nobody"):
        getattr(policy, method)("nobody", **more)


def test_span_ids_are_numbers_or_ids() -> None:
    spans = [span("a"), span("b"), {"kind": "odd"}]
    resolve = ActiveContextPolicy.resolve_span_ids_from_spans
    assert resolve([2, "1", " x ", "b", 0, 9, -1, 3, "", None, 1.0, "a"], spans) == ["b", "a", "x"]
    assert resolve([True, False], spans) == []
    digits = span("0123456789" * 3 + "12")
    assert resolve([digits["artifact_id"]], [digits]) == [digits["artifact_id"]]


def test_summaries_by_artifact() -> None:
    run = remembering(
        messages=(
            summary("a", "first"),
            summary("a", "second"),
            summary("", "none"),
            message("user", "no", kind="memory_summary", source_artifact_id="b"),
            "noise",
        )
    )
    assert ActiveContextPolicy.summary_text_by_artifact_id_from_run(run) == {"a": "second"}
