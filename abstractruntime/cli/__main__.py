"""``python -m abstractruntime.cli``: the same as the ``abstractruntime`` script."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()
