"""The outcome waiters: one subscription for all callers of a process that wait for an outcome.

With one connection for each caller, a thousand requests at one backend would need a thousand
connections. Here one listener subscribes to the channels of all accounts that callers wait for, and
reads many records with one command. A message is only a hint: the listener delivers what it reads.

t=0 a caller reads its record: queued · t=1 the outcome is written and published before the listener
has subscribed · t=2 the listener subscribes · t=3 the subscription is confirmed, and the listener
reads the record again. So the listener reads the records of every channel whose subscription is
confirmed, the first time and after every lost connection.

The listener runs while callers wait and `LINGER_S` longer, so a client that is never closed leaves
no thread or task behind. Its logic is written once (`_Listener`) and runs on a thread
(`OutcomeWaiter`) or on an event loop (`AsyncOutcomeWaiter`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import RedisError

from checkpoint_worker.tasks.client.slots import Signal
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    LedgerError,
    SyncExecutor,
    forget_connections,
)
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.steps import Steps, run_awaited, run_blocking
from checkpoint_worker.tasks.storage.store import Store
from checkpoint_worker.tasks.storage.subscription import (
    QUIET_S,
    RECONNECT_MAX_S,
    RECONNECT_S,
    Silence,
)

POLL_S: Final = 1.0
"""Interval at which records are read without a message, because a subscription may be lost
unnoticed."""
LOOK_MOST: Final = 500
"""Maximum number of records in one read, and number of records that are read without a message in
`POLL_S`. This costs a few milliseconds of Redis time a second, whether 500 or 10,000 callers wait;
with 10,000, each record is read every 20 s, and when it is due."""
LISTEN_S: Final = 1.0
"""Maximum time for which the listener waits for one message."""
LINGER_S: Final = 5.0
"""Time for which the listener keeps running without waiting callers, so that the next caller finds
it connected."""
CLOSE_S: Final = 5.0
"""Maximum time for which `close` waits for the listener to end."""

log = logging.getLogger("checkpoint.client")


@dataclass(eq=False, slots=True)
class Waiter:
    """One waiting caller.

    Attributes:
        submission_id: The submission that the caller waits for.
        channel: The channel on which its outcome is published.
        signal: Event that wakes the caller.
        told: Whether the listener has set ``record``.
        record: The record that the listener read; ``None`` if the record has expired.
        known: The caller's last record, if the caller waits for every change; ``None`` if it waits
            for the final record only.
    """

    submission_id: str
    channel: str
    signal: Signal | asyncio.Event
    told: bool = False
    record: Outcome | None = None
    known: Outcome | None = None

    def concerns(self, record: Outcome | None) -> bool:
        """Whether the caller must be woken for this record."""
        if record is None or record.is_final:
            return True
        return self.known is not None and record != self.known


class WaitRegistry:
    """The waiting callers of a process. Thread-safe."""

    def __init__(self, keys: Keys) -> None:
        self.nudges = keys.ear(secrets.token_hex(8))
        self.hearing = False
        """Whether the subscription exists, as far as the listener knows."""
        self._lock = threading.Lock()
        self._by_channel: dict[str, set[Waiter]] = {}
        self._read_order: dict[Waiter, None] = {}
        """All waiters, the one whose record was read longest ago first."""
        self._changed: set[str] = set()
        """Channels that have gained or lost waiters since the listener last updated them."""
        self._listening = self._notified = self._closed = False

    def join(self, wait: Waiter) -> tuple[bool, bool]:
        """Add a waiter; return whether to start a listener, and whether to notify it."""
        with self._lock:
            self._by_channel.setdefault(wait.channel, set()).add(wait)
            self._read_order[wait] = None
            self._changed.add(wait.channel)
            start = not self._listening
            self._listening = True
            notify, self._notified = not (start or self._notified), True
            return start, notify

    def leave(self, wait: Waiter) -> None:
        """Remove a waiter, if it is there. The listener unsubscribes when it next wakes."""
        with self._lock:
            self._read_order.pop(wait, None)
            others = self._by_channel.get(wait.channel, set())
            others.discard(wait)
            if not others and wait.channel in self._by_channel:
                del self._by_channel[wait.channel]
                self._changed.add(wait.channel)

    def close(self) -> None:
        """Make the listener end in its next round."""
        self._closed = True

    def ended(self, *, wakes: bool = True) -> None:
        """Record that the listener has ended; the next waiter starts another one.

        Args:
            wakes: Let the waiting callers look, and so start one at once.
        """
        with self._lock:
            self._end(wakes=wakes)

    def _end(self, *, wakes: bool) -> None:
        self._listening = self._notified = self.hearing = self._closed = False
        for wait in self._read_order if wakes else ():
            wait.signal.set()

    # For the listener

    def listen_to_all(self) -> None:
        """Make the next `changes` return all channels, for a new connection."""
        with self._lock:
            self._changed = set(self._by_channel)

    def changes(self) -> tuple[set[str], set[str]]:
        """Return the channels that have gained and those that have lost all waiters."""
        with self._lock:
            changed, self._changed, self._notified = self._changed, set(), False
            wanted = changed & self._by_channel.keys()
        return wanted, changed - wanted

    @property
    def has_waiters(self) -> bool:
        """Whether a caller waits."""
        return bool(self._read_order)

    def waiting_at(self, channels: Collection[str]) -> list[Waiter]:
        """Return the waiters at these channels."""
        with self._lock:
            return [wait for name in channels for wait in self._by_channel.get(name, ())]

    def next_in_order(self) -> list[Waiter]:
        """Return the waiters whose records were read longest ago, and move them to the end."""
        with self._lock:
            turn = list(islice(self._read_order, LOOK_MOST))
            for wait in turn:
                del self._read_order[wait]
                self._read_order[wait] = None
            return turn

    def may_end(self, idle_s: float) -> bool:
        """Return whether the listener ends; if it does, the next waiter starts another one."""
        with self._lock:
            ends = self._closed or (not self._read_order and idle_s >= LINGER_S)
            if ends:
                self._end(wakes=True)
            return ends


class _Listener(ABC):
    """The listener's logic, in the steps of `tasks.storage.steps`."""

    def __init__(self, client: Any, executor: Any, store: Store) -> None:  # noqa: ANN401  blocking or awaited
        self._client, self._executor, self._store = client, executor, store
        self.board = WaitRegistry(store.keys)
        self._channel: Any = None

    @abstractmethod
    def _close_channel(self) -> Any:  # noqa: ANN401  nothing, or an awaitable
        """Close the connection, if there is one."""

    @abstractmethod
    def _notify(self) -> Any:  # noqa: ANN401
        """Publish a message on the listener's own channel."""

    @abstractmethod
    def _pause(self, seconds: float) -> Any:  # noqa: ANN401
        """Sleep."""

    def _listen(self) -> Steps[None]:
        """Listen across lost connections, until no caller waits any more."""
        pause_s = RECONNECT_S
        while True:
            try:
                yield self._close_channel()
                self._channel = self._client.pubsub()
                yield from self._serve()
            except Exception as error:  # noqa: BLE001  no error may end the listener
                log.debug("ears.lost error=%s", type(error).__name__)
            else:
                return
            if self.board.hearing:
                pause_s, self.board.hearing = RECONNECT_S, False
            with suppress(Exception):
                yield from self._read_records(self.board.next_in_order())
            if self.board.may_end(idle_s=LINGER_S):
                return
            yield self._pause(pause_s)
            pause_s = min(2 * pause_s, RECONNECT_MAX_S)

    def _serve(self) -> Steps[None]:
        """Listen over one connection, and deliver the records that are read.

        Raises:
            TimeoutError: The connection is dead.
        """
        board, channel = self.board, self._channel
        subscribed: set[str] = set()
        announced: set[str] = set()
        busy_at = polled_at = time.monotonic()
        silence = Silence(QUIET_S, time.monotonic)
        board.listen_to_all()
        yield channel.subscribe(board.nudges)
        while True:
            message = yield channel.get_message(timeout=0 if announced else LISTEN_S)
            now = time.monotonic()
            if message is not None:
                silence.end()
                board.hearing = True
                announced.add(message["channel"])
                if len(announced) < LOOK_MOST and message["channel"] != board.nudges:
                    continue  # Collect all received messages before the records are read.
            if board.has_waiters:
                busy_at = now
            if board.may_end(now - busy_at):
                return
            announced |= yield from self._update_subscriptions(subscribed)
            yield from self._read_records(board.waiting_at(announced))
            announced.clear()
            if now - polled_at >= POLL_S:
                polled_at = now
                yield from self._read_records(board.next_in_order())
            if silence.needs_test():
                yield self._notify()

    def _update_subscriptions(self, subscribed: set[str]) -> Steps[set[str]]:
        """Apply pending subscriptions and unsubscriptions.

        Returns:
            Channels that were subscribed already and have gained a waiter.
        """
        wanted, left = self.board.changes()
        if new := wanted - subscribed:
            yield self._channel.subscribe(*new)
        if old := left & subscribed:
            yield self._channel.unsubscribe(*old)
        known = wanted & subscribed
        subscribed |= new
        subscribed -= old
        return known

    def _read_records(self, waits: Sequence[Waiter]) -> Steps[None]:
        for start in range(0, len(waits), LOOK_MOST):
            some = waits[start : start + LOOK_MOST]
            ids = list(dict.fromkeys(wait.submission_id for wait in some))
            found: Mapping[str, Outcome | None] = yield self._executor.run(self._store.records(ids))
            for wait in some:
                record = found[wait.submission_id]
                if wait.concerns(record):
                    wait.record, wait.told = record, True
                    wait.signal.set()


class OutcomeWaiter(_Listener):
    """Runs the listener on a thread; under gevent on a greenlet."""

    def __init__(self, client: redis.Redis, executor: SyncExecutor, store: Store) -> None:
        super().__init__(client, executor, store)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._one_at_a_time = threading.Lock()

    def wait(self, submission_id: str, channel: str, timeout_s: float) -> Waiter:
        """Wait at most ``timeout_s`` until a record is final or has expired.

        Returns:
            The waiter; it holds the record if its ``told`` is true.
        """
        signal = Signal()
        wait = Waiter(submission_id, channel, signal)
        try:
            start, notify = self.board.join(wait)
            if start:
                self._start()
            elif notify:
                self._notify()
            signal.wait(timeout_s)
        finally:
            self.board.leave(wait)
        return wait

    def close(self) -> None:
        """End the listener and its connection."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self.board.close()
        self._closing.set()
        self._notify()
        thread.join(CLOSE_S)

    def _start(self) -> None:
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="checkpoint-ears", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # No thread can be started; the next wait tries again.
            log.debug("ears.not_started error=%s", type(error).__name__)
            self.board.ended(wakes=False)

    def _notify(self) -> None:
        try:
            self._client.publish(self.board.nudges, "")
        except (RedisError, OSError):
            pass  # The listener updates within `LISTEN_S` anyway.
        except BaseException:  # Of a signal handler.
            forget_connections(self._client)
            raise

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _pause(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def _run(self) -> None:
        # t=0 this listener ends · t=1 a caller starts the next one, which opens its connection ·
        # t=2 this one would close that connection. So the next one waits until this one has closed.
        with self._one_at_a_time:
            try:
                run_blocking(self._listen())
            except BaseException:
                self.board.ended()
                raise
            finally:
                self._close_channel()


class AsyncOutcomeWaiter(_Listener):
    """Runs the listener on the event loop of the waiting callers."""

    def __init__(self, client: redis.asyncio.Redis, executor: AsyncExecutor, store: Store) -> None:
        super().__init__(client, executor, store)
        self._task: asyncio.Task[None] | None = None

    async def wait(self, submission_id: str, channel: str, timeout_s: float) -> Waiter:
        """Wait at most ``timeout_s`` until a record is final or has expired.

        Returns:
            The waiter; it holds the record if its ``told`` is true.
        """
        signal = asyncio.Event()
        wait = Waiter(submission_id, channel, signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.waiting(wait):
                await signal.wait()
        return wait

    @asynccontextmanager
    async def waiting(self, wait: Waiter) -> AsyncIterator[None]:
        """Register a waiter while the context is open.

        A caller that waits for several changes clears the waiter's signal after each.
        """
        start, notify = self.board.join(wait)
        try:
            if start:
                self._task = asyncio.create_task(self._run())
                # Nothing is lost with it where a loop is closed, or never ends, meanwhile.
                self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
            elif notify:
                await self._notify()
            yield
        finally:
            self.board.leave(wait)

    async def close(self) -> None:
        """End the listener and its connection."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            self.board.close()
            task.cancel()  # redis-py may swallow the cancel while it reconnects: hence both.
            await asyncio.wait([task], timeout=CLOSE_S)

    async def _notify(self) -> None:
        # redis-py's client may swallow a cancel while it connects; the executor does not.
        with suppress(LedgerError):  # The listener updates within `LISTEN_S` anyway.
            await self._executor.publish(self.board.nudges, "")

    async def _close_channel(self) -> None:
        if self._channel is not None:
            await self._channel.aclose()

    def _pause(self, seconds: float) -> Awaitable[None]:
        return asyncio.sleep(seconds)

    async def _run(self) -> None:
        try:
            await run_awaited(self._listen())
        except GeneratorExit:  # It is collected after its loop: nothing can be awaited.
            self.board.ended(wakes=False)
            raise
        except BaseException:
            self.board.ended()
            await self._close_channel()
            raise
        await self._close_channel()
