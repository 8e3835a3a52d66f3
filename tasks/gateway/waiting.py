"""Waiting in the gateway: for an outcome, a disconnect of the caller, or the gateway's own end.

A submission goes on without a waiting caller. So the gateway may stop waiting at any time and
answers with what it knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

from starlette.requests import Request

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.gateway.http import (
    ApiError,
    ClientDisconnectedError,
    client_disconnected,
)
from checkpoint_worker.tasks.gateway.loops import PerLoop
from checkpoint_worker.tasks.gateway.middleware import CUT_OFF, RETRY_AFTER_S
from checkpoint_worker.tasks.operations.submissions import BEYOND_DEADLINE_S
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome

ASK_AGAIN_S: Final = 0.5
"""Interval between two reads while the ledger does not answer."""
CANCEL_AGAIN_S: Final = 0.1
"""Interval between two cancels of a task that has not ended."""
HEARTBEAT_S: Final = 5.0
"""Interval between two comments that keep an event stream alive."""
RECONNECT_MS: Final = 2_000
"""Time after which a reader of a broken event stream connects again."""


def still_open(submission_id: str, why: str) -> ApiError:
    """Return the 503 for a submission whose outcome the gateway does not know."""
    msg = f"{why} The submission may go on and its code may be used: ask for it by its id."
    headers = {"Retry-After": str(RETRY_AFTER_S), "X-Submission-ID": submission_id}
    return ApiError(catalogue.UNAVAILABLE, msg, instance=submission_id, headers=headers)


@contextmanager
def cut_off_with(submission_id: str) -> Iterator[None]:
    """Name the submission in the answer if the server cancels the request.

    Raises:
        ApiError: 503, instead of the cancellation.
    """
    try:
        yield
    except asyncio.CancelledError:
        raise still_open(submission_id, CUT_OFF) from None


class Waiting:
    """The waiting callers of one gateway.

    Args:
        client: Function that returns the client; its first call may make the client.
        deadline_s: Maximum time from acceptance to outcome, seconds.
    """

    def __init__(self, client: Callable[[], AsyncCheckpointClient], deadline_s: float) -> None:
        self._client = client
        self.longest_s = deadline_s + BEYOND_DEADLINE_S
        """Time by which every submission has its outcome, so no caller waits longer."""
        self._leaving = PerLoop(asyncio.Event)

    @property
    def leaving(self) -> bool:
        """Whether the gateway is stopping in this event loop, so that no caller may wait."""
        return self._leaving.get().is_set()

    def begin(self) -> None:
        """Let callers wait, also where an earlier run in the same event loop has ended."""
        self._leaving = PerLoop(asyncio.Event)

    def leave(self) -> None:
        """Answer all waiting callers now."""
        self._leaving.get().set()

    async def outcome(
        self, request: Request, submission_id: str, wait_s: float, *, cancels: bool
    ) -> Outcome | None:
        """Wait for an outcome until the caller disconnects or the gateway stops.

        Args:
            request: The request; its body has been read.
            submission_id: The submission.
            wait_s: Maximum time; after it the record is returned as it is.
            cancels: Whether the disconnect of the caller cancels the submission.

        Returns:
            The record, ``None`` if the record has expired.

        Raises:
            ApiError: 503: the gateway stops, or the ledger does not answer.
            ClientDisconnectedError: The caller has closed the connection.
        """
        waiting = asyncio.create_task(self._wait(submission_id, wait_s))
        gone = asyncio.create_task(client_disconnected(request))
        leaving = asyncio.create_task(self._leaving.get().wait())
        tasks = (waiting, gone, leaving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            if leaving.done():
                raise still_open(submission_id, "The gateway is stopping.")
        finally:
            await _end(tasks)
        if cancels:
            await self._client().cancel(submission_id)
        raise ClientDisconnectedError

    async def _wait(self, submission_id: str, wait_s: float) -> Outcome | None:
        end = time.monotonic() + wait_s
        while True:
            left_s = end - time.monotonic()
            try:
                return await self._client().wait(submission_id, max(left_s, 0.0))
            except CheckpointError as error:  # Keep waiting through a short outage of the ledger.
                if left_s <= ASK_AGAIN_S:
                    said = "The ledger does not answer."
                    raise still_open(submission_id, said) from error
                await asyncio.sleep(ASK_AGAIN_S)

    async def tell(self, told: Outcome) -> AsyncIterator[str]:
        """Yield a record and its changes as server-sent events, up to the final record."""
        yield f"retry: {RECONNECT_MS}\n{_event(told)}"
        end_s = time.monotonic() + self.longest_s
        async with aclosing(self._client().changes(told, beat_s=HEARTBEAT_S)) as changes:
            while not told.is_final and not self.leaving and time.monotonic() < end_s:
                record = await self._next(changes)
                if record is None:
                    return
                yield _event(record) if record != told else ": no change yet\n\n"
                told = record

    async def _next(self, changes: AsyncIterator[Outcome | None]) -> Outcome | None:
        """Return the next change of a record; ``None`` if there is none or the gateway stops."""
        asking = asyncio.ensure_future(anext(changes, None))
        leaving = asyncio.create_task(self._leaving.get().wait())
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            await _end((asking, leaving))


def _event(record: Outcome) -> str:
    return f"id: {record.state}\ndata: {record.to_json()}\n\n"


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended; each ends by itself when its own timeout has passed."""
    pending = set(tasks)
    while pending:
        for task in pending:  # Repeated, because redis-py may swallow a cancel while it connects.
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
