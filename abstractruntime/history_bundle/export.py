"""The bundle itself (`spec/01 §16.3`)."""

from __future__ import annotations

from functools import partial
from typing import Any

from abstractruntime.core.copies import copied
from abstractruntime.core.models import RunState, utc_now_iso

from .evidence import evidence_part
from .input_data import input_data
from .ledgers import empty_ledger, ledger_part, timeline
from .ports import ArtifactPort, LedgerPort, RunPort, best_effort, load_run, required_id
from .run_tree import run_tree
from .session_turns import session_turns
from .snapshot import known_snapshot
from .values import as_text

__all__ = ["RUN_HISTORY_BUNDLE_VERSION_V1", "export_run_history_bundle"]

RUN_HISTORY_BUNDLE_VERSION_V1 = 1


def export_run_history_bundle(
    *,
    run_id: str,
    run_store: RunPort,
    ledger_store: LedgerPort,
    artifact_store: ArtifactPort | None = None,
    include_subruns: bool = True,
    include_session: bool = False,
    session_turn_limit: int = 200,
    ledger_mode: str = "tail",
    ledger_max_items: int = 2000,
    include_evidence: bool = False,
) -> dict[str, Any]:
    """A run with its ledgers, timeline and, on demand, the turns of its session. Shares nothing with the
    stores.

    Args:
        run_id: the root of the bundle.
        run_store: ``list_children``, ``list_runs`` and ``list_run_index`` are used where it has them.
        ledger_store: ``count`` and ``list_after`` spare reading what is not asked for.
        artifact_store: receives input texts over 256 KiB; without it they stay inline.
        include_subruns: whether the ledgers of all descendants (about 5000 runs at most) are included.
        include_session: whether the turns of the run's session are listed.
        session_turn_limit: newest turns listed; 0 and less mean 200.
        ledger_mode: ``full`` for whole ledgers, anything else for their ends.
        ledger_max_items: records per ledger in ``tail`` mode; 0 and less mean all.
        include_evidence: add a key ``evidence``: by run id what its tools found, with the records; the texts
            stay artifacts.

    Raises:
        ValueError: the id is blank.
        KeyError: there is no such run.
        RuntimeError: the run can't be loaded. All else is best effort: what can't be read is left out and
            logged.
    """
    run_id = required_id(run_id, "run_id")
    run = load_run(run_store, run_id)
    run_ids = run_tree(run_store, run_id) if include_subruns else [run_id]
    is_full = str(ledger_mode or "").strip().lower() == "full" or ledger_max_items <= 0
    most = None if is_full else ledger_max_items
    ledgers = {
        each: best_effort(
            f"ledger of run '{each}'", partial(ledger_part, ledger_store, each, most), empty_ledger(each)
        )
        for each in run_ids
    }
    session: dict[str, Any] | None = None
    session_id = (as_text(run.session_id) or "").strip()
    if include_session and session_id:
        turns = session_turns(run_store, ledger_store, session_id, session_turn_limit)
        session = {"session_id": session_id, "turns": turns}
    bundle = {
        "version": RUN_HISTORY_BUNDLE_VERSION_V1,
        "generated_at": utc_now_iso(),
        "root_run_id": run_id,
        "run": _summary(run),
        "workflow_snapshot": known_snapshot(run),
        "input_data": input_data(run, artifact_store),
        "ledgers": ledgers,
        "timeline": timeline(ledgers.values()),
        "session": session,
    }
    if include_evidence:
        bundle["evidence"] = evidence_part(run_store, artifact_store, run_ids)
    return bundle


def _summary(run: RunState) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "status": run.status.value,
        "current_node": run.current_node,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "actor_id": run.actor_id,
        "session_id": run.session_id,
        "parent_run_id": run.parent_run_id,
        "error": run.error,
        "waiting": None if run.waiting is None else copied(run.waiting.to_dict()),
    }
