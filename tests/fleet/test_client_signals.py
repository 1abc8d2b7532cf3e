"""Resume, respond, emit."""

from __future__ import annotations

import pytest

from abstractruntime.core.errors import InvalidInputError, UnknownRunError, WaitMismatchError
from abstractruntime.core.models import RunStatus
from tests.fleet.pump import Pump
from workers.client import Client


def _output(client: Client, run_id: str) -> dict[str, object]:
    run = client.get(run_id)
    assert run.status is RunStatus.COMPLETED, run
    assert run.output is not None
    return run.output


def test_an_answer_lets_the_run_go_on(client: Client, pump: Pump) -> None:
    run_id = client.start("ask")
    pump.run()
    run = client.respond(run_id, {"text": "yes"})
    assert run.status is RunStatus.RUNNING
    pump.run()
    assert _output(client, run_id) == {"answer": {"text": "yes"}}


def test_the_wait_key_must_match(client: Client, pump: Pump) -> None:
    run_id = client.start("ask")
    pump.run()
    with pytest.raises(WaitMismatchError, match="wait_key mismatch"):
        client.resume(run_id, {}, wait_key="other")
    assert client.resume(run_id, "ok", wait_key=f"user:{run_id}:ask").status is RunStatus.RUNNING


@pytest.mark.parametrize("verb", ["resume", "respond"])
def test_what_does_not_wait_is_not_resumed(client: Client, pump: Pump, verb: str) -> None:
    call = getattr(client, verb)
    with pytest.raises(UnknownRunError, match="Unknown run_id: nobody"):
        call("nobody", {})
    run_id = client.start("ask")
    with pytest.raises(WaitMismatchError, match=r"not waiting \(status=running\)"):
        call(run_id, {})
    pump.run()
    client.respond(run_id, 1)
    with pytest.raises(WaitMismatchError, match="not waiting"):
        call(run_id, 2)
    pump.run()
    with pytest.raises(WaitMismatchError, match=r"not waiting \(status=completed\)"):
        call(run_id, {})
    assert _output(client, run_id) == {"answer": 1}


def test_a_paused_run_is_not_resumed(client: Client, pump: Pump) -> None:
    run_id = client.start("listen")
    pump.run()
    client.pause(run_id)
    with pytest.raises(WaitMismatchError, match="Run is paused"):
        client.resume(run_id, {})


def test_only_people_respond(client: Client, pump: Pump) -> None:
    run_id = client.start("listen")
    pump.run()
    with pytest.raises(WaitMismatchError, match="waits for event 'evt:session:s1:paid'"):
        client.respond(run_id, {})


def test_an_event_reaches_its_listeners_in_an_envelope(client: Client, pump: Pump) -> None:
    listeners = sorted(client.start("listen") for _ in range(3))
    pump.run()
    receipt = client.emit_event("paid", {"amount": 3}, session_id="s1", event_id="e1")
    assert receipt.accepted
    assert receipt.event_id == "e1"
    assert receipt.resumed == listeners
    pump.run()
    for run_id in listeners:
        event = _output(client, run_id)["event"]
        assert isinstance(event, dict)
        assert event.pop("emitted_at")
        assert event == {
            "event_id": "e1",
            "name": "paid",
            "scope": "session",
            "session_id": "s1",
            "payload": {"amount": 3},
            "emitter": {"source": "external"},
        }


def test_an_event_id_is_accepted_once(client: Client, pump: Pump) -> None:
    run_id = client.start("twice")
    pump.run()
    assert client.emit_event("paid", 1, session_id="s1", event_id="same").accepted
    pump.run()
    again = client.emit_event("paid", 1, session_id="s1", event_id="same")
    assert (again.accepted, again.resumed) == (False, [])
    pump.run()
    assert client.get(run_id).status is RunStatus.WAITING
    assert client.emit_event("paid", 1, session_id="s1").accepted
    pump.run()
    assert client.get(run_id).status is RunStatus.COMPLETED


def test_events_that_come_first_are_kept_in_order(client: Client, pump: Pump) -> None:
    run_id = client.start("twice")
    for n in (1, 2):
        assert client.emit_event("paid", {"n": n}, session_id="s1").resumed == []
    pump.run()
    output = _output(client, run_id)
    assert [output[name]["payload"] for name in ("first", "event")] == [{"n": 1}, {"n": 2}]  # type: ignore[index]


def test_an_explicit_key_delivers_the_payload_as_it_is(client: Client, pump: Pump) -> None:
    run_id = client.start("listen", {"listen": {"wait_key": "order:7"}})
    pump.run()
    assert client.emit_event(None, [1, 2], wait_key="order:7").resumed == [run_id]
    pump.run()
    assert _output(client, run_id) == {"event": [1, 2]}


def test_wildcard_listeners_hear_every_name(client: Client, pump: Pump) -> None:
    run_id = client.start("listen", {"listen": {"name": "*", "session_id": "s1"}})
    pump.run()
    assert client.emit_event("anything", session_id="s1").resumed == [run_id]
    assert client.emit_event("anything", session_id="s2").resumed == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"name": " "}, "requires a non-empty name"),
        ({"name": "x", "scope": "planet"}, "unknown event scope"),
        ({"name": "x", "scope": "run"}, "missing scope id for scope='run'"),
        ({"name": "x", "session_id": "s", "event_id": "a\nb"}, "event_id must not hold control"),
        ({"name": "x", "session_id": "s", "payload": {"v": {1, 2}}}, r"payload\.v is a set"),
        ({"wait_key": "k" * 601}, "wait_key has 601 characters"),
    ],
)
def test_bad_events_are_refused(client: Client, arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        client.emit_event(**arguments)  # type: ignore[arg-type]
