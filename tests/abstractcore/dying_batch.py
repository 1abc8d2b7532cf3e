"""A process that runs a batch of three tool calls and dies in the second, if it is told to.

``python -m tests.abstractcore.dying_batch FOLDER RUN_ID|- die|live``: prints the run id and its output.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.integrations.abstractcore._tool_calls.handler import make_tool_calls_handler
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor
from abstractruntime.storage.artifacts import FileArtifactStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore


def ask(run: RunState, context: Any) -> StepPlan:
    calls = [{"name": name, "arguments": {"number": n}} for n, name in enumerate(("note", "fragile", "note"))]
    return StepPlan("ask", Effect(EffectType.TOOL_CALLS, {"tool_calls": calls}, "out"), "done")


def done(run: RunState, context: Any) -> StepPlan:
    return StepPlan("done", complete_output={"out": run.vars["out"]})


WORKFLOW = WorkflowSpec("batch", "ask", {"ask": ask, "done": done})


def main(folder: Path, run_id: str, dies: bool) -> None:
    def note(number: int) -> int:
        with (folder / "calls.txt").open("a") as file:
            file.write(f"{number}\n")
        return number

    def fragile(number: int) -> int:
        if dies:
            os._exit(9)
        return note(number)

    database = SqliteDatabase(folder / "runs.sqlite3")
    store = FileArtifactStore(folder / "artifacts")
    tools = MappingToolExecutor({"note": note, "fragile": fragile})
    runtime = Runtime(
        run_store=SqliteRunStore(database),
        ledger_store=SqliteLedgerStore(database),
        artifact_store=store,
        effect_handlers={EffectType.TOOL_CALLS: make_tool_calls_handler(tools=tools, artifact_store=store)},
    )
    if run_id == "-":
        run_id = runtime.start(workflow=WORKFLOW)
        print(run_id, flush=True)
    state = runtime.tick(workflow=WORKFLOW, run_id=run_id)
    print(json.dumps(state.output))
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "die")
