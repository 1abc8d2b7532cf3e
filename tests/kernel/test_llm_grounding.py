"""Time and country in front of user turns, before the ledger sees them (`spec/01 §11.4`, `spec/04 §16.12`).

All of it works without AbstractCore: whether that is installed is played here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime.core import handler_parts
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import Effect, EffectType, RunState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import compute_idempotency_key
from abstractruntime.integrations.abstractcore import grounding
from abstractruntime.integrations.abstractcore.effect_handlers import make_llm_call_handler

from .flows import asks, done, flow
from .kernel import Kernel, counting

LLM = EffectType.LLM_CALL
GROUNDED = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]{2}\] hello")


class Client:
    def generate(self, **request: Any) -> dict[str, Any]:
        return {"content": request["prompt"]}


@pytest.fixture(autouse=True)
def _grounding_is_not_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSTRACTRUNTIME_GROUNDING", raising=False)


@pytest.fixture
def is_installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    return lambda value: monkeypatch.setattr(handler_parts, "_has_abstractcore", lambda: value)


def prompts(kernel: Kernel, handler: Any, **options: Any) -> set[str]:
    """What ledger, trace and handler saw."""
    seen: list[str] = []

    def watching(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
        seen.append(effect.payload["prompt"])
        outcome: EffectOutcome = handler(run, effect, default_next)
        return outcome

    handler_parts.carry_parts(handler, watching)
    kernel.use(effect_handlers={LLM: watching}, hooks=Hooks(**options))
    run_id = kernel.go(flow(a=asks(LLM, {"prompt": "hello"}), done=done)).run_id
    seen += [record["effect"]["payload"]["prompt"] for record in kernel.ledger(run_id)[:2]]
    (entry,) = kernel.runtime.get_node_trace(run_id, "a")["steps"]
    return {*seen, entry["effect"]["payload"]["prompt"]}


def plain(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
    return EffectOutcome.completed({})


def test_an_abstractcore_handler_is_grounded(kernel: Kernel, is_installed: Any) -> None:
    is_installed(False)
    (prompt,) = prompts(kernel, make_llm_call_handler(llm=Client()))  # type: ignore[arg-type]
    assert GROUNDED.fullmatch(prompt)


@pytest.mark.weakness("spec/04 §16.12")
def test_a_plain_handler_is_not(kernel: Kernel, is_installed: Any) -> None:
    is_installed(False)
    assert prompts(kernel, plain) == {"hello"}


def test_where_abstractcore_is_installed_all_are(kernel: Kernel, is_installed: Any) -> None:
    is_installed(True)
    (prompt,) = prompts(kernel, plain)
    assert GROUNDED.fullmatch(prompt)


@pytest.mark.weakness("spec/04 §16.12")
def test_the_host_decides(kernel: Kernel, is_installed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = make_llm_call_handler(llm=Client())  # type: ignore[arg-type]
    for installed in (True, False):
        is_installed(installed)
        assert prompts(kernel, handler, grounding="off") == {"hello"}
        assert prompts(kernel, plain, grounding="off") == {"hello"}
        (prompt,) = prompts(kernel, plain, grounding="on")
        assert GROUNDED.fullmatch(prompt)
    monkeypatch.setenv("ABSTRACTRUNTIME_GROUNDING", "off")
    assert prompts(kernel, handler) == {"hello"}


def test_a_transformer_of_the_host_comes_instead(kernel: Kernel, is_installed: Any) -> None:
    is_installed(True)
    own = {LLM: lambda run, payload: {**payload, "prompt": "mine"}}
    handler = make_llm_call_handler(llm=Client())  # type: ignore[arg-type]
    assert prompts(kernel, handler, payload_transformers=own) == {"mine"}


def test_the_header_is_looked_up_at_each_call(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = make_llm_call_handler(llm=Client())  # type: ignore[arg-type]
    for moment in ("[2030-01-01 00:00:00 FR]", "[2031-01-01 00:00:00 DE]"):
        monkeypatch.setattr(grounding, "current_header", lambda moment=moment: moment)
        assert prompts(kernel, handler) == {f"{moment} hello"}


def test_key_and_variables_do_not_know_the_time(kernel: Kernel) -> None:
    given = {"messages": [{"role": "user", "content": "hello"}]}
    kernel.use(effect_handlers={LLM: make_llm_call_handler(llm=Client())})  # type: ignore[arg-type]
    run_id = kernel.go(flow(a=asks(LLM, lambda run: run.vars["asked"]), done=done), {"asked": given}).run_id
    started = kernel.ledger(run_id)[0]
    assert GROUNDED.fullmatch(started["effect"]["payload"]["messages"][0]["content"])
    assert started["idempotency_key"] == compute_idempotency_key(
        run_id=run_id, node_id="a", effect=Effect(LLM, given, "out")
    )
    assert kernel.state(run_id).vars["asked"] == {"messages": [{"role": "user", "content": "hello"}]}


def test_other_effects_have_transformers_too(kernel: Kernel) -> None:
    """Also on a handler of two parameters; grounding is none of their business."""
    handler, calls = counting(lambda run, effect: EffectOutcome.completed({}))
    handler.payload_transformer = lambda run, payload: {**payload, "stamped": True}  # type: ignore[attr-defined]
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler}, hooks=Hooks(grounding="off"))
    kernel.go(flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": []}), done=done))
    assert [call["stamped"] for call in calls] == [True]


def test_a_payload_that_is_no_object_is_left_to_the_handler(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: make_llm_call_handler(llm=Client())})  # type: ignore[arg-type]
    state = kernel.go(flow(a=asks(LLM, ["hello"]), done=done))
    assert "llm_call requires payload.prompt or payload.messages" in str(state.error)


# -- what handlers make of completed outcomes -------------------------------------------------------------


def test_a_handler_applies_its_outcome_whenever_it_is_applied(kernel: Kernel) -> None:
    applied: list[Any] = []

    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.completed({"n": 1})

    def on_completed(run: RunState, effect: Effect, result: Any, key: str) -> None:
        applied.append((effect.payload, result, key))
        run.vars["seen"] = run.vars.get("seen", 0) + 1

    handler.on_completed = on_completed  # type: ignore[attr-defined]
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler})
    payload = {"tool_calls": [{"name": "t", "runtime_call_id": "c", "call_id": "c"}]}

    def node(run: RunState, context: Any) -> Any:
        count = run.vars["visits"] = run.vars.get("visits", 0) + 1
        return asks(EffectType.TOOL_CALLS, payload, then="a" if count < 2 else "done")(run, context)

    state = kernel.go(flow(a=node, done=done))
    assert len(applied) == 2  # one fresh, one reused
    assert applied[0] == applied[1]
    assert applied[0][1] == {"n": 1}
    assert state.vars["seen"] == 2


@pytest.mark.weakness("spec/04 §16.29")
def test_a_failure_may_have_a_kind(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.failed("late", kind="timeout")})
    state = kernel.go(flow(a=asks(LLM), done=done))
    failed = kernel.ledger(state.run_id)[1]
    assert (failed["status"], failed["error"], failed["result"]) == (
        "failed",
        "late",
        {"error_kind": "timeout"},
    )
    assert EffectOutcome.failed("late", kind="timeout") == EffectOutcome.failed("late")
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.failed("late")})
    assert kernel.ledger(kernel.go(flow(a=asks(LLM), done=done)).run_id)[1]["result"] is None
