"""DBOS on PostgreSQL: ``dbos_app.py NAME`` is one process with the workflows and the queue.

Settings, after DBOS's own public benchmark and its configuration reference: asynchronous workflows and steps,
no admin server, no telemetry, an executor id per process, LISTEN/NOTIFY on, 512 executor threads, system
database pool of 10 per process, queue without a global limit and worker_concurrency 100.
The queue is asked every 0.1 s (default 1 s), which is in its favour. Started directly means
``DBOS.start_workflow_async`` in the process that executes; queued means ``enqueue_workflow``.
"""

import asyncio
import os
import sys
import time

from dbos import DBOS, SetWorkflowID
from lines import Lines

NAME = sys.argv[1]


@DBOS.step()
async def small_step(number):
    return {"n": number, "text": f"step {number}"}


@DBOS.workflow(name="ten")
async def ten(steps):
    for number in range(steps):
        await small_step(number)
    return {"n": steps}


@DBOS.step()
async def stamp():
    return time.time()


@DBOS.workflow(name="event")
async def event():
    await DBOS.recv_async("event", timeout_seconds=60)
    return await stamp()


@DBOS.workflow(name="timer")
async def timer(due):
    await DBOS.sleep_async(max(0.0, due - time.time()))
    return await stamp()


async def _all_ended(handles):
    for handle in handles:
        await handle.get_result(polling_interval_sec=0.02)


def direct(runs, steps):
    """Seconds until `runs` workflows started in this process have ended."""

    async def measure():
        started = time.perf_counter()
        handles = [await DBOS.start_workflow_async(ten, steps) for _ in range(runs)]
        await _all_ended(handles)
        return time.perf_counter() - started

    return asyncio.run(measure())


def queued(runs, steps):
    """Seconds until `runs` workflows put on the queue have ended, on whichever process."""

    async def measure():
        started = time.perf_counter()
        handles = [await DBOS.enqueue_workflow_async("bench", ten, steps) for _ in range(runs)]
        await _all_ended(handles)
        return time.perf_counter() - started

    return asyncio.run(measure())


def submit_to_finished(samples, steps):
    """Milliseconds from the start of a workflow in this process to its result."""

    async def measure():
        took = []
        for _ in range(samples):
            started = time.perf_counter()
            handle = await DBOS.start_workflow_async(ten, steps)
            await handle.get_result(polling_interval_sec=0.002)
            took.append((time.perf_counter() - started) * 1000)
        return took

    return asyncio.run(measure())


def event_to_resumed(samples):
    """Milliseconds from ``DBOS.send`` to the step after ``recv``."""

    async def measure():
        took = []
        for number in range(samples):
            with SetWorkflowID(f"{NAME}-event-{time.time_ns()}-{number}"):
                handle = await DBOS.start_workflow_async(event)
            await asyncio.sleep(0.05)  # it waits by now
            sent = time.time()
            await DBOS.send_async(handle.workflow_id, {"n": number}, "event")
            took.append((await handle.get_result(polling_interval_sec=0.02) - sent) * 1000)
        return took

    return asyncio.run(measure())


def timer_lateness(samples):
    """Milliseconds from a sleep's end to the step after it."""

    async def measure():
        first = time.time() + 3
        due = [first + 0.04 * number for number in range(samples)]
        handles = [await DBOS.start_workflow_async(timer, moment) for moment in due]
        stamps = [await handle.get_result(polling_interval_sec=0.2) for handle in handles]
        return [(at - moment) * 1000 for at, moment in zip(stamps, due, strict=True)]

    return asyncio.run(measure())


if __name__ == "__main__":
    lines = Lines()
    DBOS(
        config={
            "name": "peers",
            "system_database_url": os.environ["DATABASE_URL"],
            "application_version": "1",
            "executor_id": NAME,
            "log_level": "WARNING",
            "sys_db_pool_size": 10,
            "max_executor_threads": 512,
            "use_listen_notify": True,
        }
    )
    DBOS.launch()
    DBOS.register_queue(
        "bench", worker_concurrency=100, polling_interval_sec=0.1, on_conflict="always_update"
    )
    lines.serve(
        {
            each.__name__: each
            for each in (direct, queued, submit_to_finished, event_to_resumed, timer_lateness)
        }
    )
    DBOS.destroy()
