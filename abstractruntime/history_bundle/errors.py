"""What can go wrong with a history bundle, with the texts of the contract (`spec/01 §16.2`)."""

from __future__ import annotations

from abstractruntime.core.errors import RuntimeFault, UnknownRunError

__all__ = ["HistoryBundleError", "HistoryRunNotFoundError"]


class HistoryBundleError(RuntimeFault, RuntimeError):
    """A store failed, or answered nonsense, where the bundle can't do without it."""


class HistoryRunNotFoundError(UnknownRunError):
    """No run with this id in the store; a ``KeyError``."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.args = (f"Run '{run_id}' not found",)
