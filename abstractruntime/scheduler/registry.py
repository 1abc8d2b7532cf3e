"""Which workflows this process can run (`spec/02 §12`)."""

from __future__ import annotations

from threading import Lock

from abstractruntime.core.errors import InvalidInputError, UnknownWorkflowError
from abstractruntime.core.spec import WorkflowSpec

__all__ = ["WorkflowRegistry"]


class WorkflowRegistry:
    """Workflows by id, in the order of registration. Safe to share among threads.

    An empty registry is falsy, because it has a length: compare with ``None``.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._workflows: dict[str, WorkflowSpec] = {}

    def register(self, workflow: WorkflowSpec) -> None:
        """Add a workflow.

        Raises:
            InvalidInputError: (a ``ValueError``) its id is taken.
        """
        with self._lock:
            if workflow.workflow_id in self._workflows:
                raise InvalidInputError(
                    f"Workflow '{workflow.workflow_id}' is already registered. Call unregister() first."
                )
            self._workflows[workflow.workflow_id] = workflow

    def register_if_new(self, workflow: WorkflowSpec) -> WorkflowSpec:
        """Add the workflow unless its id is taken; the one that is registered now."""
        with self._lock:
            return self._workflows.setdefault(workflow.workflow_id, workflow)

    def unregister(self, workflow_id: str) -> None:
        """Remove a workflow.

        Raises:
            UnknownWorkflowError: (a ``KeyError``) it is not registered.
        """
        with self._lock:
            if self._workflows.pop(workflow_id, None) is None:
                raise UnknownWorkflowError(f"Workflow '{workflow_id}' is not registered")

    def get(self, workflow_id: str) -> WorkflowSpec | None:
        """The object that was registered, or ``None``."""
        return self._workflows.get(workflow_id)

    def get_or_raise(self, workflow_id: str) -> WorkflowSpec:
        """The object that was registered.

        Raises:
            UnknownWorkflowError: (a ``KeyError``) there is none.
        """
        workflow = self.get(workflow_id)
        if workflow is None:
            raise UnknownWorkflowError(
                f"Workflow '{workflow_id}' is not registered. Register it before starting the scheduler."
            )
        return workflow

    def list_ids(self) -> list[str]:
        """All ids, in the order of registration."""
        with self._lock:
            return list(self._workflows)

    def __len__(self) -> int:
        return len(self._workflows)

    def __contains__(self, workflow_id: object) -> bool:
        return workflow_id in self._workflows
