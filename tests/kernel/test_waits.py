"""WAIT_EVENT, ASK_USER and ANSWER_USER (`spec/01 §12.1`, §12.3, §12.4)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunStatus, WaitReason, WaitState

from .flows import asks, done, flow
from .kernel import Kernel


def wait_of(kernel: Kernel, kind: EffectType, payload: Any, **of: Any) -> WaitState:
    state = kernel.go(flow(a=asks(kind, payload), done=done, elsewhere=done), **of)
    assert state.status is RunStatus.WAITING, state.error
    assert state.waiting is not None
    recorded = kernel.ledger(state.run_id)[-1]["result"]["wait"]
    assert recorded == state.waiting.to_dict()
    return state.waiting


def error_of(kernel: Kernel, kind: EffectType, payload: Any) -> str:
    state = kernel.go(flow(a=asks(kind, payload), done=done))
    assert state.status is RunStatus.FAILED
    return (state.error or "").removeprefix("Effect failed after 1 attempts: ")


# -- WAIT_EVENT -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"wait_key": "k", "name": "ignored", "scope": "nonsense"}, "k"),
        ({"wait_key": 7}, "7"),
        ({"name": " paid "}, "evt:session:s:paid"),
        ({"event_name": "paid"}, "evt:session:s:paid"),
        ({"wait_key": "", "name": "paid"}, "evt:session:s:paid"),
        ({"name": "paid", "session_id": "other"}, "evt:session:other:paid"),
        ({"name": "paid", "session_id": ""}, "evt:session:s:paid"),
        ({"name": "paid", "scope": " Session "}, "evt:session:s:paid"),
        ({"name": "paid", "scope": "workflow"}, "evt:workflow:wf:paid"),
        ({"name": "paid", "scope": "GLOBAL"}, "evt:global:global:paid"),
        ({"name": "*"}, "evt:session:s:*"),
    ],
)
def test_event_key(kernel: Kernel, payload: Any, key: str) -> None:
    wait = wait_of(kernel, EffectType.WAIT_EVENT, payload, session_id="s")
    assert (wait.reason, wait.wait_key, wait.until) == (WaitReason.EVENT, key, None)
    assert (wait.resume_to_node, wait.result_key) == ("done", "out")


def test_event_key_of_the_run_itself(kernel: Kernel) -> None:
    state = kernel.go(flow(a=asks(EffectType.WAIT_EVENT, {"name": "e", "scope": "run"}), done=done))
    assert state.waiting is not None
    assert state.waiting.wait_key == f"evt:run:{state.run_id}:e"
    without_session = kernel.go(flow(a=asks(EffectType.WAIT_EVENT, {"name": "e"}), done=done))
    assert without_session.waiting is not None
    assert without_session.waiting.wait_key == f"evt:session:{without_session.run_id}:e"


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({}, "wait_event requires payload.wait_key or payload.name"),
        ({"name": "", "wait_key": None}, "wait_event requires payload.wait_key or payload.name"),
        ({"name": "  "}, "wait_event invalid payload: event name is required"),
        ({"name": "e", "scope": "moon"}, "wait_event invalid payload: unknown event scope: 'moon'"),
    ],
)
def test_event_wait_refused(kernel: Kernel, payload: Any, error: str) -> None:
    assert error_of(kernel, EffectType.WAIT_EVENT, payload) == error


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, (None, None, True, None)),
        ({"prompt": "Which?"}, ("Which?", None, True, None)),
        ({"prompt": "  "}, (None, None, True, None)),
        ({"prompt": 5}, (None, None, True, None)),
        ({"choices": [" a ", "", 3, "b"]}, (None, ["a", "b"], True, None)),
        ({"choices": [3]}, (None, [], True, None)),
        ({"choices": "ab"}, (None, None, True, None)),
        ({"allow_free_text": 0}, (None, None, False, None)),
        ({"allowFreeText": False}, (None, None, False, None)),
        ({"allow_free_text": None, "allowFreeText": False}, (None, None, False, None)),
        ({"allow_free_text": None}, (None, None, True, None)),
        ({"details": {"a": 1}}, (None, None, True, {"a": 1})),
        ({"details": [1]}, (None, None, True, None)),
    ],
)
def test_event_wait_shows_a_question(kernel: Kernel, given: Any, shown: tuple[Any, ...]) -> None:
    wait = wait_of(kernel, EffectType.WAIT_EVENT, {"wait_key": "k", **given})
    assert (wait.prompt, wait.choices, wait.allow_free_text, wait.details) == shown


@pytest.mark.parametrize("kind", [EffectType.WAIT_EVENT, EffectType.ASK_USER])
def test_payload_may_name_the_node_to_go_on_at(kernel: Kernel, kind: EffectType) -> None:
    payload = {"wait_key": "k", "prompt": "?", "resume_to_node": "elsewhere"}
    assert wait_of(kernel, kind, payload).resume_to_node == "elsewhere"
    assert wait_of(kernel, kind, {**payload, "resume_to_node": ""}).resume_to_node == "done"


def test_any_of_several_keys(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.WAIT_EVENT, {"wait_keys": ["x", "y"]}), done=done)
    for key in ("x", "y"):
        run_id = kernel.go(workflow).run_id
        with pytest.raises(ValueError, match="wait_key mismatch: expected 'x', got 'z'"):
            kernel.resume(workflow, run_id, 1, wait_key="z")
        assert kernel.resume(workflow, run_id, 1, wait_key=key).output == {"out": 1}


def test_any_of_several_names(kernel: Kernel) -> None:
    wait = wait_of(kernel, EffectType.WAIT_EVENT, {"names": ["x", "y"]}, session_id="s")
    assert wait.details == {"wait_keys": ["evt:session:s:x", "evt:session:s:y"]}


@pytest.mark.parametrize("kind", [EffectType.WAIT_EVENT, EffectType.ASK_USER])
def test_time_out(kernel: Kernel, kind: EffectType) -> None:
    workflow = flow(a=asks(kind, {"wait_key": "k", "prompt": "?", "timeout_s": 60}), done=done)
    state = kernel.go(workflow)
    assert state.waiting is not None
    assert state.waiting.reason.value == ("event" if kind is EffectType.WAIT_EVENT else "user")
    assert kernel.tick(workflow, state.run_id).status is RunStatus.WAITING
    kernel.clock.skip(minutes=2)
    output = kernel.tick(workflow, state.run_id).output
    assert output == {"out": {"timed_out": True, "until": state.waiting.until}}


@pytest.mark.parametrize("seconds", [0, -1, "soon", True])
def test_bad_time_out(kernel: Kernel, seconds: Any) -> None:
    error = error_of(kernel, EffectType.WAIT_EVENT, {"wait_key": "k", "timeout_s": seconds})
    assert error.startswith("wait_event invalid payload: timeout_s must be a positive number")


# -- ASK_USER -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, ("Sure?", None, True)),
        ({"prompt": 5}, ("5", None, True)),
        ({"choices": ["a", 1]}, ("Sure?", ["a", 1], True)),
        ({"choices": "ab"}, ("Sure?", None, True)),
        ({"allow_free_text": 0}, ("Sure?", None, False)),
        ({"allow_free_text": None}, ("Sure?", None, True)),
        ({"details": {"a": 1}}, ("Sure?", None, True)),
    ],
)
def test_ask_user(kernel: Kernel, given: Any, shown: tuple[Any, ...]) -> None:
    wait = wait_of(kernel, EffectType.ASK_USER, {"prompt": "Sure?", **given})
    assert (wait.prompt, wait.choices, wait.allow_free_text) == shown
    assert (wait.reason, wait.details, wait.until) == (WaitReason.USER, None, None)


def test_ask_user_key(kernel: Kernel) -> None:
    assert wait_of(kernel, EffectType.ASK_USER, {"prompt": "?", "wait_key": 5}).wait_key == "5"


@pytest.mark.parametrize("payload", [{}, {"prompt": ""}, {"prompt": None}])
def test_ask_user_needs_a_prompt(kernel: Kernel, payload: Any) -> None:
    assert error_of(kernel, EffectType.ASK_USER, payload) == "ask_user requires payload.prompt"


# -- ANSWER_USER ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"message": "hi", "text": "no"}, "hi"),
        ({"message": "", "text": "no"}, ""),
        ({"text": "hi", "content": "no"}, "hi"),
        ({"text": "", "content": "hi"}, "hi"),
        ({"text": "", "content": ""}, ""),
        ({"message": 5}, "5"),
    ],
)
def test_answer_user(kernel: Kernel, payload: Any, message: str) -> None:
    state = kernel.go(flow(a=asks(EffectType.ANSWER_USER, payload), done=done))
    assert state.output == {"out": {"message": message, "level": "message"}}


@pytest.mark.parametrize(
    ("level", "stored"),
    [
        ("warn", "warning"),
        (" Warning ", "warning"),
        ("ERROR", "error"),
        ("info", "message"),
        ("loud", "message"),
        (5, "message"),
        (None, "message"),
    ],
)
def test_answer_user_level(kernel: Kernel, level: Any, stored: str) -> None:
    state = kernel.go(flow(a=asks(EffectType.ANSWER_USER, {"message": "hi", "level": level}), done=done))
    assert state.vars["out"]["level"] == stored


@pytest.mark.parametrize("payload", [{}, {"message": None}, {"text": "", "content": None}])
def test_answer_user_needs_a_message(kernel: Kernel, payload: Any) -> None:
    assert error_of(kernel, EffectType.ANSWER_USER, payload) == "answer_user requires payload.message"
