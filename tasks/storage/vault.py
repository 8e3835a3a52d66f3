"""The vault: seals solutions, challenge contexts with their proxies, and sessions.

It uses AES-256-GCM with the name of the value as associated data, so a value that is moved to
another submission or intent does not open. The vault does not use Redis; ``commit.lua`` ensures
that a solution is taken only once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""Length of a nonce: 96 random bits, as NIST SP 800-38D recommends for GCM."""
KEY_ID_BYTES: Final = 4
DIGEST_BYTES: Final = 16
VARIABLE: Final = "CHECKPOINT_SECRET_KEYS"
HOW_TO_MAKE: Final = f"`openssl rand -base64 {KEY_BYTES}`"


class VaultError(Exception):
    """Base of the vault's errors. They carry names, never values."""


class BadKeyError(VaultError):
    """No key is configured, or one is not 32 bytes in base64; the message names which one."""


class CannotOpenError(VaultError):
    """The value was sealed with an unknown key or for another name, or it is damaged."""


def make_key() -> str:
    """Return a new key in the form that ``CHECKPOINT_SECRET_KEYS`` takes."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def solution_name(provider: str, account_id: str, submission_id: str) -> str:
    """Return the name that a solution is bound to."""
    return f"solution|{provider}|{submission_id}|{account_id}"


def context_name(provider: str, account_id: str) -> str:
    """Return the name that a challenge context is bound to."""
    return f"context|{provider}|{account_id}"


def session_name(provider: str, account_id: str) -> str:
    """Return the name that a session is bound to."""
    return f"session|{provider}|{account_id}"


class Vault:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take keys as `make_key` writes them.

        Raises:
            BadKeyError: There is no key, or a key is not 32 bytes in base64.
        """
        raw = [_decode_key(number, key) for number, key in enumerate(keys, start=1)]
        if not raw:
            msg = f"{VARIABLE}: no key is set; make one with {HOW_TO_MAKE}"
            raise BadKeyError(msg)
        self._ids = [hashlib.sha256(b"id" + key).digest()[:KEY_ID_BYTES] for key in raw]
        self._ciphers = dict(zip(self._ids, map(AESGCM, raw), strict=True))
        self._digest_key = hashlib.sha256(b"digest" + raw[0]).digest()

    def seal(self, name: str, value: bytes) -> str:
        """Return ``value`` sealed for ``name``, as text."""
        key_id = self._ids[0]
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._ciphers[key_id].encrypt(nonce, value, name.encode())
        return base64.b64encode(key_id + nonce + sealed).decode()

    def open(self, name: str, sealed: str) -> bytes:
        """Return the value that was sealed for ``name``.

        Raises:
            CannotOpenError: See the class; the message names the reason.
        """
        try:
            raw = base64.b64decode(sealed, validate=True)
        except (binascii.Error, ValueError) as error:
            msg = "the sealed value is damaged"
            raise CannotOpenError(msg) from error
        cipher = self._ciphers.get(raw[:KEY_ID_BYTES])
        if cipher is None:
            msg = "sealed with a key that CHECKPOINT_SECRET_KEYS does not hold"
            raise CannotOpenError(msg)
        nonce, box = raw[KEY_ID_BYTES:][:NONCE_BYTES], raw[KEY_ID_BYTES + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, box, name.encode())
        except (InvalidTag, ValueError) as error:
            msg = "the sealed value is damaged or was sealed for something else"
            raise CannotOpenError(msg) from error

    def digest(self, provider: str, account_id: str, code: str) -> str:
        """Return a keyed hash that shows whether two submissions carry the same code.

        Codes are short, so only the key keeps the hash from being reversed. The ledger keeps it no
        longer than the submission and its exchange lease.
        """
        message = f"{provider}|{account_id}|{code}".encode()
        return hmac.new(self._digest_key, message, hashlib.sha256).hexdigest()[: 2 * DIGEST_BYTES]


def _decode_key(number: int, key: str) -> bytes:
    try:
        raw = base64.b64decode(key.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != KEY_BYTES:
        msg = f"{VARIABLE}: key {number} is not {KEY_BYTES} bytes in base64 ({HOW_TO_MAKE})"
        raise BadKeyError(msg) from None
    return raw
