"""The process of one isolated tool call, see `_isolated_tools`: an order on stdin, the answer on stdout."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

from ..json_values import json_value


def _call(order: dict[str, Any]) -> dict[str, Any]:
    try:
        function: Any = import_module(order["module"])
        for part in order["name"].split("."):
            function = getattr(function, part)
        return {"value": json_value(function(**order["arguments"]))}
    except (Exception, SystemExit) as exc:
        return {"error": str(exc)}


def main(order: dict[str, Any]) -> None:
    """Carry out the order. What the tool prints goes to stderr: stdout belongs to the answer."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    outcome = _call(order)
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        json.dump(outcome, out)
