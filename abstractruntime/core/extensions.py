"""What other rooms lend to the kernel without the kernel knowing them.

The package's ``__init__`` says which name is whose (`provide`); the kernel asks by name (`lent`), and only
then is the other room imported. So `core` imports nothing but the standard library.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["lent", "provide"]

_homes: dict[str, str] = {}
_found: dict[str, Any] = {}


def provide(name: str, home: str) -> None:
    """``home`` is ``package.module:attribute``; a later call for the same name wins."""
    _homes[name] = home
    _found.pop(name, None)


def lent(name: str) -> Any:
    """The object provided under this name, ``None`` if nobody provides it.

    Raises:
        ImportError, AttributeError: its home is not there.
    """
    if name not in _found:
        home = _homes.get(name)
        if home is None:
            return None
        module, _, attribute = home.partition(":")
        _found[name] = getattr(import_module(module), attribute)
    return _found[name]
