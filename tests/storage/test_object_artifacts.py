"""Artifacts in object stores: damage, garbage, and every order in which two users can meet."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
from greenlet import getcurrent, greenlet

from abstractruntime.core.errors import ConfigurationError, ServiceUnavailableError
from abstractruntime.storage import object_artifacts, object_garbage
from abstractruntime.storage.artifacts import CorruptArtifactError, compute_artifact_id, compute_blob_id
from abstractruntime.storage.object_artifacts import ObjectArtifactStore
from abstractruntime.storage.object_bucket import Bucket, Entry, Found

pytest.importorskip("obstore", reason="object stores need obstore: install abstractruntime[objects]")


@pytest.fixture
def bucket() -> Bucket:
    return Bucket.from_url("memory:///")


@pytest.fixture
def store(bucket: Bucket) -> ObjectArtifactStore:
    return ObjectArtifactStore(bucket)


def ref_key(artifact_id: str) -> str:
    return f"artifacts/refs/{artifact_id}.json"


@pytest.mark.weakness("spec/02 D-9")
def test_damaged_content_is_noticed_and_repaired(bucket: Bucket, store: ObjectArtifactStore) -> None:
    kept = store.store(b"hello", run_id="r1")
    bucket.put(f"artifacts/blobs/{kept.blob_id}", b"Xello")
    with pytest.raises(CorruptArtifactError, match=kept.artifact_id):
        store.load(kept.artifact_id)
    store.store(b"hello", run_id="another")
    assert store.load_text(kept.artifact_id) == "hello"


def test_missing_content_is_no_artifact(bucket: Bucket, store: ObjectArtifactStore) -> None:
    kept = store.store(b"x")
    bucket.delete(f"artifacts/blobs/{kept.blob_id}")
    assert store.load(kept.artifact_id) is None
    assert not store.exists(kept.artifact_id)
    assert store.get_metadata(kept.artifact_id) == kept


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'{"artifact_id": "a', json.JSONDecodeError),
        (b"", json.JSONDecodeError),
        (b"[]", CorruptArtifactError),
        (b'{"artifact_id": "a"}', CorruptArtifactError),
        (b"\xff", CorruptArtifactError),
    ],
)
@pytest.mark.weakness("spec/02 D-7")
def test_damaged_metadata_stops_gc_and_hides_no_other_artifact(
    bucket: Bucket,
    store: ObjectArtifactStore,
    caplog: pytest.LogCaptureFixture,
    text: bytes,
    error: type[Exception],
) -> None:
    bad, good = store.store(b"bad", run_id="r"), store.store(b"good", run_id="r")
    bucket.put(ref_key(bad.artifact_id), text)
    for use in (store.load, store.get_metadata, store.exists):
        with pytest.raises(error):
            use(bad.artifact_id)
    assert store.list_by_run("r") == store.list_all() == [good]
    assert bad.artifact_id in caplog.text
    report = store.gc(dry_run=False)
    assert report["blobs_deleted"] == 0
    assert bad.artifact_id in report["errors"][0]["error"]
    store.store(b"bad", run_id="r")
    assert store.load_text(bad.artifact_id) == "bad"
    bucket.put(ref_key(bad.artifact_id), text)
    assert store.delete(bad.artifact_id)
    assert store.gc(dry_run=False)["blobs_deleted"] == 1


@pytest.mark.weakness("spec/02 P-6")
def test_a_listing_by_run_reads_no_other_run(
    bucket: Bucket, store: ObjectArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        store.store(bytes([number]), run_id=f"r{number % 10}")
    read: list[str] = []
    get = bucket.get
    monkeypatch.setattr(bucket, "get", lambda key: read.append(key) or get(key))
    assert len(store.list_by_run("r3")) == 3
    assert len(read) == 3


def test_run_ids_may_hold_anything(store: ObjectArtifactStore) -> None:
    names = ["", "a/b", "../x", "ü#?%\n", "x" * 500]
    ids = [store.store(b"x", run_id=name, artifact_id=f"a{n}").artifact_id for n, name in enumerate(names)]
    assert [[each.artifact_id for each in store.list_by_run(name)] for name in names] == [[i] for i in ids]


def test_what_a_killed_collection_put_aside_is_put_back_or_removed(
    bucket: Bucket, store: ObjectArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = store.store(b"kept")
    for blob_id, content in ((kept.blob_id, b"kept"), (compute_blob_id(b"gone"), b"gone")):
        bucket.put(f"artifacts/trash/{blob_id}/killed", content)
    bucket.delete(f"artifacts/blobs/{kept.blob_id}")
    assert store.load_text(kept.artifact_id) == "kept"
    assert store.exists(kept.artifact_id)
    store.gc(dry_run=False)
    assert len(bucket.entries("artifacts/trash")) == 2
    monkeypatch.setattr(object_garbage, "_ABANDONED", timedelta(0))
    store.gc(dry_run=False)
    assert bucket.entries("artifacts/trash") == []
    assert store.load_text(kept.artifact_id) == "kept"
    assert [entry.name for entry in bucket.entries("artifacts/blobs")] == [kept.blob_id]


# --- who must be told what ---------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["nope://bucket", "no url", "s3://"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"s3://bucket/prefix"):
        ObjectArtifactStore.from_url(url)


def test_without_the_extra_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(ConfigurationError, match=r"abstractruntime\[objects\]"):
        ObjectArtifactStore.from_url("memory:///")


def test_a_store_that_is_away_is_named_without_secrets() -> None:
    from obstore.store import S3Store

    away = S3Store(
        "payloads",
        endpoint="http://127.0.0.1:9",
        access_key_id="key",
        secret_access_key="hush",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    store = ObjectArtifactStore(away)
    for use in (lambda: store.store(b"x"), lambda: store.load("a"), store.list_all, store.gc):
        with pytest.raises(ServiceUnavailableError, match="payloads") as caught:
            use()
        assert "hush" not in str(caught.value)


def _use_in_child(url: str, answers: SimpleQueue[str]) -> None:
    try:
        answers.put(ObjectArtifactStore.from_url(url).store(b"x").artifact_id)
    except ConfigurationError as exc:
        answers.put(str(exc))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
# Python's own warning says the same as ours, of threads in general.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_what_is_wrong(store: ObjectArtifactStore, tmp_path: Path) -> None:
    store.list_all()
    context = multiprocessing.get_context("fork")
    answers: SimpleQueue[str] = context.SimpleQueue()
    child = context.Process(target=_use_in_child, args=(tmp_path.as_uri(), answers))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert "use them first in the child" in answers.get()


# --- every order in which two users can meet ------------------------------------------------------------


class _TurnTaking(Bucket):
    """Objects in a dict; hands over to the scheduler of `_in_every_order` before each request."""

    def __init__(self) -> None:
        self.address = "a dict"
        self._clock = itertools.count()
        self._kept: dict[str, tuple[Found, datetime]] = {}

    def _my_turn(self) -> None:
        parent = getcurrent().parent
        if parent is not None:
            parent.switch()

    def get(self, key: str) -> Found | None:
        self._my_turn()
        return self._kept[key][0] if key in self._kept else None

    def has(self, key: str) -> bool:
        self._my_turn()
        return key in self._kept

    def put(self, key: str, content: bytes) -> None:
        self._my_turn()
        self._keep(key, content)

    def _keep(self, key: str, content: bytes) -> None:
        self._kept[key] = (Found(content, str(next(self._clock)), None), datetime.now(timezone.utc))

    def put_over(self, key: str, content: bytes, before: Found | None) -> bool:
        self._my_turn()
        if (self._kept[key][0] if key in self._kept else None) != before:
            return False
        self._keep(key, content)
        return True

    def delete(self, key: str) -> None:
        self._my_turn()
        self._kept.pop(key, None)

    def copy(self, source: str, target: str) -> bool:
        self._my_turn()
        if source in self._kept:
            self._keep(target, self._kept[source][0].content)
        return source in self._kept

    def entries(self, directory: str) -> list[Entry]:
        self._my_turn()
        return [
            Entry(key.removeprefix(f"{directory}/"), len(found.content), found.e_tag, modified)
            for key, (found, modified) in self._kept.items()
            if key.startswith(f"{directory}/")
        ]


class _OneThread:
    def __init__(self, *_: object, **__: object) -> None: ...
    def __enter__(self) -> _OneThread:
        return self

    def __exit__(self, *_: object) -> None: ...
    def map(self, work: Callable[[str], None], items: Iterable[str]) -> Iterator[None]:
        return map(work, items)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_artifacts, "ThreadPoolExecutor", _OneThread)


def _in_every_order(
    prepare: Callable[[ObjectArtifactStore], None], users: list[Callable[[ObjectArtifactStore], object]]
) -> Iterator[ObjectArtifactStore]:
    """The store after the users' requests have been made in each order with at most `_SWITCHES` changes from
    one to another before the first is done."""
    schedule: list[int] = []
    while True:
        store = ObjectArtifactStore(_TurnTaking())
        prepare(store)
        tasks = [greenlet(partial(user, store)) for user in users]
        taken: list[tuple[int, list[int]]] = []
        switches, last = 0, 0
        for turn in itertools.count():
            alive = [n for n, task in enumerate(tasks) if not task.dead]
            if not alive:
                break
            if switches == _SWITCHES and last in alive:
                alive = [last]
            chosen = schedule[turn] if turn < len(schedule) else alive[0]
            taken.append((chosen, alive))
            switches, last = switches + (chosen != last), chosen
            tasks[chosen].switch()
        yield store
        while taken and taken[-1][0] == taken[-1][1][-1]:
            taken.pop()
        if not taken:
            return
        final, alive = taken.pop()
        schedule = [chosen for chosen, _ in taken] + [alive[alive.index(final) + 1]]


_SWITCHES = 5
SAME = compute_artifact_id(b"same", run_id="r")


def _garbage(store: ObjectArtifactStore) -> None:
    store.store(b"same", run_id="r")
    store.delete(SAME)


@pytest.mark.weakness("spec/02 D-7")
@pytest.mark.usefixtures("one_thread")
def test_a_store_beside_gc_keeps_its_content() -> None:
    orders = 0
    users: list[Callable[[ObjectArtifactStore], object]] = [
        lambda store: store.gc(dry_run=False),
        lambda store: store.store(b"same", run_id="r"),
    ]
    for store in _in_every_order(_garbage, users):
        orders += 1
        assert store.load_text(SAME) == "same"
        assert len(store.list_by_run("r")) == 1
        store.gc(dry_run=False)
        assert store.load_text(SAME) == "same"
    assert orders > 500


@pytest.mark.usefixtures("one_thread")
def test_a_store_beside_a_deletion_is_listed_if_it_is_there() -> None:
    orders = 0
    users: list[Callable[[ObjectArtifactStore], object]] = [
        lambda store: store.delete(SAME),
        lambda store: store.store(b"same", run_id="r", tags={"a": "1"}),
    ]
    for store in _in_every_order(lambda store: store.store(b"same", run_id="r"), users):
        orders += 1
        assert store.exists(SAME) == bool(store.list_by_run("r"))
    assert orders > 50


@pytest.mark.usefixtures("one_thread")
def test_stores_beside_each_other_lose_no_tags() -> None:
    users: list[Callable[[ObjectArtifactStore], object]] = [
        lambda store: ObjectArtifactStore(store._bucket).store(b"same", run_id="r", tags={"a": "1"}),
        lambda store: ObjectArtifactStore(store._bucket).store(b"same", run_id="r", tags={"b": "1"}),
    ]
    for store in _in_every_order(lambda store: None, users):
        (metadata,) = store.list_by_run("r")
        assert metadata.tags == {"a": "1", "b": "1"}
