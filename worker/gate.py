"""A SOCKS5 proxy with a gate: connections are accepted and wait, before any byte goes on.

The demo uses it to show a newer code that arrives while the older one is still connecting: the
one moment a simulated provider cannot hold open by itself. It serves 127.0.0.1 only and checks
no credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Self

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 65_536
RELAY_TIMEOUT_S: Final = 60.0
NO_AUTHENTICATION: Final = b"\x05\x00"
CONNECT_IPV4: Final = b"\x05\x01\x00\x01"
GRANTED: Final = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class Gate:
    """The proxy.

    Attributes:
        url: ``socks5://127.0.0.1:port``, for an intent's ``proxy``.
    """

    def __init__(self) -> None:
        self.url = ""
        self._arrived = asyncio.Event()
        self._open = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.url = f"socks5://{HOST}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._open.set()
        self._server.close()
        await self._server.wait_closed()

    async def arrived(self) -> None:
        """Wait until a connection waits at the gate."""
        await self._arrived.wait()

    def open(self) -> None:
        """Let the waiting connections pass, and all later ones."""
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._arrived.set()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(RELAY_TIMEOUT_S):
                await self._open.wait()
                await self._pass_on(reader, writer)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(NO_AUTHENTICATION)
        if await reader.readexactly(len(CONNECT_IPV4)) != CONNECT_IPV4:
            return  # The sandbox's addresses are IPv4.
        host = ".".join(map(str, await reader.readexactly(4)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        far_reader, far_writer = await asyncio.open_connection(host, port)
        writer.write(GRANTED)
        await relay(reader, writer, far_reader, far_writer)


async def relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    """Pass bytes on, both ways, until the far side ends; then close it."""
    with contextlib.closing(far_writer):
        there = asyncio.create_task(_copy(reader, far_writer))
        try:
            await _copy(far_reader, writer)
        finally:
            there.cancel()
            await asyncio.gather(there, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
