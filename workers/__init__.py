"""The fleet: Celery app, tasks, dispatch, sweep, resumers, and the client that web backends use.

``celery -A workers worker|beat|flower`` finds the Celery app here; it is made on first use, from the
environment (``ABSTRACTRUNTIME_APP``, ``DATABASE_URL``, ``REDIS_URL``).
"""

from __future__ import annotations

from importlib import import_module

__all__ = ["AsyncClient", "Client", "Settings", "app"]

_HOMES = {
    "app": "workers.celery_app",
    "Client": "workers.client",
    "AsyncClient": "workers.aio_client",
    "Settings": "workers.settings",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
