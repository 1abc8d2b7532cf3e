"""Starting runs: durable without a broker, repeatable, checked at the door."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.errors import (
    AppError,
    InvalidInputError,
    PayloadTooLargeError,
    RunConflictError,
    UnknownRunError,
    UnknownWorkflowError,
)
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from workers.client import Client
from workers.settings import Settings


def test_a_started_run_runs(client: Client, pump: Pump) -> None:
    run_id = client.start("add", {"a": 2, "b": 3}, session_id="s", actor_id="ann")
    run = client.get(run_id)
    assert (run.status, run.session_id, run.actor_id) == (RunStatus.RUNNING, "s", "ann")
    pump.run()
    assert client.get(run_id).output == {"sum": 5}
    assert pump.ended() == [run_id]
    assert client.counts() == {"completed": 1}
    assert [entry.seq for entry in client.ledger(run_id)] == [1, 2]


def test_the_same_request_gives_the_same_run(client: Client, pump: Pump) -> None:
    for _ in range(3):
        assert client.start("add", {"a": 1, "b": [1, {"x": None}]}, run_id="mine") == "mine"
    assert client.counts() == {"running": 1}
    assert len(pump.sent) == 1


def test_the_same_request_gives_the_run_that_has_ended(client: Client, pump: Pump) -> None:
    client.start("add", {"a": 1}, run_id="mine")
    pump.run()
    assert client.start("add", {"a": 1}, run_id="mine") == "mine"
    assert client.get("mine").status is RunStatus.COMPLETED


def test_another_request_under_the_same_id_conflicts(client: Client) -> None:
    client.start("add", {"a": 1}, run_id="mine")
    with pytest.raises(RunConflictError, match="workflow 'add', not 'ask'"):
        client.start("ask", {"a": 1}, run_id="mine")
    with pytest.raises(RunConflictError, match="started with other vars"):
        client.start("add", {"a": 2}, run_id="mine")


def test_unknown_workflow_names_the_known_ones(client: Client) -> None:
    with pytest.raises(UnknownWorkflowError, match=r"'nope'; it declares 'add', 'ask'"):
        client.start("nope")


@pytest.mark.parametrize(
    ("vars", "complaint"),
    [
        ({"a": {"b": [0, {"c": object()}]}}, r"vars\.a\.b\[1\]\.c is a object"),
        ({"a": [float("nan")]}, r"vars\.a\[0\] is nan"),
        ({"a": float("-inf")}, r"vars\.a is -inf"),
        ({"a": {7: "x"}}, r"vars\.a has the key 7 of type int"),
        ({"a": b"raw"}, r"vars\.a is a bytes"),
        ([1], "vars must be a dict, got list"),
    ],
)
def test_vars_that_are_no_json(client: Client, vars: Any, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        client.start("add", vars)
    assert client.counts() == {}


def test_vars_that_contain_themselves(client: Client) -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(InvalidInputError, match="contains itself"):
        client.start("add", loop)


def test_vars_that_are_too_large(client: Client) -> None:
    with pytest.raises(PayloadTooLargeError, match="at most 10000 are accepted"):
        client.start("add", {"a": "é" * 5000})


@pytest.mark.parametrize("run_id", ["", " ", "a\x00b", "line\nbreak", "\x7f", "x" * 201, "\ud83d", 7])
def test_unusable_run_ids(client: Client, run_id: Any) -> None:
    with pytest.raises(InvalidInputError, match="run_id"):
        client.start("add", run_id=run_id)


def test_the_callers_vars_stay_his(client: Client) -> None:
    vars = {"a": {"deep": [1]}}
    run_id = client.start("add", vars)
    vars["a"]["deep"].append(2)
    assert client.get(run_id).vars["a"] == {"deep": [1]}


def test_unknown_runs(client: Client) -> None:
    for look in (client.get, client.checkpoint, client.ledger, client.traces, client.wait, client.cancel):
        with pytest.raises(UnknownRunError, match="Unknown run_id: nobody"):
            look("nobody")
    for verb in (client.pause, client.unpause, client.retry):
        with pytest.raises(UnknownRunError, match="Unknown run_id: nobody"):
            verb("nobody")


def test_an_app_is_needed_to_start_only(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    with Client(settings=fleet_settings, store=fleet_store) as client:
        assert client.counts() == {}
        with pytest.raises(AppError, match="No app given"):
            client.start("add")
    with Client("tests.fleet.flows:app", settings=fleet_settings, store=fleet_store) as client:
        run_id = client.start("add")  # the broker of these settings does not answer
        assert client.get(run_id).status is RunStatus.RUNNING


def test_listing(client: Client, pump: Pump) -> None:
    ids = [client.start("add", session_id="s"), client.start("ask", session_id="s"), client.start("add")]
    pump.run()
    assert {run.run_id for run in client.list(session_id="s")} == set(ids[:2])
    assert [run.run_id for run in client.list(status="waiting", wait_reason="user")] == [ids[1]]
    assert len(client.list(limit=1)) == 1
    with pytest.raises(InvalidInputError, match="known are: running"):
        client.list(status="sleeping")
