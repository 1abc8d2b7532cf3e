"""Finding the runs that wait for an event, without a silent cap (`spec/01 §19`, row 14).

A store with an index by wait key offers ``list_waiting_on(wait_keys=...)`` and
``list_wait_keys(prefix=...)``; of any other store every waiting run is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .models import RunState, RunStatus, WaitReason
from .resume import wait_keys

__all__ = ["event_keys_of", "find_waiters", "keys_waited_for"]

_ALL = 2**31 - 1


def event_keys_of(run: RunState) -> list[str]:
    """The keys of the events the run waits for; ``[]`` when it waits for none."""
    wait = run.waiting
    if wait is None or run.status is not RunStatus.WAITING or wait.reason is not WaitReason.EVENT:
        return []
    return wait_keys(wait)


def find_waiters(store: Any, keys: Iterable[str]) -> list[RunState]:
    """All runs that wait for an event with one of these keys, newest update first."""
    wanted = set(keys)
    find = getattr(store, "list_waiting_on", None)
    candidates: list[RunState] = _all(store) if find is None else find(wait_keys=sorted(wanted))
    return [run for run in candidates if wanted.intersection(event_keys_of(run))]


def keys_waited_for(store: Any, prefix: str) -> list[str]:
    """All keys that begin with ``prefix`` and that some run waits for."""
    find = getattr(store, "list_wait_keys", None)
    if find is not None:
        return list(find(prefix=prefix))
    keys = (key for run in _all(store) for key in event_keys_of(run))
    return list(dict.fromkeys(key for key in keys if key.startswith(prefix)))


def _all(store: Any) -> list[RunState]:
    waiting: list[RunState] = store.list_runs(
        status=RunStatus.WAITING, wait_reason=WaitReason.EVENT, limit=_ALL
    )
    return waiting
