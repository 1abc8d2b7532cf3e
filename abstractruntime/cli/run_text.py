"""Runs and ledgers as text for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import typer

from .output import print_pairs, print_table

if TYPE_CHECKING:
    from abstractruntime.core.models import WaitState
    from abstractruntime.storage.checkpoints import Checkpoint, LedgerEntry, RunSummary

__all__ = ["print_ledger", "print_run", "print_runs", "summary_dict"]

_LONGEST = 100


def summary_dict(run: RunSummary) -> dict[str, Any]:
    """The listing's row for programs."""
    return asdict(run)


def print_runs(runs: Sequence[RunSummary]) -> None:
    """One line per run."""
    if not runs:
        typer.echo("no runs")
        return
    rows = [
        [run.run_id, run.workflow_id, run.status.value, run.current_node, run.updated_at[:19], _why(run)]
        for run in runs
    ]
    print_table(["RUN", "WORKFLOW", "STATUS", "NODE", "UPDATED (UTC)", "WAITS FOR"], rows)


def _why(run: RunSummary) -> str:
    if run.hold_reason:
        return run.hold_reason
    if run.wait_reason is None:
        return ""
    if run.due_at is not None:
        return f"{run.wait_reason.value} {_time(run.due_at)}"
    return f"{run.wait_reason.value} {run.wait_key or ''}".rstrip()


def _time(epoch: float | None) -> str:
    if epoch is None:
        return ""
    return datetime.fromtimestamp(epoch, timezone.utc).isoformat(timespec="seconds")


def print_run(checkpoint: Checkpoint) -> None:
    """A run's state and where it stands."""
    run = checkpoint.run
    print_pairs(
        [
            ("run", run.run_id),
            ("workflow", run.workflow_id),
            ("status", run.status.value),
            ("node", run.current_node),
            ("waits for", _wait(run.waiting)),
            ("held", checkpoint.hold_reason or ""),
            ("error", run.error or ""),
            ("output", "" if run.output is None else _json(run.output)),
            ("session", run.session_id or ""),
            ("actor", run.actor_id or ""),
            ("parent", run.parent_run_id or ""),
            ("created", run.created_at),
            ("updated", run.updated_at),
            ("looked at", _time(checkpoint.wake_at)),
            ("due", _time(checkpoint.due_at)),
            ("priority", str(checkpoint.priority or "")),
            ("effect", "" if checkpoint.step is None else checkpoint.step.effect.type.value),
            ("version", f"{checkpoint.version}, {checkpoint.ledger_seq} ledger entries"),
        ]
    )
    shown = {name: value for name, value in run.vars.items() if not name.startswith("_")}
    typer.echo(f"vars {json.dumps(shown, indent=2, ensure_ascii=False, default=str)}")


def _wait(wait: WaitState | None) -> str:
    if wait is None:
        return ""
    parts = [wait.reason.value, wait.wait_key or "", f"until {wait.until}" if wait.until else ""]
    if wait.prompt:
        parts.append(f'"{wait.prompt}"')
    parts += _asked_tools(wait.details or {})
    return " ".join(part for part in parts if part)


def _asked_tools(details: dict[str, Any]) -> list[str]:
    """Tool calls that somebody else shall execute or allow; their arguments are in ``--json``."""
    calls = details.get("tool_calls")
    if not isinstance(calls, list):
        return []
    names = [str(call.get("name")) for call in calls if isinstance(call, dict)]
    return [f"{details.get('mode')}: {', '.join(names)}"]


def print_ledger(entries: Sequence[LedgerEntry]) -> None:
    """One line per record."""
    if not entries:
        typer.echo("no entries")
        return
    print_table(["SEQ", "TIME (UTC)", "NODE", "WHAT", "STATUS", "RESULT"], [_row(entry) for entry in entries])


def _row(entry: LedgerEntry) -> list[str]:
    record = entry.record
    effect = record.get("effect") or {}
    attempt = record.get("attempt") or 1
    status = str(record.get("status")) + (f" (attempt {attempt})" if attempt > 1 else "")
    result = record.get("error") or (_json(record["result"]) if record.get("result") is not None else "")
    time = str(record.get("ended_at") or record.get("started_at") or "")[:23]
    return [str(entry.seq), time, str(record.get("node_id")), str(effect.get("type") or "-"), status, result]


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
