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
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

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
    Rejected,
    Reply,
    Request,
    Verdict,
)

INFO: Final = b"checkpoint live session 1"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
CANCEL_S: Final = 0.3
"""How long telling the session that nobody waits any more may take."""


class LiveSessionContext(Context):
    """The challenge context of this route: the session holds everything else."""

    route: Literal["live_session"] = "live_session"


class Registration(BaseModel):
    """What a client session says of itself while it is there."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    v: Literal[1] = 1
    session_id: str = Field(min_length=1, max_length=128)
    public_key: str = Field(description="X25519, raw, base64.")
    types: tuple[str, ...] = Field(description="Checkpoint types it handles.")


class _Answer(BaseModel):
    """What a session answers, once opened."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    verdict: Literal["cleared", "rejected", "next_checkpoint"] | None = None
    user_id: str | None = None
    session: Mapping[str, JsonValue] = Field(default_factory=dict, repr=False)
    checkpoint: Mapping[str, str | None] | None = None
    status: int | None = None
    type: str | None = None


class SessionChannel(Protocol):
    """The way to one account's client session."""

    async def registration(self) -> str | None:
        """Return the session's registration, ``None`` where none is running."""
        ...

    def replies(self, request_id: str) -> AbstractAsyncContextManager[Callable[[], Awaitable[str]]]:
        """Listen for a request's replies; gives a function that awaits the next one."""
        ...

    def reply_to(self, request_id: str) -> str:
        """Return the name under which a reply is heard."""
        ...

    async def publish(self, text: str) -> int:
        """Send to the session; return how many heard it."""
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


def seal_solution(registration: Registration, request_id: str, code: bytes) -> tuple[str, Seal]:
    """Return a code sealed for a session, and the keys its answer will come under.

    Raises:
        ValueError: The registered key is none.
    """
    own = X25519PrivateKey.generate()
    seal = Seal.agree(own, _from_base64(registration.public_key), request_id)
    sealed = own.public_key().public_bytes_raw() + seal.close(seal.request_key, code)
    return base64.b64encode(sealed).decode(), seal


def open_solution(own: X25519PrivateKey, request_id: str, solution: str) -> tuple[str, Seal]:
    """The session's side of `seal_solution`: the code, and the keys for the answer.

    Raises:
        ValueError: It was not sealed for this session and request.
    """
    raw = _from_base64(solution)
    seal = Seal.agree(own, raw[:KEY_BYTES], request_id)
    return seal.open(seal.request_key, raw[KEY_BYTES:]).decode(), seal


def seal_answer(seal: Seal, answer: Mapping[str, object]) -> str:
    """Return the reply message that carries a session's answer."""
    sealed = seal.close(seal.reply_key, json.dumps(answer).encode())
    text = base64.b64encode(sealed).decode()
    return json.dumps({"v": 1, "request_id": seal.request_id, "sealed": text})


def open_reply(seal: Seal, reply: str) -> bytes | None:
    """Return the answer in a reply, ``None`` for one that is not the session's own.

    Anybody who may publish can write to the channel; only the session that holds the key can
    answer, so everything else is passed over.
    """
    try:
        message = json.loads(reply)
        if message["request_id"] != seal.request_id:
            return None
        return seal.open(seal.reply_key, _from_base64(message["sealed"]))
    except (KeyError, TypeError, ValueError):
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
            ExchangeRefusedError: The claim was refused, or its time had run out.
        """
        registration = await self._registered(request.headers["type"])
        request_id = secrets.token_hex(16)
        async with self._channel.replies(request_id) as next_reply:
            ticket = await self._claim()
            solution, seal = seal_solution(registration, request_id, request.body(ticket.code))
            message = {
                "v": 1,
                "request_id": request_id,
                "submission_id": self._submission_id,
                "checkpoint": dict(request.headers),
                "solution": solution,
                "deadline_ms": self._deadline_ms,
                "reply_to": self._channel.reply_to(request_id),
            }
            if self._clock() > ticket.send_before:
                raise ExchangeRefusedError
            self._code_sent = True
            if await self._channel.publish(json.dumps(message)) == 0:
                self._code_sent = False
                raise NoChannelError
            try:
                while (answer := open_reply(seal, await next_reply())) is None:
                    pass
            except asyncio.CancelledError:
                await self._cancel(request_id)
                raise
        return Reply(status=200, headers={}, body=answer)

    async def fetch(self, request: Request) -> Reply:
        """Not on this route: the session does everything itself."""
        raise NotImplementedError(request.method)

    async def _registered(self, checkpoint_type: str) -> Registration:
        text = await self._channel.registration()
        if text is None:
            raise NoClientSessionError
        try:
            registration = Registration.model_validate_json(text)
            X25519PublicKey.from_public_bytes(_from_base64(registration.public_key))
        except ValueError:  # pydantic's among them
            msg = "The client session's registration cannot be read; the code was not sent."
            raise NoHandlerError(msg) from None
        if checkpoint_type not in registration.types:
            raise NoHandlerError
        return registration

    async def _cancel(self, request_id: str) -> None:
        """Tell the session that nobody waits any more; it costs at most `CANCEL_S`."""
        text = json.dumps({"v": 1, "request_id": request_id, "cancel": True})
        try:
            async with asyncio.timeout(CANCEL_S):
                await self._channel.publish(text)
        except Exception:  # noqa: BLE001, S110  a courtesy; whatever the channel raises
            pass


# The adapter ---------------------------------------------------------------------------


def _failure(status: int | None, type_: str | None) -> ProviderFailure | None:
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
    match answer.verdict:
        case "cleared" if answer.user_id:
            return Cleared(user_id=answer.user_id, session=dict(answer.session))
        case "rejected":
            return Rejected()
        case "next_checkpoint" if answer.checkpoint and answer.checkpoint.get("type"):
            type_, source = answer.checkpoint["type"], answer.checkpoint.get("source")
            return NextCheckpoint(
                checkpoint=Checkpoint(type=str(type_), source=source), context=context
            )
        case None:
            raise _failure(answer.status, answer.type) or _unreadable()
        case _:
            raise _unreadable()


def _unreadable() -> ProviderBrokenError:
    return ProviderBrokenError("The client session's answer cannot be read.")
