"""``abstractruntime demo`` from end to end, with few claims."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from abstractruntime.testing.servers import ServerMissingError, valkey_binary

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _needs_valkey() -> None:
    try:
        valkey_binary()
    except ServerMissingError as missing:
        pytest.skip(str(missing))


def command(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "abstractruntime.cli", *args],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.chaos
def test_all_holds_although_a_worker_is_killed(tmp_path: Path) -> None:
    done = command("demo", "--claims", "40", "--keep", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    text = done.stdout
    assert text.rstrip().splitlines()[-2] == "All held."
    assert re.search(r"half way: kill -9 \d+", text)
    assert re.search(r"ticks-1 \(pid \d+\) died: signal SIGKILL", text)
    assert "runs          77, 2 of them failed" in text
    assert ": 1.000 each" in text
    assert "Traceback" not in text
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path) in _command_line(one)]

    failed = command("runs", "list", "--status", "failed", "--workflow", "claim", "--json", cwd=tmp_path)
    assert "claim-C-0016" in failed.stdout
    again = command("demo", "--claims", "1", "--keep", str(tmp_path), cwd=tmp_path)
    assert again.returncode == 1
    assert "holds the runs of an earlier demo" in again.stderr


def _command_line(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])
