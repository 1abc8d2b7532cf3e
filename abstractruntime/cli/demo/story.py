"""What happens in the demo, in order."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from abstractruntime.app import load_app
from abstractruntime.core.errors import ConfigurationError
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.health import commit_count, health
from workers.client import Client

from .approver import Approver
from .audit import Audit, audit
from .claims import Claim, Fate, copy_example, load_claims
from .scene import APP, Scene
from .view import Progress, View, make_view

__all__ = ["play"]

_LOOK_S = 0.1
_LOOKS_PER_PICTURE = 3
_SPEED_OVER = 8  # pictures
_COMMITS_PER_CLAIM = 15  # about, with its receipt: tells when half of the work is done
_TERMINAL = (RunStatus.COMPLETED.value, RunStatus.FAILED.value, RunStatus.CANCELLED.value)


def play(folder: Path, *, claims: int, timeout_s: float, kept: bool) -> bool:
    """Tell the whole story in ``folder``; whether all held."""
    if (folder / ".abstractruntime" / "runs.db").exists():
        raise ConfigurationError(
            f"{folder} holds the runs of an earlier demo: choose another folder for --keep"
        )
    example = copy_example(folder)
    script = load_claims(example, claims)
    with make_view() as view:
        view.say("starting Valkey, 2 tick workers, an effects worker, beat, a resumer and an HTTP service")
        with Scene(folder, on_line=lambda name, line: _overheard(view, name, line)) as scene:
            scene.import_path()
            with Client(settings=scene.fleet.settings) as client:
                story = _Story(scene, client, view, script)
                story.run(timeout_s)
                found = audit(client, script, story.fates, scene.calls())
    _report(view, found, story)
    if kept:
        view.say(f"kept: cd {folder} && abstractruntime runs list")
    return not found.violations


def _overheard(view: View, name: str, line: str) -> None:
    if not line.startswith("worker: "):
        view.say(f"[{name}] {line}", style="yellow" if name == "fleet" else "dim")


class _Story:
    """The part between start and audit."""

    def __init__(self, scene: Scene, client: Client, view: View, script: Sequence[Claim]) -> None:
        self._scene = scene
        self._client = client
        self._view = view
        self._script = script
        self.fates = _fates(script)
        self.began = time.monotonic()
        self.took_s = 0.0
        self.commits = 0
        self.killed_pid: int | None = None
        self._speeds: deque[tuple[float, int]] = deque(maxlen=_SPEED_OVER)

    def run(self, timeout_s: float) -> None:
        """Until all runs have ended, or ``timeout_s`` seconds have passed."""
        self.began = time.monotonic()
        with Approver(self._client) as approver:
            self._start_claims()
            self._start_bank()
            self._watch(timeout_s, approver)
        self.took_s = time.monotonic() - self.began

    def _start_claims(self) -> None:
        for claim in self._script:
            self._client.start("claim", {"claim": claim.row}, run_id=claim.run_id)
        took = time.monotonic() - self.began
        self._view.say(f"started {len(self._script)} claims in {took:.1f} s, one durable run each")

    def _start_bank(self) -> None:
        to_pay = [c.claim_id for c in self._script if self.fates[c.run_id] in (Fate.PAID, Fate.APPROVED)]
        if not to_pay:
            return
        random.Random(7).shuffle(to_pay)
        pid = self._scene.start_bank(to_pay)
        self._view.say(
            f"the bank (pid {pid}) confirms {len(to_pay)} payments with PUBLISH, "
            "many before their run waits for it"
        )

    def _watch(self, timeout_s: float, approver: Approver) -> None:
        for look in count():
            self._kill_half_way()
            time.sleep(_LOOK_S)
            if look % _LOOKS_PER_PICTURE:
                continue
            progress = self._look()
            self._view.show(progress)
            if progress.claims_ended >= progress.claims:
                self._view.say(f"all claims have ended; the approver answered {approver.answered} questions")
                return
            if approver.failure is not None:
                raise approver.failure
            if self._scene.fleet.failure is not None:
                self._view.say(self._scene.fleet.failure, style="red")
                return
            if time.monotonic() - self.began > timeout_s:
                self._view.say(f"not done after {timeout_s:g} s", style="red")
                return

    def _kill_half_way(self) -> None:
        self.commits = commit_count(self._client.store.database)
        if self.killed_pid is None and self.commits * 2 >= len(self._script) * _COMMITS_PER_CLAIM:
            self.killed_pid = self._scene.fleet.kill_worker("ticks-1")
            self._view.say(f"half way: kill -9 {self.killed_pid} (tick worker 'ticks-1')", style="bold red")

    def _look(self) -> Progress:
        found = health(self._client.store.database, late_s=60.0)
        now = time.monotonic()
        self._speeds.append((now, self.commits))
        (then, before), span = self._speeds[0], now - self._speeds[0][0]
        ended = self._ended()
        return Progress(
            claims=len(self._script),
            claims_ended=ended["claim"],
            receipts=sum(fate in (Fate.PAID, Fate.APPROVED) for fate in self.fates.values()),
            receipts_ended=ended["receipt"],
            by_status=found.by_status,
            by_wait=found.by_wait,
            commits=self.commits,
            commits_per_s=(self.commits - before) / span if now > then else 0.0,
            elapsed_s=now - self.began,
        )

    def _ended(self) -> Counter[str]:
        """Ended runs by workflow."""
        everything = len(self._script) * 2
        ended: Counter[str] = Counter()
        for status in _TERMINAL:
            ended.update(run.workflow_id for run in self._client.list(status=status, limit=everything))
        return ended


def _fates(script: Sequence[Claim]) -> Mapping[str, Fate]:
    load_app(APP)  # the folder is on the import path now
    from importlib import import_module

    flows = import_module(APP.partition(":")[0])
    return {claim.run_id: claim.fate(flows.RATES, flows.APPROVAL_LIMIT_EUR) for claim in script}


def _report(view: View, found: Audit, story: _Story) -> None:
    fates = Counter(fate.value for fate in story.fates.values())
    view.say("")
    view.say(f"claims        {len(story.fates)}: " + ", ".join(f"{n} {fate}" for fate, n in fates.items()))
    view.say(f"runs          {found.runs}, {found.failed} of them failed, each bad row with its reason")
    view.say(f"ledgers       {found.records} records read back, without gaps")
    view.say(
        f"steps         {found.steps} effect steps and ends, {found.commits} committed: {_ratio(found)} each"
    )
    view.say(f"outside       {found.calls} calls, {found.keys} idempotency keys, {found.repeated} seen twice")
    view.say(f"crash         {_crash(found, story)}")
    rate = story.commits / story.took_s if story.took_s else 0.0
    view.say(f"time          {story.took_s:.1f} s, {story.commits} commits, {rate:.0f}/s")
    view.say("")
    if not found.violations:
        view.say("All held.", style="bold green")
        return
    view.say(f"{len(found.violations)} thing(s) did not hold:", style="bold red")
    for violation in found.violations[:20]:
        view.say(f"  - {violation}", style="red")


def _crash(found: Audit, story: _Story) -> str:
    if story.killed_pid is None:
        return "none: it ended before half way"
    again = f"; {found.redone} call(s) begun again" if found.redone else ""
    return f"kill -9 of pid {story.killed_pid} half way; what it held was taken over{again}"


def _ratio(found: Audit) -> str:
    return f"{found.commits / found.steps:.3f}" if found.steps else "0"
