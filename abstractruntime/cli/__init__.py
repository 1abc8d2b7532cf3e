"""The ``abstractruntime`` command: the outermost door, one file per command group.

Command modules import the fleet inside their functions, so that ``--help`` answers at once.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``abstractruntime`` script."""
    from .program import program

    program()
