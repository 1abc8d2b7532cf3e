"""What the comparison of stores has found, one test each."""

from __future__ import annotations

from pathlib import Path

import pytest

from .places import decorated, files, memory
from .worlds import World


def test_traces_of_taken_over_results_survive_offloading(tmp_path: Path) -> None:
    """The marks of reused steps of an ended run were moved to an artifact; reading its traces raised."""
    views = []
    for name, opening in (("memory", memory()), ("decorated", decorated(files(tmp_path)))):
        world = World(name, opening, tick_us=1)
        workflow = world.workflows.mixed_from("llm")
        run_id = world.runtime.start(workflow=workflow)
        world.runtime.tick(workflow=workflow, run_id=run_id)
        world.runtime.cancel_run(run_id)
        world.reopen()
        views.append(world.whole(run_id))
    assert '"reused_prior_result": true' in str(views[0]["traces"])
    assert views[0] == views[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_offloading_does_not_hide_what_has_no_json_form(tmp_path: Path, value: float) -> None:
    """Inside a large value NaN went to an artifact, and the store inside had nothing to refuse."""
    for name, opening in (("memory", memory()), ("decorated", decorated(files(tmp_path)))):
        world = World(name, opening, tick_us=1)
        workflow = world.workflows.registry["asker"]
        run_id = world.runtime.start(workflow=workflow)
        world.runtime.tick(workflow=workflow, run_id=run_id)
        payload = {"long": ["item"] * 100, "n": value}
        with pytest.raises(ValueError, match="can't be stored as JSON"):
            world.runtime.resume(workflow=workflow, run_id=run_id, wait_key=None, payload=payload)
        assert world.runtime.get_state(run_id).status == "waiting"
        assert len(world.runtime.get_ledger(run_id)) == 2
