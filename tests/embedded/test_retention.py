"""Retention in a real fleet: beat's pulse, a worker, and runs that go away by themselves."""

from __future__ import annotations

import pytest

from abstractruntime.core.errors import UnknownRunError
from abstractruntime.core.models import RunStatus
from tests.embedded.conftest import MakeFleet
from tests.poll import eventually
from workers.client import Client


@pytest.mark.weakness("spec/02 P-8")
def test_ended_runs_go_by_themselves_and_waiting_ones_stay(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(
        environment={
            "ABSTRACTRUNTIME_RETENTION_COMPLETED": "0s",
            "ABSTRACTRUNTIME_RETENTION_INTERVAL": "0.5",
            "ABSTRACTRUNTIME_SWEEP_INTERVAL": "0.5",
        },
    )
    fleet.start()
    with Client(settings=fleet.settings) as client:
        parked = client.start("listen", {"key": "never"})
        counting = [client.start("count", {"up_to": 3}) for _ in range(3)]

        def all_gone() -> bool:
            return all(_is_gone(client, run_id) for run_id in counting)

        eventually(all_gone, timeout=60)
        assert eventually(lambda: client.get(parked).status is RunStatus.WAITING, timeout=30)


def _is_gone(client: Client, run_id: str) -> bool:
    try:
        client.get(run_id)
    except UnknownRunError:
        return True
    return False
