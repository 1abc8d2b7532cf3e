"""How much a call may send and receive (`spec/04 §6.5`), and answers that were cut (§6.10)."""

from __future__ import annotations

from typing import Any

import pytest

from .llm_calls import RecordingClient, a_run, answered, ask, sent


def says(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


OLD, NEW = "o" * 400, "n" * 400
HISTORY = [
    says("user", OLD),
    says("system", "rules"),
    says("assistant", "short"),
    says("user", "medium " * 4),
    says("user", NEW),
]


def seen(payload: dict[str, Any], vars: dict[str, Any] | None = None) -> list[Any]:
    client = RecordingClient()
    answered(client, {"messages": HISTORY, **payload}, a_run(vars))
    return list(client.call["messages"])


@pytest.fixture
def _by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates that do not depend on AbstractCore: a quarter of the characters."""
    import abstractruntime.integrations.abstractcore._llm_call.budgets as budgets

    real = budgets._estimator

    def without_abstractcore(model: str | None) -> Any:
        import sys

        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "abstractcore.utils.token_utils", None)
            return real(model)

    monkeypatch.setattr(budgets, "_estimator", without_abstractcore)


@pytest.mark.usefixtures("_by_length")
@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (10_000, HISTORY),
        (125, [HISTORY[1], HISTORY[2], HISTORY[3], HISTORY[4]]),
        (115, [HISTORY[1], HISTORY[3], HISTORY[4]]),
        (1, [HISTORY[1], HISTORY[4]]),
    ],
)
def test_old_messages_give_way(budget: int, expected: list[Any]) -> None:
    assert seen({"max_input_tokens": budget}) == expected
    assert seen({}, {"_limits": {"max_input_tokens": budget}}) == expected
    assert seen({"max_input_tokens": str(budget)}, {"_limits": {"max_input_tokens": 1}}) == expected


@pytest.mark.usefixtures("_by_length")
def test_no_hole_is_made() -> None:
    """A short old message does not survive a longer, newer one that does not fit."""
    history = [says("user", "tiny"), says("user", "x" * 400), says("user", "last")]
    client = RecordingClient()
    answered(client, {"messages": history, "max_input_tokens": 20})
    assert client.call["messages"] == [history[2]]


@pytest.mark.parametrize("budget", [0, -1, None, "many", True, float("nan"), [5]])
def test_no_budget_trims_nothing(budget: Any) -> None:
    assert seen({"max_input_tokens": budget}) == HISTORY


def test_trimming_can_be_switched_off() -> None:
    assert seen({"max_input_tokens": 1}, {"_runtime": {"disable_input_trimming": "yes"}}) == HISTORY


def test_the_estimate_is_abstractcore_s_where_it_is_installed() -> None:
    pytest.importorskip("abstractcore", reason="AbstractCore is not installed")
    assert seen({"max_input_tokens": 1, "model": "gpt-4o"}) == [HISTORY[1], HISTORY[4]]


@pytest.mark.parametrize(
    ("params", "payload", "limit", "expected"),
    [
        ({"max_output_tokens": 5, "max_tokens": 6}, 7, 8, {"max_output_tokens": 5, "max_tokens": 6}),
        ({"max_tokens": 6}, 7, 8, {"max_tokens": 6}),
        ({}, 7, 8, {"max_output_tokens": 7}),
        ({}, None, 8, {"max_output_tokens": 8}),
        ({}, None, None, {}),
        ({}, 0, 8, {"max_output_tokens": 8}),
        ({}, "many", -1, {}),
        ({"max_tokens": 0}, 7, None, {"max_output_tokens": 7}),
        ({"max_tokens": 0}, None, None, {}),
        ({"max_output_tokens": None}, None, 8, {"max_output_tokens": 8}),
        ({"max_output_tokens": "12"}, 7, None, {"max_output_tokens": "12"}),
    ],
)
def test_the_first_usable_output_budget_counts(params: Any, payload: Any, limit: Any, expected: Any) -> None:
    client = RecordingClient()
    run = a_run({"_limits": {"max_output_tokens": limit}})
    answered(client, {"prompt": "p", "params": params, "max_output_tokens": payload}, run)
    found = {name: value for name, value in client.params.items() if name.startswith("max_")}
    assert found == expected


def test_the_alias_of_the_output_budget() -> None:
    client = RecordingClient()
    answered(client, {"prompt": "p", "max_out_tokens": 9})
    assert client.params["max_output_tokens"] == 9


# -- truncation -------------------------------------------------------------------------------------------

CUT = {"content": "half", "finish_reason": "length"}
WHOLE = {"content": "whole", "finish_reason": "stop"}


def budgets(client: RecordingClient) -> list[Any]:
    return [call["params"].get("max_output_tokens") for call in client.calls]


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "max_output_tokens"])
def test_a_cut_answer_is_asked_for_again_with_a_larger_budget(reason: str) -> None:
    client = RecordingClient({**CUT, "finish_reason": reason}, CUT, WHOLE)
    result = answered(client, {"prompt": "p", "params": {"max_tokens": 10}})
    assert result["content"] == "whole"
    assert budgets(client) == [None, 510, 1020]
    assert ["max_tokens" in call["params"] for call in client.calls] == [True, False, False]
    assert result["metadata"]["_truncation"] == {
        "attempts": [
            {
                "attempt": number,
                "finish_reason": finish,
                "max_output_tokens": budget,
                "structured_fallback": False,
            }
            for number, finish, budget in [(1, reason, 10), (2, "length", 510), (3, "stop", 1020)]
        ],
        "resolved": True,
    }
    assert sent(result)["params"]["max_output_tokens"] == 1020
    assert len(sent(result)["truncation_attempts"]) == 3


def test_an_unknown_budget_grows_from_the_usual_one() -> None:
    client = RecordingClient(CUT, WHOLE)
    answered(client, {"prompt": "p"})
    assert budgets(client) == [None, 4096]


def test_in_the_end_it_fails_and_says_what_was_tried() -> None:
    client = RecordingClient(*[CUT] * 9)
    outcome = ask(client, {"prompt": "p", "params": {"max_output_tokens": 10}})
    assert outcome.kind == "truncated"
    assert outcome.error == (
        "LLM_CALL output was truncated (finish_reason=length). Attempted max_output_tokens: 10, 510, 1020. "
        "Increase max_output_tokens/max_out_tokens (or set allow_truncation=true)."
    )
    assert len(client.calls) == 3


def test_six_budgets_are_shown() -> None:
    client = RecordingClient(*[CUT] * 9)
    payload = {"prompt": "p", "max_output_tokens": 10, "truncation_max_attempts": 8}
    assert "10, 510, 1020, 2040, 4080, 8160. Increase" in str(ask(client, payload).error)
    assert len(client.calls) == 8


@pytest.mark.parametrize("name", ["allow_truncation", "allow_truncated"])
def test_a_cut_answer_may_be_accepted(name: str) -> None:
    client = RecordingClient(CUT)
    result = answered(client, {"prompt": "p", name: "on"})
    assert result["content"] == "half"
    assert result["metadata"]["_truncation"]["resolved"] is False
    assert "truncation_attempts" not in sent(result)


@pytest.mark.parametrize(
    "payload",
    [
        {"retry_on_truncation": False},
        {"no_truncation": "off"},
        {"max_truncation_attempts": 1},
        {"max_truncation_attempts": -3},
    ],
)
def test_asking_again_can_be_switched_off(payload: dict[str, Any]) -> None:
    client = RecordingClient(CUT)
    assert ask(client, {"prompt": "p", "max_output_tokens": 10, **payload}).status == "failed"
    assert len(client.calls) == 1


@pytest.mark.parametrize(
    ("payload", "limit", "capabilities", "expected"),
    [
        ({"max_output_tokens_cap": 600}, None, None, [10, 510, 600]),
        ({"max_truncation_max_output_tokens": 20}, None, None, [10, 256]),  # a cap is at least 256
        ({}, 700, None, [10, 510, 700]),
        ({}, None, {"max_output_tokens": 800, "max_tokens": 900}, [10, 510, 800]),
        ({}, None, {"max_tokens": 900}, [10, 510, 900]),
        ({"max_output_tokens": 3000, "max_output_tokens_cap": 3000}, None, None, [3000]),
        ({"max_output_tokens": 3000, "max_output_tokens_cap": 1000}, None, None, [3000]),
    ],
)
def test_no_budget_above_the_cap_and_no_call_twice(
    payload: dict[str, Any], limit: Any, capabilities: Any, expected: list[int]
) -> None:
    client = RecordingClient(*[CUT] * 9, capabilities=capabilities)
    run = a_run({"_limits": {"max_output_tokens": limit}})
    ask(client, {"prompt": "p", "max_output_tokens": 10, "max_truncation_attempts": 3, **payload}, run)
    assert budgets(client) == expected


def test_an_untruncated_answer_says_nothing_of_it() -> None:
    result = answered(RecordingClient(WHOLE), {"prompt": "p"})
    assert "_truncation" not in result["metadata"]
    assert "truncation_attempts" not in sent(result)


def test_a_failure_of_a_later_call_is_the_failure() -> None:
    outcome = ask(RecordingClient(CUT, RuntimeError("down")), {"prompt": "p"})
    assert (outcome.status, outcome.error, outcome.kind) == ("failed", "down", "provider")
