"""The live session route over Redis: both ends of the channel of CONTRACT §4b.

`RedisSessionChannel` is the worker's end. `SessionHost` is the other one: what a program that
holds a login (a browser it drives, a native client) runs beside it to be asked for codes. Its
handler gets a `Question` and returns what `providers.live_session` calls an answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import redis.asyncio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from redis.exceptions import RedisError

from providers.contract import ProviderTimeoutError, ServiceUnavailableError
from providers.live_session import Registration, open_solution, seal_answer
from tasks.keys import Keys

REGISTRATION_TTL_S: Final = 10
RENEW_S: Final = 3.0
QUIET_S: Final = 1.0
"""Longest silence before a listening end looks around again."""
QUESTIONS_MAX: Final = 16
"""Questions one session answers at once; more wait their turn, which their deadline ends."""

log = logging.getLogger("checkpoint.session")


class RedisSessionChannel:
    """The worker's end. See `providers.live_session.SessionChannel`."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, provider: str, account_id: str
    ) -> None:
        self._client = client
        self._key = keys.live_session(provider, account_id)

    async def registration(self) -> str | None:
        """Return the session's registration.

        Raises:
            ServiceUnavailableError: Redis did not answer.
        """
        try:
            text = await self._client.get(self._key)
        except (RedisError, OSError):
            raise ServiceUnavailableError from None
        return None if text is None else str(text)

    def reply_to(self, request_id: str) -> str:
        """Return the channel of a request's replies."""
        return f"{self._key}:replies:{request_id}"

    @asynccontextmanager
    async def replies(self, request_id: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
        """Listen for replies, from before the request is sent."""
        async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(self.reply_to(request_id))
            # The confirmation must be there before anyone can answer.
            await channel.get_message(ignore_subscribe_messages=False, timeout=QUIET_S)

            async def next_reply() -> str:
                while True:
                    message = await channel.get_message(timeout=QUIET_S)
                    if message is not None and message["type"] == "message":
                        return str(message["data"])

            yield next_reply

    async def publish(self, text: str) -> int:
        """Send to the session; return how many heard it.

        Raises:
            ProviderTimeoutError: Redis did not answer; the session may have heard it.
        """
        try:
            heard: int = await self._client.publish(f"{self._key}:requests", text)
        except (RedisError, OSError):
            raise ProviderTimeoutError from None
        return heard


# The session's end ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a session is asked: clear this checkpoint with this code, by then."""

    submission_id: str
    checkpoint: Mapping[str, str]
    deadline_ms: int
    code: str = field(repr=False)


Handler = Callable[[Question], Awaitable[Mapping[str, object]]]
"""Answers a question; it is cancelled when nobody waits for the answer any more."""


@dataclass(slots=True)
class SessionHost:
    """Registers a client session and answers what it is asked, until cancelled.

    Args:
        client: To the Redis of the deployment.
        keys: Its names.
        provider: Whose login it holds.
        account_id: The same.
        types: Checkpoint types it handles.
        handle: Answers. What it raises is answered 500 ``provider_error``.
    """

    client: redis.asyncio.Redis
    keys: Keys
    provider: str
    account_id: str
    types: tuple[str, ...]
    handle: Handler
    session_id: str = field(default_factory=lambda: secrets.token_hex(8))
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    _own: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Listen, then register: who is registered can be heard."""
        name = self.keys.live_session(self.provider, self.account_id)
        renewing: asyncio.Task[None] | None = None
        try:
            async with self.client.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(f"{name}:requests")
                await channel.get_message(ignore_subscribe_messages=False, timeout=QUIET_S)
                renewing = asyncio.create_task(self._renew(name))
                while not renewing.done():
                    message = await channel.get_message(timeout=QUIET_S)
                    if message is not None and message["type"] == "message":
                        self._hear(message["data"])
        finally:
            for task in [*self._running.values(), *([] if renewing is None else [renewing])]:
                task.cancel()
            with suppress(RedisError, OSError):
                await self.client.delete(name)

    async def _renew(self, name: str) -> None:
        registration = Registration(
            session_id=self.session_id,
            public_key=base64.b64encode(self._own.public_key().public_bytes_raw()).decode(),
            types=self.types,
        ).model_dump_json()
        while True:
            await self.client.set(name, registration, ex=REGISTRATION_TTL_S)
            self.listening.set()
            await asyncio.sleep(RENEW_S)

    def _hear(self, text: str) -> None:
        try:
            message: dict[str, Any] = json.loads(text)
            request_id = str(message["request_id"])
        except (KeyError, TypeError, ValueError):
            log.warning("session.foreign_message")
            return
        if message.get("cancel"):
            if (running := self._running.get(request_id)) is not None:
                running.cancel()
        elif request_id not in self._running and len(self._running) < QUESTIONS_MAX:
            task = asyncio.create_task(self._answer(request_id, message))
            self._running[request_id] = task
            task.add_done_callback(lambda _: self._running.pop(request_id, None))

    async def _answer(self, request_id: str, message: Mapping[str, Any]) -> None:
        try:
            code, seal = open_solution(self._own, request_id, str(message["solution"]))
            question = Question(
                submission_id=str(message["submission_id"]),
                checkpoint=dict(message["checkpoint"]),
                deadline_ms=int(message["deadline_ms"]),
                code=code,
            )
            reply_to = str(message["reply_to"])
        except (KeyError, TypeError, ValueError):
            log.warning("session.unreadable_request")  # Not for this session, or not for us.
            return
        try:
            answer = await self.handle(question)
        except Exception as error:  # noqa: BLE001  a handler's bug must not end the session
            log.error("session.handler_failed error=%s", type(error).__name__)  # noqa: TRY400
            answer = {"status": 500, "type": "provider_error"}
        with suppress(RedisError, OSError):
            await self.client.publish(reply_to, seal_answer(seal, answer))
