"""Provider objects for tests of what is around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["RecordingProvider"]


class RecordingProvider:
    """Takes AbstractCore's ``generate`` and answers what the test wants."""

    def __init__(self, answer: Any = None, *, respond: Callable[..., Any] | None = None) -> None:
        self.answer = answer
        self.respond = respond
        self.calls: list[dict[str, Any]] = []
        self.unloaded: list[str] = []

    def generate(self, **keywords: Any) -> Any:
        self.calls.append(keywords)
        return self.answer if self.respond is None else self.respond(**keywords)

    def unload_model(self, model_name: str) -> None:
        self.unloaded.append(model_name)
