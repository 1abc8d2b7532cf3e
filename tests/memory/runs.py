"""Runs with a memory."""

from __future__ import annotations

from typing import Any

from abstractruntime import RunState, RunStatus


def span(artifact_id: str, created_at: str = "2026-01-01T00:00:00+00:00", **fields: Any) -> dict[str, Any]:
    return {"kind": "conversation_span", "artifact_id": artifact_id, "created_at": created_at, **fields}


def message(role: str, content: str, message_id: str | None = None, **metadata: Any) -> dict[str, Any]:
    known = metadata if message_id is None else {"message_id": message_id, **metadata}
    return {"role": role, "content": content, **({"metadata": known} if known else {})}


def summary(artifact_id: str, content: str) -> dict[str, Any]:
    return message("system", content, kind="memory_summary", source_artifact_id=artifact_id)


def remembering(
    *, spans: Any = (), messages: Any = (), output: Any = None, limits: dict[str, Any] | None = None
) -> RunState:
    return RunState(
        run_id="r",
        workflow_id="w",
        status=RunStatus.RUNNING,
        current_node="n",
        vars={
            "context": {"messages": list(messages) if isinstance(messages, tuple) else messages},
            "_runtime": {"memory_spans": list(spans) if isinstance(spans, tuple) else spans},
            "_limits": limits or {},
        },
        output=output,
        created_at="2026-01-01T00:00:00+00:00",
        updated_at="2026-01-01T00:00:00+00:00",
    )
