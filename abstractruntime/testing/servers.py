"""Real servers from wheels: no Docker, no root, nothing to set up. Usable without pytest.

    with ValkeyServer() as valkey, PostgresServer() as postgres:
        print(valkey.url, postgres.url)

Each has start(), stop(), restart(), kill() and close(); both wheels are looked for at the start, and a
missing one raises ServerMissingError, which names the extra that brings it.
"""

from __future__ import annotations

from .ports import LOOPBACK, free_port
from .postgres import PostgresServer
from .server_errors import PortInUseError, ServerError, ServerMissingError
from .valkey import ValkeyServer, valkey_binary

__all__ = [
    "LOOPBACK",
    "PortInUseError",
    "PostgresServer",
    "ServerError",
    "ServerMissingError",
    "ValkeyServer",
    "free_port",
    "valkey_binary",
]
