"""``kill -9`` at random moments of a writing process, again and again over the same stores (`spec/02 §9`).

``ABSTRACTRUNTIME_KILLS`` says how often each kind of store is killed (default: 200).
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .deaths import Witness, Zygote, random_moment
from .places import KINDS

KILLS = int(os.environ.get("ABSTRACTRUNTIME_KILLS") or 200)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def zygote(kind: str, tmp_path: Path) -> Iterator[Zygote]:
    running = Zygote(kind, tmp_path / "stores", tmp_path / "log")
    yield running
    running.close()
    print((tmp_path / "log").read_text())


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.weakness("spec/02 D-1")
@pytest.mark.weakness("spec/02 D-2")
@pytest.mark.weakness("spec/02 D-4")
def test_nothing_acknowledged_is_lost_and_no_run_is_stuck(kind: str, zygote: Zygote, tmp_path: Path) -> None:
    chance = random.Random(9)
    witness = Witness(kind, tmp_path / "stores")
    for life in range(KILLS):
        said, ended = zygote.life(zygote.begin(first=100 * life, count=100), random_moment(chance))
        assert ended == -signal.SIGKILL
        witness.check(said, drive=life % 2 == 0)
    counts = witness.check_all()
    assert counts["job"] == counts["child"] > 0
    again = sum(times - 1 for times in witness.done_outside.values())
    print(f"{KILLS} kills: {witness.acknowledged} lines, {counts}, effects carried out again: {again}")
