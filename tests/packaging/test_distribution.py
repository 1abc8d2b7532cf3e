"""Wheel and sdist build, hold what they must, and work where they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_the_wheel_holds_the_three_packages_and_their_data(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for name in (
        "abstractruntime/__init__.py",
        "abstractruntime/py.typed",
        "workers/celery_app.py",
        "beat_schedule.py",
        "abstractruntime/examples/expenses/claims.csv",
        "abstractruntime/examples/expenses/flows.py",
    ):
        assert name in names
    assert any(name.startswith("abstractruntime/storage/sql/migrations/") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)


def test_the_sdist_holds_tests_and_deploy_too(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    for name in ("README.md", "LICENSE", "pyproject.toml", "deploy/compose.yaml", "tests/conftest.py"):
        assert name in names


def test_the_wheel_works_installed_elsewhere(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, timeout=100)
    script = (
        "import abstractruntime, workers, beat_schedule, pathlib;"
        "from workers.celery_app import app;"
        f"assert pathlib.Path(abstractruntime.__file__).is_relative_to({str(site)!r});"
        "print(sorted(name for name in app.tasks if name.startswith('abstractruntime.')))"
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "abstractruntime.tick" in done.stdout


def test_importing_the_library_is_light() -> None:
    script = (
        "import sys, abstractruntime;"
        "heavy = {'celery', 'kombu', 'redis', 'sqlalchemy', 'abstractcore', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
