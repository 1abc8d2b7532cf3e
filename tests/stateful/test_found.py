"""What the comparison of stores has found, one test each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
def test_a_number_without_value_survives_inside_a_large_one(tmp_path: Path, value: float) -> None:
    """It went to an artifact there, while the store inside refused it anywhere else."""
    outputs = []
    for name, opening in (("memory", memory()), ("decorated", decorated(files(tmp_path)))):
        world = World(name, opening, tick_us=1)
        workflow = world.workflows.registry["asker"]
        run_id = world.runtime.start(workflow=workflow)
        world.runtime.tick(workflow=workflow, run_id=run_id)
        payload = {"long": ["item"] * 100, "n": value}
        state = world.runtime.resume(workflow=workflow, run_id=run_id, wait_key=None, payload=payload)
        outputs.append(repr(state.output))
        assert repr(value) in outputs[-1]
    assert outputs[0] == outputs[1]


class Killed(BaseException):
    """The process ends here."""


def test_the_output_of_a_child_that_ended_before_a_crash_is_whole(tmp_path: Path) -> None:
    """The parent's step runs again and finds its child ended: what it gets must not be a reference."""
    views = []
    for name, opening in (("memory", memory()), ("decorated", decorated(files(tmp_path)))):
        world = World(name, opening, tick_us=1)
        workflow = world.workflows.mixed_from("sync")
        run_id = world.runtime.start(workflow=workflow)
        append = world.stores.ledger.append

        def dying(record: Any, run_id: str = run_id, append: Any = append) -> None:
            if record.run_id == run_id and record.status == "completed":
                raise Killed
            append(record)

        world.stores.ledger.append = dying
        with pytest.raises(Killed):
            world.runtime.tick(workflow=workflow, run_id=run_id)
        world.stores.ledger.append = append
        world.reopen()
        run = world.runtime.tick(workflow=workflow, run_id=run_id, max_steps=1)
        views.append(run.vars["got"]["sync"]["output"])
    assert views[0] == views[1] == {"answer": "0 is done", "report": "r" * 300}
