"""The same random commands to several worlds; after each one everything that can be seen must be the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.ledger_chain import verify_ledger_chain

from .places import Opening
from .workflows import ORDER
from .worlds import World

MAX_RUNS = 6

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
payloads = json_values | st.just({"text": "long " * 50})


class Difference(AssertionError):
    """Two worlds don't show the same."""


class Stores(RuleBasedStateMachine):
    """Commands as hosts give them. Subclasses say which worlds there are."""

    runs = Bundle("runs")

    def open_places(self, scratch: Path) -> dict[str, Opening]:
        """The stores to compare, by name; the first one is what the others must be like."""
        raise NotImplementedError

    @initialize(target=runs, tick_us=st.sampled_from([1, 0]), node=st.sampled_from(ORDER))
    def open_worlds(self, tick_us: int, node: str) -> str:
        self.scratch = Path(tempfile.mkdtemp())
        self.worlds = [
            World(name, opening, tick_us) for name, opening in self.open_places(self.scratch).items()
        ]
        self.known: list[str] = []
        self.compared: dict[str, int] = {}
        self.started = 0
        return self._start(node, "s", "child", "value")

    def teardown(self) -> None:
        try:
            if hasattr(self, "worlds"):
                self.compare_all()
                for world in self.worlds:
                    self._check_chains(world)
        finally:
            for world in getattr(self, "worlds", ()):
                world.close()
            if hasattr(self, "scratch"):
                shutil.rmtree(self.scratch)

    def _check_chains(self, world: World) -> None:
        for run_id in self.known if world.stores.artifacts is not None else ():
            report = verify_ledger_chain(world.runtime.get_ledger(run_id))
            assert report["ok"], (world.name, run_id, report)

    # --- comparing ------------------------------------------------------------------------------------

    def everywhere(self, command: Callable[[World], Any]) -> Any:
        """Give a command to all worlds; what it returned in the first."""
        done = self._same("what the command returned", lambda world: world.do(command))
        self.compare()
        return done

    def compare(self) -> None:
        """What this command can have changed."""
        self.known = self._same("runs", lambda world: sorted(r.run_id for r in world.stores.runs.list_runs()))
        self._same_parts("listing", lambda world: world.lists())
        for run_id in self.known:
            after = self.compared.get(run_id, 0)
            self._same_parts(f"run {run_id}:", lambda world, run=run_id, n=after: world.glance(run, n))
            self.compared[run_id] = self._same(
                "count", lambda world, run=run_id: world.stores.ledger.count(run)
            )
        self._same("the clock", lambda world: world.clock.moment)
        self._same("the ids made", lambda world: world.ids.made)
        self._same("the calls outside", lambda world: world.outside.calls)

    def compare_all(self) -> None:
        """Everything that can be seen."""
        self.compare()
        for method in ("cancel_run", "pause_run", "resume_run", "get_state", "get_ledger", "get_node_traces"):
            self._same(f"{method} of an unknown run", lambda world, name=method: world.of_unknown(name))
        self._same_parts("listing", lambda world: world.all_lists(self.known))
        for run_id in self.known:
            self._same_parts(f"run {run_id}:", lambda world, run=run_id: world.whole(run))

    def _same(self, what: str, look: Callable[[World], Any]) -> Any:
        first, *others = self.worlds
        expected = look(first)
        for world in others:
            found = look(world)
            if found != expected:
                raise Difference(f"{what}:\n  {first.name}: {expected}\n  {world.name}: {found}")
        return expected

    def _same_parts(self, what: str, look: Callable[[World], dict[str, object]]) -> None:
        first, *others = self.worlds
        expected = look(first)
        for world in others:
            found = look(world)
            for part, value in expected.items():
                if found[part] != value:
                    raise Difference(
                        f"{what} {part}:\n  {first.name}: {value}\n  {world.name}: {found[part]}"
                    )

    def state(self, run_id: str) -> Any:
        return self.worlds[0].runtime.get_state(run_id)

    # --- commands -------------------------------------------------------------------------------------

    @precondition(lambda self: self.started < MAX_RUNS)
    @rule(
        target=runs,
        node=st.sampled_from(ORDER),
        session=st.sampled_from([None, "s", " s "]),
        sync_child=st.sampled_from(["child", "asker", "unknown"]),
        value=json_values,
    )
    def start(self, node: str, session: str | None, sync_child: str, value: Any) -> str:
        return self._start(node, session, sync_child, value)

    def _start(self, node: str, session: str | None, sync_child: str, value: Any) -> str:
        ids: list[str] = []
        self.started += 1

        def command(world: World) -> str:
            run_id = world.runtime.start(
                workflow=world.workflows.mixed_from(node),
                vars={"sync_child": sync_child, "value": value, "_private": {"deep": {"text": "y" * 200}}},
                session_id=session,
                actor_id="ä" if session else None,
            )
            ids.append(run_id)
            return run_id

        self.everywhere(command)
        return ids[0]

    def workflow_of(self, world: World, run_id: str) -> Any:
        return world.workflows.registry[world.runtime.get_state(run_id).workflow_id]

    def any_run(self, data: Any, run_id: str) -> str:
        """The run or one of those that came from it."""
        return str(data.draw(st.sampled_from([run_id, *self.known])))

    @rule(run_id=runs, budget=st.integers(0, 5), data=st.data())
    def tick(self, run_id: str, budget: int, data: Any) -> None:
        self._tick(self.any_run(data, run_id), budget)

    @rule(run_id=runs)
    def live_on(self, run_id: str) -> None:
        """Whatever lets this run go on: most random sequences would stop early without it."""
        self._live_on(run_id, 4)

    @rule(run_id=runs)
    def live_on_a_while(self, run_id: str) -> None:
        self._live_on(run_id, 8)

    @rule(run_id=runs)
    def live_to_the_end(self, run_id: str) -> None:
        self._live_on(run_id, 40)

    def _live_on(self, run_id: str, times: int) -> None:
        for _ in range(times):
            if not self._go_on(run_id):
                return

    def _go_on(self, run_id: str) -> bool:
        """Give the run what it needs next; whether that changed anything."""
        state = self.state(run_id)
        if state.is_terminal:
            return False
        if (state.vars["_runtime"].get("control") or {}).get("paused"):
            self.unpause(run_id=run_id)
        elif state.status is RunStatus.WAITING and not state.waiting.until:
            self._resume(run_id, None, {"text": "go on"}, 3)
        else:
            if state.waiting is not None:
                self.time_passes(minutes=90)
            self._tick(run_id, 3)
        return bool(self.state(run_id).updated_at != state.updated_at)

    def _tick(self, run_id: str, budget: int) -> None:
        self.everywhere(
            lambda world: world.runtime.tick(
                workflow=self.workflow_of(world, run_id), run_id=run_id, max_steps=budget
            )
        )

    @rule(
        run_id=runs,
        key=st.sampled_from(["none", "right", "wrong"]),
        payload=payloads,
        budget=st.integers(0, 3),
        data=st.data(),
    )
    def resume(self, run_id: str, key: str, payload: Any, budget: int, data: Any) -> None:
        chosen = self.any_run(data, run_id)
        if data.draw(st.booleans()):
            self._tick(chosen, 4)  # so that it may wait
        waiting = self.state(chosen).waiting
        right = waiting.wait_key if waiting is not None else "right"
        self._resume(chosen, {"none": None, "right": right, "wrong": "wrong"}[key], payload, budget)

    @rule(run_id=runs, payload=st.sampled_from([{"n": [{1, 2}]}, object(), {1, 2}]))
    def resume_with_what_has_no_json_form(self, run_id: str, payload: Any) -> None:
        """Every store must refuse it, in the same words."""
        self._tick(run_id, 4)  # so that it may wait
        self._resume(run_id, None, payload, 2)

    def _resume(self, run_id: str, wait_key: str | None, payload: Any, budget: int) -> None:
        self.everywhere(
            lambda world: world.runtime.resume(
                workflow=self.workflow_of(world, run_id),
                run_id=run_id,
                wait_key=wait_key,
                payload=payload,
                max_steps=budget,
            )
        )

    @rule(run_id=runs, reason=st.sampled_from([None, " tea "]))
    def pause(self, run_id: str, reason: str | None) -> None:
        self.everywhere(lambda world: world.runtime.pause_run(run_id, reason=reason))

    @rule(run_id=runs)
    def unpause(self, run_id: str) -> None:
        self.everywhere(lambda world: world.runtime.resume_run(run_id))

    @precondition(lambda self: self.started >= 3)
    @rule(run_id=runs, reason=st.sampled_from([None, "enough"]), data=st.data())
    def cancel(self, run_id: str, reason: str | None, data: Any) -> None:
        chosen = self.any_run(data, run_id)
        self.everywhere(lambda world: world.runtime.cancel_run(chosen, reason=reason))

    @rule(
        run_id=runs | st.just("unknown"),
        limits=st.dictionaries(st.sampled_from(["max_tokens", "other"]), json_values),
    )
    def update_limits_and_repair(self, run_id: str, limits: dict[str, Any]) -> None:
        self.everywhere(lambda world: world.runtime.update_limits(run_id, limits))
        self.everywhere(lambda world: world.runtime.repair_ledger(run_id))

    @precondition(lambda self: len(self.known) < 2 * MAX_RUNS and self.started > 1)
    @rule(
        name=st.sampled_from(["bell", "bell", "gong", ""]),
        scope=st.sampled_from(["session", "global", "Global ", "workflow", "nowhere"]),
        session=st.sampled_from(["s", None]),
        budget=st.integers(0, 2),
    )
    def emit(self, name: str, scope: str, session: str | None, budget: int) -> None:
        event = {"name": name, "scope": scope, "workflow_id": "child", "max_steps": budget, "payload": "ding"}

        def command(world: World) -> Any:
            ring = world.workflows.registry["ring"]
            run_id = world.runtime.start(workflow=ring, vars={"event": event}, session_id=session)
            return world.runtime.tick(workflow=ring, run_id=run_id)

        self.everywhere(command)

    # --- the world around ------------------------------------------------------------------------------

    @rule(minutes=st.sampled_from([1, 30, 90]))
    def time_passes(self, minutes: int) -> None:
        for world in self.worlds:
            world.clock.moment += timedelta(minutes=minutes)
        self._same_parts("listing", lambda world: world.lists())

    @rule(fails=st.integers(0, 4), tools_work=st.booleans(), node_works=st.booleans())
    def the_outside_changes(self, fails: int, tools_work: bool, node_works: bool) -> None:
        for world in self.worlds:
            world.outside.model_fails = fails
            world.outside.tools_work = tools_work
            world.outside.node_works = node_works

    @rule(which=st.sets(st.integers(0, 9)))
    def reopen(self, which: set[int]) -> None:
        """Processes that end and begin again in some of the worlds must not make a difference."""
        for number, world in enumerate(self.worlds):
            if number in which:
                world.reopen()
        self.compare_all()
