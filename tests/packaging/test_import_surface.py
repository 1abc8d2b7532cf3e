"""Every name of the contract, under every path it promises (`spec/01 §1`, `spec/02 §1`, `spec/03 §16`)."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import abstractruntime

ROOT = Path(__file__).resolve().parents[2]

TOP = {
    "core models": "Effect EffectType RunState RunStatus StepPlan WaitReason WaitState",
    "spec, runtime": "WorkflowSpec Runtime",
    "scheduler": "WorkflowRegistry Scheduler SchedulerStats ScheduledRuntime create_scheduled_runtime",
    "run and ledger stores": "QueryableRunStore InMemoryRunStore InMemoryLedgerStore JsonFileRunStore "
    "JsonlLedgerStore SqliteDatabase SqliteRunStore SqliteLedgerStore",
    "commands": "CommandRecord CommandAppendResult CommandStore CommandCursorStore InMemoryCommandStore "
    "JsonlCommandStore InMemoryCommandCursorStore JsonFileCommandCursorStore SqliteCommandStore "
    "SqliteCommandCursorStore",
    "ledger decorators": "HashChainedLedgerStore verify_ledger_chain ObservableLedgerStore "
    "ObservableLedgerStoreProtocol",
    "offloading": "OffloadingRunStore OffloadingLedgerStore offload_large_values",
    "snapshots": "Snapshot SnapshotStore InMemorySnapshotStore JsonSnapshotStore",
    "artifacts": "Artifact ArtifactMetadata ArtifactStore InMemoryArtifactStore FileArtifactStore "
    "artifact_ref is_artifact_ref get_artifact_id resolve_artifact compute_artifact_id",
    "identity": "ActorFingerprint",
    "effect policy": "EffectPolicy DefaultEffectPolicy RetryPolicy NoRetryPolicy compute_idempotency_key",
    "memory": "ActiveContextPolicy TimeRange",
    "run history": "RUN_HISTORY_BUNDLE_VERSION_V1 export_run_history_bundle persist_workflow_snapshot",
}
_BUNDLES = (
    "WORKFLOW_BUNDLE_FORMAT_VERSION_V1 WorkflowBundleError WorkflowBundleEntrypoint WorkflowBundleManifest "
    "WorkflowBundle InstalledWorkflowBundle WorkflowBundleRegistry WorkflowBundleRegistryError "
    "WorkflowEntrypointRef default_workflow_bundles_dir sanitize_bundle_id sanitize_bundle_version "
    "workflow_bundle_manifest_from_dict workflow_bundle_manifest_to_dict open_workflow_bundle"
)
BUNDLES = _BUNDLES.split()
"""The rest of the 79 names; they come with the workflow bundles and are not promised here yet."""

NAMES = sorted(name for names in TOP.values() for name in names.split())

_CORE = (
    "Effect EffectType LimitWarning LIMITS RunState RunStatus Runtime RuntimeConfig StepPlan WaitReason "
    "WaitState WorkflowSpec ensure_limits get_limits"
)
CORE = _CORE.split()

MODULES = {
    # spec/01 §1.3
    "core.models": "RunStatus WaitReason EffectType Effect StepPlan WaitState RunState StepStatus StepRecord "
    "LimitWarning utc_now",
    "core.spec": "WorkflowSpec RunContext NodeHandler",
    "core.config": "RuntimeConfig DEFAULT_RECOMMENDED_MAX_INPUT_TOKENS",
    "core.policy": "EffectPolicy DefaultEffectPolicy RetryPolicy NoRetryPolicy compute_idempotency_key",
    "core.vars": "CONTEXT SCRATCHPAD RUNTIME TEMP LIMITS NODE_TRACES DEFAULT_MAX_TOKENS ensure_namespaces "
    "get_namespace get_context get_scratchpad get_runtime get_temp clear_temp get_limits ensure_limits "
    "get_node_traces get_node_trace parse_vars_path resolve_vars_path",
    "core.event_keys": "build_event_wait_key",
    "core.runtime": "Runtime EffectOutcome EffectHandler DefaultRunContext utc_now_iso "
    "_ensure_tool_calls_have_runtime_ids",
    "identity": "ActorFingerprint",
    "identity.fingerprint": "ActorFingerprint sha256_hex",
    "history_bundle": "RUN_HISTORY_BUNDLE_VERSION_V1 export_run_history_bundle persist_workflow_snapshot",
    # spec/02 §1.1 and §1.2
    "storage.base": "RunStore LedgerStore QueryableRunStore QueryableRunIndexStore",
    "storage.in_memory": "InMemoryRunStore InMemoryLedgerStore",
    "storage.json_files": "JsonFileRunStore JsonlLedgerStore",
    "storage.sqlite": "SqliteDatabase SqliteRunStore SqliteLedgerStore SqliteCommandStore "
    "SqliteCommandCursorStore",
    "storage.commands": "CommandRecord CommandAppendResult CommandStore CommandCursorStore "
    "InMemoryCommandStore InMemoryCommandCursorStore JsonlCommandStore JsonFileCommandCursorStore",
    "storage.ledger_chain": "HashChainedLedgerStore verify_ledger_chain compute_record_hash",
    "storage.observable": "ObservableLedgerStore ObservableLedgerStoreProtocol LedgerRecordDict "
    "LedgerSubscriber",
    "storage.offloading": "OffloadingRunStore OffloadingLedgerStore offload_large_values "
    "DEFAULT_MAX_INLINE_BYTES",
    "storage.artifacts": "Artifact ArtifactMetadata ArtifactStore InMemoryArtifactStore FileArtifactStore "
    "artifact_ref is_artifact_ref get_artifact_id resolve_artifact compute_artifact_id compute_blob_id "
    "validate_artifact_id",
    "storage.snapshots": "Snapshot SnapshotStore InMemorySnapshotStore JsonSnapshotStore",
    "scheduler": "WorkflowRegistry Scheduler SchedulerStats ScheduledRuntime create_scheduled_runtime",
    "scheduler.registry": "WorkflowRegistry",
    "scheduler.scheduler": "Scheduler SchedulerStats",
    "scheduler.convenience": "ScheduledRuntime create_scheduled_runtime",
    "storage": "RunStore LedgerStore QueryableRunStore InMemoryRunStore InMemoryLedgerStore JsonFileRunStore "
    "JsonlLedgerStore HashChainedLedgerStore verify_ledger_chain ObservableLedgerStore "
    "ObservableLedgerStoreProtocol OffloadingRunStore OffloadingLedgerStore offload_large_values Snapshot "
    "SnapshotStore InMemorySnapshotStore JsonSnapshotStore",
    # spec/03 §1, §16
    "memory": "ActiveContextPolicy TimeRange",
    "memory.active_context": "ActiveContextPolicy TimeRange",
    "rendering": "stringify_json JsonStringifyMode render_agent_trace_markdown",
    "rendering.json_stringify": "stringify_json JsonStringifyMode",
    "rendering.agent_trace_report": "render_agent_trace_markdown AgentTraceMarkdownReportConfig",
}
SUBPACKAGES = ("core", "history_bundle", "identity", "memory", "scheduler", "storage")
"""And ``workflow_bundle``, which comes with the bundles."""

HEAVY = ("celery", "kombu", "redis", "sqlalchemy", "pydantic", "abstractcore", "abstractmemory", "alembic")


def run_python(code: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_list_is_complete() -> None:
    assert len(NAMES) == len(set(NAMES)) == 79 - len(BUNDLES)


@pytest.mark.parametrize("name", NAMES)
def test_top_level_names(name: str) -> None:
    assert getattr(abstractruntime, name) is not None
    assert name in abstractruntime.__all__


def test_nothing_else_is_exported_at_top_level() -> None:
    assert set(abstractruntime.__all__) - set(BUNDLES) == set(NAMES)
    assert set(abstractruntime.__all__) <= set(dir(abstractruntime))


def test_names_that_are_not_at_top_level() -> None:
    for name in ("RunStore", "LedgerStore", "QueryableRunIndexStore", "compute_record_hash", "nonsense"):
        with pytest.raises(AttributeError, match=name):
            getattr(abstractruntime, name)


def test_core_exports_exactly_its_names() -> None:
    core = import_module("abstractruntime.core")
    assert sorted(core.__all__) == sorted(CORE)
    for name in CORE:
        assert getattr(core, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = core.nonsense


@pytest.mark.parametrize("module", sorted(MODULES))
def test_module_paths(module: str) -> None:
    found = import_module(f"abstractruntime.{module}")
    for name in MODULES[module].split():
        assert getattr(found, name) is not None, name


def test_memory_exports_exactly_two_names() -> None:
    assert sorted(import_module("abstractruntime.memory").__all__) == ["ActiveContextPolicy", "TimeRange"]


def test_names_are_the_same_objects_everywhere() -> None:
    for module, names in MODULES.items():
        found = import_module(f"abstractruntime.{module}")
        for name in set(names.split()) & set(NAMES):
            assert getattr(found, name) is getattr(abstractruntime, name), (module, name)


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_sub_packages_are_attributes_after_a_plain_import(name: str) -> None:
    shown = run_python(f"import abstractruntime; print(abstractruntime.{name}.__name__)")
    assert shown == f"abstractruntime.{name}"


def test_a_plain_import_is_light() -> None:
    code = f"import sys, abstractruntime; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_kernel_memory_and_rendering_need_no_dependency() -> None:
    """With -S there are no installed packages at all: the standard library alone (`spec/01`, preamble)."""
    modules = [f"abstractruntime.{name}" for name in MODULES if not name.endswith("sqlite")]
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from importlib import import_module
for module in {modules!r}:
    import_module(module)
from abstractruntime import (
    Effect, EffectType, InMemoryLedgerStore, InMemoryRunStore, Runtime, StepPlan, WorkflowSpec
)
runtime = Runtime(run_store=InMemoryRunStore(), ledger_store=InMemoryLedgerStore())
effect = Effect(EffectType.ANSWER_USER, {{"message": "hi"}}, "said")
workflow = WorkflowSpec("w", "a", {{
    "a": lambda run, context: StepPlan("a", effect, "b"),
    "b": lambda run, context: StepPlan("b", complete_output=run.vars["said"]),
}})
print(runtime.tick(workflow=workflow, run_id=runtime.start(workflow=workflow)).output["message"])
"""
    assert run_python(code, "-I", "-S") == "hi"


def test_hooks_that_hosts_rely_on() -> None:
    """`spec/01 §1.3`: two underscore names stay."""
    runtime_module = import_module("abstractruntime.core.runtime")
    summarizer = object()
    runtime = runtime_module.Runtime(
        run_store=abstractruntime.InMemoryRunStore(),
        ledger_store=abstractruntime.InMemoryLedgerStore(),
        chat_summarizer=summarizer,
    )
    assert runtime._chat_summarizer is runtime.chat_summarizer is summarizer
    effect = abstractruntime.Effect(abstractruntime.EffectType.TOOL_CALLS, {"tool_calls": [{"name": " t "}]})
    named = runtime_module._ensure_tool_calls_have_runtime_ids(effect=effect, idempotency_key="k")
    assert named.payload["tool_calls"] == [
        {"name": "t", "runtime_call_id": "rtcall_k_1", "call_id": "rtcall_k_1"}
    ]


def test_the_version_is_the_packages() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{abstractruntime.__version__}"' in text
