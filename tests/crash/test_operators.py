"""What operators type: plain celery commands against ``workers``, and Flower."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

from abstractruntime.testing.ports import free_port
from tests.poll import eventually

from .fleet import ROOT, CrashFleet

DEADLINE = 60.0
TASKS = (
    "abstractruntime.tick",
    "abstractruntime.effect",
    "abstractruntime.sweep",
    "abstractruntime.fire_schedules",
)


def _celery(fleet: CrashFleet, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", *arguments],
        env=fleet.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_inspect_registered_lists_the_tasks(fleet: CrashFleet) -> None:
    fleet.worker("a")
    listed = eventually(
        lambda: _celery(fleet, "inspect", "registered"), timeout=DEADLINE, message="no answer"
    )
    for task in TASKS:
        assert task in listed


def test_flower_shows_tasks_with_their_run_and_node(fleet: CrashFleet) -> None:
    port = free_port()
    fleet.start("flower", "celery", ["-A", "workers", "flower", f"--port={port}", "--address=127.0.0.1"])
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: _get(f"{url}/healthcheck"), timeout=DEADLINE, message="Flower did not start")
    fleet.start("watched", "celery", ["-A", "workers", "worker", "-P", "solo", "-E", "-n", "e@test"])
    run_id = fleet.client.start("call")
    fleet.client.wait(run_id, timeout=DEADLINE)

    def shown() -> list[dict[str, str]]:
        tasks = json.loads(_get(f"{url}/api/tasks?limit=100") or "{}")
        return [task for task in tasks.values() if run_id in str(task.get("args"))]

    tasks = eventually(lambda: shown(), timeout=DEADLINE, message="Flower shows no task of the run")
    assert {task["name"] for task in tasks} <= {"abstractruntime.tick", "abstractruntime.effect"}
    assert any("'node': 'call'" in str(task["kwargs"]) for task in tasks)


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _said_by_a_worker_that_cannot_start(fleet: CrashFleet, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", "worker", "-P", "solo", "-c", "1"],
        env=fleet.environment(**variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_a_worker_without_an_app_says_so_and_ends(fleet: CrashFleet) -> None:
    said = _said_by_a_worker_that_cannot_start(fleet, ABSTRACTRUNTIME_APP="no.such:app")
    assert "App 'no.such:app' can't be imported" in said


def test_a_worker_without_its_database_says_so_and_ends(fleet: CrashFleet) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:1/none"
    said = _said_by_a_worker_that_cannot_start(fleet, DATABASE_URL=url)
    assert "127.0.0.1:1" in said
    assert "secret" not in said
