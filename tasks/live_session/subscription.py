"""A Redis subscription that notices a dead connection."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Self

import redis.asyncio
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError

QUIET_S: Final = 3.0
"""Silence after which a message is published to test a subscription; after twice this time the
connection counts as dead."""
RECONNECT_S: Final = 0.1
"""Pause before the first reconnect; each further pause is twice as long."""


class Subscription:
    """A subscription to one channel over its own connection, with detection of a dead one."""

    def __init__(self, client: redis.asyncio.Redis, name: str, quiet_s: float) -> None:
        self._client, self._channel = client, client.pubsub()
        self._name, self._quiet_s = name, quiet_s
        self._clock = asyncio.get_running_loop().time
        self._received_s = self._pinged_s = self._clock()

    async def __aenter__(self) -> Self:
        """Subscribe, and wait for the confirmation of Redis: only then messages arrive."""
        try:
            async with asyncio.timeout(self._quiet_s):
                await self._channel.subscribe(self._name)
                while (message := await self._channel.get_message(timeout=self._quiet_s)) is None:
                    pass
        except BaseException:
            await self._channel.aclose()
            raise
        assert message["type"] == "subscribe"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.aclose()

    async def next(self, timeout_s: float) -> str | None:
        """Return the next message, ``None`` if there is none within ``timeout_s``.

        Raises:
            OSError: The connection is dead.
            RedisError: The connection is dead.
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
        now_s = self._clock()
        if message is not None:
            self._received_s = now_s
            return str(message["data"]) or None if message["type"] == "message" else None
        if now_s - self._received_s >= 2 * self._quiet_s:
            raise TimeoutError
        if now_s - max(self._received_s, self._pinged_s) >= self._quiet_s:
            self._pinged_s = now_s
            # Publish instead of PING: after a switchover the old master would answer a PING,
            # although no message reaches it any more.
            if not await self._client.publish(self._name, ""):
                # The subscription is at a replica: Redis counts only its own subscribers.
                msg = "this subscription is not where the keys are"
                raise LostError(msg)
        return None
