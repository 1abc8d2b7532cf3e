"""A process that dies between two writes (`spec/01 §19.5`, `spec/02 §9`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunStatus
from abstractruntime.core.spec import WorkflowSpec

from .flows import asks, done, flow
from .kernel import Kernel, kind


class Killed(BaseException):
    """The process ends here."""


def die_at(kernel: Kernel, wanted: str) -> None:
    """Before this kind of record is written."""
    append = kernel.ledger_store.append

    def dying(record: Any) -> None:
        if kind(record.to_dict()) == wanted:
            kernel.ledger_store.append = append
            raise Killed
        append(record)

    kernel.ledger_store.append = dying


WAITS = flow(a=asks(EffectType.ASK_USER, {"prompt": "?", "wait_key": "k"}, then=None))
ENDINGS: dict[str, tuple[WorkflowSpec, list[str]]] = {
    "by plan": (flow(done=done), ["completion", "status completed"]),
    "by effect": (
        flow(a=asks(EffectType.ANSWER_USER, {"message": "bye"}, then=None)),
        ["started answer_user", "completed answer_user", "completion", "status completed"],
    ),
    "by failure": (
        flow(a=asks(EffectType.LLM_CALL)),
        ["started llm_call", "failed llm_call", "status failed"],
    ),
    "by resume": (
        WAITS,
        ["started ask_user", "waiting ask_user", "resume", "completion via resume", "status completed"],
    ),
}


NONE = ("by failure", "completion")
"""A failed run has no completion record."""


def end(kernel: Kernel, workflow: WorkflowSpec, run_id: str) -> None:
    if kernel.state(run_id).status is RunStatus.WAITING:
        kernel.resume(workflow, run_id, {"text": "yes"})
    else:
        kernel.tick(workflow, run_id)


@pytest.mark.weakness("spec/01 §19.5")
@pytest.mark.weakness("spec/02 D-4")
@pytest.mark.parametrize(
    ("ending", "point"),
    [(ending, point) for ending in ENDINGS for point in ("completion", "status") if (ending, point) != NONE],
)
def test_last_words_are_neither_lost_nor_doubled(kernel: Kernel, ending: str, point: str) -> None:
    workflow, expected = ENDINGS[ending]
    wanted = [record for record in expected if record.startswith(point)]
    run_id = kernel.start(workflow)
    if workflow is WAITS:
        kernel.tick(workflow, run_id)
    die_at(kernel, wanted[0])
    with pytest.raises(Killed):
        end(kernel, workflow, run_id)
    kernel.use()  # the next process
    if hasattr(kernel.run_store, "atomic"):
        assert not kernel.state(run_id).is_terminal  # nothing of the last step is there
        assert kernel.runtime.repair_ledger(run_id) == 0
        end(kernel, workflow, run_id)
    else:
        assert kernel.state(run_id).is_terminal
        assert kernel.runtime.repair_ledger(run_id) == (2 if point == "completion" else 1)
    kinds = [record for record in kernel.kinds(run_id) if record in expected]
    if ending == "by failure" and hasattr(kernel.run_store, "atomic"):
        assert kinds == [*expected[:2], *expected]  # the attempt itself was recorded, and is made again
    else:
        assert kinds == expected
    assert kernel.runtime.repair_ledger(run_id) == 0


def test_repaired_records_are_as_they_would_have_been(kernel: Kernel) -> None:
    whole = kernel.go(WAITS).run_id
    kernel.resume(WAITS, whole, {"text": "yes"})
    torn = kernel.go(WAITS).run_id
    die_at(kernel, "completion via resume")
    with pytest.raises(Killed):
        kernel.resume(WAITS, torn, {"text": "yes"})
    if kernel.runtime.repair_ledger(torn) == 0:  # all or nothing: nothing
        kernel.resume(WAITS, torn, {"text": "yes"})
    for good, repaired in zip(kernel.ledger(whole)[-2:], kernel.ledger(torn)[-2:], strict=True):
        for name in ("node_id", "status", "effect", "result", "idempotency_key", "attempt"):
            assert repaired[name] == good[name]


def test_nothing_to_repair(kernel: Kernel) -> None:
    running = kernel.start(flow(a=asks(EffectType.ASK_USER, {"prompt": "?"})))
    assert kernel.runtime.repair_ledger(running) == 0
    cancelled = kernel.runtime.cancel_run(running)
    assert kernel.runtime.repair_ledger(cancelled.run_id) == 0
    with pytest.raises(KeyError, match="Unknown run_id: nope"):
        kernel.runtime.repair_ledger("nope")


@pytest.mark.weakness("spec/01 §19.5")
def test_resume_record_and_checkpoint_belong_together(kernel: Kernel) -> None:
    """Where the store can: no phantom resume record of a resume that did not happen."""
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done)
    run_id = kernel.go(workflow).run_id
    save = kernel.run_store.save

    def dying(run: Any) -> None:
        kernel.run_store.save = save
        raise Killed

    kernel.run_store.save = dying
    with pytest.raises(Killed):
        kernel.resume(workflow, run_id, 1)
    assert kernel.kinds(run_id).count("resume") == (0 if hasattr(kernel.run_store, "atomic") else 1)
    assert kernel.resume(workflow, run_id, 2).output == {"out": 2}


@pytest.mark.weakness("spec/01 §19.5")
@pytest.mark.parametrize("verb", ["resume", "pause", "unpause"])
def test_a_torn_command_that_is_given_again_is_recorded_once(kernel: Kernel, verb: str) -> None:
    if not hasattr(kernel.run_store, "atomic") and not hasattr(kernel.ledger_store, "last"):
        pytest.skip("a ledger that can't tell its last record keeps both")
    kernel.use(hooks=Hooks(record_transitions=True))
    workflow = flow(a=asks(EffectType.WAIT_EVENT, {"wait_key": "k"}), done=done)
    run_id = kernel.go(workflow).run_id
    if verb == "unpause":
        kernel.runtime.pause_run(run_id)
    give = {
        "resume": lambda: kernel.resume(workflow, run_id, {"n": 1}),
        "pause": lambda: kernel.runtime.pause_run(run_id, reason="tea"),
        "unpause": lambda: kernel.runtime.resume_run(run_id),
    }[verb]
    save = kernel.run_store.save

    def dying(run: Any) -> None:
        kernel.run_store.save = save
        raise Killed

    kernel.run_store.save = dying
    with pytest.raises(Killed):
        give()
    give()
    assert kernel.kinds(run_id).count(verb) == 1
