"""Absurd on PostgreSQL: ``absurd_app.py worker|client``.

The schema comes from `schema.sql` in the folder ABSURD_SQL names. Settings, after its Python SDK's pages: the
asynchronous worker, concurrency 4 (the documented example), poll_interval 0.25 s (the default: how fast it
notices is its own choice), claim_timeout 120 s; one queue, unpartitioned. The client is the synchronous one.
"""

import asyncio
import os
import random
import signal
import sys
import time

from absurd_sdk import Absurd, AsyncAbsurd
from lines import Lines

URL = os.environ["DATABASE_URL"]


def work(lines):
    """Execute tasks until SIGTERM."""

    async def small_step(number):
        return {"n": number, "text": f"step {number}"}

    async def stamp():
        return time.time()

    async def serve():
        app = AsyncAbsurd(URL)

        @app.register_task("ten")
        async def ten(params, ctx):
            for number in range(params["steps"]):
                await ctx.step(f"step-{number}", lambda number=number: small_step(number))
            return {"n": params["steps"]}

        @app.register_task("event")
        async def event(params, ctx):
            await ctx.await_event(params["key"])
            return {"at": await ctx.step("stamp", stamp)}

        @app.register_task("timer")
        async def timer(params, ctx):
            await ctx.sleep_until("due", params["due"])
            return {"at": await ctx.step("stamp", stamp)}

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.stop_worker)
        lines.say({"result": "ready"})
        await app.start_worker(worker_id=f"worker-{os.getpid()}", concurrency=4)
        await app.close()

    asyncio.run(serve())


class Client:
    """Submits, signals and waits."""

    def __init__(self):
        self._app = Absurd(URL)
        self._app.create_queue("default")

    def queued(self, runs, steps):
        """Seconds until `runs` spawned tasks have ended."""
        started = time.perf_counter()
        tasks = [self._spawn("ten", {"steps": steps}) for _ in range(runs)]
        for task in tasks:
            self._result(task, every=0.01)
        return time.perf_counter() - started

    def submit_to_finished(self, samples, steps):
        """Milliseconds from ``spawn`` to the result."""
        took = []
        for _ in range(samples):
            self._out_of_step()
            started = time.perf_counter()
            self._result(self._spawn("ten", {"steps": steps}), every=0.002)
            took.append((time.perf_counter() - started) * 1000)
        return took

    def event_to_resumed(self, samples):
        """Milliseconds from ``emit_event`` to the step after ``await_event``."""
        took = []
        for number in range(samples):
            key = f"event-{time.time_ns()}-{number}"
            task = self._spawn("event", {"key": key})
            while self._app.fetch_task_result(task).state != "sleeping":
                time.sleep(0.01)
            self._out_of_step()
            sent = time.time()
            self._app.emit_event(key, {"n": number})
            took.append((self._result(task, every=0.02)["at"] - sent) * 1000)
        return took

    def timer_lateness(self, samples):
        """Milliseconds from a sleep's end to the step after it."""
        first = time.time() + 4
        due = [first + 0.04 * number for number in range(samples)]
        tasks = [self._spawn("timer", {"due": moment}) for moment in due]
        stamps = [self._result(task, every=0.05)["at"] for task in tasks]
        return [(at - moment) * 1000 for at, moment in zip(stamps, due, strict=True)]

    def _out_of_step(self):
        """Samples one right after the other would all meet the workers' polling at the same moment."""
        time.sleep(random.uniform(0.02, 0.27))

    def _spawn(self, name, params):
        return self._app.spawn(name, params, queue="default")["task_id"]

    def _result(self, task, *, every):
        while True:
            seen = self._app.fetch_task_result(task)
            if seen.state == "completed":
                return seen.result
            if seen.state in ("failed", "cancelled"):
                raise RuntimeError(f"task {task} is {seen.state}: {seen.failure}")
            time.sleep(every)


if __name__ == "__main__":
    lines = Lines()
    if sys.argv[1] == "worker":
        work(lines)
    else:
        client = Client()
        names = ("queued", "submit_to_finished", "event_to_resumed", "timer_lateness")
        lines.serve({name: getattr(client, name) for name in names})
