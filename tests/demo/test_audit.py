"""The demo's audit finds what is wrong: each kind of loss or doubling, put into a sound ledger by hand."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.cli.demo.audit import EXPECTED, Audit
from abstractruntime.cli.demo.claims import Claim, Fate, copy_example, load_claims
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.checkpoints import Checkpoint, LedgerEntry


def record(node: str, effect: str | None, status: str, **more: Any) -> dict[str, Any]:
    return {
        "node_id": node,
        "effect": effect and {"type": effect},
        "status": status,
        "idempotency_key": f"key-{node}-{effect}",
        **more,
    }


CALL_ID = "rtcall_1"


def sound() -> list[dict[str, Any]]:
    """The ledger of a paid claim."""
    found = []
    for node, effect, status in EXPECTED[Fate.PAID]:
        if effect not in (None, "resume", "emit_event"):
            found.append(record(node, effect, "started"))
        result = {"results": [{"call_id": CALL_ID}]} if effect == "tool_calls" else None
        found.append(record(node, effect, status, result=result))
    return found


def check(
    records: list[dict[str, Any]],
    *,
    status: RunStatus = RunStatus.COMPLETED,
    calls: dict[str, int] | None = None,
    first: int = 1,
) -> Audit:
    run = RunState("r", "claim", status, "done")
    ledger = [LedgerEntry(seq, entry) for seq, entry in enumerate(records, first)]
    found = Audit()
    found.check_run("r", Checkpoint(run, 9, ledger_seq=len(records)), ledger, EXPECTED[Fate.PAID])
    found.check_outside({CALL_ID: 1} if calls is None else calls)
    return found


def test_a_sound_ledger_holds() -> None:
    found = check(sound())
    assert found.violations == []
    assert found.commits == found.steps == len(EXPECTED[Fate.PAID])
    assert (found.redone, found.repeated) == (0, 0)


def test_a_call_that_was_begun_again_is_counted_and_fine() -> None:
    records = sound()
    records.insert(1, {**records[0], "attempt": 2})
    found = check(records, calls={CALL_ID: 2})
    assert found.violations == []
    assert (found.redone, found.calls, found.repeated) == (1, 2, 1)


@pytest.mark.parametrize("position", range(len(sound())))
def test_a_missing_outcome_is_found(position: int) -> None:
    records = sound()
    lost = records.pop(position)
    if lost["status"] == "started":
        return  # the outcome is what counts
    assert any("step missing" in violation for violation in check(records).violations)


@pytest.mark.parametrize("position", range(len(sound())))
def test_a_doubled_outcome_is_found(position: int) -> None:
    records = sound()
    if records[position]["status"] == "started":
        return
    records.insert(position, records[position])
    assert any("too often" in violation for violation in check(records).violations)


def test_order_gaps_and_unfinished_runs_are_found() -> None:
    swapped = sound()
    swapped[3], swapped[-1] = swapped[-1], swapped[3]
    assert any("out of order" in violation for violation in check(swapped).violations)
    assert any("gaps" in violation for violation in check(sound(), first=2).violations)
    waiting = check(sound(), status=RunStatus.WAITING).violations
    assert waiting == ["r: still waiting at node 'done'"]


def test_calls_that_do_not_match_the_ledgers_are_found() -> None:
    (never,) = check(sound(), calls={}).violations
    assert "which was never called" in never
    (unknown,) = check(sound(), calls={CALL_ID: 1, "rtcall_2": 1}).violations
    assert "no ledger has its result" in unknown


def test_the_shipped_claims(tmp_path: Path) -> None:
    claims = load_claims(copy_example(tmp_path), 620)
    assert len({claim.run_id for claim in claims}) == 620
    bad = [claim for claim in claims[:300] if claim.reason]
    assert len(bad) == 14
    assert [claim.row["row"] for claim in bad] == [
        claim.row["row"] for claim in claims[300:600] if claim.reason
    ]
    assert bad[0].reason == "amount is missing"


def test_fates() -> None:
    rates = {"EUR": Decimal(1), "USD": Decimal("0.5")}

    def fate(amount: str, currency: str = "EUR", reason: str = "") -> Fate:
        return Claim("r", {"amount": amount, "currency": currency}, reason).fate(rates, Decimal(400))

    assert fate("400") is Fate.PAID
    assert fate("400.01") is Fate.APPROVED
    assert fate("800.02", "USD") is Fate.APPROVED
    assert fate("800.01") is Fate.REJECTED
    assert fate("x", reason="amount 'x' is not a number") is Fate.BAD
