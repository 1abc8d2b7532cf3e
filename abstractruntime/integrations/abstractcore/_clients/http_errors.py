"""An answer that is no success, with what the server said about it. Imported only where httpx is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from abstractruntime.core.errors import RuntimeFault

__all__ = ["RemoteHttpError", "http_error", "retry_after_seconds"]

_MAX_DETAIL = 500


class RemoteHttpError(RuntimeFault, httpx.HTTPStatusError):
    """The server refused.

    Attributes:
        status_code: HTTP status.
        retry_after_s: seconds after which the server wants to be asked again; ``None`` if it didn't say.
    """

    def __init__(self, message: str, *, response: httpx.Response, retry_after_s: float | None) -> None:
        httpx.HTTPStatusError.__init__(self, message, request=response.request, response=response)
        self.status_code = response.status_code
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])


def http_error(response: httpx.Response) -> RemoteHttpError:
    """The error of this answer. Its message is for people: status, address, the server's words."""
    retry_after_s = retry_after_seconds(response.headers.get("Retry-After"))
    parts = [f"HTTP {response.status_code} from {response.request.url}"]
    detail = _detail(response)
    if detail:
        parts.append(f": {detail}")
    if retry_after_s is not None:
        parts.append(f" (retry after {retry_after_s:g} s)")
    return RemoteHttpError("".join(parts), response=response, retry_after_s=retry_after_s)


def retry_after_seconds(
    value: str | None, *, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
) -> float | None:
    """A ``Retry-After`` header, seconds or a date, as seconds from now; ``None`` if it is missing or odd."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        due = parsedate_to_datetime(text)
    except ValueError:
        return None
    if due.tzinfo is None:
        due = due.replace(tzinfo=timezone.utc)
    return max(0.0, (due - now()).total_seconds())


def _detail(response: httpx.Response) -> str:
    try:
        body: Any = response.json()
    except ValueError:
        return response.text[:_MAX_DETAIL].strip()
    error = body.get("error", body.get("detail")) if isinstance(body, dict) else body
    message = error.get("message", error) if isinstance(error, dict) else error
    return "" if message is None else str(message)[:_MAX_DETAIL]
