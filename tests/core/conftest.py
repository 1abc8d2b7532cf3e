"""Hypothesis settings for these tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline per example: on a busy machine it would fail tests for being slow once.
settings.register_profile("core", deadline=None)
settings.load_profile("core")
