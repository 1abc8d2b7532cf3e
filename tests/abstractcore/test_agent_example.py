"""The agent of the examples: its worker is killed inside an LLM call and inside a payment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_each_call_is_made_once_although_the_worker_is_killed_in_it() -> None:
    pytest.importorskip("abstractcore", reason="the agent's LLM calls need AbstractCore")
    played = subprocess.run(
        [sys.executable, "-m", "examples.agent", "--yes"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    said = played.stdout
    assert played.returncode == 0, said + played.stderr
    assert said.count("kill -9 of the effects worker") == 2
    assert "the agent asks: May I pay_invoice" in said
    assert "completed: {'answer': 'Invoice A-17 is paid" in said
    requests, keys = map(int, re.search(r"(\d+) requests for (\d+) keys", said).groups())  # type: ignore[union-attr]
    assert requests >= keys + 2  # the two that were under way came again
    assert re.search(r"attempt 2", said)
