"""Sending an effect's idempotency key along with the HTTP requests of a provider.

A worker that dies inside an LLM call is followed by another that makes the call again. A server or proxy that
honours ``Idempotency-Key`` then answers the second request from the first, and bills it once.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from abstractruntime.core.effect_context import effect_under_way

__all__ = ["HEADER", "carry_idempotency_keys", "request_key", "send_idempotency_keys"]

HEADER = "Idempotency-Key"


def request_key(url: str, body: bytes) -> str | None:
    """The key of one request of the effect that is carried out here; ``None`` outside of effects.

    One effect may send several requests (another attempt at a truncated answer, say), so a key names the
    effect and what is asked: the same question has the same key, also from another worker.
    """
    context = effect_under_way()
    if context is None:
        return None
    asked = sha256(url.encode() + b"\0" + body).hexdigest()
    return f"{context.idempotency_key}-{asked[:16]}"


def carry_idempotency_keys(provider: object) -> None:
    """Let the HTTP client of a provider of AbstractCore send the header. No-op for a provider without an
    httpx client: one that runs the model in this process.

    Providers replace their client now and then, so call it before each use.
    """
    client = getattr(provider, "client", None)
    for candidate in (client, getattr(client, "_client", None)):  # the SDKs of OpenAI and Anthropic wrap one
        if isinstance(getattr(candidate, "event_hooks", None), dict):
            send_idempotency_keys(candidate)


def send_idempotency_keys(client: Any) -> None:
    """Let an httpx client add the header to what it posts from within an effect."""
    hooks = client.event_hooks
    if _add_key not in hooks.get("request", []):
        # Assigned whole: httpx copies what it is given.
        client.event_hooks = {**hooks, "request": [*hooks.get("request", []), _add_key]}


def _add_key(request: Any) -> None:
    if request.method != "POST" or HEADER in request.headers:
        return
    from httpx import RequestNotRead

    try:
        body: bytes = request.content
    except RequestNotRead:  # a body that is streamed can't be read twice, so its request goes without a key
        return
    key = request_key(str(request.url), body)
    if key is not None:
        request.headers[HEADER] = key
