"""`spec/01 §5.1-5.4`: policies, idempotency keys, runtime-owned call ids."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.models import Effect, EffectType, RunState
from abstractruntime.core.policy import (
    DefaultEffectPolicy,
    EffectPolicy,
    NoRetryPolicy,
    RetryPolicy,
    compute_idempotency_key,
    with_runtime_call_ids,
)

LLM = Effect(EffectType.LLM_CALL, {"prompt": "test"})
KEY = "k" * 32

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def _key(payload: Any, kind: EffectType = EffectType.LLM_CALL, **other: Any) -> str:
    return compute_idempotency_key(run_id="r", node_id="n", effect=Effect(kind, payload, **other))


def _tools_key(*calls: Any, **payload: Any) -> str:
    return _key({"tool_calls": list(calls), **payload}, EffectType.TOOL_CALLS)


def _plain_key(payload: Any, kind: str) -> str:
    """The algorithm of the contract, written out, over an already normalised payload."""
    document = {"run_id": "r", "node_id": "n", "effect_type": kind, "effect_payload": payload}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


# --- the key ---------------------------------------------------------------------------------------------


def test_reference_value() -> None:
    assert (
        compute_idempotency_key(run_id="run-1", node_id="node-1", effect=LLM)
        == "564fe8958917cea0cd42b1f242cccc34"
    )


def test_policy_and_function_agree() -> None:
    run = RunState.new(workflow_id="wf", entry_node="a")
    expected = compute_idempotency_key(run_id=run.run_id, node_id="a", effect=LLM)
    for policy in (DefaultEffectPolicy(), RetryPolicy(), NoRetryPolicy()):
        assert policy.idempotency_key(run=run, node_id="a", effect=LLM) == expected


@given(payload=st.dictionaries(st.text(), json_values, max_size=4))
def test_key_is_the_documented_hash(payload: dict[str, Any]) -> None:
    assert _key(payload) == _plain_key(payload, "llm_call")


def test_key_ignores_result_key_and_key_order() -> None:
    assert _key({"a": 1, "b": 2}) == _key({"b": 2, "a": 1}, result_key="x.y")


def test_key_depends_on_run_node_type_and_payload() -> None:
    keys = {
        compute_idempotency_key(run_id=r, node_id=n, effect=Effect(kind, {"p": p}))
        for r in "rs"
        for n in "nm"
        for kind in (EffectType.LLM_CALL, EffectType.EMIT_EVENT)
        for p in (1, 2)
    }
    assert len(keys) == 16


@pytest.mark.parametrize("payload", [None, [], "text", 5])
def test_payload_that_is_no_object_counts_as_empty(payload: Any) -> None:
    assert _key(payload) == _key({}) == _plain_key({}, "llm_call")
    assert _key(payload, EffectType.TOOL_CALLS) == _plain_key({}, "tool_calls")


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x"])
def test_unencodable_payload_raises(value: Any) -> None:
    with pytest.raises(TypeError):
        _key({"v": value})


def test_cyclic_payload_raises() -> None:
    payload: dict[str, Any] = {}
    payload["self"] = payload
    with pytest.raises(ValueError, match="ircular"):
        _key(payload)


# --- normalisation of tool calls -------------------------------------------------------------------------


def test_other_effects_keep_ids_and_tool_lists() -> None:
    payload = {"tool_calls": [{"id": "1"}], "allowed_tools": ["b", "a"]}
    assert _key(payload) == _plain_key(payload, "llm_call")


@pytest.mark.parametrize("field", ["call_id", "id", "runtime_call_id", "model_call_id", "idempotency_key"])
def test_ids_of_a_call_do_not_count(field: str) -> None:
    call = {"name": "read", "arguments": {"p": 1}}
    assert _tools_key({**call, field: "anything"}) == _tools_key(call)


@pytest.mark.parametrize(
    ("arguments", "same_as"),
    [
        ('{"a": 1}', {"a": 1}),
        (' {"a":1}\n', {"a": 1}),
        ("not json", {}),
        ("", {}),
        ("[1]", {}),
        ("null", {}),
        ("[" * 100_000, {}),
        (None, {}),
        ([1], {}),
        (5, {}),
        ({}, {}),
    ],
)
def test_arguments_become_an_object(arguments: Any, same_as: dict[str, Any]) -> None:
    expected = _plain_key({"tool_calls": [{"name": "t", "arguments": same_as}]}, "tool_calls")
    assert _tools_key({"name": "t", "arguments": arguments}) == expected


def test_missing_arguments_become_an_empty_object() -> None:
    assert _tools_key({"name": "t"}) == _tools_key({"name": "t", "arguments": {}})


def test_names_are_stripped_other_keys_and_entries_stay() -> None:
    call = {"name": " t ", "arguments": {}, "extra": " x ", "call_id": "c"}
    normalised = {"name": "t", "arguments": {}, "extra": " x "}
    expected = {"tool_calls": [normalised, "loose", None, 3], "mode": "m"}
    assert _tools_key(call, "loose", None, 3, mode="m") == _plain_key(expected, "tool_calls")
    assert _tools_key({"name": 5}) == _plain_key({"tool_calls": [{"name": 5, "arguments": {}}]}, "tool_calls")


def test_function_objects_follow_the_same_rule() -> None:
    call = {
        "id": "x",
        "type": "function",
        "function": {"id": "y", "name": " f ", "arguments": '{"a":1}', "function": {"id": "z"}},
    }
    normalised = {
        "type": "function",
        "arguments": {},
        "function": {"name": "f", "arguments": {"a": 1}, "function": {"arguments": {}}},
    }
    assert _tools_key(call) == _plain_key({"tool_calls": [normalised]}, "tool_calls")
    loose = {"function": "f", "arguments": {}}
    assert _tools_key(loose) == _plain_key({"tool_calls": [loose]}, "tool_calls")


def test_allowed_tools_are_a_set_of_names() -> None:
    expected = _plain_key({"tool_calls": [], "allowed_tools": ["a", "b"]}, "tool_calls")
    assert _tools_key(allowed_tools=["b", " a ", "", "  ", "b", 5, None]) == expected


@pytest.mark.parametrize("value", ["text", {"a": 1}, None])
def test_values_that_are_no_lists_stay(value: Any) -> None:
    payload = {"tool_calls": value, "allowed_tools": value}
    assert _key(payload, EffectType.TOOL_CALLS) == _plain_key(payload, "tool_calls")


def test_order_of_calls_and_arguments_count() -> None:
    a, b = {"name": "a"}, {"name": "b"}
    assert _tools_key(a, b) != _tools_key(b, a)
    assert _tools_key({**a, "arguments": {"x": 1}}) != _tools_key({**a, "arguments": {"x": 2}})


def test_key_leaves_the_payload_alone() -> None:
    payload = {"tool_calls": [{"id": "1", "name": " t ", "arguments": "{}"}], "allowed_tools": ["b", "a"]}
    before = copy.deepcopy(payload)
    _key(payload, EffectType.TOOL_CALLS)
    assert payload == before


# --- runtime call ids ------------------------------------------------------------------------------------


def _with_ids(*calls: Any, **payload: Any) -> dict[str, Any]:
    effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": list(calls), **payload}, "out")
    return with_runtime_call_ids(effect, KEY).payload


def test_fresh_ids_by_position() -> None:
    calls = _with_ids({"name": " a "}, "loose", {"name": "b"})["tool_calls"]
    assert calls == [
        {"name": "a", "runtime_call_id": f"rtcall_{KEY}_1", "call_id": f"rtcall_{KEY}_1"},
        "loose",
        {"name": "b", "runtime_call_id": f"rtcall_{KEY}_3", "call_id": f"rtcall_{KEY}_3"},
    ]


@pytest.mark.parametrize(
    ("ids", "runtime_call_id", "call_id"),
    [
        ({"call_id": " c "}, f"rtcall_{KEY}_1", "c"),
        ({"id": " i "}, f"rtcall_{KEY}_1", "i"),
        ({"call_id": None, "id": "i"}, f"rtcall_{KEY}_1", "i"),
        ({"call_id": "", "id": "i"}, f"rtcall_{KEY}_1", f"rtcall_{KEY}_1"),
        ({"call_id": "c", "id": "i"}, f"rtcall_{KEY}_1", "c"),
        ({"id": "  "}, f"rtcall_{KEY}_1", f"rtcall_{KEY}_1"),
        ({"id": 7}, f"rtcall_{KEY}_1", "7"),
        ({"runtime_call_id": "mine"}, "mine", "mine"),
        ({"runtime_call_id": "mine", "call_id": "c"}, "mine", "c"),
        ({"runtime_call_id": "  "}, f"rtcall_{KEY}_1", f"rtcall_{KEY}_1"),
        ({"runtime_call_id": None}, f"rtcall_{KEY}_1", f"rtcall_{KEY}_1"),
    ],
)
def test_given_ids(ids: dict[str, Any], runtime_call_id: str, call_id: str) -> None:
    (call,) = _with_ids({"name": "t", **ids})["tool_calls"]
    assert (call["runtime_call_id"], call["call_id"]) == (runtime_call_id, call_id)
    assert call.get("id") == ids.get("id")  # the provider's own id stays


def test_allowed_tools_are_sorted_and_the_rest_is_kept() -> None:
    payload = _with_ids(allowed_tools=[" b", "a", "b", ""], approval="x")
    assert payload == {"tool_calls": [], "allowed_tools": ["a", "b"], "approval": "x"}


def test_the_nodes_own_effect_is_untouched() -> None:
    effect = Effect(
        EffectType.TOOL_CALLS, {"tool_calls": [{"name": " t "}], "allowed_tools": ["b", "a"]}, "out"
    )
    before = copy.deepcopy(effect)
    rewritten = with_runtime_call_ids(effect, KEY)
    assert effect == before
    assert (rewritten.type, rewritten.result_key) == (EffectType.TOOL_CALLS, "out")
    rewritten.payload["tool_calls"][0]["name"] = "changed"
    assert effect == before


@pytest.mark.parametrize(
    "effect",
    [
        Effect(EffectType.LLM_CALL, {"tool_calls": [{}]}),
        Effect(EffectType.TOOL_CALLS, {}),
        Effect(EffectType.TOOL_CALLS, {"tool_calls": "x", "allowed_tools": ["b", "a"]}),
        Effect(EffectType.TOOL_CALLS, None),  # type: ignore[arg-type]
    ],
)
def test_nothing_to_rewrite(effect: Effect) -> None:
    assert with_runtime_call_ids(effect, KEY) is effect


def test_ids_are_stable_and_do_not_change_the_key() -> None:
    effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": [{"name": "t", "id": "provider-1"}]})
    drifted = Effect(EffectType.TOOL_CALLS, {"tool_calls": [{"name": "t", "id": "provider-2"}]})
    keys = [compute_idempotency_key(run_id="r", node_id="n", effect=e) for e in (effect, drifted)]
    assert keys[0] == keys[1]
    once = with_runtime_call_ids(effect, keys[0])
    assert with_runtime_call_ids(once, keys[0]) == once
    assert compute_idempotency_key(run_id="r", node_id="n", effect=once) == keys[0]


# --- policies --------------------------------------------------------------------------------------------


def test_default_policy() -> None:
    policy = DefaultEffectPolicy()
    assert policy.effect_max_attempts == {}
    assert {policy.max_attempts(Effect(kind)) for kind in EffectType} == {1}
    assert [policy.backoff_seconds(effect=LLM, attempt=n) for n in range(1, 9)] == [
        1,
        2,
        4,
        8,
        16,
        32,
        60,
        60,
    ]


def test_default_policy_positional_and_per_type() -> None:
    policy = DefaultEffectPolicy(2, 0.5, 3.0, {"llm_call": 5})
    assert policy.max_attempts(LLM) == 5
    assert policy.max_attempts(Effect(EffectType.TOOL_CALLS)) == 2
    assert [policy.backoff_seconds(effect=LLM, attempt=n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 3.0]


def test_backoff_never_overflows() -> None:
    for base in (1.0, 1e300, 5):
        assert (
            DefaultEffectPolicy(default_backoff_base=base).backoff_seconds(effect=LLM, attempt=10**6) == 60.0
        )
    assert DefaultEffectPolicy(default_backoff_base=0.0).backoff_seconds(effect=LLM, attempt=10**6) == 0.0


def test_policies_do_not_share_their_dict() -> None:
    assert DefaultEffectPolicy().effect_max_attempts is not DefaultEffectPolicy().effect_max_attempts


def test_retry_policy() -> None:
    policy = RetryPolicy()
    attempts = {kind.value: policy.max_attempts(Effect(kind)) for kind in EffectType}
    assert attempts.pop("llm_call") == 3
    assert attempts.pop("tool_calls") == 2
    assert set(attempts.values()) == {1}
    assert policy.backoff_seconds(effect=LLM, attempt=6) == 30.0
    custom = RetryPolicy(llm_max_attempts=9, tool_max_attempts=8, backoff_base=0.0, backoff_max=1.0)
    assert (custom.max_attempts(LLM), custom.max_attempts(Effect(EffectType.TOOL_CALLS))) == (9, 8)
    assert custom.backoff_seconds(effect=LLM, attempt=3) == 0.0


def test_retry_policy_is_keyword_only() -> None:
    with pytest.raises(TypeError):
        RetryPolicy(3)  # type: ignore[call-arg]


def test_no_retry_policy() -> None:
    assert {NoRetryPolicy().max_attempts(Effect(kind)) for kind in EffectType} == {1}


@pytest.mark.parametrize("policy", [DefaultEffectPolicy(), RetryPolicy(), NoRetryPolicy()])
def test_policies_are_effect_policies(policy: object) -> None:
    assert isinstance(policy, EffectPolicy)
    assert isinstance(policy, DefaultEffectPolicy)


def test_any_object_with_the_methods_is_a_policy() -> None:
    class Own:
        def max_attempts(self, effect: Effect) -> int:
            return 1

        def backoff_seconds(self, *, effect: Effect, attempt: int) -> float:
            return 0.0

        def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
            return "k"

    assert isinstance(Own(), EffectPolicy)
    assert not isinstance(object(), EffectPolicy)
