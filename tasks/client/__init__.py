"""The clients that a web backend imports: `CheckpointClient` and `AsyncCheckpointClient`.

Both run the same operations; only the executor differs. If the ledger does not answer, they raise
a `CheckpointError` 503 whose detail says what is known about the request.

A client may be made and used before a server forks its processes, in Python or in C: each process
makes its own connections and its own name. A snapshot of a machine that is to be resumed more than
once must be taken before a client's first call. An `AsyncCheckpointClient` may serve several event
loops one after the other, but never two at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Self, TypeVar

from celery import Celery
from pydantic import Secret

from checkpoint_worker.tasks.client.waiter import POLL_S, AsyncOutcomeWaiter, OutcomeWaiter, Waiter
from checkpoint_worker.tasks.operations.submissions import (
    ABANDONED_MS,
    LIMIT_MAX,
    OVERDUE_MS,
    IntentInfo,
    make_store,
    make_vault,
    unavailable,
)
from checkpoint_worker.tasks.operations.submissions import Operations as _Core
from checkpoint_worker.tasks.operations.validation import CheckpointError, Submitted
from checkpoint_worker.tasks.operations.wake import make_producer, send_wake
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import (
    CONNECTIONS_MAX,
    AsyncExecutor,
    LedgerError,
    LedgerUnavailableError,
    Operation,
    SyncExecutor,
    connect,
    connect_async,
    pipe_to,
)
from checkpoint_worker.tasks.storage.ids import this_process
from checkpoint_worker.tasks.storage.store import Page
from checkpoint_worker.tasks.tracebacks import no_values

__all__ = [
    "ABANDONED_MS",
    "LIMIT_MAX",
    "OVERDUE_MS",
    "AsyncCheckpointClient",
    "CheckpointClient",
    "CheckpointError",
    "IntentInfo",
    "Outcome",
    "Submitted",
    "make_store",
    "make_vault",
]

T = TypeVar("T")

LISTENER_CONNECTIONS: Final = 4
"""Connections of the blocking client's pool that are kept free for its outcome waiter."""
CALLS_MAX: Final = CONNECTIONS_MAX - LISTENER_CONNECTIONS
"""Maximum number of concurrent calls of the blocking client."""
TURN_S: Final = 10.0
"""Maximum time that a call waits for a free slot. A thousand concurrent threads are served within
seconds; if the ledger is silent, they must not wait for one another's timeouts."""
WAKES_MAX: Final = 8
"""Maximum number of wakes that one client sends at once; further ones wait for a slot."""

NO_TURN: Final = "the ledger did not answer others in time"
READ: Final = "The ledger did not answer; ask again."
OPENED: Final = (
    "The ledger did not answer: whether the intent was opened is unknown; open it again."
)
TAKEN: Final = (
    "The ledger did not answer; ask for this submission id to learn whether it was taken."
)
ENDED: Final = "The ledger did not answer: whether it was ended is unknown; twice does no harm."
SESSION: Final = "The ledger did not answer; the same token may ask again for a minute."

log = logging.getLogger("checkpoint.client")


@contextmanager
def _answering(known: str, submission_id: str | None = None) -> Iterator[None]:
    """Turn an error of the ledger into a 503 whose detail is ``known``.

    Raises:
        CheckpointError: The ledger did not answer.
    """
    try:
        yield
    except LedgerError as error:
        raise unavailable(error, known, submission_id) from error


class _WakeSender:
    """Sends wakes to the broker.

    The ledger has the submission, so the sweeper sends a wake that fails here. A silent broker
    costs a wake twice `wake.PRODUCER_TIMEOUT_S`, and concurrent wakes would wait for these timeouts
    one after the other. So after a failure no wake is sent for as long as the failure took.
    """

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(WAKES_MAX)
        self._paused_until = 0.0

    def wake(self, producer: Celery, submission_id: str, account_id: str, provider: str) -> None:
        """Send a wake; after a failure the sweeper sends it."""
        with self._slots:
            began = time.monotonic()
            if began < self._paused_until:
                return
            try:
                send_wake(producer, submission_id, account_id, provider)
            except Exception as error:  # noqa: BLE001  the broker's library raises many types
                ended = time.monotonic()
                self._paused_until = ended + (ended - began)
                log.warning(
                    "wake.failed submission_id=%s error=%s", submission_id, type(error).__name__
                )


class _Client:
    """The common part of both clients: settings, operations, and the renewal after a fork."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._core = _Core(self.settings)
        self._process = this_process()
        self._begin()

    def _renew_after_fork(self) -> None:
        """Make all per-process objects again if this process is a fork.

        Every call checks this, because no hook runs where a C program forks.
        """
        process = this_process()
        if self._process is process:
            return
        with process.lock:
            if self._process is process:
                return
            # Keep the parent's objects alive: closing or collecting them would send data on
            # connections that the parent still uses.
            self._inherited = vars(self).copy()
            self._begin()
            self._process = process

    def _begin(self) -> None:
        """Make the per-process objects."""
        # The token identifies a group's reader and a session's taker, so a fork needs its own.
        self._core.forget_token()
        self._producer = make_producer(self.settings)
        self._waker = _WakeSender()
        self._connect()

    def _connect(self) -> None:
        raise NotImplementedError

    def _wake(self, submission_id: str, account_id: str, provider: str) -> None:
        self._waker.wake(self._producer, submission_id, account_id, provider)


class CheckpointClient(_Client):
    """Submits codes and reads outcomes, blocking. Threads and greenlets may share one client.

    Args:
        settings: The settings, read from ``CHECKPOINT_*`` in the environment if not given.
    """

    def _connect(self) -> None:
        self._redis = connect(self.settings.redis_url.get_secret_value(), self.settings.prefix)
        self._door = SyncExecutor(self._redis)
        places = self._redis.connection_pool.max_connections - LISTENER_CONNECTIONS
        self._room = threading.BoundedSemaphore(min(CALLS_MAX, places))
        self._ears = OutcomeWaiter(self._redis, self._door, self._core.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._renew_after_fork()
        self._ears.close()
        self._redis.close()
        self._producer.close()

    def _run(self, steps: Operation[T], known: str = READ, submission_id: str | None = None) -> T:
        self._renew_after_fork()
        with no_values(CheckpointError), _answering(known, submission_id):
            if not self._room.acquire(timeout=TURN_S):
                raise LedgerUnavailableError(NO_TURN)
            try:
                return self._door.run(steps)
            finally:
                self._room.release()

    def open_intent(
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
        """Open an intent: a login that stopped at a checkpoint.

        Args:
            account_id: The account; opaque, 1-256 characters.
            provider: ``LINKEDIN``, ``INSTAGRAM``, ``TWITTER`` or ``MESSENGER``.
            checkpoint: The checkpoint that the provider shows: ``{"type": …, "source": …}``.
            context: The data with which the adapter continues the login; sealed at once.
            proxy: ``http``, ``https``, ``socks5`` or ``socks5h`` URL; sealed at once.
            purpose: ``connect`` or ``reconnect``.
            user_id: The provider's user id that the account must turn out to have.

        Raises:
            CheckpointError: An argument is invalid and nothing was stored; or 503.
        """
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
        return self._run(steps, OPENED)

    def submit(
        self,
        *,
        account_id: str,
        provider: str,
        code: str,
        submission_id: str | None = None,
        checkpoint_step: int | None = None,
    ) -> Submitted:
        """Submit a solution and return at once. The same id again returns the same record.

        A caller that may have to repeat a submission whose answer was lost passes the id: an
        accepted submission is not accepted a second time.

        Raises:
            CheckpointError: The submission was refused before anything was stored. If the ledger
                did not answer, the error is a 503 with the submission id, and the submission may
                have been accepted.
        """
        secret = Secret[object](code)
        del code
        with no_values(CheckpointError):
            request, new = self._core.read_submission(
                account_id, provider, secret.get_secret_value(), submission_id
            )
        submitted = self._run(self._core.submit(request, new, checkpoint_step), TAKEN, new)
        if submitted.needs_notification:
            self._wake(new, account_id, provider)
        return submitted

    def result(self, submission_id: str) -> Outcome | None:
        """Return the record, queued, running or final; ``None`` if the id is unknown."""
        return self._run(self._core.result(submission_id))

    def wait(self, submission_id: str, timeout_s: float = 35.0) -> Outcome | None:
        """Wait for the outcome; return the non-final record when the timeout has passed."""
        end = time.monotonic() + timeout_s
        record, due_s = self._run(self._core.look(submission_id))
        while record is not None and not record.is_final:
            left_s = end - time.monotonic()
            if left_s <= 0:
                return record
            channel = self._core.store.keys.account_results(record.account_id)
            waiter = self._ears.wait(submission_id, channel, min(left_s, due_s))
            if waiter.told:
                return waiter.record
            if left_s <= due_s and not self._ears.board.hearing:
                return record  # The ledger is unreachable; a read would exceed the timeout.
            due_s = POLL_S
            with suppress(CheckpointError):  # Keep waiting through a short outage of the ledger.
                record, due_s = self._run(self._core.look(submission_id))
        return record

    def outcomes(
        self,
        account_id: str | None = None,
        group: str | None = None,
        limit: int = 100,
        reader: str | None = None,
    ) -> Iterator[Outcome]:
        """Read final records from the stream.

        Without a group, the method yields the newest ``limit`` records, the newest first. With a
        group, it yields the records that the group has not finished, the oldest first, at most
        ``limit``, and ends when none is left. Delivery is **at least once**: a record is finished
        when the next one is requested. A record that a reader held when it ended is delivered
        again: to a reader of the same name at once, to any other reader a minute after the first
        delivery. A consumer must therefore tolerate a repeated record and can recognise it by
        ``submission_id``.

        Args:
            account_id: Yield only this account's records; a group finishes those of others
                without yielding them.
            group: Name of the consumer group whose readers share the records.
            limit: 1 to 1,000.
            reader: Name of the reader, 1-128 characters; one loop at a time may use it. A reader
                that starts again under its old name gets at once the records that it held. By
                default each process has a new name.

        Raises:
            CheckpointError: An argument is invalid, or the ledger did not answer.
        """
        self._core.check_limit(limit)
        self._core.check_names(group, reader)
        if group is None:
            yield from self._run(self._core.store.recent(account_id, limit))
            return
        done, given = "", 0
        while given < limit:
            found = self._run(self._core.next_of(group, reader, done, account_id))
            if not found:
                return
            done, record = found[0]
            if record is not None and account_id in (None, record.account_id):
                given += 1
                yield record
        self._run(self._core.next_of(group, reader, done, most=0))

    def cancel(self, submission_id: str) -> Outcome | None:
        """Cancel a submission; return its record, which is final afterwards."""
        return self._run(self._core.cancel(submission_id), ENDED)

    def intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """Return the current state of the intent, ``None`` if there is none."""
        return self._run(self._core.intent(account_id, provider))

    def kill_intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """End an intent; its running submission and all later ones are answered with 500."""
        return self._run(self._core.kill_intent(account_id, provider), ENDED)

    def take_session(
        self, account_id: str, provider: str, token: str | None = None
    ) -> dict[str, Any] | None:
        """Take the session of a cleared intent, once.

        The same token (by default this client's own) may take it again for 60 s, so that a
        lost reply is not a lost session.

        Returns:
            The model of its provider as JSON (`providers.sessions.Session`,
            ``deploy/docs/sessions.md``): provider, user id, user agent, device, app, cookies with
            all their attributes, headers, and what is the provider's own. A live session or a
            plug-in without a model hands over what it likes, with provider and user id. ``None``
            where there is none, or another took it.
        """
        return self._run(self._core.take_session(account_id, provider, token), SESSION)


class AsyncCheckpointClient(_Client):
    """The asyncio form of `CheckpointClient`, which describes every method.

    The client belongs to the event loop that uses it first. When that loop is closed, as after
    ``asyncio.run``, another loop may use the client; two running loops need one client each.
    """

    def _connect(self) -> None:
        url = self.settings.redis_url.get_secret_value()
        self._redis = connect_async(url, self.settings.prefix)
        self._door = AsyncExecutor(self._redis, pipe_to(url, self.settings.prefix))
        self._ears = AsyncOutcomeWaiter(self._redis, self._door, self._core.store)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        self._bind_loop()
        await self._ears.close()
        await self._door.aclose()
        await asyncio.to_thread(self._producer.close)

    def _bind_loop(self) -> None:
        """Make the client belong to the running event loop.

        Raises:
            RuntimeError: It belongs to another loop, which may still run.
        """
        self._renew_after_fork()
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None:
            if not self._loop.is_closed():
                msg = (
                    "this AsyncCheckpointClient belongs to another event loop: make one for each "
                    "loop, or use CheckpointClient, which is safe in every thread"
                )
                raise RuntimeError(msg)
            self._connect()
        self._loop = loop

    async def _run(
        self, steps: Operation[T], known: str = READ, submission_id: str | None = None
    ) -> T:
        self._bind_loop()
        with no_values(CheckpointError), _answering(known, submission_id):
            return await self._door.run(steps)

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
            await asyncio.to_thread(self._wake, new, account_id, provider)
        return submitted

    async def result(self, submission_id: str) -> Outcome | None:
        """See `CheckpointClient.result`."""
        return await self._run(self._core.result(submission_id))

    async def wait(self, submission_id: str, timeout_s: float = 35.0) -> Outcome | None:
        """See `CheckpointClient.wait`."""
        end = time.monotonic() + timeout_s
        record, due_s = await self._run(self._core.look(submission_id))
        while record is not None and not record.is_final:
            left_s = end - time.monotonic()
            if left_s <= 0:
                return record
            channel = self._core.store.keys.account_results(record.account_id)
            waiter = await self._ears.wait(submission_id, channel, min(left_s, due_s))
            if waiter.told:
                return waiter.record
            if left_s <= due_s and not self._ears.board.hearing:
                return record  # The ledger is unreachable; a read would exceed the timeout.
            due_s = POLL_S
            with suppress(CheckpointError):  # Keep waiting through a short outage of the ledger.
                record, due_s = await self._run(self._core.look(submission_id))
        return record

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
                elif time.monotonic() >= due_at:
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
        self._core.check_limit(limit)
        self._core.check_names(group, reader)
        if group is None:
            for each in await self._run(self._core.store.recent(account_id, limit)):
                yield each
            return
        done, given = "", 0
        while given < limit:
            found = await self._run(self._core.next_of(group, reader, done, account_id))
            if not found:
                return
            done, record = found[0]
            if record is not None and account_id in (None, record.account_id):
                given += 1
                yield record
        await self._run(self._core.next_of(group, reader, done, most=0))

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
