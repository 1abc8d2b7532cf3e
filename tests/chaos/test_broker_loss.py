"""A worker lives on when its broker goes away while it carries out an effect. Found by the chaos run."""

from __future__ import annotations

from pathlib import Path

import pytest

from abstractruntime.testing.servers import ValkeyServer
from tests.crash.fleet import CrashFleet
from tests.poll import eventually

DEADLINE = 60.0


@pytest.mark.chaos
def test_a_worker_survives_the_loss_of_its_broker_in_the_middle_of_an_effect(
    postgres_url: str, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    with ValkeyServer(die_with_parent=True) as valkey:
        fleet = CrashFleet(postgres_url, valkey.url, tmp_path / "fleet")
        try:
            worker = fleet.worker("a", pool="threads", concurrency=2)
            run_id = fleet.client.start("call", {"hold": str(hold)})
            eventually(fleet.calls, timeout=DEADLINE, message="the effect did not begin")
            valkey.kill()
            log = fleet.folder / "a.log"
            eventually(lambda: "Connection to broker lost" in log.read_text(), timeout=DEADLINE)
            valkey.start()
            hold.touch()
            # No sweep: a fresh tick must reach the worker over its new connection.
            eventually(lambda: fleet.client.checkpoint(run_id).step is None, timeout=DEADLINE)
            second = fleet.client.start("chain", {"steps": 1})
            assert fleet.client.wait(second, timeout=DEADLINE).status.value == "completed"
            assert worker.poll() is None
            assert list(fleet.calls().values()) == [1]
        finally:
            fleet.stop()
            print(fleet.logs())
