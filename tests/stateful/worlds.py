"""One world: a pair of stores, a runtime over it, a clock and ids that go the same way in every world."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from abstractruntime.core.environment import Environment
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.runtime import Runtime
from abstractruntime.storage.artifacts import ArtifactStore
from abstractruntime.storage.offload_values import resolve_offloaded

from .workflows import Outside, Workflows

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


class Clock:
    """Moves on by ``tick_us`` microseconds per look; 0 makes many moments the same."""

    def __init__(self, tick_us: int) -> None:
        self.tick = timedelta(microseconds=tick_us)
        self.moment = BEGIN

    def __call__(self) -> datetime:
        self.moment += self.tick
        return self.moment


class Ids:
    """UUID-shaped ids that don't sort in the order in which they are made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        return f"{self.made * 2654435761 % 2**32:08x}-0000-4000-8000-{self.made:012x}"


@dataclass
class Opened:
    """Store objects over one place, and how to let go of them.

    Attributes:
        artifacts: where the decorators put large values; None if there are none.
        close: what a process that ends properly does.
    """

    runs: Any
    ledger: Any
    artifacts: ArtifactStore | None = None
    close: Callable[[], None] = lambda: None


@dataclass
class World:
    """One kind of stores and everything the same commands are given to."""

    name: str
    open_stores: Callable[[], Opened]
    tick_us: int
    outside: Outside = field(default_factory=Outside)

    def __post_init__(self) -> None:
        self.clock = Clock(self.tick_us)
        self.ids = Ids()
        self.workflows = Workflows(self.outside)
        self.stores = self.open_stores()
        self.runtime = self._make_runtime()

    def _make_runtime(self) -> Runtime:
        return Runtime(
            run_store=self.stores.runs,
            ledger_store=self.stores.ledger,
            effect_handlers=self.outside.handlers(),
            workflow_registry=self.workflows.registry,
            effect_policy=RetryPolicy(llm_max_attempts=3, tool_max_attempts=1, backoff_base=0.0),
            environment=Environment(now=self.clock, new_id=self.ids),
        )

    def reopen(self) -> None:
        """What another process would have: new stores over the same place, a new runtime."""
        self.stores.close()
        self.stores = self.open_stores()
        self.runtime = self._make_runtime()

    def close(self) -> None:
        self.stores.close()

    # --- what can be seen -----------------------------------------------------------------------------

    def do(self, command: Callable[[World], object]) -> object:
        """What a command returns, or the error it raises, in a form that can be compared."""
        try:
            return self.shown(command(self))
        except Exception as exc:
            return f"{type(exc).__name__}: {exc}"

    def of_unknown(self, method: str) -> object:
        """What a runtime's method says about a run that does not exist."""
        return self.do(lambda world: getattr(world.runtime, method)("unknown"))

    def shown(self, value: object) -> object:
        """JSON text (so that key order counts), values put back that a decorator has moved away."""
        if isinstance(value, RunState):
            value = value.to_dict()
        elif isinstance(value, list):
            value = [item.to_dict() if isinstance(item, RunState) else item for item in value]
        if self.stores.artifacts is not None:
            value = resolve_offloaded(value, self.stores.artifacts)
        return json.dumps(value)

    def records(self, run_id: str, after: int = 0) -> object:
        """The run's ledger beyond a position, without the hashes, which only some worlds have."""
        records = self.stores.ledger.list_after(run_id=run_id, after=after)[0]
        return self.shown([{**record, "prev_hash": None, "record_hash": None} for record in records])

    def glance(self, run_id: str, after: int) -> dict[str, object]:
        """What commands change of a run; of its ledger, what came after a position."""
        return {
            "state": self.shown(self.stores.runs.load(run_id)),
            "new records": self.records(run_id, after),
            "children": self.shown(self.stores.runs.list_children(parent_run_id=run_id)),
        }

    def whole(self, run_id: str) -> dict[str, object]:
        """Everything about one run."""
        children = self.stores.runs.list_children(parent_run_id=run_id, status=RunStatus.COMPLETED)
        records = self.runtime.get_ledger(run_id)
        return {
            "state": self.shown(self.runtime.get_state(run_id)),
            "records": self.records(run_id),
            "record order": [record["step_id"] for record in records],
            "last record": (self.stores.ledger.last(run_id) or {}).get("step_id"),
            "traces": self.shown(self.runtime.get_node_traces(run_id)),
            "limits": self.shown(self.runtime.get_limit_status(run_id)),
            "ended children": self.shown(children),
        }

    def lists(self) -> dict[str, object]:
        """The listings without filters, and what is due."""
        runs, now = self.stores.runs, self.clock.moment.isoformat()
        views: dict[str, object] = {
            "runs": [run.run_id for run in runs.list_runs()],
            "for events": runs.list_runs(status=RunStatus.WAITING, wait_reason=WaitReason.EVENT),
            "due": runs.list_due_wait_until(now_iso=now),
            "rows": runs.list_run_index(),
        }
        return {name: self.shown(view) for name, view in views.items()}

    def all_lists(self, run_ids: list[str]) -> dict[str, object]:
        """The same with filters and limits, and what is counted."""
        runs, ledger, now = self.stores.runs, self.stores.ledger, self.clock.moment.isoformat()
        views: dict[str, object] = {
            "runs": runs.list_runs(),
            "newest two": runs.list_runs(limit=2),
            "none": runs.list_runs(limit=0),
            "waiting": runs.list_runs(status=RunStatus.WAITING),
            "of mixed": runs.list_runs(workflow_id="mixed"),
            "first due": runs.list_due_wait_until(now_iso=now, limit=1),
            "waiting rows": runs.list_run_index(status=RunStatus.WAITING),
            "rows of s": runs.list_run_index(session_id=" s "),
            "rows of a blank session": runs.list_run_index(session_id=" "),
            "root rows": runs.list_run_index(root_only=True, workflow_id="mixed", limit=3),
            "counts": ledger.count_many([*run_ids, "unknown"]),
            "count": [ledger.count(run_id) for run_id in run_ids],
            "metrics": ledger.metrics_many(run_ids),
        }
        return {name: self.shown(view) for name, view in views.items()}
