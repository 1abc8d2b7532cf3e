"""Large values out of checkpoints and ledgers (`spec/02 §8.3`, §15.2 D-5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import (
    Effect,
    EffectType,
    RunState,
    RunStatus,
    StepPlan,
    StepRecord,
    StepStatus,
)
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.storage.artifacts import (
    ArtifactMetadata,
    ArtifactStore,
    CorruptArtifactError,
    FileArtifactStore,
    InMemoryArtifactStore,
    artifact_ref,
    is_artifact_ref,
    resolve_artifact,
)
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore, verify_ledger_chain
from abstractruntime.storage.observable import ObservableLedgerStore
from abstractruntime.storage.offloading import (
    DEFAULT_MAX_INLINE_BYTES,
    OffloadingLedgerStore,
    OffloadingRunStore,
    offload_large_values,
)
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

from .runs import a_run

BIG = "x" * 200


@pytest.fixture
def artifacts() -> InMemoryArtifactStore:
    return InMemoryArtifactStore()


@pytest.fixture
def offload(artifacts: ArtifactStore) -> Callable[..., Any]:
    def call(value: Any, **options: Any) -> Any:
        given = {"artifact_store": artifacts, "run_id": "r1", "max_inline_bytes": 100}
        return offload_large_values(value, **{**given, **options})

    return call


def content_of(ref: Any, artifacts: ArtifactStore) -> bytes:
    artifact = resolve_artifact(ref, artifacts)
    assert artifact is not None
    assert set(ref) == {"$artifact"}
    return artifact.content


def test_text_over_the_limit(offload: Callable[..., Any], artifacts: ArtifactStore) -> None:
    value = {"a": [{"b": BIG}], "short": "x" * 100, "wide": "é" * 51}
    changed = offload(value, root_path="root", base_tags={"source": "test"})
    assert content_of(changed["a"][0]["b"], artifacts) == BIG.encode()
    assert is_artifact_ref(changed["wide"])
    assert changed["short"] == value["short"]
    assert value["a"] == [{"b": BIG}]
    (metadata,) = artifacts.search(tags={"path": "root.a[0].b"})
    assert metadata.tags == {"source": "test", "path": "root.a[0].b", "kind": "text"}
    assert (metadata.content_type, metadata.run_id) == ("text/plain", "r1")


def test_nothing_to_do_gives_the_same_object(offload: Callable[..., Any]) -> None:
    value = {"a": [1, None], "t": ("x",), "ref": {"$artifact": "a", "more": BIG}}
    assert offload(value) is value
    big = {"b": b"1", "s": BIG}
    assert offload(big, max_inline_bytes=0) is big


def test_bytes_always_go(offload: Callable[..., Any], artifacts: ArtifactStore) -> None:
    assert content_of(offload(b"", allow_offload=lambda path, value: False), artifacts) == b""
    changed = offload({1: bytearray(b"b")})
    assert content_of(changed["1"], artifacts) == b"b"
    assert artifacts.search(content_type="application/octet-stream", tags={"kind": "bytes"})


def test_containers_after_their_children(offload: Callable[..., Any], artifacts: ArtifactStore) -> None:
    value = {"many": [*range(60)], "small": [1]}
    changed = offload(value)
    assert content_of(changed["many"], artifacts).startswith(b"[0,1,2,")
    assert changed["small"] == [1]
    nested = offload({"outer": {"text": BIG, "numbers": [*range(30)]}})
    loaded = resolve_artifact(nested["outer"], artifacts)
    assert loaded is not None
    assert loaded.content_type == "application/json"
    assert content_of(loaded.as_json()["text"], artifacts) == BIG.encode()


def test_root_is_replaced_on_request(offload: Callable[..., Any], artifacts: ArtifactStore) -> None:
    assert offload(BIG) == BIG
    assert content_of(offload(BIG, allow_root_replace=True), artifacts) == BIG.encode()
    assert is_artifact_ref(offload([*range(60)], allow_root_replace=True))


def test_allow_is_asked_for_what_may_go(offload: Callable[..., Any]) -> None:
    asked: list[str] = []

    def allow(path: str, value: Any) -> bool:
        asked.append(path)
        if path == "v.broken":
            raise RuntimeError("no")
        return path == "v.yes"

    changed = offload(
        {"yes": BIG, "no": BIG, "broken": BIG, "s": "", "l": [1]}, root_path="v", allow_offload=allow
    )
    assert is_artifact_ref(changed["yes"])
    assert changed["no"] == changed["broken"] == BIG
    assert asked == ["v.yes", "v.no", "v.broken", "v.l"]


def test_what_json_can_not_say_stays(offload: Callable[..., Any]) -> None:
    thing = object()
    changed = offload({"odd": {"thing": thing, "text": BIG}, "t": (1, BIG)})
    assert changed["odd"]["thing"] is thing
    assert is_artifact_ref(changed["odd"]["text"])
    assert is_artifact_ref(changed["t"][1])
    loop: list[Any] = []
    loop.append({"again": loop})
    with pytest.raises(ValueError, match=r"Cycle detected while offloading at root\[0\]\.again"):
        offload(loop, root_path="root")
    with pytest.raises(UnicodeEncodeError):
        offload({"a": "\ud83d"})


def test_artifacts_of_others_are_left_alone(offload: Callable[..., Any], artifacts: ArtifactStore) -> None:
    mine = artifacts.store_text(BIG, content_type="text/markdown", run_id="r1", tags={"source": "me"})
    ref = offload({"a": BIG})["a"]
    assert ref["$artifact"] != mine.artifact_id
    assert artifacts.get_metadata(mine.artifact_id) == mine
    assert content_of(ref, artifacts) == BIG.encode()


@pytest.mark.parametrize(
    ("text", "gone"), [("", False), ("many", False), ("100", True), ("0", False), ("-1", False)]
)
def test_limit_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, artifacts: ArtifactStore, text: str, gone: bool
) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES", text)
    store = OffloadingRunStore(InMemoryRunStore(), artifact_store=artifacts)
    monkeypatch.delenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES")
    store.save(a_run(status=RunStatus.COMPLETED, output={"text": BIG}))
    saved = store.load("r1")
    assert saved is not None
    assert saved.output is not None
    assert is_artifact_ref(saved.output["text"]) is gone
    assert DEFAULT_MAX_INLINE_BYTES == 262144


# -- runs ---------------------------------------------------------------------------------------


def run_with_everything(status: RunStatus) -> RunState:
    vars = {"mine": BIG, "_temp": {"x": BIG, "l": [BIG]}, "_list": [BIG, {"k": BIG}], "_text": BIG}
    return a_run(status=status, vars=vars, output={"text": BIG})


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.WAITING])
def test_active_runs_are_saved_as_they_are(artifacts: ArtifactStore, status: RunStatus) -> None:
    store = OffloadingRunStore(InMemoryRunStore(), artifact_store=artifacts, max_inline_bytes=100)
    store.save(run_with_everything(status))
    assert store.load("r1") == run_with_everything(status)
    assert artifacts.list_all() == []


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_finished_runs_lose_what_is_large_and_private(artifacts: ArtifactStore, status: RunStatus) -> None:
    store = OffloadingRunStore(InMemoryRunStore(), artifact_store=artifacts, max_inline_bytes=100)
    run = run_with_everything(status)
    store.save(run)
    assert run == run_with_everything(status)
    saved = store.inner.load("r1")
    assert saved is not None
    assert saved.output is not None
    assert is_artifact_ref(saved.output["text"])
    assert saved.vars["mine"] == saved.vars["_text"] == saved.vars["_list"][0] == BIG
    private = saved.vars["_temp"]
    for ref in (private["x"], private["l"][0], saved.vars["_list"][1]["k"]):
        assert is_artifact_ref(ref)
    (metadata,) = artifacts.list_by_run("r1")
    assert metadata.tags["source"] in ("run_output_offload", "run_store_offload")


@pytest.mark.weakness("spec/02 U-7")
def test_run_that_can_not_be_offloaded_is_saved(caplog: pytest.LogCaptureFixture) -> None:
    class Full(InMemoryArtifactStore):
        def store(self, content: bytes, **options: Any) -> Any:
            raise OSError("disk full")

    store = OffloadingRunStore(InMemoryRunStore(), artifact_store=Full(), max_inline_bytes=100)
    store.save(run_with_everything(RunStatus.COMPLETED))
    assert store.load("r1") == run_with_everything(RunStatus.COMPLETED)
    assert "disk full" in caplog.text
    assert store.tally.counts() == {"offload_failed": 3}
    ledger = OffloadingLedgerStore(InMemoryLedgerStore(), artifact_store=Full(), max_inline_bytes=100)
    ledger.append(record({"text": BIG}))
    assert ledger.list("r1")[0]["result"] == {"text": BIG}
    assert ledger.tally.counts() == {"offload_failed": 1}


def test_queries_are_those_of_the_store_inside(artifacts: ArtifactStore) -> None:
    inner = InMemoryRunStore()
    store = OffloadingRunStore(inner, artifact_store=artifacts)
    store.save(a_run(parent_run_id="p"))
    assert [run.run_id for run in store.list_runs()] == ["r1"]
    assert [run.run_id for run in store.list_children(parent_run_id="p")] == ["r1"]
    assert store.list_due_wait_until(now_iso="9") == []
    assert store.list_run_index()[0]["run_id"] == "r1"
    assert store.version_of("r1") == inner.version_of("r1")  # type: ignore[operator]
    assert store.lock_domain is inner

    class Plain(RunStore):
        def save(self, run: RunState) -> None: ...

        def load(self, run_id: str) -> RunState | None:
            return None

    with pytest.raises(NotImplementedError, match="Inner RunStore does not support list_runs"):
        OffloadingRunStore(Plain(), artifact_store=artifacts).list_runs()


# -- ledgers ------------------------------------------------------------------------------------


def record(result: Any, payload: Any = None, **fields: Any) -> StepRecord:
    effect = {"type": fields.pop("type", "llm_call"), "payload": payload or {}, "result_key": None}
    return StepRecord("r1", "s", "n", StepStatus.COMPLETED, effect, result, idempotency_key="k", **fields)


@pytest.fixture(params=["memory", "jsonl", "sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, artifacts: ArtifactStore) -> OffloadingLedgerStore:
    inner: LedgerStore = InMemoryLedgerStore()
    if request.param == "sqlite":
        inner = SqliteLedgerStore(SqliteDatabase(tmp_path / "ledger.db"))
    elif request.param == "jsonl":
        inner = JsonlLedgerStore(tmp_path)
    return OffloadingLedgerStore(inner, artifact_store=artifacts, max_inline_bytes=100)


def test_records_lose_what_is_large(ledger: OffloadingLedgerStore, artifacts: ArtifactStore) -> None:
    given = record({"text": BIG, "raw": b"1"}, {"prompt": BIG * 2}, error=BIG)
    ledger.append(given)
    assert given.result == {"text": BIG, "raw": b"1"}
    (stored,) = ledger.list("r1")
    assert is_artifact_ref(stored["result"]["text"])
    assert is_artifact_ref(stored["effect"]["payload"]["prompt"])
    assert stored["error"] == BIG
    found = artifacts.search(tags={"path": "ledger.effect.payload.prompt"})
    assert found[0].tags["source"] == "ledger_effect_offload"


def test_recorded_results_come_back_whole(ledger: OffloadingLedgerStore, artifacts: ArtifactStore) -> None:
    mine = artifacts.store_text("picture", run_id="r1")
    result = {
        "text": BIG,
        "raw": b"1",
        "deep": {"n": [*range(60)], "t": BIG},
        "ref": artifact_ref(mine.artifact_id),
    }
    ledger.append(record(result))
    assert ledger.find_completed("unknown", "k") is None
    found = ledger.find_completed("r1", "k")
    assert found is not None
    assert found.result == result
    for metadata in artifacts.list_by_run("r1"):
        artifacts.delete(metadata.artifact_id)
    with pytest.raises(CorruptArtifactError, match="is gone"):
        ledger.find_completed("r1", "k")


def test_same_bytes_as_text_and_as_data(ledger: OffloadingLedgerStore) -> None:
    data = [*range(60)]
    text = str(data).replace(" ", "")
    ledger.append(record({"data": data, "text": text}))
    found = ledger.find_completed("r1", "k")
    assert found is not None
    assert found.result == {"data": data, "text": text}


def test_tool_calls_are_counted(ledger: OffloadingLedgerStore) -> None:
    calls = [{"name": "t", "arguments": {"content": BIG}}, *({"name": "t"} for _ in range(9))]
    ledger.append(record({}, {"tool_calls": calls}, type="tool_calls"))
    assert ledger.metrics_many(["r1"])["r1"]["tool_calls"] == 10
    assert BIG not in str(ledger.list("r1"))
    assert (ledger.count("r1"), ledger.count_many(["r1", "unknown"])) == (1, {"r1": 1})


@pytest.mark.weakness("spec/02 U-5")
def test_nesting(artifacts: ArtifactStore) -> None:
    inner = InMemoryLedgerStore()
    chained = OffloadingLedgerStore(
        HashChainedLedgerStore(inner), artifact_store=artifacts, max_inline_bytes=100
    )
    seen: list[dict[str, Any]] = []
    ledger = ObservableLedgerStore(chained)
    ledger.subscribe(seen.append)
    for _ in range(3):
        ledger.append(record({"text": BIG}))
    assert verify_ledger_chain(ledger.list("r1"))["ok"]
    assert seen[0]["result"] == {"text": BIG}
    with pytest.raises(RuntimeError, match=r"Inner LedgerStore does not support subscribe\(\)"):
        chained.subscribe(seen.append)
    for wrong in (chained, ledger):
        with pytest.raises(InvalidInputError, match="never verifies"):
            HashChainedLedgerStore(wrong)


@pytest.mark.weakness("spec/02 D-5")
@pytest.mark.parametrize("kind", ["memory", "files", "sqlite"])
def test_run_after_a_crash_gets_values(kind: str, tmp_path: Path, artifacts: ArtifactStore) -> None:
    """A crash between the completed record and the checkpoint: the node gets the value, not a reference."""
    runs: RunStore = InMemoryRunStore()
    records: LedgerStore = InMemoryLedgerStore()
    if kind == "sqlite":
        database = SqliteDatabase(tmp_path / "runs.db")
        runs, records = SqliteRunStore(database), SqliteLedgerStore(database)
    elif kind == "files":
        runs, records = JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    calls: list[str] = []

    def ask(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan(
            "ask", effect=Effect(EffectType.LLM_CALL, {"prompt": "hi"}, "answer"), next_node="done"
        )

    def done(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("done", complete_output={"text": run.vars["answer"]["text"]})

    def call_model(run: RunState, effect: Effect, default_next_node: str | None) -> EffectOutcome:
        calls.append(run.run_id)
        return EffectOutcome.completed({"text": BIG})

    workflow = WorkflowSpec("wf", "ask", {"ask": ask, "done": done})

    def runtime() -> Runtime:
        return Runtime(
            run_store=OffloadingRunStore(runs, artifact_store=artifacts, max_inline_bytes=100),
            ledger_store=OffloadingLedgerStore(records, artifact_store=artifacts, max_inline_bytes=100),
            effect_handlers={EffectType.LLM_CALL: call_model},
        )

    run_id = runtime().start(workflow=workflow)
    before = runs.load(run_id)
    assert before is not None
    runtime().tick(workflow=workflow, run_id=run_id, max_steps=1)
    runs.save(before)  # as if the process had died before the checkpoint
    state = runtime().tick(workflow=workflow, run_id=run_id)
    assert state.output == {"text": BIG}
    assert calls == [run_id]
    saved = runs.load(run_id)
    assert saved is not None
    assert saved.output is not None
    assert content_of(saved.output["text"], artifacts) == BIG.encode()
    assert BIG not in str(records.list(run_id))


def test_files_hold_references_and_a_later_process_finds_the_text(tmp_path: Path) -> None:
    """The example of `spec/02 §8.3`: file stores, 20 000 characters, a limit of 1024."""
    text = "0123456789" * 2000

    def ask(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan(
            "ask", effect=Effect(EffectType.LLM_CALL, {"prompt": text}, "_temp.answer"), next_node="done"
        )

    def done(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("done", complete_output={"text": run.vars["_temp"]["answer"]["text"]})

    def stores() -> tuple[OffloadingRunStore, OffloadingLedgerStore, FileArtifactStore]:
        artifacts = FileArtifactStore(tmp_path)
        return (
            OffloadingRunStore(JsonFileRunStore(tmp_path), artifact_store=artifacts, max_inline_bytes=1024),
            OffloadingLedgerStore(
                JsonlLedgerStore(tmp_path), artifact_store=artifacts, max_inline_bytes=1024
            ),
            artifacts,
        )

    runs, ledger, artifacts = stores()
    runtime = Runtime(
        run_store=runs,
        ledger_store=ledger,
        artifact_store=artifacts,
        effect_handlers={EffectType.LLM_CALL: lambda *_: EffectOutcome.completed({"text": text})},
    )
    workflow = WorkflowSpec("wf", "ask", {"ask": ask, "done": done})
    run_id = runtime.start(workflow=workflow)
    state = runtime.tick(workflow=workflow, run_id=run_id)
    assert state.output is not None
    for name in (f"run_{run_id}.json", f"ledger_{run_id}.jsonl"):
        content = (tmp_path / name).read_text()
        assert text not in content
        assert "$artifact" in content

    later_runs, _, later_artifacts = stores()
    found = later_runs.load(run_id)
    assert found is not None
    assert found.output is not None
    artifact = resolve_artifact(found.output["text"], later_artifacts)
    assert artifact is not None
    assert artifact.as_text() == text


class StoreOnly:
    """A host's own artifact store with the one method that offloading needs."""

    def __init__(self) -> None:
        self.stored: list[tuple[bytes, str, str | None, dict[str, str] | None]] = []

    def store(
        self,
        content: bytes,
        *,
        content_type: str = "application/octet-stream",
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        self.stored.append((content, content_type, run_id, tags))
        return ArtifactMetadata("theirs", content_type, len(content), "2026")


def test_an_artifact_store_needs_no_more_than_store(offload: Callable[..., Any]) -> None:
    store = StoreOnly()
    assert offload({"a": BIG}, artifact_store=store) == {"a": artifact_ref("theirs")}
    assert store.stored == [(BIG.encode(), "text/plain", "r1", {"path": ".a", "kind": "text"})]


@pytest.mark.weakness("spec/02 D-6")
@pytest.mark.parametrize("damage", [b"{", b"", b"\xff", b"[]", b"{}"])
def test_offloading_again_mends_damaged_metadata(
    tmp_path: Path, offload: Callable[..., Any], damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    files = FileArtifactStore(tmp_path)
    first = offload({"a": BIG}, artifact_store=files)
    (metadata,) = tmp_path.rglob("*.meta")
    metadata.write_bytes(damage)
    assert offload({"a": BIG}, artifact_store=files) == first
    assert content_of(first["a"], files) == BIG.encode()
    assert "stored anew" in caplog.text
