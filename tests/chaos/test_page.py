"""The page on reliability names tests and faults that there are."""

from __future__ import annotations

import re

from abstractruntime.cli.chaos.kinds import Kind
from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "reliability.md").read_text(encoding="utf-8")


def test_every_row_of_the_failure_table_names_tests_that_exist() -> None:
    table = PAGE.split("| what happens |")[1].split("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) >= 14
    for row in rows:
        named = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`", row)
        assert named, row
        for name in named:
            path = ROOT / name if "/" in name else ROOT / "tests" / "crash" / name
            assert path.exists(), f"{name} in: {row}"


def test_every_kind_of_fault_is_described() -> None:
    assert {kind.value for kind in Kind} <= set(re.findall(r"`([\w-]+)`", PAGE))
