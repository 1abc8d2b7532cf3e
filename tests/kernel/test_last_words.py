"""Ended runs that a dead process left without their last records, met by others (`spec/01 §19.5`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core import last_words
from abstractruntime.core.errors import WaitMismatchError
from abstractruntime.core.models import EffectType
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.observable import ObservableLedgerStore

from .flows import asks, done, flow
from .kernel import Kernel
from .plain_stores import PlainLedgerStore, PlainRunStore
from .test_crashes import ENDINGS, NONE, WAITS, Killed, die_at, end

PLAN = ENDINGS["by plan"][0]


@pytest.fixture
def torn(kernel: Kernel) -> Kernel:
    """Over stores without transactions."""
    if hasattr(kernel.run_store, "atomic"):
        pytest.skip("writes run and ledger in one transaction")
    return kernel


def left_torn(kernel: Kernel, workflow: Any = PLAN, point: str = "completion") -> str:
    """A run that has ended without its last words; the kernel is the next process."""
    run_id = kernel.start(workflow)
    if workflow is WAITS:
        kernel.tick(workflow, run_id)
    die_at(kernel, point)
    with pytest.raises(Killed):
        end(kernel, workflow, run_id)
    kernel.use()
    return run_id


@pytest.mark.weakness("spec/01 §19.5")
@pytest.mark.weakness("spec/02 D-4")
@pytest.mark.parametrize("met_by", ["tick", "resume"])
@pytest.mark.parametrize(
    ("ending", "point"),
    [(ending, point) for ending in ENDINGS for point in ("completion", "status") if (ending, point) != NONE],
)
def test_whoever_meets_an_ended_run_lets_it_have_its_last_words(
    torn: Kernel, ending: str, point: str, met_by: str
) -> None:
    workflow, expected = ENDINGS[ending]
    run_id = left_torn(torn, workflow, next(record for record in expected if record.startswith(point)))
    before = torn.run_store.load(run_id).to_dict()
    for _ in range(2):
        if met_by == "tick":
            assert torn.tick(workflow, run_id).updated_at == before["updated_at"]
        else:
            with pytest.raises(WaitMismatchError, match=r"^Run is not waiting$"):
                torn.resume(workflow, run_id, {"text": "again"})
        assert torn.kinds(run_id) == expected
    assert torn.run_store.load(run_id).to_dict() == before
    assert torn.runtime.fault_counts == {}


def test_a_whole_ledger_is_looked_at_once(torn: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = torn.go(PLAN).run_id
    torn.use()
    looks: list[str] = []
    for name in ("last", "list", "list_after"):
        real = getattr(torn.ledger_store, name, None)
        if real is not None:
            monkeypatch.setattr(
                torn.ledger_store,
                name,
                lambda *args, real=real, name=name, **given: looks.append(name) or real(*args, **given),
            )
    torn.use()
    for _ in range(3):
        torn.tick(PLAN, run_id)
    assert looks == ["last" if hasattr(torn.ledger_store, "last") else "list"]


def test_only_so_many_runs_are_remembered(torn: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "MAX_KNOWN", 2)
    for run_id in [torn.go(PLAN).run_id for _ in range(5)]:
        torn.tick(PLAN, run_id)
    assert len(torn.runtime.last_words._known) == 2


def test_a_damaged_ledger_fails_no_call_and_is_reported_once(
    torn: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = left_torn(torn)

    def broken(*args: Any, **given: Any) -> Any:
        raise OSError("disk gone")

    for name in ("last", "list", "list_after"):
        if hasattr(torn.ledger_store, name):
            monkeypatch.setattr(torn.ledger_store, name, broken)
    torn.use()
    for _ in range(2):
        assert torn.tick(PLAN, run_id).is_terminal
    assert torn.runtime.fault_counts == {"ledger_repair": 1}
    assert [record.message for record in caplog.records if run_id in record.message] == [
        f"whether run {run_id} has its last ledger records is unknown"
    ]


def test_what_somebody_is_about_to_write_is_not_written_for_him(torn: Kernel) -> None:
    """A subscriber that ticks the run at each record stands between its checkpoint and its last records."""
    torn.ledger_store = ObservableLedgerStore(torn.ledger_store)
    torn.use()
    workflow, expected = ENDINGS["by resume"]
    run_id = torn.go(workflow).run_id
    torn.runtime.subscribe_ledger(lambda record: torn.tick(workflow, run_id), run_id=run_id)
    torn.resume(workflow, run_id, {"text": "yes"})
    torn.tick(workflow, run_id)
    assert torn.kinds(run_id) == expected


def test_a_run_that_somebody_drives_is_left_to_him(torn: Kernel) -> None:
    run_id = left_torn(torn)
    locks, driver = torn.runtime._stores.locks, object()
    assert locks.take(run_id, driver)
    torn.tick(PLAN, run_id)
    assert torn.kinds(run_id) == []
    locks.give_back(run_id, driver)
    torn.tick(PLAN, run_id)
    assert torn.kinds(run_id) == ["completion", "status completed"]


def test_another_process_may_finish_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cancels or resumes a run has no lease while it writes."""
    kernel = Kernel(JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))
    run_id = left_torn(kernel)
    elsewhere = kernel.make()
    naps: list[float] = []

    def meanwhile(seconds: float) -> None:
        naps.append(seconds)
        elsewhere.repair_ledger(run_id)

    monkeypatch.setattr(last_words.time, "sleep", meanwhile)
    kernel.tick(PLAN, run_id)
    assert kernel.kinds(run_id) == ["completion", "status completed"]
    assert len(naps) == 1
    assert 0 < naps[0] <= last_words.WRITING_S
    old = left_torn(kernel)
    kernel.clock.skip(seconds=1)
    kernel.tick(PLAN, old)
    assert kernel.kinds(old) == ["completion", "status completed"]
    assert len(naps) == 1


def test_a_refused_resumption_of_a_waiting_run_changes_nothing(torn: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?", "wait_key": "k"}), done=done)
    run_id = torn.go(workflow).run_id
    before = torn.kinds(run_id)
    with pytest.raises(WaitMismatchError, match="wait_key mismatch"):
        torn.resume(workflow, run_id, "x", wait_key="other")
    assert torn.kinds(run_id) == before
    torn.resume(workflow, run_id, "x")
    assert torn.state(run_id).is_terminal


def test_where_one_transaction_writes_both_nobody_looks(kernel: Kernel) -> None:
    assert kernel.runtime.last_words.may_lack is not hasattr(kernel.run_store, "atomic")
    assert Kernel(PlainRunStore(), PlainLedgerStore()).runtime.last_words.may_lack
