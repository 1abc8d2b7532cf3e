"""The handler of ``LLM_CALL`` effects (`spec/04 §6`)."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.handler_parts import OnCompleted, PayloadTransformer
from abstractruntime.core.models import Effect, RunState
from abstractruntime.core.outcome import EffectOutcome

from .._attachments.media_items import pending_items, requested_items
from .._llm_grounding import ground_llm_payload
from .budgets import trimmed_messages
from .call_media import load_media, place_media
from .capture import Capture, capture_level, checked_capture, with_capture
from .client_call import ClientCall
from .context_turns import CONSUMED, apply_llm_result, consumed_marks
from .errors import LlmCallError
from .media_access import MayUseArtifact, SameRunOrSession
from .message_view import message_view
from .params import call_params, with_media_defaults
from .payload import LlmCall, read_llm_call
from .response_schema import normalised_schema
from .structured import with_structured_data
from .text_inlining import inline_limit
from .truncation import Answer, is_truncated, whole_answer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..llm_client import AbstractCoreLLMClient

__all__ = ["LlmCallHandler", "make_llm_call_handler"]

logger = logging.getLogger(__name__)

NOTHING_ASKED = "llm_call requires payload.prompt or payload.messages"


def make_llm_call_handler(
    *,
    llm: AbstractCoreLLMClient,
    artifact_store: Any = None,
    run_store: Any = None,
    capture: Capture = "full",
    may_use_artifact: MayUseArtifact | None = None,
) -> LlmCallHandler:
    """The handler for ``EffectType.LLM_CALL``.

    Args:
        llm: anything with ``generate(*, prompt, messages, system_prompt, tools, media, params) -> dict``.
        artifact_store: where media references and the session's attachments are looked up.
        run_store: where owners of artifacts are looked up; see ``may_use_artifact``.
        capture: what results keep of their requests: ``full`` (verbatim), ``reference`` (stored once, by
            content) or ``none``; a run may choose by ``vars._runtime.llm_capture``.
        may_use_artifact: ``(run, metadata) -> bool``; default: artifacts of the run, its session and its run
            tree, and those of nobody (`spec/04 §16.15`).

    Raises:
        ConfigurationError: an unknown capture level.
    """
    may_use = SameRunOrSession(run_store) if may_use_artifact is None else may_use_artifact
    return LlmCallHandler(llm, artifact_store, may_use, checked_capture(capture))


class LlmCallHandler:
    """Carries out one LLM call. Stateless: any number of threads may share it.

    A driver that knows ``on_completed`` calls it when it applies the outcome; called by hand, the handler
    changes the run's variables itself.

    Attributes:
        payload_transformer: puts time and country in front of the user's turn (`spec/01 §11.4`).
        on_completed: keeps the turn in the active context and takes the media that were shown out of the
            pending ones, once per idempotency key (`spec/04 §16.3`, §16.4).
    """

    def __init__(
        self,
        llm: AbstractCoreLLMClient,
        artifact_store: Any,
        may_use_artifact: MayUseArtifact,
        capture: Capture,
    ) -> None:
        self._llm = llm
        self._store = artifact_store
        self._may_use = may_use_artifact
        self._capture = capture
        # In the instance, so that functools.wraps carries them to a host's wrapper.
        self.payload_transformer: PayloadTransformer = ground_llm_payload
        self.on_completed: OnCompleted = self._apply

    def __call__(self, run: RunState, effect: Effect, default_next_node: str | None = None) -> EffectOutcome:
        """Make the call. Fails (and does not raise) for what `spec/04 §6.2` lists; ``outcome.kind`` is
        ``validation``, ``truncated``, ``provider``, ``timeout``, ``policy`` or ``cancelled``."""
        try:
            result = self._result(run, read_llm_call(effect.payload))
        except LlmCallError as exc:
            # The text may quote prompts and answers; it is in the outcome, not in the log.
            logger.warning("LLM call of run %s, node %s: %s", run.run_id, run.current_node, exc.kind)
            return EffectOutcome.failed(str(exc), kind=exc.kind)
        if not self._is_applied_by_driver():
            self._apply_now(run, effect, result)
        return EffectOutcome.completed(result)

    def _apply(self, run: RunState, effect: Effect, result: dict[str, Any] | None, key: str) -> None:
        apply_llm_result(run, effect.payload, result, key)

    def _is_applied_by_driver(self) -> bool:
        try:
            return current_effect().on_completed == self.on_completed
        except RuntimeError:  # called by hand
            return False

    def _apply_now(self, run: RunState, effect: Effect, result: dict[str, Any]) -> None:
        try:
            apply_llm_result(run, effect.payload, result)
        except Exception:  # the call has been made; its result must not get lost
            logger.warning("turn of run %s could not be kept", run.run_id, exc_info=True)

    # -- the call -------------------------------------------------------------------------------

    def _result(self, run: RunState, call: LlmCall) -> dict[str, Any]:
        if call.is_empty:
            raise LlmCallError(NOTHING_ASKED, kind="validation")
        pending = pending_items(run)
        items = requested_items(call.media, pending)
        media = load_media(items, run, self._store, self._may_use)
        model = _model(call)
        messages = message_view(run, call, trimmed_messages(run, call), items, self._store)
        with ExitStack() as life:
            placed = place_media(media, messages, inline_limit(call.params), life)
            request = {
                "prompt": call.prompt,
                "messages": placed.messages or None,
                "system_prompt": call.system_prompt,
                "media": placed.paths,
                "tools": call.tools,
            }
            params = with_media_defaults(run, call_params(run, call), has_media=placed.paths is not None)
            if model is not None:
                params["response_model"] = model
            ask = ClientCall(self._llm, request, may_fall_back=call.may_fall_back)
            answer = whole_answer(ask, params, call, run, self._llm)
        result = _with_truncation(answer)
        if model is not None:
            result = with_structured_data(result, model, is_strict=call.is_strict)
        if pending:
            result["metadata"][CONSUMED] = consumed_marks(pending)
        sent = _as_sent({**request, "media": placed.refs}, answer, call)
        return with_capture(result, sent, capture_level(run, self._capture), run, self._store)


def _with_truncation(answer: Answer) -> dict[str, Any]:
    result = answer.result
    if answer.is_noteworthy:
        resolved = not is_truncated(result)
        result["metadata"]["_truncation"] = {"attempts": answer.attempts, "resolved": resolved}
    return result


def _as_sent(request: dict[str, Any], answer: Answer, call: LlmCall) -> dict[str, Any]:
    """The final request, as it may be recorded."""
    sent = {**request, "params": answer.params, "structured_output_fallback": call.may_fall_back}
    if len(answer.attempts) > 1:
        sent["truncation_attempts"] = answer.attempts
    return sent


def _model(call: LlmCall) -> type[BaseModel] | None:
    schema = normalised_schema(call.response_schema)
    if schema is None:
        return None
    from .schema_model import model_of

    return model_of(schema, call.schema_name)
