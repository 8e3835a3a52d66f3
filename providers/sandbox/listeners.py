"""The sandbox's listeners: they count connections and inject faults into responses.

`ConnectionLog` counts each connection when it is accepted, before its first byte. `inject_fault`
turns a good response into that of a faulty network or provider.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from checkpoint_worker.providers.sandbox.accounts import Faults

CHUNK_BYTES = 65_536
GARBAGE_BYTES = 4096
_LINGER_NOT = struct.pack("ii", 1, 0)  # With this option a close sends RST instead of FIN.


class ConnectionLog:
    """The connection counts of one provider's port.

    Attributes:
        connections: Number of all accepted connections.
        silent: Number of open connections that have not sent a byte.
        open: Number of open connections.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.silent = 0
        self.open = 0
        self._changed = asyncio.Event()

    async def connected(self, count: int = 1) -> None:
        """Wait until ``count`` connections in all were accepted, silent ones included."""
        while self.connections < count:
            await self._changed.wait()

    async def deserted(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            await self._changed.wait()

    def watch(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Wrap a protocol factory so that this object counts its connections."""
        return lambda: _Watched(self, make())

    def note(self, *, connections: int = 0, silent: int = 0, open_: int = 0) -> None:
        """Count a change and wake all waiting callers."""
        self.connections += connections
        self.silent += silent
        self.open += open_
        self._changed.set()
        self._changed = asyncio.Event()


class _Watched(asyncio.Protocol):
    """Forwards all events to the real protocol and counts them in the `ConnectionLog`."""

    def __init__(self, log: ConnectionLog, inner: asyncio.Protocol) -> None:
        self._log = log
        self._inner = inner
        self._is_silent = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)
        self._log.note(connections=1, silent=1, open_=1)

    def data_received(self, data: bytes) -> None:
        self._speak()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._speak()
        self._inner.connection_lost(exc)
        self._log.note(open_=-1)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _speak(self) -> None:
        if self._is_silent:
            self._is_silent = False
            self._log.note(silent=-1)


async def stop_accepting(server: asyncio.Server) -> None:
    """Close a server once each connection that it has accepted has its protocol.

    ``asyncio.Server.close`` alone fails those that were accepted in the last turn of the loop, up
    to Python 3.13 at least: it reports an ``AssertionError`` and leaves their sockets open until
    the garbage collector finds them. Connections that are open stay open.
    """
    loop = server.get_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(2):  # One turn makes the transport; the next one tells the protocol.
        await asyncio.sleep(0)
    server.close()


async def relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    """Copy bytes in both directions until either side ends; then close the far one."""
    both = [
        asyncio.create_task(_copy(reader, far_writer)),
        asyncio.create_task(_copy(far_reader, writer)),
    ]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        far_writer.close()  # First: whoever cancels this task once more must not keep it open.
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()


async def inject_fault(
    request: web.Request, response: web.Response, faults: Faults
) -> web.StreamResponse:
    """Return a good response with the faults that are set, such as a reset or garbage."""
    if faults.reset:
        _cut(request)
    elif faults.drip:
        await _drip(request, response, pause_s=faults.drip)
    elif faults.empty:
        return web.Response()
    elif faults.wrong_answer:
        garbage = secrets.token_bytes(GARBAGE_BYTES)
        return web.Response(body=garbage, content_type=response.content_type)
    elif faults.oversized:
        return await _flood(request, size=faults.oversized)
    return response


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        request.transport.abort()


async def _drip(request: web.Request, response: web.Response, *, pause_s: float) -> None:
    """Write the response byte by byte, so that the timeout of a single read does not detect it."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = "".join(
        f"{name}: {value}\r\n"
        for name, value in response.headers.items()
        if name.lower() not in {"content-length", "connection"}
    )
    head = f"HTTP/1.1 {response.status} -\r\n{headers}Content-Length: {len(body)}\r\n"
    for byte in f"{head}Connection: close\r\n\r\n".encode() + body:
        if request.transport is None or request.transport.is_closing():
            return
        request.transport.write(bytes([byte]))
        await asyncio.sleep(pause_s)
    if request.transport is not None:
        request.transport.close()


async def _flood(request: web.Request, *, size: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/html"})
    response.content_length = size
    with contextlib.suppress(ConnectionError):  # The client is expected to close the connection.
        await response.prepare(request)
        for sent in range(0, size, CHUNK_BYTES):
            await response.write(b"x" * min(CHUNK_BYTES, size - sent))
    return response
