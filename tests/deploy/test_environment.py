"""The environment reference is what the settings say."""

from __future__ import annotations

from .environment import TARGET, reference


def test_the_reference_is_current() -> None:
    assert TARGET.read_text() == reference(), "run: python -m tests.deploy.environment"
