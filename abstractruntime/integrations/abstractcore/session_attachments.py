"""Files a session has attached, and how models see and open them (`spec/04 §9`).

Everything here works without AbstractCore, except text out of PDF files.
"""

from __future__ import annotations

from ._attachments.duplicate_reads import dedup_messages_view
from ._attachments.index import list_session_attachments, session_memory_owner_run_id
from ._attachments.messages import (
    render_active_attachments_system_message,
    render_session_attachments_system_message,
)
from ._attachments.open_attachment import execute_open_attachment
from ._attachments.tool_messages import ParsedToolMessage, parse_tool_message

__all__ = [
    "ParsedToolMessage",
    "dedup_messages_view",
    "execute_open_attachment",
    "list_session_attachments",
    "parse_tool_message",
    "render_active_attachments_system_message",
    "render_session_attachments_system_message",
    "session_memory_owner_run_id",
]
