"""Finding a prior result by its idempotency key without reading the ledger at every step (`spec/01 §5.5`)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["PriorResult", "ReuseLookup"]


@dataclass(frozen=True, slots=True)
class PriorResult:
    """The result of a COMPLETED record (which may be ``None``)."""

    result: dict[str, Any] | None


class _Ledger(Protocol):
    def list(self, run_id: str) -> list[dict[str, Any]]: ...


class ReuseLookup:
    """Completed keys of one run, for as long as one caller drives it.

    A ledger with an index (``find_completed``) is asked each time; any other is read once, at the first
    question, and what this driver completes is remembered: cost per step stays flat (`DESIGN §1.5`).
    """

    def __init__(self, ledger: _Ledger, run_id: str) -> None:
        self._ledger = ledger
        self._run_id = run_id
        self._find = getattr(ledger, "find_completed", None)
        self._seen: dict[str, dict[str, Any] | None] | None = None

    def completed(self, key: str) -> PriorResult | None:
        """The first completed result of this key, or ``None``."""
        if self._find is not None:
            found: PriorResult | None = self._find(self._run_id, key)
            return found
        if self._seen is None:
            self._seen = self._read()
        return PriorResult(deepcopy(self._seen[key])) if key in self._seen else None

    def remember(self, key: str, result: dict[str, Any] | None) -> None:
        """The driver has just recorded this completion."""
        if self._seen is not None:
            self._seen.setdefault(key, deepcopy(result))

    def _read(self) -> dict[str, dict[str, Any] | None]:
        seen: dict[str, dict[str, Any] | None] = {}
        for record in self._ledger.list(self._run_id):
            key = record.get("idempotency_key")
            if key and record.get("status") == "completed":
                seen.setdefault(key, record.get("result"))
        return seen
