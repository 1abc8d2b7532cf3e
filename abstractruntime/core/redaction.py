"""Keeping secrets out of what is stored (`spec/01 §19`, row 18).

A redactor sees every value before it reaches a ledger or a checkpoint. It sits between kernel and stores, so
nothing is written around it, and without one nothing is between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from .derived import without_derived
from .models import RunState, StepRecord

__all__ = ["REDACTED", "Redactor", "redact_secrets", "redacting_ledger", "redacting_run_store"]

Redactor = Callable[[Any, str], Any]
"""``redactor(value, place)`` gives what is stored instead of ``value`` (JSON-like; the redactor's own copy).

``place`` is ``effect`` (an effect's payload or what a run was resumed with), ``result``, ``error``, ``vars``,
``output`` or ``wait``. The shape must stay: an object for an object. What it raises stops the write.
"""

REDACTED = "[redacted]"


def redact_secrets(*, keys: Iterable[str] = (), patterns: Iterable[str] = ()) -> Redactor:
    """A redactor for values under these keys (any depth, any case) and text that matches these patterns.

    Args:
        keys: names such as ``api_key``; the whole value becomes ``"[redacted]"``.
        patterns: regular expressions; each match in any text becomes ``"[redacted]"``.
    """
    names = {key.lower() for key in keys}
    expressions = [re.compile(pattern) for pattern in patterns]

    def redact(value: Any, place: str) -> Any:
        if isinstance(value, str):
            for expression in expressions:
                value = expression.sub(REDACTED, value)
            return value
        if isinstance(value, dict):
            return {
                key: REDACTED if isinstance(key, str) and key.lower() in names else redact(item, place)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [redact(item, place) for item in value]
        return value

    return redact


def redacting_run_store(store: Any, redactor: Redactor | None) -> Any:
    """``store`` itself without a redactor; else a door to it."""
    return store if redactor is None else _RedactingRunStore(store, redactor)


def redacting_ledger(store: Any, redactor: Redactor | None) -> Any:
    """``store`` itself without a redactor; else a door to it."""
    return store if redactor is None else _RedactingLedger(store, redactor)


_READ_ONLY = frozenset(
    {
        "load",
        "version_of",
        "atomic",
        "list_runs",
        "list_due",
        "list_due_wait_until",
        "list_children",
        "list_run_index",
        "list_waiting_on",
        "list_wait_keys",
        "list",
        "list_after",
        "last",
        "count",
        "count_many",
        "metrics_many",
        "find_completed",
        "put_back",
        "subscribe",
        "lock_domain",
    }
)


def _read_only(inner: Any, name: str) -> Any:
    """Another way to write, which a store may get one day, must not lead around the redactor."""
    if name in _READ_ONLY:
        return getattr(inner, name)
    raise AttributeError(f"no {name!r} through a redactor")


class _RedactingRunStore:
    """Saves a redacted copy; what only reads is the store's own."""

    def __init__(self, inner: Any, redactor: Redactor) -> None:
        self._inner = inner
        self._redact = redactor
        self.lock_domain = getattr(inner, "lock_domain", inner)

    def save(self, run: RunState) -> None:
        self._inner.save(self._redacted(run))

    def _redacted(self, run: RunState) -> RunState:
        wait = run.waiting
        if wait is not None:
            shown = {"prompt": wait.prompt, "choices": wait.choices, "details": wait.details}
            wait = replace(wait, **self._redact(deepcopy(shown), "wait"))
        return replace(
            run,
            vars=self._redact(deepcopy(without_derived(run.vars)), "vars"),
            output=None if run.output is None else self._redact(deepcopy(run.output), "output"),
            error=None if run.error is None else self._redact(run.error, "error"),
            waiting=wait,
        )

    def __getattr__(self, name: str) -> Any:
        return _read_only(self._inner, name)


class _RedactingLedger:
    """Appends redacted copies; what only reads is the store's own."""

    def __init__(self, inner: Any, redactor: Redactor) -> None:
        self._inner = inner
        self._redact = redactor

    def append(self, record: StepRecord) -> None:
        self._inner.append(
            replace(
                record,
                effect=None if record.effect is None else self._effect(record.effect),
                result=None if record.result is None else self._redact(deepcopy(record.result), "result"),
                error=None if record.error is None else self._redact(record.error, "error"),
            )
        )

    def _effect(self, effect: dict[str, Any]) -> dict[str, Any]:
        """Only what nodes and hosts wrote; the record's own fields must stay readable (`spec/01 §10.14`)."""
        payload = effect.get("payload")
        if effect.get("type") == "resume" and isinstance(payload, dict):
            answer = self._redact(deepcopy(payload.get("payload")), "effect")
            return {**effect, "payload": {**payload, "payload": answer}}
        return {**effect, "payload": self._redact(deepcopy(payload), "effect")}

    def __getattr__(self, name: str) -> Any:
        return _read_only(self._inner, name)
