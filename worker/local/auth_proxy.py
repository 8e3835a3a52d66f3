"""Two servers for the demo: a proxy that requires a password, and TLS in front of a provider.

The demo uses them together. Through a proxy a code is protected only inside a TLS tunnel: a proxy
that can read the request has read the code before it answers 407. Both servers listen on 127.0.0.1
only.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from checkpoint_worker.providers.sandbox.certificate import make_tls
from checkpoint_worker.providers.sandbox.listeners import relay
from checkpoint_worker.worker.local.holding_proxy import HOST, LocalServer

USER: Final = "demo"
GRANTED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
REFUSED: Final = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="demo"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
)
NOT_HERE: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class AuthProxy(LocalServer):
    """An HTTP proxy that opens tunnels to 127.0.0.1, for one user with one password.

    Args:
        password: The password of the user ``demo``.

    Attributes:
        password: The password.
        passed: Number of tunnels opened.
        refused: Number of requests with missing or wrong credentials.
    """

    def __init__(self, password: str) -> None:
        super().__init__(self._tunnel)
        self.passed = 0
        self.refused = 0
        self.password = password

    def url(self, password: str) -> str:
        """Return ``http://demo:password@127.0.0.1:port``, for an intent's ``proxy``."""
        return f"http://{USER}:{password}@{HOST}:{self.port}"

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head.split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in map(_split, lines)}
        if not self._is_authorized(fields.get("proxy-authorization", "")):
            self.refused += 1
            writer.write(REFUSED)
            return
        method, _, rest = request.partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT" or host != HOST or not port.isdecimal():
            writer.write(NOT_HERE)
            return
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self.passed += 1
        writer.write(GRANTED)
        await relay(reader, writer, far_reader, far_writer)

    def _is_authorized(self, given: str) -> bool:
        wanted = base64.b64encode(f"{USER}:{self.password}".encode())
        return hmac.compare_digest(given.encode(), b"Basic " + wanted)


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


class TlsTerminator(LocalServer):
    """TLS in front of a provider of the sandbox, with a certificate made for this run.

    Args:
        address: ``http://127.0.0.1:port``, the address of the provider.
        directory: A private directory, which receives the authority's certificate.

    Attributes:
        authority: The file that a client must trust (``SSL_CERT_FILE``).
    """

    def __init__(self, address: str, directory: Path) -> None:
        context, self.authority = make_tls(directory)
        super().__init__(self._forward, tls=context)
        self._far_port = urlsplit(address).port

    @property
    def url(self) -> str:
        """``https://127.0.0.1:port``."""
        return f"https://{HOST}:{self.port}"

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._far_port)
        await relay(reader, writer, far_reader, far_writer)
