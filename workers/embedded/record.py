"""``fleet.json``: what the folder's fleet uses, so that other commands in the same place find it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["DEFAULT_DIRECTORY", "FleetRecord"]

DEFAULT_DIRECTORY = Path(".abstractruntime")


@dataclass(frozen=True, slots=True)
class FleetRecord:
    """How to reach a fleet: its App's import path, its database and its broker."""

    app: str
    database_url: str
    redis_url: str
    pid: int

    def write(self, folder: Path) -> None:
        """Store it, private to its owner (a URL may hold a password)."""
        target = folder / "fleet.json"
        draft = folder / f"fleet.json.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=2)
        draft.replace(target)

    @classmethod
    def read(cls, folder: Path) -> FleetRecord | None:
        """The folder's record; ``None`` when there is none that can be read."""
        try:
            data = json.loads((folder / "fleet.json").read_text(encoding="utf-8"))
            return cls(str(data["app"]), str(data["database_url"]), str(data["redis_url"]), int(data["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
