"""What a purge has removed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["PurgeReport"]


@dataclass
class PurgeReport:
    """What was removed, or with ``dry_run`` what would be.

    Attributes:
        dry_run: nothing was removed.
        runs, records, artifacts, snapshots, events, commands: how many; ``records`` are those of the runs'
            ledgers.
        artifact_bytes: size of the artifacts' contents; equal contents of several artifacts count each time.
        kept_trees: runs that are old enough, but kept because a run below them is not.
        more: the limit was reached, and more may be due.
        errors: what could not be removed and why; the next purge tries again.
    """

    dry_run: bool = False
    runs: int = 0
    records: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    snapshots: int = 0
    events: int = 0
    commands: int = 0
    kept_trees: int = 0
    more: bool = False
    errors: list[str] = field(default_factory=list)

    def add(self, part: PurgeReport) -> None:
        """Count what a part of the purge has removed."""
        self.runs += part.runs
        self.records += part.records
        self.artifacts += part.artifacts
        self.artifact_bytes += part.artifact_bytes
        self.snapshots += part.snapshots

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)
