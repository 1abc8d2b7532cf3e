"""Workers that don't know a workflow yet, and steps that fail or kill whoever takes them (`DESIGN §4`)."""

from __future__ import annotations

import pytest

from tests.poll import eventually

from .fleet import CrashFleet

pytestmark = pytest.mark.chaos
OLD_RELEASE = {"ABSTRACTRUNTIME_APP": "tests.crash.flows:old_app"}


@pytest.mark.failure("rolling deploy: some workers don't know the workflow yet")
def test_a_run_waits_visibly_for_a_worker_that_knows_it(fleet: CrashFleet) -> None:
    fleet.worker("old", **OLD_RELEASE)
    fleet.beat()
    known = fleet.client.start("chain", {"steps": 3})
    new = fleet.client.start("call")
    reason = eventually(
        lambda: fleet.client.checkpoint(new).hold_reason, timeout=60, message="nobody says why it waits"
    )
    assert "no worker yet knows node 'call' of workflow 'call'" in reason
    fleet.finished(known)
    assert fleet.status(new) == "running"
    fleet.kill("old")
    fleet.worker("new")
    assert fleet.finished(new).output == {"charged": {"attempt": 1}}
    assert fleet.client.checkpoint(new).hold_reason is None


@pytest.mark.failure("rolling deploy: some workers don't know the workflow yet")
def test_an_effect_waits_visibly_for_a_worker_that_has_its_handler(fleet: CrashFleet) -> None:
    """The new release's tick worker asks for it; of the effect workers one is still of the old release."""
    fleet.worker("old effects", queues="effects", **OLD_RELEASE)
    fleet.worker("new ticks", queues="ticks")
    fleet.beat()
    run_id = fleet.client.start("call")
    reason = eventually(
        lambda: fleet.client.checkpoint(run_id).hold_reason, timeout=60, message="nobody says why it waits"
    )
    assert "no worker yet knows a handler for effect 'tool_calls' of node 'call'" in reason
    fleet.kill("old effects")
    fleet.worker("new effects", queues="effects")
    assert fleet.finished(run_id).output == {"charged": {"attempt": 1}}
    assert list(fleet.calls().values()) == [1]


@pytest.mark.failure("poison step (raises; kills its worker)")
def test_poison_stops_after_some_attempts_and_others_go_on(fleet: CrashFleet) -> None:
    """A node that raises, one that kills its worker, and an effect that does."""
    few = {"ABSTRACTRUNTIME_MAX_CRASHES": "2"}
    fleet.worker("ticks", queues="ticks", pool="prefork", **few)
    fleet.worker("effects", queues="effects", pool="prefork", **few)
    fleet.beat()
    raising = fleet.client.start("raising")
    deadly_node = fleet.client.start("deadly")
    deadly_effect = fleet.client.start("call", {"kills": True})
    others = [fleet.client.start("chain", {"steps": 5}), fleet.client.start("call")]
    for run_id in others:
        fleet.finished(run_id)
    for run_id, why in (
        (raising, "Node 'raising' raised RuntimeError: this node always raises"),
        (deadly_node, "Node 'deadly' lost its worker 2 times"),
        (deadly_effect, "its worker was lost 2 times while it ran"),
    ):
        run = fleet.client.wait(run_id, timeout=60)
        assert run.status.value == "failed"
        assert run.error is not None
        assert why in run.error
    victims = fleet.oracle / f"deadly-node-{deadly_node}"
    assert len(victims.read_text().splitlines()) <= 3
    victims.unlink()  # a node's call is not an effect's
    # Failed, not lost: an operator may have it go on.
    fleet.client.retry(raising)
    assert fleet.client.wait(raising, timeout=60).status.value == "failed"
