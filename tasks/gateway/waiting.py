"""How the gateway waits: for an outcome, for its caller to go, for its own end.

A submission goes on without whoever waits for it. So to stop waiting is always possible, and
says where things stand.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from typing import Any, Final

from fastapi import Request

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.gateway.http import ApiError, ClientDisconnectedError, hung_up
from checkpoint_worker.tasks.gateway.middleware import RETRY_AFTER_S
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome

BEYOND_DEADLINE_S: Final = 5.0
"""Every submission has its outcome by its deadline and a few seconds."""
ASK_AGAIN_S: Final = 0.5
"""Between two questions to a ledger that does not answer."""
CANCEL_AGAIN_S: Final = 0.1
"""Between two cancellations of a task that goes on all the same."""
HEARTBEAT_S: Final = 5.0
"""Between two signs of life of an event stream."""
RECONNECT_MS: Final = 2_000
"""After which a reader of an event stream that broke off asks again."""


def still_open(submission_id: str, why: str) -> ApiError:
    """Return what is answered about a submission whose outcome is not known here: 503."""
    msg = f"{why} The submission may go on and its code may be used: ask for it by its id."
    headers = {"Retry-After": str(RETRY_AFTER_S), "X-Submission-ID": submission_id}
    return ApiError(catalogue.UNAVAILABLE, msg, instance=submission_id, headers=headers)


class Waiting:
    """All who wait in one gateway.

    Args:
        client: Returns the client; it may be made only now.
        deadline_s: From acceptance to outcome, seconds.
    """

    def __init__(self, client: Callable[[], AsyncCheckpointClient], deadline_s: float) -> None:
        self._client = client
        self.longest_s = deadline_s + BEYOND_DEADLINE_S
        """After which nobody needs to wait any more."""
        self._leaving = asyncio.Event()

    @property
    def leaving(self) -> bool:
        """Whether nobody may wait any more."""
        return self._leaving.is_set()

    def begin(self) -> None:
        """Let callers wait, on this event loop."""
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Answer everybody who waits, now."""
        self._leaving.set()

    async def outcome(
        self, request: Request, submission_id: str, wait_s: float, *, cancels: bool
    ) -> Outcome | None:
        """Wait for an outcome for as long as the caller and this process stay.

        Args:
            request: Whose body has been read.
            submission_id: Of what.
            wait_s: How long, at most; then the record comes as it is.
            cancels: Whether a caller that goes takes its submission back.

        Returns:
            The record, ``None`` if the ledger does not know it any more.

        Raises:
            RefusalError: 503: this process ends, or the ledger is away.
            HungUpError: The caller has gone.
        """
        waiting = asyncio.create_task(self._wait(submission_id, wait_s))
        gone = asyncio.create_task(hung_up(request))
        leaving = asyncio.create_task(self._leaving.wait())
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
            except CheckpointError as error:  # A ledger away for a moment is not an answer.
                if left_s <= ASK_AGAIN_S:
                    said = "The ledger does not answer."
                    raise still_open(submission_id, said) from error
                await asyncio.sleep(ASK_AGAIN_S)

    async def tell(self, told: Outcome) -> AsyncIterator[str]:
        """Yield a record and its changes as server-sent events, to the final one."""
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
        """Return the next of a record's changes; ``None``: there is none, or this process ends."""
        asking = asyncio.ensure_future(anext(changes, None))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            await _end((asking, leaving))


def _event(record: Outcome) -> str:
    return f"id: {record.state}\ndata: {record.to_json()}\n\n"


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended, which each does by itself when its time is up."""
    pending = set(tasks)
    while pending:
        for task in pending:  # Again: the Redis library may swallow one while it connects.
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
