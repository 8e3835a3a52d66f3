"""The other route: hand the code to a running client session that holds the login.

Some logins live in a browser or a native client of somebody's own. Such a *client session*
registers itself and listens; the code goes to it sealed, and what it answers is a verdict like
any other. This module knows the words and the sealing; how they travel is a `SessionChannel`,
which it is handed (`tasks.live_channel` has the one over Redis).

The exchange, with the names of CONTRACT §4b:

    registration   {"v": 1, "session_id", "public_key", "types": ["OTP", …]}, renewed by the session
    request        {"v": 1, "request_id", "submission_id", "checkpoint": {"type", "source"},
                    "solution", "deadline_ms", "reply_to"}
    reply          {"v": 1, "request_id", "sealed"}
    cancel         {"v": 1, "request_id", "cancel": true}

``public_key`` is X25519. For each request the worker makes a key pair of its own; the shared
secret gives, by HKDF-SHA256 (info ``checkpoint live session 1``, salt the request id), 64
bytes: the key of the request and the key of the reply, both AES-256-GCM with the request id as
associated data. ``solution`` is base64 of the worker's public key (32 bytes), a nonce (12) and
the sealed code; ``sealed`` is base64 of a nonce and the sealed answer. So only the session reads
the code, and only the session that read it can answer. The answer inside is one of

    {"verdict": "cleared", "user_id": "…", "session": {…}}
    {"verdict": "rejected"}
    {"verdict": "next_checkpoint", "checkpoint": {"type": "…", "source": "…"}}
    {"status": 403, "type": "action_required"}        any pair a provider's answer may have

No message has more than `MESSAGE_MAX` characters. Whoever may write to the channels can send
anything; what is not in these words, or not sealed by the other side, is passed over. An answer
that is the session's own but cannot be read is ``provider_error``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
from asyncio import Future
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from providers import LIVE_SESSION
from providers.contract import (
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    Exchange,
    ExchangeRefusedError,
    NextCheckpoint,
    NoChannelError,
    NoClientSessionError,
    NoHandlerError,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    Reply,
    Request,
    Verdict,
)

INFO: Final = b"checkpoint live session 1"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MESSAGE_MAX: Final = 262_144
"""Characters of one message. A finished login's cookies and tokens are some thousands."""
CANCEL_S: Final = 0.3
"""How long telling the session that nobody waits any more may take."""


class LiveSessionContext(Context):
    """The challenge context of this route: the session holds everything else."""

    route: Literal["live_session"] = "live_session"


# Messages ------------------------------------------------------------------------------


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Registration(_Words):
    """What a client session says of itself while it is there."""

    v: Literal[1] = 1
    session_id: str = Field(min_length=1, max_length=128)
    public_key: str = Field(description="X25519, raw, base64.")
    types: tuple[str, ...] = Field(description="Checkpoint types it handles.")


class AskMessage(_Words):
    """A request: the code, sealed for the session. ``deadline_ms`` is Redis time."""

    v: Literal[1] = 1
    request_id: str = Field(min_length=1, max_length=128)
    submission_id: str = Field(max_length=128)
    checkpoint: Mapping[str, str | None]
    solution: str = Field(repr=False)
    deadline_ms: int
    reply_to: str = Field(min_length=1, max_length=512)


class CancelMessage(_Words):
    """Nobody waits for the answer to a request any more."""

    v: Literal[1] = 1
    request_id: str = Field(min_length=1, max_length=128)
    cancel: Literal[True] = True


class ReplyMessage(_Words):
    """An answer, sealed for the worker that asked."""

    v: Literal[1] = 1
    request_id: str = Field(min_length=1, max_length=128)
    sealed: str = Field(repr=False)


class _Cancel(CancelMessage):
    cancel: Literal[True]  # Absent is not cancelled.


_TO_SESSION: Final[TypeAdapter[_Cancel | AskMessage]] = TypeAdapter(_Cancel | AskMessage)


def read_message(text: str) -> CancelMessage | AskMessage | None:
    """Read what was published to a session, ``None`` for anything but our words."""
    try:
        return _TO_SESSION.validate_json(text) if len(text) <= MESSAGE_MAX else None
    except ValidationError:
        return None


def read_reply(text: str) -> ReplyMessage | None:
    """Read what was published as a reply, ``None`` for anything but our words."""
    try:
        return ReplyMessage.model_validate_json(text) if len(text) <= MESSAGE_MAX else None
    except ValidationError:
        return None


class _Step(_Words):
    type: str = Field(pattern=r"^[\x20-\x7e]{1,64}$")
    source: str | None = Field(None, pattern=r"^[\x20-\x7e]{0,64}$")


class _Answer(_Words):
    """What a session answers, once opened."""

    verdict: Literal["cleared", "rejected", "next_checkpoint"] | None = None
    user_id: str | None = Field(None, pattern=r"^[\x21-\x7e]{1,256}$")
    session: Mapping[str, JsonValue] = Field(default_factory=dict, repr=False)
    checkpoint: _Step | None = None
    status: int | None = None
    type: str | None = None


class SessionChannel(Protocol):
    """The way to one account's client session."""

    @property
    def reply_to(self) -> str:
        """The name under which replies are heard."""
        ...

    async def registration(self) -> str | None:
        """Return the session's registration, ``None`` where none is running."""
        ...

    def reply(
        self, request_id: str, read: Callable[[str], bytes | None]
    ) -> AbstractAsyncContextManager[Future[bytes]]:
        """Listen for a request's reply, from before the request is sent.

        Args:
            request_id: Which request.
            read: Is given the ``sealed`` of each reply to it; the first answer it returns is
                the future's result, ``None`` passes a reply over.
        """
        ...

    async def publish(self, text: str) -> int:
        """Send to the session; return how many heard it.

        Raises:
            ProviderTimeoutError: Nobody knows whether it was heard.
        """
        ...


# Sealing -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seal:
    """The two keys of one request, the same on both sides."""

    request_id: str
    request_key: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)

    @classmethod
    def agree(cls, own: X25519PrivateKey, other: bytes, request_id: str) -> Seal:
        """Derive the keys from one side's private and the other's public key.

        Raises:
            ValueError: The public key is none.
        """
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
        keys = HKDF(SHA256(), 2 * KEY_BYTES, request_id.encode(), INFO).derive(shared)
        return cls(request_id, keys[:KEY_BYTES], keys[KEY_BYTES:])

    def close(self, key: bytes, value: bytes) -> bytes:
        """Seal a value: nonce and sealed bytes."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, value, self.request_id.encode())

    def open(self, key: bytes, sealed: bytes) -> bytes:
        """Open what `close` sealed.

        Raises:
            ValueError: Sealed with another key, or damaged.
        """
        nonce, box = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, box, self.request_id.encode())
        except InvalidTag:
            msg = "not sealed for this request"
            raise ValueError(msg) from None


def agree_with(registration: Registration, request_id: str) -> tuple[bytes, Seal]:
    """Return a public key made for one request, and the keys shared with its session.

    Everything about the registered key that can be wrong is wrong here, before the claim.

    Raises:
        ValueError: The registered key is none.
    """
    own = X25519PrivateKey.generate()
    seal = Seal.agree(own, _from_base64(registration.public_key), request_id)
    return own.public_key().public_bytes_raw(), seal


def seal_solution(public: bytes, seal: Seal, code: bytes) -> str:
    """Return a code sealed for the session that `agree_with` met."""
    return base64.b64encode(public + seal.close(seal.request_key, code)).decode()


def open_solution(own: X25519PrivateKey, request_id: str, solution: str) -> tuple[str, Seal]:
    """The session's side of `seal_solution`: the code, and the keys for the answer.

    Raises:
        ValueError: It was not sealed for this session and request.
    """
    raw = _from_base64(solution)
    seal = Seal.agree(own, raw[:KEY_BYTES], request_id)
    return seal.open(seal.request_key, raw[KEY_BYTES:]).decode(), seal


def seal_answer(seal: Seal, answer: Mapping[str, object]) -> str:
    """Return the reply message that carries a session's answer.

    Raises:
        TypeError: The answer has what JSON cannot carry.
        ValueError: The same, or the message would be longer than `MESSAGE_MAX`.
    """
    sealed = seal.close(seal.reply_key, json.dumps(answer, allow_nan=False).encode())
    text = base64.b64encode(sealed).decode()
    message = ReplyMessage(request_id=seal.request_id, sealed=text).model_dump_json()
    if len(message) > MESSAGE_MAX:
        msg = "the answer is too large"
        raise ValueError(msg)
    return message


def open_answer(seal: Seal, sealed: str) -> bytes | None:
    """Return the answer in a reply, ``None`` for one that is not the session's own.

    Anybody who may publish can write to the channel; only the session that holds the key can
    answer, so everything else is passed over.
    """
    try:
        return seal.open(seal.reply_key, _from_base64(sealed))
    except ValueError:
        return None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        msg = "not base64"
        raise ValueError(msg) from None


# The exchange --------------------------------------------------------------------------


class LiveExchange:
    """One attempt's way to a client session. See `contract.Exchange`.

    Args:
        claim: Grants the code, once. It precedes the publication.
        channel: The way to the session.
        submission_id: Told to the session.
        deadline_ms: The same; milliseconds since the epoch.
    """

    def __init__(
        self,
        *,
        claim: Callable[[], Awaitable[ClaimTicket]],
        channel: SessionChannel,
        submission_id: str,
        deadline_ms: int,
        clock: Callable[[], float],
    ) -> None:
        self._claim, self._channel, self._clock = claim, channel, clock
        self._submission_id, self._deadline_ms = submission_id, deadline_ms
        self._code_sent = False

    @property
    def code_sent(self) -> bool:
        """Whether the code may have reached the session."""
        return self._code_sent

    async def send_code(self, request: CodeRequest) -> Reply:
        """Ask the session and await its answer; the reply's body is the answer.

        Raises:
            NoClientSessionError: None is registered.
            NoHandlerError: It does not handle this type of checkpoint.
            NoChannelError: Nobody heard the request; the code was not sent.
            ProviderTimeoutError: Nobody knows whether the request was heard.
            ExchangeRefusedError: The claim was refused, or its time had run out.
        """
        request_id = secrets.token_hex(16)
        public, seal = await self._meet(request.headers["type"], request_id)
        async with self._channel.reply(request_id, partial(open_answer, seal)) as answer:
            ticket = await self._claim()
            ask = AskMessage(
                request_id=request_id,
                submission_id=self._submission_id,
                checkpoint={name: word or None for name, word in request.headers.items()},
                solution=seal_solution(public, seal, request.body(ticket.code)),
                deadline_ms=self._deadline_ms,
                reply_to=self._channel.reply_to,
            )
            try:
                await self._ask(ask.model_dump_json(), ticket.send_before)
                return Reply(status=200, headers={}, body=await answer)
            except (asyncio.CancelledError, ProviderTimeoutError):
                await self._cancel(request_id)
                raise

    async def fetch(self, request: Request) -> Reply:
        """Not on this route: the session does everything itself."""
        raise NotImplementedError(request.method)

    async def _meet(self, checkpoint_type: str, request_id: str) -> tuple[bytes, Seal]:
        """Look up the session and agree on keys with it: all that can fail before the claim."""
        text = await self._channel.registration()
        if text is None:
            raise NoClientSessionError
        try:
            if len(text) > MESSAGE_MAX:
                raise ValueError  # noqa: TRY301  the same answer as for every other nonsense
            registration = Registration.model_validate_json(text)
            met = agree_with(registration, request_id)
        except ValueError:  # pydantic's among them
            msg = "The client session's registration cannot be read; the code was not sent."
            raise NoHandlerError(msg) from None
        if checkpoint_type not in registration.types:
            raise NoHandlerError
        return met

    async def _ask(self, text: str, send_before: float) -> None:
        """Publish the request; what has not left by ``send_before`` never leaves."""
        left_s = send_before - self._clock()
        if left_s <= 0:
            raise ExchangeRefusedError
        self._code_sent = True
        try:
            async with asyncio.timeout(left_s):
                heard = await self._channel.publish(text)
        except TimeoutError:
            raise ProviderTimeoutError from None
        if heard == 0:
            self._code_sent = False
            raise NoChannelError

    async def _cancel(self, request_id: str) -> None:
        """Tell the session that nobody waits any more; it costs at most `CANCEL_S`."""
        text = CancelMessage(request_id=request_id).model_dump_json()
        try:
            async with asyncio.timeout(CANCEL_S):
                await self._channel.publish(text)
        except Exception:  # noqa: BLE001, S110  a courtesy; whatever the channel raises
            pass


# The adapter ---------------------------------------------------------------------------


REJECTED: Final = (401, "invalid_checkpoint_solution")
"""The one pair of the catalogue that is a verdict."""


def _failure(status: int | None, type_: str) -> ProviderFailure | None:
    """Return the failure with this wire pair, if a provider's answer may have it."""
    for kind in ProviderFailure.__subclasses__():
        if (kind.status, kind.type) == (status, type_):
            return kind()
    return None


class LiveSession:
    """The adapter of this route, for every provider. See `contract.Adapter`."""

    default_url: str = ""
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {LIVE_SESSION: LiveSessionContext}
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType({})
    prepares: bool = False
    knows_another_way: bool = True

    def __init__(self, provider: str) -> None:
        self.provider = provider

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Hand the code to the session and read its answer. See `contract.Adapter.verify`."""
        checkpoint = challenge.checkpoint
        words = {"type": checkpoint.type, "source": checkpoint.source or ""}
        reply = await exchange.send_code(
            CodeRequest(method="ASK", url=LIVE_SESSION, headers=words, body=str.encode)
        )
        try:
            answer = _Answer.model_validate_json(reply.body)
        except ValidationError:
            raise _unreadable() from None
        return _verdict(answer, challenge.context)


def _verdict(answer: _Answer, context: Context) -> Verdict:
    if answer.verdict is None:
        return _pair(answer.status, (answer.type or "").removeprefix("errors/"))
    match answer:
        case _Answer(status=int()):
            raise _unreadable()  # It says two things.
        case _Answer(verdict="cleared", user_id=str() as user_id):
            return Cleared(user_id=user_id, session=dict(answer.session))
        case _Answer(verdict="rejected"):
            return Rejected()
        case _Answer(verdict="next_checkpoint", checkpoint=_Step(type=type_, source=source)):
            step = Checkpoint(type=type_, source=source or None)
            return NextCheckpoint(checkpoint=step, context=context)
        case _:
            raise _unreadable()


def _pair(status: int | None, type_: str) -> Verdict:
    if (status, type_) == REJECTED:
        return Rejected()
    raise _failure(status, type_) or _unreadable()


def _unreadable() -> ProviderBrokenError:
    return ProviderBrokenError("The client session's answer cannot be read.")
