"""The other route: hand the code to a running client session that holds the login.

Some logins live in a browser or a native client of the operator's own. Such a *client session*
registers itself and listens; the code goes to it sealed, and what it answers is a verdict like
any other. This module knows the messages and their cryptography; how they travel is a
`SessionChannel`, which it is handed (`tasks.live_session.channel` has the one over Redis).

The exchange, version 2 of the wire format. ``deploy/docs/live-session.md`` has it field by field,
with a test vector:

    registration   {"v": 2, "session_id", "started_ms", "public_key", "types": ["OTP", …], "proof"}
    request        {"v": 2, "request_id", "submission_id", "checkpoint": {"type", "source"},
                    "solution", "deadline_ms", "reply_to", "proof"}
    reply          {"v": 2, "request_id", "sealed"}
    cancel         {"v": 2, "request_id", "deadline_ms", "cancel": true, "proof"}

Both sides know a secret of the session: the program has made it, and it came with the challenge
context. ``proof`` is HMAC-SHA256 over every field of its message, by a key derived from the
secret, the provider and the account. A message without the right proof is no message: who may
write to the channels, but does not know the secret, can neither ask nor answer nor cancel, and
cannot pass off a key as the session's.

``public_key`` is X25519. For each request the worker makes a key pair of its own. The secret and
the shared secret of the two key pairs together give the request's two AES-256-GCM keys, one for
each direction; submission, request, deadline, provider and account are associated data. So only
the session reads the code, and only the session that read it can answer that one request. The
answer inside is one of

    {"verdict": "cleared", "user_id": "…", "session": {…}}
    {"verdict": "rejected"}
    {"verdict": "next_checkpoint", "checkpoint": {"type": "…", "source": "…"}}
    {"status": 403, "type": "action_required"}        any pair a provider's answer may have; with
                                                      "in_doubt": true where the answer to the
                                                      code told neither yes nor no

No message has more than `MESSAGE_MAX` characters. An answer that is the session's own but cannot
be read, or whose verdict is no word of these, is ``provider_error`` and leaves the intent open; a
finished login in it counts all the same.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from asyncio import Future
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Final, Literal, Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from checkpoint_worker.providers import LIVE_SESSION
from checkpoint_worker.providers.contract import (
    TOLD_RULE,
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    Cookie,
    Exchange,
    ExchangeRefusedError,
    NextCheckpoint,
    NoChannelError,
    NoClientSessionError,
    NoHandlerError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    Reply,
    Request,
    UnknownStepError,
    UnreadableAnswerError,
    Verdict,
)
from checkpoint_worker.providers.http.html import has_session

VERSION: Final = 2
LABEL: Final = "checkpoint live session 2"
"""Goes into everything derived or sealed: a value of one version means nothing in another."""
SECRET_BYTES: Final = 32
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MESSAGE_MAX: Final = 262_144
"""Characters of one message. A finished login's cookies and tokens are some thousands."""
CANCEL_S: Final = 0.3
"""How long telling the session that nobody waits any more may take."""

LOGIN_COOKIES: Final[Mapping[str, tuple[str, ...]]] = {
    "INSTAGRAM": ("sessionid",),
    "LINKEDIN": ("li_at",),
    "MESSENGER": ("c_user", "xs"),
    "TWITTER": ("auth_token",),
}
"""Cookies that make a login at a provider, all of them."""

DETAIL_UNREADABLE: Final = (
    "The client session's registration cannot be read; the code was not sent."
)
DETAIL_VERSION: Final = (
    f"The client session's registration is not of version {VERSION}; update the session's program. "
    "The code was not sent."
)
DETAIL_UNPROVEN: Final = (
    "The client session's registration is not proven by the secret of this login's context; "
    "the code was not sent."
)

T = TypeVar("T")


# The secret ----------------------------------------------------------------------------


def new_session_secret() -> str:
    """Return a new secret for one client session, as ``context.secret`` takes it.

    The session's program makes it, keeps it in memory, and hands it to whoever opens the intent.
    """
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def read_session_secret(secret: str) -> bytes:
    """Return the bytes of a session's secret.

    Raises:
        ValueError: It is none; the message holds nothing of it.
    """
    try:
        raw = _from_base64(secret.replace("-", "+").replace("_", "/"))
    except ValueError:
        raw = None
    if raw is not None and len(raw) == SECRET_BYTES:
        return raw
    found = "not base64" if raw is None else f"base64 of {len(raw)} bytes"
    msg = (
        f"must be {SECRET_BYTES} random bytes in base64 and is {found}; make it with "
        "`new_session_secret()` or `openssl rand -base64 32`, and give the session the same"
    )
    raise ValueError(msg)


class LiveSessionContext(Context):
    """The challenge context of this route: the session holds everything else."""

    route: Literal["live_session"] = Field(
        "live_session", description="A running client session holds the login."
    )
    secret: str = Field(
        repr=False,
        description=(
            "32 random bytes in base64 that the client session's program has made for itself "
            "(`new_session_secret()` or `openssl rand -base64 32`). Worker and session prove to "
            "each other by it that they belong to this login."
        ),
    )

    @field_validator("secret")
    @classmethod
    def _is_secret(cls, secret: str) -> str:
        try:
            read_session_secret(secret)
        except ValueError as error:
            raise PydanticCustomError(TOLD_RULE, "{rule}", {"rule": str(error)}) from None
        return secret


def pack(*fields: str) -> bytes:
    """Return fields as bytes that mean these fields alone: each as length (4, big-endian), UTF-8.

    Raises:
        ValueError: One of them is no Unicode text.
    """
    raw = (each.encode() for each in fields)
    return b"".join(len(each).to_bytes(4, "big") + each for each in raw)


class SessionKeys:
    """What both sides of one login derive from its secret.

    Args:
        secret: Of the session, as `new_session_secret` makes it.
        provider: Whose login it is.
        account_id: The same.

    Raises:
        ValueError: The secret is none.
    """

    __slots__ = ("_account_id", "_keys", "_provider", "_secret")

    def __init__(self, secret: str, provider: str, account_id: str) -> None:
        self._secret = read_session_secret(secret)
        self._provider, self._account_id = provider, account_id
        self._keys: dict[type, bytes] = {
            kind: _derive(self._secret, KEY_BYTES, name, provider, account_id)
            for kind, name in (
                (Registration, "registration"),
                (AskMessage, "request"),
                (CancelMessage, "cancel"),
            )
        }

    def prove(self, message: T) -> T:
        """Return a message with its proof.

        Raises:
            ValueError: It holds what is no Unicode text.
        """
        proof = base64.b64encode(self._proof(message)).decode()
        return message.model_copy(update={"proof": proof})  # type: ignore[attr-defined,no-any-return]

    def proves(self, message: Registration | AskMessage | CancelMessage) -> bool:
        """Whether a message is of somebody who knows the secret, and for this login."""
        try:
            return hmac.compare_digest(self._proof(message), _from_base64(message.proof))
        except ValueError:
            return False

    def _proof(self, message: object) -> bytes:
        assert isinstance(message, Registration | AskMessage | CancelMessage)
        key = self._keys[type(message)]
        return hmac.digest(key, pack(*message.proven()), hashlib.sha256)

    def agree(self, own: X25519PrivateKey, other: bytes, request: RequestHead) -> Seal:
        """Derive a request's keys from one side's private and the other's public key.

        Raises:
            ValueError: The public key is none.
        """
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
        keys = _derive(self._secret + shared, 2 * KEY_BYTES, "exchange")
        bound = (self._provider, self._account_id, *request.bound())
        return Seal(request.request_id, bound, keys[:KEY_BYTES], keys[KEY_BYTES:])


def _derive(secret: bytes, length: int, *info: str) -> bytes:
    return HKDF(SHA256(), length, None, pack(LABEL, *info)).derive(secret)


# Messages ------------------------------------------------------------------------------


class _Words(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _Asked(_Words):
    """The checkpoint of a request."""

    type: str = Field(min_length=1, max_length=256)
    source: str | None = Field(None, min_length=1, max_length=256)


class Registration(_Words):
    """What a client session says of itself while it is there.

    ``started_ms`` is Redis time; of two registrations of a login the one that started later holds.
    """

    v: Literal[2]
    session_id: str = Field(min_length=1, max_length=128)
    started_ms: int = Field(ge=0, lt=1 << 53)
    public_key: str = Field(max_length=64, description="X25519, raw, base64.")
    types: tuple[str, ...] = Field(max_length=64, description="Checkpoint types it handles.")
    proof: str = Field(max_length=64)

    def proven(self) -> tuple[str, ...]:
        """Return what the proof is over, in its order."""
        return (self.session_id, str(self.started_ms), self.public_key, *self.types)

    def is_later_than(self, other: Registration) -> bool:
        """Whether this one holds, of two that are proven."""
        mine, theirs = (each.started_ms for each in (self, other))
        return (mine, self.session_id) > (theirs, other.session_id)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What names a request: a sealed value opens for this request alone."""

    request_id: str
    submission_id: str
    deadline_ms: int

    def bound(self) -> tuple[str, ...]:
        """Return what its keys' associated data ends with, in its order."""
        return (self.request_id, self.submission_id, str(self.deadline_ms))


class AskMessage(_Words):
    """A request: the code, sealed for the session. ``deadline_ms`` is Redis time."""

    v: Literal[2]
    request_id: str = Field(min_length=1, max_length=128)
    submission_id: str = Field(max_length=128)
    checkpoint: _Asked
    solution: str = Field(repr=False)
    deadline_ms: int = Field(ge=0, lt=1 << 53)
    reply_to: str = Field(min_length=1, max_length=512)
    proof: str = Field(max_length=64)

    def proven(self) -> tuple[str, ...]:
        """Return what the proof is over, in its order."""
        asked = (self.checkpoint.type, self.checkpoint.source or "")
        return (*self.head.bound(), self.reply_to, *asked, self.solution)

    @property
    def head(self) -> RequestHead:
        """What names this request."""
        return RequestHead(self.request_id, self.submission_id, self.deadline_ms)


class CancelMessage(_Words):
    """Nobody waits for the answer to a request any more; ``deadline_ms`` is the request's."""

    v: Literal[2]
    request_id: str = Field(min_length=1, max_length=128)
    deadline_ms: int = Field(ge=0, lt=1 << 53)
    cancel: Literal[True]
    proof: str = Field(max_length=64)

    def proven(self) -> tuple[str, ...]:
        """Return what the proof is over, in its order."""
        return (self.request_id, str(self.deadline_ms))


class ReplyMessage(_Words):
    """An answer, sealed for the worker that asked."""

    v: Literal[2]
    request_id: str = Field(min_length=1, max_length=128)
    sealed: str = Field(repr=False)


_TO_SESSION: Final[TypeAdapter[CancelMessage | AskMessage]] = TypeAdapter(
    CancelMessage | AskMessage
)


def read_message(text: str, keys: SessionKeys) -> CancelMessage | AskMessage | None:
    """Read what was published to a session, ``None`` for anything that is not proven."""
    try:
        message = _TO_SESSION.validate_json(text) if len(text) <= MESSAGE_MAX else None
    except ValidationError:
        return None
    return message if message is not None and keys.proves(message) else None


def read_reply(text: str) -> ReplyMessage | None:
    """Read what was published as a reply, ``None`` for anything but our words."""
    try:
        return ReplyMessage.model_validate_json(text) if len(text) <= MESSAGE_MAX else None
    except ValidationError:
        return None


def read_registration(text: str, keys: SessionKeys) -> Registration:
    """Read what is registered for a login.

    Raises:
        NoHandlerError: It cannot be read, is of another version, or is not proven.
    """
    try:
        if len(text) > MESSAGE_MAX:
            raise NoHandlerError(DETAIL_UNREADABLE)
        registration = Registration.model_validate_json(text)
    except ValidationError as error:
        other = any(each["loc"] == ("v",) for each in error.errors(include_input=False))
        raise NoHandlerError(DETAIL_VERSION if other else DETAIL_UNREADABLE) from None
    if not keys.proves(registration):
        raise NoHandlerError(DETAIL_UNPROVEN)
    return registration


class _Step(_Words):
    type: str = Field(pattern=r"^[\x20-\x7e]{1,64}$")
    source: str | None = Field(None, pattern=r"^[\x20-\x7e]{0,64}$")


class _Answer(_Words):
    """What a session answers, once opened.

    ``verdict`` may be any word: one that is not known is doubt, and a finished login beside it
    still counts. Providers write their ids as numbers, too.
    """

    verdict: str | None = None
    user_id: str | None = Field(None, pattern=r"^[\x21-\x7e]{1,256}$")
    session: Mapping[str, JsonValue] = Field(default_factory=dict, repr=False)
    checkpoint: _Step | None = None
    status: int | None = None
    type: str | None = None
    in_doubt: bool = False

    @field_validator("user_id", mode="before")
    @classmethod
    def _is_text(cls, user_id: object) -> object:
        return str(user_id) if type(user_id) is int else user_id

    @field_validator("session", mode="before")
    @classmethod
    def _is_there(cls, session: object) -> object:
        return {} if session is None else session

    @field_validator("in_doubt", mode="before")
    @classmethod
    def _is_said(cls, in_doubt: object) -> bool:
        return in_doubt is True

    @field_validator("verdict")
    @classmethod
    def _is_word(cls, verdict: str | None) -> str | None:
        return verdict and verdict.strip().lower()

    def is_login(self, provider: str) -> bool:
        """Whether it hands over a finished login: an id, and cookies that make a login there.

        It outweighs a word that is not known, or a status that stands beside "cleared".
        """
        names = LOGIN_COOKIES.get(provider)
        listed = self.session.get("cookies")
        if names is None or self.user_id is None or not isinstance(listed, list):
            return False
        try:
            cookies = [Cookie.model_validate(each) for each in listed]
        except ValidationError:
            return False
        return has_session(cookies, *names)


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
    bound: tuple[str, ...]
    request_key: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)

    def close_request(self, value: bytes, nonce: bytes | None = None) -> bytes:
        """Seal what goes to the session: nonce and sealed bytes."""
        return self._close(self.request_key, "request", value, nonce)

    def close_reply(self, value: bytes, nonce: bytes | None = None) -> bytes:
        """Seal what goes to the worker."""
        return self._close(self.reply_key, "reply", value, nonce)

    def open_request(self, sealed: bytes) -> bytes:
        """Open what `close_request` sealed.

        Raises:
            ValueError: Sealed with another key, for another request, or damaged.
        """
        return self._open(self.request_key, "request", sealed)

    def open_reply(self, sealed: bytes) -> bytes:
        """Open what `close_reply` sealed.

        Raises:
            ValueError: Sealed with another key, for another request, or damaged.
        """
        return self._open(self.reply_key, "reply", sealed)

    def _close(self, key: bytes, direction: str, value: bytes, nonce: bytes | None) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
        return nonce + AESGCM(key).encrypt(nonce, value, pack(LABEL, direction, *self.bound))

    def _open(self, key: bytes, direction: str, sealed: bytes) -> bytes:
        nonce, box = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, box, pack(LABEL, direction, *self.bound))
        except InvalidTag:
            msg = "not sealed for this request"
            raise ValueError(msg) from None


def agree_with(
    registration: Registration, keys: SessionKeys, request: RequestHead
) -> tuple[bytes, Seal]:
    """Return a public key made for one request, and the keys shared with its session.

    Everything about the registered key that can be wrong is wrong here, before the claim.

    Raises:
        ValueError: The registered key is none.
    """
    own = X25519PrivateKey.generate()
    seal = keys.agree(own, _from_base64(registration.public_key), request)
    return own.public_key().public_bytes_raw(), seal


def seal_solution(public: bytes, seal: Seal, code: bytes) -> str:
    """Return a code sealed for the session that `agree_with` met."""
    return base64.b64encode(public + seal.close_request(code)).decode()


def open_solution(own: X25519PrivateKey, keys: SessionKeys, ask: AskMessage) -> tuple[str, Seal]:
    """The session's side of `seal_solution`: the code, and the keys for the answer.

    Raises:
        ValueError: It was not sealed for this session and request.
    """
    raw = _from_base64(ask.solution)
    seal = keys.agree(own, raw[:KEY_BYTES], ask.head)
    return seal.open_request(raw[KEY_BYTES:]).decode(), seal


def seal_answer(seal: Seal, answer: Mapping[str, object]) -> str:
    """Return the reply message that carries a session's answer.

    Raises:
        TypeError: The answer has what JSON cannot carry.
        ValueError: The same, or the message would be longer than `MESSAGE_MAX`.
    """
    sealed = seal.close_reply(json.dumps(answer, allow_nan=False).encode())
    text = base64.b64encode(sealed).decode()
    message = ReplyMessage(v=VERSION, request_id=seal.request_id, sealed=text).model_dump_json()
    if len(message) > MESSAGE_MAX:
        msg = "the answer is too large"
        raise ValueError(msg)
    return message


def open_answer(seal: Seal, sealed: str) -> bytes | None:
    """Return the answer in a reply, ``None`` for one that is not the session's own.

    Every program that may publish can write to the channel; only the session that opened the
    request can answer it, so everything else is passed over.
    """
    try:
        return seal.open_reply(_from_base64(sealed))
    except ValueError:
        return None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii's, and that of a text which is not ASCII
        msg = "not base64"
        raise ValueError(msg) from None


# The exchange --------------------------------------------------------------------------


class LiveExchange:
    """One attempt's way to a client session. See `contract.Exchange`.

    Args:
        claim: Grants the code, once. It precedes the publication.
        channel: The way to the session.
        keys: What the intent shares with it.
        submission_id: Told to the session.
        deadline_ms: The same; milliseconds since the epoch.
    """

    def __init__(
        self,
        *,
        claim: Callable[[], Awaitable[ClaimTicket]],
        channel: SessionChannel,
        keys: SessionKeys,
        submission_id: str,
        deadline_ms: int,
        clock: Callable[[], float],
    ) -> None:
        self._claim, self._channel, self._clock = claim, channel, clock
        self._keys = keys
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
        head = RequestHead(secrets.token_hex(16), self._submission_id, self._deadline_ms)
        words = {name: word or None for name, word in request.headers.items()}
        asked = _Asked.model_validate(words)
        public, seal = await self._meet(asked.type, head)
        async with self._channel.reply(head.request_id, partial(open_answer, seal)) as answer:
            ticket = await self._claim()
            ask = AskMessage(
                v=VERSION,
                request_id=head.request_id,
                submission_id=head.submission_id,
                checkpoint=asked,
                solution=seal_solution(public, seal, request.body(ticket.code)),
                deadline_ms=head.deadline_ms,
                reply_to=self._channel.reply_to,
                proof="",
            )
            try:
                await self._ask(self._keys.prove(ask).model_dump_json(), ticket.send_before)
                return Reply(status=200, headers={}, body=await answer)
            except (asyncio.CancelledError, ProviderTimeoutError):
                await self._cancel(head)
                raise

    async def fetch(self, request: Request) -> Reply:
        """Not on this route: the session does everything itself."""
        raise NotImplementedError(request.method)

    async def _meet(self, checkpoint_type: str, head: RequestHead) -> tuple[bytes, Seal]:
        """Look up the session and agree on keys with it: all that can fail before the claim."""
        text = await self._channel.registration()
        if text is None:
            raise NoClientSessionError
        registration = read_registration(text, self._keys)
        try:
            met = agree_with(registration, self._keys, head)
        except ValueError:
            raise NoHandlerError(DETAIL_UNREADABLE) from None
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

    async def _cancel(self, head: RequestHead) -> None:
        """Tell the session that nobody waits any more; it costs at most `CANCEL_S`."""
        cancel = CancelMessage(
            v=VERSION,
            request_id=head.request_id,
            deadline_ms=head.deadline_ms,
            cancel=True,
            proof="",
        )
        try:
            async with asyncio.timeout(CANCEL_S):
                await self._channel.publish(self._keys.prove(cancel).model_dump_json())
        except Exception:  # noqa: BLE001, S110  a courtesy; whatever the channel raises
            pass


# The adapter ---------------------------------------------------------------------------


REJECTED: Final = (401, "invalid_checkpoint_solution")
"""The one pair of the catalogue that is a verdict."""
DOUBTS: Final[Mapping[tuple[int, str], type[ProviderFailure]]] = {
    (each.status, each.type): each for each in (UnknownStepError, UnreadableAnswerError)
}
"""What a pair becomes of which a session says that the code is in doubt."""


def _failure(status: int, type_: str) -> ProviderFailure | None:
    """Return the failure with this wire pair, if a provider's answer may have it.

    Those of the contract alone: a plug-in's own class may stand for any pair.
    """
    for kind in ProviderFailure.__subclasses__():
        if kind.__module__ == ProviderFailure.__module__ and (kind.status, kind.type) == (
            status,
            type_,
        ):
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
        return _verdict(answer, challenge.context, self.provider)


def _verdict(answer: _Answer, context: Context, provider: str) -> Verdict:
    match answer:
        case _Answer(verdict="rejected", status=None):
            return Rejected()
        case _Answer(verdict="next_checkpoint", status=None, checkpoint=_Step() as step):
            asked = Checkpoint(type=step.type, source=step.source or None)
            return NextCheckpoint(checkpoint=asked, context=context)
        case _Answer(verdict="cleared", status=None, user_id=str() as user_id):
            return Cleared(user_id=user_id, session=dict(answer.session))
        case _Answer(verdict="rejected" | "next_checkpoint"):
            raise _unreadable()  # It says two things, or not which step.
        case _Answer(verdict=None, status=int() as status):
            type_ = (answer.type or "").removeprefix("errors/")
            if (pair := _pair(status, type_, in_doubt=answer.in_doubt)) is not None:
                return pair
        case _:  # A word that is not known, or two things at once.
            pass
    if answer.is_login(provider):
        assert answer.user_id is not None, "is part of it"
        return Cleared(user_id=answer.user_id, session=dict(answer.session))
    raise _unreadable()


def _pair(status: int, type_: str, *, in_doubt: bool) -> Verdict | None:
    """Return or raise what a pair means, ``None`` where a provider's answer may not have it."""
    if (status, type_) == REJECTED:
        return Rejected()
    if in_doubt and (doubt := DOUBTS.get((status, type_))) is not None:
        raise doubt
    if failure := _failure(status, type_):
        raise failure
    return None


def _unreadable() -> UnreadableAnswerError:
    return UnreadableAnswerError("The client session's answer cannot be read.")
