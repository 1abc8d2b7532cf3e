"""Random commands in random order against a simple model of a run (`spec/01 §9`, §12.5, §14).

The workflow asks, waits for a timer, listens for an event, makes a pure step and begins again for a while;
the model knows where each run stands and what must be in its ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan, WaitReason
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore

from .flows import asks, flow
from .kernel import Kernel
from .plain_stores import PlainLedgerStore, PlainRunStore

ROUNDS = 2
NEXT = {"say": "ask", "ask": "sleep", "sleep": "listen", "listen": "count", "count": "say"}
WAITS = {"ask": WaitReason.USER, "sleep": WaitReason.UNTIL, "listen": WaitReason.EVENT}
HOUR = 3600.0


def effect_node(kind: EffectType, make: Any) -> Any:
    def node(run: RunState, context: RunContext) -> StepPlan:
        here = run.current_node
        return StepPlan(here, Effect(kind, make(run), f"got.{here}"), NEXT[here])

    return node


@dataclass
class Expected:
    """What the model knows of one run.

    Attributes:
        node: where it stands.
        due: when its timer is due, in seconds of the model's clock.
        records: kinds that must be in its ledger, in order.
        got: what has arrived at its result keys.
    """

    node: str = "say"
    status: RunStatus = RunStatus.RUNNING
    is_paused: bool = False
    round: int = 0
    due: float | None = None
    records: list[str] = field(default_factory=list)
    got: dict[str, Any] = field(default_factory=dict)

    @property
    def is_terminal(self) -> bool:
        return self.status in (RunStatus.COMPLETED, RunStatus.CANCELLED)

    @property
    def is_waiting(self) -> bool:
        return self.status is RunStatus.WAITING

    def go_on(self) -> None:
        self.status, self.due = RunStatus.RUNNING, None
        self.records.append("resume")
        self.node = NEXT[self.node]

    def tick(self, budget: int, now: float) -> None:
        if self.is_paused or self.is_terminal:
            return
        if self.is_waiting:
            if self.due is None or now < self.due:
                return
            self.got["sleep"] = "ready"
            self.go_on()
        for _ in range(budget):
            if self.status is not RunStatus.RUNNING:
                return
            self._step(now)

    def _step(self, now: float) -> None:
        if self.node == "say":
            self.records += ["started answer_user", "completed answer_user"]
            self.got["say"] = f"round {self.round}"
            self.node = "ask"
        elif self.node == "count":
            self.round += 1
            if self.round == ROUNDS:
                self.status = RunStatus.COMPLETED
                self.records += ["completion", "status completed"]
            else:
                self.node = "say"
        else:
            kind = {"ask": "ask_user", "sleep": "wait_until", "listen": "wait_event"}[self.node]
            self.records += [f"started {kind}", f"waiting {kind}"]
            self.status = RunStatus.WAITING
            self.due = now + HOUR if self.node == "sleep" else None


class Runs(RuleBasedStateMachine):
    """Commands as hosts give them; each is followed by a comparison of every run with its model."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.kernel = self.make_kernel()
        self.now = 0.0
        self.expected: dict[str, Expected] = {}
        self.workflow = self.make_workflow()

    def make_kernel(self) -> Kernel:
        return Kernel(InMemoryRunStore(), InMemoryLedgerStore())

    def make_workflow(self) -> WorkflowSpec:
        def count(run: RunState, context: RunContext) -> StepPlan:
            rounds = run.vars["rounds"] = run.vars.get("rounds", 0) + 1
            if rounds == ROUNDS:
                return StepPlan("count", complete_output={"rounds": rounds})
            return StepPlan("count", next_node="say")

        return flow(
            say=effect_node(
                EffectType.ANSWER_USER, lambda r: {"message": f"round {r.vars.get('rounds', 0)}"}
            ),
            ask=effect_node(EffectType.ASK_USER, lambda r: {"prompt": "?"}),
            sleep=effect_node(EffectType.WAIT_UNTIL, lambda r: {"until": self.kernel.clock.iso(hours=1)}),
            listen=effect_node(EffectType.WAIT_EVENT, lambda r: {"name": "bell"}),
            count=count,
        )

    @precondition(lambda self: len(self.expected) < 3)
    @rule(target=runs, node=st.sampled_from(sorted(NEXT)))
    def start(self, node: str) -> str:
        entered = WorkflowSpec(self.workflow.workflow_id, node, self.workflow.nodes)
        run_id = self.kernel.start(entered, session_id="s")
        self.kernel.know(self.workflow)
        self.expected[run_id] = Expected(node)
        return run_id

    @rule(run_id=runs, budget=st.integers(1, 3))
    def live_on(self, run_id: str, budget: int) -> None:
        """Whatever lets this run go on: most random sequences would stop early without it."""
        model = self.expected[run_id]
        if model.is_paused:
            self.unpause(run_id=run_id)
        elif model.is_waiting and model.node == "sleep":
            self.time_passes(minutes=90)
            self.tick(run_id=run_id, budget=budget)
        elif model.is_waiting and model.node == "listen":
            self.emit(budget=budget)
        elif model.is_waiting:
            self.resume(run_id=run_id, budget=budget, payload=0)
        else:
            self.tick(run_id=run_id, budget=budget)

    @rule(run_id=runs)
    def live_on_a_while(self, run_id: str) -> None:
        for _ in range(3):
            self.live_on(run_id=run_id, budget=3)

    @rule(run_id=runs, budget=st.integers(0, 4))
    def tick(self, run_id: str, budget: int) -> None:
        self.expected[run_id].tick(budget, self.now)
        self.kernel.tick(self.workflow, run_id, max_steps=budget)

    @rule(minutes=st.sampled_from([1, 30, 90]))
    def time_passes(self, minutes: int) -> None:
        self.now += minutes * 60
        self.kernel.clock.skip(minutes=minutes)

    @rule(run_id=runs, budget=st.integers(0, 3), payload=st.integers())
    def resume(self, run_id: str, budget: int, payload: int) -> None:
        model = self.expected[run_id]
        if model.is_paused or not model.is_waiting:
            with pytest.raises(
                ValueError, match="^Run is paused$" if model.is_paused else "^Run is not waiting$"
            ):
                self.kernel.resume(self.workflow, run_id, payload, max_steps=budget)
            return
        self.kernel.resume(self.workflow, run_id, payload, max_steps=budget)
        model.got[model.node] = payload
        model.go_on()
        model.tick(budget, self.now)

    @rule(run_id=runs)
    def resume_with_a_wrong_key(self, run_id: str) -> None:
        model = self.expected[run_id]
        if model.is_waiting and not model.is_paused and model.node != "sleep":
            with pytest.raises(ValueError, match=r"^wait_key mismatch: expected '"):
                self.kernel.resume(self.workflow, run_id, 1, wait_key="wrong")

    @rule(run_id=runs)
    def pause(self, run_id: str) -> None:
        model = self.expected[run_id]
        if not (model.is_terminal or model.is_paused or (model.is_waiting and model.node == "ask")):
            model.is_paused = True
        self.kernel.runtime.pause_run(run_id)

    @rule(run_id=runs)
    def unpause(self, run_id: str) -> None:
        model = self.expected[run_id]
        if model.is_paused:
            model.is_paused = False
        self.kernel.runtime.resume_run(run_id)

    @rule(run_id=runs)
    def cancel(self, run_id: str) -> None:
        model = self.expected[run_id]
        if not model.is_terminal:
            model.status, model.is_paused = RunStatus.CANCELLED, False
            model.records.append("status cancelled")
        self.kernel.runtime.cancel_run(run_id)

    @rule(run_id=runs, tokens=st.integers(1, 9))
    def update_limits(self, run_id: str, tokens: int) -> None:
        self.kernel.runtime.update_limits(run_id, {"max_tokens": tokens})

    @rule(budget=st.integers(0, 2))
    def emit(self, budget: int) -> None:
        ring = flow("ring", a=asks(EffectType.EMIT_EVENT, {"name": "bell", "max_steps": budget}, then=None))
        result = self.kernel.go(ring, session_id="s").output
        assert result is not None
        heard = {
            run_id
            for run_id, model in self.expected.items()
            if model.is_waiting and not model.is_paused and model.node == "listen"
        }
        assert set(result["result"]["delivered_to"]) == heard
        for run_id in heard:
            model = self.expected[run_id]
            model.got["listen"] = "bell"
            model.go_on()
            model.tick(budget, self.now)

    @rule()
    def restart(self) -> None:
        """A new process over the same stores."""
        self.kernel.use()

    @invariant()
    def stored_runs_are_as_the_model_says(self) -> None:
        for run_id, model in self.expected.items():
            state = self.kernel.state(run_id)
            flags = state.vars["_runtime"].get("control", {})
            assert flags.get("paused", False) is model.is_paused
            assert state.current_node == model.node
            assert self.kernel.kinds(run_id) == model.records
            assert {key: shown(value) for key, value in state.vars.get("got", {}).items()} == model.got
            self.check_status(state, model)

    def check_status(self, state: RunState, model: Expected) -> None:
        if model.is_paused and model.status is RunStatus.RUNNING:
            assert state.status is RunStatus.WAITING
            assert state.waiting is not None
            assert state.waiting.wait_key == f"pause:{state.run_id}"
            return
        assert state.status is model.status
        assert (state.waiting is None) is not model.is_waiting
        if state.waiting is not None:
            assert state.waiting.reason is WAITS[model.node]
        if model.is_terminal:
            assert state.output == ({"rounds": ROUNDS} if model.status is RunStatus.COMPLETED else None)


def shown(value: Any) -> Any:
    """A result in short."""
    if not isinstance(value, dict):
        return value
    return value.get("message") or value.get("name") or ("ready" if value.get("ready") else value)


class RunsOnPlainStores(Runs):
    """The same without versions, index or transactions."""

    def make_kernel(self) -> Kernel:
        return Kernel(PlainRunStore(), PlainLedgerStore())


_effort = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRuns = Runs.TestCase
TestRuns.settings = _effort
TestRunsOnPlainStores = RunsOnPlainStores.TestCase
TestRunsOnPlainStores.settings = _effort
