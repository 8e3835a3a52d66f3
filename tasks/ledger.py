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
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from tasks.pipe import Address, Pipe

T = TypeVar("T")

TRIES: Final = 3
"""How often a command is sent at most, when its reply does not come."""
PAUSES_S: Final = (0.05, 0.5)
"""Between the tries: a blip first, then time for a failover to be noticed."""
SOCKET_TIMEOUT_S: Final = 2.0
CONNECTIONS_MAX: Final = 64
"""Of one client; who needs one more waits `SOCKET_TIMEOUT_S` for it."""
SENTINEL: Final = "sentinel://"
SENTINEL_CONNECTIONS_MAX: Final = 1_024
"""The library's pool for Sentinel refuses rather than waits, so it must never be full."""
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


class Call(Struct, frozen=True, gc=False):
    """One script to run: its name in ``tasks/lua``, its keys and arguments."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...] = ()

    def __repr__(self) -> str:
        """Say what is asked; the arguments hold who may take a session, for one."""
        return f"Call({self.script!r}, {self.keys!r})"


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
    text = resources.files("tasks").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _unavailable(error: Exception) -> LedgerUnavailableError:
    # Only the kind: a message of the library may quote arguments.
    return LedgerUnavailableError(f"the ledger did not answer ({type(error).__name__})")


@contextmanager
def answered() -> Iterator[None]:
    """Tell failures of a command sent past the door as the door would.

    Raises:
        LedgerUnavailableError: Redis did not answer, or refused.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise _unavailable(error) from None


class SyncDoor:
    """Runs steps over a blocking client."""

    def __init__(self, client: redis.Redis) -> None:
        """Take a client made by `connect`."""
        self.client = client
        self._known: set[str] = set()

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
        reply: Any
        if code.sha in self._known:
            try:
                reply = self.client.evalsha(code.sha, size, *call.keys, *call.args)
            except NoScriptError:
                pass  # It was restarted, or is another one now.
            else:
                return reply  # type: ignore[no-any-return]
        # By its text first, not after an error: a simulated Redis hangs up after each of those.
        reply = self.client.eval(code.text, size, *call.keys, *call.args)
        self._known.add(code.sha)
        return reply  # type: ignore[no-any-return]


class AsyncDoor:
    """Runs steps over an asyncio client."""

    def __init__(self, client: redis.asyncio.Redis, pipe: Pipe | None = None) -> None:
        """Take a client made by `connect_async`, and a pipe to the same Redis for its scripts."""
        self.client = client
        self._scripts = pipe or client
        self._known: set[str] = set()

    async def aclose(self) -> None:
        """Close pipe and client."""
        if isinstance(self._scripts, Pipe):
            self._scripts.close()
        await self.client.aclose()

    async def publish(self, channel: str, text: str) -> int:
        """Publish once, for who listens must be able to do without; return how many heard it.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused; some may have heard it.
        """
        with answered():
            return int(await self._one("PUBLISH", channel, text))

    async def beginning(self, key: str, most: int) -> str:
        """Read at most so many bytes of a string that others may have written; "" for none.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused.
            UnicodeDecodeError: It is no text, where there is no pipe; a pipe replaces what is none.
        """
        with answered():
            return str(await self._one("GETRANGE", key, "0", str(most - 1)))

    async def _one(self, *words: str) -> Any:  # noqa: ANN401  any reply
        """Send one command over the pipe: hundreds at once would wait for places in a pool."""
        if isinstance(self._scripts, Pipe):
            return await self._scripts.call(*words)
        return await self.client.execute_command(*words)

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
        reply: Any
        if code.sha in self._known:
            try:
                reply = await self._scripts.evalsha(code.sha, size, *call.keys, *call.args)
            except NoScriptError:
                pass  # It was restarted, or is another one now.
            else:
                return reply  # type: ignore[no-any-return]
        # By its text first, not after an error: a simulated Redis hangs up after each of those.
        reply = await self._scripts.eval(code.text, size, *call.keys, *call.args)
        self._known.add(code.sha)
        return reply  # type: ignore[no-any-return]


# Connecting ----------------------------------------------------------------------------

_TIMEOUTS: Final[dict[str, Any]] = {
    "socket_timeout": SOCKET_TIMEOUT_S,
    "socket_connect_timeout": SOCKET_TIMEOUT_S,
}


def _options(url: str, connections_max: int) -> dict[str, Any]:
    """Return what every client has, as far as the kind of socket knows it.

    The library's own retries are off: a door repeats, and only what may be repeated.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "health_check_interval": SIGNAL_CHECK_S,
        "max_connections": connections_max,
    }
    if url.startswith("unix://"):
        return options
    if url.startswith(SENTINEL):
        options["max_connections"] = max(connections_max, SENTINEL_CONNECTIONS_MAX)
    return {**options, **_TIMEOUTS, "socket_keepalive": True}


def connect(url: str, connections_max: int = CONNECTIONS_MAX) -> redis.Redis:
    """Return a blocking client for ``redis://``, ``rediss://``, ``unix://`` or ``sentinel://``."""
    options = {**_options(url, connections_max), "retry": Retry(NoBackoff(), 0)}
    if url.startswith(SENTINEL):
        hosts, service, login, place = sentinel_parts(url)
        master: redis.Redis = Sentinel(hosts, sentinel_kwargs={**_TIMEOUTS, **login}).master_for(
            service, **options, **login, **place
        )
        return master
    pool = redis.BlockingConnectionPool.from_url(url, timeout=SOCKET_TIMEOUT_S, **options)
    return redis.Redis.from_pool(pool)


def connect_async(url: str) -> redis.asyncio.Redis:
    """Return an asyncio client for the same addresses as `connect`."""
    from redis.asyncio.retry import Retry as AsyncRetry  # noqa: PLC0415  only where awaited
    from redis.asyncio.sentinel import Sentinel as AsyncSentinel  # noqa: PLC0415

    options = {**_options(url, CONNECTIONS_MAX), "retry": AsyncRetry(NoBackoff(), 0)}
    if url.startswith(SENTINEL):
        hosts, service, login, place = sentinel_parts(url)
        sentinel = AsyncSentinel(hosts, sentinel_kwargs={**_TIMEOUTS, **login})
        master: redis.asyncio.Redis = sentinel.master_for(service, **options, **login, **place)
        return master
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, timeout=SOCKET_TIMEOUT_S, **options)
    return redis.asyncio.Redis.from_pool(pool)


def pipe_to(url: str) -> Pipe:
    """Return a pipe to the same addresses as `connect_async`."""
    from redis.asyncio.sentinel import Sentinel as AsyncSentinel  # noqa: PLC0415  only where awaited

    if not url.startswith(SENTINEL):
        return Pipe(Address.of(url), silence_s=SOCKET_TIMEOUT_S)
    hosts, service, login, place = sentinel_parts(url)
    sentinel = AsyncSentinel(hosts, sentinel_kwargs={**_TIMEOUTS, **login})

    async def find() -> tuple[str, int]:
        host, port = await sentinel.discover_master(service)
        return str(host), int(port)

    words = tuple(login[name] for name in ("username", "password") if name in login)
    address = Address(find=find, login=words, db=place.get("db", 0))
    return Pipe(address, silence_s=SOCKET_TIMEOUT_S)


def sentinel_parts(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any], dict[str, Any]]:
    """Take ``sentinel://[user:pw@]h:p,h:p/service[/db]`` apart.

    Returns:
        The sentinels, the service, the credentials of both sentinels and Redis, and the
        database, which sentinels do not have.

    Raises:
        ValueError: It names no service, or is written another way.
    """
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415

    parts = urlsplit(url)
    login, _, places = parts.netloc.rpartition("@")
    hosts = [
        (host, int(port or 26379))
        for host, _, port in (place.partition(":") for place in places.split(","))
    ]
    service, _, db = parts.path.strip("/").partition("/")
    if not service or ";" in url:
        msg = "a Sentinel address is written sentinel://host:port,host:port/service[/db]"
        raise ValueError(msg)
    credentials: dict[str, Any] = {}
    if login:
        user, _, password = login.partition(":")
        credentials["password"] = unquote(password)
        if user:
            credentials["username"] = unquote(user)
    return hosts, service, credentials, {"db": int(db)} if db else {}
