"""``python -m benchmarks.peers``: measures this release and its peers in one run, prints, writes JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from abstractruntime.core.errors import RuntimeFault

from ..fleet import servers
from ..machine import machine
from .contests import PEERS, PROCESSES, STEPS, Bench, Work
from .environments import DEFAULT_CACHE, PUBLISHED, EnvironmentMissingError, Environments
from .figures import Figures
from .script import PeerError

RESULTS = Path(__file__).resolve().parent / "results.json"


def main(argv: list[str] | None = None) -> int:
    """Run the chosen peers and report them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", choices=tuple(PEERS), action="append", help="this peer; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of everything, peers taking turns")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the environments are kept")
    parser.add_argument(
        "--published", default=PUBLISHED, metavar="VERSION", help="release of the published abstractruntime"
    )
    parser.add_argument("--install-only", action="store_true", help="make the environments, measure nothing")
    parser.add_argument(
        "--json",
        type=Path,
        help="where the results go; default: the committed file, for a run of all peers that is not quick",
    )
    options = parser.parse_args(argv)
    # So that servers, workers and scripts are ended by their blocks then, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    chosen = options.only or list(PEERS)
    environments, figures = Environments(options.cache, options.published), Figures()
    _install(environments, [peer for peer in chosen if peer != "ours"], figures)
    if options.install_only:
        return 0
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    rounds, work = (1, Work(50, 20, 10)) if options.quick else (options.rounds, Work(500, 50, 100))
    print(f"\n{machine()}, {rounds} round(s)\n", flush=True)
    _measure(chosen, rounds, work, environments, figures)
    report = {**_report(figures, rounds, work), **({} if load is None else {"load": load})}
    target = options.json or (None if options.only or options.quick else RESULTS)
    if target is not None:
        target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten: {target}")
    return 1 if figures.failed else 0


def _install(environments: Environments, peers: list[str], figures: Figures) -> None:
    for peer in peers:
        try:
            environments.of(peer)
            if peer == "absurd":
                environments.absurd_schema()
        except EnvironmentMissingError as missing:
            figures.left_out[peer] = str(missing)
            print(f"left out: {missing}", flush=True)


def _measure(
    chosen: list[str], rounds: int, work: Work, environments: Environments, figures: Figures
) -> None:
    """All rounds, peers taking turns, so that a change of the machine's mood meets all of them."""
    for number in range(rounds):
        with servers() as (valkey, postgres):
            bench = Bench(valkey, postgres, environments, work, figures)
            for peer in chosen:
                if peer in figures.left_out:
                    continue
                print(f"-- round {number + 1}: {peer}", flush=True)
                try:
                    PEERS[peer](bench)
                except (PeerError, RuntimeFault, TimeoutError) as error:
                    # One peer's failure must not cost the figures of the others; the report names it.
                    figures.failed[peer] = str(error).split("\n", 1)[0]
                    print(f"{peer} failed: {error}", file=sys.stderr, flush=True)


def _report(figures: Figures, rounds: int, work: Work) -> dict[str, Any]:
    return {
        "machine": machine(),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "rounds": rounds,
        "runs": work.runs,
        "steps_per_run": STEPS,
        "processes": PROCESSES,
        **figures.report(),
    }


if __name__ == "__main__":
    sys.exit(main())
