"""A scheduler that starts looks at the newest ended runs (`spec/02 §9`, D-4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime import RunState, RunStatus, WorkflowSpec, create_scheduled_runtime
from abstractruntime.scheduler import _ended_runs
from tests.poll import eventually

from .conftest import Bench
from .flows import question


class _Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def torn(bench: Bench) -> Bench:
    """Over stores without transactions."""
    if hasattr(bench.runtime.run_store, "atomic"):
        pytest.skip("writes run and ledger in one transaction")
    return bench


def _left_torn(bench: Bench, monkeypatch: pytest.MonkeyPatch, spec: WorkflowSpec) -> str:
    """A run that has completed without its last two records."""
    run = bench.go(spec)
    ledger, append = bench.runtime.ledger_store, bench.runtime.ledger_store.append

    def dying(record: Any) -> None:
        if record.effect is None:
            raise _Killed
        append(record)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "append", dying)
        with pytest.raises(_Killed):
            bench.runtime.resume(workflow=spec, run_id=run.run_id, wait_key=None, payload={"text": "yes"})
    assert bench.runtime.get_state(run.run_id).status is RunStatus.COMPLETED
    return run.run_id


def _words(bench: Bench, run_id: str) -> int:
    return len(bench.runtime.get_ledger(run_id))


@pytest.mark.weakness("spec/02 D-4")
def test_a_started_scheduler_lets_ended_runs_have_their_last_words(
    torn: Bench, open_stores: Callable[[], tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torn.go(question())
    torn.runtime.resume(
        workflow=torn.registry.get_or_raise("question"),
        run_id=whole.run_id,
        wait_key=None,
        payload={"text": "yes"},
    )
    run_id = _left_torn(torn, monkeypatch, question())
    runs, ledger = open_stores()
    with create_scheduled_runtime(
        run_store=runs, ledger_store=ledger, workflows=[question()], poll_interval_s=3600
    ):
        eventually(lambda: _words(torn, run_id) == 5)
    assert _words(torn, whole.run_id) == 5
    assert not hasattr(runs, "atomic")


def test_only_the_newest_and_only_those_of_workflows_it_knows(
    torn: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _left_torn(torn, monkeypatch, question())
    new = _left_torn(torn, monkeypatch, question())
    other = _left_torn(torn, monkeypatch, question("other"))
    torn.registry.unregister("other")
    memory = RunState("session_memory_s", "__session_memory__", RunStatus.COMPLETED, "done", {})
    torn.runtime.run_store.save(memory)  # has never had a ledger
    torn.clock.skip(10)
    newest = [torn.runtime.get_state(run_id).updated_at for run_id in (old, new, other)]
    assert newest == sorted(newest)
    monkeypatch.setattr(_ended_runs, "NEWEST", 3)  # memory, other, new
    scheduler = torn.scheduler(poll_interval_s=3600)
    scheduler.start()
    eventually(lambda: _words(torn, new) == 5)
    scheduler.stop()
    assert [_words(torn, run_id) for run_id in (old, other, memory.run_id)] == [3, 3, 0]


def test_what_can_not_be_listed_is_logged_and_stops_nothing(
    torn: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = torn.runtime.run_store
    listing = store.list_run_index

    def broken(*, status: RunStatus, **given: Any) -> Any:
        if status is RunStatus.FAILED:
            raise OSError("disk gone")
        return listing(status=status, **given)

    monkeypatch.setattr(store, "list_run_index", broken)
    run_id = _left_torn(torn, monkeypatch, question())
    scheduler = torn.scheduler(poll_interval_s=0.01)
    scheduler.start()
    eventually(lambda: _words(torn, run_id) == 5 and scheduler.stats.poll_cycles > 2)
    assert [record.message for record in caplog.records if "looked at" in record.message] == [
        "failed runs were not looked at"
    ]
    assert scheduler.stats.errors == []


def test_nothing_is_listed_where_nothing_can_be_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunStatus] = []
    store = bench.runtime.run_store
    listing = store.list_run_index

    def counted(*, status: RunStatus, **given: Any) -> Any:
        asked.append(status)
        return listing(status=status, **given)

    monkeypatch.setattr(store, "list_run_index", counted)
    scheduler = bench.scheduler(poll_interval_s=0.01)
    scheduler.start()
    eventually(lambda: scheduler.stats.poll_cycles > 3)
    ended = [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED]
    assert [status for status in asked if status in ended] == ([] if hasattr(store, "atomic") else ended)
