"""Submits to `bare_celery` and waits for the last end."""

import time

from bare_celery import SELECT, TABLES, connection, hop, redis, step
from lines import Lines


def hops(runs, steps):
    """Seconds until `runs` chains of `steps` hops have ended."""
    redis().delete("bare:ended")
    started = time.perf_counter()
    for _ in range(runs):
        hop.delay(steps)
    return _ended(runs, started)


def durable(runs, steps, per_task):
    """Seconds until `runs` runs of `steps` durable steps have ended, starts included."""
    redis().delete("bare:ended")
    first = connection().execute("SELECT coalesce(max(run_id), 0) + 1 FROM runs").fetchone()[0]
    started = time.perf_counter()
    for run_id in range(first, first + runs):
        connection().execute("INSERT INTO runs VALUES (%s, 0, '')", (run_id,))
        step.delay(run_id, steps, per_task)
    took = _ended(runs, started)
    version, _ = connection().execute(SELECT, (first + runs - 1,)).fetchone()
    if version != steps:
        raise RuntimeError(f"the last run is at version {version}, not {steps}")
    return took


def _ended(runs, started):
    while int(redis().get("bare:ended") or 0) < runs:
        time.sleep(0.005)
    return time.perf_counter() - started


if __name__ == "__main__":
    lines = Lines()
    connection().execute(TABLES, prepare=False)
    lines.serve({"hops": hops, "durable": durable})
