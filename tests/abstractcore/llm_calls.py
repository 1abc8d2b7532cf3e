"""LLM clients that record, and shorthands to call the handler with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.integrations.abstractcore.effect_handlers import make_llm_call_handler

Reply = dict[str, Any] | Exception | Callable[[dict[str, Any]], dict[str, Any]]


class RecordingClient:
    """Gives scripted replies, then echoes; keeps what it was called with and the files it was shown."""

    def __init__(self, *replies: Reply, capabilities: dict[str, Any] | None = None) -> None:
        self.replies = list(replies)
        self.calls: list[dict[str, Any]] = []
        self.files: list[dict[str, bytes]] = []
        if capabilities is not None:
            self.get_model_capabilities = lambda: capabilities

    def generate(self, **request: Any) -> dict[str, Any]:
        self.calls.append(_kept(request))
        self.files.append({Path(path).name: Path(path).read_bytes() for path in _existing(request["media"])})
        reply: Reply = self.replies.pop(0) if self.replies else {"content": "ok"}
        if isinstance(reply, Exception):
            raise reply
        return reply(request) if callable(reply) else deepcopy(reply)

    @property
    def call(self) -> dict[str, Any]:
        """The only call."""
        (call,) = self.calls
        return call

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.call["params"])


def _kept(request: dict[str, Any]) -> dict[str, Any]:
    params = dict(request["params"])
    model = params.pop("response_model", None)
    kept = deepcopy({**request, "params": params})
    if model is not None:
        kept["params"]["response_model"] = model
    return kept


def _existing(media: Iterable[str] | None) -> list[str]:
    return [path for path in media or () if Path(path).is_file()]


def a_run(vars: dict[str, Any] | None = None, **fields: Any) -> RunState:
    fields = {"run_id": "r1", "workflow_id": "wf", "current_node": "ask", **fields}
    return RunState(status=RunStatus.RUNNING, vars={} if vars is None else vars, **fields)


def ask(
    client: Any, payload: Any, run: RunState | None = None, store: Any = None, **options: Any
) -> EffectOutcome:
    """The handler called by hand."""
    handler = make_llm_call_handler(llm=client, artifact_store=store, **options)
    effect = Effect(EffectType.LLM_CALL, payload, "out")
    return handler(a_run() if run is None else run, effect, None)


def answered(client: Any, payload: Any, *more: Any, **options: Any) -> dict[str, Any]:
    """The result of a call that must succeed."""
    outcome = ask(client, payload, *more, **options)
    assert (outcome.status, outcome.error) == ("completed", None)
    assert outcome.result is not None
    return outcome.result


def sent(result: dict[str, Any]) -> dict[str, Any]:
    """What the result says of its request."""
    request: dict[str, Any] = result["metadata"]["_runtime_observability"]["llm_generate_kwargs"]
    return request
