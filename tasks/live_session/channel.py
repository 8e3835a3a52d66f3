"""The live session route over Redis: both ends of its channel.

`RedisSessionChannel` is the worker's end; the replies to all its requests come over one
subscription, `LiveReplies`. `SessionHost` is the session's end: a program that holds a login (in a
browser that it drives, or in a native client) runs it to receive codes. Its handler gets a
`Question` and returns an answer in the form that `providers.live_session` defines. The program
makes a secret with `new_session_secret` and puts it into the challenge context of the intent.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import redis.asyncio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError, WatchError

from checkpoint_worker.providers.contract import (
    NoHandlerError,
    ProviderTimeoutError,
    ServiceUnavailableError,
)
from checkpoint_worker.providers.live_session import (
    MESSAGE_MAX,
    VERSION,
    AskMessage,
    CancelMessage,
    Registration,
    Seal,
    SessionKeys,
    new_session_secret,
    open_solution,
    read_message,
    read_registration,
    read_reply,
    seal_answer,
)
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, LedgerError
from checkpoint_worker.tasks.storage.keys import Keys

__all__ = [
    "Handler",
    "LiveReplies",
    "Question",
    "RedisSessionChannel",
    "SessionHost",
    "SessionReplacedError",
    "new_session_secret",
]

REGISTRATION_TTL_S: Final = 10.0
"""Life of a registration in Redis."""
RENEW_S: Final = 3.0
"""Interval at which a session renews its registration."""
QUIET_S: Final = 3.0
"""Silence after which a message is published to test a subscription; after twice this time the
connection counts as dead."""
RECONNECT_S: Final = 0.1
"""Pause before the first reconnect; each further pause is twice as long."""
RECONNECT_MAX_S: Final = 3.0
"""Maximum pause before a reconnect: a session must return soon after its Redis."""
QUESTIONS_MAX: Final = 16
"""Maximum number of questions that one session answers at once. An account has one at a time;
further requests are answered with 503 ``service_unavailable``."""
KNOWN_MAX: Final = 4_096
"""Maximum number of proven requests that a session remembers until their deadlines, so that a copy
of a request does not send its code again. When the memory is full, further requests are refused;
no entry is dropped early."""
LATE_S: Final = 10.0
"""Time after the deadline for which a handler may still run if the worker's cancel is lost."""
REPLY_PAUSES_S: Final = (0.1, 0.5, 1.0)
"""Pauses between the tries to publish a reply; a worker takes the first one that it receives."""
LEAVE_S: Final = 1.0
"""Timeout for removing the registration."""

log = logging.getLogger("checkpoint.session")


class _Subscription:
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


# The worker's end ----------------------------------------------------------------------


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
        while True:
            try:
                async with _Subscription(self._client, self.name, self._quiet_s) as channel:
                    self._subscribed.set()
                    while True:
                        if (text := await channel.next(self._quiet_s)) is not None:
                            self._receive(text)
            except (RedisError, OSError) as error:
                log.warning("replies.disconnected error=%s", type(error).__name__)
                with suppress(RedisError, OSError):
                    await self._client.connection_pool.disconnect(inuse_connections=False)
            self._subscribed.clear()
            await asyncio.sleep(RECONNECT_S)

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
        door: AsyncExecutor,
        keys: Keys,
        provider: str,
        account_id: str,
        replies: LiveReplies,
    ) -> None:
        self._door, self._replies = door, replies
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
            return await self._door.beginning(self._key, MESSAGE_MAX + 1) or None
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
            receivers = await self._door.publish(self._requests, text)
            return max(receivers, 1) if self._door.clustered else receivers
        except LedgerError:
            raise ProviderTimeoutError from None


# The session's end ---------------------------------------------------------------------


class SessionReplacedError(Exception):
    """A later session of the same account has registered; this one receives no more requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request to a session: clear this checkpoint with this code before the deadline.

    ``deadline_ms`` is Redis time, milliseconds since the epoch. A handler need not check it,
    because `SessionHost` cancels the handler in time.
    """

    submission_id: str
    checkpoint: Mapping[str, str | None]
    deadline_ms: int
    code: str = field(repr=False)


Handler = Callable[[Question], Awaitable[Mapping[str, object]]]
"""Function that answers a question; it is cancelled when no worker waits for the answer."""


@dataclass(slots=True, kw_only=True)
class SessionHost:
    """Registers a client session and answers its requests until it is cancelled.

    If two sessions of one account have the same secret, the later one receives the requests. The
    host waits for a Redis that is unreachable, and for the expiry of a registration that another
    program has written without the secret.

    Args:
        client: Client of the deployment's Redis, made by `tasks.storage.executor.connect_async`.
        keys: The Redis names of the deployment.
        secret: Secret of this session, made by `new_session_secret`; the intent's context holds
            the same one.
        provider: Provider of the login.
        account_id: Account of the login.
        types: Checkpoint types that the session handles.
        handle: Answers a question. An exception of it is answered with 500 ``provider_error``.
        session_id: Id of this session.
        ttl_s: Life of the registration.
        renew_s: Interval between its renewals.
        quiet_s: Half of the silence after which a connection counts as dead.

    Raises:
        ValueError: The secret is not valid.

    Attributes:
        listening: Event that is set while the session is registered and receives requests.
    """

    client: redis.asyncio.Redis
    keys: Keys
    secret: str = field(repr=False)
    provider: str
    account_id: str
    types: tuple[str, ...]
    handle: Handler
    session_id: str = field(default_factory=lambda: secrets.token_hex(8))
    ttl_s: float = REGISTRATION_TTL_S
    renew_s: float = RENEW_S
    quiet_s: float = QUIET_S
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    _own: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    _session: SessionKeys = field(init=False, repr=False)
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict, repr=False)
    _known: dict[str, int] = field(default_factory=dict, repr=False)
    """Deadlines of the known requests, ms of Redis time: started, refused or cancelled ones."""
    _forgotten_ms: int = 0
    """The latest deadline of a forgotten request; a request with an earlier one is refused."""
    _registered: Registration | None = field(default=None, repr=False)
    _replaced: bool = False
    _ousted: bool = False
    _foreign: int = 0
    _pause_s: float = RECONNECT_S

    def __post_init__(self) -> None:
        self._session = SessionKeys(self.secret, self.provider, self.account_id)

    async def run(self) -> None:
        """Listen, register and answer requests.

        Raises:
            SessionReplacedError: A later session has registered, and all earlier requests are
                answered.
        """
        try:
            while not self._is_over():
                try:
                    await self._serve()
                except (RedisError, OSError) as error:
                    self.listening.clear()
                    log.warning("session.disconnected error=%s", type(error).__name__)
                    # After a switchover the pool's other connections lead to the old master too.
                    await self.client.connection_pool.disconnect(inuse_connections=False)
                    await asyncio.sleep(self._pause_s)
                    self._pause_s = min(2 * self._pause_s, RECONNECT_MAX_S)
            raise SessionReplacedError
        finally:
            await self._leave()

    def _is_over(self) -> bool:
        return self._replaced and not self._running

    async def _serve(self) -> None:
        """Serve over one connection; subscribe before registering, so that no request is lost."""
        clock = asyncio.get_running_loop().time
        name = self.keys.live_requests(self.provider, self.account_id)
        async with _Subscription(self.client, name, self.quiet_s) as channel:
            renew_at_s = clock()
            while not self._is_over():
                if clock() >= renew_at_s:
                    await self._register()
                    renew_at_s = clock() + self.renew_s
                text = await channel.next(max(0.0, renew_at_s - clock()))
                if text is not None:
                    await self._receive(text)

    # Registering

    async def _register(self) -> None:
        if self._replaced:
            return
        self._log_foreign()
        how: Literal["take", "keep"] = "take" if self._registered is None else "keep"
        registration = self._registered or await self._make_registration()
        held = await self._hold(how, registration)
        self._registered, self._pause_s = registration, RECONNECT_S
        if held:
            self._ousted = False
            self.listening.set()
            return
        self.listening.clear()
        holder = await self._registration_there()
        if holder is not None and holder.is_later_than(registration):
            log.warning("session.replaced")
            self._replaced = True
        elif not self._ousted:  # Keep trying: the other registration expires within seconds.
            log.warning("session.name_taken")
            self._ousted = True

    async def _make_registration(self) -> Registration:
        """Return a registration that is later than the existing one, whatever the Redis clock."""
        before = await self._registration_there()
        now_ms = await self._now_ms()
        return self._session.prove(
            Registration(
                v=VERSION,
                session_id=self.session_id,
                started_ms=now_ms if before is None else max(now_ms, before.started_ms + 1),
                public_key=base64.b64encode(self._own.public_key().public_bytes_raw()).decode(),
                types=self.types,
                proof="",
            )
        )

    async def _registration_there(self) -> Registration | None:
        """Return the stored registration, ``None`` if it was made without the secret."""
        try:
            return read_registration((await self._read(self.client)).decode(), self._session)
        except (NoHandlerError, UnicodeDecodeError):
            return None

    async def _read(self, client: redis.asyncio.Redis) -> bytes:
        """Read the stored registration, at most one byte more than a registration may have."""
        words = ("GETRANGE", self._name, 0, MESSAGE_MAX)
        found: bytes = await client.execute_command(*words, NEVER_DECODE=True)
        return found

    @property
    def _name(self) -> str:
        return self.keys.live_session(self.provider, self.account_id)

    async def _now_ms(self) -> int:
        """Return Redis time, the clock of the deadlines, which no suspend of this machine stops."""
        seconds, micros = await self.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def _hold(self, how: Literal["take", "keep", "leave"], own: Registration) -> bool:
        """Take, renew or remove the registration; return whether this session held it.

        A renewal or a removal must not change a later session's registration, so it is written only
        if the value has not changed since it was read. WATCH is used instead of a script, because a
        user that may run scripts can block Redis, and sessions run in many places.
        """
        text, life_ms = own.model_dump_json(), round(self.ttl_s * 1000)
        if how == "take":
            await self.client.set(self._name, text, px=life_ms)
            return True
        async with self.client.pipeline() as pipe:
            await pipe.watch(self._name)
            holder = await self._read(pipe)
            if holder not in (b"", text.encode()):
                # A registration with a longer life, or with none, is not of a session: replace it.
                left_ms = await pipe.pttl(self._name)
                if how == "leave" or 0 <= left_ms <= life_ms:
                    return False
            pipe.multi()
            if how == "keep":
                pipe.set(self._name, text, px=life_ms)
            else:
                pipe.delete(self._name)
            try:
                await pipe.execute()
            except WatchError as error:
                # redis-py raises WatchError for a lost connection too; then the holder is unknown.
                if isinstance(error.__context__, RedisError):
                    raise LostError from error
                return False
        return True

    async def _leave(self) -> None:
        self.listening.clear()
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._registered is None:
            return
        with suppress(RedisError, OSError):
            async with asyncio.timeout(LEAVE_S):
                await self._hold("leave", self._registered)

    # Answering

    async def _receive(self, text: str) -> None:
        match read_message(text, self._session):
            case None:
                self._foreign += 1
            case CancelMessage(request_id=request_id) as cancel:
                if (running := self._running.get(request_id)) is not None:
                    running.cancel()
                elif len(self._known) < KNOWN_MAX:  # A cancel may arrive before its request.
                    self._known.setdefault(request_id, cancel.deadline_ms)
            case AskMessage() as ask if ask.request_id not in self._known:
                await self._take(ask)

    def _log_foreign(self) -> None:
        """Log the number of foreign messages once in each renewal, to bound the log."""
        if self._foreign:
            log.warning("session.foreign_messages count=%d", self._foreign)
            self._foreign = 0

    def _forget(self, now_ms: int) -> None:
        """Forget requests past their deadlines, by the same clock that refuses their copies."""
        past = [name for name, deadline_ms in self._known.items() if deadline_ms <= now_ms]
        for name in past:
            self._forgotten_ms = max(self._forgotten_ms, self._known.pop(name))

    def _remember(self, ask: AskMessage) -> bool:
        """Remember a request; return false if the memory is full.

        In this case all requests with a deadline up to this one's are refused from now on.
        """
        if len(self._known) < KNOWN_MAX:
            self._known[ask.request_id] = ask.deadline_ms
            return True
        self._forgotten_ms = max(self._forgotten_ms, ask.deadline_ms)
        return False

    async def _take(self, ask: AskMessage) -> None:
        """Start to answer a request unless it is for another session, too late, or a copy."""
        try:
            code, seal = open_solution(self._own, self._session, ask)
        except ValueError:
            log.warning("session.unreadable_request")  # Sealed to the key of another session.
            return
        now_ms = await self._now_ms()
        self._forget(now_ms)
        if ask.deadline_ms <= max(now_ms, self._forgotten_ms):
            log.warning("session.late_request submission_id=%s", ask.submission_id)
            return
        left_s = (ask.deadline_ms - now_ms) / 1000
        if not self._remember(ask) or len(self._running) >= QUESTIONS_MAX:
            log.warning("session.busy submission_id=%s", ask.submission_id)
            busy = seal_answer(seal, {"status": 503, "type": "service_unavailable"})
            with suppress(RedisError, OSError):
                await self.client.publish(ask.reply_to, busy)
            return
        question = Question(
            submission_id=ask.submission_id,
            checkpoint=ask.checkpoint.model_dump(),
            deadline_ms=ask.deadline_ms,
            code=code,
        )
        task = asyncio.create_task(self._answer(question, seal, ask.reply_to, left_s))
        self._running[ask.request_id] = task
        task.add_done_callback(lambda _: self._running.pop(ask.request_id, None))

    async def _answer(self, question: Question, seal: Seal, reply_to: str, left_s: float) -> None:
        limit = asyncio.timeout(left_s + LATE_S)
        try:
            async with limit:
                reply = seal_answer(seal, await self.handle(question))
        except Exception as error:  # noqa: BLE001  a handler's bug must not end the session
            if limit.expired():
                log.warning("session.late_answer submission_id=%s", question.submission_id)
                return
            # Only the class: the message may quote the code.
            log.error("session.handler_failed error=%s", type(error).__name__)  # noqa: TRY400
            reply = seal_answer(seal, {"status": 500, "type": "provider_error"})
        await self._reply(reply_to, reply)

    async def _reply(self, reply_to: str, reply: str) -> None:
        """Publish a reply until a worker receives it: a reconnecting worker misses messages."""
        for pause_s in (*REPLY_PAUSES_S, None):
            with suppress(RedisError, OSError):
                if await self.client.publish(reply_to, reply):
                    return
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        log.warning("session.reply_unheard")
