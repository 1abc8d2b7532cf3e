"""Tools that somebody else executes (`spec/04 §7.4`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..json_values import json_value
from .path_parameters import declared_paths
from .shapes import ToolCall

__all__ = ["PassthroughToolExecutor"]


class PassthroughToolExecutor:
    """Executes nothing: the run waits until a host resumes it with the results.

    ``PassthroughToolExecutor(mode="approval_required")`` is the usual approval boundary: somebody looks at
    the calls in ``run.waiting.details``, executes or refuses them, and answers with ``{"results": [...]}``.

    Args:
        mode: tells the host what it is for; it is in ``waiting.details.mode``.
        paths: names of path parameters by tool name, for the workspace policy (AbstractCore's own tools are
            known).
    """

    delegates = True

    def __init__(
        self, *, mode: str = "passthrough", paths: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self._mode = mode
        self._paths = {name: declared_paths(names) for name, names in (paths or {}).items()}

    def path_parameters(self, name: str) -> tuple[str, ...] | None:
        """Which parameters of the tool are declared to be paths; ``None`` = nobody has said."""
        return self._paths.get(name)

    def execute(self, *, tool_calls: list[ToolCall]) -> dict[str, Any]:
        """``{"mode": <mode>, "tool_calls": <copy>}``."""
        return {"mode": self._mode, "tool_calls": json_value(tool_calls)}
