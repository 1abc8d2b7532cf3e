"""One journal of all writes to a pair of stores, in the order in which they happened."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import RunState, StepRecord

from .kernel import kind


class Recorder:
    """Wraps both stores; `journal` holds ``S(status, node)`` and record kinds."""

    def __init__(self, run_store: Any, ledger_store: Any) -> None:
        self.journal: list[str] = []
        self.run_store = _Runs(run_store, self.journal)
        self.ledger_store = _Ledger(ledger_store, self.journal)

    def take(self) -> list[str]:
        """What was written since the last time."""
        taken, self.journal[:] = list(self.journal), []
        return taken


class _Runs:
    def __init__(self, inner: Any, journal: list[str]) -> None:
        self._inner, self._journal = inner, journal

    def save(self, run: RunState) -> None:
        self._inner.save(run)
        self._journal.append(f"S({run.status.value}, {run.current_node})")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Ledger:
    def __init__(self, inner: Any, journal: list[str]) -> None:
        self._inner, self._journal = inner, journal

    def append(self, record: StepRecord) -> None:
        self._inner.append(record)
        self._journal.append(kind(record.to_dict()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
