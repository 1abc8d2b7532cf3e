"""A tool in a process of its own, which can be stopped (`spec/04 §16.11`).

The process is a fresh interpreter that imports the function by name, so it works in a Celery worker, whose
own children may have none through `multiprocessing`, and nothing of the caller's memory leaks into the tool.
Arguments and what the tool returns travel as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from abstractruntime.core.errors import InvalidInputError

from .threads import TimedOutError

__all__ = ["IsolatedToolError", "call_isolated", "importable_name"]


_START = (
    "import json, sys; order = json.load(sys.stdin); sys.path[:] = order['path']; "
    f"from {__package__}.isolated_main import main; main(order)"
)
"""Imports come from where this process has them: ``-I`` keeps out what lies in the current folder, which may
be a workspace that tools write to."""


class IsolatedToolError(Exception):
    """What the tool raised in its process, or how that process ended."""


def importable_name(function: Callable[..., Any]) -> tuple[str, str]:
    """Module and qualified name by which another process finds the function.

    Raises:
        InvalidInputError: it is no function of a module's top level (a lambda, a closure, a bound method).
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        raise InvalidInputError(
            f"Tool {name or function!r} can't run in a process of its own: another process has to import it, "
            "so it must be a function at the top level of a module"
        )
    return module, name


def call_isolated(function: Callable[..., Any], arguments: dict[str, Any], timeout_s: float | None) -> Any:
    """``function(**arguments)`` in a process of its own; what it returned, as JSON-like data.

    Raises:
        TimedOutError: the time is over; the process and all it started are gone.
        IsolatedToolError: the tool raised, or its process died.
        InvalidInputError: see `importable_name`.
    """
    module, name = importable_name(function)
    order = json.dumps({"module": module, "name": name, "arguments": arguments, "path": sys.path})
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            answer, _ = process.communicate(order.encode(), timeout_s)
        except subprocess.TimeoutExpired:
            raise TimedOutError from None
        finally:
            _end(process)
    return _read(answer, process.returncode)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and what it started: they are a session of their own."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # all of it has ended (macOS says the latter)
            return
    else:
        process.kill()


def _read(answer: bytes, returncode: int) -> Any:
    try:
        outcome = json.loads(answer)
    except ValueError:
        raise IsolatedToolError(
            f"The tool's process ended with code {returncode} without an answer"
        ) from None
    if "error" in outcome:
        raise IsolatedToolError(outcome["error"])
    return outcome["value"]
