"""The in-process library through its documented calls: runs with any release of abstractruntime.

The same script measures the published release, in an environment of its own, and this one. Stores as their
documentation has them; SQLite in its default durability; one process, because the published release has no
claim that would keep two from executing the same run.
"""

import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from lines import Lines

from abstractruntime import Effect, EffectType, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.runtime import EffectOutcome
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

# Nothing of an installed package is shown or read here, so no source lines either.
sys.tracebacklimit = 0

WINDOW = 50
STEP_COST_S = 5.0


def _step(run, ctx):
    number = run.vars["n"] = run.vars["n"] + 1
    if number > run.vars["steps"]:
        return StepPlan(node_id="step", complete_output={"n": number})
    effect = Effect(type=EffectType.LLM_CALL, payload={"prompt": f"step {number}"}, result_key="answer")
    return StepPlan(node_id="step", effect=effect, next_node="step")


def _await_event(run, ctx):
    effect = Effect(type=EffectType.WAIT_EVENT, payload={"wait_key": run.vars["key"]}, result_key="event")
    return StepPlan(node_id="wait", effect=effect, next_node="stamp")


def _stamp(run, ctx):
    return StepPlan(node_id="stamp", complete_output={"at": time.time()})


CHAIN = WorkflowSpec(workflow_id="chain", entry_node="step", nodes={"step": _step})
EVENT = WorkflowSpec(workflow_id="event", entry_node="wait", nodes={"wait": _await_event, "stamp": _stamp})


def _answer(run, effect, default_next_node=None):
    number = run.vars["n"]
    return EffectOutcome.completed({"n": number, "text": f"step {number}"})


@contextmanager
def _memory():
    yield InMemoryRunStore(), InMemoryLedgerStore()


@contextmanager
def _json():
    with tempfile.TemporaryDirectory() as folder:
        yield JsonFileRunStore(folder), JsonlLedgerStore(folder)


@contextmanager
def _sqlite():
    with tempfile.TemporaryDirectory() as folder:
        database = SqliteDatabase(Path(folder) / "runs.db")
        yield SqliteRunStore(database), SqliteLedgerStore(database)


STORES = {"in memory": _memory, "JSON files": _json, "SQLite": _sqlite}


@contextmanager
def _runtime(store):
    with STORES[store]() as (runs, ledger):
        yield Runtime(run_store=runs, ledger_store=ledger, effect_handlers={EffectType.LLM_CALL: _answer})


def _completed(runtime, run_id, workflow):
    state = runtime.tick(workflow=workflow, run_id=run_id)
    if state.status.value != "completed":
        raise RuntimeError(f"run {run_id} is {state.status.value}: {state.error}")
    return state


def direct(runs, steps):
    """Seconds until `runs` runs of `steps` steps on SQLite have ended, one after another."""
    with _runtime("SQLite") as runtime:
        started = time.perf_counter()
        for _ in range(runs):
            run_id = runtime.start(workflow=CHAIN, vars={"n": 0, "steps": steps})
            _completed(runtime, run_id, CHAIN)
        return time.perf_counter() - started


def submit_to_finished(samples, steps):
    """Milliseconds from ``start`` to the end of ``tick`` on SQLite."""
    took = []
    with _runtime("SQLite") as runtime:
        for _ in range(samples):
            started = time.perf_counter()
            run_id = runtime.start(workflow=CHAIN, vars={"n": 0, "steps": steps})
            _completed(runtime, run_id, CHAIN)
            took.append((time.perf_counter() - started) * 1000)
    return took


def event_to_resumed(samples):
    """Milliseconds from ``resume`` to the next node's first line on SQLite."""
    took = []
    with _runtime("SQLite") as runtime:
        for number in range(samples):
            key = f"event-{number}"
            run_id = runtime.start(workflow=EVENT, vars={"key": key})
            runtime.tick(workflow=EVENT, run_id=run_id)
            sent = time.time()
            state = runtime.resume(workflow=EVENT, run_id=run_id, wait_key=key, payload={"n": number})
            took.append((state.output["at"] - sent) * 1000)
    return took


def step_cost(store, marks):
    """Microseconds of one effect step around each mark: medians of as many runs as begin within five seconds.

    The steps beside a mark are over in a few milliseconds, and the machine's mood lasts for seconds.
    """
    began, runs = time.perf_counter(), []
    while not runs or time.perf_counter() - began < STEP_COST_S:
        runs.append(_cost_in_one_run(store, marks))
    return {str(mark): sorted(run[mark] for run in runs)[len(runs) // 2] for mark in marks}


def _cost_in_one_run(store, marks):
    took = []
    with _runtime(store) as runtime:
        run_id = runtime.start(workflow=CHAIN, vars={"n": 0, "steps": 10**9})
        while len(took) < max(marks) + WINDOW // 2:
            started = time.perf_counter()
            runtime.tick(workflow=CHAIN, run_id=run_id, max_steps=10)
            took.extend([(time.perf_counter() - started) * 1e5] * 10)
    middle = WINDOW // 2
    return {mark: sorted(took[mark - middle : mark + middle])[middle] for mark in marks}


if __name__ == "__main__":
    commands = (direct, submit_to_finished, event_to_resumed, step_cost)
    Lines().serve({each.__name__: each for each in commands}, show_traceback=False)
