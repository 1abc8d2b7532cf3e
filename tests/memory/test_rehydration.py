"""Bringing archived messages back (`spec/03 §2.3`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from abstractruntime import (
    ActiveContextPolicy,
    FileArtifactStore,
    InMemoryArtifactStore,
    InMemoryRunStore,
    JsonFileRunStore,
    SqliteDatabase,
    SqliteRunStore,
)

from .runs import message, remembering, span, summary

NEVER = "f" * 32


@pytest.fixture
def artifacts() -> InMemoryArtifactStore:
    return InMemoryArtifactStore()


@pytest.fixture(params=["memory", "files", "sqlite"])
def run_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemoryRunStore()
    elif request.param == "files":
        yield JsonFileRunStore(tmp_path)
    else:
        database = SqliteDatabase(tmp_path / "runs.sqlite3")
        yield SqliteRunStore(database)
        database.close()


def archived(store: Any, *contents: str, ids: bool = True) -> str:
    messages = [message("user", text, f"id-{text}" if ids else None) for text in contents]
    made: str = store.store_json({"messages": [*messages, "noise"]}).artifact_id
    return made


def contents(run: Any) -> list[str]:
    return [kept["content"] for kept in run.vars["context"]["messages"]]


def bring(run: Any, store: Any, *span_ids: Any, **options: Any) -> dict[str, Any]:
    policy = ActiveContextPolicy(run_store=InMemoryRunStore(), artifact_store=store)
    return policy.rehydrate_into_context_from_run(run, span_ids=list(span_ids), **options)


def test_messages_come_back_marked_after_their_summary(artifacts: InMemoryArtifactStore) -> None:
    kept = archived(artifacts, "one", "two")
    run = remembering(
        spans=(span(kept),),
        messages=(message("system", "rules"), summary(kept, "sum"), message("user", "now")),
        output={"answer": 1},
    )
    result = bring(run, artifacts, 1)
    entry = {"artifact_id": kept, "inserted": 2, "skipped": 0, "preview": "user: one\nuser: two"}
    assert result == {"inserted": 2, "skipped": 0, "artifacts": [entry]}
    assert contents(run) == ["rules", "sum", "one", "two", "now"]
    metadata = run.vars["context"]["messages"][2]["metadata"]
    assert metadata == {"message_id": "id-one", "rehydrated": True, "source_artifact_id": kept}
    assert run.output["messages"] == run.vars["context"]["messages"]
    assert "rehydrated" not in str(artifacts.load_json(kept))


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ("end", ["rules", "hi", "late rule", "one"]),
        ("after_system", ["rules", "one", "hi", "late rule"]),
        ("after_summary", ["rules", "one", "hi", "late rule"]),
        ("somewhere", ["rules", "one", "hi", "late rule"]),
    ],
)
def test_where_they_go(artifacts: InMemoryArtifactStore, placement: str, expected: list[str]) -> None:
    kept = archived(artifacts, "one")
    messages = (message("system", "rules"), message("user", "hi"), message("system", "late rule"))
    run = remembering(messages=messages)
    bring(run, artifacts, kept, placement=placement)
    assert contents(run) == expected


def test_a_note_comes_back_as_a_system_message(artifacts: InMemoryArtifactStore) -> None:
    note = artifacts.store_json({"note": "buy milk", "created_at": "2026-01-01"}).artifact_id
    talk = archived(artifacts, "one")
    run = remembering(messages=(message("user", "now"),))
    result = bring(run, artifacts, note, talk, placement="after_system")
    assert contents(run) == ["[MEMORY NOTE]\nbuy milk", "one", "now"]
    assert run.vars["context"]["messages"][0] == {
        "role": "system",
        "content": "[MEMORY NOTE]\nbuy milk",
        "timestamp": "2026-01-01",
        "metadata": {
            "kind": "memory_note",
            "rehydrated": True,
            "source_artifact_id": note,
            "message_id": f"memory_note:{note}",
        },
    }
    assert result["artifacts"][0]["preview"] == "[MEMORY NOTE]\nbuy milk"


def test_what_is_there_already_is_skipped(artifacts: InMemoryArtifactStore) -> None:
    first, second = archived(artifacts, "one", "two"), archived(artifacts, "two", "three")
    run = remembering(messages=(message("user", "one", "id-one"),))
    result = bring(run, artifacts, first, second)
    assert (result["inserted"], result["skipped"]) == (2, 2)
    assert [entry["skipped"] for entry in result["artifacts"]] == [1, 1]
    assert "preview" in result["artifacts"][1]
    assert sorted(contents(run)) == ["one", "three", "two"]
    again = bring(run, artifacts, first, second, dedup_by="nothing")
    assert (again["inserted"], again["skipped"]) == (4, 0)


def test_messages_without_an_id_are_always_inserted(artifacts: InMemoryArtifactStore) -> None:
    kept = archived(artifacts, "one", ids=False)
    run = remembering()
    bring(run, artifacts, kept)
    assert bring(run, artifacts, kept)["inserted"] == 1
    assert contents(run) == ["one", "one"]


def test_a_cap_over_all_spans(artifacts: InMemoryArtifactStore) -> None:
    first, second, third = (archived(artifacts, *text) for text in ("ab", "cd", "ef"))
    run = remembering()
    result = bring(run, artifacts, first, second, third, max_messages=3, placement="end")
    assert contents(run) == ["a", "b", "c"]
    assert [entry["inserted"] for entry in result["artifacts"]] == [2, 1, 0]
    assert result["artifacts"][2] == {
        "artifact_id": third,
        "inserted": 0,
        "skipped": 0,
        "error": "max_messages",
    }
    assert result["skipped"] == 0


@pytest.mark.parametrize(("cap", "inserted"), [(None, 2), (-1, 2), ("many", 2), ("1", 1), (0, 0), (1.0, 1)])
def test_caps_are_numbers_or_none(artifacts: InMemoryArtifactStore, cap: Any, inserted: int) -> None:
    kept = archived(artifacts, "one", "two")
    assert bring(remembering(), artifacts, kept, max_messages=cap)["inserted"] == inserted


def test_spans_without_messages_don_t_hinder_the_others(artifacts: InMemoryArtifactStore) -> None:
    other = artifacts.store_json({"text": "?"}).artifact_id
    blank = artifacts.store_json({"note": " "}).artifact_id
    broken = artifacts.store_text("not json").artifact_id
    kept = archived(artifacts, "one")
    wrong = [NEVER, "no id/at all", other, blank, broken]
    result = bring(remembering(), artifacts, *wrong, kept)
    assert [entry.get("error") for entry in result["artifacts"]] == ["missing_messages"] * 5 + [None]
    assert result["inserted"] == 1


def test_nothing_asked_for_nothing_done(artifacts: InMemoryArtifactStore) -> None:
    run = remembering(messages="none", output={})
    for span_ids in ([], [0, 99, None], None):
        policy = ActiveContextPolicy(run_store=InMemoryRunStore(), artifact_store=artifacts)
        result = policy.rehydrate_into_context_from_run(run, span_ids=span_ids)  # type: ignore[arg-type]
        assert result == {"inserted": 0, "skipped": 0, "artifacts": []}
    assert run.output == {}


def test_a_run_without_a_context_gets_one(artifacts: InMemoryArtifactStore) -> None:
    run = remembering()
    run.vars["context"] = None
    bring(run, artifacts, archived(artifacts, "one"))
    assert contents(run) == ["one"]


def test_the_preview_is_short(artifacts: InMemoryArtifactStore) -> None:
    kept = archived(artifacts, "x" * 300, "y" * 300, "z", "four")
    preview = bring(remembering(), artifacts, kept)["artifacts"][0]["preview"]
    assert len(preview) == 360
    assert preview.startswith("user: xxx")
    assert preview.endswith("… (truncated)")
    short = bring(remembering(), artifacts, archived(artifacts, "1", "2", "3", "4"))
    assert short["artifacts"][0]["preview"] == "user: 1\nuser: 2\nuser: 3"
    assert "preview" not in bring(remembering(), artifacts, archived(artifacts, ""))["artifacts"][0]


def test_the_stored_run_is_changed_and_saved(run_store: Any, tmp_path: Path) -> None:
    files = FileArtifactStore(tmp_path / "artifacts")
    kept = archived(files, "one")
    run_store.save(remembering(spans=(span(kept),), messages=(message("user", "now"),)))
    policy = ActiveContextPolicy(run_store=run_store, artifact_store=files)
    assert policy.rehydrate_into_context("r", span_ids=["1"])["inserted"] == 1
    stored = run_store.load("r")
    assert contents(stored) == ["one", "now"]
    assert stored.updated_at == remembering().updated_at


def test_two_at_a_time_lose_nothing(run_store: Any, artifacts: InMemoryArtifactStore) -> None:
    run_store.save(remembering())
    policy = ActiveContextPolicy(run_store=run_store, artifact_store=artifacts)
    kept = [archived(artifacts, f"m{n}") for n in range(12)]
    threads = [
        Thread(target=policy.rehydrate_into_context, args=("r",), kwargs={"span_ids": [artifact_id]})
        for artifact_id in kept
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(contents(run_store.load("r"))) == 12
