"""Who acts: stable identifiers for agents, people and services (`spec/01 §15`)."""

from .fingerprint import ActorFingerprint

__all__ = ["ActorFingerprint"]
