"""Each service's command line from the compose file really runs, and its health check finds it healthy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from abstractruntime.testing.ports import free_port
from tests.poll import eventually

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
PROCESSES = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service.get("image") == "abstractruntime"
}
LONG_RUNNING = sorted(set(PROCESSES) - {"migrate"})
DEADLINE = 90.0


@pytest.fixture
def environment(postgres_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """What the compose file sets, with our servers in the place of its own."""
    declared = PROCESSES["ticks"]["environment"]
    known = {"DATABASE_URL": postgres_url, "REDIS_URL": redis_url}
    return {
        **os.environ,
        **{name: known.get(name, _default(value)) for name, value in declared.items()},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "ignore",
        "HOSTNAME": os.uname().nodename,
    }


def _default(value: str) -> str:
    """``${NAME:-default}`` as compose reads it without NAME."""
    return value.split(":-", 1)[1].rstrip("}") if value.startswith("${") else value


def _command(service: dict[str, Any], tmp_path: Path, port: int) -> list[str]:
    words = [
        str(word).replace("/tmp/", f"{tmp_path}/").replace("5555", str(port)) for word in service["command"]
    ]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def _health(service: dict[str, Any], tmp_path: Path, port: int) -> list[str]:
    kind, *words = service["healthcheck"]["test"]
    words = [str(word).replace("/tmp/", f"{tmp_path}/").replace("5555", str(port)) for word in words]
    if kind == "CMD-SHELL":
        return ["sh", "-c", words[0].replace("$$", "$")]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


@pytest.fixture
def migrated(environment: dict[str, str], tmp_path: Path) -> None:
    command = _command(PROCESSES["migrate"], tmp_path, 0)
    subprocess.run(command, env=environment, cwd=ROOT / "examples", check=True, timeout=60)


@pytest.fixture
def started(
    request: pytest.FixtureRequest, environment: dict[str, str], migrated: None, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    """The service's process and its health check's command."""
    service, port = PROCESSES[request.param], free_port()
    log = tmp_path / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(service, tmp_path, port),
            env=environment,
            cwd=ROOT / "examples",
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process, _health(service, tmp_path, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        print(log.read_text()[-4000:])


@pytest.mark.parametrize("started", LONG_RUNNING, indirect=True)
def test_the_service_runs_and_becomes_healthy(
    started: tuple[subprocess.Popen[bytes], list[str]], environment: dict[str, str]
) -> None:
    process, health = started

    def healthy() -> bool:
        assert process.poll() is None, f"the service ended with {process.returncode}"
        checked = subprocess.run(
            health, env=environment, cwd=ROOT / "examples", capture_output=True, timeout=60, check=False
        )
        return checked.returncode == 0

    eventually(healthy, timeout=DEADLINE, interval=0.5, message="the service did not become healthy")


def test_redis_keeps_what_it_is_given() -> None:
    command = COMPOSE["services"]["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_only_loopback_is_published() -> None:
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
