"""Look-up of Redis' name: `LedgerNames`.

A connection attempt is short, because a command waits for it. A look-up may take longer: where the
first name server of a machine is down, the system asks the next one after five seconds. So a
look-up outlives the attempt that began it, and a later attempt takes its answer; otherwise no
attempt would ever succeed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from typing import Final

SLOW_S: Final = 0.5
"""Duration from which the answer of a look-up is kept, since its attempt may have ended. A quick
one is not: the name may lead elsewhere by the next attempt (a switchover)."""
KEPT_S: Final = 3.0
"""Time for which it is kept: attempts follow each other within `wake_again_s` or less."""

Place = tuple[str, int]


class LedgerNames:
    """Looks names up; attempts of one event loop that ask for the same one share a look-up."""

    def __init__(self) -> None:
        self._asked: dict[Place, asyncio.Task[tuple[str, ...]]] = {}
        self._kept: dict[Place, tuple[tuple[str, ...], float]] = {}

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
        addresses = tuple(dict.fromkeys(str(place[0]) for *_, place in found))
        now_s = time.monotonic()
        if now_s - began_s > SLOW_S:
            self._kept = {(host, port): (addresses, now_s + KEPT_S)}
        return addresses

    def _ended(self, place: Place, done: asyncio.Task[tuple[str, ...]]) -> None:
        if self._asked.get(place) is done:
            del self._asked[place]
        if not done.cancelled():
            done.exception()  # Who asked was told, or has given up: it is no error of the loop.


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
