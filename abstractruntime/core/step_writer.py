"""What ends a step, record and checkpoint, as one call to stores that share a database.

Without it they are written by the separate methods that every pair of stores has (`persistence`), each a part
of one transaction. With it the same is written with fewer statements.
"""

from __future__ import annotations

from typing import Any, Protocol

from .models import RunState, StepRecord
from .overrides import has_own

__all__ = ["StepWriter", "StepWriting"]


class StepWriter(Protocol):
    """What ``run_store.step_writer(ledger_store)`` returns where both are parts of one database."""

    def encoded(self, record: StepRecord) -> Any:
        """The record as `end` takes it.

        Raises:
            TypeError, ValueError: it has no JSON form.
        """

    def end(self, record: Any, run: RunState, *, version: Any) -> object | None:
        """Append the `encoded` record, unless it is ``None``, and put ``run`` in place of the stored one that
        still has this version, both or nothing. Both runs are RUNNING.

        Returns:
            The new version; ``None`` if nothing was written, because somebody else has.

        Raises:
            TypeError, ValueError: the run has no JSON form; nothing was written.
        """


class StepWriting:
    """The writer of one pair of stores, for as long as nobody watches the methods it stands for."""

    def __init__(self, writer: StepWriter, run_store: object, ledger_store: object) -> None:
        self._writer = writer
        self._methods = [
            *_methods_of(run_store, "save", "swap"),
            *_methods_of(ledger_store, "append"),
        ]

    @classmethod
    def of(cls, run_store: object, ledger_store: object) -> StepWriting | None:
        """``None`` where the stores have no writer, or where a class of the host's has methods of its own."""
        make = getattr(run_store, "step_writer", None)
        if make is None or not (hasattr(type(run_store), "swap") and hasattr(type(ledger_store), "append")):
            return None  # a proxy hands on what it has not: its own `save` must see every write
        writer: StepWriter | None = make(ledger_store)
        if writer is None or any(
            has_own(store, name, beside)
            for store, beside, names in (
                (run_store, "step_writer", ("save", "swap")),
                (ledger_store, "find_completed", ("append",)),
            )
            for name in names
        ):
            return None
        return cls(writer, run_store, ledger_store)

    @property
    def writer(self) -> StepWriter | None:
        """``None`` while a host has written over a method, on the instance or its class: that one must see
        every write."""
        for store, name, method in self._methods:
            if getattr(getattr(store, name), "__func__", None) is not method:
                return None
        return self._writer


def _methods_of(store: object, *names: str) -> list[tuple[object, str, object]]:
    return [(store, name, getattr(type(store), name)) for name in names]
