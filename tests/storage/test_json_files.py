"""What is special to the file stores (`spec/02 §5`): formats, damage, several writers, permissions."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.errors import CorruptCheckpointError, InvalidInputError
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.runtime import Runtime
from abstractruntime.storage import run_files_index
from abstractruntime.storage.checkpoints import PriorResult
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.line_files import LineFile
from abstractruntime.storage.replaced_files import put_in_place
from abstractruntime.storage.run_files import read_run
from tests.storage.runs import a_record, a_run, waiting_until

LATER = "2027-01-01T00:00:00+00:00"


@pytest.fixture
def runs(tmp_path: Path) -> JsonFileRunStore:
    return JsonFileRunStore(tmp_path)


@pytest.fixture
def ledger(tmp_path: Path) -> JsonlLedgerStore:
    return JsonlLedgerStore(tmp_path)


def _ids(runs: list[RunState]) -> list[str]:
    return [run.run_id for run in runs]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _in_processes(number: int, work: Callable[..., None], *args: object) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(*args, n)) for n in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * number


# --- runs -------------------------------------------------------------------------------------------


def test_the_run_file_is_indented_json(runs: JsonFileRunStore, tmp_path: Path) -> None:
    run = a_run()
    runs.save(run)
    text = (tmp_path / "run_r1.json").read_text(encoding="utf-8")
    assert text == json.dumps(run.to_dict(), ensure_ascii=False, indent=2)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(runs: JsonFileRunStore, tmp_path: Path) -> None:
    runs.save(a_run())
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(TypeError):
        runs.save(a_run(vars={"x": object()}))
    assert sorted(os.listdir(tmp_path)) == before
    (tmp_path / "run_r2.json.0123.tmp").write_text("{}")
    assert _ids(runs.list_runs()) == ["r1"]


@pytest.mark.weakness("spec/02 U-1")
@pytest.mark.parametrize(
    "run_id", ["", " ", "../r", "a/b", "a\\b", "a\0", "a\n", "a\tb", "\xa0a", "a\u2028b", "x" * 300, "\ud83d"]
)
def test_ids_that_are_no_file_names_are_refused(tmp_path: Path, run_id: str) -> None:
    runs, ledger = JsonFileRunStore(tmp_path / "d"), JsonlLedgerStore(tmp_path / "d")
    with pytest.raises(InvalidInputError, match="run_id"):
        runs.save(a_run(run_id))
    assert runs.load(run_id) is None
    assert runs.version_of(run_id) == 0
    assert not runs.delete(run_id)
    if run_id:
        with pytest.raises(InvalidInputError, match="run_id"):
            ledger.append(a_record(a_run(run_id)))
    assert ledger.list(run_id) == []
    assert ledger.count(run_id) == 0
    assert os.listdir(tmp_path) == ["d"]


@pytest.mark.parametrize("run_id", ["a b", "a\xa0b", "a\u3000b", "a:b", "ü", "-", "*", "x" * 200])
def test_other_ids_are_file_names(tmp_path: Path, run_id: str) -> None:
    runs, ledger = JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    runs.save(a_run(run_id, parent_run_id=run_id))
    ledger.append(a_record(a_run(run_id)))
    for again in (runs, JsonFileRunStore(tmp_path)):
        assert _ids(again.list_runs()) == _ids(again.list_children(parent_run_id=run_id)) == [run_id]
        assert again.load(run_id) is not None
    assert len(ledger.list(run_id)) == 1


@pytest.mark.weakness("spec/02 U-3")
def test_files_are_private(tmp_path: Path) -> None:
    base = tmp_path / "deep" / "runs.json"
    JsonFileRunStore(base).save(a_run())
    JsonlLedgerStore(base).append(a_record(a_run()))
    assert _mode(base) == 0o700
    assert {_mode(path) for path in base.iterdir()} == {0o600}


@pytest.mark.weakness("spec/02 D-10")
def test_damaged_files_are_isolated_and_reported(
    runs: JsonFileRunStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs.save(waiting_until(a_run("good"), "2026-01-01T00:00:00+00:00"))
    for name, text in (("list", b"[]"), ("empty", b""), ("half", b'{"run_id": "half'), ("bytes", b"\xff")):
        (tmp_path / f"run_{name}.json").write_bytes(text)
    for again in (runs, JsonFileRunStore(tmp_path)):
        assert _ids(again.list_runs()) == ["good"]
        assert _ids(again.list_due_wait_until(now_iso=LATER)) == ["good"]
        assert [row["run_id"] for row in again.list_run_index()] == ["good"]
        assert again.list_children(parent_run_id="p") == []
    assert "run_list.json" in caplog.text
    assert runs.load("empty") is runs.load("half") is None
    for name in ("list", "bytes"):
        with pytest.raises(CorruptCheckpointError, match=name):
            runs.load(name)


def test_a_stored_run_with_numbers_without_value_goes_on(runs: JsonFileRunStore, tmp_path: Path) -> None:
    """Such files exist (`spec/01 §18`): `json` writes and reads ``NaN``."""
    run = a_run(vars={"score": 1.5, "list": [2.5]})
    runs.save(run)
    path = next(tmp_path.glob("run_*.json"))
    path.write_text(path.read_text().replace("1.5", "NaN").replace("2.5", "-Infinity"))
    fresh = JsonFileRunStore(tmp_path)
    read = fresh.load(run.run_id)
    assert read is not None
    fresh.save(read)
    assert '"score": NaN' in path.read_text()
    runtime = Runtime(run_store=fresh, ledger_store=JsonlLedgerStore(tmp_path))
    assert runtime.cancel_run(run.run_id).status is RunStatus.CANCELLED


@pytest.mark.parametrize(
    ("text", "builtin", "words"),
    [
        (b"[]", AttributeError, "list"),
        (b'{"run_id": "r1", "status": "running", "current_node": "n"}', KeyError, "workflow_id"),
        (b'{"run_id": "r1", "workflow_id": "w", "status": "odd", "current_node": "n"}', ValueError, "odd"),
        (
            b'{"run_id": "r1", "workflow_id": "w", "status": "waiting", "current_node": "", "waiting": {}}',
            ValueError,
            "waiting state missing 'reason'",
        ),
    ],
)
def test_a_damaged_file_raises_the_builtin_error_of_the_contract_too(
    runs: JsonFileRunStore, tmp_path: Path, text: bytes, builtin: type[Exception], words: str
) -> None:
    """`spec/02 §5.1`: callers may catch either."""
    (tmp_path / "run_r1.json").write_bytes(text)
    with pytest.raises(builtin, match=words) as caught:
        runs.load("r1")
    assert isinstance(caught.value, CorruptCheckpointError)
    assert words in str(caught.value)


def test_runs_are_chosen_by_updated_at_not_by_file_time(runs: JsonFileRunStore, tmp_path: Path) -> None:
    runs.save(a_run("new", updated_at="2026-02-01"))
    runs.save(a_run("old", updated_at="2026-01-01"))
    os.utime(tmp_path / "run_new.json", (1, 1))
    assert _ids(runs.list_runs(limit=1)) == ["new"]


def test_all_runs_are_read_at_most_once_for_children(runs: JsonFileRunStore) -> None:
    runs.save(a_run("c1", parent_run_id="p"))
    scans = 0
    scan = runs._iter_all_runs

    def counting() -> list[RunState]:
        nonlocal scans
        scans += 1
        return scan()

    runs._iter_all_runs = counting  # type: ignore[method-assign]
    assert _ids(runs.list_children(parent_run_id="p")) == ["c1"]
    runs.save(a_run("c2", parent_run_id="p"))
    assert _ids(runs.list_children(parent_run_id="p")) == ["c1", "c2"]
    runs.save(a_run("c1", parent_run_id="q"))
    assert _ids(runs.list_children(parent_run_id="p")) == ["c2"]
    assert scans == 1


@pytest.mark.weakness("spec/02 S-6")
def test_stores_over_one_directory_see_each_other(tmp_path: Path) -> None:
    one, other = JsonFileRunStore(tmp_path), JsonFileRunStore(f"{tmp_path}/.")
    assert one.lock_domain is other.lock_domain
    assert other.list_children(parent_run_id="p") == []
    one.save(waiting_until(a_run("c", parent_run_id="p"), "2026-01-01"))
    assert _ids(other.list_children(parent_run_id="p")) == ["c"]
    assert _ids(other.list_due_wait_until(now_iso=LATER)) == ["c"]
    version = other.version_of("c")
    one.save(a_run("c"))
    assert other.version_of("c") > version
    assert other.list_due_wait_until(now_iso=LATER) == []
    assert other.delete("c", force=True)
    assert not one.delete("c", force=True)
    assert one.list_runs() == one.list_run_index() == []


@pytest.mark.weakness("spec/02 S-6")
def test_versions_differ_within_one_tick_of_the_clock(runs: JsonFileRunStore) -> None:
    seen = []
    for _ in range(200):
        runs.save(a_run())
        seen.append(runs.version_of("r1"))
    assert seen == sorted(set(seen))


def test_files_put_there_by_other_means_are_found(runs: JsonFileRunStore, tmp_path: Path) -> None:
    runs.save(a_run("mine"))
    runs.list_runs()
    state = json.dumps(a_run("theirs", updated_at="2025").to_dict())
    (tmp_path / "run_theirs.json").write_text(state, encoding="utf-8")
    assert _ids(runs.list_runs()) == ["mine", "theirs"]
    (tmp_path / "run_theirs.json").write_text(state.replace("2025", "2027"), encoding="utf-8")
    assert _ids(JsonFileRunStore(tmp_path).list_runs()) == ["theirs", "mine"]
    (tmp_path / "run_mine.json").unlink()
    assert [row["run_id"] for row in runs.list_run_index()] == ["theirs"]


def test_the_index_is_rebuilt_when_it_is_lost_or_damaged(runs: JsonFileRunStore, tmp_path: Path) -> None:
    runs.save(waiting_until(a_run(), "2026-01-01"))
    log = tmp_path / ".runs_index"
    for damage in (b"", b"\x00garbage\n{", b'{"id": "r1", "version": 1, "row": {}}\n'):
        log.write_bytes(damage)
        assert _ids(JsonFileRunStore(tmp_path).list_due_wait_until(now_iso=LATER)) == ["r1"]
    log.unlink()
    assert _ids(runs.list_due_wait_until(now_iso=LATER)) == ["r1"]


@pytest.mark.weakness("spec/02 P-4")
def test_the_index_survives_a_restart_and_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files_index, "_SPARE_LINES", 10)
    runs, witness = JsonFileRunStore(tmp_path), JsonFileRunStore(tmp_path)
    for n in range(100):
        runs.save(a_run(f"r{n % 5}", updated_at=f"{n:03}"))
        assert witness.list_run_index(limit=1)[0]["updated_at"] == f"{n:03}"
    for n in range(5):
        runs.save(a_run(f"r{n}", status=RunStatus.COMPLETED, updated_at="100"))
    assert len((tmp_path / ".runs_index").read_bytes().splitlines()) < 30
    read: list[Path] = []
    monkeypatch.setattr(run_files_index, "read_run", lambda path: read.append(path) or read_run(path))
    fresh = JsonFileRunStore(tmp_path)
    assert len(fresh.list_run_index()) == 5
    assert fresh.list_due_wait_until(now_iso=LATER) == []
    assert read == []


def test_a_run_at_work_is_seen_by_others_though_its_saves_write_no_index(
    runs: JsonFileRunStore, tmp_path: Path
) -> None:
    witness = JsonFileRunStore(tmp_path)
    runs.save(a_run())
    log = tmp_path / ".runs_index"
    runs.save(a_run(updated_at="2026-02-01"))
    size = log.stat().st_size
    for day in ("2026-02-02", "2026-02-03"):
        runs.save(a_run(updated_at=day))
        assert log.stat().st_size == size
        assert witness.list_run_index()[0]["updated_at"] == day
    runs.save(waiting_until(a_run(), "2026-01-01"))
    assert log.stat().st_size > size
    assert _ids(witness.list_due_wait_until(now_iso=LATER)) == ["r1"]


def test_a_writer_that_died_between_file_and_index(runs: JsonFileRunStore, tmp_path: Path) -> None:
    witness = JsonFileRunStore(tmp_path)
    runs.save(a_run())
    assert witness.list_due_wait_until(now_iso=LATER) == []
    run = waiting_until(a_run(), "2026-01-01")
    (tmp_path / "new").write_text(json.dumps(run.to_dict()), encoding="utf-8")
    with (tmp_path / ".runs_index").open("ab") as log:
        log.write(b'{"saving": "r1"}\n{"id": "r1", "ver')
    put_in_place(tmp_path / "new", tmp_path / "run_r1.json")
    assert _ids(witness.list_due_wait_until(now_iso=LATER)) == ["r1"]
    assert _ids(runs.list_due_wait_until(now_iso=LATER)) == ["r1"]


def _save_many(base: Path, n: int) -> None:
    runs = JsonFileRunStore(base)
    for i in range(25):
        runs.save(a_run(f"r{i}", parent_run_id=f"p{n}"))
        runs.save(a_run(f"{n}-{i}", parent_run_id="p", status=RunStatus.COMPLETED))


def test_processes_may_save_at_the_same_time(tmp_path: Path) -> None:
    watching = JsonFileRunStore(tmp_path)
    assert watching.list_children(parent_run_id="p") == []
    _in_processes(3, _save_many, tmp_path)
    assert len(watching.list_children(parent_run_id="p", status=RunStatus.COMPLETED)) == 75
    assert len(watching.list_run_index(limit=1000)) == 100
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


# --- ledgers ----------------------------------------------------------------------------------------


def test_the_ledger_file_is_json_lines(ledger: JsonlLedgerStore, tmp_path: Path) -> None:
    records = [a_record(a_run(), "k", result={"text": "ü"}), a_record(a_run())]
    for record in records:
        ledger.append(record)
    lines = (tmp_path / "ledger_r1.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    assert lines == [json.dumps(record.to_dict(), ensure_ascii=False) + "\n" for record in records]


@pytest.mark.weakness("spec/02 D-1")
def test_a_torn_tail_is_left_out_then_cut(
    ledger: JsonlLedgerStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "ledger_r1.jsonl"
    ledger.append(a_record(a_run(), "k1"))
    line = path.read_bytes()
    with path.open("ab") as file:
        file.write(line.replace(b"k1", b"k2" * 60_000)[:-20])
    for reader in (ledger, JsonlLedgerStore(tmp_path)):
        assert [record["idempotency_key"] for record in reader.list("r1")] == ["k1"]
        assert reader.count("r1") == 1
        last = reader.last("r1")
        assert last is not None
        assert last["idempotency_key"] == "k1"
    assert "left out" in caplog.text
    ledger.append(a_record(a_run(), "k3"))
    assert [record["idempotency_key"] for record in ledger.list("r1")] == ["k1", "k3"]
    assert ledger.count("r1") == 2
    assert "cut off" in caplog.text


def test_a_whole_last_record_without_newline_counts(ledger: JsonlLedgerStore, tmp_path: Path) -> None:
    path = tmp_path / "ledger_r1.jsonl"
    ledger.append(a_record(a_run(), "k1", result={"n": 1}))
    path.write_bytes(b"\n" + path.read_bytes()[:-1])
    assert ledger.count("r1") == len(ledger.list("r1")) == 1
    ledger.append(a_record(a_run(), "k2", result={"n": 2}))
    assert ledger.count("r1") == len(ledger.list("r1")) == 2
    assert ledger.find_completed("r1", "k1") == PriorResult({"n": 1})
    assert ledger.find_completed("r1", "k2") == PriorResult({"n": 2})


def test_a_malformed_line_stops_list_but_not_the_rest(ledger: JsonlLedgerStore, tmp_path: Path) -> None:
    with (tmp_path / "ledger_r1.jsonl").open("wb") as file:
        file.write(b'{"half\n')
    ledger.append(a_record(a_run(), "k", result={"n": 1}))
    with pytest.raises(json.JSONDecodeError, match="line 1"):
        ledger.list("r1")
    assert ledger.count("r1") == 2
    assert ledger.find_completed("r1", "k") == PriorResult({"n": 1})
    page, cursor = ledger.list_after(run_id="r1", after=0)
    assert (len(page), cursor) == (1, 2)


def test_the_index_follows_other_writers_and_replaced_files(tmp_path: Path) -> None:
    one, other = JsonlLedgerStore(tmp_path), JsonlLedgerStore(tmp_path)
    one.append(a_record(a_run(), "k1", result={"n": 1}))
    assert one.find_completed("r1", "k2") is None
    other.append(a_record(a_run(), "k2", result={"n": 2}))
    assert one.find_completed("r1", "k2") == PriorResult({"n": 2})
    assert other.delete("r1")
    assert not other.delete("r1")
    assert (one.count("r1"), one.list("r1"), one.find_completed("r1", "k1")) == (0, [], None)
    other.append(a_record(a_run(), "k3", result={"n": 3}))
    assert one.count("r1") == 1
    assert one.find_completed("r1", "k3") == PriorResult({"n": 3})


def test_the_index_knows_own_records_between_those_of_others(tmp_path: Path) -> None:
    one, other = JsonlLedgerStore(tmp_path), JsonlLedgerStore(tmp_path)
    one.append(a_record(a_run(), "k1", result={"n": 1}))
    assert one.find_completed("r1", "k0") is None
    one.append(a_record(a_run(), "k2", result={"n": 2}))
    other.append(a_record(a_run(), "k3", result={"n": 3}))
    one.append(a_record(a_run(), "k4", result={"n": 4}))
    one.append(a_record(a_run(), "k1", result={"n": 5}))
    for n in range(1, 5):
        assert one.find_completed("r1", f"k{n}") == PriorResult({"n": n})
    assert one.count("r1") == 5
    keys = [record["idempotency_key"] for record in one.list_after(run_id="r1", after=1)[0]]
    assert keys == ["k2", "k3", "k4", "k1"]


def test_the_index_does_not_follow_a_refused_append(
    ledger: JsonlLedgerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.append(a_record(a_run(), "k1", result={"n": 1}))
    assert ledger.count("r1") == 1

    def short(fd: int, data: bytes) -> int:
        return whole(fd, data[:10])

    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(OSError, match="No space"):
            ledger.append(a_record(a_run(), "k2", result={"n": 2}))
    assert ledger.count("r1") == 1
    assert ledger.find_completed("r1", "k2") is None
    ledger.append(a_record(a_run(), "k3", result={"n": 3}))
    assert ledger.find_completed("r1", "k3") == PriorResult({"n": 3})


@pytest.mark.weakness("spec/02 P-1")
def test_own_records_are_not_read_again(ledger: JsonlLedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.append(a_record(a_run(), "k0"))
    assert ledger.count("r1") == 1
    read = 0
    whole = LineFile.read

    def counting(self: Any, start: int, end: int) -> bytes:
        nonlocal read
        read += end - start
        return whole(self, start, end)

    monkeypatch.setattr(LineFile, "read", counting)
    for n in range(1, 10):
        ledger.append(a_record(a_run(), f"k{n}", result={"n": n}))
        assert ledger.find_completed("r1", "another") is None
        assert ledger.count("r1") == n + 1
    assert read == 0  # beside the last byte, whether it is a newline
    assert ledger.find_completed("r1", "k5") == PriorResult({"n": 5})


@pytest.mark.weakness("spec/02 P-1")
def test_questions_read_only_what_they_need(
    ledger: JsonlLedgerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(300):
        ledger.append(a_record(a_run(), f"k{i}", result={"n": i}))
    assert ledger.count("r1") == 300
    size = (tmp_path / "ledger_r1.jsonl").stat().st_size
    read = 0
    whole = LineFile.read

    def counting(self: Any, start: int, end: int) -> bytes:
        nonlocal read
        read += end - start
        return whole(self, start, end)

    monkeypatch.setattr(LineFile, "read", counting)
    assert ledger.find_completed("r1", "k150") == PriorResult({"n": 150})
    assert len(ledger.list_after(run_id="r1", after=290)[0]) == 10
    ledger.append(a_record(a_run()))
    assert ledger.count("r1") == 301
    assert 0 < read < size / 10


def _append_many(base: Path, n: int) -> None:
    ledger = JsonlLedgerStore(base)
    for i in range(30):
        ledger.append(a_record(a_run(), f"{n}-{i}", result={"text": "x" * 50_000}))


@pytest.mark.weakness("spec/02 S-4")
def test_processes_append_whole_records(ledger: JsonlLedgerStore, tmp_path: Path) -> None:
    _in_processes(3, _append_many, tmp_path)
    keys = [record["idempotency_key"] for record in ledger.list("r1")]
    assert ledger.count("r1") == len(keys) == 90
    for n in range(3):
        assert [key for key in keys if key.startswith(f"{n}-")] == [f"{n}-{i}" for i in range(30)]


def test_an_empty_run_id_has_a_ledger(ledger: JsonlLedgerStore, tmp_path: Path) -> None:
    ledger.append(a_record(a_run("")))
    assert len(ledger.list("")) == 1
    assert (tmp_path / "ledger_.jsonl").exists()


@pytest.mark.parametrize("fsync", [False, True])
def test_a_second_pair_of_stores_goes_on(tmp_path: Path, fsync: bool) -> None:
    JsonFileRunStore(tmp_path, fsync=fsync).save(a_run())
    JsonlLedgerStore(tmp_path, fsync=fsync).append(a_record(a_run()))
    assert JsonFileRunStore(tmp_path).load("r1") == a_run()
    JsonlLedgerStore(tmp_path).append(a_record(a_run()))
    assert len(JsonlLedgerStore(tmp_path).list("r1")) == 2


def test_saving_costs_the_same_however_many_runs_there_are(
    runs: JsonFileRunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> list[str]:
        raise AssertionError(f"{path} listed")

    monkeypatch.setattr(os, "listdir", refuse)
    runs.save(a_run())
    assert runs.load("r1") == a_run()
    assert runs.delete("r1", force=True)
