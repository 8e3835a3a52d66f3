"""The secret of a client session, with the proofs and the seals that it makes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import TypeAdapter, ValidationError

from checkpoint_worker.providers.contract import NoHandlerError
from checkpoint_worker.providers.live_session.protocol import (
    MESSAGE_MAX,
    VERSION,
    AskMessage,
    CancelMessage,
    Registration,
    ReplyMessage,
    RequestHead,
)

LABEL: Final = "checkpoint live session 2"
"""Label in every derived key and sealed value; a value of one version is invalid in another."""
SECRET_BYTES: Final = 32
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
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


def new_session_secret() -> str:
    """Return a new secret for one client session, as ``context.secret`` takes it.

    The session's program makes it, keeps it in memory, and gives it to the program that opens the
    intent.
    """
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def read_session_secret(secret: str) -> bytes:
    """Return the bytes of a session's secret.

    Raises:
        ValueError: It is not a valid secret; the message quotes nothing of it.
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


def pack(*fields: str) -> bytes:
    """Return the unambiguous encoding of fields: each as length (4 bytes, big-endian) and UTF-8.

    Raises:
        ValueError: A field is not valid Unicode text.
    """
    raw = (each.encode() for each in fields)
    return b"".join(len(each).to_bytes(4, "big") + each for each in raw)


class SessionKeys:
    """The keys that both sides of one login derive from its secret.

    Args:
        secret: The session's secret, as `new_session_secret` makes it.
        provider: Provider of the login.
        account_id: Account of the login.

    Raises:
        ValueError: The secret is invalid.
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
            ValueError: A field is not valid Unicode text.
        """
        proof = base64.b64encode(self._proof(message)).decode()
        return message.model_copy(update={"proof": proof})  # type: ignore[attr-defined,no-any-return]

    def proves(self, message: Registration | AskMessage | CancelMessage) -> bool:
        """Whether the sender of a message knows this login's secret."""
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
            ValueError: The public key is invalid.
        """
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
        keys = _derive(self._secret + shared, 2 * KEY_BYTES, "exchange")
        bound = (self._provider, self._account_id, *request.bound())
        return Seal(request.request_id, bound, keys[:KEY_BYTES], keys[KEY_BYTES:])


def _derive(secret: bytes, length: int, *info: str) -> bytes:
    return HKDF(SHA256(), length, None, pack(LABEL, *info)).derive(secret)


_TO_SESSION: Final[TypeAdapter[CancelMessage | AskMessage]] = TypeAdapter(
    CancelMessage | AskMessage
)


def read_message(text: str, keys: SessionKeys) -> CancelMessage | AskMessage | None:
    """Read a message to a session; return ``None`` for a message that is not proven."""
    try:
        message = _TO_SESSION.validate_json(text) if len(text) <= MESSAGE_MAX else None
    except ValidationError:
        return None
    return message if message is not None and keys.proves(message) else None


def read_registration(text: str, keys: SessionKeys) -> Registration:
    """Read a login's registration.

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


@dataclass(frozen=True, slots=True)
class Seal:
    """The two keys of one request, the same on both sides."""

    request_id: str
    bound: tuple[str, ...]
    request_key: bytes = field(repr=False)
    reply_key: bytes = field(repr=False)

    def close_request(self, value: bytes, nonce: bytes | None = None) -> bytes:
        """Seal bytes for the session; return the nonce and the sealed bytes."""
        return self._close(self.request_key, "request", value, nonce)

    def close_reply(self, value: bytes, nonce: bytes | None = None) -> bytes:
        """Seal bytes for the worker; return the nonce and the sealed bytes."""
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

    It runs before the claim, so that an invalid registered key is found before the code is used.

    Raises:
        ValueError: The registered key is invalid.
    """
    own = X25519PrivateKey.generate()
    seal = keys.agree(own, _from_base64(registration.public_key), request)
    return own.public_key().public_bytes_raw(), seal


def seal_solution(public: bytes, seal: Seal, code: bytes) -> str:
    """Return a code sealed for the session, with the result of `agree_with`."""
    return base64.b64encode(public + seal.close_request(code)).decode()


def open_solution(own: X25519PrivateKey, keys: SessionKeys, ask: AskMessage) -> tuple[str, Seal]:
    """Open the code at the session; return it with the keys for the answer.

    Raises:
        ValueError: It was not sealed for this session and request.
    """
    raw = _from_base64(ask.solution)
    seal = keys.agree(own, raw[:KEY_BYTES], ask.head)
    return seal.open_request(raw[KEY_BYTES:]).decode(), seal


def seal_answer(seal: Seal, answer: Mapping[str, object]) -> str:
    """Return the reply message that carries a session's answer.

    Raises:
        TypeError: The answer has a value that JSON does not have.
        ValueError: It has NaN or a circular reference, or the message exceeds `MESSAGE_MAX`.
    """
    sealed = seal.close_reply(json.dumps(answer, allow_nan=False).encode())
    text = base64.b64encode(sealed).decode()
    message = ReplyMessage(v=VERSION, request_id=seal.request_id, sealed=text).model_dump_json()
    if len(message) > MESSAGE_MAX:
        msg = "the answer is too large"
        raise ValueError(msg)
    return message


def open_answer(seal: Seal, sealed: str) -> bytes | None:
    """Return the answer in a reply, ``None`` for a reply that is not the session's own.

    Every program that may publish can write to the channel. Only the session that opened the
    request can seal an answer to it, so the worker ignores every other reply.
    """
    try:
        return seal.open_reply(_from_base64(sealed))
    except ValueError:
        return None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # From binascii, or for a text that is not ASCII.
        msg = "not base64"
        raise ValueError(msg) from None
