"""LLM clients: in this process, and of an AbstractCore server (`spec/04 §3` to §5).

``_system_context_header`` makes the header of each turn; a host may replace it here (`spec/01 §11.4`).
"""

from __future__ import annotations

from ._clients.local import LocalAbstractCoreLLMClient
from ._clients.multi_local import MultiLocalAbstractCoreLLMClient
from ._clients.protocol import AbstractCoreLLMClient
from ._clients.remote import RemoteAbstractCoreLLMClient, RemoteAnswerError
from ._clients.request_sender import HttpResponse, HttpxRequestSender, RequestSender
from ._clients.streams import GenerationCancelledError
from ._clients.tool_call_shapes import normalise_tool_calls, parse_text_tool_calls
from .grounding import system_context_header as _system_context_header  # noqa: F401  # hosts replace it
from .stream_progress import StreamProgress, subscribe_stream_progress

__all__ = [
    "AbstractCoreLLMClient",
    "GenerationCancelledError",
    "HttpResponse",
    "HttpxRequestSender",
    "LocalAbstractCoreLLMClient",
    "MultiLocalAbstractCoreLLMClient",
    "RemoteAbstractCoreLLMClient",
    "RemoteAnswerError",
    "RequestSender",
    "StreamProgress",
    "normalise_tool_calls",
    "parse_text_tool_calls",
    "subscribe_stream_progress",
]
