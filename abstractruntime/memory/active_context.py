"""The active context of runs: finding what was put aside, bringing it back, showing it (`spec/03 §2`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from abstractruntime.core.errors import UnknownRunError
from abstractruntime.core.models import RunState
from abstractruntime.core.run_locks import alone
from abstractruntime.core.store_ports import RunStorePort

from .llm_view import messages_view, run_view
from .rehydration import rehydrate
from .span_artifacts import SpanArtifacts
from .span_filter import SpanFilter, filter_spans
from .spans import Message, Span, resolve_span_ids, spans_of, summaries
from .time_range import TimeRange

__all__ = ["ActiveContextPolicy", "TimeRange"]


class ActiveContextPolicy:
    """What of a run's memory is in its active context, ``vars.context.messages``.

    Methods that take a ``run_id`` raise `UnknownRunError` (a ``KeyError``) for an unknown run; those that
    take a run work on it as it is in memory and save nothing.

    Args:
        run_store: where the runs are.
        artifact_store: where the archived messages and notes are.
    """

    def __init__(self, *, run_store: RunStorePort, artifact_store: SpanArtifacts) -> None:
        self._run_store = run_store
        self._artifacts = artifact_store

    # -- spans ----------------------------------------------------------------------------------

    def list_memory_spans(self, run_id: str) -> list[Span]:
        """All records of the run's span index, newest first."""
        return spans_of(self._load(run_id))

    @staticmethod
    def list_memory_spans_from_run(run: RunState) -> list[Span]:
        """Copies of all records of the run's span index, newest ``created_at`` first."""
        return spans_of(run)

    def filter_spans(
        self,
        run_id: str,
        *,
        time_range: TimeRange | None = None,
        tags: Mapping[str, Any] | None = None,
        tags_mode: str = "all",
        authors: Iterable[str] | None = None,
        locations: Iterable[str] | None = None,
        query: str | None = None,
        limit: int = 1000,
    ) -> list[Span]:
        """See `filter_spans_from_run`."""
        wanted = SpanFilter(time_range, tags, tags_mode, authors, locations, query)
        return filter_spans(self._load(run_id), self._artifacts, wanted, limit)

    @staticmethod
    def filter_spans_from_run(
        run: RunState,
        *,
        artifact_store: SpanArtifacts,
        time_range: TimeRange | None = None,
        tags: Mapping[str, Any] | None = None,
        tags_mode: str = "all",
        authors: Iterable[str] | None = None,
        locations: Iterable[str] | None = None,
        query: str | None = None,
        limit: int = 1000,
    ) -> list[Span]:
        """Spans that meet all conditions given, newest first.

        Args:
            run: whose spans.
            artifact_store: where tags and notes of the spans are.
            time_range: the span, ``from_timestamp`` to ``to_timestamp``, must touch it.
            tags: required values by key, a list meaning any of its values; ``kind`` is ignored. A span's own
                tags go before those of its artifact.
            tags_mode: ``all`` (or ``and``) of the keys, ``any`` (or ``or``) of them.
            authors, locations: any of these, whatever the case.
            query: text that must occur, whatever the case, in the summary, note, tags or texts of the span.
            limit: at most so many; none for 0 and less.

        Raises:
            InvalidInputError: (a ``ValueError``) a time to compare can't be read.
        """
        wanted = SpanFilter(time_range, tags, tags_mode, authors, locations, query)
        return filter_spans(run, artifact_store, wanted, limit)

    @staticmethod
    def resolve_span_ids_from_spans(span_ids: Iterable[object], spans: Sequence[Span]) -> list[str]:
        """Artifact ids: a number (also as text) counts from 1 in ``spans``, other text is an id as it is."""
        return resolve_span_ids(span_ids, spans)

    @staticmethod
    def summary_text_by_artifact_id_from_run(run: RunState) -> dict[str, str]:
        """The summaries in the active context, by the artifact they stand for."""
        return summaries(run)

    # -- rehydration ----------------------------------------------------------------------------

    def rehydrate_into_context(
        self,
        run_id: str,
        *,
        span_ids: Iterable[object],
        placement: str = "after_summary",
        dedup_by: str = "message_id",
        max_messages: int | None = None,
    ) -> dict[str, Any]:
        """`rehydrate_into_context_from_run` on the stored run, which is saved.

        Holds the run's write lock, so that no other write of this process is lost. A step in flight commits
        the context it began with: rehydrate between steps.
        """
        with alone(self._run_store, run_id):
            run = self._load(run_id)
            result = self.rehydrate_into_context_from_run(
                run, span_ids=span_ids, placement=placement, dedup_by=dedup_by, max_messages=max_messages
            )
            self._run_store.save(run)
        return result

    def rehydrate_into_context_from_run(
        self,
        run: RunState,
        *,
        span_ids: Iterable[object],
        placement: str = "after_summary",
        dedup_by: str = "message_id",
        max_messages: int | None = None,
    ) -> dict[str, Any]:
        """Put the archived messages and notes of spans back into the run's context; artifacts stay.

        Args:
            run: changed in place, its ``output["messages"]`` too where it has an output.
            span_ids: artifact ids, or numbers from 1 in `list_memory_spans_from_run`.
            placement: ``after_summary`` (after the summary of that span; else as the next), ``after_system``
                (after the system messages at the beginning) or ``end``.
            dedup_by: ``message_id`` skips messages that the context has already; anything else skips none.
            max_messages: insert at most so many in all; ``None`` or a negative number: any number.

        Returns:
            ``{"inserted", "skipped", "artifacts": [{"artifact_id", "inserted", "skipped"[, "preview"]
            [, "error"]}]}``; the error of a span is ``max_messages`` or ``missing_messages``.
        """
        return rehydrate(
            run,
            self._artifacts,
            span_ids=span_ids,
            placement=placement,
            dedup_by=dedup_by,
            max_messages=max_messages,
        )

    # -- view -----------------------------------------------------------------------------------

    def select_active_messages_for_llm(
        self, run_id: str, *, max_history_messages: int | None = None
    ) -> list[Message]:
        """See `select_active_messages_for_llm_from_run`."""
        return run_view(self._load(run_id), max_history_messages)

    @staticmethod
    def select_active_messages_for_llm_from_run(
        run: RunState, *, max_history_messages: int | None = None
    ) -> list[Message]:
        """System messages, then the last others: as many as given, else as in ``vars._limits``; -1: all."""
        return run_view(run, max_history_messages)

    @staticmethod
    def select_messages_view(messages: Iterable[Any], *, max_history_messages: int) -> list[Message]:
        """The same of a list of messages."""
        return messages_view(messages, max_history_messages)

    # -- store ----------------------------------------------------------------------------------

    def _load(self, run_id: str) -> RunState:
        run = self._run_store.load(run_id)
        if run is None:
            raise UnknownRunError(run_id)
        return run
