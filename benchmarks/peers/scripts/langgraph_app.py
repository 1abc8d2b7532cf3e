"""LangGraph with its PostgresSaver: one process that invokes a graph of ten nodes.

LangGraph has no workers, queue or timers: whoever calls ``invoke`` executes. Settings, after its persistence
pages: a checkpointer with a psycopg connection of its own (autocommit, dict rows, prepare_threshold 0) per
thread, 4 threads per process, and ``durability="sync"``, which like the others here has a step on disk before
the next one begins ("async", the default, may lose the last step, "exit" all of them).
"""

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import TypedDict

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from lines import Lines
from psycopg.rows import dict_row

URL = os.environ["DATABASE_URL"]
THREADS = 4
_mine = local()


class State(TypedDict, total=False):
    n: int
    text: str
    at: float


def _small_step(state):
    number = state.get("n", 0) + 1
    return {"n": number, "text": f"step {number}"}


def _wait(state):
    interrupt("event")
    return {"at": time.time()}


def _saver():
    connection = psycopg.connect(URL, autocommit=True, prepare_threshold=0, row_factory=dict_row)
    return PostgresSaver(connection)


def _compiled(name, steps):
    """This thread's graph, with a connection of its own."""
    graphs = _mine.__dict__.setdefault("graphs", {})
    if (name, steps) not in graphs:
        graph = StateGraph(State)
        names = [f"step{number}" for number in range(steps)]
        for each in names:
            graph.add_node(each, _small_step if name == "ten" else _wait)
        for before, after in zip([START, *names], [*names, END], strict=True):
            graph.add_edge(before, after)
        graphs[name, steps] = graph.compile(checkpointer=_saver())
    return graphs[name, steps]


def _invoke(name, steps, given, thread_id=None):
    thread_id = thread_id or str(uuid.uuid4())
    config = {"configurable": {"thread_id": thread_id}}
    return thread_id, _compiled(name, steps).invoke(given, config, durability="sync")


_pool = ThreadPoolExecutor(THREADS)


def direct(runs, steps):
    """Seconds until `runs` graphs invoked by this process's threads have ended."""
    started = time.perf_counter()
    for _, state in _pool.map(lambda _: _invoke("ten", steps, {"n": 0}), range(runs)):
        if state["n"] != steps:
            raise RuntimeError(f"a graph ended after {state['n']} of {steps} nodes")
    return time.perf_counter() - started


def submit_to_finished(samples, steps):
    """Milliseconds of one ``invoke``."""
    took = []
    for _ in range(samples):
        started = time.perf_counter()
        _invoke("ten", steps, {"n": 0})
        took.append((time.perf_counter() - started) * 1000)
    return took


def event_to_resumed(samples):
    """Milliseconds from ``invoke(Command(resume=...))`` to the interrupted node's next line."""
    took = []
    for number in range(samples):
        thread_id, _ = _invoke("event", 1, {"n": 0})
        sent = time.time()
        _, state = _invoke("event", 1, Command(resume={"n": number}), thread_id)
        took.append((state["at"] - sent) * 1000)
    return took


def setup():
    """Make the tables."""
    _saver().setup()


if __name__ == "__main__":
    Lines().serve({each.__name__: each for each in (setup, direct, submit_to_finished, event_to_resumed)})
