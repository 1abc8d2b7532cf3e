"""The person of the demo, scripted: answers what runs ask, through the client, as a web backend would."""

from __future__ import annotations

from threading import Event, Thread
from types import TracebackType

from abstractruntime.core.errors import WaitMismatchError
from abstractruntime.core.models import WaitReason
from workers.client import Client

from .claims import answer_to

__all__ = ["Approver"]

_LOOK_S = 0.2
_AT_ONCE = 50


class Approver:
    """Works in a thread of its own until its context ends."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ended = Event()
        self._thread = Thread(target=self._work, name="approver", daemon=True)
        self.answered = 0
        self.failure: Exception | None = None

    def __enter__(self) -> Approver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            while not self._ended.wait(_LOOK_S):
                for waiting in self._client.list(wait_reason=WaitReason.USER, limit=_AT_ONCE):
                    self._answer(waiting.run_id)
        except Exception as exc:  # shown by the demo: a thread has nobody to raise to
            self.failure = exc

    def _answer(self, run_id: str) -> None:
        amount = str(self._client.get(run_id).vars["amount_eur"])
        try:
            self._client.respond(run_id, {"answer": answer_to(amount)})
        except WaitMismatchError:
            return  # the listing was a moment old: answered already
        self.answered += 1
