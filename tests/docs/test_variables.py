"""Environment variables that pages name exist."""

from __future__ import annotations

import re

import pytest

from abstractruntime.integrations.abstractcore._attachments.quota import MAX_SESSION_BYTES, MAX_VERSIONS
from abstractruntime.integrations.abstractcore._llm_call.prompt_cache import PROMPT_CACHE_SWITCHES
from abstractruntime.integrations.abstractcore.grounding import GROUNDING_SWITCH
from abstractruntime.storage.offload_values import DEFAULT_MAX_INLINE_BYTES, max_inline_from_environment
from workers.settings import Settings

from .pages import page_name, pages

_NAME = re.compile(r"\bABSTRACTRUNTIME_[A-Z_]*[A-Z]\b")
_INLINE = "ABSTRACTRUNTIME_MAX_INLINE_BYTES"
_OF_LLM_CALLS = {GROUNDING_SWITCH, *PROMPT_CACHE_SWITCHES}
_OF_ATTACHMENTS = {MAX_SESSION_BYTES[0], MAX_VERSIONS[0]}
_OF_THE_TESTS = {"ABSTRACTRUNTIME_CHAOS_MINUTES", "ABSTRACTRUNTIME_CHAOS_SEEDS"}


def test_named_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_INLINE, "7")
    assert max_inline_from_environment() == 7 != DEFAULT_MAX_INLINE_BYTES
    known = {f"ABSTRACTRUNTIME_{field.upper()}" for field in Settings.model_fields} | {_INLINE}
    known |= _OF_LLM_CALLS | _OF_ATTACHMENTS | _OF_THE_TESTS
    strange = {
        (page_name(page), name)
        for page in pages()
        for name in _NAME.findall(page.read_text(encoding="utf-8"))
        if name not in known
    }
    assert not strange
