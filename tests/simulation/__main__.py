"""Replay a seed, or try many.

``python -m tests.simulation --seeds 20000 --jobs 2``: every failing seed is made small, and printed with the
command that shows it again. ``--seed 17 --trace``: all that happens in one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from .crowd import outcomes
from .seeds import simulate
from .shrink import shrink


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="this seed only")
    parser.add_argument(
        "--only", help="take these decisions of it only (a list from a failing seed's report)"
    )
    parser.add_argument("--shrink", action="store_true", help="make it small, if it fails")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to try")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments)
    return _many(range(arguments.first, arguments.first + arguments.seeds), arguments.jobs)


def _one(arguments: argparse.Namespace) -> int:
    only = None if arguments.only is None else frozenset(arguments.only.split(","))
    outcome = simulate(arguments.seed, trace=arguments.trace, only=only)
    if outcome.broken and arguments.shrink:
        outcome = shrink(arguments.seed)
    print(outcome.report() if outcome.broken else "\n".join([*outcome.trace, "nothing broken"]))
    return 1 if outcome.broken else 0


def _many(seeds: range, jobs: int) -> int:
    began, total, broken = time.monotonic(), Counter[str](), 0
    for counts, failed in outcomes(seeds, jobs):
        total += counts
        for seed in failed:
            broken += 1
            print(shrink(seed).report(), flush=True)
    seconds = time.monotonic() - began
    print(", ".join(f"{count} {what}" for what, count in total.items()) + f" in {seconds:.0f} s")
    print(f"{broken} seed(s) broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
