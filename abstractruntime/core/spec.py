"""What a workflow is: an id, an entry node and a handler per node (`spec/01 §3`).

A spec lives in memory only. It is never persisted: a process that resumes a run must be able to build the
same spec again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from .errors import RuntimeFault
from .models import RunState, StepPlan

__all__ = ["NodeHandler", "RunContext", "UnknownNodeError", "WorkflowSpec"]


@runtime_checkable
class RunContext(Protocol):
    """What a node handler gets from its host beside the run."""

    def now_iso(self) -> str:
        """The current UTC time as ISO 8601 text."""
        ...


NodeHandler: TypeAlias = Callable[[RunState, RunContext], StepPlan]
"""Called as ``handler(run, context)``. It may change ``run.vars``, and must bear being run again: a step that
was not committed starts over from the beginning of its handler."""


class UnknownNodeError(RuntimeFault, KeyError):
    """A run points at a node that its workflow does not have (`spec/01 §3.1`)."""

    def __init__(self, node_id: str, workflow_id: str) -> None:
        super().__init__(f"Unknown node_id '{node_id}' in workflow '{workflow_id}'")
        self.node_id = node_id
        self.workflow_id = workflow_id

    def __reduce__(self) -> tuple[type[UnknownNodeError], tuple[str, str]]:
        # The default rebuilds from ``args``, which holds the finished message, not the two ids.
        return type(self), (self.node_id, self.workflow_id)


@dataclass(frozen=True)
class WorkflowSpec:
    """A durable workflow: handlers by node id.

    Attributes:
        workflow_id: the name under which runs find it again.
        entry_node: where new runs begin; not checked to exist until a run gets there.
        nodes: the handler of each node.
    """

    workflow_id: str
    entry_node: str
    nodes: dict[str, NodeHandler]

    def get_node(self, node_id: str) -> NodeHandler:
        """The handler of ``node_id``.

        Raises:
            UnknownNodeError: (a ``KeyError``) the workflow has no such node.
        """
        try:
            return self.nodes[node_id]
        except KeyError:
            raise UnknownNodeError(node_id, self.workflow_id) from None

    def is_terminal(self, node_id: str) -> bool:
        """Always ``False``: the plan a node returns decides whether the run ends, not the node."""
        return False
