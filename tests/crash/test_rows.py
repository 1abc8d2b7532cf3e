"""Every row of the failure table has a test that really does it, and every fault point is died at.

A test says which row: ``@pytest.mark.failure("beat dead for ten minutes")``. Marks and fault points are read
from the source, so this holds whatever part of the suite is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

ROWS = (
    "worker killed (-9) before the commit of a step",
    "worker killed after the commit, before the publish",
    "worker killed inside an effect",
    "worker frozen (SIGSTOP) past its lease, then continued",
    "the same tick delivered twice, at the same time, to two workers",
    "Redis flushed / restarted / away for a minute",
    "database restarted, connections cut mid-transaction, also during recovery",
    "beat dead for ten minutes",
    "resumer dead while an event is emitted through the client",
    "two beats, two sweeps, ten resumers",
    "clock of one worker wrong by a minute",
    "rolling deploy: some workers don't know the workflow yet",
    "poison step (raises; kills its worker)",
    "disk full / database read-only",
)
"""The left column of the table of `DESIGN §4`, word for word."""

PLACES = ("workers", "abstractruntime/storage")
"""Where fault points of the fleet's own work are; those of retention are tested in `tests.retention`."""


def _marked() -> dict[str, list[ast.FunctionDef]]:
    """The tests of each row, in the whole suite."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for path in sorted(HERE.parent.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            target.id: row
            for statement in tree.body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
            for row in _rows(statement.value)
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for decorator in node.decorator_list:
                    named = [names[decorator.id]] if getattr(decorator, "id", None) in names else []
                    for row in [*_rows(decorator), *named]:
                        found.setdefault(row, []).append(node)
    return found


def _rows(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "failure"
        ):
            yield from (ast.literal_eval(argument) for argument in node.args)


def test_every_row_has_a_test_with_real_processes() -> None:
    """The `fleet` fixture has Celery workers as processes, Valkey and PostgreSQL, and checks every run."""
    marked = _marked()
    real = {
        row
        for row, tests in marked.items()
        if any("fleet" in (argument.arg for argument in test.args.args) for test in tests)
    }
    assert sorted(set(ROWS) - real) == []


def test_marks_name_rows_that_exist() -> None:
    assert sorted(_marked().keys() - set(ROWS)) == []


def test_workers_die_at_every_fault_point() -> None:
    """A point that is added to the code needs a test in which a worker is killed there."""
    points = {
        point
        for place in PLACES
        for path in (ROOT / place).rglob("*.py")
        for point in re.findall(r'faults\.hit\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert {"step.before_commit", "effect.claimed"} <= points
    deaths = (HERE / "test_worker_death.py").read_text(encoding="utf-8")
    assert sorted(point for point in points if point not in deaths) == []
