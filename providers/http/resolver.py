"""Where names are looked up: those of providers and those of proxies, apart.

A proxy's name comes with an intent, so it is foreign: its name server may never answer. The
system's look-up blocks a thread for as long as it takes, 10 to 40 s, and cannot be cut short;
asyncio and uvloop have few threads for it, which they share with the connections to Redis. So
neither class uses them:

- a provider's name is asked of the system on a thread of its own, one thread a name whoever
  waits for it, and what was known stays in use while nobody answers;
- a proxy's name is asked by c-ares, which holds a question in some hundred bytes and no thread.

Both hand out addresses. Whether a proxy may have them is checked by `providers.http.proxy`, for
each exchange anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pycares

if TYPE_CHECKING:
    from collections.abc import Sequence

FRESH_S: Final = 10.0
"""For how long an answer of the system is taken without asking again, seconds."""
KNOWN_S: Final = 3_600.0
"""For how long the last answer stays in use while the name server does not answer, seconds. TLS
says whether the provider still lives there."""
PATIENCE_S: Final = 0.5
"""How long a name whose addresses are known is waited for, seconds."""
PROVIDER_NAMES_MAX: Final = 64
"""Provider names looked up at once, each on its thread, and kept; there are about a dozen."""
PROXY_NAMES_MAX: Final = 4_096
"""Proxy names asked for at once. Attempts give up sooner than c-ares, and there are
``--concurrency`` of them."""
ASK_S: Final = 2.0
ASKS: Final = 2
"""How long c-ares waits for a name server the first time, and how often it asks each."""
NAMES_PER_CHANNEL: Final = 10_000
"""c-ares keeps answers as long as their owner says, about 2 KB each; then it is made anew."""


_NEVER_A_NAME: Final = 0
"""For an error's number: the system cannot even ask for it."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a question: addresses, or the number of a `socket.gaierror`.

    No exception: one that is kept for all who wait would hold their frames, and those hold it.
    """

    addresses: tuple[str, ...] = ()
    error: int = socket.EAI_NONAME

    def get(self) -> tuple[str, ...]:
        """Return the addresses or raise the error."""
        if self.addresses:
            return self.addresses
        if self.error == _NEVER_A_NAME:
            msg = "no name can be like this one"
            raise ValueError(msg)
        raise socket.gaierror(self.error, "the name does not resolve")


_Asked = dict[str, "asyncio.Future[_Answer]"]


def _asked_already(asked: _Asked, host: str, most: int) -> asyncio.Future[_Answer] | None:
    """Return the question for this name that is under way, if there is one.

    Raises:
        socket.gaierror: There is none, and no room for another.
    """
    found = asked.get(host)
    if found is not None and found.get_loop() is asyncio.get_running_loop():
        return found
    if len(asked) >= most:
        raise socket.gaierror(socket.EAI_AGAIN, "too many names are looked up")
    return None


def _tell(asked: asyncio.Future[_Answer], answer: _Answer) -> None:
    if not asked.done():  # c-ares may refuse a name by its callback and by an error.
        asked.set_result(answer)


# Providers -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Known:
    """An answer of the system and the instants until which it is used, on the own clock."""

    addresses: tuple[str, ...]
    fresh_until_s: float
    known_until_s: float


class ProviderNames:
    """What the system says, asked on threads that nothing else needs."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._asked: _Asked = {}

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of the kinds that this machine has itself.

        Raises:
            OSError: It has none, or the system cannot say and never could.
            ValueError: It cannot be a name.
        """
        now_s = time.monotonic()
        known = self._known.get(host)
        if known is not None and now_s < known.fresh_until_s:
            return known.addresses
        asked = self._ask(host, port)
        if known is None or now_s >= known.known_until_s:
            return (await asyncio.shield(asked)).get()
        await asyncio.wait({asked}, timeout=PATIENCE_S)
        if asked.done() and not _is_silence(answer := asked.result()):
            return answer.get()
        known.fresh_until_s = time.monotonic() + FRESH_S  # Others need not wait as well.
        return known.addresses

    def _ask(self, host: str, port: int) -> asyncio.Future[_Answer]:
        """Return the look-up of this name, which all who want it share."""
        found = _asked_already(self._asked, host, PROVIDER_NAMES_MAX)
        if found is not None:
            return found
        loop = asyncio.get_running_loop()
        asked = self._asked[host] = loop.create_future()
        asked.add_done_callback(lambda done: self._keep(host, done.result()))

        def ask() -> None:
            answer = _system_says(host, port)
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(_tell, asked, answer)

        # A daemon: a name server that never answers must not keep the process from ending.
        threading.Thread(target=ask, name="provider-name", daemon=True).start()
        return asked

    def _keep(self, host: str, answer: _Answer) -> None:
        self._asked.pop(host, None)
        if _is_silence(answer):
            return
        self._known.pop(host, None)
        if answer.addresses:
            while len(self._known) >= PROVIDER_NAMES_MAX:
                del self._known[next(iter(self._known))]
            now_s = time.monotonic()
            self._known[host] = _Known(answer.addresses, now_s + FRESH_S, now_s + KNOWN_S)


def _is_silence(answer: _Answer) -> bool:
    """Whether the system could not say, rather than that there is no such name."""
    return not answer.addresses and answer.error not in (socket.EAI_NONAME, _NEVER_A_NAME)


def _system_says(host: str, port: int) -> _Answer:
    """Ask the system; this blocks for as long as it likes."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError as error:
        return _Answer(error=error.errno or socket.EAI_AGAIN)
    except ValueError:  # Unicode errors included.
        return _Answer(error=_NEVER_A_NAME)
    return _Answer(tuple(dict.fromkeys(str(place[0]) for *_, place in places)))


# Proxies -------------------------------------------------------------------------------


class ProxyNames:
    """What name servers and the hosts file say, asked without a thread (c-ares).

    Args:
        servers: Name servers, ``address:port``; those of the system by default, whose changes
            are followed.
    """

    def __init__(self, servers: Sequence[str] = ()) -> None:
        self._servers = servers
        self._channel: pycares.Channel | None = None
        self._names = 0
        self._asked: _Asked = {}

    async def resolve(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002  a `Resolver`
        """Return the addresses of a name.

        Raises:
            OSError: It has none, or no name server answers.
        """
        asked = _asked_already(self._asked, host, PROXY_NAMES_MAX) or self._ask(host)
        return (await asyncio.shield(asked)).get()

    def _ask(self, host: str) -> asyncio.Future[_Answer]:
        loop = asyncio.get_running_loop()
        asked = self._asked[host] = loop.create_future()
        asked.add_done_callback(lambda _: self._asked.pop(host, None))

        def tell(found: pycares.AddrInfoResult | None, _error: int | None) -> None:
            """Hand over the answer, from the thread of c-ares."""
            nodes = found.nodes if found is not None else ()
            answer = _Answer(tuple(dict.fromkeys(node.addr[0].decode() for node in nodes)))
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(_tell, asked, answer)

        try:
            self._channel_now().getaddrinfo(host, None, type=socket.SOCK_STREAM, callback=tell)
        except (pycares.AresError, ValueError):  # No channel can be made; it cannot be a name.
            _tell(asked, _Answer())
        return asked

    def _channel_now(self) -> pycares.Channel:
        """Return the channel to the name servers; one that is replaced ends with its questions."""
        self._names += 1
        if self._channel is None or self._names > NAMES_PER_CHANNEL:
            self._names = 1
            self._channel = pycares.Channel(timeout=ASK_S, tries=ASKS)
            if self._servers:
                self._channel.servers = self._servers
        return self._channel


PROVIDER_NAMES: Final = ProviderNames()
PROXY_NAMES: Final = ProxyNames()
