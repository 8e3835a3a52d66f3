"""A SOCKS5 proxy that accepts connections and holds them until it is told to forward them.

The demo uses it for a newer code that arrives while the previous one is still connecting, the one
state in which a simulated provider cannot hold a request itself. The proxy listens on 127.0.0.1
only and checks no credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Self

from checkpoint_worker.providers.sandbox.listeners import relay, stop_accepting

HOST: Final = "127.0.0.1"
RELAY_TIMEOUT_S: Final = 60.0
NO_AUTHENTICATION: Final = b"\x05\x00"
CONNECT_IPV4: Final = b"\x05\x01\x00\x01"
GRANTED: Final = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
GONE: Final = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
"""Exceptions of a peer that has gone, stalled, or sent no valid request."""


class LocalServer:
    """A server on 127.0.0.1 that ends its connections when it closes.

    ``asyncio.Server`` alone leaves its handlers running when it closes. Up to Python 3.12 each
    handler that is cancelled later prints a traceback, and from 3.12.1 on ``wait_closed`` waits for
    the handlers. Here the handlers are tasks of this class: leaving the ``with`` block cancels them
    and waits for them, so ``wait_closed`` is not needed.

    Args:
        serve: Serves one connection, for at most ``RELAY_TIMEOUT_S`` seconds. It may raise the
            exceptions in `GONE`.
        tls: The context for connections over TLS.

    Attributes:
        port: The port on which the server listens.
    """

    def __init__(
        self,
        serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = 0
        self._serve = serve
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await stop_accepting(self._server)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._handle(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A task that is cancelled before its first step does not reach its own clean-up.
        task.add_done_callback(lambda _: writer.close())

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(*GONE):
                async with asyncio.timeout(RELAY_TIMEOUT_S):
                    await self._serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # An orderly close over TLS would wait for the peer.
            raise
        finally:
            writer.close()


class HoldingProxy(LocalServer):
    """The proxy."""

    def __init__(self) -> None:
        super().__init__(self._forward)
        self._arrived = asyncio.Event()
        self._open = asyncio.Event()

    @property
    def url(self) -> str:
        """``socks5://127.0.0.1:port``, for an intent's ``proxy``."""
        return f"socks5://{HOST}:{self.port}"

    async def arrived(self) -> None:
        """Wait until the proxy holds a connection."""
        await self._arrived.wait()

    def open(self) -> None:
        """Forward the held connections and all later ones."""
        self._open.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._arrived.set()
        await self._open.wait()
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
