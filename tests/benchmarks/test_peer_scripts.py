"""The protocol between the comparison's driver and a peer's script, with the one script that runs here."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from benchmarks.fleet import ROOT
from benchmarks.peers.script import PeerError, Script


@pytest.fixture
def script() -> Iterator[Script]:
    variables = {"PYTHONPATH": str(ROOT)}
    with Script(sys.executable, "abstractruntime_app.py", variables=variables) as started:
        started.wait_until_ready()
        yield started


def test_a_script_does_the_work_and_measures_it(script: Script) -> None:
    assert script.ask("direct", runs=2, steps=10) > 0
    assert len(script.ask("submit_to_finished", samples=3, steps=10)) == 3
    assert all(lateness > 0 for lateness in script.ask("event_to_resumed", samples=3))
    assert script.ask("step_cost", store="in memory", marks=[100])["100"] > 0


def test_what_a_script_raises_reaches_the_driver_and_the_script_goes_on(script: Script) -> None:
    with pytest.raises(PeerError, match="direct: TypeError"):
        script.ask("direct", runs="many", steps=10)
    assert script.ask("direct", runs=1, steps=1) > 0


def test_a_silent_script_is_killed(script: Script) -> None:
    script.send("direct", runs=10**6, steps=10)
    with pytest.raises(PeerError, match=r"silent for 0\.2 s"):
        script.receive("direct", timeout=0.2)
