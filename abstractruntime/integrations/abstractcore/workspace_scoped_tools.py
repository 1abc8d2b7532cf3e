"""Where tools may go on the file system (`spec/04 §10`)."""

from __future__ import annotations

from ._path_parameters import path_parameters
from ._scoped_executor import WorkspaceScopedToolExecutor
from ._workspace_paths import resolve_user_path
from ._workspace_rewrite import rewrite_tool_arguments
from ._workspace_scope import WorkspaceAccessMode, WorkspaceScope, resolve_workspace_base_dir

__all__ = [
    "WorkspaceAccessMode",
    "WorkspaceScope",
    "WorkspaceScopedToolExecutor",
    "path_parameters",
    "resolve_user_path",
    "resolve_workspace_base_dir",
    "rewrite_tool_arguments",
]
