"""The invariants of `DESIGN §7.1`, each a function from the evidence to what did not hold.

Nothing here trusts the runtime's idea of success: ledgers are compared with the plan, with the oracle's book
and with what the outside was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..evidence import Evidence, Violation
from . import effects, endings, events, families, ledgers, rest

__all__ = ["CHECKS", "check_all"]

Check = Callable[[Evidence], Iterator[tuple[str, str]]]
"""Gives run id and complaint."""

CHECKS: Mapping[str, Check] = {
    "ledger is whole": ledgers.is_whole,
    "steps are committed once": ledgers.steps_once,
    "version counts commits": ledgers.version_counts,
    "nothing after the end": endings.nothing_after_the_end,
    "endings are the planned ones": endings.as_planned,
    "nothing is left behind": rest.nothing_left_behind,
    "timers are never early": rest.never_early,
    "events are consumed once": events.consumed_once,
    "accepted events are kept": events.kept,
    "families are whole": families.whole,
    "oracle and ledgers agree": effects.agree_with_the_oracle,
    "what was started is there": families.started_is_there,
}


def check_all(evidence: Evidence) -> list[Violation]:
    """All complaints of all checks."""
    return [
        Violation(name, run_id, text) for name, check in CHECKS.items() for run_id, text in check(evidence)
    ]
