"""LLM and tool calls as durable effects, carried out by AbstractCore (`spec/04`).

Importing this package is the opt-in; AbstractCore itself is imported only where it is used, so handlers,
executors, workspace policy and attachments work with a host's own LLM client and without AbstractCore.
Install it with ``pip install "abstractruntime[abstractcore]"``.
"""

from __future__ import annotations

from importlib import import_module

_HOMES: dict[str, tuple[str, ...]] = {
    f"{__name__}.llm_client": (
        "AbstractCoreLLMClient",
        "LocalAbstractCoreLLMClient",
        "RemoteAbstractCoreLLMClient",
    ),
    f"{__name__}.embeddings_client": ("AbstractCoreEmbeddingsClient", "EmbeddingsResult"),
    "abstractruntime.core.config": ("RuntimeConfig",),
    f"{__name__}.tool_executor": (
        "AbstractCoreToolExecutor",
        "MappingToolExecutor",
        "PassthroughToolExecutor",
        "ToolExecutor",
    ),
    f"{__name__}.effect_handlers": ("build_effect_handlers",),
    f"{__name__}.factory": (
        "create_hybrid_runtime",
        "create_local_file_runtime",
        "create_local_runtime",
        "create_remote_file_runtime",
        "create_remote_runtime",
    ),
    f"{__name__}.observability": ("attach_global_event_bus_bridge", "emit_step_record"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # computed from one table


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
