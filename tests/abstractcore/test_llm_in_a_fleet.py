"""LLM calls carried out by workers: grounding, turns and pending media are the in-process ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from abstractruntime.app import App
from abstractruntime.core import faults
from abstractruntime.core.errors import AppError
from abstractruntime.core.models import EffectType, RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.integrations.abstractcore.effect_handlers import make_llm_call_handler
from tests.fleet.bench import Bench
from tests.kernel.flows import asks, done, flow

from .llm_calls import RecordingClient

LLM = EffectType.LLM_CALL
HEADER = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]{2}\] ")
CHAT = flow(ask=asks(LLM, {"prompt": "hello", "use_context": True}), done=done)


def fleet(client: RecordingClient, **options: Any) -> Bench:
    handlers: Any = {LLM: make_llm_call_handler(llm=client)}
    return Bench(App(workflows=[CHAT], **{"effect_handlers": handlers, **options}))


def ended(bench: Bench, vars: dict[str, Any] | None = None) -> RunState:
    run_id = bench.start("wf", vars)
    bench.drain()
    return bench.run(run_id)


def turns(run: RunState) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in run.vars["context"]["messages"]]


def payloads(bench: Bench, run: RunState) -> list[str]:
    records = [entry.record for entry in bench.store.ledger(run.run_id)]
    found = [record["effect"]["payload"] for record in records if record["effect"]]
    return [payload["prompt"] for payload in found if "prompt" in payload]


def test_ledger_client_and_turn_see_the_grounded_prompt() -> None:
    client = RecordingClient()
    bench = fleet(client)
    run = ended(bench)
    assert run.status is RunStatus.COMPLETED
    prompt = client.call["prompt"]
    assert HEADER.sub("", prompt, count=1) == "hello" != prompt
    assert payloads(bench, run) == [prompt, prompt]
    assert turns(run) == [("user", prompt), ("assistant", "ok")]


def test_grounding_can_be_switched_off() -> None:
    client = RecordingClient()
    assert turns(ended(fleet(client, grounding="off"))) == [("user", "hello"), ("assistant", "ok")]
    with pytest.raises(AppError, match="grounding is 'maybe'"):
        App(grounding="maybe")  # type: ignore[arg-type]


def test_a_plain_handler_may_be_grounded() -> None:
    seen: list[str] = []

    def plain(run: RunState, effect: Any) -> EffectOutcome:
        seen.append(effect.payload["prompt"])
        return EffectOutcome.completed({})

    ended(fleet(RecordingClient(), grounding="on", effect_handlers={LLM: plain}))
    assert HEADER.match(seen[0])


@pytest.mark.weakness("spec/04 §16.3")
@pytest.mark.weakness("spec/04 §16.4")
@pytest.mark.parametrize("point", ["effect.claimed", "effect.done"])
def test_a_lost_worker_leaves_no_half_turn(point: str) -> None:
    client = RecordingClient()
    bench = fleet(client)
    run_id = bench.start("wf", {"_runtime": {"pending_media": ["a.png"]}})
    faults.configure(f"{point}=raise:1")
    try:
        with pytest.raises(faults.FaultInjected):
            bench.drain()
    finally:
        faults.configure("")
    lost = bench.run(run_id)
    assert (lost.vars["_runtime"]["pending_media"], lost.vars.get("context")) == (["a.png"], None)
    bench.pass_time(1000)
    run = bench.run(run_id)
    assert len(turns(run)) == 2
    assert run.vars["_runtime"]["pending_media"] == []
    assert client.calls[-1]["media"] == ["a.png"]


@pytest.mark.weakness("spec/04 §16.3")
def test_a_retry_shows_pending_media_again() -> None:
    client = RecordingClient(RuntimeError("down"))
    bench = fleet(client, policy=RetryPolicy(backoff_base=1.0))
    run_id = bench.start("wf", {"_runtime": {"pending_media": ["a.png"]}})
    bench.drain()
    assert bench.run(run_id).vars["_runtime"]["pending_media"] == ["a.png"]
    bench.pass_time(100)
    run = bench.run(run_id)
    assert [call["media"] for call in client.calls] == [["a.png"], ["a.png"]]
    assert [call["prompt"] for call in client.calls] == [client.calls[0]["prompt"]] * 2
    assert (run.vars["_runtime"]["pending_media"], len(turns(run))) == ([], 2)


def test_a_transformer_that_raises_fails_the_effect() -> None:
    handler = make_llm_call_handler(llm=RecordingClient())  # type: ignore[arg-type]

    def broken(run: RunState, payload: dict[str, Any]) -> dict[str, Any]:
        raise LookupError("no clock")

    handler.payload_transformer = broken
    run = ended(fleet(RecordingClient(), effect_handlers={LLM: handler}))
    assert run.error == "Effect failed after 1 attempts: Payload transformer raised exception: no clock"


@pytest.mark.weakness("spec/04 §16.29")
def test_a_failure_s_kind_is_in_the_ledger() -> None:
    bench = fleet(RecordingClient(TimeoutError("late")))
    run = ended(bench)
    failed = [entry.record for entry in bench.store.ledger(run.run_id)][1]
    assert (failed["error"], failed["result"]) == ("late", {"error_kind": "timeout"})


def test_a_reused_result_is_applied_with_the_same_key() -> None:
    applied: list[tuple[Any, str]] = []

    def handler(run: RunState, effect: Any) -> EffectOutcome:
        return EffectOutcome.completed({"n": 1})

    handler.on_completed = lambda run, effect, result, key: applied.append((result, key))  # type: ignore[attr-defined]

    def node(run: RunState, context: Any) -> Any:
        count = run.vars["visits"] = run.vars.get("visits", 0) + 1
        return asks(LLM, {"prompt": "p"}, then="ask" if count < 2 else "done")(run, context)

    bench = Bench(App(workflows=[flow(ask=node, done=done)], effect_handlers={LLM: handler}))
    assert ended(bench).status is RunStatus.COMPLETED
    assert len(applied) == 2
    assert applied[0] == applied[1]
    assert applied[0][0] == {"n": 1}
