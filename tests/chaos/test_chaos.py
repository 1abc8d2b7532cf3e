"""The chaos run itself, short in the default run; ``ABSTRACTRUNTIME_CHAOS_MINUTES=3`` makes it a long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from abstractruntime.testing.servers import ServerMissingError, valkey_binary

ROOT = Path(__file__).resolve().parents[2]
MINUTES = float(os.environ.get("ABSTRACTRUNTIME_CHAOS_MINUTES") or 0.6)
SEEDS = [int(seed) for seed in (os.environ.get("ABSTRACTRUNTIME_CHAOS_SEEDS") or "1").split(",")]
RUNS_PER_MINUTE = 300
PATIENCE_S = 240.0


@pytest.fixture(autouse=True)
def _needs_valkey() -> None:
    try:
        valkey_binary()
    except ServerMissingError as missing:
        pytest.skip(str(missing))


def command(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, "-m", "abstractruntime.cli", "chaos", *args],
        cwd=cwd,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(MINUTES * 60 + PATIENCE_S + 180)
@pytest.mark.parametrize("seed", SEEDS)
def test_everything_holds_whatever_is_broken(seed: int, tmp_path: Path) -> None:
    folder = tmp_path / "chaos"
    done = command(
        *("--seed", str(seed), "--minutes", str(MINUTES), "--runs", str(round(MINUTES * RUNS_PER_MINUTE))),
        *("--patience", str(PATIENCE_S), "--keep", str(folder), "--json", str(tmp_path / "report.json")),
        cwd=tmp_path,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["held"]
    assert report["violations"] == []
    assert report["seed"] == seed
    assert len([fault for fault in report["faults"] if not fault["missed"]]) >= 5
    assert report["oracle"]["calls"] >= report["oracle"]["keys"] > 0
    assert report["runs"] >= MINUTES * RUNS_PER_MINUTE
    left = [
        one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or [])
    ]
    assert left == []


def test_what_can_not_be_done_is_said_before_anything_is_started(tmp_path: Path) -> None:
    done = command("--faults", "meteorite", cwd=tmp_path)
    assert done.returncode == 1
    assert "no fault 'meteorite' is possible here; known are: kill-ticks" in " ".join(done.stderr.split())
    done = command("--database", "sqlite", "--database-url", "postgresql://x/y", cwd=tmp_path)
    assert done.returncode == 1
    assert "can't be had with --database sqlite" in " ".join(done.stderr.split())
