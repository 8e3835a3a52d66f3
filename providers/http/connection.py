"""One connection of one exchange: `Connection`, which can be aborted at once, and its listener.

The connection carries bytes and does not interpret HTTP. It never closes gracefully, never keeps
bytes that arrive without a listener, and never serves a second request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable


class Listener(Protocol):
    """A receiver of the bytes of a connection."""

    def feed(self, data: bytes) -> bool:
        """Receive some bytes; return whether the listener needs no more."""
        ...

    def end(self, error: Exception | None) -> None:
        """Receive the end of the connection: an error, or ``None`` when the peer closed it."""
        ...


class Connection(asyncio.Protocol):
    """A connection and its listener.

    Attributes:
        transport: The outermost layer: TCP, or TLS after its handshake; ``None`` before the
            connection and after its end.
        listener: Receiver of the next bytes. A peer that sends bytes while there is no listener is
            no HTTP server, SOCKS or HTTP proxy, and the connection is aborted.
    """

    __slots__ = ("_ended", "_waiter", "listener", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.listener: Listener | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    @property
    def is_alive(self) -> bool:
        """Whether the connection is open, as far as this side knows."""
        return self.transport is not None and not (self._ended or self.transport.is_closing())

    def check_alive(self) -> None:
        """Raise `ConnectionResetError` if the connection is not alive."""
        if not self.is_alive:
            raise ConnectionResetError

    def cut(self) -> None:
        """Abort the connection at once and drop unsent bytes.

        A graceful close would wait until the peer reads all bytes and ends TLS.
        """
        if self.transport is not None:
            self.transport.abort()

    async def ask(self, data: bytes, listener: Listener) -> None:
        """Write, and wait until the listener needs no more bytes or the connection has ended.

        The bytes are passed to the transport before the first wait. The listener stays until
        another one replaces it, and receives the bytes in between.
        """
        self.check_alive()
        assert self.transport is not None
        self.listener = listener
        self.transport.write(data)
        await self.hear()

    async def hear(self) -> None:
        """Wait until the listener needs no more bytes or the connection has ended."""
        if not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport; asyncio calls this method and the following ones."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass.

    def data_received(self, data: bytes) -> None:
        """Pass received bytes to the listener."""
        if self.listener is None:
            self.cut()
        elif self.listener.feed(data):
            self._wake()

    def eof_received(self) -> None:
        """Report that the peer has closed its side; asyncio closes our side after it."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection, unless the peer's close was reported before."""
        self._end(exc)
        self.transport = None

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            if self.listener is not None:
                self.listener.end(error)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class HandshakeReader:
    """A listener that buffers the few bytes that a proxy sends before its tunnel is open.

    Args:
        limit_bytes: Maximum number of bytes; a longer answer is refused.
    """

    __slots__ = ("_enough", "_limit_bytes", "_lost", "heard")

    def __init__(self, limit_bytes: int) -> None:
        self.heard = bytearray()
        self._limit_bytes = limit_bytes
        self._enough: Callable[[bytearray], bool] = bool
        self._lost = False

    def feed(self, data: bytes) -> bool:
        """Buffer the bytes."""
        self.heard += data
        return len(self.heard) > self._limit_bytes or self._enough(self.heard)

    def end(self, error: Exception | None) -> None:  # noqa: ARG002  cut short either way
        """Remember that no more bytes will arrive."""
        self._lost = True

    async def until(
        self, line: Connection, enough: Callable[[bytearray], bool], *, after: bytes = b""
    ) -> None:
        """Send ``after``, if given, and wait until ``enough`` accepts the received bytes.

        Raises:
            ConnectionError: The peer closed the connection first, or sent too much.
        """
        self._enough = enough
        if after:
            await line.ask(after, self)
        elif not enough(self.heard):
            await line.hear()
        if len(self.heard) > self._limit_bytes or not enough(self.heard):
            raise ConnectionResetError if self._lost else ConnectionAbortedError

    def take(self, count: int) -> bytes:
        """Return the first bytes and remove them from the buffer."""
        taken = bytes(self.heard[:count])
        del self.heard[:count]
        return taken
