"""Speed of the fleet beside its floor, in one run: ``python -m benchmarks``."""
