"""Ledger records on AbstractCore's event bus (`spec/04 §13`)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from ._needs_abstractcore import needs_abstractcore

__all__ = ["attach_global_event_bus_bridge", "emit_step_record"]

_EVENTS = {
    "started": "WORKFLOW_STEP_STARTED",
    "completed": "WORKFLOW_STEP_COMPLETED",
    "waiting": "WORKFLOW_STEP_WAITING",
    "failed": "WORKFLOW_STEP_FAILED",
}
_DEFAULT_SOURCE = "abstractruntime"


class _WithLedgerEvents(Protocol):
    def subscribe_ledger(
        self, callback: Callable[[dict[str, Any]], None], *, run_id: str | None = None
    ) -> Callable[[], None]: ...


def emit_step_record(record: dict[str, Any], *, source: str = _DEFAULT_SOURCE) -> None:
    """Emit a ledger record as ``EventType.WORKFLOW_STEP_*`` on AbstractCore's ``GlobalEventBus``.

    Args:
        record: as ledger subscribers get it. Its ``status`` is a text or an enum; other statuses than
            ``started``, ``completed``, ``waiting`` and ``failed`` emit nothing.
        source: the event's source.

    The event's data: ``run_id``, ``node_id``, ``step_id``, ``status`` (text), ``record``.

    Raises:
        ImportError: AbstractCore is not installed.
    """
    raw = record.get("status")
    status = str(raw.value if isinstance(raw, Enum) else raw)
    name = _EVENTS.get(status)
    if name is None:
        return
    with needs_abstractcore():
        from abstractcore.events import EventType, GlobalEventBus

    data = {key: record.get(key) for key in ("run_id", "node_id", "step_id")}
    GlobalEventBus.emit(EventType[name], {**data, "status": status, "record": record}, source=source)


def attach_global_event_bus_bridge(
    *, runtime: _WithLedgerEvents, run_id: str | None = None, source: str = _DEFAULT_SOURCE
) -> Callable[[], None]:
    """Emit every record that ``runtime`` appends from now on (of one run, if given).

    Returns:
        what ends it.

    Raises:
        ImportError: AbstractCore is not installed.
        RuntimeError: the runtime's ledger store can't be subscribed to; wrap it in `ObservableLedgerStore`.
    """
    with needs_abstractcore():
        import abstractcore.events  # noqa: F401  # missing, it is missed here and not at the first record

    return runtime.subscribe_ledger(lambda record: emit_step_record(record, source=source), run_id=run_id)
