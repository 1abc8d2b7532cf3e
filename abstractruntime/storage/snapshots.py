"""Named copies of a run's state, to look at or go back to (`spec/02 §11`).

Restoring is the host's step: ``run_store.save(snapshot.to_run())``. Ledger and artifacts are not part of it.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from abstractruntime.core.copies import copied
from abstractruntime.core.errors import RuntimeFault
from abstractruntime.core.models import RunState, utc_now_iso

from .file_names import checked_id
from .json_text import encode
from .replaced_files import make_private_dir, write_whole

__all__ = [
    "CorruptSnapshotError",
    "InMemorySnapshotStore",
    "JsonSnapshotStore",
    "Snapshot",
    "SnapshotStore",
    "answers",
]

logger = logging.getLogger(__name__)

IdsByRun = dict[str, list[str]]


class CorruptSnapshotError(RuntimeFault, ValueError):
    """A stored snapshot has not the form of one; the message names the file."""


@dataclass
class Snapshot:
    """One copy of a run's state.

    Attributes:
        snapshot_id: unique in the store; a part of a file name in `JsonSnapshotStore`.
        run_id, step_id: what was copied.
        name, description, tags: for people.
        created_at, updated_at: ISO times, UTC.
        run_state: the stored form of the run (`spec/02 §3.1`).
    """

    snapshot_id: str
    run_id: str
    step_id: str | None = None
    name: str = ""
    description: str | None = None
    tags: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=utc_now_iso)
    updated_at: str = field(default_factory=utc_now_iso)
    run_state: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_run(
        cls,
        *,
        run: RunState,
        name: str,
        description: str | None = None,
        tags: list[str] | None = None,
        step_id: str | None = None,
    ) -> Snapshot:
        """A snapshot of the run as it is now, with a random UUID4 id; shares nothing with the run."""
        return cls(
            snapshot_id=str(uuid4()),
            run_id=run.run_id,
            step_id=step_id,
            name=name,
            description=description,
            tags=list(tags or []),
            run_state=copied(run.to_dict()),
        )

    def to_run(self) -> RunState:
        """The run as it was, ready for ``run_store.save``; shares nothing with the snapshot.

        Raises:
            KeyError, ValueError: ``run_state`` is not the stored form of a run.
        """
        return RunState.from_dict(copied(self.run_state))


class SnapshotStore(ABC):
    """Where snapshots live."""

    @abstractmethod
    def save(self, snapshot: Snapshot) -> None:
        """Set ``updated_at`` on the passed snapshot to now, then insert or replace it.

        Raises:
            InvalidInputError: its id can't be a part of a file name.
            TypeError: it holds something that has no JSON form (not in memory: nothing is encoded there).
        """

    @abstractmethod
    def load(self, snapshot_id: str) -> Snapshot | None:
        """The snapshot, or ``None`` when it is unknown."""

    @abstractmethod
    def delete(self, snapshot_id: str) -> bool:
        """Remove it; whether it was there."""

    @abstractmethod
    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> list[Snapshot]:
        """Snapshots that match all filters, newest ``created_at`` first.

        Args:
            run_id: of exactly this run.
            tag: with this tag, in any case.
            query: with this text in name or description, in any case.
            limit: most snapshots to return; none for 0 and less.
        """


class InMemorySnapshotStore(SnapshotStore):
    """Snapshots in a dict: keeps and returns the very objects it was given (`spec/02 §11`).

    So a change made to one after `save` is a change of what is stored, and what has no JSON form may be in
    it. `Snapshot.from_run` and `Snapshot.to_run` copy: the run itself is never shared.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._snapshots: dict[str, Snapshot] = {}

    def save(self, snapshot: Snapshot) -> None:
        """See `SnapshotStore.save`."""
        snapshot_id = checked_id(snapshot.snapshot_id, "snapshot_id")
        snapshot.updated_at = utc_now_iso()
        with self._lock:
            self._snapshots[snapshot_id] = snapshot

    def load(self, snapshot_id: str) -> Snapshot | None:
        """See `SnapshotStore.load`."""
        checked_id(snapshot_id, "snapshot_id")
        with self._lock:
            return self._snapshots.get(snapshot_id)

    def delete(self, snapshot_id: str) -> bool:
        """See `SnapshotStore.delete`."""
        checked_id(snapshot_id, "snapshot_id")
        with self._lock:
            return self._snapshots.pop(snapshot_id, None) is not None

    def ids_by_run(self) -> IdsByRun:
        """The ids of all snapshots, by run."""
        with self._lock:
            return _ids_by_run(self._snapshots.values())

    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> list[Snapshot]:
        """See `SnapshotStore.list`."""
        with self._lock:
            found = [*self._snapshots.values()]
        return _matching(found, run_id, tag, query, limit)


class JsonSnapshotStore(SnapshotStore):
    """One file ``snapshot_<id>.json`` each, replaced at once and readable by its owner only.

    Args:
        base_dir: created with its parents; may be shared with the other file stores.
    """

    def __init__(self, base_dir: str | Path) -> None:
        self._base = Path(base_dir)
        make_private_dir(self._base)

    def save(self, snapshot: Snapshot) -> None:
        """See `SnapshotStore.save`."""
        path = self._path(snapshot.snapshot_id)
        stamped = replace(snapshot, updated_at=utc_now_iso())
        encode(_to_dict(stamped), f"snapshot '{snapshot.snapshot_id}'")  # refuses what is not JSON
        text = json.dumps(_to_dict(stamped), ensure_ascii=False, indent=2)
        write_whole(path, text.encode("utf-8", "surrogatepass"))
        snapshot.updated_at = stamped.updated_at

    def load(self, snapshot_id: str) -> Snapshot | None:
        """See `SnapshotStore.load`.

        Raises:
            json.JSONDecodeError: the file is not JSON.
            CorruptSnapshotError: it is not a snapshot.
        """
        return _read(self._path(snapshot_id))

    def delete(self, snapshot_id: str) -> bool:
        """See `SnapshotStore.delete`."""
        try:
            self._path(snapshot_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def ids_by_run(self) -> IdsByRun:
        """The ids of all snapshots, by run; reads each file once, keeps none of them."""
        return _ids_by_run(self._readable())

    def list(
        self,
        *,
        run_id: str | None = None,
        tag: str | None = None,
        query: str | None = None,
        limit: int = 100,
    ) -> list[Snapshot]:
        """See `SnapshotStore.list`. Damaged files are left out and reported in the log."""
        return _matching(self._readable(), run_id, tag, query, limit)

    def _readable(self) -> Iterator[Snapshot]:
        for path in self._base.glob("snapshot_*.json"):
            try:
                snapshot = _read(path)
            except (OSError, ValueError) as exc:
                logger.warning("snapshot %s is left out: %s", path, exc)
                continue
            if snapshot is not None:
                yield snapshot

    def _path(self, snapshot_id: str) -> Path:
        return self._base / f"snapshot_{checked_id(snapshot_id, 'snapshot_id')}.json"


def _read(path: Path) -> Snapshot | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    data = json.loads(content.decode("utf-8", "surrogatepass"))
    try:
        return _from_dict(data)
    except (AttributeError, KeyError, TypeError) as exc:
        raise CorruptSnapshotError(f"{path} is not a snapshot: {exc!r}") from exc


def _to_dict(snapshot: Snapshot) -> dict[str, Any]:
    return {each.name: getattr(snapshot, each.name) for each in fields(snapshot)}


def _from_dict(data: Mapping[str, Any]) -> Snapshot:
    now = utc_now_iso()
    created = data.get("created_at") or now
    return Snapshot(
        snapshot_id=data["snapshot_id"],
        run_id=data["run_id"],
        step_id=data.get("step_id"),
        name=data.get("name") or "",
        description=data.get("description"),
        tags=list(data.get("tags") or []),
        created_at=created,
        updated_at=data.get("updated_at") or created,
        run_state=dict(data.get("run_state") or {}),
    )


def _ids_by_run(snapshots: Iterable[Snapshot]) -> IdsByRun:
    found: IdsByRun = {}
    for snapshot in snapshots:
        found.setdefault(snapshot.run_id, []).append(snapshot.snapshot_id)
    return found


def answers(
    name: str, description: str | None, tags: Iterable[str], tag: str | None, query: str | None
) -> bool:
    """Whether a snapshot's texts match the filters of `SnapshotStore.list`; a blank filter matches all."""
    if tag and tag.lower() not in (each.lower() for each in tags):
        return False
    text = (query or "").lower()
    return text in name.lower() or text in (description or "").lower()


def _matching(
    found: Iterable[Snapshot], run_id: str | None, tag: str | None, query: str | None, limit: int
) -> list[Snapshot]:
    matches = [
        each
        for each in found
        if (not run_id or each.run_id == run_id)
        and answers(each.name, each.description, each.tags, tag, query)
    ]
    newest_first = sorted(matches, key=lambda snapshot: snapshot.created_at, reverse=True)
    return newest_first[: max(0, limit)]
