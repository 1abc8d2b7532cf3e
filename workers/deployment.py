"""A process's parts of the fleet, put together from settings and App."""

from __future__ import annotations

from dataclasses import dataclass

from abstractruntime.app import App
from abstractruntime.storage.checkpoints import CheckpointStore

from .commits import Commits
from .effects import EffectRunner
from .engine import Engine
from .held_steps import StepBudget
from .hints import Dispatcher
from .placement import Timing
from .settings import Settings

__all__ = ["Deployment"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """Store, dispatcher and engine of one process.

    Attributes:
        settings, app: what it was made from.
        store: where runs live.
        dispatcher: how hints leave the process.
        commits: writes transitions.
        engine: takes steps.
        timing: durations.
    """

    settings: Settings
    app: App
    store: CheckpointStore
    dispatcher: Dispatcher
    commits: Commits
    engine: Engine
    timing: Timing

    @classmethod
    def build(
        cls, settings: Settings, app: App, store: CheckpointStore, dispatcher: Dispatcher
    ) -> Deployment:
        """Wire the parts; opens nothing by itself."""
        timing = Timing.of(settings)
        commits = Commits(store, dispatcher, timing, event_ttl_s=settings.event_ttl)
        effects = EffectRunner(app, store, commits, max_crashes=settings.max_crashes)
        budget = StepBudget(settings.tick_max_steps, settings.tick_budget_ms)
        engine = Engine(app, store, commits, effects, budget=budget)
        return cls(settings, app, store, dispatcher, commits, engine, timing)
