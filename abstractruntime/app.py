"""What a deployment runs, declared once: workflows, effect handlers, policies, schedules.

Workers, beat, the client and the command line all take the same object, as ``--app module:attribute`` or
``ABSTRACTRUNTIME_APP``::

    from abstractruntime import App, Cron, WorkflowSpec

    app = App(workflows=[claims], schedules=[Cron("nightly", "0 2 * * *", workflow_id="claims")])

    @app.effect(EffectType.TOOL_CALLS)
    def call_tools(run, effect): ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.config import RuntimeConfig
from .core.errors import AppError
from .core.handler_parts import GROUNDING_CHOICES, Grounding
from .core.models import EffectType, RunState
from .core.outcome import BoundHandler, EffectHandler, bind_handler
from .core.policy import DefaultEffectPolicy, EffectPolicy
from .core.spec import WorkflowSpec
from .limits import KeyValue, Limit, Rate, StartLimit
from .schedule import Cron, Every, Schedule

if TYPE_CHECKING:
    from .core.hooks import EvidenceRecorder
    from .storage.artifact_base import ArtifactStore

__all__ = ["App", "Cron", "EffectBinding", "Every", "Limit", "NodeRetry", "Rate", "load_app"]


@dataclass(frozen=True, slots=True)
class EffectBinding:
    """How a fleet carries out one effect type.

    Attributes:
        handler: ``(run, effect)`` or ``(run, effect, default_next_node)`` -> ``EffectOutcome``.
        quick: run it inside the tick instead of on the effects queue. Only for calls of some
            milliseconds: it holds up the ticks behind it.
        lease_s: seconds without a heartbeat after which another worker takes the effect over;
            ``None`` = the deployment's setting.
        limits: how many may be carried out at once, or begin per time; all of them must agree.
    """

    handler: BoundHandler
    quick: bool = False
    lease_s: float | None = None
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeRetry:
    """What a fleet does when a node's own code raises: try again, then park the run as FAILED.

    Attributes:
        max_attempts: total tries of the step, at least 1.
        backoff_s: seconds before the second try; doubled for each further one.
        backoff_max_s: longest gap in seconds.
    """

    max_attempts: int = 3
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0

    def delay(self, attempt: int) -> float:
        """Seconds between the failed ``attempt`` (1-based) and the next."""
        return min(self.backoff_s * 2.0 ** (attempt - 1), self.backoff_max_s)


@dataclass(slots=True)
class App:
    """One deployment's workflows and how they are run.

    Args:
        name: shown in logs and by the doctor.
        workflows: the workflow graphs this deployment knows.
        effect_handlers: by effect type, for effects with outside contact (LLM_CALL, TOOL_CALLS, ...);
            a handler for a built-in type replaces it. Use `effect` to declare one quick.
        policy: attempts, backoff and idempotency keys of effects; default: one attempt.
        node_retry: what happens when a node raises.
        evidence: ``(artifact_store)`` -> the recorder of what tools found, or ``None`` to keep nothing;
            default: the package's own (`spec/03 §15`). Clients that resume runs with tool results must know
            the App.
        config: limits and defaults of new runs.
        schedules: cron and interval entries.
        artifacts: where large payloads live, for handlers (``current_effect().artifacts``) and clients
            (``client.artifacts``): a store all machines reach, or a function that opens one, called once per
            process at first use. Default: the fleet's own database.
        grounding: time and country in front of the user's turn of LLM calls: ``auto`` where the handler
            brings that along and where AbstractCore is installed, ``on``, ``off``.

    Raises:
        AppError: two workflows share an id, a schedule names an unknown workflow, two schedules share one, or
            ``grounding`` is none of the three.
    """

    name: str = "app"
    workflows: Iterable[WorkflowSpec] = ()
    effect_handlers: Mapping[EffectType, EffectHandler] = field(default_factory=dict)
    policy: EffectPolicy = field(default_factory=DefaultEffectPolicy)
    node_retry: NodeRetry = field(default_factory=NodeRetry)
    evidence: Callable[[ArtifactStore], EvidenceRecorder | None] | None = field(default=None, kw_only=True)
    config: RuntimeConfig = field(default_factory=RuntimeConfig)
    schedules: Iterable[Schedule] = ()
    artifacts: ArtifactStore | Callable[[], ArtifactStore] | None = None
    grounding: Grounding = "auto"
    _workflows: dict[str, WorkflowSpec] = field(init=False, repr=False)
    _bindings: dict[EffectType, EffectBinding] = field(init=False, repr=False)
    _start_limits: dict[str, tuple[StartLimit, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._workflows = {}
        for workflow in self.workflows:
            self.register(workflow)
        self._bindings = {
            EffectType(kind): EffectBinding(bind_handler(handler))
            for kind, handler in self.effect_handlers.items()
        }
        self.schedules = tuple(self.schedules)
        self._check_schedules()
        if self.grounding not in GROUNDING_CHOICES:
            raise AppError(f"App '{self.name}': grounding is {self.grounding!r}; use 'auto', 'on' or 'off'")

    def _check_schedules(self) -> None:
        seen: set[str] = set()
        for schedule in self.schedules:
            if schedule.schedule_id in seen:
                raise AppError(f"App '{self.name}': two schedules are called '{schedule.schedule_id}'")
            seen.add(schedule.schedule_id)
            if schedule.workflow_id not in self._workflows:
                known = ", ".join(sorted(self._workflows)) or "none"
                raise AppError(
                    f"App '{self.name}': schedule '{schedule.schedule_id}' starts workflow "
                    f"'{schedule.workflow_id}', which is not declared (declared: {known})"
                )

    def register(self, workflow: WorkflowSpec) -> WorkflowSpec:
        """Add a workflow.

        Raises:
            AppError: another workflow has its id, or its entry node does not exist.
        """
        if workflow.workflow_id in self._workflows:
            raise AppError(f"App '{self.name}': workflow '{workflow.workflow_id}' is declared twice")
        if workflow.entry_node not in workflow.nodes:
            raise AppError(
                f"App '{self.name}': workflow '{workflow.workflow_id}' has no node '{workflow.entry_node}', "
                "which is its entry node"
            )
        self._workflows[workflow.workflow_id] = workflow
        return workflow

    def effect(
        self,
        kind: EffectType,
        *,
        quick: bool = False,
        lease_s: float | None = None,
        limits: Iterable[Limit] = (),
    ) -> Callable[[EffectHandler], EffectHandler]:
        """Declare the decorated function as the handler of an effect type (see `EffectBinding`).

        Raises:
            AppError: ``limits`` holds something else than limits, or two of one name.
        """
        checked = self._checked_limits(kind, tuple(limits))

        def declare(handler: EffectHandler) -> EffectHandler:
            self._bindings[EffectType(kind)] = EffectBinding(bind_handler(handler), quick, lease_s, checked)
            return handler

        return declare

    def _checked_limits(self, kind: EffectType, limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        where = f"App '{self.name}': limits of effect '{EffectType(kind).value}'"
        for limit in limits:
            if not isinstance(limit, Limit):
                raise AppError(f"{where} must be Limit objects, got {type(limit).__name__}")
        if len({limit.name for limit in limits}) < len(limits):
            raise AppError(f"{where}: two have the same name")
        return limits

    def limit_starts(
        self,
        workflow_id: str,
        *,
        key: Callable[[RunState], KeyValue] | None = None,
        concurrency: int | None = None,
        rate: Rate | None = None,
        counts_waiting: bool = True,
    ) -> None:
        """Let at most ``concurrency`` runs of a workflow be active, and ``rate`` of them begin, for each key.

        A run beyond that is stored at once, waits at its entry node (``hold_reason`` says so) and begins in
        turn when another ends. It concerns runs that are started from outside; children belong to the run
        that starts them, and waiting for their own tree could last for ever.

        Args:
            key: ``(run)`` -> text or an integer; ``None`` from it = this run is not limited. Without a
                function all runs of the workflow share one key.
            counts_waiting: whether a run that waits (for an event, a person, a timer, a child) stays active.
                If not, it gives its slot up and takes it back without queueing, so for a while more runs
                than ``concurrency`` may be under way.

        Raises:
            AppError: the workflow is not declared, is limited already, or a value is wrong.
        """
        limit = StartLimit(workflow_id, key, concurrency, rate, counts_waiting)
        if workflow_id not in self._workflows:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise AppError(
                f"App '{self.name}': limit_starts names workflow '{workflow_id}', which is not declared "
                f"(declared: {known})"
            )
        if workflow_id in self._start_limits:
            raise AppError(f"App '{self.name}': starts of workflow '{workflow_id}' are limited twice")
        self._start_limits[workflow_id] = (limit,)

    def get(self, workflow_id: str) -> WorkflowSpec | None:
        """The workflow, or ``None``: an App serves as a workflow registry too."""
        return self._workflows.get(workflow_id)

    def workflow_ids(self) -> list[str]:
        """Ids of all declared workflows, in order of declaration."""
        return list(self._workflows)

    def start_limits(self, workflow_id: str) -> Sequence[StartLimit]:
        """What limits the starts of a workflow; empty for most."""
        return self._start_limits.get(workflow_id, ())

    def binding(self, kind: EffectType) -> EffectBinding | None:
        """How this deployment carries out an effect type, or ``None`` when it leaves it to the kernel."""
        return self._bindings.get(kind)


def load_app(path: str | None) -> App:
    """Import an App from ``module:attribute`` (the current folder is searched first, as by celery).

    Raises:
        AppError: no path, a malformed one, a module that does not import, or not an App.
    """
    if not path:
        raise AppError(
            "No app given: pass --app module:attribute or set ABSTRACTRUNTIME_APP, e.g. myproject.flows:app"
        )
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise AppError(f"App '{path}' is not of the form module:attribute, e.g. myproject.flows:app")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return _attribute(path, module_name, attribute)


def _attribute(path: str, module_name: str, attribute: str) -> App:
    try:
        value: Any = import_module(module_name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as exc:
        raise AppError(f"App '{path}' can't be imported: {type(exc).__name__}: {exc}") from exc
    if not isinstance(value, App):
        raise AppError(f"App '{path}' is a {type(value).__name__}, not an abstractruntime.App")
    return value
