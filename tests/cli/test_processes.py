"""``abstractruntime worker|beat|resumer|migrate``, ``--help`` and ``--version``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import abstractruntime
from tests.cli.conftest import APP, Command
from tests.poll import eventually
from workers.client import Client
from workers.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def execs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the command would have become."""
    became: list[list[str]] = []

    def record(program: str, argv: list[str]) -> None:
        became.append(argv[1:])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", record)
    return became


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["worker", "ticks"], ["-Q abstractruntime.ticks", "--pool solo", "--concurrency 1", "-n ticks@%h"]),
        (["worker", "ticks", "-c", "4"], ["--pool threads", "--concurrency 4"]),
        (["worker", "effects"], ["-Q abstractruntime.effects", "--pool threads", "--concurrency 8"]),
        (["worker", "effects", "--pool", "prefork", "-c", "2"], ["--pool prefork", "--concurrency 2"]),
        (["worker", "ticks", "-E", "--name", "t7", "-l", "debug"], ["-n t7@%h", "-l debug", "-E"]),
        (["worker", "ticks"], ["-m celery", "-A workers worker", "--without-gossip", "--without-mingle"]),
        (["beat"], ["-m celery", "-A workers beat", "--pidfile="]),
        (["resumer", "-l", "warning"], ["-m workers.resumer", "-l warning"]),
    ],
)
def test_it_becomes_the_right_process(
    command: Command, database: str, execs: list[list[str]], args: list[str], parts: list[str]
) -> None:
    assert command(*args).exit_code == 0
    (became,) = execs
    for part in parts:
        assert part in " ".join(became)
    assert os.environ["DATABASE_URL"] == database


@contextmanager
def process(*args: str) -> Iterator[subprocess.Popen[bytes]]:
    """``abstractruntime ARGS...``, ended by TERM."""
    started = subprocess.Popen([sys.executable, "-m", "abstractruntime.cli", *args], cwd=ROOT)
    try:
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@pytest.mark.slow
def test_the_processes_make_a_fleet(redis_url: str, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("ABSTRACTRUNTIME_REDELIVERY_GRACE", "2")
    settings = Settings(database_url=database, redis_url=redis_url)
    with ExitStack() as fleet:
        started = [
            fleet.enter_context(process(*args))
            for args in (["worker", "ticks", "-l", "warning"], ["beat", "-l", "warning"], ["resumer"])
        ]
        with Client(APP, settings=settings) as sender:
            run_id = sender.start("listener")
            eventually(lambda: sender.get(run_id).status.value == "waiting", timeout=40)
            sender.emit_event(wait_key="door", payload={"who": "it"})
            assert sender.wait(run_id, 30).output == {"answer": {"who": "it"}}
        assert [one.poll() for one in started] == [None, None, None]
    assert [one.returncode for one in started] == [0, 0, 0]


def test_migrate_creates_then_says_that_nothing_is_to_do(command: Command, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sub' / 'runs.db'}"
    first = command("migrate", "--database-url", url)
    assert first.exit_code == 0
    assert "revision none -> " in first.stdout
    assert "already" in command("migrate", "--database-url", url).stdout


def test_version(command: Command) -> None:
    assert command("--version").stdout == f"abstractruntime {abstractruntime.__version__}\n"


def test_help_needs_neither_fleet_nor_database() -> None:
    script = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from abstractruntime.cli.program import program\n"
        "assert CliRunner().invoke(program, ['--help']).exit_code == 0\n"
        "heavy = {'celery', 'kombu', 'redis', 'sqlalchemy', 'alembic', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_without_the_fleets_packages_the_command_names_the_extra() -> None:
    script = (
        "import sys\n"
        "sys.modules['celery'] = None\n"
        "from abstractruntime.cli import main\n"
        "sys.argv = ['abstractruntime', 'runs', 'start', 'x', '--app', 'tests.cli.flows:app',\n"
        "            '--database-url', 'sqlite:///']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "pip install 'abstractruntime[embedded]'" in done.stderr
    assert done.stderr.count("\n") == 1
