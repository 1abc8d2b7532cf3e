"""What can be asked about runs without changing them (`spec/01 §9.6` to §9.9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import InvalidInputError, RuntimeFault
from .evidence_index import evidence_entries, putting_back
from .limits import check_limits, limit_status
from .models import LimitWarning, RunState
from .persistence import Persistence
from .store_ports import RunStorePort
from .traces import derive_traces, empty_trace, stored_traces

__all__ = ["Inspection"]


class Inspection:
    """The reading half of `Runtime`."""

    _stores: Persistence
    _run_store: RunStorePort
    _artifact_store: Any

    def get_state(self, run_id: str) -> RunState:
        """The stored run. Raises `UnknownRunError` (a ``KeyError``)."""
        return self._stores.load(run_id)

    def get_ledger(self, run_id: str) -> list[dict[str, Any]]:
        """The run's ledger records in order; ``[]`` for an unknown run."""
        return self._stores.ledger_store.list(run_id)

    def subscribe_ledger(
        self, callback: Callable[[dict[str, Any]], None], *, run_id: str | None = None
    ) -> Callable[[], None]:
        """Receive each record appended in this process; returns the function that ends it.

        Raises:
            RuntimeError: the ledger store can't notify (`spec/01 §9.7`).
        """
        subscribe = getattr(self._stores.ledger_store, "subscribe", None)
        if subscribe is None:
            raise RuntimeError(
                "Configured LedgerStore does not support subscriptions. Wrap it with ObservableLedgerStore."
            )
        unsubscribe: Callable[[], None] = subscribe(callback, run_id=run_id)
        return unsubscribe

    def get_node_traces(self, run_id: str) -> dict[str, Any]:
        """All node traces of the run (`spec/01 §11.1`)."""
        run = self._stores.load(run_id)
        runtime = run.vars.get("_runtime")
        marks = runtime.get("reused_steps") if isinstance(runtime, dict) else None
        records = self._stores.ledger_store.list(run_id)
        return derive_traces(records, marks, stored_traces(run), self._stores.put_back)

    def get_node_trace(self, run_id: str, node_id: str) -> dict[str, Any]:
        """One node's trace, or ``{"node_id": ..., "steps": []}``."""
        trace: dict[str, Any] = self.get_node_traces(run_id).get(node_id) or empty_trace(node_id)
        return trace

    def list_evidence(self, run_id: str) -> list[dict[str, Any]]:
        """What the run's tools found, in order of recording (`spec/03 §15.3`).

        Returns:
            copies of the evidence entries of the run's span index. The id to load one by is under
            ``evidence_id`` and ``artifact_id``.

        Raises:
            UnknownRunError: (a ``KeyError``) no such run.
            CorruptCheckpointError: the index of an ended run was offloaded, and is gone.
        """
        put_back = putting_back(self._run_store, self._artifact_store)
        return evidence_entries(self._stores.load(run_id), put_back)

    def load_evidence(self, evidence_id: str) -> dict[str, Any] | None:
        """The evidence object stored under this artifact id, ``None`` if there is none: nothing is stored
        there, what is stored is no JSON object, or the text can't be an artifact's id (`spec/01 §9.8`).

        Raises:
            RuntimeError: the runtime has no artifact store.
            CorruptArtifactError: (a ``ValueError``) something is stored there, and damaged.
        """
        if self._artifact_store is None:
            raise RuntimeError(
                "Evidence requires an ArtifactStore; configure runtime.set_artifact_store(...)"
            )
        try:
            value = self._artifact_store.load_json(evidence_id)
        except InvalidInputError:
            return None
        except RuntimeFault:
            raise  # what is damaged is not missing
        except ValueError:  # text, or bytes
            return None
        return value if isinstance(value, dict) else None

    def get_limit_status(self, run_id: str) -> dict[str, Any]:
        """Iterations, tokens and history against their limits (`spec/01 §9.9`)."""
        return limit_status(self._stores.load(run_id).vars)

    def check_limits(self, run: RunState) -> list[LimitWarning]:
        """Limits that are close or exceeded; advisory, nothing is stopped."""
        return check_limits(run)

    @property
    def fault_counts(self) -> dict[str, int]:
        """How often something went wrong in this runtime that must not fail a run, by kind: records that
        could not be appended, control reads, evidence, event deliveries (`spec/01 §19.20`). The log has the
        details."""
        return self._stores.tally.counts()
