"""The RSA key for which clients seal passwords, one for all simulators of a process."""

from __future__ import annotations

import functools

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@functools.cache
def password_key() -> rsa.RSAPrivateKey:
    """Return the key; the first call makes it, which takes 0.1 s."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem() -> bytes:
    """Return its public part in PEM."""
    return (
        password_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
