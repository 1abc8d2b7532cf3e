"""How the remote client reaches its server (`spec/04 §5`)."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .idempotency import send_idempotency_keys

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpResponse", "HttpxRequestSender", "RequestSender", "response_parts"]

_CONNECT_TIMEOUT_S = 10.0
_MAX_CONNECTIONS = 100
_MAX_IDLE_CONNECTIONS = 20


@dataclass(frozen=True)
class HttpResponse:
    """The parsed body and the headers of an answer."""

    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class RequestSender(Protocol):
    """Sends one request. May answer with a dict (the body), an `HttpResponse`, or an object with ``json()``
    and ``headers``."""

    def post(self, url: str, *, headers: dict[str, str], json: dict[str, Any], timeout: float) -> Any:
        """POST ``json`` and wait for the answer, at most ``timeout`` seconds.

        Raises:
            Exception: no answer, or not a 2xx one.
        """
        ...


class HttpxRequestSender:
    """One synchronous POST through pooled connections of ``httpx``; may be shared by threads.

    Args:
        connect_timeout_s: seconds to reach the server; a call's own timeout bounds everything else.
        max_connections: at once; further calls wait for one.

    Connections are made anew after a fork: two processes must not talk over one.
    """

    def __init__(
        self, *, connect_timeout_s: float = _CONNECT_TIMEOUT_S, max_connections: int = _MAX_CONNECTIONS
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._max_connections = max_connections
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._owner_pid = 0

    def post(
        self, url: str, *, headers: dict[str, str], json: dict[str, Any], timeout: float | None
    ) -> HttpResponse:
        """See `RequestSender.post`. A timeout that is ``None`` or not positive is none.

        Raises:
            RemoteHttpError: the answer is not a 2xx one; it has ``retry_after_s`` if the server named a time.
            httpx.HTTPError: no answer.
            ValueError: the body is no JSON.
        """
        import httpx

        limit = timeout if timeout is not None and timeout > 0 else None
        connect = self._connect_timeout_s if limit is None else min(self._connect_timeout_s, limit)
        response = self._pool().post(
            url, headers=headers, json=json, timeout=httpx.Timeout(limit, connect=connect)
        )
        if not response.is_success:
            from .http_errors import http_error

            raise http_error(response)
        body = response.json()
        return HttpResponse(
            body=body if isinstance(body, dict) else {"data": body}, headers=dict(response.headers)
        )

    def close(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._owner_pid == os.getpid():
            client.close()

    def _pool(self) -> httpx.Client:
        with self._lock:
            if self._client is None or self._owner_pid != os.getpid():
                self._client, self._owner_pid = self._new_client(), os.getpid()
            return self._client

    def _new_client(self) -> httpx.Client:
        import httpx

        limits = httpx.Limits(
            max_connections=self._max_connections, max_keepalive_connections=_MAX_IDLE_CONNECTIONS
        )
        client = httpx.Client(limits=limits)
        send_idempotency_keys(client)
        return client


def response_parts(answer: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Body and lower-case headers of whatever a `RequestSender` answered."""
    if isinstance(answer, dict):
        return answer, {}
    body, headers = getattr(answer, "body", None), getattr(answer, "headers", None)
    if isinstance(body, dict) and isinstance(headers, dict):
        return body, _lower(headers)
    read = getattr(answer, "json", None)
    if callable(read) and headers is not None:
        parsed = read()
        return (parsed if isinstance(parsed, dict) else {"data": parsed}), _lower(headers)
    return {"data": answer}, {}


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in dict(headers).items()}
