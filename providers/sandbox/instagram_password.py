"""Opens the passwords of INSTAGRAM's clients, which seal them for a key of an earlier answer."""

from __future__ import annotations

import base64
import functools

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from checkpoint_worker.providers.sandbox.password_key import password_key, public_pem

_IV, _SIZE, _TAG = 12, 2, 16  # Bytes.


class PasswordKey:
    """One simulated key.

    Attributes:
        id: Value of ``ig-set-password-encryption-key-id``.
    """

    id = 41

    @functools.cached_property
    def public(self) -> str:
        """As in ``ig-set-password-encryption-pub-key``: PEM in base64."""
        return base64.b64encode(public_pem()).decode()

    def open(self, sealed: str) -> bytes:
        """Return the password in ``#PWD_INSTAGRAM:<version>:<time>:<rest>``, else nothing.

        Version 0 is in clear, as web clients send it; version 4 is AES-GCM under a key that
        is itself sealed with RSA.
        """
        parts = sealed.split(":", 3)
        if len(parts) != 4 or not parts[0].startswith("#PWD_INSTAGRAM"):  # noqa: PLR2004
            return b""
        _, version, time, rest = parts
        if version == "0":
            return rest.encode()
        try:
            return self._unseal(base64.b64decode(rest), time.encode())
        except (ValueError, InvalidTag):
            return b""

    def _unseal(self, blob: bytes, time: bytes) -> bytes:
        """Open version byte, key id, IV, size and sealed key, tag and text, in this order."""
        iv, rest = blob[2 : 2 + _IV], blob[2 + _IV :]
        size = int.from_bytes(rest[:_SIZE], "little")
        sealed_key, rest = rest[_SIZE : _SIZE + size], rest[_SIZE + size :]
        key = password_key().decrypt(sealed_key, padding.PKCS1v15())
        return AESGCM(key).decrypt(iv, rest[_TAG:] + rest[:_TAG], time)
