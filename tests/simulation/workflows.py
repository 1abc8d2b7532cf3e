"""Random workflows out of everything a run can do.

Every node appends its name to ``vars["path"]``, so the checkpoints themselves tell which steps were taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from random import Random
from typing import Any

from abstractruntime.core.errors import FailRun
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSpec

from .profile import Profile

__all__ = ["Flow", "NodeBroke", "draw_flows"]

PlanMaker = Callable[[RunState, str, "str | None"], StepPlan]


class NodeBroke(Exception):
    """A node's own code raised."""


@dataclass(slots=True)
class Flow:
    """A workflow and the moves it allows."""

    spec: WorkflowSpec
    edges: set[tuple[str, str]] = field(default_factory=set)


def draw_flows(
    rng: Random,
    profile: Profile,
    point: Callable[[str], None],
    die: Callable[[str], None],
    chance: Callable[[str], bool],
) -> dict[str, Flow]:
    """Some workflows; a later one may start earlier ones as children."""
    flows: dict[str, Flow] = {}
    for index in range(rng.choice((2, 3, 4))):
        flow = _draw(f"w{index}", rng, profile, list(flows), point, die, chance)
        flows[flow.spec.workflow_id] = flow
    return flows


def _draw(
    name: str,
    rng: Random,
    profile: Profile,
    children: list[str],
    point: Callable[[str], None],
    die: Callable[[str], None],
    chance: Callable[[str], bool],
) -> Flow:
    length = rng.randint(1, 6)
    flow = Flow(WorkflowSpec(name, "n0", {}))
    for index in range(length):
        node, last = f"n{index}", index == length - 1
        following = None if last else f"n{index + 1}"
        plan = _complete if last and rng.random() < 0.7 else _draw_plan(rng, profile, children)
        back = f"n{rng.randrange(index)}" if index and not last and rng.random() < 0.12 else None
        if following is None and plan is _pure:
            plan = _complete
        for target in (following, back):
            if target is not None:
                flow.edges.add((node, target))
        flow.spec.nodes[node] = _handler(node, following, back, plan, point, die, chance)
    return flow


def _handler(
    node: str,
    following: str | None,
    back: str | None,
    plan: PlanMaker,
    point: Callable[[str], None],
    die: Callable[[str], None],
    chance: Callable[[str], bool],
) -> Callable[[RunState, RunContext], StepPlan]:
    def handler(run: RunState, context: RunContext) -> StepPlan:
        point("node")
        if plan is _poison:
            die(node)
        run.vars["path"].append(node)
        if chance("flaky"):
            raise NodeBroke(f"{node} broke")
        if chance("flaky"):
            run.vars["rubbish"] = {1, 2}  # can't be stored
        if chance("flaky"):
            return StepPlan(node, Effect(EffectType.LLM_CALL, {"rubbish": {1, 2}}), next_node=following)
        if chance("flaky"):
            raise FailRun(f"{node} gives up")
        return plan(run, node, back if back and run.vars["path"].count(node) == 1 else following)

    return handler


# -- what a node may ask for ------------------------------------------------------------------------


def _draw_plan(rng: Random, profile: Profile, children: list[str]) -> PlanMaker:
    focus = profile.focus
    if focus == "events" and rng.random() < 0.8:
        return _event(rng, profile) if rng.random() < 0.8 else _emit(rng, profile)
    if focus == "effects" and rng.random() < 0.7:
        return _outside(rng, profile)
    if children and rng.random() < (0.6 if focus == "children" else 0.15):
        return _child(rng, rng.choice(children))
    if profile.crash and rng.random() < 0.02:
        return _poison
    makers = [_outside] * 3 + [_event] * 3 + [_until, _emit, _user, _small]
    choice = rng.randrange(len(makers) + 2)
    return makers[choice](rng, profile) if choice < len(makers) else _pure


def _effect(kind: EffectType, payload: dict[str, Any], result_key: str | None = "result") -> PlanMaker:
    def plan(run: RunState, node: str, following: str | None) -> StepPlan:
        return StepPlan(node, Effect(kind, dict(payload), result_key), next_node=following)

    return plan


def _complete(run: RunState, node: str, following: str | None) -> StepPlan:
    return StepPlan(node, complete_output={"path": list(run.vars["path"])})


def _pure(run: RunState, node: str, following: str | None) -> StepPlan:
    return StepPlan(node, next_node=following)


def _poison(run: RunState, node: str, following: str | None) -> StepPlan:
    raise AssertionError("a node that kills its worker has no plan")


def _outside(rng: Random, profile: Profile) -> PlanMaker:
    payload: dict[str, Any] = {"nth": rng.randrange(1000)}
    trouble = rng.random()
    if trouble < 0.15:
        payload["fails"] = rng.choice((1, 2, 9))
    elif trouble < 0.25:
        payload["raises"] = rng.choice((1, 9))
    elif trouble < 0.4:
        payload["wait"] = rng.choice(
            ("job:1", f"evt:session:{rng.choice(profile.sessions)}:{rng.choice(profile.names)}")
        )
    elif trouble < 0.44:
        payload["rubbish"] = rng.choice(("result", "vars"))
    elif trouble < 0.46 and profile.crash:
        payload["kills"] = True
    kinds = (EffectType.LLM_CALL, EffectType.TOOL_CALLS, EffectType.MEMORY_NOTE)
    return _effect(rng.choice(kinds), payload)


def _until(rng: Random, profile: Profile) -> PlanMaker:
    seconds = rng.choice((-5, 1, 10, 25, 45, 200))

    def plan(run: RunState, node: str, following: str | None) -> StepPlan:
        # Relative to the run's own beginning, so that a node that runs again asks for the same time.
        until = run.vars["epoch"] + seconds
        return _effect(EffectType.WAIT_UNTIL, {"until": iso(until)})(run, node, following)

    return plan


def _event(rng: Random, profile: Profile) -> PlanMaker:
    scopes = ["session", "session", "session"]
    if profile.focus != "events":
        scopes += ["run", "global", "workflow"]
    scope = rng.choice(scopes)
    payload: dict[str, Any] = {"scope": scope}
    form = rng.random()
    if form < 0.5:
        payload["name"] = rng.choice(profile.names)
    elif form < 0.75:
        payload["names"] = list(profile.names)[:2]
    else:
        payload["name"] = "*"
    if rng.random() < 0.4:
        payload["timeout_s"] = rng.choice((2, 20, 60))
    return _effect(EffectType.WAIT_EVENT, payload)


def _emit(rng: Random, profile: Profile) -> PlanMaker:
    scope = rng.choice(("session", "session", "session", "global", "workflow"))
    name, named = rng.choice(profile.names), rng.random() < 0.3

    def plan(run: RunState, node: str, following: str | None) -> StepPlan:
        payload: dict[str, Any] = {
            "scope": scope,
            "name": name,
            "payload": {"from": run.run_id, "node": node},
        }
        if named:
            payload["event_id"] = f"{run.run_id}:{node}:{len(run.vars['path'])}"
        return _effect(EffectType.EMIT_EVENT, payload)(run, node, following)

    return plan


def _user(rng: Random, profile: Profile) -> PlanMaker:
    payload: dict[str, Any] = {"prompt": "well?"}
    if rng.random() < 0.3:
        payload["timeout_s"] = rng.choice((5, 50))
    return _effect(EffectType.ASK_USER, payload)


def _small(rng: Random, profile: Profile) -> PlanMaker:
    if rng.random() < 0.5:
        return _effect(EffectType.ANSWER_USER, {"message": "hello"})
    return _effect(EffectType.VARS_QUERY, {"path": "path"})


def _child(rng: Random, workflow_id: str) -> PlanMaker:
    payload: dict[str, Any] = {"workflow_id": workflow_id}
    payload.update(rng.choice(({}, {}, {"async": True}, {"async": True, "wait": True})))
    if rng.random() < 0.3:
        payload["wrap_as_tool_result"] = True
    if rng.random() < 0.2:
        payload["include_traces"] = True

    def plan(run: RunState, node: str, following: str | None) -> StepPlan:
        given = {**payload, "vars": {"path": [], "epoch": run.vars["epoch"]}}
        return _effect(EffectType.START_SUBWORKFLOW, given)(run, node, following)

    return plan


def iso(epoch: float) -> str:
    """Epoch seconds as the contract's text."""
    return datetime.fromtimestamp(epoch, timezone.utc).isoformat(timespec="microseconds")
