"""`Client` for asyncio: the same calls, none of which blocks the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from abstractruntime.app import App
from abstractruntime.core.errors import ConfigurationError
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.storage.checkpoints import Checkpoint, LedgerEntry, RunSummary
from abstractruntime.storage.sql.store import SqlCheckpointStore

from .client import Client
from .external_events import EventReceipt
from .hints import Dispatcher
from .joining import Joinable
from .settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

__all__ = ["AsyncClient"]

Ids = list[str]
Runs = list[RunState]
Summaries = list[RunSummary]
Entries = list[LedgerEntry]
T = TypeVar("T")


class AsyncClient:
    """A door to a fleet for asyncio; see `Client` for what the calls mean and raise.

    SQL runs in the event loop's default executor. `wait` holds no thread while it waits, so thousands of
    coroutines may. ``connection=`` takes an ``AsyncConnection`` or ``AsyncSession``.

    Args:
        app, settings, store, dispatcher: as for `Client`.
    """

    def __init__(
        self,
        app: App | str | None = None,
        *,
        settings: Settings | None = None,
        store: SqlCheckpointStore | None = None,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self.sync = Client(app, settings=settings, store=store, dispatcher=dispatcher)

    async def start(
        self,
        workflow_id: str,
        vars: dict[str, Any] | None = None,
        *,
        run_id: str | None = None,
        session_id: str | None = None,
        actor_id: str | None = None,
        priority: int = 0,
        connection: AsyncConnection | AsyncSession | None = None,
    ) -> str:
        """`Client.start`."""
        return await self._joined(
            connection,
            lambda joinable: self.sync.start(
                workflow_id,
                vars,
                run_id=run_id,
                session_id=session_id,
                actor_id=actor_id,
                priority=priority,
                connection=joinable,
            ),
        )

    async def start_many(
        self,
        workflow_id: str,
        vars: Iterable[dict[str, Any] | None],
        *,
        run_ids: Sequence[str] | None = None,
        session_id: str | None = None,
        actor_id: str | None = None,
        priority: int = 0,
        connection: AsyncConnection | AsyncSession | None = None,
    ) -> Ids:
        """`Client.start_many`."""
        return await self._joined(
            connection,
            lambda joinable: self.sync.start_many(
                workflow_id,
                vars,
                run_ids=run_ids,
                session_id=session_id,
                actor_id=actor_id,
                priority=priority,
                connection=joinable,
            ),
        )

    async def resume(self, run_id: str, payload: Any = None, *, wait_key: str | None = None) -> RunState:
        """`Client.resume`."""
        return await asyncio.to_thread(self.sync.resume, run_id, payload, wait_key=wait_key)

    async def respond(self, run_id: str, payload: Any) -> RunState:
        """`Client.respond`."""
        return await asyncio.to_thread(self.sync.respond, run_id, payload)

    async def emit_event(
        self,
        name: str | None = None,
        payload: Any = None,
        *,
        scope: str = "session",
        session_id: str | None = None,
        workflow_id: str | None = None,
        run_id: str | None = None,
        wait_key: str | None = None,
        event_id: str | None = None,
        connection: AsyncConnection | AsyncSession | None = None,
    ) -> EventReceipt:
        """`Client.emit_event`."""
        return await self._joined(
            connection,
            lambda joinable: self.sync.emit_event(
                name,
                payload,
                scope=scope,
                session_id=session_id,
                workflow_id=workflow_id,
                run_id=run_id,
                wait_key=wait_key,
                event_id=event_id,
                connection=joinable,
            ),
        )

    async def cancel(self, run_id: str, *, reason: str | None = None) -> Runs:
        """`Client.cancel`."""
        return await asyncio.to_thread(self.sync.cancel, run_id, reason=reason)

    async def pause(self, run_id: str, *, reason: str | None = None) -> RunState:
        """`Client.pause`."""
        return await asyncio.to_thread(self.sync.pause, run_id, reason=reason)

    async def unpause(self, run_id: str) -> RunState:
        """`Client.unpause`."""
        return await asyncio.to_thread(self.sync.unpause, run_id)

    async def retry(self, run_id: str) -> RunState:
        """`Client.retry`."""
        return await asyncio.to_thread(self.sync.retry, run_id)

    async def update_limits(self, run_id: str, updates: dict[str, Any]) -> RunState:
        """`Client.update_limits`."""
        return await asyncio.to_thread(self.sync.update_limits, run_id, updates)

    async def get(self, run_id: str) -> RunState:
        """`Client.get`."""
        return await asyncio.to_thread(self.sync.get, run_id)

    async def checkpoint(self, run_id: str) -> Checkpoint:
        """`Client.checkpoint`."""
        return await asyncio.to_thread(self.sync.checkpoint, run_id)

    async def ledger(self, run_id: str, *, after: int = 0, limit: int | None = None) -> Entries:
        """`Client.ledger`."""
        return await asyncio.to_thread(self.sync.ledger, run_id, after=after, limit=limit)

    async def traces(self, run_id: str) -> dict[str, Any]:
        """`Client.traces`."""
        return await asyncio.to_thread(self.sync.traces, run_id)

    async def list(
        self,
        *,
        status: RunStatus | str | None = None,
        wait_reason: WaitReason | str | None = None,
        workflow_id: str | None = None,
        session_id: str | None = None,
        parent_run_id: str | None = None,
        root_only: bool = False,
        limit: int = 100,
        before: str | None = None,
    ) -> Summaries:
        """`Client.list`."""
        return await asyncio.to_thread(
            self.sync.list,
            status=status,
            wait_reason=wait_reason,
            workflow_id=workflow_id,
            session_id=session_id,
            parent_run_id=parent_run_id,
            root_only=root_only,
            limit=limit,
            before=before,
        )

    async def counts(self) -> dict[str, int]:
        """`Client.counts`."""
        return await asyncio.to_thread(self.sync.counts)

    async def wait(self, run_id: str, timeout: float | None = None) -> RunState:
        """`Client.wait`."""
        deadline = None if timeout is None else monotonic() + timeout
        run = await self.get(run_id)
        if run.is_terminal:
            return run
        signal = _LoopSignal(asyncio.get_running_loop())
        watch = await asyncio.to_thread(self.sync.endings.watch, run_id, signal.set)
        try:
            while True:
                signal.clear()
                run = await self.get(run_id)
                if run.is_terminal:
                    return run
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"Run '{run_id}' is {run.status.value} after {timeout:g} s")
                pause = self.sync.endings.pause_s
                await signal.wait(pause if left is None else min(pause, left))
        finally:
            watch.close()

    async def _joined(
        self, connection: AsyncConnection | AsyncSession | None, work: Callable[[Joinable | None], T]
    ) -> T:
        if connection is None:
            return await asyncio.to_thread(work, None)
        if not hasattr(connection, "run_sync"):
            raise ConfigurationError(
                "connection= of an AsyncClient takes an AsyncConnection or AsyncSession, "
                f"not {type(connection).__name__}"
            )
        return await connection.run_sync(work)

    async def close(self) -> None:
        """`Client.close`."""
        await asyncio.to_thread(self.sync.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _LoopSignal:
    """An event that other threads set and one coroutine waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def set(self) -> None:
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        self._event.clear()

    async def wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except asyncio.TimeoutError:
            return
