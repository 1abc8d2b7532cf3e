"""Runs whose status was given as text (`spec/02 §3.1`): every store takes the same ones."""

from __future__ import annotations

from dataclasses import replace

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState, RunStatus

__all__ = ["with_status_member"]


def with_status_member(run: RunState) -> RunState:
    """A copy of the run whose status is the `RunStatus` of this text; the run itself stays as it is.

    For a save, when the status is no member: ``if run.status.__class__ is not RunStatus``.

    Raises:
        InvalidInputError: it is not the text of any status.
    """
    try:
        return replace(run, status=RunStatus(run.status))
    except ValueError:
        texts = ", ".join(repr(status.value) for status in RunStatus)
        raise InvalidInputError(
            f"RunState.status of run '{run.run_id}' must be a RunStatus or one of {texts}, not {run.status!r}"
        ) from None
