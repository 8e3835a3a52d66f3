"""One connection to Redis that many commands share: `PipelinedConnection`.

A client with a pool occupies a connection until the reply of a command has come, and pays for a
task switch, a lock and two system calls each time. `PipelinedConnection` sends all commands of one
turn of the event loop in one write and assigns the replies in the order of the commands. Redis
executes the commands one by one in either case.

The connection repeats nothing: its loss fails every command without a reply, and the caller knows
which of them may be repeated (`tasks.storage.executor`). Blocking commands (BRPOP, SUBSCRIBE) must
not be sent over it.
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
from checkpoint_worker.tasks.storage.names import LedgerNames

FindMaster = Callable[[], Awaitable[tuple[str, int]]]
"""Function that returns the current host and port of the Redis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a Redis and the login to it.

    Attributes:
        host: Host name or address; unused with ``path`` or ``find``.
        path: Path of a Unix socket.
        find: Called before each connection, for a Redis behind Sentinel or in a cluster.
        tls: Returns the TLS context that verifies the server, if the connection uses TLS.
        login: Arguments of AUTH.
        db: Number of the database.
        client_name: Name that CLIENT LIST shows.
        keepalive: Whether the kernel sends TCP keepalive probes.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    find: FindMaster | None = None
    tls: Callable[[], ssl.SSLContext] | None = None
    login: tuple[str, ...] = ()
    db: int = 0
    client_name: str | None = None
    keepalive: bool = True

    def __repr__(self) -> str:
        """Show no field: the address may hold a password."""
        return "<Address>"


class PipelinedConnection:
    """Runs commands over one shared connection, which the first command makes.

    The object is not thread-safe. It has one connection at a time; another event loop gets a new
    one.

    Args:
        address: Address of the Redis.
        silence_s: Timeout of connecting, and of a connection that owes replies and receives
            nothing.
    """

    def __init__(self, address: Address, *, silence_s: float) -> None:
        self._address, self._silence_s = address, silence_s
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None
        self._names = LedgerNames()

    def evalsha(self, sha: str, numkeys: int, *words: str | int) -> Awaitable[Any]:
        """Run a script by its digest.

        Raises:
            NoScriptError: Redis does not know the script.
            RedisError: As `call`.
        """
        return self.call("EVALSHA", sha, numkeys, *words)

    def eval(self, text: str, numkeys: int, *words: str | int) -> Awaitable[Any]:
        """Run a script by its text.

        Raises:
            RedisError: As `call`.
        """
        return self.call("EVAL", text, numkeys, *words)

    def call(self, *words: str | int) -> Awaitable[Any]:
        """Send one command and return an awaitable of its reply.

        A command whose caller is cancelled is not withdrawn; its effect is unknown.

        Raises:
            RedisError: Redis refused the command, or cannot be reached, or did not answer in time;
                in the last case its effect is unknown.
        """
        link = self._link
        if link is None or not link.is_open_here():
            return self._connect_and_call(words)
        return link.send(words)

    async def _connect_and_call(self, words: tuple[str | int, ...]) -> Any:  # noqa: ANN401  any reply
        return await (await self._connect()).send(words)

    async def _connect(self) -> _Link:
        """Return a link; concurrent callers wait for the same one."""
        loop = asyncio.get_running_loop()
        if self._connecting is None or self._connecting.get_loop() is not loop:
            self._connecting = loop.create_task(self._make_link())
            self._connecting.add_done_callback(self._connected)
        # The cancel of one caller must not end the connecting for the other callers.
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
                    link = await self._open(protocol, host, port)
        except TimeoutError as error:
            # A Redis without TLS reads the handshake as an incomplete command and waits.
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

    async def _open(self, protocol: Callable[[], _Link], host: str, port: int) -> _Link:
        """Connect to the first address of a host that answers."""
        loop = asyncio.get_running_loop()
        tls = self._address.tls() if self._address.tls else None
        server_hostname = host if tls else None

        async def to(place: str) -> _Link:
            _, link = await loop.create_connection(
                protocol, place, port, ssl=tls, server_hostname=server_hostname
            )
            return link

        return await self._names.connect(host, port, to)

    def close(self) -> None:
        """Close the connection; commands without a reply fail."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None


class _Link(asyncio.Protocol):
    """One connection: its output buffer and the futures of the replies that it owes."""

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
        self._received_s = 0.0

    def is_open_here(self) -> bool:
        """Whether the running event loop can use the link."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        return self._loop is asyncio.get_running_loop()

    def send(self, words: tuple[str | int, ...]) -> asyncio.Future[Any]:
        """Queue a command; the future returned gets its reply."""
        packed = hiredis.pack_command(cast("Any", words))
        reply: asyncio.Future[Any] = self._loop.create_future()
        if self._transport is None:
            reply.set_exception(LostError("the connection is closed"))
            return reply
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        if not self._waiting:
            self._received_s = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_at(
                    self._received_s + self._silence_s, self._check_silence
                )
        self._waiting.append(reply)
        return reply

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))

    def _check_silence(self) -> None:
        """Close the connection if it owes replies and has received nothing for too long."""
        self._watch = None
        if not self._waiting:
            return
        until_s = self._received_s + self._silence_s
        if self._loop.time() < until_s:
            self._watch = self._loop.call_at(until_s, self._check_silence)
        else:
            self._end(SilentError("no reply in time"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport and set TCP keepalive."""
        self._transport = cast("asyncio.WriteTransport", transport)
        if (sock := transport.get_extra_info("socket")) is not None and sock.family in _TCP:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self._keepalive))

    def data_received(self, data: bytes) -> None:
        """Deliver the complete replies to their futures."""
        self._received_s = self._loop.time()
        self._reader.feed(data)
        try:
            while (value := self._reader.gets()) is not _NOT_YET:
                self._answer(value)
        except hiredis.ProtocolError:
            self._end(LostError("the answer is no reply of Redis"))

    def _answer(self, value: Any) -> None:  # noqa: ANN401  any reply
        if not self._waiting:
            self._end(LostError("a reply without a waiting command"))
            return
        reply = self._waiting.popleft()
        if not isinstance(value, RedisError):
            if not reply.done():  # The caller may have been cancelled.
                reply.set_result(value)
            return
        if not reply.done():
            reply.set_exception(value)
        if is_elsewhere(value):  # The next command connects again.
            self._end(LostError("this Redis does not work now"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail every command without a reply."""
        self._end(LostError(f"the connection is lost ({type(exc).__name__})"))

    def close(self) -> None:
        """Close the connection."""
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
    """Return an error reply as an exception; callers distinguish only NOSCRIPT."""
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
