"""Servers and proxies on the loopback that behave as badly as a test needs.

Each records what reached it and says so by an event, so that tests wait on facts.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 10.0
"""Bound on waits for what is certain to happen; generous, as it costs nothing."""


@dataclass
class Peer:
    """One accepted connection, as a handler sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""
    body: bytes = b""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> bytes:
        """Read one request and return it whole."""
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in self.head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.body = await self.reader.readexactly(length)
        return self.head + self.body

    async def end(self) -> bytes:
        """Wait until the other side is gone; return what came before."""
        came = b""
        with contextlib.suppress(ConnectionError):
            came = await self.reader.read()
        self.ended.set()
        return came

    async def say(self, data: bytes) -> None:
        """Write and flush."""
        self.writer.write(data)
        await self.writer.drain()


Handler = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """A listening server and what it saw."""

    port: int = 0
    peers: list[Peer] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[BaseException] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address without TLS."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run a server for the length of a test; cut whatever is still open at the end."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: one that is cancelled before it begins would leave its connection open.
        peer = Peer(reader, writer)
        server.peers.append(peer)
        server.connected.set()
        task = asyncio.create_task(talk(peer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def talk(peer: Peer) -> None:
        try:
            await handler(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        except BaseException as error:  # noqa: BLE001  the test looks at it
            server.errors.append(error)
        finally:
            peer.writer.transport.abort()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls, limit=2**22)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in server.peers:
            peer.writer.transport.abort()
        await asyncio.sleep(0)
        assert not server.errors, server.errors


def answering(answer: bytes) -> Handler:
    """Read one request, give this answer, close."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)
        peer.writer.close()
        await peer.end()

    return handler


def answer(body: bytes = b"", status: str = "200 OK", headers: str = "") -> bytes:
    """Return a well-formed answer; ``headers`` end with CRLF each."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def silent(peer: Peer) -> None:
    """Take a request and say nothing until the other side is gone."""
    await peer.request()
    await peer.end()


async def mute(peer: Peer) -> None:
    """Accept and only watch."""
    peer.body = await peer.end()


@dataclass
class ProxyLog:
    """The requests that a proxy received."""

    targets: list[tuple[str, int]] = field(default_factory=list)
    credentials: list[tuple[str, str]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def _join(peer: Peer, port: int) -> None:
    """Carry bytes between a client and the loopback port it asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.gather(_pump(peer.reader, writer), _pump(reader, peer.writer))
    finally:
        writer.transport.abort()


def http_proxy(log: ProxyLog, refuse: bytes | None = None) -> Handler:
    """Return a CONNECT proxy; any name it is asked for is the loopback."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        log.heads.append(peer.head)
        if refuse is not None:
            await peer.say(refuse)
            await peer.end()
            return
        method, target, _ = peer.head.split(b" ", 2)
        assert method == b"CONNECT", peer.head
        host, _, port = target.decode().rpartition(":")
        log.targets.append((host, int(port)))
        await peer.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _join(peer, int(port))

    return handler


def socks_proxy(
    log: ProxyLog, *, auth: tuple[str, str] | None = None, reply: int = 0, stall: bool = False
) -> Handler:
    """Return a SOCKS5 proxy; any name it is asked for is the loopback."""

    async def handler(peer: Peer) -> None:
        version, count = await peer.reader.readexactly(2)
        methods = await peer.reader.readexactly(count)
        assert version == 5
        if stall:
            await peer.end()
            return
        if auth is None:
            await peer.say(b"\x05\x00")
        elif 2 not in methods:
            await peer.say(b"\x05\xff")
            return
        else:
            await peer.say(b"\x05\x02")
            _, length = await peer.reader.readexactly(2)
            user = (await peer.reader.readexactly(length)).decode()
            (length,) = await peer.reader.readexactly(1)
            password = (await peer.reader.readexactly(length)).decode()
            log.credentials.append((user, password))
            fine = (user, password) == auth
            await peer.say(b"\x01\x00" if fine else b"\x01\x01")
            if not fine:
                return
        _, _, _, kind = await peer.reader.readexactly(4)
        if kind == 3:
            (length,) = await peer.reader.readexactly(1)
            host = (await peer.reader.readexactly(length)).decode()
        else:
            host = str(ipaddress.ip_address(await peer.reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await peer.reader.readexactly(2), "big")
        log.targets.append((host, port))
        await peer.say(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if reply == 0:
            await _join(peer, port)

    return handler


@dataclass(frozen=True)
class Certificates:
    """A self-signed certificate for ``localhost``, ``provider.test`` and 127.0.0.1."""

    server: ssl.SSLContext
    trusting: ssl.SSLContext


def make_certificates(folder: Path) -> Certificates:
    """Make a key, a certificate and the two contexts that go with them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.DNSName("provider.test"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    trusting = ssl.create_default_context(cafile=str(path))
    return Certificates(server=server, trusting=trusting)
