"""One port for the real names of the providers' hosts, so that clients need no other addresses.

The port is a proxy (``CONNECT www.linkedin.com:443``) and takes TLS under these names directly, for
clients that resolve them to this machine. Both ways end at the port of the provider's simulator; a
host that is no provider's is refused, so nothing leaves this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Final

from checkpoint_worker.providers.sandbox.listeners import CHUNK_BYTES, relay, stop_accepting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

HOST: Final = "127.0.0.1"
_HELLO: Final = 0x16  # First byte of a TLS connection.
_TAKEN: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_REFUSED: Final = (
    b"HTTP/1.1 403 Not a host of a simulated provider\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


def hosts_of(domains: Iterable[str]) -> list[str]:
    """Return the names a certificate needs for these domains and the hosts in them."""
    return [name for domain in domains for name in (domain, f"*.{domain}")]


def domain_of(name: str, domains: Iterable[str]) -> str:
    """Return the widest of the domains that a host is in, or nothing."""
    mine = (each for each in domains if name == each or name.endswith(f".{each}"))
    return min(mine, key=len, default="")


def name_the_domain(
    request: web.Request, response: web.StreamResponse, domains: Iterable[str]
) -> None:
    """Give the cookies of a response the provider's domain, where the client uses its name."""
    domain = domain_of(request.host.partition(":")[0].lower(), domains)
    if not domain or response.prepared:
        return
    cookies = response.headers.popall("Set-Cookie", [])
    for cookie in cookies:
        named = cookie if "domain=" in cookie.lower() else f"{cookie}; Domain=.{domain}; Secure"
        response.headers.add("Set-Cookie", named)
    for morsel in response.cookies.values():
        if not morsel["domain"]:
            morsel["domain"], morsel["secure"] = f".{domain}", True


class Front:
    """The port.

    Args:
        domains: Domain to port of the simulator for it and for the hosts in it.
    """

    def __init__(self, domains: Mapping[str, int]) -> None:
        self._domains = domains
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        """Listen and return the port.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.start_server(self._accept, HOST, port)
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            await stop_accepting(self._server)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            start = await reader.readexactly(1)
            if start[0] == _HELLO:
                start, name = await _server_name(start, reader)
            else:
                head = start + await reader.readuntil(b"\r\n\r\n")
                method, target, *_ = [*head.decode("latin-1").split(" ", 2), ""]
                start, name = b"", target.rpartition(":")[0] if method == "CONNECT" else ""
            port = self._port_of(name)
            if port is None:
                writer.write(b"" if start else _REFUSED)
                return
            if not start:
                writer.write(_TAKEN)
            far_reader, far_writer = await asyncio.open_connection(HOST, port)
            far_writer.write(start)
            await relay(reader, writer, far_reader, far_writer)

    def _port_of(self, name: str) -> int | None:
        return self._domains.get(domain_of(name.lower().rstrip("."), self._domains))


async def _server_name(hello: bytes, reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """Read until the client has named the host; return what was read and the name."""
    names: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _tls, name, _context: names.append(name or "")
    incoming = ssl.MemoryBIO()
    reading = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(hello)
    while not names:
        more = await reader.read(CHUNK_BYTES)
        incoming.write(more)
        hello += more
        try:
            reading.do_handshake()
        except ssl.SSLWantReadError:
            if not more:
                raise EOFError from None
        except ssl.SSLError:
            break  # This context has no certificate; only the name was wanted.
    return hello, "".join(names[:1])
