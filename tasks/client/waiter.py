"""One subscription for all who wait in a process, however many they are.

With a connection each, the waiting would use Redis up: a thousand requests at one backend are a
thousand connections. Here one listener follows the accounts that are waited for, and reads the
records of many in one go. What it hears is a hint; what it hands over, it has read.

t=0 a wait reads its record: queued · t=1 the outcome is written and published, nobody hears it ·
t=2 the listener subscribes · t=3 the subscription is confirmed, and the record read once more.
So whatever is confirmed is read, the first time and after every connection that was lost.

The listener lives while somebody waits and a little longer, so a client that nobody closed
leaves nothing behind. It is told once (`WaitRegistry.listen`) and run twice, on a thread and on a loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, LedgerError, SyncExecutor
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.store import Store

POLL_S: Final = 1.0
"""Between two looks at records nobody has announced: a channel may be lost without a word."""
LOOK_MOST: Final = 500
"""Records read at once, and looked at unasked in `POLL_S`: a few milliseconds of Redis's time a
second, whether 500 wait or 10,000 (each of those is looked at every 20 s, and when it is due)."""
LISTEN_S: Final = 1.0
"""How long the listener listens at a time."""
REHEAR_S: Final = 0.5
"""Before a lost subscription is made anew."""
SILENT_S: Final = 5.0
"""A connection that has brought nothing for so long is asked for a word, and given up at twice."""
LINGER_S: Final = 5.0
"""How long the listener stays when nobody waits: the next who does need not connect."""
CLOSE_S: Final = 5.0
"""How long closing waits for the listener."""

log = logging.getLogger("checkpoint.client")


@dataclass(eq=False, slots=True)
class Waiter:
    """One who waits: for what, where it is announced, and what wakes the waiting.

    ``record`` counts once ``told``; ``None`` is then a record that is not there any more.
    ``known`` is for who wants to be told of every change: the record as it was last seen.
    """

    submission_id: str
    channel: str
    signal: threading.Event | asyncio.Event
    told: bool = False
    record: Outcome | None = None
    known: Outcome | None = None

    def concerns(self, record: Outcome | None) -> bool:
        """Whether a record is news for this one."""
        if record is None or record.is_final:
            return True
        return self.known is not None and record != self.known


# What a listener does, for a driver to do it. A reply is a message, records, or nothing.


@dataclass(frozen=True, slots=True)
class Connect:
    """Leave the connection there was and make another with the next command."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to these channels."""

    names: Collection[str]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Unsubscribe from these channels."""

    names: Collection[str]


@dataclass(frozen=True, slots=True)
class Listen:
    """Wait so long for a message."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class ReadRecords:
    """Read these submissions' records."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Notify:
    """Say a word on the listener's own channel."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass."""

    seconds: float


Act = Connect | Subscribe | Unsubscribe | Listen | ReadRecords | Notify | Pause
Acts = Generator[Act, Any, None]


class WaitRegistry:
    """Who waits for what, and what the listener does about it. Safe between threads."""

    def __init__(self, keys: Keys) -> None:
        self.nudges = keys.ear(secrets.token_hex(8))
        self.hearing = False
        """Whether the subscription stands, as far as is known."""
        self._lock = threading.Lock()
        self._waits: dict[str, set[Waiter]] = {}
        self._turns: dict[Waiter, None] = {}
        """All who wait, the one looked at longest ago first."""
        self._changed: set[str] = set()
        """Channels that somebody came to or left since the listener last asked."""
        self._listening = self._nudged = self._closed = False

    def join(self, wait: Waiter) -> tuple[bool, bool]:
        """Let somebody wait; return whether to start a listener, and whether to nudge it."""
        with self._lock:
            self._waits.setdefault(wait.channel, set()).add(wait)
            self._turns[wait] = None
            self._changed.add(wait.channel)
            start = not self._listening
            self._listening = True
            nudge, self._nudged = not (start or self._nudged), True
            return start, nudge

    def leave(self, wait: Waiter) -> None:
        """Let somebody go. The listener sees to it when it next wakes."""
        with self._lock:
            del self._turns[wait]
            others = self._waits[wait.channel]
            others.discard(wait)
            if not others:
                del self._waits[wait.channel]
                self._changed.add(wait.channel)

    def close(self) -> None:
        """Let the listener end at its next turn."""
        self._closed = True

    def ended(self) -> None:
        """Note that the listener is gone, however it ended; the next to wait starts another."""
        with self._lock:
            self._listening = self._nudged = self.hearing = self._closed = False

    # The listener

    def listen(self) -> Acts:
        """Tell what the listener does, through every loss, until nobody waits any more.

        The driver throws what an act raised in here.
        """
        while True:
            try:
                yield Connect()
                yield from self._attend()
            except (RedisError, OSError, LedgerError) as error:
                log.debug("ears.lost error=%s", type(error).__name__)
            else:
                return
            self.hearing = False
            with suppress(RedisError, OSError, LedgerError):
                yield from self._look(self._next())
            if self._may_end(idle_s=LINGER_S):
                return
            yield Pause(REHEAR_S)

    def _attend(self) -> Acts:
        """Follow what is waited for over one connection, and pass on what is found.

        Raises:
            RedisError: The connection has brought nothing for too long.
        """
        followed: set[str] = set()
        announced: set[str] = set()
        heard_at = busy_at = polled_at = time.monotonic()
        asked = False
        with self._lock:
            self._changed = set(self._waits)  # All of them are to be followed anew.
        yield Subscribe([self.nudges])
        while True:
            message = yield Listen(0 if announced else LISTEN_S)
            now = time.monotonic()
            if message is not None:
                heard_at, asked, self.hearing = now, False, True
                announced.add(message["channel"])
                if len(announced) < LOOK_MOST and message["channel"] != self.nudges:
                    continue  # What has come already is looked at together.
            if self._turns:
                busy_at = now
            elif self._may_end(now - busy_at):
                return
            announced |= yield from self._keep_up(followed)
            yield from self._look(self._waiting_at(announced))
            announced.clear()
            if now - polled_at >= POLL_S:
                polled_at = now
                yield from self._look(self._next())
            if now - heard_at > 2 * SILENT_S:
                raise RedisConnectionError
            if now - heard_at > SILENT_S and not asked:
                asked = True
                yield Notify()

    def _keep_up(self, followed: set[str]) -> Generator[Act, Any, set[str]]:
        """Follow and drop what has changed; return what is followed and has somebody new."""
        with self._lock:
            changed, self._changed, self._nudged = self._changed, set(), False
            wanted = changed & self._waits.keys()
        if new := wanted - followed:
            yield Subscribe(new)
        if old := (changed - wanted) & followed:
            yield Unsubscribe(old)
        known = wanted & followed
        followed |= new
        followed -= old
        return known

    def _look(self, waits: Sequence[Waiter]) -> Acts:
        for start in range(0, len(waits), LOOK_MOST):
            some = waits[start : start + LOOK_MOST]
            ids = list(dict.fromkeys(wait.submission_id for wait in some))
            found: Mapping[str, Outcome | None] = yield ReadRecords(ids)
            for wait in some:
                record = found[wait.submission_id]
                if wait.concerns(record):
                    wait.record, wait.told = record, True
                    wait.signal.set()

    def _waiting_at(self, channels: Collection[str]) -> list[Waiter]:
        with self._lock:
            return [wait for name in channels for wait in self._waits.get(name, ())]

    def _next(self) -> list[Waiter]:
        """Return those who have not been looked at for longest; they go to the end."""
        with self._lock:
            turn = list(islice(self._turns, LOOK_MOST))
            for wait in turn:
                del self._turns[wait]
                self._turns[wait] = None
            return turn

    def _may_end(self, idle_s: float) -> bool:
        """Whether the listener ends; from then on the next to wait starts another."""
        with self._lock:
            ends = self._closed or (not self._turns and idle_s >= LINGER_S)
            if ends:
                self._listening = self._nudged = self.hearing = False
            return ends


def _as_lost(error: Exception) -> Exception:
    """Return an error as the listener knows it: a library may fail in ways of its own."""
    known = isinstance(error, RedisError | OSError | LedgerError)
    return error if known else RedisConnectionError(type(error).__name__)


# The drivers ---------------------------------------------------------------------------


class OutcomeWaiter:
    """The listener on a thread; under gevent on a greenlet."""

    def __init__(self, client: redis.Redis, door: SyncExecutor, store: Store) -> None:
        self._client, self._door, self._store = client, door, store
        self.board = WaitRegistry(store.keys)
        self._thread: threading.Thread | None = None
        self._channel: redis.client.PubSub | None = None
        self._closing = threading.Event()

    def wait(self, submission_id: str, channel: str, timeout_s: float) -> Waiter:
        """Wait until a record is final or gone, at most so long; return what was told."""
        signal = threading.Event()
        wait = Waiter(submission_id, channel, signal)
        start, nudge = self.board.join(wait)
        try:
            if start:
                self._start()
            elif nudge:
                self._nudge()
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
        self._nudge()
        thread.join(CLOSE_S)

    def _start(self) -> None:
        self._closing.clear()
        self._thread = threading.Thread(
            target=self._run, args=(self.board.listen(),), name="checkpoint-ears", daemon=True
        )
        self._thread.start()

    def _nudge(self) -> None:
        with suppress(RedisError, OSError):  # Then it finds out within `LISTEN_S`.
            self._client.publish(self.board.nudges, "")

    def _run(self, acts: Acts) -> None:
        channel = None
        try:
            act = next(acts)
            while True:
                try:
                    if isinstance(act, Connect):
                        if channel is not None:
                            channel.close()
                        channel = self._client.pubsub()
                    assert channel is not None
                    reply = self._do(act, channel)
                except Exception as error:  # noqa: BLE001  whatever it is, those who wait go on
                    act = acts.throw(_as_lost(error))
                else:
                    act = acts.send(reply)
        except StopIteration:
            return
        except BaseException:
            self.board.ended()
            raise
        finally:
            if channel is not None:
                channel.close()

    def _do(self, act: Act, channel: redis.client.PubSub) -> Any:  # noqa: ANN401  as the act wants
        match act:
            case Subscribe():
                channel.subscribe(*act.names)
            case Unsubscribe():
                channel.unsubscribe(*act.names)
            case Listen():
                return channel.get_message(timeout=act.timeout_s)
            case ReadRecords():
                return self._door.run(self._store.records(act.ids))
            case Notify():
                self._nudge()
            case Pause():
                self._closing.wait(act.seconds)
        return None


class AsyncOutcomeWaiter:
    """The listener on the loop of those who wait."""

    def __init__(self, client: redis.asyncio.Redis, door: AsyncExecutor, store: Store) -> None:
        self._client, self._door, self._store = client, door, store
        self.board = WaitRegistry(store.keys)
        self._task: asyncio.Task[None] | None = None

    async def wait(self, submission_id: str, channel: str, timeout_s: float) -> Waiter:
        """Wait until a record is final or gone, at most so long; return what was told."""
        signal = asyncio.Event()
        wait = Waiter(submission_id, channel, signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.waiting(wait):
                await signal.wait()
        return wait

    @asynccontextmanager
    async def waiting(self, wait: Waiter) -> AsyncIterator[None]:
        """Have one who waits looked after, who clears the signal to be told again."""
        start, nudge = self.board.join(wait)
        try:
            if start:
                self._task = asyncio.create_task(self._run(self.board.listen()))
            elif nudge:
                await self._nudge()
            yield
        finally:
            self.board.leave(wait)

    async def close(self) -> None:
        """End the listener and its connection."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            self.board.close()
            task.cancel()  # The library may swallow it while it connects anew: hence both.
            await asyncio.wait([task], timeout=CLOSE_S)

    async def _nudge(self) -> None:
        # The library's own client may swallow a cancellation while it connects; the door does not.
        with suppress(LedgerError):  # Then it finds out within `LISTEN_S`.
            await self._door.publish(self.board.nudges, "")

    async def _run(self, acts: Acts) -> None:
        channel = None
        try:
            act = next(acts)
            while True:
                try:
                    if isinstance(act, Connect):
                        if channel is not None:
                            await channel.aclose()
                        channel = self._client.pubsub()
                    assert channel is not None
                    reply = await self._do(act, channel)
                except Exception as error:  # noqa: BLE001  whatever it is, those who wait go on
                    act = acts.throw(_as_lost(error))
                else:
                    act = acts.send(reply)
        except StopIteration:
            return
        except BaseException:
            self.board.ended()
            raise
        finally:
            if channel is not None:
                await channel.aclose()

    async def _do(self, act: Act, channel: redis.asyncio.client.PubSub) -> Any:  # noqa: ANN401
        match act:
            case Subscribe():
                await channel.subscribe(*act.names)
            case Unsubscribe():
                await channel.unsubscribe(*act.names)
            case Listen():
                return await channel.get_message(timeout=act.timeout_s)
            case ReadRecords():
                return await self._door.run(self._store.records(act.ids))
            case Notify():
                await self._nudge()
            case Pause():
                await asyncio.sleep(act.seconds)
        return None
