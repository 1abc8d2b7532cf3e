"""One hash chain, many writers that know nothing of each other (`spec/02 §15.3`, S-5)."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from abstractruntime.core.models import StepRecord, StepStatus
from abstractruntime.storage.base import LedgerStore
from abstractruntime.storage.json_files import JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore, verify_ledger_chain
from abstractruntime.storage.observable import ObservableLedgerStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.run_store import SqlRunStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore
from tests.storage.runs import a_run

EACH = 25


@pytest.fixture(params=["jsonl", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger is: all that its writers have in common."""
    if request.param != "postgresql":
        return f"{request.param}:{tmp_path / 'ledger'}"
    url: str = request.getfixturevalue("postgres_url")
    migrate.upgrade(open_database(url))
    return url


def ledger_at(place: str) -> LedgerStore:
    if place.startswith("jsonl:"):
        return JsonlLedgerStore(place.removeprefix("jsonl:"))
    if place.startswith("sqlite:"):
        return SqliteLedgerStore(SqliteDatabase(place.removeprefix("sqlite:")))
    return SqlLedgerStore(open_database(place))


def append_some(place: str, name: str) -> None:
    store = HashChainedLedgerStore(ledger_at(place))
    for number in range(EACH):
        store.append(StepRecord("r1", f"{name}-{number}", "n", StepStatus.COMPLETED))


def assert_one_chain(place: str, length: int) -> None:
    report = verify_ledger_chain(ledger_at(place).list("r1"))
    assert (report["errors"], report["count"]) == ([], length)


@pytest.mark.weakness("spec/02 S-5")
def test_threads_with_stores_of_their_own(place: str) -> None:
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait(timeout=30)
        append_some(place, str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert_one_chain(place, 4 * EACH)


@pytest.mark.weakness("spec/02 S-5")
def test_processes(place: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append_some, args=(place, str(n))) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert_one_chain(place, 3 * EACH)


@pytest.mark.weakness("spec/02 S-5")
def test_somebody_else_wrote_in_between(place: str) -> None:
    stores = [HashChainedLedgerStore(ledger_at(place)) for _ in range(2)]
    for number in range(6):
        stores[number % 2].append(StepRecord("r1", str(number), "n", StepStatus.COMPLETED))
    assert_one_chain(place, 6)
    assert stores[0].head("r1") == stores[1].head("r1")


def test_a_subscriber_inside_may_read_and_append(place: str) -> None:
    observable = ObservableLedgerStore(ledger_at(place))
    store = HashChainedLedgerStore(observable)
    other = HashChainedLedgerStore(ledger_at(place))
    seen: list[int] = []

    def echo(record: dict[str, object]) -> None:
        seen.append(len(store.list("r1")))
        other.append(StepRecord("r2", "echo", "n", StepStatus.COMPLETED))

    observable.subscribe(echo, run_id="r1")
    for number in range(3):
        store.append(StepRecord("r1", str(number), "n", StepStatus.COMPLETED))
    assert (seen, observable.failed_callbacks) == ([1, 2, 3], 0)
    assert verify_ledger_chain(store.list("r2"))["ok"]


def test_a_record_of_a_transaction_that_is_undone_is_no_link(database_url: str) -> None:
    database = open_database(database_url)
    migrate.upgrade(database)
    runs, store = SqlRunStore(database), HashChainedLedgerStore(SqlLedgerStore(open_database(database_url)))

    def spoiled() -> None:
        with runs.atomic():
            runs.save(a_run())
            store.append(StepRecord("r1", "lost", "n", StepStatus.COMPLETED))
            raise KeyboardInterrupt

    store.append(StepRecord("r1", "1", "n", StepStatus.COMPLETED))
    with pytest.raises(KeyboardInterrupt):
        spoiled()
    store.append(StepRecord("r1", "2", "n", StepStatus.COMPLETED))
    assert verify_ledger_chain(store.list("r1"))["errors"] == []
    assert [record["step_id"] for record in store.list("r1")] == ["1", "2"]
