"""What all tests of the integration need."""

from __future__ import annotations

import contextlib
import logging


def _import_abstractcore() -> None:
    """AbstractCore sets the root logger to ERROR when it is first imported: every later test of this process
    would not see its warnings. So it is imported here, before the tests, and the logger put back."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    with contextlib.suppress(ImportError):
        import abstractcore.utils.structured_logging  # noqa: F401
    root.setLevel(level)
    root.handlers[:] = handlers


_import_abstractcore()
