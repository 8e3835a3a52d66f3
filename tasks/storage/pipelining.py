"""One connection to Redis that many commands share: `PipelinedConnection`.

A client with a pool sends a command and waits for its reply before the connection is of use to
anybody else, and pays for a task switch, a lock and two system calls each time. Here whatever is
asked for within one turn of the loop leaves in one write, and replies are handed out in the order
of the commands as they come in. Redis works through them one by one either way.

It repeats nothing: a lost connection fails every command that was under way, and its caller knows
which of them may be repeated (`tasks.storage.executor`). What blocks (BRPOP, a subscription) does not belong
in here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import hiredis
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as SilentError

from checkpoint_worker.tasks.storage.connections import is_elsewhere

FindMaster = Callable[[], Awaitable[tuple[str, int]]]
"""Asks where the Redis is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a Redis is and how to log in to it.

    Attributes:
        host: Name or address; unused with ``path`` or ``find``.
        path: Of a Unix socket.
        find: Asked before each connection, for a Redis behind Sentinel.
        tls: Verifies the server, if it speaks TLS.
        login: Words of AUTH.
        db: Number of the database.
        client_name: What CLIENT LIST shows.
        keepalive: Whether the kernel looks if the other end is there.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    find: FindMaster | None = None
    tls: ssl.SSLContext | None = None
    login: tuple[str, ...] = ()
    db: int = 0
    client_name: str | None = None
    keepalive: bool = True

    def __repr__(self) -> str:
        """Say what it is and nothing of it: there may be a password."""
        return "<Address>"


class PipelinedConnection:
    """Runs commands over one shared connection, made when it is needed.

    Not for threads: each event loop gets a connection of its own, one at a time.

    Args:
        address: Where the Redis is.
        silence_s: A connection that owes replies and sends nothing for so long is given up, and a
            connection has so long to be made.
    """

    def __init__(self, address: Address, *, silence_s: float) -> None:
        self._address, self._silence_s = address, silence_s
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None

    def evalsha(self, sha: str, numkeys: int, *words: str | int) -> Awaitable[Any]:
        """Run a script Redis knows.

        Raises:
            NoScriptError: It does not know it.
            RedisError: As `call`.
        """
        return self.call("EVALSHA", sha, numkeys, *words)

    def eval(self, text: str, numkeys: int, *words: str | int) -> Awaitable[Any]:
        """Run a script.

        Raises:
            RedisError: As `call`.
        """
        return self.call("EVAL", text, numkeys, *words)

    def call(self, *words: str | int) -> Awaitable[Any]:
        """Send one command, and let its reply be awaited.

        A caller that is cancelled leaves the command under way; its effect is unknown.

        Raises:
            RedisError: Redis refused it, or cannot be reached, or did not answer in time; the
                effect is unknown then.
        """
        link = self._link
        if link is None or not link.is_open_here():
            return self._connect_and_call(words)
        return link.send(words)

    async def _connect_and_call(self, words: tuple[str | int, ...]) -> Any:  # noqa: ANN401  any reply
        return await (await self._connect()).send(words)

    async def _connect(self) -> _Link:
        """Return a link, made once for all who wait for one."""
        loop = asyncio.get_running_loop()
        if self._connecting is None or self._connecting.get_loop() is not loop:
            self._connecting = loop.create_task(self._make_link())
            self._connecting.add_done_callback(self._connected)
        # One caller that gives up must not take the connection away from the others.
        return await asyncio.shield(self._connecting)

    def _connected(self, task: asyncio.Task[_Link]) -> None:
        if self._connecting is task:
            self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._link = task.result()

    async def _make_link(self) -> _Link:
        address, loop = self._address, asyncio.get_running_loop()

        def protocol() -> _Link:
            return _Link(loop, self._silence_s, keepalive=address.keepalive)

        link: _Link
        try:
            async with asyncio.timeout(self._silence_s):
                if address.path is not None:
                    _, link = await loop.create_unix_connection(protocol, address.path)
                else:
                    host, port = address.host, address.port
                    if address.find is not None:
                        host, port = await address.find()
                    _, link = await loop.create_connection(protocol, host, port, ssl=address.tls)
        except TimeoutError as error:
            # A Redis without TLS takes the handshake for the beginning of a command, and waits.
            msg = "no connection in time over TLS" if address.tls else "no connection in time"
            raise SilentError(msg) from error
        except OSError as error:
            msg = f"no connection ({type(error).__name__})"
            raise LostError(msg) from error
        try:
            if address.login:
                await link.send(("AUTH", *address.login))
            if address.client_name:
                await link.send(("CLIENT", "SETNAME", address.client_name))
            if address.db:
                await link.send(("SELECT", address.db))
        except BaseException:
            link.close()
            raise
        return link

    def close(self) -> None:
        """Drop the connection; commands under way fail."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None


class _Link(asyncio.Protocol):
    """One connection: what leaves next, and who waits for which reply."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, silence_s: float, *, keepalive: bool
    ) -> None:
        self._loop, self._silence_s, self._keepalive = loop, silence_s, keepalive
        self._reader = hiredis.Reader(
            encoding="utf-8", errors="replace", replyError=_refusal, notEnoughData=_NOT_YET
        )
        self._out: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._heard_s = 0.0

    def is_open_here(self) -> bool:
        """Whether it can be used by the running loop."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        return self._loop is asyncio.get_running_loop()

    def send(self, words: tuple[str | int, ...]) -> asyncio.Future[Any]:
        """Put a command in line; the future gets its reply."""
        packed = hiredis.pack_command(cast("Any", words))
        reply: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None:
            reply.set_exception(LostError("the connection is closed"))
            return reply
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        if not self._waiting:
            self._heard_s = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_at(self._heard_s + self._silence_s, self._look)
        self._waiting.append(reply)
        return reply

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))

    def _look(self) -> None:
        """Give the connection up if it owes replies and was silent for too long."""
        self._watch = None
        if not self._waiting:
            return
        until_s = self._heard_s + self._silence_s
        if self._loop.time() < until_s:
            self._watch = self._loop.call_at(until_s, self._look)
        else:
            self._end(SilentError("no reply in time"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)
        if (sock := transport.get_extra_info("socket")) is not None and sock.family in _TCP:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self._keepalive))

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are complete."""
        self._heard_s = self._loop.time()
        self._reader.feed(data)
        try:
            while (value := self._reader.gets()) is not _NOT_YET:
                self._answer(value)
        except hiredis.ProtocolError:
            self._end(LostError("the answer is no reply of Redis"))

    def _answer(self, value: Any) -> None:  # noqa: ANN401  any reply
        if not self._waiting:
            self._end(LostError("an answer nobody waits for"))
            return
        reply = self._waiting.popleft()
        if not isinstance(value, RedisError):
            if not reply.done():  # Its caller may have been cancelled.
                reply.set_result(value)
            return
        if not reply.done():
            reply.set_exception(value)
        if is_elsewhere(value):  # The next command looks anew.
            self._end(LostError("this Redis does not work now"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self._end(LostError(f"the connection is lost ({type(exc).__name__})"))

    def close(self) -> None:
        """Drop the connection."""
        self._end(LostError("the connection is closed"))

    def _end(self, error: RedisError) -> None:
        transport, self._transport = self._transport, None
        if transport is not None and not self._loop.is_closed():
            transport.abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._waiting:
            reply = self._waiting.popleft()
            if not reply.done() and not self._loop.is_closed():
                reply.set_exception(error)


_NOT_YET: Final = object()
_TCP: Final = (socket.AF_INET, socket.AF_INET6)


def _refusal(text: str) -> RedisError:
    """Return Redis' own refusal as the library would; callers tell but one kind apart."""
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


__all__ = ["Address", "FindMaster", "PipelinedConnection"]
