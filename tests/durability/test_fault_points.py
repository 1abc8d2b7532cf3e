"""A process dies exactly between two writes (`spec/02 §9`): what the next one finds, and that it goes on."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.kernel import kind as kind_of

from .deaths import Witness, Zygote
from .places import KINDS, open_place

WINDOWS = [
    "started_llm_call.appending",  # before `started`: clean
    "started_llm_call.appended",  # the effect may or may not have run
    "completed_llm_call.appending",  # it ran, nobody knows
    "completed_llm_call.appended",  # the checkpoint is missing: the result is taken over
    "running.saving",
    "running.saved",
    "failed_tool_calls.appended",  # an attempt is used up
    "started_tool_calls.appended:2",
    "waiting_ask_user.appended",  # the wait is recorded, the run does not wait
    "waiting.saved",
    "resume.appended",  # resumed in the ledger only
    "waiting_wait_until.appended",
    "started_start_subworkflow.appended",
    "waiting_start_subworkflow.appended",  # the child is there, the parent does not wait for it
    "terminal.saving",
    "terminal.saved",  # no last words
    "completion.appended",
    "completion_via_resume.appending",
    "status_completed.appending",
    "status_completed.appended",
]
IN_FILES = ["file.renaming:3", "file.renamed:3", "file.renamed:9", "line.torn", "line.torn:2", "line.torn:4"]
CASES = [(kind, window) for kind in KINDS for window in WINDOWS] + [("files", window) for window in IN_FILES]


@pytest.fixture(scope="module")
def zygotes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Zygote, Path]]]:
    """One per kind for all windows: the deaths share one store, as they do in life. A run has ended in it
    before: the first death may leave nothing behind."""
    directory = tmp_path_factory.mktemp("faults")
    running = {
        kind: (Zygote(kind, directory / kind, directory / f"{kind}.log"), directory / kind) for kind in KINDS
    }
    for zygote, _ in running.values():
        assert zygote.life(zygote.begin(0, 1), kill_after=None)[1] == 0
    yield running
    for zygote, _ in running.values():
        zygote.close()


@pytest.mark.chaos
@pytest.mark.weakness("spec/01 §19.5")
@pytest.mark.weakness("spec/02 D-4a")
@pytest.mark.parametrize(("kind", "window"), CASES)
def test_the_next_process_goes_on(zygotes: dict[str, tuple[Zygote, Path]], kind: str, window: str) -> None:
    zygote, directory = zygotes[kind]
    witness = Witness(kind, directory)
    point, _, times = window.partition(":")
    action = "raise" if point == "line.torn" else "kill"
    first = 10 * (1 + CASES.index((kind, window)))
    said, ended = zygote.life(zygote.begin(first, 1, f"{point}={action}:{times or 1}"), kill_after=None)
    assert ended == -signal.SIGKILL, f"{window} was never reached"
    witness.check(said, drive=False)
    if point == "line.torn":
        assert _torn_ledgers(directory)
    said, ended = zygote.life(zygote.begin(first + 1, 0), kill_after=None)
    assert ended == 0
    witness.check(said, drive=False)
    assert not _torn_ledgers(directory)
    place = open_place(kind, directory)
    try:
        assert {row["status"] for row in place.runs.list_run_index(limit=1000)} == {"completed"}
    finally:
        place.close()


def _torn_ledgers(directory: Path) -> list[Path]:
    """Files that a write was cut off in."""
    return [path for path in directory.glob("ledger_*.jsonl") if not path.read_bytes().endswith(b"\n")]


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_outcomes_are_not_repeated(zygotes: dict[str, tuple[Zygote, Path]], kind: str) -> None:
    """After all these deaths: one completion per effect in each ledger, one child per parent."""
    witness = Witness(kind, zygotes[kind][1])
    counts = witness.check_all()
    assert not witness.done_outside, "the last process left nothing to do"
    assert counts["job"] == counts["child"] > 0
    place = open_place(kind, zygotes[kind][1])
    try:
        rows = place.runs.list_run_index(workflow_id="job", limit=1000)
        for row in rows:
            kinds = Counter(kind_of(record) for record in place.ledger.list(row["run_id"]))
            assert kinds["completed llm_call"] == 4, row
            assert kinds["completed tool_calls"] == 1, row
    finally:
        place.close()
