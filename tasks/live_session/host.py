"""The session's end of a live session's channel.

A program that holds a login (in a browser that it drives, or in a native client) runs a
`SessionHost` to receive codes.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

import redis.asyncio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import RedisError, WatchError

from checkpoint_worker.providers.contract import NoHandlerError
from checkpoint_worker.providers.live_session import (
    MESSAGE_MAX,
    VERSION,
    AskMessage,
    CancelMessage,
    Registration,
    Seal,
    SessionKeys,
    open_solution,
    read_message,
    read_registration,
    seal_answer,
)
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.subscription import (
    QUIET_S,
    RECONNECT_S,
    Subscription,
    leave,
)

REGISTRATION_TTL_S: Final = 10.0
"""Life of a registration in Redis."""
RENEW_S: Final = 3.0
"""Interval at which a session renews its registration."""
RECONNECT_MAX_S: Final = 3.0
"""Maximum pause before a reconnect. It is longer than a worker's, because thousands of sessions may
reconnect to one Redis."""
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
HOST_SHUTDOWN_TIMEOUT_S: Final = 1.0
"""Timeout for removing the registration."""

log = logging.getLogger("checkpoint.session")


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
                    if self._pause_s == RECONNECT_S:  # Once for all tries of one outage.
                        fields = {"error": type(error).__name__}
                        log.warning("session.disconnected error=%(error)s", fields)
                    await leave(self.client)
                    await asyncio.sleep(self._pause_s)
                    self._pause_s = min(2 * self._pause_s, RECONNECT_MAX_S)
            raise SessionReplacedError
        finally:
            await self._end_registration()

    async def settled(self) -> None:
        """Wait until every question that was taken is answered."""
        while self._running:
            await asyncio.wait(set(self._running.values()))

    def _is_over(self) -> bool:
        return self._replaced and not self._running

    async def _serve(self) -> None:
        """Serve over one connection; subscribe before registering, so that no request is lost."""
        clock = asyncio.get_running_loop().time
        name = self.keys.live_requests(self.provider, self.account_id)
        subscription = Subscription(self.client, self.client.publish, name, quiet_s=self.quiet_s)
        async with subscription as channel:
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

    async def _end_registration(self) -> None:
        self.listening.clear()
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._registered is None:
            return
        with suppress(RedisError, OSError):
            async with asyncio.timeout(HOST_SHUTDOWN_TIMEOUT_S):
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
            log.warning("session.foreign_messages count=%(count)d", {"count": self._foreign})
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
            _warn("session.late_request", ask)
            return
        left_s = (ask.deadline_ms - now_ms) / 1000
        if not self._remember(ask) or len(self._running) >= QUESTIONS_MAX:
            _warn("session.busy", ask)
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
                _warn("session.late_answer", question)
                return
            # Only the class: the message may quote the code.
            fields = {"error": type(error).__name__}
            log.error("session.handler_failed error=%(error)s", fields)  # noqa: TRY400
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


def _warn(event: str, about: Question | AskMessage) -> None:
    """Log what became of a submission; as in `worker.observability.logs.name_fields`."""
    log.warning(f"{event} submission_id=%(submission_id)s", {"submission_id": about.submission_id})  # noqa: G004  its own constant
