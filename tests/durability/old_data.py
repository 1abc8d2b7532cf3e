"""Runs and ledgers as an older release left them, written by hand: one run for each thing that must go on."""

from __future__ import annotations

from typing import Any

from .stored_form import Record, Run, key_of

BORN = "2025-03-04T05:06:07.000008+00:00"
LEFT = "2025-03-04T05:06:08.000009+00:00"

LLM = {"prompt": "Grüße aus Köln", "params": {"temperature": 0.5}}
LITERAL_KEY = "564fe8958917cea0cd42b1f242cccc34"
"""The contract's own example: run ``run-1``, node ``node-1``, LLM_CALL with ``{"prompt": "test"}``."""


def run(run_id: str, node: str, status: str = "running", **other: Any) -> Run:
    return {
        "run_id": run_id,
        "workflow_id": "old",
        "status": status,
        "current_node": node,
        "vars": {"context": {"task": "änderbar"}, "_runtime": {}, "_limits": {"max_iterations": 25}},
        "waiting": None,
        "output": None,
        "error": None,
        "created_at": BORN,
        "updated_at": LEFT,
        "actor_id": "ar_0123456789abcdef",
        "session_id": "s1",
        "parent_run_id": None,
        **other,
    }


def waiting(run_id: str, node: str, reason: str, **wait: Any) -> Run:
    state = {
        "reason": reason,
        "wait_key": None,
        "until": None,
        "resume_to_node": "done",
        "result_key": "got",
        "prompt": None,
        "choices": None,
        "allow_free_text": True,
        "details": None,
    }
    return run(run_id, node, "waiting", waiting={**state, **wait})


def record(run_id: str, node: str, status: str, step: str, **other: Any) -> Record:
    return {
        "run_id": run_id,
        "step_id": step,
        "node_id": node,
        "status": status,
        "effect": None,
        "result": None,
        "error": None,
        "started_at": BORN,
        "ended_at": None if status == "started" else LEFT,
        "actor_id": "ar_0123456789abcdef",
        "session_id": "s1",
        "attempt": 1,
        "idempotency_key": None,
        "prev_hash": None,
        "record_hash": None,
        "signature": None,
        **other,
    }


def llm_pair(run_id: str, node: str, payload: dict[str, Any], result: dict[str, Any]) -> list[Record]:
    """A completed call: the key literal where the contract gives it, else computed here."""
    is_literal = (run_id, node, payload) == ("run-1", "node-1", {"prompt": "test"})
    key = LITERAL_KEY if is_literal else key_of(run_id, node, "llm_call", payload)
    effect = {"type": "llm_call", "payload": payload, "result_key": "got"}
    same: dict[str, Any] = {"effect": effect, "idempotency_key": key}
    return [
        record(run_id, node, "started", f"{run_id}-1", **same),
        record(run_id, node, "completed", f"{run_id}-1", result=result, **same),
    ]


def resume_record(run_id: str, node: str, **wait: Any) -> Record:
    payload = {
        "wait_reason": "user",
        "wait_key": f"user:{run_id}:{node}",
        "resume_to_node": "done",
        "result_key": "got",
        "payload": {"text": "ja"},
        **wait,
    }
    effect = {"type": "resume", "payload": payload, "result_key": None}
    return record(run_id, node, "completed", f"{run_id}-r", effect=effect, result={"resumed": True})


TRACE_STEP = {
    "ts": "2025-03-04T05:06:08.000010+00:00",
    "node_id": "node-1",
    "status": "completed",
    "idempotency_key": "k-of-a-step-whose-record-is-gone",
    "reused_prior_result": True,
    "effect": {"type": "llm_call", "payload": {"prompt": "früher"}, "result_key": None},
    "duration_ms": 12.5,
    "result": {"content": "aus alter Zeit"},
}
TRACES = {"node-1": {"node_id": "node-1", "steps": [TRACE_STEP], "updated_at": TRACE_STEP["ts"]}}

_SUB = {"sub_run_id": "child-1", "sub_workflow_id": "old", "async": True, "include_traces": False}
_PAUSE = {"paused": True, "paused_at": LEFT, "pause_reason": "Mittag"}
_paused_vars = {"_runtime": {"control": dict(_PAUSE)}}

RUNS: list[Run] = [
    # One for each kind of wait.
    waiting("w-user", "ask", "user", wait_key="user:w-user:ask", prompt="Weiter?", choices=["ja", "nein"]),
    waiting("w-event", "listen", "event", wait_key="evt:session:s1:bell"),
    waiting("w-global", "listen", "event", wait_key="evt:global:global:*"),
    waiting(
        "w-job", "call", "job", wait_key="tool_calls:w-job:call", details={"tool_calls": [{"name": "x"}]}
    ),
    waiting("w-sub", "sub", "subworkflow", wait_key="subworkflow:child-1", details=_SUB),
    run("child-1", "done", parent_run_id="w-sub"),
    # Times of all sorts. 00:30 in +05:00 is 19:30 of the day before in UTC.
    waiting("u-plain", "sleep", "until", until="2025-06-01T00:00:00+00:00"),
    waiting("u-z", "sleep", "until", until="2025-06-01T00:00:00Z"),
    waiting("u-naive", "sleep", "until", until="2025-06-01T00:00:00.5"),
    waiting("u-east", "sleep", "until", until="2025-07-01T00:30:00+05:00"),
    waiting("u-west", "sleep", "until", until="2025-06-30T10:00:00-10:00"),
    waiting("u-far", "sleep", "until", until="2999-01-01T00:00:00+14:00"),
    # Between a `completed` record and its checkpoint.
    run("run-1", "node-1"),
    run("reuse", "call"),
    # Resumed once before; the record of the resumption and of a completion have no place for an effect type.
    run("resumed", "done", vars={"got": {"text": "ja"}, "_runtime": {}}),
    # Ended, without last words, with some of them, with all.
    run("torn", "done", "completed", output={"got": "ä"}),
    run("torn-resumed", "ask", "completed", output={"success": True, "result": {"text": "ja"}}),
    run("torn-failed", "call", "failed", error="Effect failed after 1 attempts: x"),
    run("whole", "done", "completed", output={"got": 1}),
    # Paused: while it ran, and while it slept.
    {
        **waiting(
            "paused",
            "call",
            "user",
            wait_key="pause:paused",
            resume_to_node="call",
            result_key=None,
            prompt="Paused",
            allow_free_text=False,
            details={"kind": "pause"},
        ),
        "vars": _paused_vars,
    },
    {**waiting("paused-sleep", "sleep", "until", until="2025-06-01T00:00:00+00:00"), "vars": _paused_vars},
    # Written by a later or an extended release, and by a careless one.
    {**waiting("extra", "ask", "user", wait_key="user:extra:ask", mood="good"), "priority": 7},
    {**run("bare", "done"), "vars": None},
    {
        **waiting("no-free-text", "ask", "user", wait_key="user:no-free-text:ask"),
        "waiting": {"reason": "user"},
    },
    # With traces inside, as the older release kept them.
    run("traced", "call", vars={"_runtime": {"node_traces": TRACES}}),
    # With a snapshot of its workflow.
    run("snapshot", "done", vars={"_runtime": {"workflow_snapshot": {"artifact_id": "a657ed913ae17d93"}}}),
]

LEDGERS: dict[str, list[Record]] = {
    "w-user": [
        record(
            "w-user",
            "ask",
            "started",
            "s1",
            effect={"type": "ask_user", "payload": {"prompt": "?"}, "result_key": "got"},
            idempotency_key="k",
        ),
    ],
    "run-1": llm_pair("run-1", "node-1", {"prompt": "test"}, {"content": "aus dem Ledger"}),
    "reuse": llm_pair("reuse", "call", LLM, {"content": "ö", "usage": {"total_tokens": 3}}),
    "resumed": [resume_record("resumed", "ask")],
    "torn-resumed": [resume_record("torn-resumed", "ask", resume_to_node=None)],
    "whole": [
        record("whole", "done", "completed", "w1", result={"completed": True, "output": {"got": 1}}),
        record(
            "whole",
            "done",
            "completed",
            "w2",
            effect={
                "type": "emit_event",
                "payload": {"name": "abstract.status", "scope": "session", "payload": {"text": "completed"}},
                "result_key": None,
            },
            result={"emitted": True, "name": "abstract.status", "payload": {"text": "completed"}},
            idempotency_key="system:terminal_status:completed",
        ),
    ],
    "extra": [{**record("extra", "ask", "started", "e1"), "weather": "fine"}],
    "traced": llm_pair("traced", "node-1", {"prompt": "jünger"}, {"content": "im Ledger"}),
}
