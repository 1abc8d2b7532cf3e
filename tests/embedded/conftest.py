"""Fleets of these tests: in a folder of their own, without the Redis or database of the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from abstractruntime.testing.servers import ServerMissingError, valkey_binary
from tests.embedded.dev_process import APP, ROOT
from workers.embedded import EmbeddedFleet

MakeFleet = Callable[..., EmbeddedFleet]


@pytest.fixture(autouse=True)
def _needs_valkey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)
    try:
        valkey_binary()
    except ServerMissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[MakeFleet]:
    """Makes fleets that are stopped at the end."""
    with ExitStack() as made:

        def make(app: str = APP, directory: Path = tmp_path / "fleet", **options: object) -> EmbeddedFleet:
            fleet = EmbeddedFleet(
                app,
                directory,
                working_directory=ROOT,
                **{"tick_workers": 1, **options},  # type: ignore[arg-type]
            )
            made.callback(fleet.stop)
            return fleet

        yield make
