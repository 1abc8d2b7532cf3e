"""Runs whose node traces show what was executed, also where a store keeps large values elsewhere."""

from __future__ import annotations

from .models import RunState
from .persistence import Persistence
from .store_ports import LedgerPort, RunStorePort
from .traces import PutBack, attach_traces

__all__ = ["TracedStores"]


class TracedStores(Persistence):
    """`Persistence` for stores that may have ``put_back`` (see `store_ports`).

    Attributes:
        put_back: the ledger's, else the run store's; ``None`` where nothing is kept elsewhere.
    """

    def __init__(self, run_store: RunStorePort, ledger_store: LedgerPort) -> None:
        super().__init__(run_store, ledger_store)
        own: PutBack | None = getattr(run_store, "put_back", None)
        self.put_back: PutBack | None = getattr(ledger_store, "put_back", own)

    def with_traces(self, run: RunState) -> RunState:
        """The run with its node traces served from the ledger, computed when somebody reads them."""
        run_id = run.run_id  # the view is part of the run: holding on to it would make it a cycle
        attach_traces(run, lambda: self.ledger_store.list(run_id), self.put_back)
        return run
