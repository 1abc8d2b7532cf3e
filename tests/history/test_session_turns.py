"""`spec/01 §16.4`: the turns of a session."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import InMemoryRunStore
from abstractruntime.core.models import RunState, StepStatus
from abstractruntime.history_bundle import export_run_history_bundle

from .histories import PlainLedgerStore, Stores


def turns(stores: Stores, run_id: str = "r", **options: Any) -> list[dict[str, Any]]:
    bundle = export_run_history_bundle(
        run_id=run_id, run_store=stores.runs, ledger_store=stores.ledgers, include_session=True, **options
    )
    session = bundle["session"]
    assert session["session_id"] == "s"
    listed: list[dict[str, Any]] = session["turns"]
    return listed


def ids(listed: list[dict[str, Any]]) -> list[str]:
    return [turn["run_id"] for turn in listed]


def the_turn(stores: Stores, **fields: Any) -> dict[str, Any]:
    stores.run(session_id="s", **fields)
    return turns(stores)[0]


def test_no_session_no_turns(stores: Stores) -> None:
    stores.run(session_id="  ")
    bundle = export_run_history_bundle(
        run_id="r", run_store=stores.runs, ledger_store=stores.ledgers, include_session=True
    )
    assert bundle["session"] is None


def test_which_runs_are_turns(stores: Stores) -> None:
    stores.run("r", session_id="s", created_at="2026-01-01T00:00:09+00:00")
    stores.run("early", session_id=" s ", created_at="2026-01-01T00:00:01+00:00", workflow_id="scheduled:x")
    stores.run(
        "planned", session_id="s", created_at="2026-01-01T00:00:02+00:00", vars={"_meta": {"schedule": {}}}
    )
    stores.run("hidden", session_id="s", workflow_id="__memory")
    stores.run("child", session_id="s", parent_run_id="r")
    stores.run("other", session_id="t")
    listed = turns(stores)
    assert [(turn["run_id"], turn["kind"]) for turn in listed] == [
        ("early", "scheduled"),
        ("planned", "scheduled"),
        ("r", "run"),
    ]
    assert ids(turns(stores, session_turn_limit=2)) == ["planned", "r"]
    assert ids(turns(stores, session_turn_limit=0)) == ["early", "planned", "r"]
    stores.run("talk", session_id="s", vars={"context": {"messages": []}})
    assert ids(turns(stores)) == ["talk"]


@pytest.mark.weakness("spec/01 §19.22")
def test_a_session_is_found_without_reading_other_runs(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        stores.run(f"r{number}", session_id="s", created_at=f"2026-01-01T00:00:0{number}+00:00")
    for number in range(50):
        stores.run(f"other{number}", session_id="t")
    stores.run(session_id="s", created_at="2026-01-01T00:00:09+00:00")
    read: list[str] = []
    load = stores.runs.load

    def counted(run_id: str) -> RunState | None:
        read.append(run_id)
        found: RunState | None = load(run_id)
        return found

    monkeypatch.setattr(stores.runs, "load", counted)
    monkeypatch.setattr(stores.runs, "list_runs", None)
    assert ids(turns(stores)) == ["r0", "r1", "r2", "r"]
    assert set(read) == {"r", "r0", "r1", "r2"}
    assert len(read) <= 9, "the run itself, then each turn to sort it and to show it"


def test_stores_with_fewer_methods() -> None:
    class OnlyLists:
        def __init__(self, inner: InMemoryRunStore) -> None:
            self.save, self.load, self.list_runs = inner.save, inner.load, inner.list_runs

    class Bare:
        def __init__(self, inner: InMemoryRunStore) -> None:
            self.save, self.load = inner.save, inner.load

    inner = InMemoryRunStore()
    stores = Stores(OnlyLists(inner), PlainLedgerStore())
    stores.run(session_id="s")
    stores.run("child", session_id="s", parent_run_id="r")
    assert ids(turns(stores)) == ["r"]
    assert turns(Stores(Bare(inner), PlainLedgerStore())) == []


def test_shape_of_a_turn(stores: Stores) -> None:
    turn = the_turn(stores, created_at="2026-01-01T00:00:00+00:00", updated_at=" ")
    assert list(turn) == [
        "run_id",
        "workflow_id",
        "kind",
        "status",
        "created_at",
        "updated_at",
        "prompt",
        "attachments",
        "answer",
        "answer_meta",
        "stats",
    ]
    assert turn["status"] == "completed"
    assert turn["updated_at"] is None
    assert (turn["prompt"], turn["attachments"], turn["answer"], turn["answer_meta"]) == (
        None,
        [],
        None,
        None,
    )
    assert turn["stats"] == {
        "duration_ms": 0,
        "llm_calls": 0,
        "tool_calls": 0,
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
        "tok_s": None,
    }


@pytest.mark.parametrize(
    ("variables", "prompt"),
    [
        ({"prompt": " ", "message": " hi "}, "hi"),
        ({"task": "t", "context": {"task": "c"}}, "t"),
        ({"context": {"task": 1, "message": "m"}}, "m"),
        ({"prompt": "outer", "input_data": {"task": "inner"}}, "inner"),
        ({"prompt": "outer", "input_data": {}}, None),
        (
            {
                "context": {
                    "messages": [
                        {"role": "system", "content": "s"},
                        {"role": "user", "content": []},
                        {"role": "user", "content": "q"},
                    ]
                }
            },
            "q",
        ),
    ],
)
def test_prompt(stores: Stores, variables: dict[str, Any], prompt: str | None) -> None:
    assert the_turn(stores, vars=variables)["prompt"] == prompt


def test_attachments(stores: Stores) -> None:
    turn = the_turn(stores, vars={"context": {"attachments": [{"$artifact": "a"}, "no"]}})
    assert turn["attachments"] == [{"$artifact": "a"}]


@pytest.mark.parametrize(
    ("output", "answer", "meta"),
    [
        ({"answer": "a", "response": "r", "meta": {"m": 1}}, "r", {"m": 1}),
        ({"result": {"content": "c", "meta": {"m": 2}}}, "c", {"m": 2}),
        ({"output": {"text": "t"}, "meta": {"m": 3}}, "t", {"m": 3}),
        ({"message": 3}, None, None),
    ],
)
def test_answer_in_the_output(
    stores: Stores, output: dict[str, Any], answer: str | None, meta: dict[str, Any] | None
) -> None:
    turn = the_turn(stores, output=output)
    assert (turn["answer"], turn["answer_meta"]) == (answer, meta)


@pytest.mark.parametrize(
    ("kind", "payload", "result", "answer", "meta"),
    [
        ("answer_user", {"message": "p"}, {"message": "m"}, "m", None),
        ("answer_user", {"text": "p"}, {}, "p", None),
        ("llm_call", {}, {"output": "o"}, "o", None),
        ("llm_call", {}, {"output": {"response": "r", "answer": 42, "meta": {"m": 1}}}, "42", {"m": 1}),
        ("llm_call", {}, {"output": {"text": " "}}, "first", None),
    ],
)
def test_answer_in_the_ledger(
    stores: Stores, kind: str, payload: Any, result: Any, answer: str, meta: dict[str, Any] | None
) -> None:
    stores.record(second=1, result={"output": "first"})
    stores.record(second=2, kind=kind, payload=payload, result=result)
    stores.record(second=3, kind="answer_user", payload={"message": "never said"}, status=StepStatus.STARTED)
    turn = the_turn(stores)
    assert (turn["answer"], turn["answer_meta"]) == (answer, meta)


def test_stats_of_a_turn_and_its_descendants(stores: Stores) -> None:
    stores.run("child", session_id="s", parent_run_id="r")
    stores.record(second=1, kind="llm_call", result={"usage": {"prompt_tokens": 10, "completion_tokens": 5}})
    stores.record(second=2, kind="llm_call", result={"output": {"tokens": {"in": 1, "out": 2, "total": 9}}})
    stores.record(second=3, kind="tool_calls", payload={"tool_calls": [{}, None, {}]})
    stores.record(second=4, kind="llm_call", status=StepStatus.FAILED)
    stores.record("child", second=5, kind="llm_call", result={}, ended_at=None)
    assert the_turn(stores)["stats"] == {
        "duration_ms": 4000,
        "llm_calls": 3,
        "tool_calls": 2,
        "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 24},
        "tok_s": 6.0,
    }


def test_long_ledgers_are_walked_to_both_ends() -> None:
    stores = Stores(InMemoryRunStore(), PlainLedgerStore())
    stores.record(second=0, kind="answer_user", result={"message": "at the very start"})
    for _ in range(1200):
        stores.record(second=30, kind="llm_call", result={})
    run: RunState = stores.run(session_id="s")
    turn = turns(stores, run.run_id, ledger_max_items=1)[0]
    assert (turn["answer"], turn["stats"]["llm_calls"]) == ("at the very start", 1200)
