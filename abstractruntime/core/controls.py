"""The controlling half of `Runtime`: what people do to runs of this process (`spec/01 §9.4`, §9.5, §9.9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import control, transition
from .cascade import for_descendants
from .environment import Environment
from .hooks import Hooks
from .models import RunState
from .persistence import Persistence

__all__ = ["Controls"]

Change = Callable[[RunState], "transition.Transition | None"]


class Controls:
    """Commands to a run, each one write, applied between two steps."""

    _stores: Persistence
    _run_store: Any
    environment: Environment
    hooks: Hooks

    def cancel_run(self, run_id: str, *, reason: str | None = None, cascade: bool = False) -> RunState:
        """End the run CANCELLED; a terminal run stays as it is. Children are not touched (`spec/01 §9.4`)
        unless ``cascade`` is set; then all below are cancelled too, also below a run that had ended."""
        return self._control(
            run_id, cascade, lambda run: control.cancelled(run, self.environment, reason=reason)
        )

    def pause_run(self, run_id: str, *, reason: str | None = None, cascade: bool = False) -> RunState:
        """Stop the run until `resume_run`; a run that asks a person keeps asking (`spec/01 §9.5`).
        ``cascade``: and all runs below it. The ledger shows it with ``Hooks.record_transitions``."""
        recorded = self.hooks.record_transitions
        return self._control(
            run_id,
            cascade,
            lambda run: control.paused(run, self.environment, reason=reason, recorded=recorded),
        )

    def resume_run(self, run_id: str, *, cascade: bool = False) -> RunState:
        """Undo `pause_run`; executes nothing (`spec/01 §9.5`). ``cascade``: and of all runs below it. The
        ledger shows it with ``Hooks.record_transitions``."""
        recorded = self.hooks.record_transitions
        return self._control(
            run_id, cascade, lambda run: control.unpaused(run, self.environment, recorded=recorded)
        )

    def _control(self, run_id: str, cascade: bool, change: Change) -> RunState:
        run = self._stores.update(run_id, change)
        if cascade:
            for_descendants(self._run_store, run_id, lambda child: self._stores.update(child, change))
        return run

    def fail_run(self, run_id: str, error: str) -> RunState:
        """End the run FAILED because whoever drove it gave up; a terminal run stays as it is."""
        return self._stores.update(
            run_id, lambda run: None if run.is_terminal else transition.failed(run, error, self.environment)
        )

    def repair_ledger(self, run_id: str) -> int:
        """Append the completion record and status event that a terminal run lacks because its process died.

        For any run at any time: the newest are looked at when a scheduler starts, and each one that `tick` or
        `resume` finds ended (over stores that write run and ledger separately: memory, files). On a store
        with transactions there is never anything to do. Running it twice changes nothing.

        Returns:
            the number of records appended (0 to 2).
        """
        return self._stores.repair(run_id, self.environment)

    def update_limits(self, run_id: str, updates: dict[str, Any]) -> None:
        """Set known keys of ``_limits``; others are ignored, values are not checked (`spec/01 §9.9`)."""
        recorded = self.hooks.record_transitions
        self._stores.update(
            run_id, lambda run: control.limits_updated(run, updates, self.environment, recorded=recorded)
        )
