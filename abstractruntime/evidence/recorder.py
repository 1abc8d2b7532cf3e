"""Keeping what tools found (`spec/03 §15`)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from abstractruntime.core.models import RunState, utc_now_iso
from abstractruntime.core.redaction import Redactor
from abstractruntime.storage.artifact_base import ArtifactStore
from abstractruntime.storage.artifact_ids import compute_artifact_id

from .pairing import Observation, observations, text_of
from .parts import JSON, Part, parts_of, stripped
from .records import evidence_record, index_entry, tags_of

__all__ = ["DEFAULT_EVIDENCE_TOOL_NAMES", "EvidenceCaptureStats", "EvidenceRecorder"]

logger = logging.getLogger(__name__)

DEFAULT_EVIDENCE_TOOL_NAMES = ("web_search", "fetch_url", "execute_command")


@dataclass(frozen=True)
class EvidenceCaptureStats:
    """What one call of the recorder has done.

    Attributes:
        recorded: observations that were not known before.
    """

    recorded: int = 0


class EvidenceRecorder:
    """Stores each result of certain tools as an artifact, its large parts as others, and names it in the run.

    Recording the same results again changes nothing: the evidence id is made of the call's id and of what was
    found, so a step that is repeated after a crash, or takes its result from the ledger, comes to the same
    evidence (`spec/03 §18.3`), while a call that was really made twice is two observations.

    Args:
        artifact_store: where evidence is kept.
        tool_names: whose results are kept.
        redactor: what is kept instead of what was said (`spec/03 §18.19`); default: everything as it is.
    """

    is_idempotent = True
    """So the kernel shows it results that are reused, too."""

    def __init__(
        self,
        *,
        artifact_store: ArtifactStore,
        tool_names: Iterable[str] = DEFAULT_EVIDENCE_TOOL_NAMES,
        redactor: Redactor | None = None,
    ) -> None:
        self._store = artifact_store
        self.tool_names = frozenset(tool_names)
        self._redactor = redactor

    def record_tool_calls(
        self, *, run: RunState, node_id: str, tool_calls: Any, tool_results: Any
    ) -> EvidenceCaptureStats:
        """Keep the results as evidence, name it in ``run.vars["_runtime"]["memory_spans"]`` and replace large
        parts of the results by references, in place. ``result["meta"]["evidence_id"]`` names the evidence.

        Args:
            tool_calls: the calls; paired with their results by id, else by position.
            tool_results: the results, or what holds them: ``{"mode": "executed", "results": [...]}``.

        Raises:
            Exception: whatever the artifact store raises; that result is as it was, the others are kept.
        """
        calls = tool_calls if isinstance(tool_calls, list) else []
        found = tool_results.get("results") if isinstance(tool_results, dict) else tool_results
        results = found if isinstance(found, list) else []
        seen = [each for each in observations(calls, results) if each.tool_name in self.tool_names]
        if not seen:
            return EvidenceCaptureStats()
        index = _span_index(run)
        known = {span.get("artifact_id") for span in index if isinstance(span, dict)}
        recorded = 0
        problem: Exception | None = None
        for each in seen:
            try:
                entry = self._keep(each, run, node_id, known)
            except Exception as exc:
                problem = problem or exc
                continue
            if entry is not None:
                index.append(entry)
                known.add(entry["artifact_id"])
                recorded += 1
        if problem is not None:
            raise problem
        return EvidenceCaptureStats(recorded)

    def _keep(self, seen: Observation, run: RunState, node_id: str, known: set[Any]) -> dict[str, Any] | None:
        """One observation; its entry in the index unless it is there already."""
        earlier = _evidence_id(seen.result)
        if earlier in known:
            return None
        found = None if earlier is None else self._found_again(earlier, run)
        if found is not None:
            return found
        evidence_id = _id_of(seen, run, node_id)
        kept = self._redacted(seen)
        parts = parts_of(seen.tool_name, kept.result.get("output"))
        ids = {part.name: _part_id(evidence_id, part, run) for part in parts}
        record = evidence_record(kept, run, node_id, ids, utc_now_iso())
        tags = tags_of(record)
        if evidence_id not in known:
            for part in parts:
                self._store.store(
                    part.text.encode("utf-8", "replace"),
                    content_type=part.content_type,
                    run_id=run.run_id,
                    tags={**tags, "part": part.tag},
                    artifact_id=ids[part.name],
                )
            self._store.store(
                json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str).encode(
                    "utf-8", "replace"
                ),
                content_type=JSON,
                run_id=run.run_id,
                tags=tags,
                artifact_id=evidence_id,
            )
        taken = {part.key: ids[part.name] for part in parts if part.key is not None}
        seen.result["output"] = stripped(seen.tool_name, seen.result.get("output"), taken)
        meta = seen.result.get("meta")
        seen.result["meta"] = {**(meta if isinstance(meta, dict) else {}), "evidence_id": evidence_id}
        return None if evidence_id in known else index_entry(record, evidence_id)

    def _found_again(self, evidence_id: str, run: RunState) -> dict[str, Any] | None:
        """A result from the ledger whose evidence was stored before the run was: only the index lacks it."""
        metadata = self._store.get_metadata(evidence_id)
        if metadata is None or metadata.run_id != run.run_id or metadata.tags.get("kind") != "evidence":
            return None
        record = self._store.load_json(evidence_id)
        return index_entry(record, evidence_id) if isinstance(record, dict) else None

    def _redacted(self, seen: Observation) -> Observation:
        """The observation as it may be stored."""
        if self._redactor is None:
            return seen
        call, result = deepcopy(seen.call), deepcopy(seen.result)
        if "arguments" in call:
            call["arguments"] = self._redactor(call["arguments"], "effect")
        for key, place in (("output", "result"), ("error", "error")):
            if result.get(key) is not None:
                result[key] = self._redactor(result[key], place)
        return replace(seen, call=call, result=result)


def _span_index(run: RunState) -> list[Any]:
    """The run's span index. What is missing or can't be one is replaced, as memory effects do
    (`spec/03 §8`): evidence that was just stored must not be left without its entry."""
    runtime = _kept_or_new(run.vars, "_runtime", dict, run)
    index: list[Any] = _kept_or_new(runtime, "memory_spans", list, run)
    return index


def _kept_or_new(holder: dict[str, Any], key: str, kind: type[Any], run: RunState) -> Any:
    value = holder.get(key)
    if not isinstance(value, kind):
        if value is not None:  # once: it is replaced
            logger.warning(
                "%s of run '%s' is a %s, not a %s; it is replaced by an empty one",
                key,
                run.run_id,
                type(value).__name__,
                kind.__name__,
            )
        value = holder[key] = kind()
    return value


def _evidence_id(result: dict[str, Any]) -> str | None:
    meta = result.get("meta")
    return (text_of(meta.get("evidence_id")) or None) if isinstance(meta, dict) else None


def _id_of(seen: Observation, run: RunState, node_id: str) -> str:
    """Of the call and of what was found. A call without any id can't be recognised: its evidence is new."""
    call = seen.runtime_call_id or seen.call_id
    identity = [
        seen.runtime_call_id or [node_id, seen.call_id, seen.arguments] if call else uuid4().hex,
        seen.tool_name,
        [seen.result.get(key) for key in ("success", "output", "error")],
    ]
    text = json.dumps(identity, sort_keys=True, default=str)
    return compute_artifact_id(f"evidence\0{text}".encode(), run_id=run.run_id)


def _part_id(evidence_id: str, part: Part, run: RunState) -> str:
    digest = hashlib.sha256(f"{evidence_id}\0{part.name}".encode()).digest()
    return compute_artifact_id(digest, run_id=run.run_id)
