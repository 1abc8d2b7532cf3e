"""Who may reach into another run (`spec/01 §19`, row 17)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from abstractruntime.core.access import AccessPolicy, OpenAccess, SessionAccess, StrictSessionAccess
from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.errors import AccessDeniedError
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunState, RunStatus

from .flows import asks, done, flow
from .kernel import Kernel

LOOKS = flow(
    "looks",
    a=asks(EffectType.VARS_QUERY, lambda run: {"path": "x", "target_run_id": run.vars["target"]}),
    done=done,
)
SECRET = flow("secret", a=asks(EffectType.ASK_USER, {"prompt": "?"}))


def look(kernel: Kernel, target: str, **of: Any) -> dict[str, Any]:
    result = kernel.go(LOOKS, {"target": target}, **of).vars["out"]
    entry: dict[str, Any] = result["results"][0]
    return entry


@pytest.mark.weakness("spec/01 §19.17")
@pytest.mark.parametrize(
    ("of_reader", "of_target", "may"),
    [("s", "s", True), (None, None, True), ("s", "t", False), ("s", None, False), (None, "t", False)],
)
def test_runs_of_another_session_are_not_shown(
    kernel: Kernel, of_reader: str | None, of_target: str | None, may: bool
) -> None:
    target = kernel.go(SECRET, {"x": "secret"}, session_id=of_target).run_id
    entry = look(kernel, target, session_id=of_reader)
    assert entry["success"] is may
    if may:
        assert json.loads(entry["output"])["value"] == "secret"
    else:
        assert entry["output"] is None
        assert target in entry["error"]
        assert "Hooks(access=...)" in entry["error"]


def test_runs_of_one_tree_see_each_other(kernel: Kernel) -> None:
    root = kernel.go(SECRET, {"x": "root"}, session_id="s").run_id
    sibling = kernel.go(SECRET, {"x": "sibling"}, session_id="t", parent_run_id=root).run_id
    for target in (root, sibling):
        assert look(kernel, target, session_id="u", parent_run_id=root)["success"] is True


def test_what_all_runs_share_is_open(kernel: Kernel) -> None:
    shared = kernel.go(flow("__global_memory__", done=done), {"x": 1}).run_id
    assert look(kernel, shared, session_id="s")["success"] is True


def test_a_tree_whose_root_is_gone_is_still_a_tree() -> None:
    def of(run_id: str, parent: str | None) -> RunState:
        return RunState(run_id, "w", RunStatus.RUNNING, "a", session_id=run_id, parent_run_id=parent)

    access = SessionAccess()
    assert access.may_read(of("a", "gone"), of("b", "gone"), lambda run_id: None)
    assert not access.may_read(of("a", "gone"), of("b", "other"), lambda run_id: None)
    looping = of("a", "a")
    assert access.may_read(looping, of("b", "a"), {"a": looping}.get)


def test_a_host_may_open_everything(kernel: Kernel) -> None:
    target = kernel.go(SECRET, {"x": 1}, session_id="t").run_id
    kernel.use(hooks=Hooks(access=OpenAccess()))
    assert look(kernel, target, session_id="s")["success"] is True


@pytest.mark.weakness("spec/01 §19.17")
def test_strict_access_keeps_events_in_their_session(kernel: Kernel) -> None:
    listens = flow("listens", a=asks(EffectType.WAIT_EVENT, {"name": "e", "scope": "global"}), done=done)
    emits = flow("emits", a=asks(EffectType.EMIT_EVENT, {"name": "e", "scope": "global"}), done=done)
    inside = kernel.go(listens, session_id="s").run_id
    outside = kernel.go(listens, session_id="t").run_id
    kernel.use(hooks=Hooks(access=StrictSessionAccess()))
    assert kernel.go(emits, session_id="s").vars["out"]["delivered_to"] == [inside]
    assert kernel.state(outside).status is RunStatus.WAITING


@pytest.mark.weakness("spec/01 §19.17")
def test_strict_access_resumes_only_with_the_key(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?", "wait_key": "k"}), done=done)
    run_id = kernel.go(workflow).run_id
    kernel.use(hooks=Hooks(access=StrictSessionAccess()))
    with pytest.raises(AccessDeniedError, match="may not be resumed with wait_key None"):
        kernel.resume(workflow, run_id, 1)
    assert kernel.state(run_id).status is RunStatus.WAITING
    assert kernel.resume(workflow, run_id, 1, wait_key="k").output == {"out": 1}


@pytest.mark.weakness("spec/01 §19.17")
def test_output_is_bounded(kernel: Kernel) -> None:
    kernel.use(config=RuntimeConfig(max_vars_query_chars=200))
    workflow = flow(a=asks(EffectType.VARS_QUERY, {"path": "/"}), done=done)
    (entry,) = kernel.go(workflow, {"x": "y" * 200}).vars["out"]["results"]
    assert (entry["success"], entry["output"]) == (False, None)
    assert "more than 200 (RuntimeConfig.max_vars_query_chars)" in entry["error"]


def test_policies_have_the_shape() -> None:
    policies: list[AccessPolicy] = [OpenAccess(), SessionAccess(), StrictSessionAccess()]
    assert all(hasattr(policy, "may_resume") for policy in policies)
