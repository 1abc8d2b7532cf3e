"""Executing a batch of planned calls, in order (`spec/04 §7.7`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import RunState
from abstractruntime.core.overrides import has_own

from .._attachments.index import AttachmentIndex
from .._attachments.open_attachment import open_in
from .._attachments.registration import OwnerRuns
from .._workspace.scope import WorkspaceScope
from .pairing import paired
from .plan import PlannedCall
from .read_file_extras import READ_FILE, after_read_file
from .result_journal import ResultJournal
from .shapes import ToolCall, ToolExecutor, ToolResult, ability, result_of

__all__ = ["Batch", "BatchFailedError", "Surroundings", "is_executed", "opened", "results_of"]

logger = logging.getLogger(__name__)

EXECUTED = "executed"
_Stream = Callable[..., Iterator[ToolResult]]


class BatchFailedError(Exception):
    """The effect has failed; the message is its error."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a batch is executed in.

    Attributes:
        run: whose batch it is.
        scope: its workspace policy, if it has one.
        attachments: of its session; ``None`` without an artifact store.
        run_store: where the session's owner run is created if it is missing.
    """

    run: RunState
    scope: WorkspaceScope | None
    attachments: AttachmentIndex | None
    run_store: OwnerRuns | None


def opened(planned: PlannedCall, attachments: AttachmentIndex | None) -> ToolResult:
    """The result of a call of ``open_attachment``; whatever its arguments are, a result (`spec/04 §16.7`)."""
    call = planned.call
    if attachments is None:
        rendered = "Error: ArtifactStore is not available (cannot open attachments)."
        return result_of(call, output={"rendered": rendered}, error="ArtifactStore is not available")
    args = call["arguments"]
    try:
        success, output, error = open_in(
            attachments,
            artifact_id=_first(args, "artifact_id", "$artifact", "id"),
            handle=_first(args, "handle", "path"),
            expected_sha256=_first(args, "expected_sha256", "sha256"),
            start_line=_first(args, "start_line", "startLine"),
            end_line=_first(args, "end_line", "endLine"),
            max_chars=_first(args, "max_chars", "maxChars"),
        )
    except Exception as exc:
        logger.warning("open_attachment failed", exc_info=True)
        return result_of(call, output={"rendered": f"Error: {exc}"}, error=str(exc))
    return result_of(call, output=output, error=None if success else error or "attachment not opened")


def _first(args: dict[str, Any], *names: str) -> Any:
    return next((args[name] for name in names if args.get(name) not in (None, "")), None)


def is_executed(answer: Any) -> bool:
    """Whether an executor's answer has results; without a mode it has."""
    return isinstance(answer, dict) and answer.get("mode") in (None, "", EXECUTED)


class Batch:
    """One batch that this process executes."""

    def __init__(self, executor: ToolExecutor, around: Surroundings, journal: ResultJournal) -> None:
        self._executor = executor
        self._around = around
        self._journal = journal
        # Results one by one, unless somebody has put an ``execute`` of their own over that.
        each = ability(executor, "execute_each")
        is_own = each is not None and has_own(executor, "execute", beside="execute_each")
        self._stream: _Stream | None = None if is_own else each

    def results(self, planned: Sequence[PlannedCall]) -> list[ToolResult]:
        """One result per call. Calls for the executor that follow each other are given to it together.

        Raises:
            BatchFailedError: the executor has; what it did before is in the journal.
        """
        fixed = {each.index: each.fixed for each in planned if each.fixed is not None}
        found: dict[int, ToolResult] = dict(fixed)
        rest = [each for each in planned if each.index not in fixed]
        for opens, group in groupby(rest, lambda each: each.opens):
            segment = list(group)
            made = [opened(each, self._around.attachments) for each in segment] if opens else None
            results = self._executed(segment) if made is None else made
            found.update({each.index: result for each, result in zip(segment, results, strict=True)})
        self._journal.end()
        return [found[each.index] for each in planned]

    def _executed(self, segment: Sequence[PlannedCall]) -> list[ToolResult]:
        prior = [self._journal.result(each.call) for each in segment]
        todo = [each.call for each, known in zip(segment, prior, strict=True) if known is None]
        fresh = iter(self._from_executor(todo) if todo else ())
        return [
            self._finished(each, next(fresh) if known is None else known)
            for each, known in zip(segment, prior, strict=True)
        ]

    def _from_executor(self, calls: list[ToolCall]) -> list[ToolResult]:
        try:
            if self._stream is not None:
                return paired(calls, list(self._one_by_one(calls, self._stream)))
            answer = self._executor.execute(tool_calls=[dict(call) for call in calls])
        except BatchFailedError:
            raise
        except Exception as exc:
            raise BatchFailedError(str(exc), "provider") from exc
        results = paired(calls, results_of(answer))
        for call, result in zip(calls, results, strict=True):
            self._journal.keep(call, result)
        return results

    def _one_by_one(self, calls: list[ToolCall], stream: _Stream) -> Iterator[ToolResult | None]:
        """Each result is kept before the next call begins; none begins after the run was cancelled."""
        each_result = stream(tool_calls=[dict(call) for call in calls])
        for call in calls:
            if _is_cancelled():
                raise BatchFailedError("The run was cancelled during its tool calls", "cancelled")
            result = next(each_result, None)
            if result is not None:
                self._journal.keep(call, result)
            yield result

    def _finished(self, planned: PlannedCall, result: ToolResult) -> ToolResult:
        around = self._around
        if (
            planned.call["name"] != READ_FILE
            or around.attachments is None
            or not around.attachments.session_id
        ):
            return result
        return after_read_file(
            around.run,
            planned.call,
            result,
            index=around.attachments,
            scope=around.scope,
            run_store=around.run_store,
        )


def results_of(answer: Any) -> list[Any]:
    """The results of an executed answer.

    Raises:
        BatchFailedError: it has none.
    """
    if isinstance(answer, dict) and not is_executed(answer):
        raise BatchFailedError(
            "ToolExecutor returned delegated mode during executed TOOL_CALLS batch", "provider"
        )
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list):
        raise BatchFailedError("ToolExecutor returned invalid results", "provider")
    return results


def _is_cancelled() -> bool:
    try:
        return current_effect().cancelled()
    except RuntimeError:  # called outside of a driver
        return False
