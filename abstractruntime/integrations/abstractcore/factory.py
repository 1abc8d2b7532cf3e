"""Runtimes with LLM and tool effects, in one call (`spec/04 §2`).

Local: AbstractCore's providers in this process. Remote: an AbstractCore server. Hybrid: the server's models,
this process's tools. All options are there in all modes (in the published package some are only local).

Hosts may replace the classes this module names; they are looked up when a runtime is made.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType
from abstractruntime.core.outcome import EffectHandler
from abstractruntime.core.policy import EffectPolicy
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import RunContext

from ._configured_timeouts import configured_timeouts
from ._runtime_parts import Stores, file_stores, local_config, set_timeout, stores_or_memory
from .effect_handlers import build_effect_handlers
from .llm_client import MultiLocalAbstractCoreLLMClient, RemoteAbstractCoreLLMClient
from .summarizer import AbstractCoreChatSummarizer
from .tool_executor import AbstractCoreToolExecutor, PassthroughToolExecutor, ToolExecutor

__all__ = [
    "create_hybrid_runtime",
    "create_local_file_runtime",
    "create_local_runtime",
    "create_remote_file_runtime",
    "create_remote_runtime",
]

logger = logging.getLogger(__name__)

Handlers = Mapping[EffectType, EffectHandler]


def create_local_runtime(
    *,
    provider: str,
    model: str,
    llm_kwargs: Mapping[str, Any] | None = None,
    provider_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
    tool_timeout_s: float | None = None,
    run_store: Any = None,
    ledger_store: Any = None,
    tool_executor: ToolExecutor | None = None,
    context: RunContext | None = None,
    effect_policy: EffectPolicy | None = None,
    config: RuntimeConfig | None = None,
    artifact_store: Any = None,
    extra_effect_handlers: Handlers | None = None,
    hooks: Hooks | None = None,
) -> Runtime:
    """Models and tools in this process.

    Args:
        provider, model: the default; calls may name others.
        llm_kwargs: for AbstractCore's ``create_llm``; ``timeout`` (seconds) is AbstractCore's configured one
            unless the key is there. See `MultiLocalAbstractCoreLLMClient` for who gets what of it.
        provider_kwargs: more of these by provider name.
        tool_timeout_s: seconds of one tool call; default AbstractCore's configured one. An executor of the
            caller's keeps its own unless this is given.
        run_store, ledger_store, artifact_store: each defaults to memory. The ledger is made observable.
        tool_executor: default: AbstractCore's tool registry; `MappingToolExecutor` is recommended.
        context: handed to node handlers.
        effect_policy: attempts and backoff; default: one attempt.
        config: limits of new runs; the model's capabilities are added.
        extra_effect_handlers: more handlers, or others instead of these.
        hooks: doors of the runtime; ``Hooks(grounding="off")`` keeps time and country out of the prompts.

    The runtime has the client as ``_abstractcore_llm_client`` (`unload`, `list_loaded_clients`) and a
    summariser for memory compaction (none where AbstractCore is not installed and the client a host's own).

    Raises:
        ImportError: AbstractCore is not installed.
        Exception: what AbstractCore raises for the default model.
    """
    configured = configured_timeouts()
    more: dict[str, Any] = {} if provider_kwargs is None else {"provider_kwargs": provider_kwargs}
    client = MultiLocalAbstractCoreLLMClient(
        provider=provider, model=model, llm_kwargs={"timeout": configured.llm_s, **(llm_kwargs or {})}, **more
    )
    tool_s = configured.tool_s if tool_timeout_s is None else tool_timeout_s
    if tool_executor is None:
        tool_executor = AbstractCoreToolExecutor(timeout_s=tool_s)
        set_timeout(tool_executor, tool_s)
    elif tool_timeout_s is not None:
        set_timeout(tool_executor, tool_timeout_s)
    made = local_config(config, provider=provider, model=model, capabilities=client.get_model_capabilities())
    return _assembled(
        client,
        tool_executor,
        stores_or_memory(run_store, ledger_store, artifact_store),
        extra_effect_handlers,
        context=context,
        effect_policy=effect_policy,
        config=made,
        chat_summarizer=_summarizer(client._llm, made),
        hooks=hooks,
    )


def create_remote_runtime(
    *,
    server_base_url: str,
    model: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    tool_timeout_s: float | None = None,
    run_store: Any = None,
    ledger_store: Any = None,
    tool_executor: ToolExecutor | None = None,
    context: RunContext | None = None,
    effect_policy: EffectPolicy | None = None,
    config: RuntimeConfig | None = None,
    artifact_store: Any = None,
    extra_effect_handlers: Handlers | None = None,
    hooks: Hooks | None = None,
) -> Runtime:
    """Models of a server; tools are handed to the host: the run waits for their results.

    Args:
        server_base_url, model, headers: see `RemoteAbstractCoreLLMClient`.
        timeout_s: seconds of one answer; default AbstractCore's configured one.
        tool_timeout_s: told to ``tool_executor`` if that can be told.
        tool_executor: default `PassthroughToolExecutor`.

    The rest as in `create_local_runtime`; without a summariser.
    """
    if timeout_s is None:
        timeout_s = configured_timeouts().llm_s
    client = _remote_client(server_base_url, model, headers, timeout_s)
    if tool_executor is None:
        tool_executor = PassthroughToolExecutor()
    if tool_timeout_s is not None:
        set_timeout(tool_executor, tool_timeout_s)
    return _assembled(
        client,
        tool_executor,
        stores_or_memory(run_store, ledger_store, artifact_store),
        extra_effect_handlers,
        context=context,
        effect_policy=effect_policy,
        config=config,
        hooks=hooks,
    )


def create_hybrid_runtime(
    *,
    server_base_url: str,
    model: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    tool_timeout_s: float | None = None,
    run_store: Any = None,
    ledger_store: Any = None,
    tool_executor: ToolExecutor | None = None,
    context: RunContext | None = None,
    effect_policy: EffectPolicy | None = None,
    config: RuntimeConfig | None = None,
    artifact_store: Any = None,
    extra_effect_handlers: Handlers | None = None,
    hooks: Hooks | None = None,
) -> Runtime:
    """Models of a server, tools in this process: `create_remote_runtime` with the tools of
    `create_local_runtime`."""
    if timeout_s is None or tool_timeout_s is None:
        configured = configured_timeouts()
        llm_s = configured.llm_s if timeout_s is None else timeout_s
        tool_s = configured.tool_s if tool_timeout_s is None else tool_timeout_s
    else:
        llm_s, tool_s = timeout_s, tool_timeout_s
    client = _remote_client(server_base_url, model, headers, llm_s)
    if tool_executor is None:
        tool_executor = AbstractCoreToolExecutor()
        set_timeout(tool_executor, tool_s)
    elif tool_timeout_s is not None:
        set_timeout(tool_executor, tool_timeout_s)
    return _assembled(
        client,
        tool_executor,
        stores_or_memory(run_store, ledger_store, artifact_store),
        extra_effect_handlers,
        context=context,
        effect_policy=effect_policy,
        config=config,
        hooks=hooks,
    )


def create_local_file_runtime(
    *,
    base_dir: str | Path,
    provider: str,
    model: str,
    llm_kwargs: Mapping[str, Any] | None = None,
    provider_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
    tool_timeout_s: float | None = None,
    tool_executor: ToolExecutor | None = None,
    context: RunContext | None = None,
    effect_policy: EffectPolicy | None = None,
    config: RuntimeConfig | None = None,
    extra_effect_handlers: Handlers | None = None,
    hooks: Hooks | None = None,
) -> Runtime:
    """`create_local_runtime` over files in ``base_dir``, which is made if it is not there."""
    return create_local_runtime(
        provider=provider,
        model=model,
        llm_kwargs=llm_kwargs,
        provider_kwargs=provider_kwargs,
        tool_timeout_s=tool_timeout_s,
        tool_executor=tool_executor,
        context=context,
        effect_policy=effect_policy,
        config=config,
        extra_effect_handlers=extra_effect_handlers,
        hooks=hooks,
        **file_stores(base_dir),
    )


def create_remote_file_runtime(
    *,
    base_dir: str | Path,
    server_base_url: str,
    model: str,
    headers: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    tool_timeout_s: float | None = None,
    tool_executor: ToolExecutor | None = None,
    context: RunContext | None = None,
    effect_policy: EffectPolicy | None = None,
    config: RuntimeConfig | None = None,
    extra_effect_handlers: Handlers | None = None,
    hooks: Hooks | None = None,
) -> Runtime:
    """`create_remote_runtime` over files in ``base_dir``, which is made if it is not there."""
    return create_remote_runtime(
        server_base_url=server_base_url,
        model=model,
        headers=headers,
        timeout_s=timeout_s,
        tool_timeout_s=tool_timeout_s,
        tool_executor=tool_executor,
        context=context,
        effect_policy=effect_policy,
        config=config,
        extra_effect_handlers=extra_effect_handlers,
        hooks=hooks,
        **file_stores(base_dir),
    )


def _remote_client(
    server_base_url: str, model: str, headers: Mapping[str, str] | None, timeout_s: float
) -> RemoteAbstractCoreLLMClient:
    return RemoteAbstractCoreLLMClient(
        server_base_url=server_base_url, model=model, headers=headers, timeout_s=timeout_s
    )


def _summarizer(llm: Any, config: RuntimeConfig) -> AbstractCoreChatSummarizer | None:
    """For memory compaction, over the provider object of the default model.

    Without AbstractCore there is none: then the client is a host's own class, and a runtime works without a
    summariser (`spec/04 §11`).
    """
    try:
        return AbstractCoreChatSummarizer(
            llm=llm, max_tokens=config.max_tokens or -1, max_output_tokens=config.max_output_tokens or -1
        )
    except ImportError as exc:
        logger.warning("no chat summariser: %s", exc)
        return None


def _assembled(
    client: MultiLocalAbstractCoreLLMClient | RemoteAbstractCoreLLMClient,
    tools: ToolExecutor,
    stores: Stores,
    extra: Handlers | None,
    *,
    context: RunContext | None,
    effect_policy: EffectPolicy | None,
    config: RuntimeConfig | None,
    hooks: Hooks | None,
    chat_summarizer: Any = None,
) -> Runtime:
    handlers = build_effect_handlers(
        llm=client, tools=tools, artifact_store=stores.artifacts, run_store=stores.run
    )
    runtime = Runtime(
        run_store=stores.run,
        ledger_store=stores.ledger,
        effect_handlers={**handlers, **(extra or {})},
        context=context,
        artifact_store=stores.artifacts,
        effect_policy=effect_policy,
        config=config,
        chat_summarizer=chat_summarizer,
        hooks=hooks,
    )
    if runtime.hooks.grounding == "off":
        client.grounding = False  # what the ledger shows is what is sent
    runtime._abstractcore_llm_client = client  # type: ignore[attr-defined]  # hosts read it (spec/04 §2)
    return runtime
