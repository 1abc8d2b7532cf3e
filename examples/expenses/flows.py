"""Expense claims: one durable run per claim, from validation to the filed receipt.

    claim:   validate -> book -> (approve ->) remind -> payment -> file -> done
    receipt: number -> store -> done                      (the child that `file` starts)

A node is a function that takes the run and says what happens next. It may be called again after a crash, so
it decides and prepares; whatever touches the outside is an effect.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from abstractruntime import App, Effect, EffectType, RetryPolicy, RunState, StepPlan, WorkflowSpec
from abstractruntime.core.errors import FailRun
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext

# What one unit costs in euros; a currency that is not here is not accepted.
RATES = {"EUR": Decimal("1"), "USD": Decimal("0.92"), "GBP": Decimal("1.17"), "CHF": Decimal("1.05")}
APPROVAL_LIMIT_EUR = Decimal(400)
LARGEST_EUR = Decimal(100_000)
REMIND_AFTER_S = 1.0
PAYMENT_TIMEOUT_S = 600.0


# --- claim ---------------------------------------------------------------------------------------------


def validate(run: RunState, context: RunContext) -> StepPlan:
    """A bad row ends its run FAILED, at once, with a reason that names the row."""
    claim = run.vars["claim"]
    if not claim["employee"].strip():
        raise FailRun(f"{_row(claim)}: employee is missing")
    try:
        date.fromisoformat(claim["date"])
    except ValueError:
        raise FailRun(f"{_row(claim)}: date {claim['date']!r} is not a day like 2026-03-31") from None
    run.vars["amount_eur"] = str(_euros(claim))
    return StepPlan("validate", next_node="book")


def _euros(claim: dict[str, Any]) -> Decimal:
    text = claim["amount"].strip()
    if not text:
        raise FailRun(f"{_row(claim)}: amount is missing")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise FailRun(f"{_row(claim)}: amount {text!r} is not a number like 12.50") from None
    if not amount.is_finite() or amount <= 0:
        raise FailRun(f"{_row(claim)}: amount {text} is not above zero")
    rate = RATES.get(claim["currency"])
    if rate is None:
        known = ", ".join(sorted(RATES))
        raise FailRun(f"{_row(claim)}: currency {claim['currency']!r} is unknown (known: {known})")
    euros = (amount * rate).quantize(Decimal("0.01"))
    if euros > LARGEST_EUR:
        raise FailRun(f"{_row(claim)}: amount {text} is above {LARGEST_EUR} EUR; it needs another process")
    return euros


def _row(claim: dict[str, Any]) -> str:
    return f"row {claim['row']}"


def book(run: RunState, context: RunContext) -> StepPlan:
    """The first contact with the outside: reserve the money in the books."""
    claim = run.vars["claim"]
    arguments = {"claim_id": claim["claim_id"], "amount_eur": run.vars["amount_eur"]}
    effect = Effect(
        EffectType.TOOL_CALLS,
        {"tool_calls": [{"name": "book_claim", "arguments": arguments}]},
        result_key="booking",
    )
    needs_approval = Decimal(run.vars["amount_eur"]) > APPROVAL_LIMIT_EUR
    return StepPlan("book", effect=effect, next_node="approve" if needs_approval else "remind")


def approve(run: RunState, context: RunContext) -> StepPlan:
    """Large claims wait for a person, for as long as it takes. A waiting run costs a row in the database."""
    claim = run.vars["claim"]
    prompt = f"{claim['employee']} claims {run.vars['amount_eur']} EUR for {claim['purpose']}. Pay?"
    effect = Effect(
        EffectType.ASK_USER,
        {"prompt": prompt, "choices": ["approve", "reject"], "allow_free_text": False},
        result_key="approval",
    )
    return StepPlan("approve", effect=effect, next_node="decide")


def decide(run: RunState, context: RunContext) -> StepPlan:
    """What the person said is in the run's variables, under the effect's ``result_key``."""
    if run.vars["approval"]["answer"] == "approve":
        return StepPlan("decide", next_node="remind")
    return StepPlan("decide", complete_output={"paid": False, "reason": "rejected"})


def remind(run: RunState, context: RunContext) -> StepPlan:
    """A timer: give the bank a moment. Days work as well, and survive restarts and deploys."""
    until = datetime.fromisoformat(context.now_iso()) + timedelta(seconds=REMIND_AFTER_S)
    effect = Effect(EffectType.WAIT_UNTIL, {"until": until.isoformat()})
    return StepPlan("remind", effect=effect, next_node="payment")


def payment(run: RunState, context: RunContext) -> StepPlan:
    """The bank's confirmation. If it came before we wait for it, it is in the inbox and we go on at once."""
    effect = Effect(
        EffectType.WAIT_EVENT,
        {"wait_key": f"payment:{run.vars['claim']['claim_id']}", "timeout_s": PAYMENT_TIMEOUT_S},
        result_key="payment",
    )
    return StepPlan("payment", effect=effect, next_node="file")


def file(run: RunState, context: RunContext) -> StepPlan:
    """Another workflow, as a child run with a ledger of its own; we go on when it has ended."""
    if run.vars["payment"].get("timed_out"):
        raise FailRun(f"{_row(run.vars['claim'])}: no payment confirmation within {PAYMENT_TIMEOUT_S:g} s")
    handed_on = {"claim_id": run.vars["claim"]["claim_id"], "amount_eur": run.vars["amount_eur"]}
    effect = Effect(
        EffectType.START_SUBWORKFLOW, {"workflow_id": "receipt", "vars": handed_on}, result_key="receipt"
    )
    return StepPlan("file", effect=effect, next_node="done")


def done(run: RunState, context: RunContext) -> StepPlan:
    """The run's output is what `Client.wait` and ``abstractruntime runs wait`` give."""
    return StepPlan(
        "done",
        complete_output={
            "paid": True,
            "amount_eur": run.vars["amount_eur"],
            "receipt": run.vars["receipt"]["output"]["number"],
        },
    )


# --- receipt -------------------------------------------------------------------------------------------


def number(run: RunState, context: RunContext) -> StepPlan:
    """The receipt's number follows from the claim, so doing this step twice gives the same one."""
    run.vars["number"] = f"R-{run.vars['claim_id'].removeprefix('C-')}"
    return StepPlan("number", next_node="store")


def store(run: RunState, context: RunContext) -> StepPlan:
    """File it with the outside service."""
    arguments = {"number": run.vars["number"], "amount_eur": run.vars["amount_eur"]}
    effect = Effect(
        EffectType.TOOL_CALLS,
        {"tool_calls": [{"name": "file_receipt", "arguments": arguments}]},
        result_key="filed",
    )
    return StepPlan("store", effect=effect, next_node="filed")


def filed(run: RunState, context: RunContext) -> StepPlan:
    """The child's output goes to its parent."""
    return StepPlan("filed", complete_output={"number": run.vars["number"]})


# --- the App -------------------------------------------------------------------------------------------

app = App(
    name="expenses",
    workflows=[
        WorkflowSpec(
            workflow_id="claim",
            entry_node="validate",
            nodes={
                "validate": validate,
                "book": book,
                "approve": approve,
                "decide": decide,
                "remind": remind,
                "payment": payment,
                "file": file,
                "done": done,
            },
        ),
        WorkflowSpec(
            workflow_id="receipt",
            entry_node="number",
            nodes={"number": number, "store": store, "filed": filed},
        ),
    ],
    # A call that fails is tried again, later: the time in between is a timer, not a sleeping worker.
    policy=RetryPolicy(tool_max_attempts=5, backoff_base=0.5),
)

PATHS = {"book_claim": "/bookings", "file_receipt": "/receipts"}


@app.effect(EffectType.TOOL_CALLS)
def call_service(run: RunState, effect: Effect) -> EffectOutcome:
    """Make the tool calls of an effect, over HTTP.

    This runs *at least* once: a worker may die between the call and its record. The runtime gives each call
    an id that stays the same over all attempts; sent as Idempotency-Key it makes the outcome exactly once.
    """
    results = []
    for call in effect.payload["tool_calls"]:
        try:
            output = _post(PATHS[call["name"]], call["arguments"], key=call["runtime_call_id"])
        except OSError as exc:  # refused, timed out, or an HTTP error: the policy says what follows
            return EffectOutcome.failed(f"{call['name']}: {exc}")
        results.append({"call_id": call["call_id"], "name": call["name"], "success": True, "output": output})
    return EffectOutcome.completed({"mode": "executed", "results": results})


def _post(path: str, body: dict[str, Any], *, key: str) -> dict[str, Any]:
    request = urllib.request.Request(
        os.environ["EXPENSES_URL"] + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": key},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        result: dict[str, Any] = json.load(answer)
        return result
