"""A small artifact store with the two methods a bundle uses (`spec/02 §10.4`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass
class Kept:
    artifact_id: str
    content: str
    run_id: str | None
    tags: dict[str, str]


class SmallArtifactStore:
    def __init__(self, *, ids: bool = True) -> None:
        self.kept: dict[str, Kept] = {}
        self._ids = ids

    def store_json(self, data: Any, *, run_id: str | None = None, tags: dict[str, str] | None = None) -> Kept:
        return self.store_text(json.dumps(data, ensure_ascii=False), run_id=run_id, tags=tags)

    def store_text(self, text: str, *, run_id: str | None = None, tags: dict[str, str] | None = None) -> Kept:
        kept = Kept(f"a{len(self.kept)}" if self._ids else "", text, run_id, dict(tags or {}))
        self.kept[kept.artifact_id] = kept
        return kept

    def load_json(self, artifact_id: str) -> Any:
        return json.loads(self.kept[artifact_id].content)
