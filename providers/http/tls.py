"""TLS contexts of everything here: those of the standard library, without a key log.

`ssl.create_default_context` reads ``SSLKEYLOGFILE`` and writes the keys of each session to that
file, with which anyone who recorded the traffic can read codes and cookies; a file that cannot be
written fails every context. A variable that a developer has left must do neither.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Final

STRICT: Final = ssl.VerifyFlags.VERIFY_X509_STRICT | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
"""What `ssl.create_default_context` asks of certificates since Python 3.13."""


def client_context(
    ca_file: str | Path | None = None, ca_path: str | None = None, ca_data: str | None = None
) -> ssl.SSLContext:
    """Return a context that verifies the certificate and the name of a server.

    Args:
        ca_file: The authorities to trust; without any of these three, those of the machine and of
            ``SSL_CERT_FILE``.
        ca_path: Folder of such files.
        ca_data: Text of such a file.

    Raises:
        OSError: The file cannot be read, or OpenSSL refuses its set-up.
    """
    # It verifies, and it refuses what is older than TLS 1.2.
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if ca_file or ca_path or ca_data:
        context.load_verify_locations(ca_file, ca_path, ca_data)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def server_context() -> ssl.SSLContext:
    """Return a context of a server, which asks its clients for no certificate."""
    return _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    if sys.version_info >= (3, 13):
        context.verify_flags |= STRICT
    return context
