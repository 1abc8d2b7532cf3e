"""The embedded fleet as an object."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from abstractruntime.core.models import RunStatus
from abstractruntime.testing.servers import PortInUseError
from tests.embedded.conftest import MakeFleet
from tests.embedded.dev_process import is_alive
from tests.poll import eventually
from workers.client import Client
from workers.embedded import EmbeddedFleet, EmbeddedFleetError, FleetRecord


def _children() -> set[psutil.Process]:
    """Processes started by this one (servers of other tests among them)."""
    return set(psutil.Process().children())


def _with_descendants(processes: set[psutil.Process]) -> list[psutil.Process]:
    return [member for process in processes for member in (process, *process.children(recursive=True))]


def test_it_finishes_runs_survives_a_killed_worker_and_leaves_no_process(make_fleet: MakeFleet) -> None:
    said: list[str] = []
    fleet = make_fleet(
        on_line=lambda name, line: said.append(f"{name}: {line}"),
        environment={"ABSTRACTRUNTIME_REDELIVERY_GRACE": "1", "ABSTRACTRUNTIME_SWEEP_INTERVAL": "0.5"},
    )
    others = _children()
    fleet.start()
    family = _with_descendants(_children() - others)
    assert [info.name for info in fleet.processes] == ["ticks-1", "effects", "beat", "resumer"]
    assert all(info.running and info.ready for info in fleet.processes)

    with Client(settings=fleet.settings) as client:
        assert client.wait(client.start("hello", {"name": "Ada"}), 30).output == {
            "greeting": {"text": "Hello, Ada"}
        }
        counting = [client.start("count", {"up_to": 60}) for _ in range(5)]
        killed = fleet.kill_worker("ticks-1")
        assert [client.wait(run_id, 60).output for run_id in counting] == [{"count": 60}] * 5

    (worker,) = (info for info in fleet.processes if info.name == "ticks-1")
    assert worker.restarts == 1
    assert worker.pid != killed
    assert any(f"ticks-1 (pid {killed}) died: signal SIGKILL" in line for line in said)
    assert any("ticks-1 is back" in line for line in said)

    fleet.stop()
    assert fleet.processes == []
    assert not [child for child in family if is_alive(child)]


def test_a_published_event_that_came_first_reaches_its_run(make_fleet: MakeFleet) -> None:
    import redis

    fleet = make_fleet()
    fleet.start()
    with Client(settings=fleet.settings) as client, redis.Redis.from_url(fleet.settings.redis_url) as bus:
        late = client.start("hello", {"nap_s": 0.1})
        run_id = client.start("listen", {"key": "door:1"})
        heard = eventually(
            lambda: bus.publish(f"{fleet.settings.event_channel}door:1", '{"who": "it"}'), timeout=20
        )
        assert heard == 1
        assert client.wait(run_id, 30).output == {"heard": {"who": "it"}}
        assert client.wait(late, 30).status is RunStatus.COMPLETED


def test_started_again_in_its_folder_it_goes_on(make_fleet: MakeFleet) -> None:
    first = make_fleet()
    first.start()
    with Client(settings=first.settings) as client:
        run_id = client.start("listen", {"key": "door:2"})
        eventually(lambda: client.get(run_id).status is RunStatus.WAITING, timeout=20)
    first.stop()

    again = make_fleet()
    again.start()
    with Client(settings=again.settings) as client:
        client.emit_event(wait_key="door:2", payload={"who": "you"})
        assert client.wait(run_id, 30).output == {"heard": {"who": "you"}}


def test_a_port_in_use_is_named(make_fleet: MakeFleet) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fleet = make_fleet(port=port)
        with pytest.raises(PortInUseError, match=str(port)):
            fleet.start()
    fleet.start()  # nothing of the failed start is in the way
    assert fleet.settings.redis_url == f"redis://127.0.0.1:{port}/0"


def test_an_app_that_does_not_import_ends_the_start(make_fleet: MakeFleet) -> None:
    fleet = make_fleet("tests.embedded.no_such_module:app")
    others = _children()
    with pytest.raises(EmbeddedFleetError, match=r"died 2 times in a row .*no_such_module"):
        fleet.start()
    assert not [child for child in _with_descendants(_children() - others) if is_alive(child)]


def test_the_broker_of_the_environment_is_not_its_own(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_BROKER_URL", "redis://127.0.0.1:1/0")
    fleet = make_fleet()
    fleet.start()
    with Client(settings=fleet.settings) as client:
        assert client.wait(client.start("count", {"up_to": 2}), 30).output == {"count": 2}


def test_what_needs_a_running_fleet_says_so(tmp_path: Path) -> None:
    fleet = EmbeddedFleet("flows:app", tmp_path)
    assert fleet.processes == []
    with pytest.raises(EmbeddedFleetError, match="start"):
        fleet.kill_worker()
    with pytest.raises(EmbeddedFleetError, match="start"):
        _ = fleet.settings


def test_the_record_is_private_and_an_unreadable_one_is_no_record(tmp_path: Path) -> None:
    record = FleetRecord("flows:app", "sqlite:///x", "redis://127.0.0.1:1/0", 7)
    record.write(tmp_path)
    assert FleetRecord.read(tmp_path) == record
    assert (tmp_path / "fleet.json").stat().st_mode & 0o077 == 0
    (tmp_path / "fleet.json").write_text("{")
    assert FleetRecord.read(tmp_path) is None


def test_with_database_and_redis_of_ones_own_it_starts_no_valkey(
    make_fleet: MakeFleet, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    fleet = make_fleet(database_url=database_url, redis_url=redis_url)
    fleet.start()
    assert not (tmp_path / "fleet" / "valkey").exists()
    with Client(settings=fleet.settings) as client:
        assert client.wait(client.start("count", {"up_to": 3}), 30).output == {"count": 3}
