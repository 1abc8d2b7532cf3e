"""What every command inbox and every cursor does (`spec/02 §7`)."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.commands import (
    CommandAppendResult,
    CommandCursorStore,
    CommandRecord,
    CommandStore,
    InMemoryCommandCursorStore,
    InMemoryCommandStore,
    JsonFileCommandCursorStore,
    JsonlCommandStore,
)
from abstractruntime.storage.line_files import LineFile
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.command_store import SqlCommandCursorStore, SqlCommandStore
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sqlite import (
    SqliteCommandCursorStore,
    SqliteCommandStore,
    SqliteDatabase,
    SqliteRunStore,
)
from tests.storage.contract_file import make_contract_file

BACKENDS = ["memory", "json", "sqlite", "postgresql"]


def a_command(command_id: str = "c1", **fields: Any) -> CommandRecord:
    values: dict[str, Any] = {"run_id": "r1", "type": "pause", "payload": {"why": "grüß"}, "ts": "2026"}
    return CommandRecord(command_id=command_id, **{**values, **fields})


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    database = open_database(postgres_url)
    migrate.upgrade(database)
    yield database
    database.close()


@pytest.fixture(params=BACKENDS)
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CommandStore]:
    if request.param == "memory":
        yield InMemoryCommandStore()
    elif request.param == "json":
        yield JsonlCommandStore(tmp_path / "inbox")
    elif request.param == "sqlite":
        door = SqliteDatabase(tmp_path / "runs.db")
        yield SqliteCommandStore(door)
        door.close()
    else:
        postgres = request.getfixturevalue("postgres")
        yield SqlCommandStore(postgres)


@pytest.fixture(params=BACKENDS)
def cursor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CommandCursorStore]:
    if request.param == "memory":
        yield InMemoryCommandCursorStore()
    elif request.param == "json":
        yield JsonFileCommandCursorStore(tmp_path / "deep" / "cursor.json")
    elif request.param == "sqlite":
        door = SqliteDatabase(tmp_path / "runs.db")
        yield SqliteCommandCursorStore(door)
        door.close()
    else:
        postgres = request.getfixturevalue("postgres")
        yield SqlCommandCursorStore(postgres)


def test_every_store_is_one(commands: CommandStore, cursor: CommandCursorStore) -> None:
    assert isinstance(commands, CommandStore)
    assert isinstance(cursor, CommandCursorStore)


def test_commands_come_back_in_order(commands: CommandStore) -> None:
    assert commands.get_last_seq() == 0
    assert commands.list_after(after=0) == ([], 0)
    for n in range(1, 6):
        result = commands.append(a_command(f"c{n}", seq=99, client_id="me"))
        assert result == CommandAppendResult(accepted=True, duplicate=False, seq=n)
        assert result.command_id == f"c{n}"
    assert commands.get_last_seq() == 5
    page, after = commands.list_after(after=0, limit=2)
    assert (page[0], after) == (a_command("c1", seq=1, client_id="me"), 2)
    assert [command.seq for command in commands.list_after(after=after)[0]] == [3, 4, 5]
    assert commands.list_after(after=5) == ([], 5)
    assert commands.list_after(after=77) == ([], 77)
    assert len(commands.list_after(after=None, limit=0)[0]) == 5  # type: ignore[arg-type]
    assert len(commands.list_after(after=0, limit=-2)[0]) == 1
    assert list(page[0].to_json()) == ["command_id", "run_id", "type", "payload", "ts", "client_id", "seq"]


def test_an_id_is_accepted_once(commands: CommandStore) -> None:
    assert commands.append(a_command()).accepted
    again = commands.append(a_command(" c1 ", ts="2027", client_id="other"))
    assert again == CommandAppendResult(accepted=False, duplicate=True, seq=1)
    assert not again.conflict
    different = commands.append(a_command(run_id="r2"))
    assert different == again
    assert different.conflict
    assert commands.append(a_command("c2")).seq == 2
    assert len(commands.list_after(after=0)[0]) == 2


def test_what_is_missing_is_filled_in(commands: CommandStore) -> None:
    made = [commands.append(a_command(" ", payload=None, ts=" ", client_id="")).command_id for _ in "ab"]
    stored = commands.list_after(after=0)[0]
    assert [command.command_id for command in stored] == made
    assert len({len(command_id or "") for command_id in made} | {32}) == 1
    assert stored[0].payload == {}
    assert stored[0].client_id is None
    assert stored[0].ts.endswith("+00:00")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"run_id": " "}, "CommandRecord.run_id must be non-empty"),
        ({"type": ""}, "CommandRecord.type must be non-empty"),
        *(
            ({"payload": payload}, "CommandRecord.payload must be a JSON-serializable dict")
            for payload in (
                {"x": (1,)},
                {"x": {1}},
                {"x": object()},
                {1: 2},
                {"x": [float("nan")]},
                {"x": float("inf")},
                5,
                "text",
            )
        ),
    ],
)
def test_bad_commands_are_refused(commands: CommandStore, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        commands.append(a_command(**fields))
    assert commands.get_last_seq() == 0
    assert commands.append(a_command()).accepted


class Number(int):
    """Says of itself what JSON does not."""

    def __int__(self) -> int:
        return -1


class Name(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class Share(float):
    pass


def test_members_of_enums_and_other_kinds_of_text_and_numbers_are_what_json_makes_of_them(
    commands: CommandStore,
) -> None:
    payload = {"status": RunStatus.RUNNING, Name("n"): [Number(3), Name("x"), Share(0.5), True]}
    commands.append(a_command(payload=payload))
    stored = commands.list_after(after=0)[0][0].payload
    assert stored == json.loads(json.dumps(payload)) == {"status": "running", "n": [3, "x", 0.5, True]}
    assert [type(value) for value in (*stored, stored["status"], *stored["n"])] == [
        *[str] * 3,
        *[int, str, float, bool],
    ]
    assert commands.append(a_command(payload=payload)).conflict is False


def test_stored_payloads_are_independent(commands: CommandStore) -> None:
    payload = {"list": [1]}
    commands.append(a_command(payload=payload))
    payload["list"].append(2)
    commands.list_after(after=0)[0][0].payload["list"].append(3)
    assert commands.list_after(after=0)[0][0].payload == {"list": [1]}


def test_threads_get_different_seqs(commands: CommandStore) -> None:
    def work(name: int) -> None:
        for i in range(20):
            commands.append(a_command(f"{name}-{i}"))
            commands.append(a_command(f"shared-{i}"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [command.seq for command in commands.list_after(after=0)[0]] == list(range(1, 101))


def test_cursors(cursor: CommandCursorStore) -> None:
    assert cursor.load() == 0
    for position in (7, 3):
        cursor.save(position)
        assert cursor.load() == position
    cursor.save(None)  # type: ignore[arg-type]
    assert cursor.load() == 0
    assert InMemoryCommandCursorStore(5).load() == 5


# --- files ------------------------------------------------------------------------------------------


def test_the_inbox_file_is_json_lines(tmp_path: Path) -> None:
    JsonlCommandStore(tmp_path, filename="in.jsonl", fsync=True).append(a_command())
    text = (tmp_path / "in.jsonl").read_text(encoding="utf-8")
    assert text == json.dumps(a_command(seq=1).to_json(), ensure_ascii=False) + "\n"
    assert stat.S_IMODE((tmp_path / "in.jsonl").stat().st_mode) == 0o600
    again = JsonlCommandStore(tmp_path, filename="in.jsonl")
    assert again.get_last_seq() == 1
    assert again.append(a_command()).duplicate


@pytest.mark.weakness("spec/02 S-3")
def test_two_stores_over_one_file_agree(tmp_path: Path) -> None:
    one, other = JsonlCommandStore(tmp_path), JsonlCommandStore(tmp_path)
    assert one.append(a_command("x")).seq == 1
    assert other.append(a_command("x")) == CommandAppendResult(False, True, 1)
    assert other.append(a_command("y")).seq == 2
    assert one.get_last_seq() == 2
    assert [command.command_id for command in one.list_after(after=0)[0]] == ["x", "y"]


@pytest.mark.weakness("spec/02 D-2")
def test_a_file_that_cannot_be_read_has_nothing_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    commands = JsonlCommandStore(tmp_path)
    commands.append(a_command())
    path = tmp_path / "commands.jsonl"
    path.rename(tmp_path / "kept")
    path.mkdir()
    assert commands.list_after(after=3) == ([], 3)
    assert "commands.jsonl can't be read" in caplog.text
    path.rmdir()
    (tmp_path / "kept").rename(path)
    assert [command.command_id for command in commands.list_after(after=0)[0]] == ["c1"]


def test_an_accepted_command_after_a_torn_tail_is_readable(tmp_path: Path) -> None:
    first = JsonlCommandStore(tmp_path)
    first.append(a_command("c1"))
    with (tmp_path / "commands.jsonl").open("ab") as file:
        file.write(b'{"command_id": "torn", "seq": 2, "pay')
    for store in (first, JsonlCommandStore(tmp_path)):
        assert store.get_last_seq() == 1
        assert len(store.list_after(after=0)[0]) == 1
    assert first.append(a_command("c2")).seq == 2
    reopened = JsonlCommandStore(tmp_path)
    assert [command.command_id for command in reopened.list_after(after=0)[0]] == ["c1", "c2"]
    assert reopened.append(a_command("c3")).seq == 3


def test_lines_that_are_no_commands_are_skipped(tmp_path: Path) -> None:
    good = json.dumps(a_command("old", seq=4).to_json())
    twin = json.dumps(a_command("twin", seq=4).to_json())
    lines = ["", "nonsense", "[]", '{"seq": 0}', '{"seq": "1"}', good, twin]
    (tmp_path / "commands.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    store = JsonlCommandStore(tmp_path)
    page, after = store.list_after(after=0, limit=1)
    assert ([command.command_id for command in page], after) == (["old", "twin"], 4)
    assert store.append(a_command("old")).duplicate
    assert store.append(a_command("new")).seq == 5


@pytest.mark.weakness("spec/02 P-7")
def test_a_poll_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JsonlCommandStore(tmp_path)
    for n in range(200):
        store.append(a_command(f"c{n}"))
    read = 0
    whole = LineFile.read

    def counting(self: LineFile, start: int, end: int) -> bytes:
        nonlocal read
        read += end - start
        return whole(self, start, end)

    monkeypatch.setattr(LineFile, "read", counting)
    store.append(a_command("last"))
    assert len(store.list_after(after=200)[0]) == 1
    assert 0 < read < 1000


def _append_many(base: Path, n: int) -> None:
    store = JsonlCommandStore(base)
    for i in range(40):
        store.append(a_command(f"{n}-{i}"))
        store.append(a_command(f"shared-{i}"))


@pytest.mark.weakness("spec/02 S-3")
def test_processes_share_ids_and_seqs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_many, args=(tmp_path, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [command.seq for command in JsonlCommandStore(tmp_path).list_after(after=0)[0]] == list(
        range(1, 161)
    )


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"cursor": "x"}', '{"cursor": null}', "\ufffd"])
def test_a_file_without_a_position_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cursor.json"
    path.write_text(text, encoding="utf-8")
    cursor = JsonFileCommandCursorStore(path)
    assert cursor.load() == 0
    cursor.save(4)
    assert cursor.load() == 4
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert list(saved) == ["cursor", "updated_at"]
    assert path.read_text(encoding="utf-8") == json.dumps(saved, indent=2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["cursor.json"]


# --- SQLite -----------------------------------------------------------------------------------------


def test_commands_and_cursors_share_a_file_and_survive_it_being_closed(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    first = SqliteDatabase(path)
    SqliteCommandStore(first).append(a_command())
    SqliteCommandCursorStore(first).save(1)
    SqliteCommandCursorStore(first, consumer_id="other").save(9)
    assert SqliteRunStore(first).list_runs() == []
    first.close()
    second = SqliteDatabase(path)
    assert SqliteCommandStore(second).append(a_command()) == CommandAppendResult(False, True, 1)
    assert SqliteCommandCursorStore(second, consumer_id=" ").load() == 1
    assert SqliteCommandCursorStore(second, consumer_id="other").load() == 9
    assert SqliteCommandCursorStore(second, consumer_id="third").load() == 0
    second.close()


def test_commands_of_a_published_file_go_on(tmp_path: Path) -> None:
    make_contract_file(tmp_path / "old.db")
    database = SqliteDatabase(tmp_path / "old.db")
    commands = SqliteCommandStore(database)
    assert commands.list_after(after=0) == ([CommandRecord("c", "r1", "pause", {}, "2026", None, 7)], 7)
    assert commands.append(a_command("c")).seq == 7
    assert commands.append(a_command("d")).seq == 8
    database.close()


def test_a_damaged_payload_hides_no_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = SqliteDatabase(tmp_path / "runs.db")
    commands = SqliteCommandStore(database)
    for n in (1, 2):
        commands.append(a_command(f"c{n}"))
    database.connection().execute("UPDATE commands SET payload_json = '{' WHERE seq = 1")
    assert [command.payload for command in commands.list_after(after=0)[0]] == [{}, {"why": "grüß"}]
    assert "c1" in caplog.text
    database.close()


# --- databases ---------------------------------------------------------------------------------------


def test_no_command_becomes_visible_behind_a_reader(postgres: Database) -> None:
    commands = SqlCommandStore(postgres)
    later = threading.Thread(target=lambda: commands.append(a_command("later")))
    with postgres.atomic():
        assert commands.append(a_command("first")).seq == 1
        later.start()
        # The second appender has no seq yet: had it one and committed, this reader would pass the first by.
        later.join(0.3)
        seen: list[tuple[list[CommandRecord], int]] = []
        reader = threading.Thread(target=lambda: seen.append(commands.list_after(after=0)))
        reader.start()
        reader.join()
        assert seen == [([], 0)]
    later.join()
    assert [command.command_id for command in commands.list_after(after=0)[0]] == ["first", "later"]


def test_read_commands_can_be_deleted(database: Database) -> None:
    commands = SqlCommandStore(database)
    assert commands.slowest_cursor() is None
    assert commands.delete_through(9) == 0
    for n in range(1, 6):
        commands.append(a_command(f"c{n}"))
    SqlCommandCursorStore(database).save(5)
    SqlCommandCursorStore(database, consumer_id="slow").save(2)
    assert commands.slowest_cursor() == 2
    assert commands.delete_through(2) == 2
    assert [command.seq for command in commands.list_after(after=0)[0]] == [3, 4, 5]
    assert commands.append(a_command("c1")).seq == 6
    assert commands.delete_through(99) == 3
    assert commands.get_last_seq() == 6
    assert commands.append(a_command("c7")).seq == 7
