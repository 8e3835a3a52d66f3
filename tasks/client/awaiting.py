"""The client for asyncio, `AsyncCheckpointClient`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Self

from pydantic import Secret

from checkpoint_worker.tasks.client.base import (
    ENDED,
    OPENED,
    READ,
    SESSION,
    TAKEN,
    BaseClient,
    T,
    answering,
)
from checkpoint_worker.tasks.client.closed_loop import close_left_open
from checkpoint_worker.tasks.client.waiter import POLL_S, AsyncOutcomeWaiter, Waiter
from checkpoint_worker.tasks.client.wake_sender import log_failure
from checkpoint_worker.tasks.operations.acceptance import Submitted
from checkpoint_worker.tasks.operations.submissions import IntentInfo
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    Operation,
    connect_async,
    pipe_to,
)
from checkpoint_worker.tasks.storage.steps import run_awaited
from checkpoint_worker.tasks.storage.views import Page
from checkpoint_worker.tasks.tracebacks import no_values


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        RuntimeError: None of asyncio runs; under trio asyncio's own message says nothing of that.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        msg = (
            "the awaited client and the gateway need a running event loop of asyncio, or uvloop's;"
            " under trio call CheckpointClient with trio.to_thread.run_sync"
        )
        raise RuntimeError(msg) from None


class AsyncCheckpointClient(BaseClient):
    """The asyncio form of `CheckpointClient`, which describes every method.

    The client belongs to the event loop that uses it first. When that loop is closed, as after
    ``asyncio.run``, another loop may use the client; two running loops need one client each.
    """

    _ears: AsyncOutcomeWaiter

    def _connect(self) -> None:
        url = self.settings.redis_url.get_secret_value()
        self._redis = connect_async(url, self.settings.prefix)
        self._pipe = pipe_to(url, self.settings.prefix)
        self._executor = AsyncExecutor(self._redis, self._pipe)
        self._ears = AsyncOutcomeWaiter(self._redis, self._executor, self._core.store)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        self._bind_loop()
        await self._ears.close()
        await self._executor.aclose()
        try:
            await asyncio.to_thread(self._producer.close)
        except RuntimeError:  # No thread can be started. Closing takes no time without a broker.
            self._producer.close()

    def _bind_loop(self) -> None:
        """Make the client belong to the running event loop.

        Raises:
            RuntimeError: It belongs to another loop, which may still run; or no loop runs.
        """
        self._renew_after_fork()
        loop = running_loop()
        if self._loop is loop:
            return
        # Loops of two threads may come at once. If both took the client, they would share its
        # connections, which serve one loop.
        with self._process.lock:
            if self._loop is not None:
                if not self._loop.is_closed():
                    msg = (
                        "this AsyncCheckpointClient belongs to another event loop: make one for "
                        "each loop, or use CheckpointClient, which is safe in every thread"
                    )
                    raise RuntimeError(msg)
                close_left_open(self._redis, self._pipe)
                self._connect()
            self._loop = loop

    async def _run(
        self, steps: Operation[T], known: str = READ, submission_id: str | None = None
    ) -> T:
        self._bind_loop()
        with no_values(CheckpointError), answering(known, submission_id):
            return await self._executor.run(steps)

    async def open_intent(
        self,
        *,
        account_id: str,
        provider: str,
        checkpoint: Mapping[str, str | None],
        context: Mapping[str, object],
        proxy: str | None = None,
        purpose: str = "connect",
        user_id: str | None = None,
    ) -> IntentInfo:
        """See `CheckpointClient.open_intent`."""
        steps = self._core.open_intent(
            account_id=account_id,
            provider=provider,
            checkpoint=checkpoint,
            context=context,
            proxy=proxy,
            purpose=purpose,
            user_id=user_id,
        )
        del context, proxy
        return await self._run(steps, OPENED)

    async def submit(
        self,
        *,
        account_id: str,
        provider: str,
        code: str,
        submission_id: str | None = None,
        checkpoint_step: int | None = None,
    ) -> Submitted:
        """See `CheckpointClient.submit`."""
        secret = Secret[object](code)
        del code
        with no_values(CheckpointError):
            request, new = self._core.read_submission(
                account_id, provider, secret.get_secret_value(), submission_id
            )
        submitted = await self._run(self._core.submit(request, new, checkpoint_step), TAKEN, new)
        if submitted.needs_notification:
            try:
                await asyncio.to_thread(self._wake, new, account_id, provider)
            except RuntimeError as error:  # No thread can be started; the submission is taken.
                log_failure(new, error)
        return submitted

    async def result(self, submission_id: str) -> Outcome | None:
        """See `CheckpointClient.result`."""
        return await self._run(self._core.result(submission_id))

    async def wait(self, submission_id: str, timeout_s: float = 35.0) -> Outcome | None:
        """See `CheckpointClient.wait`."""
        return await run_awaited(self._wait(submission_id, timeout_s))

    async def changes(
        self, record: Outcome, *, beat_s: float
    ) -> AsyncGenerator[Outcome | None, None]:
        """Yield a record's changes up to the final record; ``None`` if the record has expired.

        One outcome waiter reads the records of all callers, so a change to ``running``, which is
        not published, may be yielded seconds late.

        Args:
            record: The record as it was read just now.
            beat_s: Interval without a change after which the same record is yielded again.
        """
        self._bind_loop()
        assert record.submission_id is not None
        due_s = POLL_S
        with suppress(CheckpointError):  # Keep waiting through a short outage of the ledger.
            _, due_s = await self._run(self._core.look(record.submission_id))
        due_at = time.monotonic() + due_s
        channel, signal = self._core.store.keys.account_results(record.account_id), asyncio.Event()
        wait = Waiter(record.submission_id, channel, signal, known=record)
        async with self._ears.waiting(wait):
            while not record.is_final:
                left_s = min(beat_s, max(due_at - time.monotonic(), 0.0))
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await signal.wait()
                found: Outcome | None = record
                if wait.told:
                    found, wait.told = wait.record, False
                    signal.clear()
                elif signal.is_set() or time.monotonic() >= due_at:  # Set: the listener has ended.
                    signal.clear()
                    due_at = time.monotonic() + POLL_S
                    with suppress(CheckpointError):
                        found, _ = await self._run(self._core.look(record.submission_id))
                yield found
                if found is None:
                    return
                record = wait.known = found

    async def outcomes(
        self,
        account_id: str | None = None,
        group: str | None = None,
        limit: int = 100,
        reader: str | None = None,
    ) -> AsyncIterator[Outcome]:
        """See `CheckpointClient.outcomes`."""
        for steps in self._reads(account_id, group, limit, reader):
            for each in await self._run(steps):
                yield each

    async def page(
        self, account_id: str | None, limit: int, *, prefix: str = "", after: str = ""
    ) -> Page:
        """Read a page of final records, for the gateway; it searches a bounded part of the stream.

        Args:
            account_id: Read only this account's records, ``None`` for all.
            limit: 1 to 1,000.
            prefix: Read only records of accounts whose id starts with this text.
            after: `Page.after` of the page before, empty for the first.
        """
        self._core.check_limit(limit)
        steps = self._core.store.page(limit, account_id=account_id, prefix=prefix, after=after)
        return await self._run(steps)

    async def cancel(self, submission_id: str) -> Outcome | None:
        """See `CheckpointClient.cancel`."""
        return await self._run(self._core.cancel(submission_id), ENDED)

    async def intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """See `CheckpointClient.intent`."""
        return await self._run(self._core.intent(account_id, provider))

    async def kill_intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """See `CheckpointClient.kill_intent`."""
        return await self._run(self._core.kill_intent(account_id, provider), ENDED)

    async def take_session(
        self, account_id: str, provider: str, token: str | None = None
    ) -> dict[str, Any] | None:
        """See `CheckpointClient.take_session`."""
        return await self._run(self._core.take_session(account_id, provider, token), SESSION)
