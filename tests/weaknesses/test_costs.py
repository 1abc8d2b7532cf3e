"""What a step or a look costs, counted (`spec/02 §15.1`): nothing here is timed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import EffectType, StepRecord, StepStatus
from abstractruntime.storage import jsonl_ledger, ledger_chain
from abstractruntime.storage.base import LedgerStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.line_files import LineFile
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from tests.kernel.flows import flow, loop
from tests.kernel.kernel import Kernel
from tests.storage.runs import a_run

TEXT = "x" * 500


@pytest.fixture(params=["files", "sqlite"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kernel]:
    if request.param == "files":
        yield Kernel(JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))
        return
    database = SqliteDatabase(tmp_path / "runs.db")
    yield Kernel(SqliteRunStore(database), SqliteLedgerStore(database))
    database.close()


def _stored(tmp_path: Path, run_id: str) -> str:
    path = tmp_path / f"run_{run_id}.json"
    if path.exists():
        return path.read_text(encoding="utf-8")
    database = SqliteDatabase(tmp_path / "runs.db")
    row = database.connection().execute("SELECT run_json FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    database.close()
    return str(row[0])


@pytest.mark.weakness("spec/02 P-2")
def test_a_checkpoint_does_not_grow_with_the_steps(kernel: Kernel, tmp_path: Path) -> None:
    workflow = flow(a=loop(EffectType.ANSWER_USER, lambda visit: {"message": f"{visit} {TEXT}"}, times=200))
    run_id = kernel.start(workflow)
    kernel.tick(workflow, run_id, max_steps=50)
    after_50 = len(_stored(tmp_path, run_id))
    kernel.tick(workflow, run_id, max_steps=150)
    assert len(_stored(tmp_path, run_id)) - after_50 < len(TEXT)


@pytest.mark.weakness("spec/02 P-2")
def test_a_step_writes_its_run_once(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[str] = []
    for name in ("save", "swap"):
        write = getattr(kernel.run_store, name, None)
        if write is not None:

            def counted(*args: Any, write: Any = write, **options: Any) -> Any:
                writes.append("write")
                return write(*args, **options)

            monkeypatch.setattr(kernel.run_store, name, counted)
    workflow = flow(a=loop(EffectType.ANSWER_USER, lambda visit: {"message": str(visit)}, times=40))
    run_id = kernel.start(workflow)
    writes.clear()
    kernel.tick(workflow, run_id, max_steps=30)
    assert len(writes) <= 30


@pytest.mark.weakness("spec/02 P-2")
def test_a_state_in_sqlite_is_one_line(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "runs.db")
    SqliteRunStore(database).save(a_run(vars={"many": [{"n": n} for n in range(100)]}))
    database.close()
    assert "\n" not in _stored(tmp_path, "r1")


def _record(run_id: str = "r1", **fields: Any) -> StepRecord:
    return StepRecord(run_id, "s", "n", StepStatus.COMPLETED, **fields)


@pytest.mark.weakness("spec/02 P-5")
def test_the_head_of_a_chain_is_found_without_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = HashChainedLedgerStore(JsonlLedgerStore(tmp_path))
    for number in range(300):
        writer.append(_record(result={"n": number}))
    size = (tmp_path / "ledger_r1.jsonl").stat().st_size
    # Reading goes by chunks from the end; one record is far smaller than a chunk.
    monkeypatch.setattr("abstractruntime.storage.line_files._CHUNK", 1024)
    read = 0
    whole = LineFile.read

    def counting(self: LineFile, start: int, end: int) -> bytes:
        nonlocal read
        read += end - start
        return whole(self, start, end)

    monkeypatch.setattr(LineFile, "read", counting)
    HashChainedLedgerStore(JsonlLedgerStore(tmp_path)).append(_record())
    assert 0 < read < size / 10


@pytest.mark.weakness("spec/02 P-5")
@pytest.mark.parametrize("kind", ["files", "sqlite"])
def test_a_chain_never_lists_its_ledger(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SqliteDatabase(tmp_path / "runs.db")
    inner: LedgerStore = SqliteLedgerStore(database) if kind == "sqlite" else JsonlLedgerStore(tmp_path)

    def refuse(run_id: str) -> Any:
        raise AssertionError("listed")

    monkeypatch.setattr(inner, "list", refuse)
    for _ in range(3):
        HashChainedLedgerStore(inner).append(_record())
    database.close()


@pytest.mark.weakness("spec/02 P-8")
def test_positions_of_few_runs_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl_ledger, "MAX_INDEXED_RUNS", 4)
    ledger = JsonlLedgerStore(tmp_path)
    for number in range(20):
        ledger.append(_record(f"r{number}", idempotency_key="k", result=number))
    for number in range(20):
        found = ledger.find_completed(f"r{number}", "k")
        assert found is not None
        assert found.result == number
        assert len(ledger._indexes) <= 4


@pytest.mark.weakness("spec/02 P-8")
def test_heads_of_few_chains_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(LedgerStore):
        def __init__(self) -> None:
            self.records: list[dict[str, Any]] = []

        def append(self, record: StepRecord) -> None:
            self.records.append(record.to_dict())

        def list(self, run_id: str) -> list[dict[str, Any]]:
            return [record for record in self.records if record["run_id"] == run_id]

    monkeypatch.setattr(ledger_chain, "_HEADS_KEPT", 4)
    chain = HashChainedLedgerStore(Plain())
    for _ in range(2):
        for number in range(20):
            chain.append(_record(f"r{number}"))
    assert len(chain._heads.known) == 4


@pytest.mark.weakness("spec/02 P-8")
def test_saved_and_loaded_runs_are_not_kept_in_memory(tmp_path: Path) -> None:
    store = JsonFileRunStore(tmp_path)

    class Marked(dict[str, Any]):
        """A dict one can watch being forgotten."""

    vars = Marked(text="x")
    run = a_run(vars=vars)
    store.save(run)
    assert store.list_runs()[0].run_id == "r1"
    forgotten = weakref.ref(vars)
    del run, vars
    gc.collect()
    assert forgotten() is None
