"""Which construction settings a provider gets: never another provider's secrets (`spec/04 §16.16`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["ProviderKwargs"]

_BOUND_TO_A_PROVIDER = re.compile(
    r"(?:^|_)(?:api_?key|key|secret|password|passwd|credentials?|token|auth|authorization|bearer|"
    r"(?:base_?|api_?|server_?)?urls?|uri|host|port|endpoint|proxy|proxies|headers?|cookies?|"
    r"organi[sz]ation|org|project|virtual_key|config|config_id|profile|extra_body)$",
    re.IGNORECASE,
)


class ProviderKwargs:
    """The settings of the default provider, and those of others.

    Args:
        default_provider: whom ``shared`` was written for: it gets all of it.
        shared: for the other providers too, but without what identifies or opens an account or an endpoint
            (names such as ``api_key``, ``base_url``, ``headers``, ``organization``).
        own: by provider name: laid over the rest.
    """

    def __init__(
        self,
        default_provider: str,
        shared: Mapping[str, Any] | None,
        own: Mapping[str, Mapping[str, Any]] | None,
    ) -> None:
        self._default = default_provider
        self._shared = dict(shared or {})
        self._own = {name.strip().lower(): dict(kwargs) for name, kwargs in (own or {}).items()}

    def of(self, provider: str) -> dict[str, Any]:
        """A dict of its own for this provider (lower case)."""
        kwargs = dict(self._shared)
        if provider != self._default:
            kwargs = {name: value for name, value in kwargs.items() if not _BOUND_TO_A_PROVIDER.search(name)}
        return {**kwargs, **self._own.get(provider, {})}
