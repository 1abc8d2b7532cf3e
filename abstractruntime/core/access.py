"""Who may reach into another run (`spec/01 §19`, row 17).

The kernel has no users; it knows sessions and run trees. A host with a stricter idea gives its own policy:
``Runtime(hooks=Hooks(access=...))``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .models import RunState

__all__ = ["AccessPolicy", "FindRun", "OpenAccess", "SessionAccess", "StrictSessionAccess"]

FindRun = Callable[[str], "RunState | None"]
"""Looks a run up by its id."""

_MAX_ANCESTORS = 1000
_SHARED = "__global_memory__"
"""Workflow id of the run that owns what all runs share (`spec/01 §12.8`)."""


class AccessPolicy(Protocol):
    """What a host may forbid. Each question is asked before anything is read or written."""

    def may_read(self, reader: RunState, target: RunState, find: FindRun) -> bool:
        """Whether a node of ``reader`` may look into ``target`` (VARS_QUERY); never asked for itself."""
        ...

    def may_emit(self, emitter: RunState, listener: RunState, find: FindRun) -> bool:
        """Whether an event of ``emitter`` may wake ``listener``; one that may not is not reached."""
        ...

    def may_resume(self, run: RunState, wait_key: str | None) -> bool:
        """Whether whoever calls `Runtime.resume` with this key may; ``None`` is "whatever it waits for"."""
        ...


class OpenAccess:
    """Everybody may do everything, as in the published package."""

    def may_read(self, reader: RunState, target: RunState, find: FindRun) -> bool:
        return True

    def may_emit(self, emitter: RunState, listener: RunState, find: FindRun) -> bool:
        return True

    def may_resume(self, run: RunState, wait_key: str | None) -> bool:
        return True


class SessionAccess(OpenAccess):
    """The default: runs read runs of their own session or run tree. Events and resumptions are open, because
    event scopes are how sessions talk to each other (`spec/01 §12.5`).

    Runs without a session count as one session: they were started by the same host without a distinction.
    """

    def may_read(self, reader: RunState, target: RunState, find: FindRun) -> bool:
        return (
            (reader.session_id or None) == (target.session_id or None)
            or target.workflow_id == _SHARED
            or _root_id(reader, find) == _root_id(target, find)
        )


class StrictSessionAccess(SessionAccess):
    """Events too stay in their session or run tree, and a resumption must name the key it answers."""

    def may_emit(self, emitter: RunState, listener: RunState, find: FindRun) -> bool:
        return self.may_read(emitter, listener, find)

    def may_resume(self, run: RunState, wait_key: str | None) -> bool:
        return wait_key is not None or run.waiting is None or run.waiting.wait_key is None


def _root_id(run: RunState, find: FindRun) -> str:
    """The run at the top of the tree, as far as it is still stored."""
    for _ in range(_MAX_ANCESTORS):
        parent = find(run.parent_run_id) if run.parent_run_id else None
        if parent is None:
            return run.parent_run_id or run.run_id
        run = parent
    return run.run_id
