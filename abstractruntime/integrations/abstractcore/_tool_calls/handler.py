"""The effect ``TOOL_CALLS`` (`spec/04 §7.7`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, RunState
from abstractruntime.core.outcome import EffectHandler, EffectOutcome
from abstractruntime.storage.artifact_base import ArtifactStore

from .._attachments.index import AttachmentIndex
from .._attachments.registration import OwnerRuns
from .._llm_call.queued_media import media_of, queue_media
from .._workspace.scope import scope_of_run
from .batch import Batch, BatchFailedError, Surroundings, is_executed, opened, results_of
from .pairing import paired
from .plan import OPEN_ATTACHMENT, Plan, PlannedCall
from .result_journal import ResultJournal, delete_ended_journals, forget_ended_journals
from .shapes import ToolExecutor, ToolResult
from .wait import tool_wait

__all__ = ["make_tool_calls_handler"]

logger = logging.getLogger(__name__)


def make_tool_calls_handler(
    *,
    tools: ToolExecutor | None = None,
    artifact_store: ArtifactStore | None = None,
    run_store: OwnerRuns | None = None,
    keep_results: bool = True,
) -> EffectHandler:
    """The handler of ``TOOL_CALLS``.

    Args:
        tools: executes the calls, or says who will.
        artifact_store: where attachments are; without one there are none.
        run_store: where a session's owner run is created when a read file becomes its attachment.
        keep_results: whether results of an unfinished batch are kept, as they are, for another attempt
            (`spec/04 §16.6`). Without them an attempt after a failure executes the whole batch again.

    Returns:
        a handler of ``(run, effect, default_next_node)``; its ``on_completed`` queues opened media for the
        run's next LLM call.
    """
    return _ToolCallsHandler(tools, artifact_store, run_store, keep_results)


class _ToolCallsHandler:
    def __init__(
        self,
        tools: ToolExecutor | None,
        artifact_store: ArtifactStore | None,
        run_store: OwnerRuns | None,
        keep_results: bool,
    ) -> None:
        self._tools = tools
        self._artifact_store = artifact_store
        self._run_store = run_store
        self._keep_results = keep_results

    def __call__(self, run: RunState, effect: Effect, default_next_node: str | None = None) -> EffectOutcome:
        payload = effect.payload if isinstance(effect.payload, dict) else {}
        entries = payload.get("tool_calls")
        if not isinstance(entries, list):
            return EffectOutcome.failed("tool_calls requires payload.tool_calls (list)", kind="validation")
        if self._tools is None:
            return EffectOutcome.failed(
                "TOOL_CALLS requires a ToolExecutor; configure Runtime with "
                "MappingToolExecutor/AbstractCoreToolExecutor/PassthroughToolExecutor.",
                kind="validation",
            )
        try:
            around = self._surroundings(run)
        except ValueError as exc:
            return EffectOutcome.failed(str(exc), kind="policy")
        forget_ended_journals(run, self._artifact_store)
        plan = Plan(
            self._tools,
            allowed=_allowed(payload.get("allowed_tools")),
            scope=around.scope,
            attachments=around.attachments,
        )
        try:
            return self._carried_out(self._tools, around, effect, plan.of(entries), default_next_node)
        except BatchFailedError as exc:
            return EffectOutcome.failed(str(exc), kind=exc.kind)

    def on_completed(self, run: RunState, effect: Effect, result: dict[str, Any] | None, key: str) -> None:
        """What follows in the run's variables from a completed outcome: opened media is queued
        (`spec/04 §16.4`). A second time it changes nothing."""
        payload = effect.payload if isinstance(effect.payload, dict) else {}
        calls, results = payload.get("tool_calls"), (result or {}).get("results")
        if isinstance(calls, list) and isinstance(results, list):
            opened_here = [one for call, one in zip(calls, results, strict=False) if _is_opening(call)]
            queue_media(run, [item for one in opened_here for item in media_of(one)])

    def on_committed(self, run: RunState, effect: Effect, key: str) -> None:
        """The results of the batch are stored: what was kept of them for another attempt can go."""
        delete_ended_journals(run, self._artifact_store)

    def _surroundings(self, run: RunState) -> Surroundings:
        store = self._artifact_store
        index = None if store is None else AttachmentIndex(store, run.session_id)
        return Surroundings(run, scope_of_run(run.run_id, run.vars), index, self._run_store)

    def _carried_out(
        self,
        executor: ToolExecutor,
        around: Surroundings,
        effect: Effect,
        planned: list[PlannedCall],
        default_next: str | None,
    ) -> EffectOutcome:
        for_executor = [each for each in planned if each.fixed is None and not each.opens]
        if for_executor and _delegates(executor):
            return self._delegated(executor, around, effect, planned, default_next)
        calls = [each.call for each in for_executor]
        journal = ResultJournal(around.run, calls if self._keep_results else [], self._artifact_store)
        return self._completed(around.run, effect, Batch(executor, around, journal).results(planned))

    def _delegated(
        self,
        executor: ToolExecutor,
        around: Surroundings,
        effect: Effect,
        planned: list[PlannedCall],
        default_next: str | None,
    ) -> EffectOutcome:
        results = {
            each.index: opened(each, around.attachments) if each.fixed is None else each.fixed
            for each in planned
            if each.fixed is not None or each.opens
        }
        calls = [dict(each.call) for each in planned if each.index not in results]
        try:
            answer = executor.execute(tool_calls=calls)
        except Exception as exc:
            raise BatchFailedError(str(exc), "provider") from exc
        if not isinstance(answer, dict) or is_executed(answer):  # it has executed them after all
            rest = iter(paired(calls, results_of(answer)))
            made = [results[i] if i in results else next(rest) for i in range(len(planned))]
            return self._completed(around.run, effect, made)
        # A wait has no completed outcome yet, so what was opened before it is queued with it.
        seen = [results[each.index] for each in planned if each.opens]
        queue_media(around.run, [item for one in seen for item in media_of(one)])
        return EffectOutcome.waiting(tool_wait(around.run, effect, default_next, planned, results, answer))

    def _completed(self, run: RunState, effect: Effect, results: Sequence[ToolResult]) -> EffectOutcome:
        result = {"mode": "executed", "results": list(results)}
        if not _driver_applies(self):
            self.on_completed(run, effect, result, "")
        return EffectOutcome.completed(result)


def _is_opening(call: Any) -> bool:
    name = call.get("name") if isinstance(call, dict) else None
    return isinstance(name, str) and name.strip() == OPEN_ATTACHMENT


def _allowed(names: Any) -> frozenset[str] | None:
    """The allowlist; ``None`` without one. An empty list allows nothing."""
    if not isinstance(names, list):
        return None
    return frozenset(name.strip() for name in names if isinstance(name, str) and name.strip())


def _delegates(executor: ToolExecutor) -> bool:
    """Whether somebody else executes the calls: as the executor says, else as it answers an empty list."""
    says = getattr(executor, "delegates", None)
    if isinstance(says, bool):
        return says
    try:
        answer = executor.execute(tool_calls=[])
    except Exception:
        logger.debug("%s doesn't answer an empty list", type(executor).__name__, exc_info=True)
        return False
    return isinstance(answer, dict) and not is_executed(answer)


def _driver_applies(handler: _ToolCallsHandler) -> bool:
    """Whether a driver calls ``on_completed`` when it commits the outcome."""
    try:
        return current_effect().on_completed == handler.on_completed
    except RuntimeError:  # called directly
        return False
