"""What is to become of each call of a batch, before any is executed (`spec/04 §7.7`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.tool_results import not_allowed

from .._attachments.index import AttachmentIndex
from .._workspace.rewrite import scoped_arguments
from .._workspace.scope import WorkspaceScope
from .._workspace.scoped_executor import canonical_call_arguments, declared_path_parameters
from .arguments import unwrapped
from .attachment_answers import attachment_answer
from .shapes import ToolCall, ToolResult, ability, parsed_arguments, result_of

__all__ = ["OPEN_ATTACHMENT", "Plan", "PlannedCall"]

OPEN_ATTACHMENT = "open_attachment"
"""The tool that the handler itself carries out."""


@dataclass(slots=True)
class PlannedCall:
    """One entry of ``payload.tool_calls``.

    Attributes:
        index: its position, from 0.
        call: as it is executed: canonical arguments, absolute paths.
        fixed: its result, if it needs no executor.
        is_blocked: ``fixed`` is a refusal, and nobody shall see the arguments.
    """

    index: int
    call: ToolCall
    fixed: ToolResult | None = None
    is_blocked: bool = False

    @property
    def opens(self) -> bool:
        """Whether the handler carries it out."""
        return self.fixed is None and self.call["name"] == OPEN_ATTACHMENT


class Plan:
    """The calls of one batch, judged.

    Args:
        executor: what it says of arguments and paths counts.
        allowed: names that may be called; ``None`` = any.
        scope: the run's workspace policy, if it has one.
        attachments: of the run's session, for files outside of the workspace.
    """

    def __init__(
        self,
        executor: object,
        *,
        allowed: frozenset[str] | None,
        scope: WorkspaceScope | None,
        attachments: AttachmentIndex | None,
    ) -> None:
        self._executor = executor
        self._allowed = allowed
        self._scope = scope
        self._attachments = attachments

    def of(self, entries: Iterable[Any]) -> list[PlannedCall]:
        """The planned calls, one per entry, in their order."""
        return [self._planned(index, entry) for index, entry in enumerate(entries)]

    def _planned(self, index: int, entry: Any) -> PlannedCall:
        if not isinstance(entry, dict):
            nothing: ToolCall = {"name": "", "arguments": {}, "call_id": "", "runtime_call_id": None}
            return _blocked(index, nothing, "Invalid tool call (expected an object)")
        name = entry["name"].strip() if isinstance(entry.get("name"), str) else ""
        call = {**entry, "name": name, "arguments": {}}
        if self._allowed is not None and name not in self._allowed:
            why = not_allowed(name) if name else "Tool call missing a valid name"
            return _blocked(index, call, why)
        try:
            arguments = self._canonical(name, entry.get("arguments"))
        except ValueError as exc:
            return _blocked(index, call, str(exc))
        call["arguments"] = arguments
        if self._scope is None or name == OPEN_ATTACHMENT:
            return PlannedCall(index, call)
        return self._scoped(index, call, self._scope, unwrapped(entry.get("arguments")))

    def _canonical(self, name: str, arguments: Any) -> dict[str, Any]:
        """Where paths are judged, exactly what the executor will make of the arguments (`spec/04 §16.13`).

        Where they aren't, only an executor that mends arguments itself takes ``arguments`` inside them for
        a wrapper; to any other they are a parameter like the rest (`spec/04 §7.7`).
        """
        if name == OPEN_ATTACHMENT:
            return unwrapped(arguments)
        if self._scope is not None:
            return canonical_call_arguments(self._executor, name, arguments)
        mends = ability(self._executor, "canonical_arguments") is not None
        return unwrapped(arguments) if mends else parsed_arguments(arguments)

    def _scoped(
        self, index: int, call: ToolCall, scope: WorkspaceScope, given: dict[str, Any]
    ) -> PlannedCall:
        name, arguments = call["name"], call["arguments"]
        declared = declared_path_parameters(self._executor, name)
        try:
            made = scoped_arguments(name, arguments, scope, declared)
        except ValueError as exc:
            # What the executor's tool doesn't take may still mean something to the attachments.
            answer = attachment_answer(self._attachments, name, {**given, **arguments})
            if answer is None:
                return _blocked(index, call, str(exc))
            fixed = result_of(call, output=answer.output, error=answer.error)
            return PlannedCall(index, call, fixed)
        return PlannedCall(index, {**call, "arguments": made})


def _blocked(index: int, call: ToolCall, error: str) -> PlannedCall:
    return PlannedCall(index, {**call, "arguments": {}}, result_of(call, error=error), is_blocked=True)
