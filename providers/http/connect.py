"""Connecting to a provider: name look-up, TCP, proxy handshake, TLS.

    name ──▶ TCP ──▶ [TLS to an https proxy] ──▶ [CONNECT or SOCKS 5] ──▶ [TLS to the provider]

All steps work on one `Connection`, so a cancel aborts each of them in the same way. With a proxy
this module connects only to the proxy's checked addresses. It sets no timeout; its caller does.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import ssl
from typing import TYPE_CHECKING, Final

from checkpoint_worker.providers.contract import ProxyAuthError
from checkpoint_worker.providers.http.connection import Connection, HandshakeReader
from checkpoint_worker.providers.http.heads import Heads
from checkpoint_worker.providers.http.proxy import ADDRESSES_MAX, is_literal, literal_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from checkpoint_worker.providers.http.proxy import CheckedProxy, Proxy, Resolver
    from checkpoint_worker.providers.http.request import Target

HEAD_START_S: Final = 0.25
"""Time after which the next address of a name is tried in parallel (RFC 8305)."""
PROXY_HEAD_BYTES_MAX: Final = 16_384
"""Maximum number of bytes that an HTTP proxy may send before its tunnel is open; curl has the same
limit."""
_HEAD: Final = re.compile(
    rb"HTTP/1\.[01] (?P<status>\d{3})(?: [^\r\n]*)?\r?\n(?:[^\r\n]+\r?\n)*\r?\n"
)
"""Pattern of the head of a proxy's response; old proxies leave out CR."""
_HINTS: Final = range(100, 200)
_OK: Final = range(200, 300)
PROXY_AUTH_REQUIRED: Final = 407

# SOCKS 5 (RFC 1928) and its user name and password (RFC 1929).
SOCKS_VERSION: Final = 5
SOCKS_REPLY_BYTES_MAX: Final = 4 + 1 + 255 + 2
SOCKS_NAME_BYTES_MAX: Final = 255
_CONNECT: Final = 1
_NO_AUTH: Final = 0
_PASSWORD: Final = 2
_PASSWORD_VERSION: Final = 1
_BY_NAME: Final = 3
_ADDRESS_BYTES: Final = {1: 4, 4: 16}
"""SOCKS address types, and the length of their addresses: IPv4 and IPv6."""
_GRANTED: Final = 0


class BehindProxyError(OSError):
    """The proxy works, but the provider cannot be reached: an untrusted certificate, no such name.

    The error's cause is the original error.
    """


async def connect(
    target: Target,
    *,
    proxy: CheckedProxy | None,
    tls: ssl.SSLContext,
    resolver: Resolver,
) -> Connection:
    """Return a connection over which the request can be written.

    Args:
        target: Address of the request.
        proxy: The only host to connect to, if given.
        tls: TLS context for the provider and for an ``https`` proxy.
        resolver: Resolver of the provider's name, unless a proxy resolves it.

    Raises:
        ProxyAuthError: The proxy refuses our credentials.
        BehindProxyError: The proxy works, but the provider cannot be reached through it.
        OSError: Any other failure, TLS included.
        ValueError: The name is not a valid host name.
    """
    if proxy is None:
        line = await _open(await look_up(target.host, target.port, resolver), target.port)
        name = target.host
    else:
        # First, because an unknown name needs no connection.
        name = await _name_for_proxy(target, proxy.proxy, resolver)
        line = await _open(proxy.addresses, proxy.proxy.port)
    try:
        if proxy is not None:
            await _open_through_proxy(line, target, name, proxy.proxy, tls)
        elif target.is_secure:
            await _secure(line, tls, target.host)
    except BaseException:
        line.cut()
        raise
    return line


async def look_up(host: str, port: int, resolver: Resolver) -> Sequence[str]:
    """Return the numeric addresses of a host; a numeric host is its own address.

    Raises:
        socket.gaierror: The name has no address.
    """
    if is_literal(host):
        return (host,)
    found = (await resolver.resolve(host, port))[:ADDRESSES_MAX]
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
    return found


# TCP -----------------------------------------------------------------------------------


async def _open(addresses: Sequence[str], port: int) -> Connection:
    """Connect to the first address that answers."""
    if len(addresses) == 1:
        return await _open_one(addresses[0], port)
    return await _race(_interleaved(addresses), port)


async def _open_one(address: str, port: int) -> Connection:
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(Connection, address, port)
    return line


def _interleaved(addresses: Sequence[str]) -> list[str]:
    """Return the addresses with alternating families, because often a whole family fails."""
    is_v6 = ":" in addresses[0]
    same = [address for address in addresses if (":" in address) is is_v6]
    other = [address for address in addresses if (":" in address) is not is_v6]
    pairs = itertools.zip_longest(same, other)
    return [address for pair in pairs for address in pair if address is not None]


async def _race(addresses: Iterable[str], port: int) -> Connection:
    """Try the addresses in parallel, each with a head start; return the first connection."""
    tasks: list[asyncio.Task[Connection]] = []
    winner: asyncio.Task[Connection] | None = None
    rest = iter(addresses)
    try:
        while winner is None:
            address = next(rest, None)
            if address is not None:
                tasks.append(asyncio.create_task(_open_one(address, port)))
            running = [task for task in tasks if not task.done()]
            if not running:  # No address is left either: a new attempt would still run.
                raise _error_of(tasks)
            await asyncio.wait(
                running,
                timeout=HEAD_START_S if address is not None else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            winner = next((task for task in tasks if _is_connected(task)), None)
        return winner.result()
    finally:
        for task in tasks:
            if task is not winner:
                _drop(task)


def _is_connected(task: asyncio.Task[Connection]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _error_of(tasks: Sequence[asyncio.Task[Connection]]) -> BaseException:
    """Return the error of the first address, which is the preferred one."""
    error = tasks[0].exception()
    assert error is not None
    return error


def _drop(task: asyncio.Task[Connection]) -> None:
    """End an attempt that still runs or whose connection is not needed."""
    if _is_connected(task):
        task.result().cut()
    task.cancel()


# TLS -----------------------------------------------------------------------------------


async def _secure(line: Connection, tls: ssl.SSLContext, host: str) -> None:
    """Start TLS over the current transport of the connection."""
    line.check_alive()
    assert line.transport is not None
    line.transport = await asyncio.get_running_loop().start_tls(
        line.transport, line, tls, server_hostname=host.rstrip(".")
    )
    line.check_alive()


# Proxies -------------------------------------------------------------------------------


async def _name_for_proxy(target: Target, proxy: Proxy, resolver: Resolver) -> str:
    """Return the name or address that the proxy must connect to."""
    if proxy.scheme != "socks5":
        return target.host
    try:
        return (await look_up(target.host, target.port, resolver))[0]
    except (OSError, ValueError) as error:
        raise BehindProxyError from error


async def _open_through_proxy(
    line: Connection, target: Target, name: str, proxy: Proxy, tls: ssl.SSLContext
) -> None:
    """Open a way through the proxy; a plain request to an HTTP proxy needs no tunnel."""
    if proxy.scheme == "https":
        await _secure(line, tls, proxy.host)
    if proxy.is_socks:
        await _socks(line, name, target.port, proxy)
    elif target.is_secure:
        await _tunnel(line, target, proxy)
    line.listener = None
    if target.is_secure:
        try:
            await _secure(line, tls, target.host)
        except ssl.SSLCertVerificationError as error:
            raise BehindProxyError from error


async def _tunnel(line: Connection, target: Target, proxy: Proxy) -> None:
    """Ask an HTTP proxy for a tunnel (RFC 9110, 9.3.6)."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    place = f"{host}:{target.port}"
    ask = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
    if proxy.authorization:
        ask += f"Proxy-Authorization: {proxy.authorization}\r\n"
    reader, head = HandshakeReader(PROXY_HEAD_BYTES_MAX), ProxyHead()
    await reader.until(line, head.is_over, after=f"{ask}\r\n".encode())
    if head.status == PROXY_AUTH_REQUIRED:
        _refuse_credentials()
    # Through a tunnel the provider sends nothing before our request.
    if head.status not in _OK or head.end < len(reader.heard):
        raise ConnectionAbortedError


class ProxyHead:
    """The final response of an HTTP proxy, after informational (1xx) ones.

    Attributes:
        status: Its status; 0 if the bytes are no HTTP response.
    """

    __slots__ = ("_done", "_heads", "status")

    def __init__(self) -> None:
        self.status = 0
        self._heads, self._done = Heads(), False

    @property
    def end(self) -> int:
        """Position at which the head ends."""
        return self._heads.end

    def is_over(self, heard: bytearray) -> bool:
        """Whether the received bytes hold a response, or can never become one."""
        while not self._done and (head := self._heads.next_of(heard)) is not None:
            found = _HEAD.fullmatch(head)
            self.status = int(found["status"]) if found else 0
            self._done = self.status not in _HINTS
        return self._done or self._heads.is_hopeless


async def _socks(line: Connection, name: str, port: int, proxy: Proxy) -> None:
    """Ask a SOCKS 5 proxy for a connection to a name or an address."""
    where = _socks_place(name) + port.to_bytes(2, "big")
    reader = HandshakeReader(SOCKS_REPLY_BYTES_MAX)
    methods = bytes([_NO_AUTH]) if proxy.username is None else bytes([_NO_AUTH, _PASSWORD])
    hello = bytes([SOCKS_VERSION, len(methods)]) + methods
    version, method = await _exactly(reader, line, 2, after=hello)
    if version != SOCKS_VERSION:
        raise ConnectionAbortedError
    if method not in methods:  # 255 means that the proxy accepts none of the methods.
        _refuse_credentials()
    if method == _PASSWORD:
        await _socks_password(reader, line, proxy)
    ask = bytes([SOCKS_VERSION, _CONNECT, 0]) + where
    version, granted, _, kind = await _exactly(reader, line, 4, after=ask)
    if version != SOCKS_VERSION or granted != _GRANTED:
        raise ConnectionAbortedError
    await _socks_bound(reader, line, kind)
    if reader.heard:  # Through the proxy the provider sends nothing before our request.
        raise ConnectionAbortedError


async def _socks_password(reader: HandshakeReader, line: Connection, proxy: Proxy) -> None:
    user, password = (proxy.username or "").encode("ascii"), proxy.password.encode("ascii")
    ask = bytes([_PASSWORD_VERSION, len(user)]) + user + bytes([len(password)]) + password
    version, granted = await _exactly(reader, line, 2, after=ask)
    if version != _PASSWORD_VERSION:
        raise ConnectionAbortedError
    if granted != _GRANTED:
        _refuse_credentials()


async def _socks_bound(reader: HandshakeReader, line: Connection, kind: int) -> None:
    """Skip the address from which the proxy connects; only its length matters."""
    if kind == _BY_NAME:
        (length,) = await _exactly(reader, line, 1)
    elif kind in _ADDRESS_BYTES:
        length = _ADDRESS_BYTES[kind]
    else:
        raise ConnectionAbortedError
    await _exactly(reader, line, length + 2)


async def _exactly(
    reader: HandshakeReader, line: Connection, count: int, *, after: bytes = b""
) -> bytes:
    await reader.until(line, lambda heard: len(heard) >= count, after=after)
    return reader.take(count)


def _socks_place(name: str) -> bytes:
    """Return a name or an address in the form of SOCKS.

    Raises:
        ValueError: The name is too long for SOCKS.
    """
    if (packed := literal_bytes(name)) is not None:
        kind = next(kind for kind, length in _ADDRESS_BYTES.items() if length == len(packed))
        return bytes([kind]) + packed
    raw = name.encode("ascii")
    if len(raw) > SOCKS_NAME_BYTES_MAX:
        msg = "the name is too long for SOCKS"
        raise ValueError(msg)
    return bytes([_BY_NAME, len(raw)]) + raw


def _refuse_credentials() -> None:
    msg = "The proxy refuses our credentials."
    raise ProxyAuthError(msg)
