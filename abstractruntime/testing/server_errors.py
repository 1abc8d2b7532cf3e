"""What can go wrong while a helper server (Valkey, PostgreSQL) is started or stopped."""

from __future__ import annotations

from abstractruntime.core.errors import ConfigurationError, ServiceUnavailableError

__all__ = ["PortInUseError", "ServerError", "ServerMissingError"]


class ServerError(ServiceUnavailableError):
    """The server did not start, stop or answer; the message names it and quotes the end of its log."""


class PortInUseError(ServerError):
    """Something else listens on the port that was asked for."""


class ServerMissingError(ConfigurationError):
    """The wheel that carries the server is not installed; the message names the extra that brings it."""
