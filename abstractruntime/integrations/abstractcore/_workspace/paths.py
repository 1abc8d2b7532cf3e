"""Where a path that a model wrote leads, and whether that is allowed (`spec/04 §10`)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from abstractruntime.core.errors import InvalidInputError

from .scope import WorkspaceScope

__all__ = ["mounts", "resolve_user_path"]

_MAX_MOUNT_NAME = 32


def resolve_user_path(*, scope: WorkspaceScope, user_path: str) -> Path:
    """The absolute path, without symlinks; the file need not exist.

    A leading ``@`` or ``file://`` is dropped, ``~`` is the home folder, a relative path is under the root. In
    ``workspace_or_allowed`` its first part may name a mount (see `mounts`). The root's own name in front is
    dropped if the root has no such child.

    Raises:
        InvalidInputError: (a ``ValueError``) the path is empty, no path, or the scope forbids it.
    """
    text = str(user_path).strip().removeprefix("@").strip()
    if text.startswith("file:///"):
        text = text.removeprefix("file://")
    if not text:
        raise InvalidInputError("Empty path")
    try:
        path = Path(text).expanduser()
        resolved = _allowed_absolute(scope, path, text) if path.is_absolute() else _under(scope, path, text)
    except InvalidInputError:
        raise
    except (OSError, RuntimeError, ValueError) as exc:  # a loop of links, a home nobody has, a null byte
        raise InvalidInputError(f"Path can't be resolved: '{text}' ({exc})") from exc
    return resolved


def _allowed_absolute(scope: WorkspaceScope, path: Path, text: str) -> Path:
    resolved = path.resolve()
    _refuse_ignored(scope, resolved, text)
    if resolved.is_relative_to(scope.root) or scope.access_mode == "all_except_ignored":
        return resolved
    if scope.access_mode == "workspace_only":
        raise InvalidInputError(f"Path escapes workspace_root: '{text}'")
    if not any(resolved.is_relative_to(allowed) for allowed in scope.allowed_paths):
        raise InvalidInputError(f"Path is outside workspace roots: '{text}'")
    return resolved


def _under(scope: WorkspaceScope, path: Path, text: str) -> Path:
    base = scope.root
    parts = path.parts
    if scope.access_mode == "workspace_or_allowed" and len(parts) > 1:
        mount = mounts(scope).get(parts[0].lower())
        if mount is not None:
            base, parts = mount, parts[1:]
    if base is scope.root and parts and parts[0] == scope.root.name and not (base / parts[0]).exists():
        parts = parts[1:]
    resolved = base.joinpath(*parts).resolve()
    _refuse_ignored(scope, resolved, text)
    if not resolved.is_relative_to(base):
        raise InvalidInputError(f"Path escapes workspace_root: '{text}'")
    return resolved


def _refuse_ignored(scope: WorkspaceScope, resolved: Path, text: str) -> None:
    if any(resolved.is_relative_to(ignored) for ignored in scope.ignored_paths):
        raise InvalidInputError(f"Path is blocked by workspace_ignored_paths: '{text}'")


def mounts(scope: WorkspaceScope) -> dict[str, Path]:
    """Allowed folders outside the workspace by the names that relative paths may begin with.

    A name is the folder's own in lower case, with ``-`` for other characters, at most 32 of them. If several
    folders have one name, each also has it with ``_`` and 8 hex digits behind, and the first has it alone.
    """
    found: dict[str, Path] = {}
    outside = [path for path in scope.allowed_paths if not path.is_relative_to(scope.root)]
    names = [_mount_name(path) for path in outside]
    for name, path in zip(names, outside, strict=True):
        found.setdefault(name, path)
        if names.count(name) > 1:
            found[f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"] = path
    return found


def _mount_name(path: Path) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", path.name.lower())[:_MAX_MOUNT_NAME] or "root"
