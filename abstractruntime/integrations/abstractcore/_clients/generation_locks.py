"""Which providers generate one answer at a time, and the locks that see to it (`spec/04 §4.2`, §16.20)."""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["generation_lock"]

logger = logging.getLogger(__name__)

_IN_PROCESS = frozenset({"mlx", "huggingface"})
"""AbstractCore's providers that run the model in this process and don't lock themselves."""

_guard = threading.Lock()
_locks: dict[tuple[str, str], threading.Lock] = {}


def generation_lock(provider: str, model: str, llm: Any) -> AbstractContextManager[Any]:
    """The lock to hold for a whole answer, also for a whole stream; nothing for thread-safe providers.

    A provider object says by its attribute ``thread_safe`` (a bool) whether several threads may use it at
    once. Without that, those that run the model in this process are taken for not safe. The lock is one for
    the process and each provider and model, whatever number of clients there are.
    """
    name = provider.strip().lower()
    declared = getattr(llm, "thread_safe", None)
    is_safe = declared if isinstance(declared, bool) else name not in _IN_PROCESS
    return nullcontext() if is_safe else _lock_of((name, model.strip()))


def _lock_of(pair: tuple[str, str]) -> threading.Lock:
    with _guard:
        lock = _locks.get(pair)
        if lock is not None:
            return lock
        lock = _locks[pair] = threading.Lock()
    logger.warning("%s/%s can generate only one answer at a time in this process; others wait", *pair)
    return lock
