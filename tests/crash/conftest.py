"""A fleet per test, on PostgreSQL unless the test asks for more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .fleet import CrashFleet
from .nursery import Nursery


@pytest.fixture(scope="session", autouse=True)
def _nursery_ends() -> Iterator[None]:
    yield
    Nursery.close_shared()


@pytest.fixture
def fleet(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[CrashFleet]:
    """A fleet without processes; the test starts what it needs. After the test every run must be whole."""
    running = CrashFleet(postgres_url, redis_url, tmp_path / "fleet")
    try:
        yield running
        running.halt()
        running.assert_whole()
    finally:
        running.stop()


@pytest.fixture(autouse=True)
def _logs_on_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    fleet = request.node.funcargs.get("fleet")
    if fleet is not None:
        print(fleet.logs())
