"""Replay a seed, or try many: ``python -m tests.simulation --seed 17 --trace``, ``--seeds 100000``."""

from __future__ import annotations

import argparse
import sys
import time

from .seeds import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="this seed only")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to try")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        outcome = simulate(arguments.seed, trace=arguments.trace)
        print("\n".join(outcome.trace))
        print(outcome.report() if outcome.broken and not arguments.trace else f"broken: {outcome.broken}")
        return 1 if outcome.broken else 0
    return _many(arguments.first, arguments.seeds)


def _many(first: int, count: int) -> int:
    began, broken, calls, crashes, runs = time.monotonic(), 0, 0, 0, 0
    for seed in range(first, first + count):
        outcome = simulate(seed)
        runs, calls, crashes = runs + outcome.runs, calls + outcome.calls, crashes + outcome.crashes
        if outcome.broken:
            broken += 1
            print(outcome.report(), flush=True)
    seconds = time.monotonic() - began
    print(f"{count} seeds, {runs} runs, {calls} outside calls, {crashes} crashes in {seconds:.1f} s")
    print(f"{broken} seed(s) broken")
    return 1 if broken else 0


sys.exit(main())
