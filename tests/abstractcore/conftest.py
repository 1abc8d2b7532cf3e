"""What all tests of the integration need."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_root_logger() -> Iterator[None]:
    """AbstractCore sets the root logger to ERROR when it is first imported: later tests of this process
    would not see their warnings."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
