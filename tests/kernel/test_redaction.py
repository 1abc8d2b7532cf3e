"""What is stored instead of secrets (`spec/01 §19`, row 18)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.redaction import REDACTED, redact_secrets

from .flows import asks, done, flow
from .kernel import Kernel, counting

SECRET = "sk-12345"
REDACT = redact_secrets(keys=["api_key"], patterns=[r"sk-\d+"])


def everything_stored(kernel: Kernel, run_id: str) -> str:
    run = kernel.run_store.load(run_id)
    records = kernel.ledger_store.list(run_id)
    traces = kernel.runtime.get_node_traces(run_id)
    return json.dumps([run.to_dict(), records, traces], default=str)


@pytest.mark.weakness("spec/01 §19.18")
def test_nothing_is_stored_in_clear(kernel: Kernel) -> None:
    handler, calls = counting(lambda run, effect: EffectOutcome.completed({"text": f"it is {SECRET}"}))
    kernel.use(effect_handlers={EffectType.LLM_CALL: handler}, hooks=Hooks(redactor=REDACT))
    workflow = flow(
        a=asks(EffectType.LLM_CALL, {"prompt": SECRET, "api_key": ["x"]}, then="b"),
        b=asks(EffectType.ASK_USER, {"prompt": f"why {SECRET}", "choices": [SECRET, "no"]}),
        done=done,
    )
    run_id = kernel.go(workflow, {"password": SECRET}).run_id
    assert calls == [{"prompt": SECRET, "api_key": ["x"]}]  # the handler works with the real thing
    waiting = kernel.state(run_id).waiting
    assert waiting is not None
    assert (waiting.prompt, waiting.choices) == (f"why {REDACTED}", [REDACTED, "no"])
    assert kernel.resume(workflow, run_id, {"answer": SECRET}).status is RunStatus.COMPLETED
    stored = everything_stored(kernel, run_id)
    assert SECRET not in stored
    assert f"it is {REDACTED}" in stored
    assert kernel.ledger(run_id)[0]["effect"]["payload"] == {"prompt": REDACTED, "api_key": REDACTED}
    resumed = next(r for r in kernel.ledger(run_id) if (r["effect"] or {}).get("type") == "resume")
    assert resumed["effect"]["payload"]["payload"] == {"answer": REDACTED}
    assert resumed["effect"]["payload"]["wait_reason"] == "user"


@pytest.mark.weakness("spec/01 §19.18")
def test_errors_are_redacted(kernel: Kernel) -> None:
    kernel.use(
        effect_handlers={EffectType.LLM_CALL: lambda run, effect: EffectOutcome.failed(f"bad key {SECRET}")},
        effect_policy=RetryPolicy(llm_max_attempts=2, backoff_base=0),
        hooks=Hooks(redactor=REDACT),
    )
    run_id = kernel.go(flow(a=asks(EffectType.LLM_CALL, {}))).run_id
    assert kernel.state(run_id).error == f"Effect failed after 2 attempts: bad key {REDACTED}"
    assert SECRET not in everything_stored(kernel, run_id)


def test_a_run_goes_on_with_what_was_stored(kernel: Kernel) -> None:
    """After a reload; within one tick steps see the clear value."""
    seen: list[Any] = []

    def looks(run: Any, context: Any) -> StepPlan:
        seen.append(run.vars["token"])
        return StepPlan(run.current_node, next_node="done" if len(seen) > 1 else "a")

    kernel.use(hooks=Hooks(redactor=REDACT))
    workflow = flow(a=looks, done=done)
    run_id = kernel.start(workflow, {"token": SECRET})
    assert kernel.tick(workflow, run_id).status is RunStatus.COMPLETED
    assert seen == [REDACTED, REDACTED]  # `start` had stored it already


def test_a_redactor_that_raises_stops_the_write(kernel: Kernel) -> None:
    def redactor(value: Any, place: str) -> Any:
        raise LookupError("no rules")

    kernel.use(hooks=Hooks(redactor=redactor))
    with pytest.raises(LookupError, match="no rules"):
        kernel.start(flow(done=done))


def test_the_redactor_has_its_own_copies(kernel: Kernel) -> None:
    def redactor(value: Any, place: str) -> Any:
        if place == "vars":
            value["deep"]["n"] = "changed"
        return value

    given = {"deep": {"n": 1}}
    kernel.use(hooks=Hooks(redactor=redactor))
    run_id = kernel.start(flow(done=done), given)
    assert given == {"deep": {"n": 1}}
    assert kernel.state(run_id).vars["deep"] == {"n": "changed"}


def test_the_stores_given_are_the_stores_shown(kernel: Kernel) -> None:
    runtime = kernel.make(hooks=Hooks(redactor=REDACT))
    assert runtime.run_store is kernel.run_store
    assert runtime.ledger_store is kernel.ledger_store


def test_secrets_at_any_depth() -> None:
    redact = redact_secrets(keys=["Token"], patterns=["[0-9]{4}"])
    given = {"a": [{"TOKEN": {"x": 1}}, ("pin 1234", 5678)], 1: None}
    assert redact(given, "vars") == {"a": [{"TOKEN": REDACTED}, [f"pin {REDACTED}", 5678]], 1: None}
