"""Any executor behind the workspace policy (`spec/04 §10`)."""

from __future__ import annotations

from typing import Any

from .._tool_calls.arguments import unwrapped
from .._tool_calls.pairing import paired
from .._tool_calls.shapes import ToolCall, ToolExecutor, ToolResult, ability, call_name, result_of
from .rewrite import scoped_arguments, with_path_of
from .scope import WorkspaceScope

__all__ = ["WorkspaceScopedToolExecutor", "canonical_call_arguments", "declared_path_parameters"]


def canonical_call_arguments(executor: object, name: str, arguments: Any) -> dict[str, Any]:
    """The arguments as ``executor`` will execute them; unwrapped, if it has no opinion.

    A path under a name that only the policy knows (`spec/04 §10`, column "Aliases") is not lost on the way.

    Raises:
        ValueError: see `_tool_arguments.unwrapped`.
    """
    canonical = ability(executor, "canonical_arguments")
    if canonical is None:
        return unwrapped(arguments)
    made: dict[str, Any] = canonical(name, arguments)
    if declared_path_parameters(executor, name) is not None:
        return made
    return with_path_of(name, made, unwrapped(arguments))


def declared_path_parameters(executor: object, name: str) -> tuple[str, ...] | None:
    """What ``executor`` knows of the tool's path parameters; ``None`` = nothing."""
    ask = ability(executor, "path_parameters")
    declared: tuple[str, ...] | None = None if ask is None else ask(name)
    return declared


class WorkspaceScopedToolExecutor:
    """Lets another executor see only calls that the workspace policy allows, with absolute paths.

    A call that it forbids becomes a failed result; the others are delegated.

    Args:
        scope: the policy.
        delegate: executes the calls.
    """

    def __init__(self, *, scope: WorkspaceScope, delegate: ToolExecutor) -> None:
        self._scope = scope
        self._delegate = delegate

    @property
    def delegates(self) -> bool | None:
        """Whether somebody else executes the calls; ``None`` = the delegate doesn't say."""
        says: bool | None = getattr(self._delegate, "delegates", None)
        return says

    def set_timeout_s(self, timeout_s: float | None) -> None:
        """Passed on, if the delegate knows it."""
        forward = getattr(self._delegate, "set_timeout_s", None)
        if callable(forward):
            forward(timeout_s)

    def canonical_arguments(self, name: str, arguments: Any) -> dict[str, Any]:
        """As the delegate executes them.

        Raises:
            ValueError: see `canonical_call_arguments`.
        """
        return canonical_call_arguments(self._delegate, name, arguments)

    def path_parameters(self, name: str) -> tuple[str, ...] | None:
        """As the delegate knows them."""
        return declared_path_parameters(self._delegate, name)

    def execute(self, *, tool_calls: list[ToolCall]) -> dict[str, Any]:
        """The delegate's answer, with a failed result for each forbidden call in its place; an answer that is
        not executed is returned as it is."""
        made = [self._judged(index, call) for index, call in enumerate(tool_calls)]
        allowed = [call for call, refusal in made if refusal is None]
        if not allowed and made:
            return {"mode": "executed", "results": [refusal for _, refusal in made]}
        answer = self._delegate.execute(tool_calls=allowed)
        if answer.get("mode", "executed") != "executed":
            return answer
        rest = iter(paired(allowed, answer.get("results"), missing="Tool result missing (internal error)"))
        results = [next(rest) if refusal is None else refusal for _, refusal in made]
        return {"mode": "executed", "results": results}

    def _judged(self, index: int, call: ToolCall) -> tuple[ToolCall, ToolResult | None]:
        """The call to delegate, and why not."""
        name = call_name(call)
        named = {**call, "name": name, "call_id": _call_id(index, call)}
        try:
            arguments = self.canonical_arguments(name, call.get("arguments"))
            declared = self.path_parameters(name)
            named["arguments"] = scoped_arguments(name, arguments, self._scope, declared)
        except ValueError as exc:
            return named, result_of(named, error=str(exc))
        return named, None


def _call_id(index: int, call: ToolCall) -> str:
    for key in ("call_id", "id"):
        text = str(call.get(key) or "").strip()
        if text:
            return text
    return f"call_{index}"
