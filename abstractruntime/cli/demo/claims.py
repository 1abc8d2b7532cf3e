"""The demo's material: the shipped example, its claims, and what must become of each."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path

import abstractruntime
from abstractruntime.core.errors import ConfigurationError

__all__ = ["Claim", "Fate", "answer_to", "copy_example", "load_claims"]

REJECT_ABOVE_EUR = Decimal(800)


class Fate(Enum):
    """How a claim must end."""

    BAD = "bad row"
    PAID = "paid"
    APPROVED = "approved and paid"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of ``claims.csv``.

    Attributes:
        run_id: the id its run is given.
        row: the row itself, as the workflow gets it.
        reason: what is wrong with it; empty for a good row.
    """

    run_id: str
    row: dict[str, object]
    reason: str

    @property
    def claim_id(self) -> str:
        """As the bank knows it."""
        return str(self.row["claim_id"])

    def fate(self, rates: Mapping[str, Decimal], limit: Decimal) -> Fate:
        """What must become of it, given the workflow's exchange rates and approval limit."""
        if self.reason:
            return Fate.BAD
        rate = rates[str(self.row["currency"])]
        euros = (Decimal(str(self.row["amount"])) * rate).quantize(Decimal("0.01"))
        if euros <= limit:
            return Fate.PAID
        return Fate.REJECTED if euros > REJECT_ABOVE_EUR else Fate.APPROVED


def answer_to(amount_eur: str) -> str:
    """What the scripted approver says to a claim."""
    return "reject" if Decimal(amount_eur) > REJECT_ABOVE_EUR else "approve"


def copy_example(folder: Path) -> Path:
    """A copy of the example in ``folder``, to run and to read; the path of its files.

    Raises:
        ConfigurationError: the installation has no examples.
    """
    package = Path(abstractruntime.__file__).parent
    # Inside the package in a wheel, beside it in a clone.
    for home in (package, package.parent):
        example = home / "examples" / "expenses"
        if example.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            return shutil.copytree(example, folder / "expenses", ignore=ignored, dirs_exist_ok=True)
    raise ConfigurationError(f"No examples/expenses beside {package}: install abstractruntime again")


def load_claims(example: Path, count: int) -> list[Claim]:
    """The first ``count`` claims; beyond the end of the file its rows come again, with ids of their own."""
    with (example / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (example / "bad_rows.csv").open(encoding="utf-8", newline="") as file:
        bad = {int(row["row"]): row["reason"] for row in csv.DictReader(file)}
    claims = []
    for position in range(count):
        again, index = divmod(position, len(rows))
        claim_id = rows[index]["claim_id"] + (f"-{again + 1}" if again else "")
        line = index + 2  # as editors and spreadsheets count: the head is line 1
        row: dict[str, object] = {**rows[index], "claim_id": claim_id, "row": line}
        claims.append(Claim(f"claim-{claim_id}", row, bad.get(line, "")))
    return claims
