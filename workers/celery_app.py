"""The Celery app of the fleet and the settings that follow from the design (`DESIGN §3`, `RESEARCH §0.7`)."""

from __future__ import annotations

from celery import Celery
from kombu import Exchange, Queue

from .redis_transport import transport_for
from .settings import Settings, load_settings
from .tasks import register_tasks

__all__ = ["app", "make_celery"]  # noqa: F822


def make_celery(settings: Settings) -> Celery:
    """A Celery app for a deployment; connects to nothing yet."""
    celery = Celery("abstractruntime", broker=settings.broker, set_as_current=False)
    celery.conf.update(
        # Runs live in SQL; a result backend would add a write and a subscription per tick.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # JSON only between processes, never pickle (DESIGN §6).
        task_serializer="json",
        accept_content=["json"],
        # A message is acknowledged after its work; a lost worker is found by leases and the sweep, so a
        # message that killed its worker is not sent again at once and for ever.
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_soft_shutdown_timeout=10.0,
        worker_enable_soft_shutdown_on_idle=True,
        # No remote control is needed to run (cancel is a row, not a revoke); `inspect` still works.
        broker_connection_retry_on_startup=True,
        broker_transport=transport_for(settings.broker),
        broker_transport_options=_transport_options(settings),
        # The default exchange needs no bindings: kombu keeps those in Redis, where a flush removes them.
        task_queues=[_queue(settings.tick_queue), _queue(settings.effect_queue)],
        task_default_queue=settings.tick_queue,
        task_default_exchange="",
        task_default_routing_key=settings.tick_queue,
        task_create_missing_queues=False,
        enable_utc=True,
        timezone="UTC",
        beat_max_loop_interval=max(1.0, settings.sweep_interval),
        worker_log_format="[%(asctime)s %(levelname)s/%(processName)s] %(message)s",
        worker_redirect_stdouts=False,
    )
    register_tasks(celery, settings)
    _add_beat_schedule(celery, settings)
    return celery


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(""), routing_key=name)


def _transport_options(settings: Settings) -> dict[str, object]:
    if not settings.broker.startswith(("redis", "unix")):
        return {}
    return {"visibility_timeout": settings.broker_visibility_timeout, "socket_keepalive": True}


def _add_beat_schedule(celery: Celery, settings: Settings) -> None:
    from beat_schedule import pulse

    celery.conf.beat_schedule = pulse(settings.sweep_interval, settings.retention_interval)


def __getattr__(name: str) -> Celery:
    """``app``, made from the environment when somebody first asks for it."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["app"] = make_celery(load_settings())
    return made
