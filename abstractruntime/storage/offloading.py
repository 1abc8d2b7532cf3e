"""Stores that keep large values out of checkpoints and ledgers (`spec/02 §8.3`). Opt-in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitReason
from abstractruntime.core.tally import Tally

from .artifact_base import ArtifactStore
from .base import DEFAULT_LIMIT, LedgerStore, RunStore
from .checkpoints import PriorResult
from .forwarding import RUN_OPTIONS, LedgerDecorator
from .ledger_metrics import Metrics
from .observable import LedgerSubscriber, count_records, count_records_many, metrics_of_many
from .offload_values import (
    DEFAULT_MAX_INLINE_BYTES,
    AllowOffload,
    max_inline_from_environment,
    offload_large_values,
    resolve_offloaded,
)
from .run_status import with_status_member

__all__ = [
    "DEFAULT_MAX_INLINE_BYTES",
    "OffloadingLedgerStore",
    "OffloadingRunStore",
    "offload_large_values",
]

logger = logging.getLogger(__name__)

OFFLOAD_FAILED = "offload_failed"


class OffloadingRunStore(RunStore):
    """Saves finished runs without their large values; running and waiting ones as they are.

    Of a finished run the whole ``output`` may be replaced, and of ``vars`` what lies below top-level keys
    that start with ``_``; the user's own keys never. ``load`` doesn't resolve: see `put_back` and
    `abstractruntime.storage.artifacts.resolve_artifact`.

    Args:
        inner: where the runs go.
        artifact_store: where the large values go.
        max_inline_bytes: the largest value that stays, in bytes. Default: the environment variable
            ``ABSTRACTRUNTIME_MAX_INLINE_BYTES`` now, else 262144. 0 and less switch offloading off.

    Attributes:
        tally: its ``counts()`` say how often something had to stay inline; the log says why.
    """

    def __init__(
        self, inner: RunStore, *, artifact_store: ArtifactStore, max_inline_bytes: int | None = None
    ) -> None:
        self._inner = inner
        self._artifacts = artifact_store
        self._limit = max_inline_from_environment() if max_inline_bytes is None else int(max_inline_bytes)
        self.tally = Tally()

    @property
    def inner(self) -> RunStore:
        """The store inside."""
        return self._inner

    @property
    def lock_domain(self) -> object:
        """What all stores over the same runs share: wrapping must not split their locks."""
        return getattr(self._inner, "lock_domain", self._inner)

    def __getattr__(self, name: str) -> object:
        if name in RUN_OPTIONS and "_inner" in self.__dict__:
            return getattr(self._inner, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def save(self, run: RunState) -> None:
        """Save a copy without large values; the passed run keeps them."""
        self._inner.save(self._offloaded(run))

    def load(self, run_id: str) -> RunState | None:
        """The run as it was saved, references and all."""
        return self._inner.load(run_id)

    def whole(self, run: RunState) -> RunState:
        """A loaded run with its output put back.

        Raises:
            CorruptArtifactError: a part of it is gone.
        """
        return replace(run, output=resolve_offloaded(run.output, self._artifacts))

    def put_back(self, value: Any) -> Any:
        """``value``, a part of a loaded run, with its large values put back, to be shown. One that is gone
        stays a reference, and the log says so."""
        return resolve_offloaded(value, self._artifacts, may_be_gone=True)

    def _offloaded(self, run: RunState) -> RunState:
        if run.status.__class__ is not RunStatus:
            run = with_status_member(run)
        if self._limit <= 0 or not run.is_terminal or not run.run_id.strip():
            return run
        output = self._part(run, run.output, "output", "run_output_offload", None)
        stored = run.to_dict()["vars"]  # without computed views
        vars = {
            key: self._part(run, value, f"vars.{key}", "run_store_offload", _is_deep)
            if isinstance(key, str) and key.startswith("_")
            else value
            for key, value in stored.items()
        }
        return replace(run, output=output, vars=vars)

    def _part(self, run: RunState, value: Any, path: str, source: str, allow: AllowOffload | None) -> Any:
        try:
            return offload_large_values(
                value,
                artifact_store=self._artifacts,
                run_id=run.run_id,
                max_inline_bytes=self._limit,
                base_tags={"source": source},
                root_path=path,
                allow_offload=allow,
                allow_root_replace=allow is None,
            )
        except Exception:  # the contract keeps the part inline; the run must be saved in any case
            self.tally.add(OFFLOAD_FAILED)
            logger.warning("can't offload %s of run '%s'; it stays inline", path, run.run_id, exc_info=True)
            return value

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[RunState]:
        """See `QueryableRunStore.list_runs`."""
        found: list[RunState] = self._query("list_runs")(
            status=status, wait_reason=wait_reason, workflow_id=workflow_id, limit=limit
        )
        return found

    def list_due_wait_until(self, *, now_iso: str, limit: int = DEFAULT_LIMIT) -> list[RunState]:
        """See `QueryableRunStore.list_due_wait_until`."""
        found: list[RunState] = self._query("list_due_wait_until")(now_iso=now_iso, limit=limit)
        return found

    def list_children(self, *, parent_run_id: str, status: RunStatus | None = None) -> list[RunState]:
        """See `QueryableRunStore.list_children`."""
        found: list[RunState] = self._query("list_children")(parent_run_id=parent_run_id, status=status)
        return found

    def list_run_index(
        self,
        *,
        status: RunStatus | None = None,
        workflow_id: str | None = None,
        session_id: str | None = None,
        root_only: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> list[dict[str, Any]]:
        """See `QueryableRunIndexStore.list_run_index`."""
        rows: list[dict[str, Any]] = self._query("list_run_index")(
            status=status, workflow_id=workflow_id, session_id=session_id, root_only=root_only, limit=limit
        )
        return rows

    def _query(self, name: str) -> Callable[..., Any]:
        query: Callable[..., Any] | None = getattr(self._inner, name, None)
        if query is None:
            raise NotImplementedError(f"Inner RunStore does not support {name}")
        return query


class OffloadingLedgerStore(LedgerDecorator):
    """Appends records without the large values of their ``effect`` and ``result``, which stay objects.

    ``list`` doesn't resolve references; `find_completed`, by which the runtime takes recorded results over
    after a crash, does, and so do node traces (`put_back`). A hash chain belongs inside, so that it covers
    what the ledger holds.

    Args, attributes: as for `OffloadingRunStore`.
    """

    replaces_values = True
    """Tells a hash chain that it would hash what the ledger does not hold."""

    def __init__(
        self, inner: LedgerStore, *, artifact_store: ArtifactStore, max_inline_bytes: int | None = None
    ) -> None:
        super().__init__(inner)
        self._artifacts = artifact_store
        self._limit = max_inline_from_environment() if max_inline_bytes is None else int(max_inline_bytes)
        self.tally = Tally()

    def append(self, record: StepRecord) -> None:
        """Append a copy without large values; the passed record keeps them."""
        if self._limit <= 0 or not record.run_id.strip():
            self._inner.append(record)
            return
        stored = replace(
            record,
            effect=self._part(record, record.effect, "ledger.effect", "ledger_effect_offload"),
            result=self._part(record, record.result, "ledger.result", "ledger_result_offload"),
        )
        self._inner.append(stored)

    def _part(self, record: StepRecord, value: Any, path: str, source: str) -> Any:
        if value is None:
            return None
        is_calls = isinstance(record.effect, dict) and record.effect.get("type") == "tool_calls"
        try:
            return offload_large_values(
                value,
                artifact_store=self._artifacts,
                run_id=record.run_id,
                max_inline_bytes=self._limit,
                base_tags={"source": source},
                root_path=path,
                allow_offload=_keeps_calls_countable if is_calls else None,
            )
        except Exception:  # the contract keeps the part inline; the step must be recorded in any case
            self.tally.add(OFFLOAD_FAILED)
            logger.warning(
                "can't offload %s of run '%s'; it stays inline", path, record.run_id, exc_info=True
            )
            return value

    def find_completed(self, run_id: str, key: str) -> PriorResult | None:
        """The result of the first COMPLETED record with this idempotency key, large values put back.

        Raises:
            CorruptArtifactError: one of them is gone.
        """
        find = getattr(self._inner, "find_completed", None)
        found: PriorResult | None = _scan(self._inner, run_id, key) if find is None else find(run_id, key)
        return None if found is None else PriorResult(resolve_offloaded(found.result, self._artifacts))

    def put_back(self, value: Any) -> Any:
        """``value``, a part of a record that `list` gave, with its large values put back, to be shown: node
        traces show what was executed (`spec/01 §11.1`). One that is gone stays a reference, and the log says
        so."""
        return resolve_offloaded(value, self._artifacts, may_be_gone=True)

    def subscribe(self, callback: LedgerSubscriber, *, run_id: str | None = None) -> Callable[[], None]:
        """Subscribe to the ledger inside; it delivers references.

        Raises:
            RuntimeError: it has no subscriptions.
        """
        subscribe = getattr(self._inner, "subscribe", None)
        if subscribe is None:
            raise RuntimeError("Inner LedgerStore does not support subscribe()")
        unsubscribe: Callable[[], None] = subscribe(callback, run_id=run_id)
        return unsubscribe

    def count(self, run_id: str) -> int:
        """Number of the run's records; 0, and a line in the log, if the ledger inside can't say."""
        return count_records(self._inner, run_id, self.tally)

    def count_many(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Number of records by run; unknown runs are left out."""
        return count_records_many(self._inner, run_ids, self.tally)

    def metrics_many(self, run_ids: Iterable[str]) -> dict[str, Metrics]:
        """The metrics of the ledger inside; ``{}`` if it has none."""
        return metrics_of_many(self._inner, run_ids, self.tally)


def _is_deep(path: str, value: Any) -> bool:
    """Below a private key only: at least two dots from ``vars`` on. What node traces are made of stays."""
    return path.count(".") >= 2 and not path.startswith("vars._runtime.reused_steps")


def _keeps_calls_countable(path: str, value: Any) -> bool:
    """The list of calls stays, so that metrics can count it; what is large in a call may go."""
    return path not in ("ledger.effect.payload", "ledger.effect.payload.tool_calls")


def _scan(ledger: LedgerStore, run_id: str, key: str) -> PriorResult | None:
    for record in ledger.list(run_id):
        if record.get("idempotency_key") == key and record.get("status") == "completed":
            return PriorResult(record.get("result"))
    return None
