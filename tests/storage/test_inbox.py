"""Events that arrive before, during and after a wait, on every backend."""

from __future__ import annotations

from dataclasses import replace

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import CheckpointStore, Event, StoredEvent, Write, Written
from tests.storage.runs import a_run, insert, moved, waiting_for


def _add(store: CheckpointStore, event: Event) -> int | None:
    with store.unit() as unit:
        unit.lock_keys([event.wait_key, *([event.wildcard_key] if event.wildcard_key else [])])
        return unit.add_event(event)


def _next(
    store: CheckpointStore, run_id: str, *keys: str, since: float = 0.0, consume: bool = False
) -> StoredEvent | None:
    with store.unit() as unit:
        unit.lock_keys(keys)
        found = unit.next_event(run_id, keys, since=since)
        if found is not None and consume:
            unit.consume(run_id, found.wait_key, found.seq)
        return found


def test_an_event_id_is_accepted_once(store: CheckpointStore) -> None:
    first = _add(store, Event("e1", "k", {"n": 1}))
    assert first is not None
    assert _add(store, Event("e1", "k", {"n": 2})) is None
    second = _add(store, Event("e2", "k", {"n": 2}))
    assert second is not None
    assert second > first


def test_events_are_consumed_in_order_and_once_per_key(store: CheckpointStore) -> None:
    for n in range(3):
        _add(store, Event(f"e{n}", "k", {"n": n}))
    got = []
    while (event := _next(store, "r1", "k", consume=True)) is not None:
        got.append(event.payload["n"])
    assert got == [0, 1, 2]
    again = _next(store, "r2", "k")
    assert again is not None
    assert again.payload == {"n": 0}


def test_the_cursor_never_moves_back(store: CheckpointStore) -> None:
    seqs = [_add(store, Event(f"e{n}", "k", n)) for n in range(2)]
    assert seqs[0] is not None
    assert seqs[1] is not None
    with store.unit() as unit:
        unit.consume("r1", "k", seqs[1])
        unit.consume("r1", "k", seqs[0])
    assert _next(store, "r1", "k") is None


def test_wildcard_listeners_match_under_their_own_key(store: CheckpointStore) -> None:
    _add(store, Event("e1", "evt:s:paid", {"n": 1}, wildcard_key="evt:s:*"))
    by_wildcard = _next(store, "r1", "evt:s:*", consume=True)
    assert by_wildcard is not None
    assert (by_wildcard.event_id, by_wildcard.wait_key) == ("e1", "evt:s:*")
    assert _next(store, "r1", "evt:s:*") is None
    direct = _next(store, "r1", "evt:s:paid")
    assert direct is not None
    assert direct.wait_key == "evt:s:paid"


def test_the_first_of_several_keys_in_inbox_order(store: CheckpointStore) -> None:
    _add(store, Event("e1", "b", 1))
    _add(store, Event("e2", "a", 2))
    assert [
        event and event.event_id for event in (_next(store, "r1", "a", "b", consume=True) for _ in range(3))
    ] == ["e1", "e2", None]


def test_a_direct_match_is_preferred_to_the_wildcard(store: CheckpointStore) -> None:
    _add(store, Event("e1", "k", 1, wildcard_key="*"))
    for keys in (("k", "*"), ("*", "k")):
        found = _next(store, "r1", *keys)
        assert found is not None
        assert found.wait_key == keys[0]


def test_old_expired_and_own_events_are_not_seen(store: CheckpointStore) -> None:
    now = store.now()
    _add(store, Event("own", "k", 1, emitter_run_id="r1"))
    _add(store, Event("expired", "k", 2, ttl_s=-1.0))
    assert _next(store, "r1", "k") is None
    _add(store, Event("good", "k", 3, emitter_run_id="r2"))
    assert _next(store, "r1", "k", since=now + 600) is None
    found = _next(store, "r1", "k", since=now - 60)
    assert found is not None
    assert found.event_id == "good"
    other = _next(store, "r2", "k")
    assert other is not None
    assert other.event_id == "own"


def test_payloads_are_any_json(store: CheckpointStore) -> None:
    payloads: list[object] = [None, "text", [1, {"ü": None}], 4.5, {"a": {}}]
    for n, payload in enumerate(payloads):
        _add(store, Event(f"e{n}", f"k{n}", payload))
        found = _next(store, "r1", f"k{n}")
        assert found is not None
        assert found.payload == payload


def test_no_keys_no_event(store: CheckpointStore) -> None:
    assert _next(store, "r1") is None
    with store.unit() as unit:
        assert unit.waiting_on([]) == []


def test_waiters_are_found_by_any_of_their_keys(store: CheckpointStore) -> None:
    insert(store, waiting_for(a_run("one"), "k"))
    insert(store, waiting_for(a_run("several"), "a", "k", "z"))
    insert(store, waiting_for(a_run("else"), "x"))
    insert(store, a_run("busy"))
    with store.unit() as unit:
        assert unit.waiting_on(["k"]) == [("one", "k"), ("several", "k")]
        assert unit.waiting_on(["z"]) == [("several", "z")]
        assert unit.waiting_on(["z", "a"]) == [("several", "z")]
        assert unit.waiting_on(["a", "z"]) == [("several", "a")]
        assert unit.waiting_on(["none"]) == []


def test_a_run_that_goes_on_waits_for_nothing(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    parked = moved(store, before, waiting_for(before.run, "a", "b"))
    with store.unit() as unit:
        assert unit.waiting_on(["b"]) == [("r1", "b")]
    again = moved(store, parked, waiting_for(before.run, "b", "c"))
    with store.unit() as unit:
        assert unit.waiting_on(["a"]) == []
        assert unit.waiting_on(["b", "c"]) == [("r1", "b")]
        gone = replace(again.run, status=RunStatus.RUNNING, waiting=None)
        assert unit.write(Write(again, gone)) is Written.OK
        assert unit.waiting_on(["a", "b", "c"]) == []
    with store.unit() as unit:
        assert unit.waiting_on(["a", "b", "c"]) == []


def test_a_cancelled_run_is_no_waiter_even_with_its_wait_kept(store: CheckpointStore) -> None:
    before = insert(store, waiting_for(a_run(), "a", "b"))
    moved(store, before, replace(before.run, status=RunStatus.CANCELLED))
    with store.unit() as unit:
        assert unit.waiting_on(["a", "b"]) == []
