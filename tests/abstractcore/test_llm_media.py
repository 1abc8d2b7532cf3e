"""Media of a call (`spec/04 §6.7`) and what the model sees of messages (`spec/04 §6.6`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore._attachments.media_items import MediaItem
from abstractruntime.integrations.abstractcore._llm_call.media_files import file_name
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryRunStore

from .attached import attach
from .llm_calls import RecordingClient, a_run, answered, ask, sent

PNG = b"\x89PNG\r\n"


@pytest.fixture
def store() -> InMemoryArtifactStore:
    return InMemoryArtifactStore()


def stored(store: InMemoryArtifactStore, content: bytes = PNG, kind: str = "image/png", **more: Any) -> str:
    return store.store(content, content_type=kind, **{"run_id": "r1", **more}).artifact_id


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


# -- items ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("media", [None, "a.png", {}, [], (), ["", "  "], 5])
def test_no_media(media: Any) -> None:
    client = RecordingClient()
    answered(client, {"prompt": "p", "media": media})
    assert client.call["media"] is None
    assert "glyph_compression" not in client.params


def test_local_files_pass_through(tmp_path: Path) -> None:
    client = RecordingClient()
    result = answered(client, {"prompt": "p", "media": ("a.png", str(tmp_path / "b.png"), "a.png")})
    assert client.call["media"] == ["a.png", str(tmp_path / "b.png")]
    assert sent(result)["media"] == ["a.png", str(tmp_path / "b.png")]
    assert client.params["glyph_compression"] == "never"


@pytest.mark.parametrize(("item", "name"), [(5, "int"), ({"path": "a"}, "dict"), (None, "NoneType")])
def test_other_items_are_refused(item: Any, name: str) -> None:
    client = RecordingClient()
    outcome = ask(client, {"prompt": "p", "media": [item]})
    assert outcome.error == f"Unsupported media item (expected path or artifact ref): {name}"
    assert (outcome.kind, client.calls) == ("validation", [])


def test_artifacts_need_a_store() -> None:
    outcome = ask(RecordingClient(), {"prompt": "p", "media": [{"$artifact": "a1"}]})
    assert outcome.error == "Artifact-backed media requires an ArtifactStore (missing artifact_store)"


def test_an_unknown_artifact(store: InMemoryArtifactStore) -> None:
    outcome = ask(RecordingClient(), {"prompt": "p", "media": [{"artifact_id": "a1"}]}, None, store)
    assert (outcome.error, outcome.kind) == ("Artifact 'a1' not found", "validation")


def test_an_id_the_store_refuses(store: InMemoryArtifactStore) -> None:
    outcome = ask(RecordingClient(), {"prompt": "p", "media": [{"artifact_id": "../x"}]}, None, store)
    assert outcome.error is not None
    assert outcome.error.startswith("Failed to materialize artifact '../x': ")


def test_content_that_is_no_bytes() -> None:
    class Odd:
        content = "text"

    class OddStore:
        def load(self, artifact_id: str) -> Any:
            return Odd()

    outcome = ask(RecordingClient(), {"prompt": "p", "media": [{"$artifact": "a1"}]}, None, OddStore())
    assert outcome.error == "Artifact 'a1' content is not bytes"


def test_artifacts_become_files_for_as_long_as_the_call_lasts(store: InMemoryArtifactStore) -> None:
    client = RecordingClient()
    ref = {"$artifact": stored(store), "source_path": "shots/My Shot.png"}
    result = answered(client, {"prompt": "p", "media": [ref]}, None, store)
    (path,) = client.call["media"]
    assert client.files == [{f"My_Shot__{ref['$artifact'][:8]}.png": PNG}]
    assert not Path(path).parent.exists()
    assert sent(result)["media"] == [ref]
    assert client.params["glyph_compression"] == "never"


def test_the_files_exist_for_all_attempts(store: InMemoryArtifactStore) -> None:
    client = RecordingClient({"content": "", "finish_reason": "length"})
    answered(client, {"prompt": "p", "media": [{"$artifact": stored(store)}]}, None, store)
    assert [list(files.values()) for files in client.files] == [[PNG], [PNG]]


def test_a_failed_call_leaves_no_file(store: InMemoryArtifactStore) -> None:
    client = RecordingClient(RuntimeError("down"))
    ask(client, {"prompt": "p", "media": [{"$artifact": stored(store)}]}, None, store)
    assert not Path(client.call["media"][0]).parent.exists()


ID = "0123456789abcdef"


@pytest.mark.parametrize(
    ("fields", "kind", "expected"),
    [
        ({"source_path": "a/b/Values.md"}, "text/markdown", "Values__01234567.md"),
        ({"source_path": "a\\b\\Values.md", "path": "z.txt"}, "", "Values__01234567.md"),
        ({"filename": "no extension"}, "image/png", "no_extension__01234567.png"),
        ({"name": "photo"}, "image/jpeg; q=1", "photo__01234567.jpg"),
        ({}, "image/png", f"{ID}__01234567.png"),
        ({"path": ".hidden"}, "text/plain", ".hidden__01234567.txt"),
        ({"path": "../../etc/passwd"}, "", "passwd__01234567"),
        ({"path": "a/.."}, "", f"{ID}__01234567"),
        ({"path": "x" * 400 + ".png"}, "", "x" * 206 + "__01234567.png"),
        ({"path": "naïve*?.md"}, "", "na_ve____01234567.md"),
    ],
)
def test_file_names(fields: dict[str, str], kind: str, expected: str) -> None:
    item = MediaItem({"$artifact": ID, **fields}, artifact_id=ID)
    assert file_name(item, kind) == expected
    assert len(expected) <= 220


def test_an_explicit_glyph_compression_stands() -> None:
    client = RecordingClient()
    answered(client, {"prompt": "p", "media": ["a.png"], "params": {"glyph_compression": "auto"}})
    assert client.params["glyph_compression"] == "auto"


def test_speech_settings_of_the_run() -> None:
    client = RecordingClient()
    run = a_run({"_runtime": {"audio_policy": "speech_to_text", "audio_language": "de"}})
    answered(client, {"prompt": "p", "params": {"audio_policy": "native_only"}}, run)
    assert (client.params["audio_policy"], client.params["stt_language"]) == ("native_only", "de")


# -- whose files ------------------------------------------------------------------------------------------


@pytest.mark.weakness("spec/04 §16.14")
def test_local_files_stay_in_the_workspace(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    client = RecordingClient()
    run = a_run({"workspace_root": str(root)})
    answered(client, {"prompt": "p", "media": ["in/a.png"]}, run)
    assert client.call["media"] == [str(root / "in" / "a.png")]
    for path in ("/etc/passwd", "../secret.txt"):
        outcome = ask(RecordingClient(), {"prompt": "p", "media": [path]}, run)
        assert (outcome.error, outcome.kind) == (f"Path escapes workspace_root: '{path}'", "policy")


def test_a_bad_workspace_policy_is_a_failure(tmp_path: Path) -> None:
    run = a_run({"workspace_root": str(tmp_path), "workspace_access_mode": "open"})
    outcome = ask(RecordingClient(), {"prompt": "p", "media": ["a.png"]}, run)
    assert (outcome.status, outcome.kind) == ("failed", "policy")
    assert "Invalid workspace_access_mode: 'open'" in str(outcome.error)


@pytest.mark.weakness("spec/04 §16.15")
def test_artifacts_of_others_are_not_there(store: InMemoryArtifactStore) -> None:
    foreign = stored(store, run_id="r9")
    of_other_session = attach(store, PNG, session_id="s9", content_type="image/png")
    for artifact_id in (foreign, of_other_session):
        client = RecordingClient()
        payload = {"prompt": "p", "media": [{"$artifact": artifact_id}]}
        outcome = ask(client, payload, a_run(session_id="s1"), store)
        assert (outcome.error, outcome.kind) == (f"Artifact '{artifact_id}' not found", "policy")
        assert client.calls == []


def test_artifacts_of_run_parent_session_and_nobody_are(store: InMemoryArtifactStore) -> None:
    ids = [
        stored(store, b"own"),
        stored(store, b"parent", run_id="p1"),
        stored(store, b"nobody", run_id=None),
        stored(store, b"tagged", run_id="r9", tags={"session_id": "s1"}),
        attach(store, b"attached", session_id="s1", content_type="image/png"),
    ]
    client = RecordingClient()
    run = a_run(session_id="s1", parent_run_id="p1")
    answered(client, {"prompt": "p", "media": [{"$artifact": each} for each in ids]}, run, store)
    assert len(client.call["media"]) == 5


def test_with_a_run_store_those_of_the_session_s_runs_and_the_run_tree_are(
    store: InMemoryArtifactStore,
) -> None:
    runs = InMemoryRunStore()
    root, middle = a_run(run_id="root"), a_run(run_id="middle", parent_run_id="root")
    brother = a_run(run_id="brother", parent_run_id="root")
    same_session = a_run(run_id="other", session_id="s1")
    for run in (root, middle, brother, same_session, a_run(run_id="stranger")):
        runs.save(run)
    run = a_run(run_id="leaf", parent_run_id="middle", session_id="s1")
    for owner in ("root", "middle", "brother", "other"):
        payload = {"prompt": "p", "media": [{"$artifact": stored(store, owner.encode(), run_id=owner)}]}
        answered(RecordingClient(), payload, run, store, run_store=runs)
    payload = {"prompt": "p", "media": [{"$artifact": stored(store, b"x", run_id="stranger")}]}
    assert ask(RecordingClient(), payload, run, store, run_store=runs).kind == "policy"


def test_a_host_may_judge_itself(store: InMemoryArtifactStore) -> None:
    payload = {"prompt": "p", "media": [{"$artifact": stored(store, run_id="r9")}]}
    answered(RecordingClient(), payload, None, store, may_use_artifact=lambda run, metadata: True)


# -- text in the message ------------------------------------------------------------------------------------


def test_small_texts_become_part_of_the_message(store: InMemoryArtifactStore) -> None:
    client = RecordingClient()
    messages = [user("first"), {"role": "assistant", "content": "a"}, user("see"), user([{"type": "text"}])]
    notes = {"$artifact": stored(store, "# Nötes".encode(), "text/markdown"), "filename": "notes.md"}
    data = {"$artifact": stored(store, b'{"a": 1}', "application/json"), "source_path": "in/data.json"}
    image = {"$artifact": stored(store)}
    result = answered(client, {"messages": messages, "media": [notes, image, data]}, None, store)
    shown = client.call["messages"][1:]
    assert shown[2]["content"] == (
        "see\n\n--- Content from notes.md ---\n# Nötes\n--- End of notes.md ---"
        '\n\n--- Content from data.json ---\n{"a": 1}\n--- End of data.json ---'
    )
    assert [shown[0], shown[1], shown[3]] == [messages[0], messages[1], messages[3]]
    assert messages[2] == user("see")
    assert len(client.call["media"]) == 1
    assert sent(result)["media"] == [image]


@pytest.mark.parametrize(
    "kind", ["text/x-anything", "application/yaml", "application/x-yaml", "text/plain; x=1"]
)
def test_when_all_is_inlined_there_are_no_media(store: InMemoryArtifactStore, kind: str) -> None:
    client = RecordingClient()
    ref = {"$artifact": stored(store, b"body", "application/octet-stream"), "content_type": kind}
    result = answered(client, {"messages": [user("see")], "media": [ref]}, None, store)
    assert (client.call["media"], sent(result)["media"]) == (None, None)
    assert "glyph_compression" not in client.params
    assert "\nbody\n" in client.call["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("ref", "tags", "label"),
    [
        ({"filename": "f.md", "path": "x/p.md"}, {"filename": "t.md"}, "f.md"),
        ({"path": "x/p.md"}, {"filename": "t.md"}, "p.md"),
        ({}, {"filename": "t.md"}, "t.md"),
    ],
)
def test_the_label_of_inlined_text(store: InMemoryArtifactStore, ref: Any, tags: Any, label: str) -> None:
    client = RecordingClient()
    artifact_id = stored(store, b"body", "text/plain", tags=tags)
    answered(client, {"messages": [user("see")], "media": [{"$artifact": artifact_id, **ref}]}, None, store)
    assert f"--- Content from {label} ---" in client.call["messages"][-1]["content"]


@pytest.mark.parametrize("name", ["max_inline_attachment_bytes", "max_inline_text_attachment_bytes"])
@pytest.mark.parametrize(("limit", "inlined"), [(4, True), (3, False), (0, False), ("5", True), (None, True)])
def test_the_limit_of_inlined_text(
    store: InMemoryArtifactStore, name: str, limit: Any, inlined: bool
) -> None:
    client = RecordingClient()
    ref = {"$artifact": stored(store, b"body", "text/plain")}
    payload = {"messages": [user("see")], "media": [ref], "params": {name: limit}}
    answered(client, payload, None, store)
    assert ("body" in client.call["messages"][-1]["content"]) is inlined
    assert (client.call["media"] is None) is inlined


def test_large_or_undecodable_text_stays_a_file(store: InMemoryArtifactStore) -> None:
    for content in (b"x" * 120_001, b"\xff\xfe"):
        client = RecordingClient()
        ref = {"$artifact": stored(store, content, "text/plain")}
        answered(client, {"messages": [user("see")], "media": [ref]}, None, store)
        assert list(client.files[0].values()) == [content]


def test_without_a_user_message_text_stays_a_file(store: InMemoryArtifactStore) -> None:
    client = RecordingClient()
    ref = {"$artifact": stored(store, b"body", "text/plain"), "filename": "a.txt"}
    answered(client, {"prompt": "p", "media": [ref]}, None, store)
    assert list(client.files[0].values()) == [b"body"]


# -- notes of attachments -----------------------------------------------------------------------------------

ACTIVE = "Active attachments are already available in this call."
INDEX = "Stored session attachments"
HINT = "Open text via: open_attachment("
OPENER = [{"type": "function", "function": {"name": "open_attachment"}}]


def notes(client: RecordingClient) -> list[str]:
    """The first words of the system messages in front."""
    found = [message["content"] for message in client.call["messages"] or ()]
    return [
        ACTIVE if text.startswith(ACTIVE) else INDEX for text in found if text.startswith((ACTIVE, INDEX))
    ]


def test_active_media_are_named(store: InMemoryArtifactStore) -> None:
    client = RecordingClient()
    answered(
        client, {"prompt": "p", "media": [{"$artifact": stored(store), "filename": "x.png"}]}, None, store
    )
    (message,) = client.call["messages"]
    assert message["role"] == "system"
    assert message["content"].startswith(ACTIVE)
    assert "x.png" in message["content"]
    assert client.call["prompt"] == "p"


@pytest.mark.parametrize(
    ("payload", "control", "shown"),
    [
        ({}, None, []),
        ({"use_context": True}, None, [INDEX]),
        ({"include_context": "no", "use_context": True}, None, []),
        ({"tools": OPENER}, None, [INDEX]),
        ({"tools": OPENER, "media": ["a.png"]}, None, [ACTIVE]),
        ({"use_context": True, "media": ["a.png"]}, None, [ACTIVE]),
        ({"params": {"include_session_attachments_index": True}, "media": ["a.png"]}, False, [ACTIVE, INDEX]),
        ({"params": {"include_session_attachments_index": "off"}, "tools": OPENER}, True, []),
        ({"media": ["a.png"]}, True, [ACTIVE, INDEX]),
        ({"tools": OPENER}, False, []),
    ],
)
def test_when_the_index_is_shown(
    store: InMemoryArtifactStore, payload: dict[str, Any], control: Any, shown: list[str]
) -> None:
    attach(store, "text", path="notes.md")
    vars = {"_runtime": {"control": {"include_session_attachments_index": control}}}
    client = RecordingClient()
    answered(client, {"prompt": "p", **payload}, a_run(vars, session_id="s1"), store)
    assert notes(client) == shown
    assert all(HINT not in message["content"] for message in client.call["messages"] or ()) is not (
        INDEX in shown and bool(payload.get("tools"))
    )


def test_no_index_without_store_or_session(store: InMemoryArtifactStore) -> None:
    attach(store, "text", path="notes.md")
    for run, given in ((a_run(), store), (a_run(session_id="s1"), None), (a_run(session_id="s2"), store)):
        client = RecordingClient()
        answered(client, {"prompt": "p", "use_context": True}, run, given)
        assert client.call["messages"] is None


def test_new_notes_replace_old_ones(store: InMemoryArtifactStore) -> None:
    attach(store, "text", path="notes.md")
    old = [
        {"role": "system", "content": f"  {start}: old"}
        for start in ("Active attachments", "Stored session attachments", "Session attachments")
    ]
    kept = [{"role": "system", "content": "rules"}, user("Active attachments: mine"), user("hi")]
    client = RecordingClient()
    payload = {"messages": [old[0], kept[0], old[1], "junk", kept[1], old[2], kept[2]], "use_context": True}
    answered(client, payload, a_run(session_id="s1"), store)
    shown = client.call["messages"]
    assert shown[0]["content"].startswith(INDEX)
    assert shown[1:] == kept


def test_a_file_is_shown_once(store: InMemoryArtifactStore) -> None:
    attach(store, "one\n", path="notes.md")
    output = {"role": "tool", "content": "[read_file]: File: notes.md (1 lines)\n\n1: one"}
    client = RecordingClient()
    messages = [output, user("again"), dict(output)]
    answered(client, {"messages": messages}, a_run(session_id="s1"), store)
    first, _, second = client.call["messages"]
    assert first == output
    assert second["content"].startswith("[read_file]: (duplicate) File already shown above: notes.md")
    assert "open_attachment(artifact_id=" in second["content"]
    assert messages[2] == output


def test_the_run_s_own_messages_do_not_change(store: InMemoryArtifactStore) -> None:
    history = [user("see"), {"role": "tool", "content": "[read_file]: File: a (1 lines)\n\n1: x"}]
    run = a_run({"context": {"messages": list(history)}})
    ref = {"$artifact": stored(store, b"body", "text/plain")}
    answered(RecordingClient(), {"messages": run.vars["context"]["messages"], "media": [ref]}, run, store)
    assert run.vars["context"]["messages"] == history
