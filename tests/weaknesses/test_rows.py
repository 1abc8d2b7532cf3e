"""Every weakness that the contract lists (`spec/01 §19`, `spec/02 §15`, `spec/04 §16`) has a test that fails
on it; those of `spec/03 §18` as far as their parts are built.

A test says which: ``@pytest.mark.weakness("spec/02 D-1")``. The markers are read from the source, so this
holds whatever part of the suite is run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]

_STORAGE = {"D": 11, "S": 14, "U": 7, "P": 9}
_KERNEL = 23
_ABSTRACTCORE = 30

ROWS = frozenset(
    {f"spec/02 {letter}-{number}" for letter, last in _STORAGE.items() for number in range(1, last + 1)}
    | {"spec/02 D-4a"}
    | {f"spec/01 §19.{number}" for number in range(1, _KERNEL + 1)}
    | {f"spec/04 §16.{number}" for number in range(1, _ABSTRACTCORE + 1)}
)

UNDER_WAY = frozenset(f"spec/03 §18.{number}" for number in range(1, 32))
"""Rows of parts that are not complete; they may have tests."""

EXCEPTIONS: dict[str, str] = {}
"""Rows without a test of their own, and why none is possible or needed."""


def _is_weakness(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "weakness"


def marked_rows() -> dict[str, set[str]]:
    """The rows that tests are marked with, and the files they are in."""
    found: dict[str, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for row in _marks(tree):
            found.setdefault(row, set()).add(path.relative_to(TESTS).as_posix())
    return found


def _marks(tree: ast.Module) -> Iterator[str]:
    """Marks count where pytest sees them: on a test, on a class of tests, or on the whole module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_test = node.name.startswith(("test_", "Test"))
            yield from _rows(node.decorator_list if is_test else [])
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and "pytestmark" in ast.unparse(statement.targets[0]):
            yield from _rows([statement.value])


def _rows(expressions: list[ast.expr]) -> Iterator[str]:
    for expression in expressions:
        for node in ast.walk(expression):
            if isinstance(node, ast.Call) and _is_weakness(node.func):
                yield from (ast.literal_eval(argument) for argument in node.args)


def test_every_weakness_has_a_test() -> None:
    missing = ROWS - marked_rows().keys() - EXCEPTIONS.keys()
    assert sorted(missing) == []


def test_markers_name_rows_that_exist() -> None:
    assert sorted(marked_rows().keys() - ROWS - UNDER_WAY) == []


def test_exceptions_are_needed_and_have_reasons() -> None:
    assert EXCEPTIONS.keys() <= ROWS
    assert sorted(EXCEPTIONS.keys() & marked_rows().keys()) == []
    assert all(len(reason.split()) > 5 for reason in EXCEPTIONS.values())
