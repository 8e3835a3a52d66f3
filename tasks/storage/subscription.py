"""A Redis subscription that notices a dead connection and reconnects.

TCP alone takes 15 minutes to report a dead connection, so a subscriber publishes a message to its
own channel when nothing arrives. A PING would not suffice: after a failover behind a host name the
old master answers it, but receives no messages of the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, NoReturn, Self

import redis.asyncio
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError

from checkpoint_worker.tasks.storage.executor import LedgerError

QUIET_S: Final = 3.0
"""Silence after which a subscription is tested; its connection counts as dead if the test does not
arrive within the same time."""
RECONNECT_S: Final = 0.1
"""Pause before the first reconnect; each further pause is twice as long."""
RECONNECT_MAX_S: Final = 1.0
"""Maximum pause before a reconnect."""
LOST: Final = (RedisError, OSError, LedgerError)
"""Errors of a lost connection. A `TimeoutError` is an `OSError`."""


class Silence:
    """The silence of a subscription, measured by the time since its last message.

    Only a test that went unanswered proves a dead connection: a process that itself stood still has
    received nothing either.
    """

    def __init__(self, quiet_s: float, clock: Callable[[], float]) -> None:
        self._quiet_s, self._clock = quiet_s, clock
        self.end()

    def end(self) -> None:
        """Record that a message has arrived."""
        self._since_s, self._tested = self._clock(), False

    def needs_test(self) -> bool:
        """Return whether to publish a test message now.

        Raises:
            TimeoutError: The connection is dead.
        """
        now_s = self._clock()
        if now_s - self._since_s < self._quiet_s:
            return False
        if self._tested:
            raise TimeoutError
        self._since_s, self._tested = now_s, True
        return True


class Subscription:
    """A subscription over its own connection, which an ``async with`` block opens and closes.

    Args:
        client: Client from whose pool the connection is taken.
        publish: Publishes a test message; returns the number of its receivers.
        names: The channels. The first one receives the test messages, which are empty; no other
            subscriber needs them.
        quiet_s: Silence after which the subscription is tested, seconds.
        subscribed: Called when all subscriptions are confirmed, also after a reconnect.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        publish: Callable[[str, str], Awaitable[Any]],
        *names: str,
        quiet_s: float = QUIET_S,
        subscribed: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._publish, self._names = client, publish, names
        self._quiet_s, self._subscribed = quiet_s, subscribed

    async def __aenter__(self) -> Self:
        """Subscribe, and wait for the confirmation of Redis: only then messages arrive."""
        self._channel = self._client.pubsub()
        self._silence = Silence(self._quiet_s, asyncio.get_running_loop().time)
        try:
            async with asyncio.timeout(self._quiet_s):
                await self._channel.subscribe(*self._names)
                while not self._is_confirmation(
                    await self._channel.get_message(timeout=self._quiet_s)
                ):
                    pass
        except BaseException:
            await self._channel.aclose()
            raise
        self._subscribed()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.aclose()

    async def next(self, timeout_s: float) -> str | None:
        """Return the next message; ``None`` if there is none within ``timeout_s``, or earlier.

        The reply to the connection's health check and a confirmation also end the wait.

        Raises:
            OSError: The connection is dead.
            RedisError: The connection is dead.
            LedgerError: ``publish`` failed.
        """
        message: dict[str, Any] | None
        try:
            message = await self._channel.get_message(timeout=min(timeout_s, self._quiet_s))
        except RedisError:
            # redis-py raises the loss only after it has connected and subscribed again. Closing
            # that connection would lose the messages received since.
            connection: Any = self._channel.connection
            if connection is None or not connection.is_connected:
                raise
            message = {"type": "connected"}
        if message is not None:
            self._silence.end()
            if self._is_confirmation(message):
                self._subscribed()
            return str(message["data"]) or None if message["type"] == "message" else None
        if self._silence.needs_test() and not await self._publish(self._names[0], ""):
            # The subscription is at a replica: Redis counts only its own subscribers.
            msg = "this subscription is not where the keys are"
            raise LostError(msg)
        return None

    def _is_confirmation(self, message: dict[str, Any] | None) -> bool:
        """Return whether a message confirms the last channel, and so all of them."""
        return (
            message is not None
            and message["type"] == "subscribe"
            and message["channel"] == self._names[-1]
        )

    async def run(
        self, receive: Callable[[str], None], lost: Callable[[Exception], None]
    ) -> NoReturn:
        """Receive messages until cancelled; reconnect after each loss.

        Args:
            receive: Gets each message.
            lost: Gets the error of a loss, once for all tries until the next subscription.
        """
        pause_s, told = RECONNECT_S, False
        while True:
            try:
                async with self:
                    pause_s, told = RECONNECT_S, False
                    while True:
                        if (text := await self.next(self._quiet_s)) is not None:
                            receive(text)
            except LOST as error:
                if not told:
                    lost(error)
                told = True
                await leave(self._client)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RECONNECT_MAX_S)


async def leave(client: redis.asyncio.Redis) -> None:
    """Close the idle connections: after a switchover they lead to the old master too."""
    with suppress(RedisError, OSError):
        await client.connection_pool.disconnect(inuse_connections=False)
