"""The worker's end of a live session's channel."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import redis.asyncio

from checkpoint_worker.providers.contract import ProviderTimeoutError, ServiceUnavailableError
from checkpoint_worker.providers.live_session import MESSAGE_MAX, read_reply
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, LedgerError
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.subscription import QUIET_S, Subscription

log = logging.getLogger("checkpoint.session")


@dataclass(frozen=True, slots=True)
class _Waiting:
    read: Callable[[str], bytes | None]
    answer: Future[bytes]


class LiveReplies:
    """Receives the replies to all requests of one worker over one subscription.

    It listens while a request waits for its reply. A reply that arrives while the connection is
    lost is lost too, and its request waits until its own timeout.

    Args:
        client: Client of the worker.
        name: Name of the channel, which only this worker uses.
        quiet_s: Silence after which the subscription is tested.
    """

    def __init__(self, client: redis.asyncio.Redis, name: str, quiet_s: float = QUIET_S) -> None:
        self.name = name
        self._client, self._quiet_s = client, quiet_s
        self._waiting: dict[str, _Waiting] = {}
        self._subscribed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def to(
        self, request_id: str, read: Callable[[str], bytes | None]
    ) -> AsyncIterator[Future[bytes]]:
        """Listen for the reply to one request; the context is entered once it would arrive."""
        answer: Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = _Waiting(read, answer)
        if self._listening is None or self._listening.done():
            self._subscribed.clear()
            self._listening = asyncio.create_task(self._listen(), name="live-replies")
        try:
            await self._subscribed.wait()
            yield answer
        finally:
            answer.cancel()
            del self._waiting[request_id]
            if not self._waiting and self._listening is not None:
                self._listening.cancel()
                self._listening = None

    async def _listen(self) -> None:
        subscription = Subscription(
            self._client,
            self._client.publish,
            self.name,
            quiet_s=self._quiet_s,
            subscribed=self._subscribed.set,
        )
        await subscription.run(self._receive, self._lose)

    def _lose(self, error: Exception) -> None:
        self._subscribed.clear()
        log.warning("replies.disconnected error=%(error)s", {"error": type(error).__name__})

    def _receive(self, text: str) -> None:
        reply = read_reply(text)
        waiting = self._waiting.get(reply.request_id) if reply is not None else None
        if reply is None or waiting is None or waiting.answer.done():
            return
        if (answer := waiting.read(reply.sealed)) is not None:
            waiting.answer.set_result(answer)


class RedisSessionChannel:
    """The worker's end of the channel; implements `providers.live_session.SessionChannel`."""

    def __init__(
        self,
        executor: AsyncExecutor,
        keys: Keys,
        provider: str,
        account_id: str,
        replies: LiveReplies,
    ) -> None:
        self._executor, self._replies = executor, replies
        self._key = keys.live_session(provider, account_id)
        self._requests = keys.live_requests(provider, account_id)

    @property
    def reply_to(self) -> str:
        """The channel of this worker's replies."""
        return self._replies.name

    async def registration(self) -> str | None:
        """Return the session's registration, at most ``MESSAGE_MAX + 1`` bytes of it.

        Raises:
            ServiceUnavailableError: Redis did not answer.
        """
        try:
            return await self._executor.beginning(self._key, MESSAGE_MAX + 1) or None
        except LedgerError:
            raise ServiceUnavailableError from None

    def reply(
        self, request_id: str, read: Callable[[str], bytes | None]
    ) -> AbstractAsyncContextManager[Future[bytes]]:
        """Listen for the reply to a request; entered before the request is sent."""
        return self._replies.to(request_id, read)

    async def publish(self, text: str) -> int:
        """Publish a message to the session; return the minimum number of receivers.

        In cluster mode a node counts only its own subscribers, and after a failover a session may
        be subscribed at another node. There a count of 0 does not prove that no session received
        the message, so the method returns at least 1.

        Raises:
            ProviderTimeoutError: Redis did not answer; the session may have received the message.
        """
        try:
            receivers = await self._executor.publish(self._requests, text)
            return max(receivers, 1) if self._executor.clustered else receivers
        except LedgerError:
            raise ProviderTimeoutError from None
