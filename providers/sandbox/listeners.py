"""How the sandbox listens: it sees each connection before its first byte, and harms answers.

`Door` counts connections at the moment they are accepted. `harm` turns a good answer into
what a bad line makes of it.
"""

from __future__ import annotations

import asyncio
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
_LINGER_NOT = struct.pack("ii", 1, 0)  # Closing sends RST instead of FIN.


class Door:
    """One provider's port: what came in so far.

    Attributes:
        connections: Accepted connections, in all.
        silent: Of those now open, how many have not sent a byte yet.
        open: How many are open now.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.silent = 0
        self.open = 0
        self._changed = asyncio.Event()

    async def connected(self, count: int = 1) -> None:
        """Wait until so many connections were accepted in all; they may be silent yet."""
        while self.connections < count:
            await self._changed.wait()

    async def deserted(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            await self._changed.wait()

    def watch(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """Wrap a protocol factory so that this door sees what passes."""
        return lambda: _Watched(self, make())

    def note(self, *, connections: int = 0, silent: int = 0, open_: int = 0) -> None:
        """Count a change and wake whoever waits for one."""
        self.connections += connections
        self.silent += silent
        self.open += open_
        self._changed.set()
        self._changed = asyncio.Event()


class _Watched(asyncio.Protocol):
    """Hands everything on to the real protocol and tells the door."""

    def __init__(self, door: Door, inner: asyncio.Protocol) -> None:
        self._door = door
        self._inner = inner
        self._is_silent = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)
        self._door.note(connections=1, silent=1, open_=1)

    def data_received(self, data: bytes) -> None:
        self._speak()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._speak()
        self._inner.connection_lost(exc)
        self._door.note(open_=-1)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _speak(self) -> None:
        if self._is_silent:
            self._is_silent = False
            self._door.note(silent=-1)


async def harm(request: web.Request, response: web.Response, faults: Faults) -> web.StreamResponse:
    """Return what a bad line or a broken provider makes of a good answer."""
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
    """Write the answer byte by byte; a limit per read would never notice."""
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
    await response.prepare(request)
    for sent in range(0, size, CHUNK_BYTES):
        await response.write(b"x" * min(CHUNK_BYTES, size - sent))
    return response
