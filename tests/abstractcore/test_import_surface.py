"""Which names are where, and that importing them needs and loads no AbstractCore (`spec/04 §1`)."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest

PACKAGE = "abstractruntime.integrations.abstractcore"

ROOT_NAMES = """
    AbstractCoreLLMClient LocalAbstractCoreLLMClient RemoteAbstractCoreLLMClient AbstractCoreEmbeddingsClient
    EmbeddingsResult RuntimeConfig ToolExecutor MappingToolExecutor AbstractCoreToolExecutor
    PassthroughToolExecutor build_effect_handlers create_local_runtime create_remote_runtime
    create_hybrid_runtime create_local_file_runtime create_remote_file_runtime
    attach_global_event_bus_bridge emit_step_record
"""

SUBMODULES = {
    "constants": "DEFAULT_LLM_TIMEOUT_S DEFAULT_TOOL_TIMEOUT_S",
    "factory": """create_local_runtime create_remote_runtime create_hybrid_runtime create_local_file_runtime
        create_remote_file_runtime""",
    "llm_client": """AbstractCoreLLMClient LocalAbstractCoreLLMClient MultiLocalAbstractCoreLLMClient
        RemoteAbstractCoreLLMClient HttpResponse RequestSender HttpxRequestSender""",
    "effect_handlers": "make_llm_call_handler make_tool_calls_handler build_effect_handlers",
    "tool_executor": """ToolExecutor MappingToolExecutor AbstractCoreToolExecutor PassthroughToolExecutor
        McpToolExecutor DelegatingMcpToolExecutor""",
    "default_tools": """comms_tools_enabled email_tools_enabled whatsapp_tools_enabled telegram_tools_enabled
        get_default_toolsets get_default_tools list_default_tool_specs build_default_tool_map
        filter_tool_specs""",
    "workspace_scoped_tools": """WorkspaceAccessMode WorkspaceScope WorkspaceScopedToolExecutor
        rewrite_tool_arguments resolve_workspace_base_dir resolve_user_path""",
    "session_attachments": """session_memory_owner_run_id list_session_attachments
        render_active_attachments_system_message render_session_attachments_system_message
        dedup_messages_view execute_open_attachment parse_tool_message ParsedToolMessage""",
    "summarizer": "ChatSummarizer AbstractCoreChatSummarizer",
    "embeddings_client": "AbstractCoreEmbeddingsClient EmbeddingsResult",
    "observability": "emit_step_record attach_global_event_bus_bridge",
    "logging": "get_logger",
    "mcp_worker": "McpWorkerState build_worker_state handle_mcp_request serve_stdio build_wsgi_app main",
}

REPLACEABLE = """
    MultiLocalAbstractCoreLLMClient RemoteAbstractCoreLLMClient AbstractCoreToolExecutor
    PassthroughToolExecutor AbstractCoreChatSummarizer build_effect_handlers
"""


def test_the_package_root() -> None:
    root = import_module(PACKAGE)
    assert set(root.__all__) == set(ROOT_NAMES.split())
    for name in root.__all__:
        assert getattr(root, name).__name__ == name
    assert set(root.__all__) <= set(dir(root))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        root.nothing  # noqa: B018


@pytest.mark.parametrize("name", SUBMODULES)
def test_a_submodule(name: str) -> None:
    module = import_module(f"{PACKAGE}.{name}")
    wanted = set(SUBMODULES[name].split())
    assert wanted <= set(module.__all__)
    assert all(hasattr(module, public) for public in module.__all__)


def test_what_hosts_may_replace_is_where_they_look() -> None:
    factory = import_module(f"{PACKAGE}.factory")
    assert all(hasattr(factory, name) for name in REPLACEABLE.split())
    assert callable(import_module(f"{PACKAGE}.llm_client")._system_context_header)


def test_constants() -> None:
    constants = import_module(f"{PACKAGE}.constants")
    assert (constants.DEFAULT_LLM_TIMEOUT_S, constants.DEFAULT_TOOL_TIMEOUT_S) == (7200.0, 7200.0)


def _loaded_after(code: str, *, without: str = "") -> set[str]:
    """The modules that a fresh process has after this code."""
    block = f"import sys; sys.modules[{without!r}] = None\n" if without else ""
    script = (
        f"{block}{code}\nimport json, sys\nprint(json.dumps(sorted(name for name in sys.modules if name)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


IMPORT_ALL = (
    f"import importlib\nfor name in {list(SUBMODULES)}:\n    importlib.import_module(f'{PACKAGE}.{{name}}')"
)


def test_the_submodules_import_where_abstractcore_is_not_installed() -> None:
    loaded = _loaded_after(f"{IMPORT_ALL}\nfrom {PACKAGE} import *", without="abstractcore")
    assert {f"{PACKAGE}.{name}" for name in SUBMODULES} <= loaded


def test_importing_loads_no_dear_library() -> None:
    loaded = _loaded_after(IMPORT_ALL)
    assert not {"abstractcore", "pydantic", "httpx", "requests", "sqlalchemy", "celery"} & loaded


def test_the_kernel_loads_no_integration() -> None:
    loaded = _loaded_after("import abstractruntime, abstractruntime.integrations\nabstractruntime.Runtime")
    assert not [name for name in loaded if name.startswith(f"{PACKAGE}")]
    assert "abstractcore" not in loaded


def test_extras_and_script() -> None:
    extras = metadata("abstractruntime").get_all("Provides-Extra") or []
    assert {"abstractcore", "mcp-worker"} <= set(extras)
    (script,) = entry_points(group="console_scripts", name="abstractruntime-mcp-worker")
    assert script.value == f"{PACKAGE}.mcp_worker:main"
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    lines = pyproject.read_text(encoding="utf-8").splitlines()
    assert "abstractcore = [" in lines
    assert "mcp-worker = [" in lines


@pytest.mark.parametrize(
    ("module", "protocol", "implementation"),
    [
        ("llm_client", "AbstractCoreLLMClient", "RemoteAbstractCoreLLMClient"),
        ("llm_client", "RequestSender", "HttpxRequestSender"),
        ("tool_executor", "ToolExecutor", "MappingToolExecutor"),
        ("summarizer", "ChatSummarizer", "AbstractCoreChatSummarizer"),
    ],
)
def test_protocols_can_be_checked(module: str, protocol: str, implementation: str) -> None:
    names = import_module(f"{PACKAGE}.{module}")
    assert issubclass(getattr(names, implementation), getattr(names, protocol))
    assert not isinstance(object(), getattr(names, protocol))
