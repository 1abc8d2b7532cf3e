"""One winner per step and per wait, whatever number of threads try (`spec/01 §19.4`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from abstractruntime.core.drive import Drive
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext

from .flows import asks, done, flow, loop
from .kernel import Kernel

LLM = EffectType.LLM_CALL
THREADS = 8


def at_once(call: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    """What each thread got, results and exceptions alike."""
    gate = threading.Barrier(threads)

    def run(number: int) -> Any:
        gate.wait()
        try:
            return call(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


class Slow:
    """A handler that stays in its first call until told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.entered = threading.Event()
        self.leave = threading.Event()

    def __call__(self, run: RunState, effect: Any) -> EffectOutcome:
        self.calls.append(run.run_id)
        self.entered.set()
        assert self.leave.wait(30)
        return EffectOutcome.completed({"n": len(self.calls)})


@pytest.mark.weakness("spec/01 §19.4")
def test_concurrent_ticks_execute_an_effect_once(kernel: Kernel) -> None:
    calls: list[str] = []
    both = threading.Event()

    def handler(run: RunState, effect: Any) -> EffectOutcome:
        calls.append(run.run_id)
        both.wait(0.05)  # room for the others to do it as well
        return EffectOutcome.completed({})

    kernel.use(effect_handlers={LLM: handler})
    workflow = flow(a=asks(LLM, {"prompt": "p"}), done=done)
    run_id = kernel.start(workflow)
    # Several runtimes over the same stores count as one process, too.
    runtimes = [kernel.make(effect_handlers={LLM: handler}) for _ in range(THREADS)]
    at_once(lambda n: runtimes[n].tick(workflow=workflow, run_id=run_id))
    assert len(calls) == 1
    assert kernel.kinds(run_id) == [
        "started llm_call",
        "completed llm_call",
        "completion",
        "status completed",
    ]


def test_a_loser_gets_the_current_state_at_once(kernel: Kernel) -> None:
    slow = Slow()
    kernel.use(effect_handlers={LLM: slow})
    workflow = flow(a=asks(LLM, {"prompt": "p"}), done=done)
    run_id = kernel.start(workflow)
    with ThreadPoolExecutor(1) as pool:
        winner = pool.submit(kernel.tick, workflow, run_id)
        assert slow.entered.wait(30)
        state = kernel.tick(workflow, run_id)
        assert (state.status, state.current_node) == (RunStatus.RUNNING, "a")
        slow.leave.set()
        assert winner.result(30).status is RunStatus.COMPLETED
    assert len(slow.calls) == 1


@pytest.mark.weakness("spec/01 §19.4")
def test_concurrent_resumes_have_one_winner(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done)
    for _ in range(5):
        run_id = kernel.go(workflow).run_id
        results = at_once(lambda n, run_id=run_id: kernel.resume(workflow, run_id, n))  # type: ignore[misc]
        winners = [result for result in results if isinstance(result, RunState)]
        assert [winner.status for winner in winners] == [RunStatus.COMPLETED]
        losers = [result for result in results if not isinstance(result, RunState)]
        assert {str(loser) for loser in losers} == {"Run is not waiting"}
        assert kernel.kinds(run_id)[2:] == ["resume", "completion", "status completed"]
        assert winners[0].output == {"out": kernel.ledger(run_id)[2]["effect"]["payload"]["payload"]}


def linger(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Threads named ``parker`` stay at the end of their tick, as an unlucky schedule may have them do."""
    arrived, leave = threading.Event(), threading.Event()
    take_steps = Drive.take_steps

    def lingering(drive: Drive, max_steps: int) -> RunState:
        state = take_steps(drive, max_steps)
        if threading.current_thread().name == "parker":
            arrived.set()
            assert leave.wait(30)
        return state

    monkeypatch.setattr(Drive, "take_steps", lingering)
    return arrived, leave


def test_whoever_resumes_a_run_finds_it_free(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver that parked the run may not be out of its tick yet; the run must not stay undriven."""
    arrived, leave = linger(monkeypatch)
    workflow = flow(a=asks(EffectType.WAIT_EVENT, {"wait_key": "k"}), done=done)
    run_id = kernel.start(workflow)
    parker = threading.Thread(target=kernel.tick, args=(workflow, run_id), name="parker")
    parker.start()
    assert arrived.wait(30)
    assert kernel.resume(workflow, run_id, 1).output == {"out": 1}
    leave.set()
    parker.join(30)
    assert kernel.kinds(run_id).count("completion") == 1


def test_whoever_unpauses_a_run_finds_it_free(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, leave = linger(monkeypatch)

    def node(run: RunState, context: RunContext) -> StepPlan:
        if threading.current_thread().name == "parker":
            kernel.runtime.pause_run(run.run_id)
        return done(run, context)

    workflow = flow(a=node)
    run_id = kernel.start(workflow)
    parker = threading.Thread(target=kernel.tick, args=(workflow, run_id), name="parker")
    parker.start()
    assert arrived.wait(30)
    kernel.runtime.resume_run(run_id)
    assert kernel.tick(workflow, run_id).status is RunStatus.COMPLETED
    leave.set()
    parker.join(30)
    assert kernel.kinds(run_id).count("completion") == 1


@pytest.mark.weakness("spec/01 §19.4")
def test_a_cancelled_run_is_never_overwritten(kernel: Kernel) -> None:
    """Cancels at arbitrary moments of a busy run: it ends cancelled and stays so, or had ended before."""
    workflow = flow(a=loop(EffectType.ANSWER_USER, lambda n: {"message": n}, times=30))
    for _ in range(15):
        run_id = kernel.start(workflow)
        tick, cancel = at_once(
            lambda n, run_id=run_id: (  # type: ignore[misc]
                kernel.tick(workflow, run_id) if n == 0 else kernel.runtime.cancel_run(run_id)
            ),
            threads=2,
        )
        state = kernel.state(run_id)
        assert tick.status is cancel.status is state.status
        statuses = [kind for kind in kernel.kinds(run_id) if kind.startswith("status")]
        assert statuses == [f"status {state.status.value}"]
        if state.status is RunStatus.CANCELLED:
            assert "completion" not in kernel.kinds(run_id)


def test_pauses_and_unpauses_lose_no_step_and_double_none(kernel: Kernel) -> None:
    seen: list[int] = []

    def handler(run: RunState, effect: Any) -> EffectOutcome:
        seen.append(effect.payload["n"])
        return EffectOutcome.completed({"n": effect.payload["n"]})

    kernel.use(effect_handlers={LLM: handler})
    workflow = flow(a=loop(LLM, lambda n: {"n": n}, times=20))
    run_id = kernel.start(workflow)
    over = threading.Event()

    def meddle() -> None:
        for _ in range(200):  # each leaves records, and a plain store reads them all at every step
            if over.is_set():
                return
            kernel.runtime.pause_run(run_id)
            kernel.runtime.resume_run(run_id)
            kernel.runtime.update_limits(run_id, {"max_tokens": 1})

    def drive(_: int) -> None:
        while not kernel.state(run_id).is_terminal:
            kernel.tick(workflow, run_id, max_steps=3)

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        at_once(drive, threads=3)
    finally:
        over.set()
        meddler.join(30)
    assert seen == list(range(1, 21))
    assert kernel.state(run_id).output == {"visits": 20}
    completed = [r for r in kernel.ledger(run_id) if r["status"] == "completed" and r["idempotency_key"]]
    assert len({record["idempotency_key"] for record in completed}) == len(completed)


def test_events_and_resumes_race_for_one_wait(kernel: Kernel) -> None:
    listener = flow("listener", a=asks(EffectType.WAIT_EVENT, {"name": "e"}), done=done)
    emitter = flow("emitter", a=asks(EffectType.EMIT_EVENT, {"name": "e"}), done=done)
    for _ in range(5):
        waiting = kernel.go(listener, session_id="s").run_id
        kernel.know(emitter)
        results = at_once(
            lambda n, waiting=waiting: (  # type: ignore[misc]
                kernel.go(emitter, session_id="s").vars["out"]["delivered"]
                if n % 2
                else kernel.resume(listener, waiting, "direct", max_steps=0) and 1
            )
        )
        assert sum(result for result in results if isinstance(result, int)) == 1
        assert kernel.kinds(waiting).count("resume") == 1
        kernel.runtime.cancel_run(waiting)


def test_many_runs_at_once_do_not_disturb_each_other(kernel: Kernel) -> None:
    workflow = flow(a=loop(EffectType.ANSWER_USER, lambda n: {"message": n}, times=10))
    kernel.know(workflow)
    states = at_once(lambda n: kernel.go(workflow))
    assert {state.status for state in states} == {RunStatus.COMPLETED}
    assert {len(kernel.ledger(state.run_id)) for state in states} == {22}


def test_subscriber_may_act_on_another_run_while_that_is_written(kernel: Kernel) -> None:
    """Two runs whose ledger subscribers cancel each other: no deadlock."""
    kernel.use(hooks=Hooks(record_transitions=True))
    append = kernel.ledger_store.append
    pairs: dict[str, str] = {}

    def cancels_the_other(record: Any) -> None:
        append(record)
        if record.effect and record.effect["type"] == "pause" and record.run_id in pairs:
            kernel.runtime.cancel_run(pairs[record.run_id])

    workflow = flow(a=asks(EffectType.WAIT_EVENT, {"wait_key": "k"}), done=done)
    kernel.ledger_store.append = cancels_the_other
    for _ in range(10):
        run_id, other = kernel.go(workflow).run_id, kernel.go(workflow).run_id
        pairs[run_id] = other
        at_once(
            lambda n, run_id=run_id, other=other: (  # type: ignore[misc]
                kernel.runtime.pause_run(run_id)
                if n
                else kernel.runtime.update_limits(other, {"max_tokens": 1})
            ),
            threads=2,
        )
        assert kernel.state(other).status is RunStatus.CANCELLED


def test_node_that_ticks_its_own_run_gets_the_state_back(kernel: Kernel) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        inner = kernel.tick(workflow, run.run_id)
        return StepPlan("a", complete_output={"status": inner.status.value})

    workflow = flow(a=node)
    assert kernel.go(workflow).output == {"status": "running"}
