"""Tools from AbstractCore's global registry (`spec/04 §7.3`)."""

from __future__ import annotations

from typing import Any

from ..json_values import json_value
from .arguments import unwrapped
from .failures import timed_out
from .shapes import ToolCall, ToolResult, call_name, result_of, unlimited_or
from .threads import TimedOutError, call_within

__all__ = ["AbstractCoreToolExecutor"]


class AbstractCoreToolExecutor:
    """Calls what is registered in AbstractCore's global tool registry.

    AbstractCore has deprecated global registration: prefer `MappingToolExecutor`, which is given its
    functions.

    Args:
        timeout_s: seconds per call, as of `MappingToolExecutor`.
    """

    delegates = False

    def __init__(self, *, timeout_s: float | None = None) -> None:
        self._timeout_s = unlimited_or(timeout_s)

    def set_timeout_s(self, timeout_s: float | None) -> None:
        """Seconds per call from now on."""
        self._timeout_s = unlimited_or(timeout_s)

    def execute(self, *, tool_calls: list[ToolCall]) -> dict[str, Any]:
        """``{"mode": "executed", "results": [...]}``, one result per call, in their order.

        Raises:
            ImportError: AbstractCore is not installed.
        """
        return {"mode": "executed", "results": [self._result(call) for call in tool_calls]}

    def _result(self, call: ToolCall) -> ToolResult:
        from abstractcore.tools.core import ToolCall as CoreCall
        from abstractcore.tools.registry import execute_tool

        name = call_name(call)
        try:
            # Unwrapped here: the registry unwraps too, but only when a call has failed (`spec/04 §16.13`).
            arguments = unwrapped(call.get("arguments"))
            core_call = CoreCall(name=name, arguments=arguments, call_id=call.get("call_id"))
            found = call_within(self._timeout_s, lambda: execute_tool(core_call))
        except TimedOutError:
            return timed_out(call, self._timeout_s)
        except (Exception, SystemExit) as exc:
            return result_of(call, error=str(exc))
        success = bool(found.success)
        error = None if success else str(found.error or "Tool reported failure")
        return result_of(call, output=json_value(found.output), error=error, success=success)
