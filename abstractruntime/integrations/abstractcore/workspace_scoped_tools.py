"""Where tools may go on the file system (`spec/04 §10`)."""

from __future__ import annotations

from ._tool_calls.path_parameters import path_parameters
from ._workspace.paths import resolve_user_path
from ._workspace.rewrite import rewrite_tool_arguments
from ._workspace.scope import WorkspaceAccessMode, WorkspaceScope, resolve_workspace_base_dir
from ._workspace.scoped_executor import WorkspaceScopedToolExecutor

__all__ = [
    "WorkspaceAccessMode",
    "WorkspaceScope",
    "WorkspaceScopedToolExecutor",
    "path_parameters",
    "resolve_user_path",
    "resolve_workspace_base_dir",
    "rewrite_tool_arguments",
]
