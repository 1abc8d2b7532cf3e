"""``abstractruntime dev`` as users run it: a process that is interrupted, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from abstractruntime.core.models import RunStatus
from tests.embedded.dev_process import APP, ROOT, DevProcess, is_alive
from tests.poll import eventually
from workers.client import Client
from workers.embedded import FleetRecord
from workers.settings import Settings, load_settings


def _settings(directory: Path) -> Settings:
    record = FleetRecord.read(directory)
    assert record is not None
    return load_settings(app=record.app, database_url=record.database_url, redis_url=record.redis_url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_stops_everything_and_says_no_more_than_needed(
    tmp_path: Path, number: signal.Signals
) -> None:
    with DevProcess(tmp_path) as dev:
        with Client(settings=_settings(tmp_path)) as client:
            assert client.wait(client.start("hello"), 30).status is RunStatus.COMPLETED
        assert dev.interrupt(number) == 0
        assert dev.family() == []
        assert dev.lines[-1].endswith("| stopped")
        assert all(line.startswith("fleet ") for line in dev.lines), dev.text


@pytest.mark.chaos
def test_a_killed_child_is_restarted_and_runs_go_on(tmp_path: Path) -> None:
    with DevProcess(tmp_path, "--verbose") as dev:
        victim = dev.named("effects")
        victim.kill()
        eventually(lambda: "effects is back" in dev.text, timeout=30)
        with Client(settings=_settings(tmp_path)) as client:
            assert client.wait(client.start("hello"), 30).status is RunStatus.COMPLETED
        assert f"effects (pid {victim.pid}) died: signal SIGKILL; restarting" in dev.text
        assert any(line.startswith("ticks-1") and "abstractruntime.tick" in line for line in dev.lines)
        assert dev.interrupt() == 0


@pytest.mark.chaos
def test_a_killed_supervisor_takes_its_children_along_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with DevProcess(tmp_path) as dev:
        with Client(settings=_settings(tmp_path)) as client:
            waiting = client.start("listen", {"key": "door:3"})
            counting = client.start("count", {"up_to": 300})
            eventually(lambda: client.get(waiting).status is RunStatus.WAITING, timeout=20)
        family = dev.family()
        (valkey,) = (child for child in family if "valkey" in child.name())
        dev.process.kill()
        dev.process.wait(10)
        eventually(lambda: [child for child in family if is_alive(child)] == [valkey], timeout=20)

        with DevProcess(tmp_path) as again:
            assert f"took over the running Valkey (pid {valkey.pid})" in again.text
            assert "unfinished run(s) go on" in again.text
            with Client(settings=_settings(tmp_path)) as client:
                client.emit_event(wait_key="door:3", payload={"who": "it"})
                assert client.wait(waiting, 40).output == {"heard": {"who": "it"}}
                assert client.wait(counting, 40).output == {"count": 300}
            assert again.interrupt() == 0
        assert not is_alive(valkey)


def test_a_second_one_in_the_folder_is_refused(tmp_path: Path) -> None:
    with DevProcess(tmp_path) as dev:
        command = [sys.executable, "-m", "abstractruntime.cli", "dev", "--app", APP, "-d", str(tmp_path)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "Traceback" not in second.stderr
        assert second.stderr == (
            f"error: A fleet (pid {dev.process.pid}) already runs in {tmp_path}. "
            "Stop it, or choose another folder with --directory.\n"
        )


def test_interrupted_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "abstractruntime.cli", "dev", "--app", APP, "-d", str(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    family: list[psutil.Process] = []
    try:
        parent = psutil.Process(process.pid)
        family = eventually(lambda: parent.children(recursive=True), timeout=30)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    eventually(lambda: not [child for child in family if is_alive(child)], timeout=20)
