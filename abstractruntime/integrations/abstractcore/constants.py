"""Defaults where neither caller nor AbstractCore's own configuration says anything (`spec/04 §1.2`)."""

from __future__ import annotations

__all__ = ["DEFAULT_LLM_TIMEOUT_S", "DEFAULT_TOOL_TIMEOUT_S"]

DEFAULT_LLM_TIMEOUT_S = 7200.0
"""Seconds one LLM call may take."""

DEFAULT_TOOL_TIMEOUT_S = 7200.0
"""Seconds one tool call may take."""
