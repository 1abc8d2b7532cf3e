"""Results of a batch of tool calls that has not ended (`spec/04 §16.6`).

A batch may break off after some of its calls: an executor raises, the process dies. What those calls did has
happened, so their results are kept as they come, and another attempt at the batch executes only the others.

With an artifact store they survive the process: one artifact per batch, named after what the batch asks for.
It is deleted once its outcome is committed; if the process dies just then, by the run's next batch.
Without a store they are in the run's variables, which a failed attempt leaves to the next one.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import RunState
from abstractruntime.storage.artifact_base import ArtifactStore

from .._llm_call.run_settings import own_runtime, runtime_of
from .shapes import ToolCall, ToolResult

__all__ = ["ResultJournal", "delete_ended_journals", "forget_ended_journals"]

logger = logging.getLogger(__name__)

_IN_PROGRESS = "tool_results_in_progress"
_ENDED = "ended_tool_journals"
_KIND = "tool_results_in_progress"


class ResultJournal:
    """The results of one batch, as far as there are any.

    Only calls that can be told apart (``runtime_call_id``) are kept, and only of batches of several calls.

    Args:
        run: whose batch it is.
        calls: all calls that the executor will get, in order.
        artifact_store: where results survive the process; default: the driver's, if there is one.
    """

    def __init__(
        self, run: RunState, calls: Sequence[ToolCall], artifact_store: ArtifactStore | None
    ) -> None:
        self._run = run
        self._keys = [str(call.get("runtime_call_id") or "").strip() for call in calls]
        self._is_kept = len(calls) > 1 and all(self._keys) and len(set(self._keys)) == len(calls)
        self._store = (artifact_store or _driver_store()) if self._is_kept else None
        self._name = _name(run, calls) if self._is_kept else ""
        self._results = self._read() if self._is_kept else {}

    def result(self, call: ToolCall) -> ToolResult | None:
        """What the call has returned already, in this attempt or an earlier one."""
        return self._results.get(str(call.get("runtime_call_id") or "").strip())

    def keep(self, call: ToolCall, result: ToolResult) -> None:
        """The call has this result."""
        if not self._is_kept:
            return
        self._results[str(call["runtime_call_id"]).strip()] = result
        if len(self._results) < len(self._keys):  # with the last one the outcome itself is there
            self._write()

    def end(self) -> None:
        """The batch has its outcome: what was kept is not needed once that is committed."""
        if not self._is_kept:
            return
        runtime = own_runtime(self._run)
        if self._store is None:
            runtime.pop(_IN_PROGRESS, None)
        else:
            runtime[_ENDED] = [self._name]

    def _read(self) -> dict[str, ToolResult]:
        if self._store is not None:
            artifact = self._store.load(self._name)
            found = None if artifact is None else artifact.as_json()
        else:
            found = runtime_of(self._run).get(_IN_PROGRESS)
            found = found.get(self._name) if isinstance(found, dict) else None
        results = found if isinstance(found, dict) else {}
        return {key: results[key] for key in self._keys if isinstance(results.get(key), dict)}

    def _write(self) -> None:
        if self._store is None:
            own_runtime(self._run)[_IN_PROGRESS] = {self._name: dict(self._results)}
            return
        try:
            self._store.store(
                json.dumps(self._results, ensure_ascii=False).encode(),
                content_type="application/json",
                run_id=self._run.run_id,
                tags={"kind": _KIND},
                artifact_id=self._name,
            )
        except Exception:
            # The call has happened; that its result might be needed again is less than the result itself.
            logger.warning("tool results of run %s not kept for a retry", self._run.run_id, exc_info=True)


def forget_ended_journals(run: RunState, artifact_store: ArtifactStore | None) -> None:
    """Delete what earlier batches of the run have kept, and the run's knowledge of it."""
    delete_ended_journals(run, artifact_store)
    if _ENDED in runtime_of(run):
        del own_runtime(run)[_ENDED]


def delete_ended_journals(run: RunState, artifact_store: ArtifactStore | None) -> None:
    """Delete what batches of the run have kept; the run, as stored, knows them only if they are committed."""
    names = runtime_of(run).get(_ENDED)
    store = (artifact_store or _driver_store()) if names else None
    if store is None:
        return
    for name in names or ():
        try:
            store.delete(name)
        except Exception:  # it is garbage, which retention removes with the run
            logger.warning("artifact %s of run %s not deleted", name, run.run_id, exc_info=True)


def _driver_store() -> ArtifactStore | None:
    try:
        context = current_effect()
    except RuntimeError:  # called outside of a driver
        return None
    store: ArtifactStore | None = None if context.open_artifacts is None else context.open_artifacts()
    return store


def _name(run: RunState, calls: Sequence[Mapping[str, Any]]) -> str:
    """The same batch of the same run has the same name, another request has not."""
    asked = [[call.get("runtime_call_id"), call.get("name"), call.get("arguments")] for call in calls]
    text = json.dumps([run.run_id, asked], sort_keys=True, default=str)
    return f"toolcalls_{hashlib.sha256(text.encode()).hexdigest()[:32]}"
