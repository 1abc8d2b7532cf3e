"""Hints for later wait in bounded memory, leave in the order of their times, and are never needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic

from abstractruntime.storage.checkpoints import Task
from tests.poll import eventually
from workers.hints import Announcement, Hint, Message
from workers.timekeeper import Timekeeper


class Broker:
    """Notes what is published, and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, Message]] = []
        self.broken = False
        self.full: set[Task] = set()

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        return task in self.full

    def send(self, messages: Sequence[Message]) -> None:
        if self.broken:
            self.broken = False
            raise RuntimeError("no broker")
        self.sent += [(monotonic(), message) for message in messages]

    @property
    def runs(self) -> list[str]:
        return [message.run_id for _, message in self.sent]


def hint(run_id: str, delay_s: float = 0.0) -> Hint:
    return Hint(Task.TICK, run_id, 1, "node", "workflow", delay_s)


def test_hints_for_now_pass_and_hints_for_later_leave_in_the_order_of_their_times() -> None:
    broker = Broker()
    keeper = Timekeeper(broker, limit=10)
    later = [hint("c", 0.2), hint("b", 0.15), hint("a", 0.1)]
    keeper.send([*later, hint("now"), Announcement("ended")])
    assert broker.runs == ["now", "ended"]
    eventually(lambda: len(broker.sent) == 5)
    assert broker.runs == ["now", "ended", "a", "b", "c"]
    for moment, message in broker.sent[2:]:
        assert isinstance(message, Hint)
        assert moment >= message.made_at + message.delay_s
    keeper.close()


def test_the_time_that_passed_since_a_hint_was_made_counts() -> None:
    broker = Broker()
    keeper = Timekeeper(broker, limit=10)
    made = monotonic() - 60.0
    keeper.send([Hint(Task.TICK, "old", 1, "node", "workflow", 60.0, made)])
    eventually(lambda: broker.runs == ["old"])
    keeper.close()


def test_no_more_than_the_limit_are_kept() -> None:
    broker = Broker()
    keeper = Timekeeper(broker, limit=3)
    keeper.send([hint(str(i), 60.0) for i in range(5)])
    assert keeper.room == 0
    keeper.send([hint("now")])
    assert broker.runs == ["now"]
    keeper.close()
    assert broker.runs == ["now", "0", "1", "2"]


def test_a_failure_to_publish_does_not_stop_the_timers_after_it() -> None:
    broker = Broker()
    broker.broken = True
    keeper = Timekeeper(broker, limit=10)
    keeper.send([hint("lost", 0.02), hint("sent", 0.2)])
    eventually(lambda: broker.runs == ["sent"])
    keeper.close()


def test_a_burst_enters_a_full_queue_as_it_drains() -> None:
    broker = Broker()
    broker.full.add(Task.TICK)
    keeper = Timekeeper(broker, limit=10)
    other = Hint(Task.EFFECT, "effect", 1, "node", "workflow", 0.05)
    keeper.send([hint("a", 0.01), hint("b", 0.02), other])
    eventually(lambda: broker.runs == ["effect"])
    assert keeper.room == 8
    broker.full.clear()
    eventually(lambda: broker.runs == ["effect", "a", "b"])
    assert all(isinstance(message, Hint) and not message.takes_room for _, message in broker.sent)
    keeper.close()


def test_what_is_left_at_the_end_is_handed_over_at_once() -> None:
    broker = Broker()
    keeper = Timekeeper(broker, limit=10)
    keeper.send([hint("far", 3600.0)])
    keeper.close()
    assert broker.sent[0][1] == hint("far")  # for now: whoever receives it keeps it
    assert all(thread.name != "timekeeper" for thread in threading.enumerate())
    keeper.send([hint("after the end", 3600.0)])  # left to the sweep
    assert broker.runs == ["far"]


def test_the_first_few_are_eta_messages_until_they_are_due() -> None:
    broker = Broker()
    keeper = Timekeeper(broker, limit=10, eta_limit=2)
    keeper.send([hint("a", 0.2), hint("b", 3600.0), hint("kept", 3600.0)])
    assert (broker.runs, keeper.room) == (["a", "b"], 9)
    eventually(lambda: monotonic() >= broker.sent[0][0] + 0.2)
    keeper.send([hint("c", 3600.0), hint("kept too", 3600.0)])
    assert (broker.runs, keeper.room) == (["a", "b", "c"], 8)
    keeper.close()
    assert sorted(broker.runs[3:]) == ["kept", "kept too"]
