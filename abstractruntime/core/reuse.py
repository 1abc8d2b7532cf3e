"""What the ledger knows of an effect already, without reading the ledger at every step (`spec/01 §5.5`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from .overrides import has_own

__all__ = ["PriorFailure", "PriorResult", "ReuseLookup"]

TAIL = 20
"""Records looked back for attempts that a lost driver left behind (two per attempt, and control records)."""

_CONTROL_VERBS = frozenset({"pause", "unpause", "limits"})


@dataclass(frozen=True, slots=True)
class PriorResult:
    """The result of a COMPLETED record (which may be ``None``)."""

    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class PriorFailure:
    """The last attempt a lost driver recorded as FAILED before it could try again."""

    attempt: int
    error: str | None


class _Ledger(Protocol):
    def list(self, run_id: str) -> list[dict[str, Any]]: ...


class ReuseLookup:
    """Outcomes of one run's effects, for as long as one caller drives it.

    A ledger with an index (``find_completed``) is asked each time; any other is read once, at the first
    question, and what this driver completes is remembered: cost per step stays flat (`DESIGN §1.5`).
    """

    def __init__(self, ledger: _Ledger, run_id: str) -> None:
        self._ledger = ledger
        self._run_id = run_id
        is_plain = not has_own(ledger, "list", beside="find_completed")
        self._find = getattr(ledger, "find_completed", None) if is_plain else None
        self._seen: dict[str, dict[str, Any] | None] | None = None

    def completed(self, key: str) -> PriorResult | None:
        """The first completed result of this key, or ``None``. The caller may keep and change it."""
        find = self._find
        if find is not None:
            found: PriorResult | None = find(self._run_id, key)
            return found
        if self._seen is None:
            self._seen = self._read()
        return PriorResult(deepcopy(self._seen[key])) if key in self._seen else None

    def remember(self, key: str, result: dict[str, Any] | None) -> None:
        """The driver has just recorded this completion."""
        if self._seen is not None:
            self._seen.setdefault(key, deepcopy(result))

    def failed(self, key: str) -> PriorFailure | None:
        """The failed attempt of this key that the ledger ends with, if it does (`spec/01 §19.13`)."""
        for record in reversed(self.tail()):
            effect = record.get("effect") or {}
            if effect.get("type") in _CONTROL_VERBS:
                continue
            if record.get("idempotency_key") != key:
                return None
            if record.get("status") == "failed":
                return PriorFailure(record.get("attempt") or 1, record.get("error"))
            if record.get("status") != "started":
                return None
        return None

    def node_failures(self) -> int:
        """How many times in a row the node has raised, as far as that was recorded."""
        count = 0
        for record in reversed(self.tail()):
            effect = record.get("effect") or {}
            if effect.get("type") in _CONTROL_VERBS:
                continue
            if record.get("effect") is not None or record.get("status") != "failed":
                break
            count += 1
        return count

    def tail(self) -> Sequence[Mapping[str, Any]]:
        """The run's last records, a few of them, in order."""
        count, list_after = getattr(self._ledger, "count", None), getattr(self._ledger, "list_after", None)
        if count is None or list_after is None:
            return self._ledger.list(self._run_id)[-TAIL:]
        after = max(0, count(self._run_id) - TAIL)
        records: Sequence[Mapping[str, Any]] = list_after(run_id=self._run_id, after=after, limit=TAIL)[0]
        return records

    def _read(self) -> dict[str, dict[str, Any] | None]:
        seen: dict[str, dict[str, Any] | None] = {}
        for record in self._ledger.list(self._run_id):
            key = record.get("idempotency_key")
            if key and record.get("status") == "completed":
                seen.setdefault(key, record.get("result"))
        return seen
