"""Whether an address can be reached from other machines."""

from __future__ import annotations

import socket
from ipaddress import ip_address

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether all that this name or address stands for is this machine alone. What can't be resolved is not.

    ``""``, ``0.0.0.0`` and ``::`` stand for every interface.
    """
    if not host.strip():
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    addresses = {str(address[0]).partition("%")[0] for *_, address in found}
    return all(ip_address(each).is_loopback for each in addresses)
