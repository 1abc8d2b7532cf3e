"""The workspace of a run: where its tools may go (`spec/04 §10`)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from abstractruntime.core.errors import InvalidInputError

__all__ = ["WorkspaceAccessMode", "WorkspaceScope", "resolve_workspace_base_dir", "scope_of_run"]

WorkspaceAccessMode = str
"""``workspace_only``, ``all_except_ignored`` or ``workspace_or_allowed``."""

_MODES = ("workspace_only", "all_except_ignored", "workspace_or_allowed")
_BASE_VARIABLES = ("ABSTRACT_WORKSPACE_BASE_DIR", "ABSTRACTFLOW_WORKSPACE_BASE_DIR")


@dataclass(frozen=True)
class WorkspaceScope:
    """Which paths tools may touch.

    Attributes:
        root: the workspace; relative paths are under it.
        access_mode: ``workspace_only`` = nothing outside the root; ``workspace_or_allowed`` = also under
            ``allowed_paths``; ``all_except_ignored`` = everywhere.
        ignored_paths: never, in no mode, nor anything under them.
        allowed_paths: see ``access_mode``.
    """

    root: Path
    access_mode: WorkspaceAccessMode = "workspace_only"
    ignored_paths: tuple[Path, ...] = ()
    allowed_paths: tuple[Path, ...] = ()

    @classmethod
    def from_input_data(
        cls, input_data: Mapping[str, Any], *, key: str = "workspace_root", base_dir: Path | None = None
    ) -> WorkspaceScope | None:
        """The scope that run variables ask for; ``None`` without a root, that is no policy at all.

        A root that does not exist is created.

        Args:
            input_data: ``workspace_root`` (see ``key``), ``workspace_access_mode``,
                ``workspace_ignored_paths``, ``workspace_allowed_paths``; the last three in camel case too.
            base_dir: where a relative root begins; default `resolve_workspace_base_dir`.

        Raises:
            InvalidInputError: (a ``ValueError``) the root is a file or can't be made, or no such mode.
        """
        raw = _text(input_data.get(key))
        if not raw:
            return None
        root = _made_root(raw, base_dir)
        mode = _text(_either(input_data, "workspace_access_mode", "workspaceAccessMode")) or _MODES[0]
        if mode.lower() not in _MODES:
            raise InvalidInputError(
                f"Invalid workspace_access_mode: '{mode}' (expected one of: {sorted(_MODES)})"
            )
        ignored = _either(input_data, "workspace_ignored_paths", "workspaceIgnoredPaths")
        allowed = _either(input_data, "workspace_allowed_paths", "workspaceAllowedPaths")
        return cls(root, mode.lower(), _paths(ignored, root), _paths(allowed, root))


def resolve_workspace_base_dir() -> Path:
    """Where relative workspace roots begin: ``ABSTRACT_WORKSPACE_BASE_DIR``, else
    ``ABSTRACTFLOW_WORKSPACE_BASE_DIR``, else the current folder."""
    for variable in _BASE_VARIABLES:
        value = os.environ.get(variable, "").strip()
        if value:
            return Path(value).expanduser().resolve()
    return Path.cwd()


_KEYS = (
    "workspace_root",
    "workspace_access_mode",
    "workspaceAccessMode",
    "workspace_ignored_paths",
    "workspaceIgnoredPaths",
    "workspace_allowed_paths",
    "workspaceAllowedPaths",
)


def scope_of_run(run_id: str, variables: Mapping[str, Any]) -> WorkspaceScope | None:
    """The scope that a run's variables ask for, found out once per run and settings (`spec/04 §16.27`).

    Raises:
        InvalidInputError: see `WorkspaceScope.from_input_data`.
    """
    settings = {key: variables[key] for key in _KEYS if variables.get(key) is not None}
    if not _text(settings.get("workspace_root")):
        return None
    try:
        text = json.dumps(settings, sort_keys=True)
    except (TypeError, ValueError):  # paths as objects: a run that was never stored
        return WorkspaceScope.from_input_data(settings)
    return _remembered(run_id, text, str(resolve_workspace_base_dir()))


@lru_cache(maxsize=256)
def _remembered(run_id: str, settings: str, base_dir: str) -> WorkspaceScope | None:
    return WorkspaceScope.from_input_data(json.loads(settings), base_dir=Path(base_dir))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _either(data: Mapping[str, Any], name: str, other: str) -> Any:
    value = data.get(name)
    return data.get(other) if value is None else value


def _made_root(raw: str, base_dir: Path | None) -> Path:
    path = Path(raw).expanduser()
    if not path.is_absolute():
        path = (resolve_workspace_base_dir() if base_dir is None else Path(base_dir)) / path
    root = path.resolve()
    if root.exists() and not root.is_dir():
        raise InvalidInputError(f"workspace_root must be a directory (got file): {raw}")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidInputError(f"workspace_root can't be created: {raw} ({exc.strerror})") from exc
    return root


def _paths(value: Any, root: Path) -> tuple[Path, ...]:
    found = (Path(text).expanduser() for text in _lines(value))
    return tuple(dict.fromkeys((path if path.is_absolute() else root / path).resolve() for path in found))


def _lines(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        value = _json_array(value) or value.splitlines()
    if not isinstance(value, (list, tuple)):
        return ()
    return [text for text in map(_text, value) if text]


def _json_array(text: str) -> list[Any] | None:
    if not text.strip().startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # lines, then
        return None
    return value if isinstance(value, list) else None
