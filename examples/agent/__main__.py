"""Run the agent on a fleet of its own, and kill its worker inside an LLM call and inside the payment.

python -m examples.agent          asks you before it pays
python -m examples.agent --yes    approves by itself; exit code 0 means that each call was made once
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

from workers.client import Client
from workers.embedded import EmbeddedFleet

from .outside import Outside

APP = "examples.agent.flows:app"
ROOT = Path(__file__).resolve().parents[2]
# Short, so that a lost worker's call is taken over while one looks.
TIMING = {
    "ABSTRACTRUNTIME_LEASE": "3",
    "ABSTRACTRUNTIME_REDELIVERY_GRACE": "2",
    "ABSTRACTRUNTIME_SWEEP_INTERVAL": "0.5",
}
LOOK_S = 0.1
KILL_AT = ["/v1/chat/completions", "/payments"]


def main() -> int:
    """Play it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.agent", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="approve the payment without asking")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds until it counts as stuck")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="abstractruntime-agent-") as folder, Outside() as outside:
        Thread(target=outside.serve_forever, daemon=True).start()
        fleet = EmbeddedFleet(
            APP,
            folder,
            tick_workers=1,
            working_directory=ROOT,
            environment={**TIMING, "AGENT_OUTSIDE_URL": outside.url},
            die_with_parent=True,
        )
        with fleet, Client(settings=fleet.settings) as client:
            _kill_in_calls(fleet, outside)
            run = _drive(client, approve=arguments.yes, timeout_s=arguments.timeout)
            _print_ledger(client, run.run_id)
        calls = outside.book.calls()
        outside.shutdown()
    return _judge(run, calls)


def _kill_in_calls(fleet: EmbeddedFleet, outside: Outside) -> None:
    """The first request of each kind costs the worker that sent it its life, before it has the answer."""
    left = list(KILL_AT)

    def kill(path: str) -> None:
        if path in left:
            left.remove(path)
            print(f"  ... kill -9 of the effects worker {fleet.kill_worker('effects')}, inside {path}")

    outside.book.on_request = kill


def _drive(client: Client, *, approve: bool, timeout_s: float) -> Any:
    run_id = client.start("agent", {"task": "Please pay invoice A-17."})
    print(f"run {run_id}")
    question = _question(client, run_id, timeout_s)
    if question is not None:
        print(f"  the agent asks: {question}")
        answer = "yes" if approve else input("  yes or no? ").strip().lower()
        client.respond(run_id, {"text": answer})
    return client.wait(run_id, timeout=timeout_s)


def _question(client: Client, run_id: str, timeout_s: float) -> str | None:
    """What the run asks a person, ``None`` if it ends without asking."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        run = client.get(run_id)
        if run.is_terminal:
            return None
        if run.waiting is not None and run.waiting.prompt:
            return run.waiting.prompt
        time.sleep(LOOK_S)
    raise TimeoutError(f"run {run_id} asks nothing after {timeout_s:g} s")


def _print_ledger(client: Client, run_id: str) -> None:
    print("  ledger:")
    for record in (entry.record for entry in client.ledger(run_id)):
        effect = (record.get("effect") or {}).get("type", "")
        print(f"    {record['status']:<9} {record['node_id']:<8} {effect:<12} attempt {record['attempt']}")


def _judge(run: Any, calls: dict[str, dict[str, int]]) -> int:
    sent, done = calls["sent"], calls["done"]
    print(f"  {run.status.value}: {run.output}")
    print(f"  {sum(sent.values())} requests for {len(sent)} keys; done per key: {sorted(done.values())}")
    once = set(done.values()) == {1} and set(done) == set(sent)
    return 0 if once and run.status.value == "completed" else 1


if __name__ == "__main__":
    sys.exit(main())
