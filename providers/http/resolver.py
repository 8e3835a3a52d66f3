"""Name look-up, with separate resolvers for the names of providers and of proxies.

A proxy's name comes with an intent, so it is foreign input: its name server may never answer. The
system's look-up blocks a thread for 10 to 40 s then and cannot be cancelled; asyncio and uvloop
have few threads for it, which the connections to Redis need too. So neither class uses them:

- `ProviderNames` asks the system on its own threads, one thread for each name however many
  exchanges wait for it, and keeps using the last answer while the system does not answer;
- `ProxyNames` asks through c-ares, which needs some hundred bytes for a query and no thread.

Both return addresses. `providers.http.proxy` checks in each exchange whether a proxy may have them.
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
"""Time for which an answer of the system is used without a new look-up, seconds."""
KNOWN_S: Final = 3_600.0
"""Time for which the last answer is used while the name server does not answer, seconds. TLS
verifies that the provider still has this address."""
PATIENCE_S: Final = 0.5
"""Maximum time to wait for the look-up of a name whose addresses are known, seconds."""
PROVIDER_NAMES_MAX: Final = 64
"""Maximum number of provider names that are looked up at once, each on its thread, and that are
kept; there are about a dozen."""
PROXY_NAMES_MAX: Final = 4_096
"""Maximum number of proxy names that are looked up at once. Attempts time out sooner than c-ares,
and there are ``--concurrency`` of them."""
ASK_S: Final = 2.0
"""Timeout of c-ares for the first query to a name server, seconds."""
ASKS: Final = 2
"""Number of queries that c-ares sends to each name server."""
NAMES_PER_CHANNEL: Final = 10_000
"""Number of names after which the c-ares channel is replaced: it caches answers for their TTL,
about 2 KB each."""


_NEVER_A_NAME: Final = 0
"""Error number of a text that is no valid host name, so that the system cannot look it up."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The result of a look-up: addresses, or the number of a `socket.gaierror`.

    It stores a number instead of an exception: an exception that all waiting exchanges share would
    form reference cycles with their frames.
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
    """Return the running look-up of this name, ``None`` if a new one may start.

    Raises:
        socket.gaierror: There is no such look-up, and the maximum number is running.
    """
    found = asked.get(host)
    if found is not None and found.get_loop() is asyncio.get_running_loop():
        return found
    if len(asked) >= most:
        raise socket.gaierror(socket.EAI_AGAIN, "too many names are looked up")
    return None


def _set_answer(asked: asyncio.Future[_Answer], answer: _Answer) -> None:
    if not asked.done():  # c-ares may refuse a name by its callback and by an error.
        asked.set_result(answer)


# Providers -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Known:
    """An answer of the system and the instants until which it is used, on `time.monotonic`."""

    addresses: tuple[str, ...]
    fresh_until_s: float
    known_until_s: float


class ProviderNames:
    """Resolver of provider names, which asks the system on its own threads."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._asked: _Asked = {}

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of the families (IPv4, IPv6) that this machine has itself.

        Raises:
            OSError: The name has no address, or the system does not answer and no answer is known.
            ValueError: The text is no valid host name.
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
        known.fresh_until_s = time.monotonic() + FRESH_S  # Other exchanges need not wait too.
        return known.addresses

    def _ask(self, host: str, port: int) -> asyncio.Future[_Answer]:
        """Return the look-up of this name, which concurrent callers share."""
        found = _asked_already(self._asked, host, PROVIDER_NAMES_MAX)
        if found is not None:
            return found
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[_Answer] = loop.create_future()

        def ask() -> None:
            answer = _system_answer(host, port)
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(_set_answer, asked, answer)

        # A daemon thread: a name server that never answers must not keep the process from ending.
        try:
            threading.Thread(target=ask, name="provider-name", daemon=True).start()
        except RuntimeError:  # No thread can be started, so nothing would ever end this look-up.
            asked.set_result(_Answer(error=socket.EAI_AGAIN))
            return asked
        self._asked[host] = asked
        asked.add_done_callback(lambda done: self._keep(host, done.result()))
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
    """Whether the look-up failed, in contrast to the answer that the name does not exist."""
    return not answer.addresses and answer.error not in (socket.EAI_NONAME, _NEVER_A_NAME)


def _system_answer(host: str, port: int) -> _Answer:
    """Ask the system; the call may block for a long time."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError as error:
        return _Answer(error=error.errno or socket.EAI_AGAIN)
    except ValueError:  # Unicode errors included.
        return _Answer(error=_NEVER_A_NAME)
    return _Answer(tuple(dict.fromkeys(str(place[0]) for *_, place in places)))


# Proxies -------------------------------------------------------------------------------


class ProxyNames:
    """Resolver of proxy names, which asks name servers and the hosts file through c-ares.

    Args:
        servers: Name servers, ``address:port``; by default those of the system, whose changes
            c-ares follows.
    """

    def __init__(self, servers: Sequence[str] = ()) -> None:
        self._servers = servers
        self._channel: pycares.Channel | None = None
        self._names = 0
        self._asked: _Asked = {}

    async def resolve(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002  a `Resolver`
        """Return the addresses of a name.

        Raises:
            OSError: The name has no address, or no name server answers.
        """
        asked = _asked_already(self._asked, host, PROXY_NAMES_MAX) or self._ask(host)
        return (await asyncio.shield(asked)).get()

    def _ask(self, host: str) -> asyncio.Future[_Answer]:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[_Answer] = loop.create_future()

        def receive(found: pycares.AddrInfoResult | None, _error: int | None) -> None:
            """Pass the answer from the thread of c-ares to the event loop."""
            nodes = found.nodes if found is not None else ()
            answer = _Answer(tuple(dict.fromkeys(node.addr[0].decode() for node in nodes)))
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(_set_answer, asked, answer)

        try:
            self._channel_now().getaddrinfo(host, None, type=socket.SOCK_STREAM, callback=receive)
        except (pycares.AresError, ValueError):  # No channel can be made, or the name is invalid.
            _set_answer(asked, _Answer())
        except RuntimeError:  # The library could not start its thread.
            asked.set_result(_Answer(error=socket.EAI_AGAIN))
            return asked
        self._asked[host] = asked
        asked.add_done_callback(lambda _: self._asked.pop(host, None))
        return asked

    def _channel_now(self) -> pycares.Channel:
        """Return the current channel; a replaced channel ends after its last query."""
        self._names += 1
        if self._channel is None or self._names > NAMES_PER_CHANNEL:
            self._names = 1
            self._channel = pycares.Channel(timeout=ASK_S, tries=ASKS)
            if self._servers:
                self._channel.servers = self._servers
        return self._channel


PROVIDER_NAMES: Final = ProviderNames()
PROXY_NAMES: Final = ProxyNames()
