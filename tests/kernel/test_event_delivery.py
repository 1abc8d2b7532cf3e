"""An emitter that dies between two listeners, and how listeners are found (`spec/01 §19`, rows 14 and 15)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.deliveries import has_received, mark_received
from abstractruntime.core.models import EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.waiters import event_keys_of, find_waiters, keys_waited_for

from .flows import asks, done, flow
from .kernel import Kernel
from .plain_stores import PlainRunStore

EMIT, WAIT = EffectType.EMIT_EVENT, EffectType.WAIT_EVENT


class Killed(BaseException):
    """The process ends here."""


def collects(run: RunState, context: Any) -> StepPlan:
    """Keeps what arrived, for the next wait of the same kind."""
    run.vars.setdefault("got", []).append(run.vars.pop("out")["payload"]["n"])
    return StepPlan(run.current_node, next_node="a")


LISTENER = flow("listener", a=asks(WAIT, {"name": "e"}, then="b"), b=collects)
EMITTER = flow(
    "emitter",
    a=asks(EMIT, {"name": "e", "payload": {"n": 1}, "max_steps": 2}, then="b"),
    b=asks(EMIT, {"name": "e", "payload": {"n": 2}, "max_steps": 2}),
    done=done,
)


def die_after_deliveries(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The emitter's process ends when so many listeners have been served."""
    runtime = kernel.runtime
    deliver = type(runtime).deliver_event
    left = [count]

    def dying(self: Any, **arguments: Any) -> RunState:
        if not left[0]:
            monkeypatch.undo()
            raise Killed
        left[0] -= 1
        return deliver(self, **arguments)

    monkeypatch.setattr(type(runtime), "deliver_event", dying)


@pytest.mark.weakness("spec/01 §19.15")
@pytest.mark.parametrize("served", [0, 1, 2, 3])
def test_a_repeated_emission_reaches_each_listener_once(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, served: int
) -> None:
    listeners = [kernel.go(LISTENER, session_id="s").run_id for _ in range(3)]
    run_id = kernel.start(EMITTER, session_id="s")
    if served < 3:
        die_after_deliveries(kernel, monkeypatch, served)
    else:  # all were served, the emitter's record was not written
        append = kernel.ledger_store.append

        def dying(record: Any) -> None:
            if record.run_id == run_id and record.status.value == "completed":
                kernel.ledger_store.append = append
                raise Killed
            append(record)

        kernel.ledger_store.append = dying
    with pytest.raises(Killed):
        kernel.tick(EMITTER, run_id)
    assert sum(len(kernel.state(listener).vars.get("got", [])) for listener in listeners) == served
    kernel.use()  # the next process
    state = kernel.tick(EMITTER, run_id, max_steps=1)
    assert sorted(state.vars["out"]["delivered_to"]) == sorted(listeners)
    repeated = [entry["run_id"] for entry in state.vars["out"]["resumed"] if entry.get("already_delivered")]
    assert len(repeated) == served
    assert [kernel.state(listener).vars["got"] for listener in listeners] == [[1], [1], [1]]
    kernel.tick(EMITTER, run_id)  # another event of the same emitter is another event
    assert [kernel.state(listener).vars["got"] for listener in listeners] == [[1, 2], [1, 2], [1, 2]]


@pytest.mark.weakness("spec/01 §19.15")
def test_a_pause_of_the_emitter_repeats_nothing(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = kernel.go(LISTENER, session_id="s").run_id
    run_id = kernel.start(EMITTER, session_id="s")
    die_after_deliveries(kernel, monkeypatch, 1)
    kernel.go(LISTENER, session_id="s")
    with pytest.raises(Killed):
        kernel.tick(EMITTER, run_id)
    kernel.use()
    kernel.runtime.pause_run(run_id)
    kernel.runtime.resume_run(run_id)
    kernel.tick(EMITTER, run_id)
    assert kernel.state(listener).vars["got"] == [1, 2]


def test_marks_are_bounded() -> None:
    listener = RunState("l", "w", RunStatus.RUNNING, "a", vars={"_runtime": "no object"})
    for n in range(250):
        mark_received(listener, f"emitter-{n}", f"d{n}")
    mark_received(listener, "emitter-200", "again")
    marks = listener.vars["_runtime"]["event_deliveries"]
    assert len(marks) == 100
    assert has_received(listener, "emitter-200", "again")
    assert has_received(listener, "emitter-249", "d249")
    assert not has_received(listener, "emitter-200", "d200")


# -- finding listeners -------------------------------------------------------------------------------------


@pytest.mark.weakness("spec/01 §19.14")
def test_no_listener_is_missed_among_many_waiting_runs(kernel: Kernel) -> None:
    other = flow("other", a=asks(WAIT, {"name": "other"}), done=done)
    first = kernel.go(LISTENER, session_id="s").run_id
    for _ in range(120):  # more than any default limit of a listing
        kernel.go(other, session_id="s")
    result = kernel.go(EMITTER, session_id="s").vars["out"]
    assert result["delivered_to"] == [first]


@pytest.mark.weakness("spec/01 §19.14")
def test_a_store_with_an_index_is_asked_for_the_key(kernel: Kernel) -> None:
    """Waiting runs that wait for something else are not even loaded."""
    if not hasattr(kernel.run_store, "list_waiting_on"):
        pytest.skip("the store has no index by wait key; all waiting runs are looked at")
    kernel.go(LISTENER, session_id="s")

    def refuse(**filters: Any) -> list[RunState]:
        raise AssertionError(f"a listing was read: {filters}")

    kernel.run_store.list_runs = refuse
    state = kernel.go(EMITTER, session_id="s")
    assert state.vars["out"]["delivered"] == 1
    unheard = kernel.go(flow("unheard", a=asks(EMIT, {"name": "nobody"}), done=done), session_id="s")
    assert unheard.vars["out"]["available_listeners_in_session"] == ["e"]


def test_every_store_finds_the_same_waiters(kernel: Kernel) -> None:
    several = flow("several", a=asks(WAIT, {"names": ["x", "e"]}, then="b"), b=collects)
    one = kernel.go(LISTENER, session_id="s").run_id
    two = kernel.go(several, session_id="s").run_id
    kernel.go(LISTENER, session_id="other")
    asking = flow("asking", a=asks(EffectType.ASK_USER, {"prompt": "?", "wait_key": "evt:session:s:e"}))
    kernel.go(asking, session_id="s")
    store = kernel.run_store
    assert [run.run_id for run in find_waiters(store, ["evt:session:s:e", "evt:session:s:*"])] == [two, one]
    assert [run.run_id for run in find_waiters(store, ["evt:session:s:x"])] == [two]
    assert find_waiters(store, ["evt:session:s:y"]) == []
    assert sorted(keys_waited_for(store, "evt:session:s:")) == ["evt:session:s:e", "evt:session:s:x"]
    kernel.resume(several, two, {"payload": {"n": 0}}, max_steps=0)
    assert [run.run_id for run in find_waiters(store, ["evt:session:s:e", "evt:session:s:x"])] == [one]
    kernel.runtime.cancel_run(one)
    assert find_waiters(store, ["evt:session:s:e"]) == []
    assert keys_waited_for(store, "evt:session:s:") == []


def test_odd_keys_are_found_literally(kernel: Kernel) -> None:
    names = ["50%", "a_b", "a*b", "ü", "'quoted'"]
    runs = {
        name: kernel.go(flow("odd", a=asks(WAIT, {"name": name}), done=done), session_id="s_%").run_id
        for name in names
    }
    for name, run_id in runs.items():
        assert [run.run_id for run in find_waiters(kernel.run_store, [f"evt:session:s_%:{name}"])] == [run_id]
    assert sorted(keys_waited_for(kernel.run_store, "evt:session:s_%:")) == sorted(
        f"evt:session:s_%:{name}" for name in names
    )
    assert keys_waited_for(kernel.run_store, "evt:session:sx%:") == []


def test_a_run_that_runs_waits_for_nothing() -> None:
    assert event_keys_of(RunState("r", "w", RunStatus.RUNNING, "a")) == []
    assert keys_waited_for(PlainRunStore(), "evt:") == []
