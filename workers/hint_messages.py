"""A hint as a Celery message (task protocol 2), and as what kombu's Redis transport keeps in its lists.

Celery's and kombu's own way to the same bytes costs as much as a step: objects, a base64 copy of the body, a
Redis client for every message. Any Celery worker, Flower and kombu read these as they read their own.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from json import dumps
from time import monotonic
from typing import Any
from uuid import uuid4

from abstractruntime.storage.checkpoints import Task

from .hints import Hint

__all__ = ["TASK_NAMES", "celery_message", "redis_entry"]

TASK_NAMES = {Task.TICK: "abstractruntime.tick", Task.EFFECT: "abstractruntime.effect"}
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

Body = tuple[list[object], dict[str, object], dict[str, None]]


def celery_message(hint: Hint, origin: str) -> tuple[Body, dict[str, Any]]:
    """Body and headers; ``origin`` names the sender for people."""
    kwargs: dict[str, object] = {"node": hint.node, "workflow": hint.workflow_id}
    if hint.first and hint.task is Task.TICK:
        kwargs["first"] = True
    task_id = str(uuid4())
    headers: dict[str, Any] = {
        "lang": "py",
        "task": TASK_NAMES[hint.task],
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "ignore_result": True,
        "retries": 0,
        "timelimit": [None, None],
        "eta": _eta(hint),
        "expires": None,
        "origin": origin,
        "argsrepr": repr((hint.run_id, hint.version)),
        "kwargsrepr": repr(kwargs),
    }
    return ([hint.run_id, hint.version], kwargs, _EMBED), headers


def redis_entry(hint: Hint, origin: str, queue: str) -> str:
    """The same as an entry of the queue's list."""
    body, headers = celery_message(hint, origin)
    task_id = headers["id"]
    return dumps(
        {
            "body": dumps(body),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {
                "correlation_id": task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "utf-8",
                "delivery_tag": task_id,
            },
        }
    )


def _eta(hint: Hint) -> str | None:
    left = hint.made_at + hint.delay_s - monotonic()
    if hint.delay_s <= 0 or left <= 0:
        return None
    return (datetime.now(timezone.utc) + timedelta(seconds=left)).isoformat()
