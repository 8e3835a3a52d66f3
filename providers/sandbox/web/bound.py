"""A login that is bound to its browser: a key that a page's script makes signs each request.

The key pair is made by WebCrypto and not extractable, so neither cookies nor what a script can read
carry it to another client. The page hands in the public key once; what it gets is a nonce. Each
following request has the header ``login-proof: <count>.<signature>``: ECDSA over P-256 with
SHA-256, both halves in 64 bytes, base64url without padding, of the lines nonce, count, method, path
and the SHA-256 of the body in hex. A count is good once, and no smaller one after it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

if TYPE_CHECKING:
    from aiohttp import web

HEADER: Final = "login-proof"
_HALF_BYTES: Final = 32
_COUNT: Final = re.compile(r"[0-9]{1,9}")


class Binding:
    """The key of one login's browser, once it has been handed in."""

    def __init__(self) -> None:
        self._key: ec.EllipticCurvePublicKey | None = None
        self._nonce = ""
        self._count = 0

    def bind(self, body: bytes) -> str:
        """Take a browser's public key and return a nonce; nothing if it is not the first one's.

        Args:
            body: The key as a JSON Web Key.
        """
        try:
            told = json.loads(body)
            x, y = (int.from_bytes(_decode(told[name]), "big") for name in ("x", "y"))
            key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""
        if self._key is not None and self._key.public_numbers() != key.public_numbers():
            return ""
        self._key, self._nonce, self._count = key, secrets.token_urlsafe(18), 0
        return self._nonce

    def admits(self, request: web.Request, body: bytes) -> bool:
        """Whether a request comes from the browser that the login is bound to."""
        count, _, proof = request.headers.get(HEADER, "").partition(".")
        if self._key is None or not _COUNT.fullmatch(count):
            return False
        lines = (self._nonce, count, request.method, request.path, hashlib.sha256(body).hexdigest())
        try:
            raw = _decode(proof)
            halves = (raw[:_HALF_BYTES], raw[_HALF_BYTES:])
            signature = encode_dss_signature(*(int.from_bytes(half, "big") for half in halves))
            self._key.verify(signature, "\n".join(lines).encode(), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        is_new = int(count) > self._count
        self._count = max(self._count, int(count))
        return is_new


def _decode(text: str) -> bytes:
    """Read base64url without its padding.

    Raises:
        ValueError: It is none.
    """
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
