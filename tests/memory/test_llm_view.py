"""What a model is shown (`spec/03 §2.3`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import ActiveContextPolicy, InMemoryArtifactStore, InMemoryRunStore

from .runs import message, remembering

TALK = (
    message("user", "1"),
    message("system", "rules"),
    message("assistant", "2"),
    "noise",
    message("user", "3"),
)


@pytest.mark.parametrize(
    ("limit", "shown"),
    [
        (-1, ["rules", "1", "2", "3"]),
        (-7, ["rules", "1", "2", "3"]),
        (0, ["rules"]),
        (2, ["rules", "2", "3"]),
        (9, ["rules", "1", "2", "3"]),
    ],
)
def test_system_messages_and_the_last_others(limit: int, shown: list[str]) -> None:
    view = ActiveContextPolicy.select_messages_view(list(TALK), max_history_messages=limit)
    assert [entry["content"] for entry in view] == shown


@pytest.mark.parametrize(("limit", "number"), [(1, 2), ("2", 3), (None, 4), ("many", 4), (-1, 4)])
def test_the_runs_own_limit(limit: Any, number: int) -> None:
    run = remembering(messages=TALK, limits={"max_history_messages": limit})
    assert len(ActiveContextPolicy.select_active_messages_for_llm_from_run(run)) == number
    store = InMemoryRunStore()
    store.save(run)
    policy = ActiveContextPolicy(run_store=store, artifact_store=InMemoryArtifactStore())
    assert len(policy.select_active_messages_for_llm("r")) == number
    assert len(policy.select_active_messages_for_llm("r", max_history_messages=0)) == 1


def test_a_view_changes_nothing() -> None:
    run = remembering(messages=TALK)
    view = ActiveContextPolicy.select_active_messages_for_llm_from_run(run)
    view[0]["content"] = "changed"
    assert run.vars["context"]["messages"][1]["content"] == "rules"


@pytest.mark.parametrize("messages", [None, "text", {}])
def test_no_messages(messages: Any) -> None:
    run = remembering(messages=messages)
    assert ActiveContextPolicy.select_active_messages_for_llm_from_run(run) == []
    run.vars.pop("context")
    assert ActiveContextPolicy.select_active_messages_for_llm_from_run(run) == []
