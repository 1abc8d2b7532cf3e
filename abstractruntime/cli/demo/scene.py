"""The demo's processes: the fleet, the outside service and the bank."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType

from workers.embedded import EmbeddedFleet, EmbeddedFleetError
from workers.embedded.child import ChildProcess
from workers.roles import Command

__all__ = ["Scene"]

APP = "expenses.flows:app"
# Short, so that the crash is mended while one looks; a real deployment has no reason to hurry so.
_TIMING = {"ABSTRACTRUNTIME_REDELIVERY_GRACE": "3", "ABSTRACTRUNTIME_SWEEP_INTERVAL": "1"}
_SERVICE_TIMEOUT_S = 15.0


class Scene:
    """Everything that runs besides the demo itself; ends with its context."""

    def __init__(self, folder: Path, *, on_line: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._on_line = on_line
        self._service: ChildProcess | None = None
        self._bank: ChildProcess | None = None
        self._service_url = ""
        self.fleet = EmbeddedFleet(APP, folder / ".abstractruntime")

    def __enter__(self) -> Scene:
        try:
            self._start_service()
            self.fleet = EmbeddedFleet(
                APP,
                self._folder / ".abstractruntime",
                working_directory=self._folder,
                tick_workers=2,
                die_with_parent=True,
                environment={**_TIMING, "EXPENSES_URL": self._service_url},
                on_line=self._on_line,
            )
            self.fleet.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.fleet.stop()
        for child in (self._bank, self._service):
            if child is not None:
                child.kill_all()
                child.wait(5.0)
                child.close()

    def _start_service(self) -> None:
        said: Queue[str] = Queue()
        self._service = ChildProcess(
            Command("expenses.service"), cwd=self._folder, env=dict(os.environ), on_line=said.put
        )
        try:
            self._service_url = said.get(timeout=_SERVICE_TIMEOUT_S)
        except Empty:
            raise EmbeddedFleetError("The demo's HTTP service does not start") from None
        if not self._service_url.startswith("http://"):
            raise EmbeddedFleetError(f"The demo's HTTP service says: {self._service_url}")

    def start_bank(self, claim_ids: Sequence[str]) -> int:
        """Let the bank confirm these payments, from a process of its own; its pid."""
        self._bank = ChildProcess(
            Command("expenses.bank", tuple(claim_ids)),
            cwd=self._folder,
            env={**os.environ, "REDIS_URL": self.fleet.settings.redis_url},
            on_line=lambda line: self._on_line("bank", line),
        )
        return self._bank.pid

    def calls(self) -> dict[str, int]:
        """How often the service was called, by idempotency key."""
        with urllib.request.urlopen(self._service_url + "/calls", timeout=10) as answer:
            counts: dict[str, int] = json.load(answer)
            return counts

    def import_path(self) -> None:
        """Let this process import the App from the demo's folder, as the workers do."""
        if str(self._folder) not in sys.path:
            sys.path.insert(0, str(self._folder))
