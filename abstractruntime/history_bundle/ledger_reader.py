"""Parts of a ledger by position, without reading the rest where the store can (`spec/01 §19.22`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .ports import LedgerPort

__all__ = ["Items", "LedgerReader"]

PAGE = 500
"""Records in memory at once when a whole ledger is walked."""

Items = list[tuple[int, dict[str, Any]]]
"""Records with their positions; the first record of a run has position 1."""


class LedgerReader:
    """One run's ledger. Stores without ``count`` and ``list_after`` are read once, as a whole."""

    def __init__(self, store: LedgerPort, run_id: str) -> None:
        self._run_id = run_id
        self._list_after: Any = getattr(store, "list_after", None)
        count = getattr(store, "count", None)
        self._all: list[dict[str, Any]] = []
        if self._list_after is None or count is None:
            self._list_after = None
            self._all = list(store.list(run_id))
            self.total = len(self._all)
        else:
            self.total = int(count(run_id))

    def between(self, after: int, last: int) -> Items:
        """The records with positions ``after + 1`` to ``last``."""
        if self._list_after is None:
            return list(enumerate(self._all[after:last], start=after + 1))
        items: Items = []
        while after < last:
            page, read_to = self._page(after, last - after)
            if read_to <= after:
                break
            items += page
            after = read_to
        return items

    def _page(self, after: int, limit: int) -> tuple[Items, int]:
        records, read_to = self._list_after(run_id=self._run_id, after=after, limit=limit)
        if len(records) == read_to - after:
            return list(enumerate(records, start=after + 1)), read_to
        if limit == 1:
            # The one record at this place is damaged and left out, or the position jumped over a gap.
            return [(read_to, record) for record in records], read_to
        # A damaged record is missing: one at a time, so that the others keep their positions.
        items: Items = []
        while after < read_to:
            found, at = self._page(after, 1)
            if at <= after:
                break
            items += found
            after = at
        return items, max(after, read_to)

    def forward(self) -> Iterator[dict[str, Any]]:
        """All records in order, a page at a time."""
        for after in range(0, self.total, PAGE):
            for _, record in self.between(after, min(after + PAGE, self.total)):
                yield record

    def backward(self) -> Iterator[dict[str, Any]]:
        """All records from the newest to the oldest, a page at a time."""
        for last in range(self.total, 0, -PAGE):
            for _, record in reversed(self.between(max(0, last - PAGE), last)):
                yield record
