"""A certificate for this machine that is made for one run.

A new certificate authority signs one certificate for the loopback address and further names. The
authority's key stays in memory and is discarded at once, so a client that trusts the authority
trusts only this server.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from checkpoint_worker.providers.http.tls import server_context

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ADDRESS: Final = "127.0.0.1"
NAME: Final = "localhost"
DAYS: Final = 1
"""Validity before and after now: clocks may differ, and no run takes longer."""


def make_tls(directory: Path, names: Iterable[str] = ()) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for 127.0.0.1, ``localhost`` and the names given.

    Args:
        directory: A directory that only this user can read; it gets ``ca.pem``, and the server's
            key until OpenSSL has loaded it.
        names: Further host names; ``*.`` stands for one label.

    Returns:
        The server's TLS context, and the file of the authority that a client must trust
        (``SSL_CERT_FILE``).

    Raises:
        OSError: The directory cannot be written.
    """
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _authority(ca_key)
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate = _certificate(key, ca, ca_key, names).public_bytes(serialization.Encoding.PEM)
    context = server_context()
    _load(context, directory / "server.pem", private + certificate)
    return context, ca_file


def _load(context: ssl.SSLContext, path: Path, pem: bytes) -> None:
    # OpenSSL reads keys only from files. No other user can read this one at any time.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
    finally:
        path.unlink()


# All extensions that strict clients require (VERIFY_X509_STRICT, the default since Python 3.13).


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("checkpoint sandbox, made for one run")
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    more: Iterable[str],
) -> x509.Certificate:
    address = x509.IPAddress(ipaddress.ip_address(ADDRESS))
    names = [*map(x509.DNSName, (NAME, *more)), address]
    ca_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(_name(NAME), ca.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(ca_identifier, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now, life = dt.datetime.now(dt.UTC), dt.timedelta(days=DAYS)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - life)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
