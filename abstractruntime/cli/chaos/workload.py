"""The runs of a chaos run: a random mix, the same for the same seed, each with the end it must come to."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .flows import MENDED_AT, POISON
from .oracle import receipt
from .scripts import Act, Ending, PlannedRun, Verb

__all__ = ["workload"]

_SPREAD = 0.92  # runs are started over this part of the time, evenly
_CANCELLED, _PAUSED, _LEFT_PAUSED, _LIMITED = 0.06, 0.08, 0.01, 0.06
_WAYS = (Verb.EMIT, Verb.PUBLISH, Verb.STREAM)
_HEAVY, _HEAVY_S = 0.06, (1.0, 4.0)

Vars = dict[str, Any]


class _Pen:
    """Writes the runs of one plan."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(f"workload-{seed}")
        self.runs: list[PlannedRun] = []

    def run_id(self) -> str:
        return f"chaos-{self.seed}-{len(self.runs):05d}"

    def add(self, at: float, workflow_id: str, vars: Vars, ending: Ending, *acts: Act, **fields: Any) -> None:
        self.runs.append(PlannedRun(self.run_id(), workflow_id, vars, at, ending, tuple(acts), **fields))


def workload(seed: int, runs: int, seconds: float) -> tuple[PlannedRun, ...]:
    """``runs`` planned runs or one more (two that talk to each other stay together), children not counted,
    started over ``seconds``."""
    pen = _Pen(seed)
    kinds = list(_MIX)
    weights = [weight for weight, _ in _MIX.values()]
    while len(pen.runs) < runs:
        at = round(seconds * _SPREAD * len(pen.runs) / max(1, runs), 3)
        kind = pen.dice.choices(kinds, weights)[0]
        first = len(pen.runs)
        _MIX[kind][1](pen, at)
        for index in range(first, len(pen.runs)):
            pen.runs[index] = _interfered(pen.dice, pen.runs[index])
    return tuple(pen.runs)


# -- the mix ------------------------------------------------------------------------------------


def _steps(pen: _Pen, at: float) -> None:
    steps = pen.dice.randint(3, 14)
    pen.add(at, "steps", {"steps": steps}, Ending(output={"n": steps}))


def _sleep(pen: _Pen, at: float) -> None:
    naps = [round(pen.dice.uniform(0.1, 3.0), 2) for _ in range(pen.dice.randint(1, 3))]
    if pen.dice.random() < 0.3:
        naps.append(round(pen.dice.uniform(5.0, 9.0), 2))  # beyond the horizon: found by the sweep
    pen.add(at, "sleep", {"naps": naps}, Ending(output={"naps": len(naps)}))


def _charges(pen: _Pen) -> tuple[Vars, Vars]:
    """Variables and output."""
    name, times = pen.run_id(), pen.dice.randint(1, 3)
    slow = pen.dice.random() < _HEAVY
    work_s = round(pen.dice.uniform(*_HEAVY_S) if slow else pen.dice.uniform(0.0, 0.15), 3)
    vars: Vars = {"name": name, "times": times, "work_s": work_s}
    if pen.dice.random() < 0.2:
        vars["flaky"] = pen.dice.randrange(times)
    return vars, {"receipts": [receipt(name, n) for n in range(times)], "booked": receipt(name, 1000)}


def _charge(pen: _Pen, at: float) -> None:
    vars, output = _charges(pen)
    pen.add(at, "charge", vars, Ending(output=output))


def _listen(pen: _Pen, at: float) -> None:
    """Events of which the first comes before the run waits, the others after; one is never asked for."""
    run_id = pen.run_id()
    a, b = f"{run_id}:a", f"{run_id}:b"
    later = at + pen.dice.uniform(0.5, 3.0)
    acts = [
        Act(at, _way(pen), a, {"n": 1}, f"{run_id}:e1"),
        Act(round(later, 3), _way(pen), a, {"n": 2}, f"{run_id}:e2"),
        Act(round(later, 3), _way(pen), b, {"n": 3}, f"{run_id}:e3"),
        Act(round(later, 3), Verb.EMIT, a, {"n": 4}, f"{run_id}:e4"),
    ]
    if pen.dice.random() < 0.3:
        acts.append(replace(acts[0], at_s=acts[-1].at_s))  # a sender repeats itself
    vars = {"naps": [round(pen.dice.uniform(0.2, 1.2), 2)], "after": "listen", "keys": [a, a, b]}
    pen.add(at, "listen", vars, Ending(output={"heard": [{"n": 1}, {"n": 2}, {"n": 3}]}), *acts)


def _way(pen: _Pen) -> Verb:
    return pen.dice.choice(_WAYS)


def _ask(pen: _Pen, at: float) -> None:
    run_id = pen.run_id()
    questions = [f"{run_id}:q{n}" for n in range(pen.dice.randint(1, 2))]
    acts, answers = [], []
    when = at
    for n, question in enumerate(questions):
        when = round(when + pen.dice.uniform(0.1, 2.0), 3)
        answers.append({"yes": n})
        acts.append(Act(when, Verb.ANSWER, question, {"yes": n}))
    pen.add(at, "ask", {"questions": questions}, Ending(output={"answers": answers}), *acts)


def _unanswered(pen: _Pen, at: float) -> None:
    pen.add(at, "ask", {"questions": [f"{pen.run_id()}:q"]}, Ending(status="waiting"))


def _pair(pen: _Pen, at: float) -> None:
    """A run that tells another one, before or after that one listens."""
    session = f"session-{pen.run_id()}"
    ping = {"from": len(pen.runs)}
    listens = [round(pen.dice.uniform(0.1, 1.5), 2)]
    tells = [round(pen.dice.uniform(0.1, 1.5), 2)]
    hear = {"naps": listens, "after": "hear"}
    pen.add(at, "hear", hear, Ending(output={"ping": ping}), session_id=session)
    # An event counts for runs that were started before it.
    tell = {"naps": tells, "after": "tell", "ping": ping}
    hearer = pen.runs[-1].run_id
    pen.add(at, "tell", tell, Ending(output={"told": True}), session_id=session, after=hearer)


def _family(pen: _Pen, at: float) -> None:
    if pen.dice.random() < 0.5:
        child = "charge"
        child_vars, child_output = _charges(pen)
    else:
        child = "sleep"
        child_vars, child_output = {"naps": [0.3, 0.2]}, {"naps": 2}
    vars = {"child": child, "child_vars": child_vars}
    pen.add(at, "family", vars, Ending(output={"child": child_output}), children=2)


def _poison(pen: _Pen, at: float) -> None:
    pen.add(at, "poison", {}, Ending(status="failed", error=POISON))


def _fragile(pen: _Pen, at: float) -> None:
    """Fails, is mended by a new limit, and retried."""
    mending = round(at + pen.dice.uniform(1.0, 3.0), 3)
    acts = (Act(mending, Verb.LIMITS, value={"max_iterations": MENDED_AT}), Act(mending, Verb.RETRY))
    pen.add(at, "fragile", {}, Ending(output={"mended": True}), *acts)


_MIX: dict[str, tuple[int, Callable[[_Pen, float], None]]] = {
    "steps": (18, _steps),
    "sleep": (14, _sleep),
    "charge": (24, _charge),
    "listen": (14, _listen),
    "ask": (8, _ask),
    "unanswered": (1, _unanswered),
    "pair": (6, _pair),
    "family": (10, _family),
    "poison": (2, _poison),
    "fragile": (2, _fragile),
}

# -- interference -------------------------------------------------------------------------------


def _interfered(dice: random.Random, run: PlannedRun) -> PlannedRun:
    """Somebody cancels, pauses or limits the run at any time of its life."""
    if run.ending.status == "waiting" or run.workflow_id in ("fragile", "hear", "tell"):
        return run
    soon = round(run.start_at_s + dice.uniform(0.0, 4.0), 3)
    fate = dice.random()
    if fate < _CANCELLED:
        return _with(run, replace(run.ending, or_cancelled=True), Act(soon, Verb.CANCEL))
    fate -= _CANCELLED
    if fate < _PAUSED:
        until = round(soon + dice.uniform(0.3, 3.0), 3)
        return _with(run, run.ending, Act(soon, Verb.PAUSE), Act(until, Verb.UNPAUSE))
    fate -= _PAUSED
    if fate < _LIMITED:
        return _with(run, run.ending, Act(soon, Verb.LIMITS, value={"max_iterations": 50}))
    fate -= _LIMITED
    if fate < _LEFT_PAUSED and run.workflow_id in ("steps", "sleep", "charge"):
        return _with(run, replace(run.ending, or_paused=True), Act(soon, Verb.PAUSE))
    return run


def _with(run: PlannedRun, ending: Ending, *acts: Act) -> PlannedRun:
    return replace(run, meddling=acts, ending=ending)
