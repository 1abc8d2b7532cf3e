"""How long calls may take, as AbstractCore's own configuration says (`spec/04 §2`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .constants import DEFAULT_LLM_TIMEOUT_S, DEFAULT_TOOL_TIMEOUT_S

__all__ = ["ConfiguredTimeouts", "configured_timeouts"]


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConfiguredTimeouts:
    """Seconds for one answer and for one tool call."""

    llm_s: float
    tool_s: float


def configured_timeouts() -> ConfiguredTimeouts:
    """Read now; the constants where AbstractCore is not installed or can't say."""
    return ConfiguredTimeouts(
        llm_s=_asked(lambda manager: manager.get_default_timeout(), DEFAULT_LLM_TIMEOUT_S),
        tool_s=_asked(lambda manager: manager.get_tool_timeout(), DEFAULT_TOOL_TIMEOUT_S),
    )


def _asked(ask: Callable[[Any], Any], default: float) -> float:
    try:
        from abstractcore.config import manager

        return float(ask(manager.get_config_manager()))
    except ImportError:
        return default
    except Exception:  # a broken configuration file of somebody else's must not keep a runtime from starting
        logger.warning("AbstractCore's timeouts can't be read; %g s are used", default, exc_info=True)
        return default
