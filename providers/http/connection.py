"""One connection of one exchange: `Connection`, which can be cut at once, and who listens to it.

It knows bytes and nothing of HTTP. What it refuses to do: close politely, keep what comes
unasked, live on for a second request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable


class Listener(Protocol):
    """Who takes in what the peer says, as it arrives."""

    def feed(self, data: bytes) -> bool:
        """Take in some bytes; return whether there is nothing more to wait for."""
        ...

    def end(self, error: Exception | None) -> None:
        """The connection has ended: with an error, or by the peer's good-bye."""
        ...


class Connection(asyncio.Protocol):
    """A connection and who listens to it.

    Attributes:
        transport: The outermost layer: TCP, or TLS once that stands; ``None`` before and after.
        listener: Who hears what comes next. A peer that speaks while nobody listens is no
            HTTP server, SOCKS or HTTP proxy, and is hung up on.
    """

    __slots__ = ("_ended", "_waiter", "listener", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.listener: Listener | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    @property
    def is_alive(self) -> bool:
        """Whether bytes written now have somebody to go to, as far as one can know."""
        return self.transport is not None and not (self._ended or self.transport.is_closing())

    def check_alive(self) -> None:
        """Raise `ConnectionResetError` if it is not."""
        if not self.is_alive:
            raise ConnectionResetError

    def cut(self) -> None:
        """Abort the connection, now and without a farewell; what is unsent is dropped.

        A polite close flushes what the peer does not read and waits for its TLS farewell.
        """
        if self.transport is not None:
            self.transport.abort()

    async def ask(self, data: bytes, listener: Listener) -> None:
        """Write, and wait until the listener has heard enough or the connection has ended.

        The bytes are handed to the system before the first wait. The listener stays until
        another takes its place: what comes in between is still for it.
        """
        self.check_alive()
        assert self.transport is not None
        self.listener = listener
        self.transport.write(data)
        await self.hear()

    async def hear(self) -> None:
        """Wait for the listener, as `ask` does."""
        if not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this, and what follows)."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses.

    def data_received(self, data: bytes) -> None:
        """Pass on what the peer says."""
        if self.listener is None:
            self.cut()
        elif self.listener.feed(data):
            self._wake()

    def eof_received(self) -> None:
        """Take the peer's good-bye; asyncio closes our side after it."""
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection; after a good-bye there is nothing new in it."""
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
    """A listener that keeps what it hears: for the few bytes a proxy says before a tunnel.

    Args:
        limit_bytes: What is more than this is no answer of a proxy.
    """

    __slots__ = ("_enough", "_limit_bytes", "_lost", "heard")

    def __init__(self, limit_bytes: int) -> None:
        self.heard = bytearray()
        self._limit_bytes = limit_bytes
        self._enough: Callable[[bytearray], bool] = bool
        self._lost = False

    def feed(self, data: bytes) -> bool:
        """Keep them."""
        self.heard += data
        return len(self.heard) > self._limit_bytes or self._enough(self.heard)

    def end(self, error: Exception | None) -> None:  # noqa: ARG002  cut short either way
        """Remember that nothing more will come."""
        self._lost = True

    async def until(
        self, line: Connection, enough: Callable[[bytearray], bool], *, after: bytes = b""
    ) -> None:
        """Say something and wait until what was heard is enough.

        Raises:
            ConnectionError: The peer hung up first, or said too much.
        """
        self._enough = enough
        if after:
            await line.ask(after, self)
        elif not enough(self.heard):
            await line.hear()
        if len(self.heard) > self._limit_bytes or not enough(self.heard):
            raise ConnectionResetError if self._lost else ConnectionAbortedError

    def take(self, count: int) -> bytes:
        """Return the first bytes and forget them."""
        taken = bytes(self.heard[:count])
        del self.heard[:count]
        return taken
