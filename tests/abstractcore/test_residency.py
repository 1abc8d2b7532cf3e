"""Made once, kept while there is room (`spec/04 §16.19`)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore._clients.residency import Residency


class Maker:
    def __init__(self) -> None:
        self.made: list[str] = []
        self.dropped: list[str] = []

    def make(self, key: str) -> str:
        self.made.append(key)
        return key.upper()

    def drop(self, key: str, value: str) -> None:
        assert value == key.upper()
        self.dropped.append(key)

    def residency(self, limit: int = 2, **more: Any) -> Residency[str, str]:
        return Residency(self.make, self.drop, limit=limit, **more)


def test_threads_that_come_meanwhile_wait_for_the_one_that_makes() -> None:
    maker = Maker()
    go = threading.Event()
    waiting = threading.Semaphore(0)
    got: list[str] = []

    def slow(key: str) -> str:
        assert go.wait(10)
        return maker.make(key)

    residency: Residency[str, str] = Residency(slow, maker.drop, limit=2)

    def ask() -> None:
        waiting.release()
        got.append(residency.get("a"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert waiting.acquire(timeout=10)
    assert residency.keys() == []
    assert residency.remove("a") is False
    go.set()
    for thread in threads:
        thread.join(10)
    assert got == ["A"] * 8
    assert maker.made == ["a"]


def test_other_keys_are_made_meanwhile() -> None:
    maker = Maker()
    release = threading.Event()
    started = threading.Event()

    def make(key: str) -> str:
        if key == "slow":
            started.set()
            assert release.wait(10)
        return maker.make(key)

    residency: Residency[str, str] = Residency(make, maker.drop, limit=2)
    thread = threading.Thread(target=residency.get, args=("slow",))
    thread.start()
    assert started.wait(10)
    assert residency.get("fast") == "FAST"
    release.set()
    thread.join(10)
    assert residency.keys() == ["slow", "fast"]


def test_a_failure_reaches_the_caller_and_is_not_kept() -> None:
    maker = Maker()
    failures = [OSError("no memory")]

    def make(key: str) -> str:
        if failures:
            raise failures.pop()
        return maker.make(key)

    residency: Residency[str, str] = Residency(make, maker.drop, limit=2)
    with pytest.raises(OSError, match="no memory"):
        residency.get("a")
    assert residency.keys() == []
    assert residency.get("a") == "A"


def test_the_least_recently_used_leaves_first() -> None:
    maker = Maker()
    residency = maker.residency(limit=2)
    residency.get("a")
    residency.get("b")
    residency.get("a")
    residency.get("c")
    assert (residency.keys(), maker.dropped) == (["a", "c"], ["b"])


def test_the_pinned_one_stays() -> None:
    maker = Maker()
    residency = maker.residency(limit=1, pinned=frozenset({"a"}))
    residency.get("a")
    residency.get("b")
    assert (residency.keys(), maker.dropped) == (["a"], ["b"])


def test_what_is_in_use_stays_until_it_is_not() -> None:
    maker = Maker()
    residency = maker.residency(limit=1)
    with residency.using("a"):
        with residency.using("b"):
            assert residency.keys() == ["a", "b"]
        assert maker.dropped == ["b"]
        assert residency.remove("a") is True
        assert residency.keys() == []
        assert maker.dropped == ["b"]
        residency.get("a")
    assert maker.made == ["a", "b", "a"]
    assert maker.dropped == ["b", "a"]
    assert residency.keys() == ["a"]


def test_removing() -> None:
    maker = Maker()
    residency = maker.residency()
    assert residency.remove("a") is False
    residency.get("a")
    residency.get("b")
    residency.clear()
    assert (residency.keys(), maker.dropped) == ([], ["a", "b"])
