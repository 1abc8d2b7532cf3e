"""The turns of a session: its root runs as questions and answers (`spec/01 §16.4`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from abstractruntime.core.copies import copied
from abstractruntime.core.models import RunState

from .answers import Answer, answer_in_ledger, answer_in_output
from .ports import LedgerPort, RunPort, best_effort
from .turn_stats import turn_stats
from .values import Object, as_object, as_text, first_text

__all__ = ["session_turns"]

_DEFAULT_LIMIT = 200
_LEAST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A root run of the session; not the run itself, so that a long session is not held in memory."""

    run_id: str
    kind: str
    since: str


def session_turns(runs: RunPort, ledgers: LedgerPort, session_id: str, limit: int) -> list[dict[str, Any]]:
    """The newest ``limit`` turns (0 and less: 200), oldest first; only chats if there is one."""
    wanted = limit if limit > 0 else _DEFAULT_LIMIT
    none: list[_Candidate] = []
    candidates = best_effort(
        f"runs of session '{session_id}'",
        lambda: [_candidate(run) for run in _roots(runs, session_id, max(_LEAST_RUNS, 5 * wanted))],
        none,
    )
    listed = [each for each in candidates if each.kind != "internal"]
    chats = [each for each in listed if each.kind == "chat"]
    turns = []
    for each in sorted(chats or listed, key=lambda each: (each.since, each.run_id))[-wanted:]:
        run = best_effort(f"run '{each.run_id}'", partial(runs.load, each.run_id), None)
        if run is not None:
            turns.append(_turn(run, each.kind, runs, ledgers))
    return turns


def _roots(store: Any, session_id: str, most: int) -> Iterator[RunState]:
    """Root runs of the session: by the store's index where it has one, else out of the newest runs."""
    list_index = getattr(store, "list_run_index", None)
    if list_index is not None:
        for row in list_index(session_id=session_id, root_only=True, limit=most):
            run = store.load(row["run_id"])
            if run is not None:
                yield run
        return
    list_runs = getattr(store, "list_runs", None)
    for run in list_runs(limit=most) if list_runs is not None else ():
        if not run.parent_run_id and (run.session_id or "").strip() == session_id:
            yield run


def _candidate(run: RunState) -> _Candidate:
    return _Candidate(run.run_id, _kind(run), as_text(run.created_at) or as_text(run.updated_at) or "")


def _kind(run: RunState) -> str:
    if run.workflow_id.startswith("__"):
        return "internal"
    scheduled = isinstance(as_object(run.vars.get("_meta")).get("schedule"), dict)
    if scheduled or run.workflow_id.startswith("scheduled:"):
        return "scheduled"
    return "chat" if isinstance(as_object(run.vars.get("context")).get("messages"), list) else "run"


def _turn(run: RunState, kind: str, runs: RunPort, ledgers: LedgerPort) -> dict[str, Any]:
    given = run.vars.get("input_data")
    base = given if isinstance(given, dict) else run.vars
    answer, meta = answer_in_output(run.output)
    if answer is None:
        unknown: Answer = (None, None)
        answer, meta = best_effort(
            f"answer of run '{run.run_id}'", lambda: answer_in_ledger(ledgers, run.run_id), unknown
        )
    attachments = as_object(base.get("context")).get("attachments")
    return {
        "run_id": run.run_id,
        "workflow_id": as_text(run.workflow_id),
        "kind": kind,
        "status": run.status.value,
        "created_at": as_text(run.created_at),
        "updated_at": as_text(run.updated_at),
        "prompt": _prompt(base),
        "attachments": [
            copied(item)
            for item in (attachments if isinstance(attachments, list) else ())
            if isinstance(item, dict)
        ],
        "answer": answer,
        "answer_meta": copied(meta),
        "stats": turn_stats(runs, ledgers, run.run_id),
    }


def _prompt(base: Object) -> str | None:
    context = as_object(base.get("context"))
    asked = first_text(base, ("prompt", "message", "task")) or first_text(context, ("task", "message"))
    if asked is not None:
        return asked
    messages = context.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if as_object(message).get("role") == "user":
            text = first_text(message, ("content",))
            if text is not None:
                return text
    return None
