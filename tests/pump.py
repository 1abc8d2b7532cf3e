"""Carries out what is due in this process, for tests that need no Celery worker."""

from __future__ import annotations

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import RunFilter, Task
from workers.client import Client
from workers.deployment import Deployment

__all__ = ["Pump"]


class Pump:
    """Takes the steps of all runnable runs of a client's deployment."""

    def __init__(self, client: Client) -> None:
        self._deployment = Deployment.build(client.settings, client.app, client.store, client.dispatcher)

    def until_idle(self, *, rounds: int = 1000) -> None:
        """Take steps until nothing is runnable any more."""
        for _ in range(rounds):
            if not self._round():
                return
        raise AssertionError(f"still busy after {rounds} rounds")

    def _round(self) -> int:
        store, engine = self._deployment.store, self._deployment.engine
        taken = 0
        for status in ("running", "waiting"):
            for run in self._runs(status):
                checkpoint = store.load(run)
                if checkpoint is None or checkpoint.wake_at is None:
                    continue
                if checkpoint.due_at is not None and checkpoint.due_at > checkpoint.now:
                    continue
                act = engine.effect if checkpoint.task is Task.EFFECT else engine.tick
                act(run, checkpoint.version)
                taken += 1
        return taken

    def _runs(self, status: str) -> list[str]:
        found = self._deployment.store.find_runs(RunFilter(status=RunStatus(status)), limit=10_000)
        return [run.run_id for run in found]
