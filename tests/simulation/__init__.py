"""Seeded simulation of a fleet (`DESIGN §7.1`): virtual workers, broker, clients, time on the real engine.

Everything that happens in a seed is decided by one random generator, so a seed that breaks an invariant
breaks it again: ``python -m tests.simulation --seed N --trace``.
"""
