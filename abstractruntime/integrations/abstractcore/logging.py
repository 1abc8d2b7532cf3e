"""A logger that takes fields: AbstractCore's structured one, else the standard library's (`spec/04 §13`)."""

from __future__ import annotations

import logging
from typing import Any, Protocol

__all__ = ["FieldLogger", "StructuredLogger", "get_logger"]

_STDLIB_KEYWORDS = frozenset({"exc_info", "stack_info", "stacklevel", "extra"})


class StructuredLogger(Protocol):
    """``logger.info("message", name=value, ...)``."""

    def debug(self, message: str, **fields: Any) -> None: ...

    def info(self, message: str, **fields: Any) -> None: ...

    def warning(self, message: str, **fields: Any) -> None: ...

    def error(self, message: str, **fields: Any) -> None: ...

    def critical(self, message: str, **fields: Any) -> None: ...


def get_logger(name: str) -> StructuredLogger:
    """The logger of this name. Without AbstractCore the fields follow the message as ``name=value``."""
    try:
        from abstractcore.utils.structured_logging import get_logger as structured
    except ImportError:
        return FieldLogger(logging.getLogger(name))
    logger: StructuredLogger = structured(name)
    return logger


class FieldLogger:
    """The standard library's logger, with fields. ``%``-style arguments of the message work as there."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, message: str, *args: object, **fields: Any) -> None:
        """Level DEBUG."""
        self._log(logging.DEBUG, message, args, fields)

    def info(self, message: str, *args: object, **fields: Any) -> None:
        """Level INFO."""
        self._log(logging.INFO, message, args, fields)

    def warning(self, message: str, *args: object, **fields: Any) -> None:
        """Level WARNING."""
        self._log(logging.WARNING, message, args, fields)

    def error(self, message: str, *args: object, **fields: Any) -> None:
        """Level ERROR."""
        self._log(logging.ERROR, message, args, fields)

    def critical(self, message: str, *args: object, **fields: Any) -> None:
        """Level CRITICAL."""
        self._log(logging.CRITICAL, message, args, fields)

    def exception(self, message: str, *args: object, **fields: Any) -> None:
        """Level ERROR with the exception that is being handled."""
        self._log(logging.ERROR, message, args, {"exc_info": True, **fields})

    def _log(self, level: int, message: str, args: tuple[object, ...], fields: dict[str, Any]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        known = {name: value for name, value in fields.items() if name in _STDLIB_KEYWORDS}
        known.setdefault("stacklevel", 3)  # the caller's line, not this one
        text = " ".join(f"{name}={value!r}" for name, value in fields.items() if name not in known)
        if args:
            # The library formats it, so that a wrong argument is reported and not raised, as there.
            self._logger.log(
                level, message + " %s" if text else message, *args, *([text] if text else []), **known
            )
            return
        # As an argument: a message may hold percent signs of its own.
        self._logger.log(level, "%s", f"{message} {text}" if text else message, **known)
