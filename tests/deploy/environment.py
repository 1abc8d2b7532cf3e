"""Writes ``deploy/ENVIRONMENT.md`` from the settings themselves: ``python -m tests.deploy.environment``."""

from __future__ import annotations

from pathlib import Path

from workers.settings import Settings

TARGET = Path(__file__).resolve().parents[2] / "deploy" / "ENVIRONMENT.md"

HEAD = """# Environment

Every process of a deployment (workers, beat, resumers, clients, Flower) must see the same values. Wrong ones
are refused at start, each by name; `abstractruntime doctor` checks them too. Durations are in seconds.

| variable | default | meaning |
|---|---|---|
"""
USUAL = {"database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}


def reference() -> str:
    """The page."""
    rows = [
        f"| `{USUAL.get(name) or 'ABSTRACTRUNTIME_' + name.upper()}` | {_default(field.default)} | "
        f"{field.description or ''} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def _default(value: object) -> str:
    return "" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(reference())
