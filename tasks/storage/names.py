"""Look-up of Redis' name, and the order in which its addresses are tried: `LedgerNames`.

A connection attempt is short, because a command waits for it. A look-up may take longer: where the
first name server of a machine is down, the system asks the next one after five seconds. So a
look-up outlives the attempt that began it, and a later attempt takes its answer; otherwise no
attempt would ever succeed. A blocking
attempt waits for its look-up, and the attempts that follow take its answer (`addresses_of`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

SLOW_S: Final = 0.5
"""Duration from which the answer of a look-up is kept, since its attempt may have ended. A quick
one is not: the name may lead elsewhere by the next attempt (a switchover)."""
KEPT_S: Final = 3.0
"""Time for which it is kept: attempts follow each other within `wake_again_s` or less."""

FAILED_S: Final = 5.0
"""Time for which an address without an answer is tried last. Where a name leads to a master that
was away and to its replica, which answers but refuses, the master must be tried again."""
FAILED_MOST: Final = 64
"""Maximum number of addresses whose failure is remembered."""

Place = tuple[str, int]
T = TypeVar("T")


class LedgerNames:
    """Looks names up; attempts of one event loop that ask for the same one share a look-up.

    Each pool, each pipelined connection, each group of Sentinels and each cluster has one.
    """

    def __init__(self) -> None:
        self._asked: dict[Place, asyncio.Task[tuple[str, ...]]] = {}
        self._kept: dict[Place, tuple[tuple[str, ...], float]] = {}
        self._failed: dict[str, float] = {}
        """Addresses without an answer, and when they were tried last."""

    async def connect(self, host: str, port: int, to: Callable[[str], Awaitable[T]]) -> T:
        """Connect to the first address of a host that answers.

        An address that did not answer is tried last for some time. A silent one uses up the time of
        an attempt, so every attempt that began with it would fail.

        Args:
            host: Host name or address.
            port: Its port.
            to: Connects to one address.

        Raises:
            OSError: The name has no address, no name server answers, or no address answers.
        """
        addresses = await self.resolve(host, port)
        since_s = time.monotonic() - FAILED_S
        tried_s = {address: at_s for address, at_s in self._failed.items() if at_s > since_s}
        failed: OSError | None = None
        for address in sorted(addresses, key=lambda each: tried_s.get(each, 0.0)):
            try:
                connected = await to(address)
            except OSError as error:
                self._note_failed(address)
                failed = failed or error
            except asyncio.CancelledError:  # The attempt's time has ended.
                self._note_failed(address)
                raise
            else:
                self._failed.pop(address, None)
                return connected
        try:
            raise failed or socket.gaierror(socket.EAI_NONAME, "the name has no address")
        finally:  # Else it and this frame would keep each other.
            del failed

    def _note_failed(self, address: str) -> None:
        self._failed.pop(address, None)
        self._failed[address] = time.monotonic()
        if len(self._failed) > FAILED_MOST:
            del self._failed[next(iter(self._failed))]

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Return the addresses of a host; a numeric host is its own address.

        Raises:
            OSError: The name has no address, or no name server answers.
        """
        if _is_numeric(host):
            return (host,)
        addresses, until_s = self._kept.get((host, port), ((), 0.0))
        if time.monotonic() < until_s:
            return addresses
        asked = self._asked.get((host, port))
        if asked is None or asked.get_loop() is not asyncio.get_running_loop():
            asked = self._asked[host, port] = asyncio.create_task(self._look_up(host, port))
            asked.add_done_callback(lambda done: self._ended((host, port), done))
        return await asyncio.shield(asked)

    async def _look_up(self, host: str, port: int) -> tuple[str, ...]:
        began_s, loop = time.monotonic(), asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = _distinct(found)
        now_s = time.monotonic()
        if now_s - began_s > SLOW_S:
            self._kept = {place: kept for place, kept in self._kept.items() if now_s < kept[1]}
            self._kept[host, port] = (addresses, now_s + KEPT_S)
        return addresses

    def _ended(self, place: Place, done: asyncio.Task[tuple[str, ...]]) -> None:
        if self._asked.get(place) is done:
            del self._asked[place]
        if not done.cancelled():
            done.exception()  # Who asked was told, or has given up: it is no error of the loop.


_kept: dict[Place, tuple[tuple[str, ...], float]] = {}
"""What slow look-ups of blocking connections found, and the instant until which it is used."""


def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses of a host for a blocking connection.

    A worker makes several connections to its broker, one after the other on the thread that takes
    its messages. If each waited for a look-up of its own, it would be back half a minute late.

    Raises:
        OSError: The name has no address, or no name server answers.
    """
    if _is_numeric(host):
        return (host,)
    began_s = time.monotonic()
    addresses, until_s = _kept.get((host, port), ((), 0.0))
    if began_s < until_s:
        return addresses
    found = _distinct(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    now_s = time.monotonic()
    if now_s - began_s > SLOW_S:
        _kept[host, port] = (found, now_s + KEPT_S)
    return found


def _distinct(found: Sequence[tuple[Any, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(place[0]) for *_, place in found))


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
