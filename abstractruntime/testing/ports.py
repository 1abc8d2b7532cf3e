"""Loopback ports for servers that are started as child processes."""

from __future__ import annotations

import random
import socket

from .server_errors import PortInUseError, ServerError

__all__ = ["LOOPBACK", "free_port", "require_free_port"]

LOOPBACK = "127.0.0.1"

# Below the range from which Linux and macOS take ports for outgoing connections. Inside that range a client
# that keeps reconnecting to a stopped server sooner or later connects to itself and so takes the server's
# port away.
_FIRST, _LAST = 15_000, 32_000
_TRIES = 200


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that nobody listens on (another process may still be faster than your server)."""
    # Not the `random` that a test may have seeded: parallel runs with one seed would fight for the same
    # ports.
    choose = random.SystemRandom()
    for _ in range(_TRIES):
        port = choose.randrange(_FIRST, _LAST)
        if port_is_free(port):
            return port
    raise ServerError(f"No free port on {LOOPBACK} between {_FIRST} and {_LAST} in {_TRIES} tries.")


def require_free_port(port: int, server: str) -> None:
    """Raise PortInUseError unless `server` could listen on this loopback port now."""
    if not port_is_free(port):
        raise PortInUseError(
            f"{server} can't listen on {LOOPBACK}:{port}: the port is in use. "
            "Stop what listens there, or ask for another port (None picks a free one)."
        )
