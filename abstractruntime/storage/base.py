"""What the runtime asks of a place for runs and ledgers (`spec/02 §2`).

Inheritance is not required: any object with these methods serves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitReason

__all__ = [
    "DEFAULT_LIMIT",
    "LedgerStore",
    "QueryableRunIndexStore",
    "QueryableRunStore",
    "RecordDicts",
    "RunStore",
]

RecordDicts = list[dict[str, Any]]
"""Ledger records as JSON-like objects (`spec/02 §3.2`)."""

DEFAULT_LIMIT = 100


class RunStore(ABC):
    """Where checkpoints live (`spec/02 §2.1`)."""

    @abstractmethod
    def save(self, run: RunState) -> None:
        """Insert or fully replace the checkpoint with this ``run.run_id``.

        Raises:
            TypeError: the run holds something that has no JSON form; nothing was written.
        """

    @abstractmethod
    def load(self, run_id: str) -> RunState | None:
        """The latest checkpoint, or ``None`` when the id is unknown."""


class LedgerStore(ABC):
    """Where the append-only journals live (`spec/02 §2.2`)."""

    @abstractmethod
    def append(self, record: StepRecord) -> None:
        """Add one record at the end of ``record.run_id``'s journal, as it is now."""

    @abstractmethod
    def list(self, run_id: str) -> RecordDicts:
        """All records of the run in append order; ``[]`` when the run is unknown."""


@runtime_checkable
class QueryableRunStore(Protocol):
    """A run store that can be searched (`spec/02 §2.3`). Times compare as text: UTC, one shape.

    ``limit``: most rows to return, default 100; none for 0 and less.
    """

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[RunState]:
        """Runs that match all filters, newest ``updated_at`` first. ``wait_reason`` looks at the stored
        wait only, whatever the status."""
        ...

    def list_due_wait_until(self, *, now_iso: str, limit: int = DEFAULT_LIMIT) -> list[RunState]:
        """Runs that wait for a time which is not after ``now_iso``; earliest first."""
        ...

    def list_children(self, *, parent_run_id: str, status: RunStatus | None = None) -> list[RunState]:
        """All runs with this parent, by ``created_at``, then id."""
        ...


@runtime_checkable
class QueryableRunIndexStore(Protocol):
    """A run store that lists runs without decoding them (`spec/02 §2.4`)."""

    def list_run_index(
        self,
        *,
        status: RunStatus | None = None,
        workflow_id: str | None = None,
        session_id: str | None = None,
        root_only: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> list[dict[str, Any]]:
        """Rows with ``run_id, workflow_id, status, wait_reason, wait_until, parent_run_id, actor_id,
        session_id, created_at, updated_at``; most recently updated first.

        ``session_id`` is stripped, blank means any. ``limit``: 0 and ``None`` mean 100, negatives 1.
        """
        ...
