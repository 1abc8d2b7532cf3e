"""Runs, waits and records for storage tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from abstractruntime.core.models import (
    Effect,
    EffectType,
    RunState,
    RunStatus,
    StepRecord,
    WaitReason,
    WaitState,
)
from abstractruntime.storage.checkpoints import Checkpoint, CheckpointStore, Write, Written


def a_run(run_id: str = "r1", **fields: Any) -> RunState:
    values: dict[str, Any] = {
        "workflow_id": "wf",
        "status": RunStatus.RUNNING,
        "current_node": "start",
        "vars": {"greeting": "grüß Gott", "n": [1, 2.5, None, True]},
        "created_at": "2026-01-01T00:00:00.000000+00:00",
        "updated_at": "2026-01-01T00:00:00.000000+00:00",
    }
    return RunState(run_id=run_id, **{**values, **fields})


def waiting_for(run: RunState, *keys: str, until: str | None = None) -> RunState:
    """The run, waiting for an event under one or any of several keys."""
    details = {"wait_keys": list(keys)} if len(keys) > 1 else None
    wait = WaitState(WaitReason.EVENT, wait_key=keys[0], until=until, details=details)
    return replace(run, status=RunStatus.WAITING, waiting=wait)


def waiting_until(run: RunState, until: str) -> RunState:
    return replace(run, status=RunStatus.WAITING, waiting=WaitState(WaitReason.UNTIL, until=until))


def a_record(run: RunState, key: str | None = None, *, result: dict[str, Any] | None = None) -> StepRecord:
    """A completed record if there is a result, else a started one."""
    effect = Effect(EffectType.LLM_CALL, {"prompt": "hi"}, "answer")
    record = StepRecord.start(run=run, node_id="start", effect=effect, idempotency_key=key)
    return record if result is None else record.finish_success(result)


def insert(
    store: CheckpointStore,
    run: RunState,
    *,
    depth: int = 0,
    wake_at: float | None = None,
    priority: int = 0,
    admission: str | None = None,
    unsent: bool = False,
) -> Checkpoint:
    with store.unit() as unit:
        assert unit.insert(
            run, depth=depth, wake_at=wake_at, priority=priority, admission=admission, unsent=unsent
        )
    return loaded(store, run.run_id)


def loaded(store: CheckpointStore, run_id: str) -> Checkpoint:
    checkpoint = store.load(run_id)
    assert checkpoint is not None
    return checkpoint


def moved(store: CheckpointStore, before: Checkpoint, run: RunState, **fields: Any) -> Checkpoint:
    """The checkpoint after a commit that must succeed."""
    assert store.commit(Write(before, run, **fields)) is Written.OK
    return loaded(store, run.run_id)
