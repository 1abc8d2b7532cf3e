"""What the recorder keeps of each tool's results (`spec/03 §15.2`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.redaction import redact_secrets
from abstractruntime.evidence import DEFAULT_EVIDENCE_TOOL_NAMES, EvidenceRecorder, evidence_entries
from abstractruntime.evidence.recorder import EvidenceCaptureStats
from abstractruntime.storage.artifacts import ArtifactMetadata, InMemoryArtifactStore

PAGE = {
    "url": "https://example.org/a",
    "final_url": "https://example.org/b",
    "content_type": "text/html",
    "size_bytes": 9,
    "raw_text": "<p>hi</p>",
    "normalized_text": "hi",
    "rendered": "page",
}
SHELL = {
    "command": "ls",
    "return_code": 0,
    "duration_s": 0.5,
    "working_directory": "/w",
    "platform": "Linux",
    "stdout": "a\nb\n",
    "stderr": "",
    "rendered": "ok",
}


class Scene:
    """A run, a store, and one tool call after the other."""

    def __init__(self, **options: Any) -> None:
        self.store = InMemoryArtifactStore()
        self.run = RunState("r1", "wf", RunStatus.RUNNING, "node", {}, actor_id="ar_1", session_id="s1")
        self.recorder = EvidenceRecorder(artifact_store=self.store, **options)

    def record(self, calls: Any, results: Any) -> int:
        stats = self.recorder.record_tool_calls(
            run=self.run, node_id="node", tool_calls=calls, tool_results=results
        )
        assert isinstance(stats, EvidenceCaptureStats)
        return stats.recorded

    def one(
        self, name: str, output: Any, arguments: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """The result of one call, as the recorder leaves it."""
        call = {"name": name, "call_id": "c1", "runtime_call_id": "rt1", "arguments": arguments or {}}
        result = {"name": name, "call_id": "c1", "success": True, "output": output, "error": None, **more}
        self.record([call], [result])
        return result

    def entries(self) -> list[dict[str, Any]]:
        return evidence_entries(self.run)

    def kept(self, position: int = 0) -> dict[str, Any]:
        """The record of that evidence."""
        record = self.store.load_json(self.entries()[position]["artifact_id"])
        assert isinstance(record, dict)
        return record

    def part(self, name: str) -> tuple[str, ArtifactMetadata]:
        """Text and metadata of a part of the first evidence."""
        artifact = self.store.load(self.kept()["artifacts"][name]["$artifact"])
        assert artifact is not None
        return artifact.as_text(), artifact.metadata


def test_the_default_tools() -> None:
    assert DEFAULT_EVIDENCE_TOOL_NAMES == ("web_search", "fetch_url", "execute_command")
    assert EvidenceCaptureStats() == EvidenceCaptureStats(recorded=0)


def test_a_fetched_page() -> None:
    scene = Scene()
    result = scene.one("fetch_url", dict(PAGE), {"url": "https://example.org/asked"})
    (entry,) = scene.entries()
    record = scene.kept()
    raw, normalized = record["artifacts"]["raw"], record["artifacts"]["normalized_text"]
    assert result["output"] == {
        "url": "https://example.org/a",
        "final_url": "https://example.org/b",
        "content_type": "text/html",
        "size_bytes": 9,
        "rendered": "page",
        "raw_artifact": raw,
        "normalized_artifact": normalized,
    }
    assert result["meta"] == {"evidence_id": entry["artifact_id"]}
    assert {key: value for key, value in record.items() if key not in ("artifacts", "created_at")} == {
        "tool_name": "fetch_url",
        "call_id": "c1",
        "node_id": "node",
        "run_id": "r1",
        "workflow_id": "wf",
        "success": True,
        "error": None,
        "arguments": {"url": "https://example.org/asked"},
        "actor_id": "ar_1",
        "session_id": "s1",
        "url": "https://example.org/a",
        "final_url": "https://example.org/b",
        "content_type": "text/html",
        "size_bytes": 9,
    }
    text, metadata = scene.part("raw")
    assert (text, metadata.content_type, metadata.run_id) == ("<p>hi</p>", "text/html", "r1")
    assert metadata.tags == {
        "kind": "evidence",
        "tool": "fetch_url",
        "url": "https://example.org/a",
        "part": "raw",
    }
    text, metadata = scene.part("normalized_text")
    assert (text, metadata.content_type, metadata.tags["part"]) == ("hi", "text/plain", "normalized")


def test_the_index_entry() -> None:
    scene = Scene()
    scene.one("execute_command", dict(SHELL), {"command": "x" * 500})
    (entry,) = scene.entries()
    now = entry["created_at"]
    assert entry == {
        "kind": "evidence",
        "artifact_id": entry["artifact_id"],
        "evidence_id": entry["artifact_id"],
        "created_at": now,
        "from_timestamp": now,
        "to_timestamp": now,
        "message_count": 0,
        "tool_name": "execute_command",
        "call_id": "c1",
        "success": True,
        "command_preview": "ls",
    }
    assert scene.kept()["created_at"] == now
    assert scene.run.vars["_runtime"]["memory_spans"] == [entry]


def test_long_commands_are_cut_in_index_and_tags() -> None:
    scene = Scene()
    scene.one("execute_command", "done", {"command": "x" * 500})
    (entry,) = scene.entries()
    assert entry["command_preview"] == "x" * 159 + "…"
    metadata = scene.store.get_metadata(entry["artifact_id"])
    assert metadata is not None
    assert metadata.tags["command"] == "x" * 199 + "…"
    assert scene.kept()["command"] == "x" * 500


def test_a_command() -> None:
    scene = Scene()
    result = scene.one("execute_command", dict(SHELL))
    assert set(result["output"]) == (set(SHELL) - {"stdout", "stderr"}) | {"stdout_artifact"}
    assert scene.part("stdout")[0] == "a\nb\n"
    assert set(scene.kept()["artifacts"]) == {"stdout"}
    for key in ("command", "return_code", "duration_s", "working_directory", "platform"):
        assert scene.kept()[key] == SHELL[key]


def test_keys_go_even_if_they_hold_no_text() -> None:
    scene = Scene()
    result = scene.one("fetch_url", {"raw_text": None, "normalized_text": 7, "rendered": "r"})
    assert result["output"] == {"rendered": "r"}
    assert "artifacts" not in scene.kept()


@pytest.mark.parametrize(
    ("tool", "output", "name", "content_type"),
    [
        ("execute_command", "plain", "output", "text/plain"),
        ("execute_command", '{"a": 1}', "output", "text/plain"),
        ("fetch_url", "the page", "output", "text/plain"),
        ("web_search", "1. hit", "results", "text/plain"),
        ("web_search", ' [{"a": 1}]', "results", "application/json"),
        ("web_search", "17", "results", "text/plain"),
        ("web_search", {"hits": ["ä"]}, "results", "application/json"),
    ],
)
def test_outputs_that_are_kept_whole_stay(tool: str, output: Any, name: str, content_type: str) -> None:
    scene = Scene()
    result = scene.one(tool, output, {"query": "whales"})
    assert result["output"] == output
    text, metadata = scene.part(name)
    assert (json.loads(text) if isinstance(output, dict) else text) == output
    assert (metadata.content_type, metadata.tags["part"]) == (content_type, name)


def test_a_search() -> None:
    scene = Scene()
    scene.one("web_search", "hits", {"query": "whales"})
    assert (scene.kept()["query"], scene.entries()[0]["query"]) == ("whales", "whales")


def test_failed_calls_are_evidence_too() -> None:
    scene = Scene()
    scene.one("fetch_url", None, {"url": "https://example.org"}, success=False, error=" timed out ")
    record = scene.kept()
    assert (record["success"], record["error"], record["url"]) == (False, "timed out", "https://example.org")
    scene.one("fetch_url", None, success="yes")
    assert scene.kept(1)["success"] is False


def test_other_tools_are_not_recorded() -> None:
    scene = Scene()
    assert scene.record([{"name": "read_file"}], [{"name": "read_file", "output": "x"}]) == 0
    assert scene.run.vars == {}
    own = Scene(tool_names=["read_file"])
    assert own.record([{"name": "read_file"}], [{"name": "read_file", "output": "x"}]) == 1


@pytest.mark.parametrize(
    ("calls", "results"), [(None, None), ([], []), ([{"name": "web_search"}], None), ({}, "x")]
)
def test_nothing_to_record(calls: Any, results: Any) -> None:
    assert Scene().record(calls, results) == 0


def test_what_is_no_object_is_passed_over() -> None:
    scene = Scene()
    results = ["text", None, {"output": "hits", "success": True}]
    assert scene.record(["call", None, {"name": "web_search", "call_id": "c9"}], results) == 1
    assert scene.kept()["call_id"] == "c9"


# -- pairing (spec/03 §18.30) ----------------------------------------------------------------------------


def call(number: int, name: str = "web_search", **more: Any) -> dict[str, Any]:
    return {"name": name, "call_id": f"c{number}", "arguments": {"query": f"q{number}"}, **more}


def result(number: int | None, name: str = "web_search", **more: Any) -> dict[str, Any]:
    own = {} if number is None else {"call_id": f"c{number}"}
    return {"name": name, "success": True, "output": f"hits {number}", **own, **more}


@pytest.mark.weakness("spec/03 §18.30")
def test_reordered_and_missing_results_get_their_own_arguments() -> None:
    scene = Scene()
    scene.record([call(1), call(2), call(3)], [result(3), result(1)])
    assert [scene.kept(each)["arguments"] for each in (0, 1)] == [{"query": "q3"}, {"query": "q1"}]


def test_the_kernels_id_goes_before_the_providers() -> None:
    scene = Scene()
    calls = [call(1, runtime_call_id="rt1"), call(1, runtime_call_id="rt2", arguments={"query": "second"})]
    scene.record(calls, [result(1, runtime_call_id="rt2")])
    assert scene.kept()["arguments"] == {"query": "second"}


def test_without_ids_the_position_counts() -> None:
    scene = Scene()
    scene.record([call(1), call(2)], [result(None), result(None)])
    assert [scene.kept(each)["arguments"] for each in (0, 1)] == [{"query": "q1"}, {"query": "q2"}]


def test_nobody_gets_the_arguments_of_another_tool_or_result() -> None:
    scene = Scene()
    scene.record([call(1, "fetch_url"), call(2)], [result(None), result(None), result(2)])
    arguments = [scene.kept(each)["arguments"] for each in range(3)]
    assert arguments == [{}, {}, {"query": "q2"}]


# -- again and again (spec/03 §18.3, §18.14) -------------------------------------------------------------


@pytest.mark.weakness("spec/03 §18.3")
def test_the_same_result_is_recorded_once() -> None:
    scene = Scene()
    first = scene.one("fetch_url", dict(PAGE))
    count = len(scene.store.list_by_run("r1"))
    again = scene.one("fetch_url", dict(PAGE))  # as a step repeated after a crash has it
    assert again == first
    assert scene.record([call(1, "fetch_url")], [first]) == 0  # as the ledger has it
    assert (len(scene.entries()), len(scene.store.list_by_run("r1"))) == (1, count)


@pytest.mark.weakness("spec/03 §18.3")
def test_evidence_that_the_run_has_lost_is_named_again() -> None:
    scene = Scene()
    result = scene.one("fetch_url", dict(PAGE))
    before = scene.entries()
    scene.run.vars.clear()
    assert scene.record([call(1, "fetch_url")], [result]) == 1
    assert scene.entries() == before


def test_an_id_that_a_tool_made_up_hides_nothing() -> None:
    scene = Scene()
    scene.one("web_search", "hits", meta={"evidence_id": "made-up", "own": 1})
    (entry,) = scene.entries()
    assert entry["artifact_id"] != "made-up"


def test_another_runs_evidence_is_not_taken_over() -> None:
    scene = Scene()
    result = scene.one("web_search", "hits")
    scene.run = RunState("r2", "wf", RunStatus.RUNNING, "node", {})
    scene.record([call(1)], [result])
    assert scene.entries()[0]["artifact_id"] != result["meta"].get("other")
    assert scene.kept()["run_id"] == "r2"


def test_the_same_call_with_another_outcome_is_another_observation() -> None:
    scene = Scene()
    scene.one("web_search", "monday")
    scene.one("web_search", "tuesday")
    assert len({entry["artifact_id"] for entry in scene.entries()}) == 2


@pytest.mark.weakness("spec/03 §18.14")
def test_equal_outputs_keep_the_tags_of_each_call() -> None:
    scene = Scene()
    for number in (1, 2):
        arguments = {"command": f"cmd{number}"}
        scene.record(
            [call(number, "execute_command", arguments=arguments)],
            [result(number, "execute_command", output="same")],
        )
    parts = [scene.kept(each)["artifacts"]["output"]["$artifact"] for each in (0, 1)]
    tags = [scene.store.get_metadata(part).tags["command"] for part in parts]  # type: ignore[union-attr]
    assert tags == ["cmd1", "cmd2"]


# -- failures and secrets --------------------------------------------------------------------------------


def test_a_result_whose_evidence_fails_stays_and_others_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    store = scene.store.store

    def failing(content: bytes, **fields: Any) -> ArtifactMetadata:
        if b"hits 1" in content:
            raise OSError("disk full")
        return store(content, **fields)

    monkeypatch.setattr(scene.store, "store", failing)
    page = result(1, "fetch_url", output={"raw_text": "hits 1"})
    results = [page, result(2)]
    with pytest.raises(OSError, match="disk full"):
        scene.record([call(1, "fetch_url"), call(2)], results)
    assert page["output"] == {"raw_text": "hits 1"}
    assert "meta" not in page
    assert [entry["call_id"] for entry in scene.entries()] == ["c2"]


@pytest.mark.parametrize("runtime", ["text", {"memory_spans": "text"}, {"memory_spans": {"a": 1}}])
def test_variables_of_another_form_count_as_empty(runtime: Any, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.run.vars["_runtime"] = runtime
    for number in (1, 2):
        scene.record([call(number)], [result(number)])
    assert [entry["call_id"] for entry in scene.entries()] == ["c1", "c2"]
    (said,) = caplog.messages  # once
    assert "of run 'r1' is a" in said


@pytest.mark.parametrize("runtime", [None, {"memory_spans": None}])
def test_no_index_is_nothing_to_talk_about(runtime: Any, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.run.vars["_runtime"] = runtime
    scene.record([call(1)], [result(1)])
    assert len(scene.entries()) == 1
    assert caplog.messages == []


@pytest.mark.weakness("spec/03 §18.19")
def test_secrets_are_taken_out_before_anything_is_stored() -> None:
    scene = Scene(redactor=redact_secrets(keys=["token"], patterns=["s3cret"]))
    scene.one(
        "fetch_url",
        {"url": "https://x/?k=s3cret", "raw_text": "it is s3cret"},
        {"url": "https://x/?k=s3cret", "token": "t0ken"},
    )
    stored = [scene.store.load(each.artifact_id) for each in scene.store.list_by_run("r1")]
    assert len(stored) == 2
    for artifact in stored:
        assert artifact is not None
        shown = artifact.as_text() + str(artifact.metadata.tags)
        assert "s3cret" not in shown
        assert "t0ken" not in shown
    assert "s3cret" not in str(scene.entries())


def test_arguments_without_a_json_form_are_kept_as_text() -> None:
    scene = Scene()
    scene.one("web_search", "hits \ud800", {"query": object})
    assert "object" in scene.kept()["arguments"]["query"]


def test_results_may_come_in_their_outcome() -> None:
    result = {"name": "web_search", "call_id": "c1", "success": True, "output": "found", "error": None}
    scene = Scene()
    assert (
        scene.record([{"name": "web_search", "call_id": "c1"}], {"mode": "executed", "results": [result]})
        == 1
    )
    assert "evidence_id" in result["meta"]
    assert scene.record([], {"mode": "executed"}) == 0
