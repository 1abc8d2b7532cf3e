"""A whole fleet on one machine: Valkey from a wheel, SQLite, workers, beat and resumer as child processes.

Names are imported on first use, because every child starts in this package and needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import EmbeddedFleetError, StartBrokenOffError
    from .fleet import EmbeddedFleet
    from .record import FleetRecord
    from .supervisor import ProcessInfo

__all__ = ["EmbeddedFleet", "EmbeddedFleetError", "FleetRecord", "ProcessInfo", "StartBrokenOffError"]

_HOMES = {
    "EmbeddedFleet": "fleet",
    "EmbeddedFleetError": "errors",
    "FleetRecord": "record",
    "ProcessInfo": "supervisor",
    "StartBrokenOffError": "errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
