"""The errors this library raises, one small hierarchy.

Where the contract fixes a built-in type (``KeyError`` for an unknown run, ``ValueError`` for a wrong wait
key, `spec/01 §17`), the class inherits from it, so callers may catch either.
"""

from __future__ import annotations

__all__ = [
    "AccessDeniedError",
    "AppError",
    "ConcurrentUpdateError",
    "ConfigurationError",
    "CorruptCheckpointError",
    "FailRun",
    "InvalidInputError",
    "PayloadTooLargeError",
    "RunConflictError",
    "RuntimeFault",
    "ServiceUnavailableError",
    "UnknownRunError",
    "UnknownWorkflowError",
    "WaitMismatchError",
]


class RuntimeFault(Exception):
    """Base of all errors of abstractruntime: catch this to catch them all."""

    def __str__(self) -> str:
        # KeyError would print the repr of its message; every error here prints the message itself.
        return str(self.args[0]) if self.args else ""


class InvalidInputError(RuntimeFault, ValueError):
    """What the caller passed can't be used; the message says which part and what is accepted."""


class PayloadTooLargeError(InvalidInputError):
    """A payload is over the configured limit."""


class UnknownRunError(RuntimeFault, KeyError):
    """No run with this id in the store (`spec/01 §9.2`)."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Unknown run_id: {run_id}")
        self.run_id = run_id

    def __reduce__(self) -> tuple[type[UnknownRunError], tuple[str]]:
        return (type(self), (self.run_id,))


class UnknownWorkflowError(RuntimeFault, KeyError):
    """No workflow with this id is registered here."""


class WaitMismatchError(RuntimeFault, ValueError):
    """The run is not waiting, or not for this key (`spec/01 §9.3`)."""


class AccessDeniedError(RuntimeFault, ValueError):
    """The host's access policy forbids it (`abstractruntime.core.access`)."""


class RunConflictError(RuntimeFault, ValueError):
    """A run with this id exists already and differs from the one asked for."""


class ConcurrentUpdateError(RuntimeFault):
    """Somebody else changed the run meanwhile and the retries are used up; read it again and retry."""


class CorruptCheckpointError(RuntimeFault):
    """A stored run can't be decoded; the message names it and what is wrong with it."""


class ConfigurationError(RuntimeFault):
    """A setting is missing or wrong; the message names the variable and an example."""


class AppError(ConfigurationError):
    """The App can't be imported or is declared wrongly."""


class FailRun(RuntimeFault):
    """A node raises this to end its run FAILED with this message, without another try."""


class ServiceUnavailableError(RuntimeFault):
    """The database or the broker can't be reached; the message names the address."""
