"""How effect handlers are called and what their answers mean (`spec/01 §8.3`)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome

from .flows import asks, done, flow
from .kernel import Kernel

LLM = EffectType.LLM_CALL
WORKFLOW = flow(a=asks(LLM, {"prompt": "p"}), done=done)


def two(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.completed({"args": 2})


def three(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
    return EffectOutcome.completed({"args": 3, "next": default_next})


def three_with_default(run: Any, effect: Any, anything: Any = "unset") -> EffectOutcome:
    return three(run, effect, anything)


def any_number(*args: Any) -> EffectOutcome:
    return three(*args)


def two_and_keyword_only(run: Any, effect: Any, *, k: int = 1) -> EffectOutcome:
    return two(run, effect)


def two_and_keywords(run: Any, effect: Any, **options: Any) -> EffectOutcome:
    return two(run, effect)


class TwoObject:
    def __call__(self, run: Any, effect: Any) -> EffectOutcome:
        return two(run, effect)


class ThreeObject:
    def __call__(self, run: Any, effect: Any, where: Any) -> EffectOutcome:
        return three(run, effect, where)

    def method(self, run: Any, effect: Any) -> EffectOutcome:
        return two(run, effect)


class NoSignature:
    """`inspect.signature` refuses it; two arguments."""

    __signature__ = "none"

    def __call__(self, run: Any, effect: Any) -> EffectOutcome:
        return two(run, effect)


class NoSignatureThree(NoSignature):
    def __call__(self, run: Any, effect: Any, where: Any = None) -> EffectOutcome:
        return three(run, effect, where)


@pytest.mark.parametrize(
    "handler",
    [two, two_and_keyword_only, two_and_keywords, TwoObject(), ThreeObject().method, NoSignature()],
)
def test_called_with_two_arguments(kernel: Kernel, handler: Any) -> None:
    assert kernel.use(effect_handlers={LLM: handler}).go(WORKFLOW).output == {"out": {"args": 2}}


@pytest.mark.parametrize(
    "handler",
    [
        three,
        three_with_default,
        any_number,
        ThreeObject(),
        NoSignatureThree(),
        functools.partial(lambda x, a, b, c: three(a, b, c), 0),
    ],
)
def test_called_with_three_arguments(kernel: Kernel, handler: Any) -> None:
    state = kernel.use(effect_handlers={LLM: handler}).go(WORKFLOW)
    assert state.output == {"out": {"args": 3, "next": "done"}}


@pytest.mark.parametrize("kind", [Mock, MagicMock])
def test_a_mock_as_handler(kernel: Kernel, kind: Any) -> None:
    """It brings nothing beside itself, whatever it says it has."""
    handler = kind(return_value=EffectOutcome.completed({"v": 1}))
    assert kernel.use(effect_handlers={LLM: handler}).go(WORKFLOW).output == {"out": {"v": 1}}
    (call,) = handler.call_args_list
    assert (call.args[1].payload, call.args[2]) == ({"prompt": "p"}, "done")


def test_what_a_method_or_a_partial_brings(kernel: Kernel) -> None:
    class Host:
        def handle(self, run: Any, effect: Any) -> EffectOutcome:
            return EffectOutcome.completed(dict(effect.payload))

    Host.handle.payload_transformer = lambda run, payload: {"stamped": 1}  # type: ignore[attr-defined]
    partial = functools.partial(two)
    partial.payload_transformer = lambda run, payload: {"stamped": 2}  # type: ignore[attr-defined]
    assert kernel.use(effect_handlers={LLM: Host().handle}).go(WORKFLOW).output == {"out": {"stamped": 1}}
    run_id = kernel.use(effect_handlers={LLM: partial}).go(WORKFLOW).run_id
    assert kernel.ledger(run_id)[0]["effect"]["payload"] == {"stamped": 2}


class NoSignatureRaising:
    __signature__ = "none"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, run: Any, effect: Any, where: Any = None) -> EffectOutcome:
        self.calls += 1
        raise TypeError("takes 2 positional arguments but 3 were given")  # not ours: from inside


def test_exception_inside_never_leads_to_a_second_call(kernel: Kernel) -> None:
    handler = NoSignatureRaising()
    state = kernel.use(effect_handlers={LLM: handler}).go(WORKFLOW)
    assert handler.calls == 1
    assert state.status is RunStatus.FAILED


def test_exception_is_a_failed_attempt(kernel: Kernel) -> None:
    def handler(run: Any, effect: Any) -> EffectOutcome:
        raise RuntimeError("boom")

    state = kernel.use(effect_handlers={LLM: handler}).go(WORKFLOW)
    assert state.error == "Effect failed after 1 attempts: Effect handler raised exception: boom"
    assert kernel.kinds(state.run_id) == ["started llm_call", "failed llm_call", "status failed"]
    assert kernel.ledger(state.run_id)[1]["error"] == "Effect handler raised exception: boom"


@pytest.mark.parametrize("kind", ["llm_call", "tool_calls", "memory_kg_query"])
def test_missing_handler(kernel: Kernel, kind: str) -> None:
    state = kernel.go(flow(a=asks(EffectType(kind))))
    assert state.error == f"Effect failed after 1 attempts: No effect handler registered for {kind}"


def test_host_replaces_a_builtin(kernel: Kernel) -> None:
    kernel.use(effect_handlers={EffectType.ASK_USER: two})
    assert kernel.go(flow(a=asks(EffectType.ASK_USER), done=done)).output == {"out": {"args": 2}}


@dataclass
class Duck:
    """Looks like an outcome."""

    status: str
    result: Any = None
    error: str | None = None


def test_any_object_with_the_fields_of_an_outcome_will_do(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: Duck("completed", {"a": 1})})
    assert kernel.go(WORKFLOW).output == {"out": {"a": 1}}


@pytest.mark.weakness("spec/01 §19.6")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Duck("strange"), "unknown error"),
        (Duck("strange", error="odd"), "odd"),
        (EffectOutcome("failed"), "unknown error"),
        (EffectOutcome.failed("no"), "no"),
        (None, "Effect handler returned NoneType instead of an EffectOutcome"),
        ({"status": "completed"}, "Effect handler returned dict instead of an EffectOutcome"),
        (EffectOutcome("waiting"), "Effect handler returned a waiting outcome without a WaitState"),
        (Duck("waiting"), "Effect handler returned a waiting outcome without a WaitState"),
    ],
)
def test_bad_answers_are_failed_outcomes(kernel: Kernel, answer: Any, error: str) -> None:
    state = kernel.use(effect_handlers={LLM: lambda run, effect: answer}).go(WORKFLOW)
    assert state.status is RunStatus.FAILED
    assert (state.error or "").startswith(f"Effect failed after 1 attempts: {error}")
    assert kernel.kinds(state.run_id) == ["started llm_call", "failed llm_call", "status failed"]


def test_handler_may_change_vars(kernel: Kernel) -> None:
    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        run.vars["note"] = "from the handler"
        return EffectOutcome.completed({})

    state = kernel.use(effect_handlers={LLM: handler}).go(WORKFLOW)
    assert kernel.state(state.run_id).vars["note"] == "from the handler"


def test_result_without_key_or_none_is_not_stored(kernel: Kernel) -> None:
    kernel.use(
        effect_handlers={LLM: two, EffectType.TOOL_CALLS: lambda run, effect: EffectOutcome.completed()}
    )
    without_key = kernel.go(flow(a=asks(LLM, key=None), done=done))
    assert "out" not in without_key.vars
    assert "out" not in kernel.go(flow(a=asks(EffectType.TOOL_CALLS), done=done)).vars


def test_result_key_is_a_dotted_path(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: two})
    state = kernel.go(flow(a=asks(LLM, key="a.b.c"), done=done), {"a": 5})
    assert state.vars["a"] == {"b": {"c": {"args": 2}}}


def test_handler_knows_its_attempt(kernel: Kernel) -> None:
    seen = []

    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        context = current_effect()
        seen.append((context.run_id, context.attempt, context.idempotency_key, context.cancelled()))
        kernel.runtime.cancel_run(run.run_id)
        assert context.cancelled()
        return EffectOutcome.completed({})

    state = kernel.use(effect_handlers={LLM: handler}).go(WORKFLOW)
    key = kernel.ledger(state.run_id)[0]["idempotency_key"]
    assert seen == [(state.run_id, 1, key, False)]


@pytest.mark.weakness("spec/01 §19.6")
def test_payload_without_json_form_fails_the_run_durably(kernel: Kernel) -> None:
    calls: list[Any] = []
    kernel.use(effect_handlers={LLM: lambda run, effect: calls.append(effect)})
    state = kernel.go(flow(a=asks(LLM, {"bad": {1, 2}})))
    assert calls == []
    assert (state.error or "").startswith("Effect failed after 1 attempts: Effect payload is not JSON-serial")
    assert kernel.kinds(state.run_id) == ["started llm_call", "failed llm_call", "status failed"]
    assert kernel.state(state.run_id).status is RunStatus.FAILED


def test_payload_that_is_no_object_counts_as_empty(kernel: Kernel) -> None:
    def plan(run: RunState) -> Any:
        return "text"

    state = kernel.go(flow(a=asks(EffectType.ASK_USER, plan)))
    assert state.error == "Effect failed after 1 attempts: ask_user requires payload.prompt"


@pytest.mark.weakness("spec/01 §19.6")
@pytest.mark.parametrize("stores", ["memory", "sqlite"], indirect=True)
@pytest.mark.parametrize("result", [{"x": object()}, {"x": {1, 2}}])
def test_result_that_cant_be_stored_fails_the_run_durably(kernel: Kernel, result: Any) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed(result)})
    state = kernel.go(WORKFLOW)
    assert (state.error or "").startswith("Effect failed after 1 attempts: Effect result is not JSON-serial")
    assert kernel.kinds(state.run_id) == ["started llm_call", "failed llm_call", "status failed"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_without_a_value_survive(kernel: Kernel, number: float) -> None:
    """As the reference keeps them (`spec/02 §8.1`): what a tool measured must not fail the run."""
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({"x": [number]})})
    state = kernel.go(flow(a=asks(LLM, {"temperature": number}), done=done))
    assert repr(state.output) == repr({"out": {"x": [number]}})
    started, completed, *_ = kernel.ledger(state.run_id)
    assert repr(started["effect"]["payload"]) == repr({"temperature": number})
    assert repr(completed["result"]) == repr({"x": [number]})
    assert repr(kernel.state(state.run_id).vars["out"]) == repr({"x": [number]})
