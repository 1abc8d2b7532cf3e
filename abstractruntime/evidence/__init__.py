"""What tools found, kept so that it can be shown later (`spec/03 §15`)."""

from __future__ import annotations

from abstractruntime.core.evidence_index import evidence_entries

from .recorder import DEFAULT_EVIDENCE_TOOL_NAMES, EvidenceRecorder

__all__ = ["DEFAULT_EVIDENCE_TOOL_NAMES", "EvidenceRecorder", "evidence_entries"]
