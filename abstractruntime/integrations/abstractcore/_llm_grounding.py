"""Grounding as the kernel asks for it: before the ledger sees an LLM call (`spec/01 §11.4`)."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import RunState

from . import grounding

__all__ = ["ground_llm_payload"]


def ground_llm_payload(run: RunState, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload with time and country in front of the user's turn.

    A payload that is no object is left to the handler, which says what is wrong with it.
    """
    return grounding.ground_payload(payload) if isinstance(payload, dict) else payload
