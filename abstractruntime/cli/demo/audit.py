"""The proof at the end of the demo: every ledger is read back from the database and checked.

Nothing here trusts the runtime's own idea of success: what must be in a ledger follows from the claim's row
alone, and what reached the outside is counted by the outside service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import Checkpoint, LedgerEntry
from workers.client import Client

from .claims import Claim, Fate

__all__ = ["Audit", "audit"]

Step = tuple[str, str | None, str]
"""Node, effect type, status of a ledger record."""

_BOOK: list[Step] = [("book", "tool_calls", "completed")]
_APPROVE: list[Step] = [("approve", "ask_user", "waiting"), ("approve", "resume", "completed")]
_PAY: list[Step] = [
    ("remind", "wait_until", "waiting"),
    ("remind", "resume", "completed"),
    ("payment", "wait_event", "waiting"),
    ("payment", "resume", "completed"),
    ("file", "start_subworkflow", "waiting"),
    ("file", "resume", "completed"),
]


def _end(node: str) -> list[Step]:
    return [(node, None, "completed"), (node, "emit_event", "completed")]


EXPECTED: dict[Fate, list[Step]] = {
    Fate.BAD: [("validate", None, "failed"), ("validate", "emit_event", "completed")],
    Fate.PAID: [*_BOOK, *_PAY, *_end("done")],
    Fate.APPROVED: [*_BOOK, *_APPROVE, *_PAY, *_end("done")],
    Fate.REJECTED: [*_BOOK, *_APPROVE, *_end("decide")],
}
EXPECTED_RECEIPT: list[Step] = [("store", "tool_calls", "completed"), *_end("filed")]


@dataclass(slots=True)
class Audit:
    """What was found.

    Attributes:
        violations: what did not hold, one sentence each; empty = all held.
        runs, failed: runs looked at; how many of them ended FAILED.
        records: ledger records read.
        steps, commits: effect steps that should have been committed; how often they were.
        redone: steps begun once more because their worker was lost or the call failed.
        keys, calls: idempotency keys the outside saw; calls it got.
        repeated: keys it saw more than once.
    """

    violations: list[str] = field(default_factory=list)
    runs: int = 0
    failed: int = 0
    records: int = 0
    steps: int = 0
    commits: int = 0
    redone: int = 0
    keys: int = 0
    calls: int = 0
    repeated: int = 0
    _call_ids: set[str] = field(default_factory=set)

    def check_run(
        self, name: str, checkpoint: Checkpoint, ledger: Sequence[LedgerEntry], expected: Sequence[Step]
    ) -> None:
        """One run: it has ended, and its ledger has exactly the expected steps, without gap."""
        run = checkpoint.run
        self.runs += 1
        self.records += len(ledger)
        self.failed += run.status is RunStatus.FAILED
        if not run.is_terminal:
            self.violations.append(f"{name}: still {run.status.value} at node '{run.current_node}'")
        positions = [entry.seq for entry in ledger]
        if positions != list(range(1, checkpoint.ledger_seq + 1)):
            self.violations.append(f"{name}: ledger has gaps: {positions}")
        found = self._committed(ledger)
        self.steps += len(expected)
        self.commits += len(found)
        missing, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
        for step, count in missing.items():
            self.violations.append(f"{name}: step missing from the ledger {count} time(s): {step}")
        for step, count in extra.items():
            self.violations.append(f"{name}: step {count} time(s) too often in the ledger: {step}")
        if not missing and not extra and list(found) != list(expected):
            self.violations.append(f"{name}: steps out of order: {found}")

    def _committed(self, ledger: Sequence[LedgerEntry]) -> list[Step]:
        """The outcomes; attempts that were lost or failed and were followed by another one are counted."""
        begun: Counter[str] = Counter()
        found: list[Step] = []
        for entry in ledger:
            record = entry.record
            effect = (record.get("effect") or {}).get("type")
            key = record.get("idempotency_key") or ""
            if record["status"] == "started":
                begun[key] += 1
                continue
            if effect == "tool_calls" and record["status"] == "failed":
                continue
            if effect == "tool_calls":
                results = (record.get("result") or {}).get("results", [])
                self._call_ids.update(result["call_id"] for result in results)
            found.append((record["node_id"], effect, record["status"]))
        self.redone += sum(count - 1 for count in begun.values())
        return found

    def check_outside(self, calls: Mapping[str, int]) -> None:
        """The outside's own count of calls per key against the ledgers."""
        self.keys, self.calls = len(calls), sum(calls.values())
        self.repeated = sum(count > 1 for count in calls.values())
        for key in sorted(self._call_ids - calls.keys()):
            self.violations.append(f"outside: the ledger has a result for {key}, which was never called")
        for key in sorted(calls.keys() - self._call_ids):
            self.violations.append(f"outside: {key} was called, but no ledger has its result")


def audit(
    client: Client, claims: Sequence[Claim], fates: Mapping[str, Fate], calls: Mapping[str, int]
) -> Audit:
    """Check every run of the demo."""
    result = Audit()
    for claim in claims:
        fate = fates[claim.run_id]
        checkpoint = client.checkpoint(claim.run_id)
        result.check_run(claim.run_id, checkpoint, client.ledger(claim.run_id), EXPECTED[fate])
        _check_end(result, claim, checkpoint, fate)
        _check_receipt(result, client, claim, fate)
    result.check_outside(calls)
    _check_strangers(result, client)
    return result


def _check_end(result: Audit, claim: Claim, checkpoint: Checkpoint, fate: Fate) -> None:
    run = checkpoint.run
    if fate is Fate.BAD:
        reason = f"row {claim.row['row']}: {claim.reason}"
        if run.status is not RunStatus.FAILED or not (run.error or "").startswith(reason):
            result.violations.append(
                f"{claim.run_id}: should have failed with '{reason}', is {run.status.value}: {run.error}"
            )
        return
    paid = (run.output or {}).get("paid")
    if run.status is not RunStatus.COMPLETED or paid is not (fate is not Fate.REJECTED):
        result.violations.append(
            f"{claim.run_id}: should be {fate.value}, is {run.status.value} with {run.output or run.error}"
        )


def _check_receipt(result: Audit, client: Client, claim: Claim, fate: Fate) -> None:
    children = client.list(parent_run_id=claim.run_id)
    wanted = int(fate in (Fate.PAID, Fate.APPROVED))
    if len(children) != wanted:
        result.violations.append(f"{claim.run_id}: has {len(children)} receipts instead of {wanted}")
    for child in children:
        name = f"receipt of {claim.run_id}"
        ledger = client.ledger(child.run_id)
        result.check_run(name, client.checkpoint(child.run_id), ledger, EXPECTED_RECEIPT)


def _check_strangers(result: Audit, client: Client) -> None:
    total = sum(client.counts().values())
    if total != result.runs:
        result.violations.append(f"the database has {total} runs, {result.runs} were expected")
