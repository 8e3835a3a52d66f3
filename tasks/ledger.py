"""The door to Redis: runs the steps of `tasks.store`, blocking or awaited.

A step is one script with its keys and arguments. Store code is written once, as generators
that yield `Call` and receive its reply; `SyncDoor` and `AsyncDoor` drive them. Every script
is safe to repeat (reads change nothing, commits carry a token), so a door repeats a command
whose reply was lost, a bounded number of times, and nothing else ever does.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

T = TypeVar("T")

TRIES: Final = 3
"""How often a command is sent at most, when its reply does not come."""
PAUSES_S: Final = (0.05, 0.5)
"""Between the tries: a blip first, then time for a failover to be noticed."""
SOCKET_TIMEOUT_S: Final = 2.0
CONNECTIONS_MAX: Final = 64
SIGNAL_CHECK_S: Final = 5.0
"""How often an idle connection is checked, so that a half-open one is found."""


class LedgerError(Exception):
    """Base of what keeps the ledger from answering.

    LedgerError
    ├── LedgerUnavailableError  Redis cannot be reached or refuses to work
    ├── LedgerBusyError         too many others changed the same intent at once
    └── ForeignLedgerError      a Redis without identity outside the embedded mode
    """


class LedgerUnavailableError(LedgerError):
    """Redis is away, full, read-only or loading. The effect of the command is unknown."""


class LedgerBusyError(LedgerError):
    """A compare-and-commit loop reached its bound. Nothing was written."""


class ForeignLedgerError(LedgerError):
    """This Redis does not tell its identity and the embedded mode is off."""


@dataclass(frozen=True, slots=True)
class Call:
    """One script to run: its name in ``tasks/lua``, its keys and arguments."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...] = ()


Steps = Generator[Call, list[Any], T]
"""Store code: yields calls, receives replies, returns a value."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script of ``tasks/lua``: its text and the SHA-1 by which Redis knows it."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return a script of ``tasks/lua`` with its digest."""
    text = resources.files("tasks").joinpath("lua", f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _unavailable(error: Exception) -> LedgerUnavailableError:
    # Only the kind: a message of the library may quote arguments.
    return LedgerUnavailableError(f"the ledger did not answer ({type(error).__name__})")


class SyncDoor:
    """Runs steps over a blocking client."""

    def __init__(self, client: redis.Redis) -> None:
        """Take a client made by `connect`."""
        self.client = client

    def run(self, steps: Steps[T]) -> T:
        """Run steps to their end.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused.
        """
        try:
            call = next(steps)
            while True:
                call = steps.send(self._call(call))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _call(self, call: Call) -> list[Any]:
        for pause_s in (*PAUSES_S, None):
            try:
                return self._eval(call)
            except (RedisError, OSError) as error:
                if pause_s is None:
                    raise _unavailable(error) from None
                time.sleep(pause_s)
        raise AssertionError

    def _eval(self, call: Call) -> list[Any]:
        code, size = script(call.script), len(call.keys)
        try:
            reply: Any = self.client.evalsha(code.sha, size, *call.keys, *call.args)
        except NoScriptError:
            reply = self.client.eval(code.text, size, *call.keys, *call.args)
        return reply  # type: ignore[no-any-return]


class AsyncDoor:
    """Runs steps over an asyncio client."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        """Take a client made by `connect_async`."""
        self.client = client

    async def run(self, steps: Steps[T]) -> T:
        """Run steps to their end.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused.
        """
        try:
            call = next(steps)
            while True:
                call = steps.send(await self._call(call))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def _call(self, call: Call) -> list[Any]:
        for pause_s in (*PAUSES_S, None):
            try:
                return await self._eval(call)
            except (RedisError, OSError, TimeoutError) as error:
                if pause_s is None:
                    raise _unavailable(error) from None
                await asyncio.sleep(pause_s)
        raise AssertionError

    async def _eval(self, call: Call) -> list[Any]:
        code, size = script(call.script), len(call.keys)
        try:
            reply: Any = await self.client.evalsha(code.sha, size, *call.keys, *call.args)
        except NoScriptError:
            reply = await self.client.eval(code.text, size, *call.keys, *call.args)
        return reply  # type: ignore[no-any-return]


# Connecting ----------------------------------------------------------------------------

_OPTIONS: Final[dict[str, Any]] = {
    "decode_responses": True,
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": SIGNAL_CHECK_S,
    "max_connections": CONNECTIONS_MAX,
}
"""The library's own retries are off: a door repeats, and only what may be repeated."""


def connect(url: str) -> redis.Redis:
    """Return a blocking client for ``redis://``, ``rediss://``, ``unix://`` or ``sentinel://``."""
    options = {**_OPTIONS, "retry": Retry(NoBackoff(), 0)}
    if url.startswith("sentinel://"):
        hosts, service, rest = _sentinel(url)
        master: redis.Redis = Sentinel(hosts, sentinel_kwargs=rest, **rest).master_for(
            service, **options, **rest
        )
        return master
    pool = redis.BlockingConnectionPool.from_url(url, timeout=SOCKET_TIMEOUT_S, **options)
    return redis.Redis(connection_pool=pool)


def connect_async(url: str) -> redis.asyncio.Redis:
    """Return an asyncio client for the same addresses as `connect`."""
    from redis.asyncio.retry import Retry as AsyncRetry  # noqa: PLC0415  only where awaited
    from redis.asyncio.sentinel import Sentinel as AsyncSentinel  # noqa: PLC0415

    options = {**_OPTIONS, "retry": AsyncRetry(NoBackoff(), 0)}
    if url.startswith("sentinel://"):
        hosts, service, rest = _sentinel(url)
        master: redis.asyncio.Redis = AsyncSentinel(hosts, sentinel_kwargs=rest, **rest).master_for(
            service, **options, **rest
        )
        return master
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, timeout=SOCKET_TIMEOUT_S, **options)
    return redis.asyncio.Redis(connection_pool=pool)


def _sentinel(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Return hosts, service and credentials of ``sentinel://[user:pw@]h:p,h:p/service[/db]``."""
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415

    parts = urlsplit(url)
    login, _, places = parts.netloc.rpartition("@")
    hosts = [
        (host, int(port or 26379))
        for host, _, port in (place.partition(":") for place in places.split(","))
    ]
    service, _, db = parts.path.strip("/").partition("/")
    rest: dict[str, Any] = {"db": int(db or 0)} if db else {}
    if login:
        user, _, password = login.partition(":")
        rest |= {"password": unquote(password)} | ({"username": unquote(user)} if user else {})
    return hosts, service, rest
