"""The executors: they run the operations of `tasks.storage.store` on Redis, blocking or awaited.

A `ScriptCall` is one script with its keys and arguments. Store code is written once, as generators
that yield a `ScriptCall` and receive its reply; `SyncExecutor` and `AsyncExecutor` drive them.
Every script is safe to repeat (reads change nothing, commits carry a token), so an executor repeats
a command whose reply was lost, a bounded number of times. No other component repeats commands.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import Any, Final, TypeVar

import redis
import redis.asyncio
from msgspec import Struct
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from checkpoint_worker.tasks.storage.address_parser import parse_redis
from checkpoint_worker.tasks.storage.addresses import CurrentContext, RedisAddress, Tls
from checkpoint_worker.tasks.storage.bundles import ReadBundles
from checkpoint_worker.tasks.storage.cluster import (
    AwaitedClusterConnection,
    AwaitedClusterTlsConnection,
    ClusterConnection,
    ClusterTlsConnection,
    Nodes,
    slot_of,
)
from checkpoint_worker.tasks.storage.connections import (
    AwaitedConnection,
    AwaitedSentinelConnection,
    AwaitedSentinels,
    AwaitedSentinelTlsConnection,
    AwaitedSocketConnection,
    AwaitedTlsConnection,
    Connection,
    SentinelConnection,
    Sentinels,
    SentinelTlsConnection,
    SocketConnection,
    TlsConnection,
    is_elsewhere,
    why,
)
from checkpoint_worker.tasks.storage.idle_connections import IdleConnections
from checkpoint_worker.tasks.storage.keys import DEFAULT_PREFIX
from checkpoint_worker.tasks.storage.names import LedgerNames
from checkpoint_worker.tasks.storage.pipelining import Address, FindMaster, PipelinedConnection
from checkpoint_worker.tasks.tracebacks import let_go

T = TypeVar("T")

TRIES: Final = 3
"""Maximum number of times that a command is sent when its reply does not come."""
PAUSES_S: Final = (0.05, 0.5)
"""Pauses between the tries: the first covers a short fault, the second a failover."""
SOCKET_TIMEOUT_S: Final = 2.0
"""Timeout for connecting, for a reply, and for a free connection of the pool."""
CONNECTIONS_MAX: Final = 64
"""Maximum number of connections of one client; a command beyond it waits `SOCKET_TIMEOUT_S`."""
SENTINEL_CONNECTIONS_MAX: Final = 1_024
"""Size of the pool for Sentinel: redis-py's pool raises when it is full instead of waiting."""
SIGNAL_CHECK_S: Final = 5.0
"""Interval at which an idle connection is checked, so that a half-open one is found."""
NO_NOTIFICATIONS: Final = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
"""Options of connections that do not ask for redis-py's notices of maintenance.

One managed service sends them. Any other server refuses the command, at each connect, and redis-py
then takes logging's lock, which stays held for the whole process where a signal handler raises.
"""


class LedgerError(Exception):
    """Base of the errors with which the ledger does not answer.

    LedgerError
    ├── LedgerUnavailableError  Redis cannot be reached or refuses to work
    ├── LedgerBusyError         too many others changed the same intent at once
    └── ForeignLedgerError      a Redis without identity outside the embedded mode
    """


class LedgerUnavailableError(LedgerError):
    """Redis is unreachable, full, read-only or loading. The effect of the command is unknown.

    Attributes:
        meaning: The reason as `why` returns it, empty if it is unknown.
    """

    def __init__(self, said: str = "the ledger did not answer", meaning: str = "") -> None:
        super().__init__(f"{said}: {meaning}" if meaning else said)
        self.meaning = meaning


class LedgerBusyError(LedgerError):
    """A compare-and-commit loop reached its bound. Nothing was written."""


class ForeignLedgerError(LedgerError):
    """This Redis does not show its identity and the embedded mode is off."""


class ScriptCall(Struct, frozen=True, gc=False):
    """One script to run: its name in ``tasks/storage/scripts``, its keys and arguments."""

    script: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...] = ()

    def __repr__(self) -> str:
        """Show script and keys; the arguments stay hidden, for they may hold a secret token."""
        return f"Call({self.script!r}, {self.keys!r})"


Operation = Generator[ScriptCall, list[Any], T]
"""A generator of store code: it yields calls, receives replies and returns a value."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script of ``tasks/storage/scripts``: its text and the SHA-1 by which Redis knows it."""

    text: str
    sha: str


IDENTITY_CALL: Final = "identity()"
"""The call of what ``_identity.lua`` defines."""


@cache
def script(name: str) -> Script:
    """Return a script of ``tasks/storage/scripts`` with its digest."""
    return assembled(_file(name))


def assembled(text: str) -> Script:
    """Return a script with its digest; what it shares with others follows its header."""
    if IDENTITY_CALL in text:
        header, code = re.split(r"(?m)^(?=[^-])", text, maxsplit=1)
        text = header + _file("_identity") + code
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _file(name: str) -> str:
    folder = resources.files("checkpoint_worker.tasks.storage").joinpath("scripts")
    return folder.joinpath(f"{name}.lua").read_text("utf-8")


def _unavailable(error: Exception) -> LedgerUnavailableError:
    # Only the error's class and its meaning: a library's message may quote arguments.
    kind, meaning = type(error).__name__, why(error)
    return LedgerUnavailableError(f"the ledger did not answer ({kind})", meaning)


@contextmanager
def answered() -> Iterator[None]:
    """Raise failures of a command that no executor runs as an executor would.

    Raises:
        LedgerUnavailableError: Redis did not answer, or refused.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        let_go(error)
        raise _unavailable(error) from None


def forget_connections(client: redis.Redis) -> None:
    """Let a blocking client begin with an empty pool, after a call that was interrupted.

    Where an exception comes while redis-py takes or gives back a connection, its place is lost.
    Calls of other threads keep their connections.
    """
    client.connection_pool.reset()


class SyncExecutor:
    """Runs operations over a blocking client."""

    def __init__(self, client: redis.Redis) -> None:
        """Take a client made by `connect`."""
        self.client = client
        self._known: set[str] = set()

    def run(self, steps: Operation[T]) -> T:
        """Run an operation to its end.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused.
        """
        try:
            call = next(steps)
            while True:
                call = steps.send(self._call(call))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _call(self, call: ScriptCall) -> list[Any]:
        for pause_s in (*PAUSES_S, None):
            try:
                return self._eval(call)
            except (RedisError, OSError) as error:
                if is_elsewhere(error):  # The pool's other connections lead to the same Redis.
                    self.client.connection_pool.disconnect(inuse_connections=False)
                let_go(error)  # redis-py's frames refer to it, and they hold the command.
                if pause_s is None:
                    raise _unavailable(error) from None
                time.sleep(pause_s)
            except BaseException:  # Of a signal handler.
                forget_connections(self.client)
                raise
        raise AssertionError

    def _eval(self, call: ScriptCall) -> list[Any]:
        code, size = script(call.script), len(call.keys)
        reply: Any
        if code.sha in self._known:
            try:
                reply = self.client.evalsha(code.sha, size, *call.keys, *call.args)
            except NoScriptError:
                pass  # Redis was restarted, or another Redis answers now.
            else:
                return reply  # type: ignore[no-any-return]
        # The first call sends the text and does not wait for NOSCRIPT: a simulated Redis closes
        # the connection after each error.
        reply = self.client.eval(code.text, size, *call.keys, *call.args)
        self._known.add(code.sha)
        return reply  # type: ignore[no-any-return]


class AsyncExecutor:
    """Runs operations over an asyncio client."""

    def __init__(
        self, client: redis.asyncio.Redis, pipe: PipelinedConnection | None = None
    ) -> None:
        """Take a client made by `connect_async`, and a pipelined connection for its scripts."""
        self.client = client
        self._scripts = pipe or client
        self._known: set[str] = set()
        self._reads = ReadBundles(lambda keys, args: self._eval(ScriptCall("read", keys, args)))

    @property
    def clustered(self) -> bool:
        """Whether its address is that of a cluster."""
        return "nodes" in self.client.connection_pool.connection_kwargs

    async def aclose(self) -> None:
        """Close the pipelined connection and the client."""
        if isinstance(self._scripts, PipelinedConnection):
            self._scripts.close()
        await self.client.aclose()
        finder = getattr(self.client.connection_pool, "sentinel_manager", None)
        for each in finder.sentinels if finder is not None else ():
            await each.aclose()

    async def publish(self, channel: str, text: str) -> int:
        """Publish a message once, without a repeat; return the number of subscribers it reached.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused; subscribers may have received
                the message nevertheless.
        """
        with answered():
            return int(await self._one("PUBLISH", channel, text))

    async def beginning(self, key: str, most: int) -> str:
        """Read at most ``most`` bytes of a string that other programs may write; "" for none.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused.
        """
        with answered():
            return str(await self._one("GETRANGE", key, "0", str(most - 1)))

    async def _one(self, *words: str) -> Any:  # noqa: ANN401  any reply
        """Send one command over the pipelined connection, which needs no place in a pool."""
        if isinstance(self._scripts, PipelinedConnection):
            return await self._scripts.call(*words)
        return await self.client.execute_command(*words)

    async def run(self, steps: Operation[T]) -> T:
        """Run an operation to its end.

        Raises:
            LedgerUnavailableError: Redis did not answer, or refused.
        """
        try:
            call = next(steps)
            while True:
                call = steps.send(await self._call(call))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def _call(self, call: ScriptCall) -> list[Any]:
        is_bundled = call.script == "read" and not call.args[0]
        for pause_s in (*PAUSES_S, None):
            try:
                if is_bundled:
                    is_bundled = False  # It is repeated alone.
                    return await self._reads.read(call.keys, call.args)
                return await self._eval(call)
            except (RedisError, OSError, TimeoutError) as error:
                if is_elsewhere(error):
                    await self._close_idle_connections()
                let_go(error)  # redis-py's frames refer to it, and they hold the command.
                if pause_s is None:
                    raise _unavailable(error) from None
                await asyncio.sleep(pause_s)
        raise AssertionError

    async def _close_idle_connections(self) -> None:
        """Close the pool's idle connections; the pipelined connection closes itself."""
        with suppress(RedisError, OSError):
            await self.client.connection_pool.disconnect(inuse_connections=False)

    async def _eval(self, call: ScriptCall) -> list[Any]:
        code, size = script(call.script), len(call.keys)
        reply: Any
        if code.sha in self._known:
            try:
                reply = await self._scripts.evalsha(code.sha, size, *call.keys, *call.args)
            except NoScriptError:
                pass  # Redis was restarted, or another Redis answers now.
            else:
                return reply  # type: ignore[no-any-return]
        # The first call sends the text and does not wait for NOSCRIPT: a simulated Redis closes
        # the connection after each error.
        reply = await self._scripts.eval(code.text, size, *call.keys, *call.args)
        self._known.add(code.sha)
        return reply  # type: ignore[no-any-return]


# Connecting ----------------------------------------------------------------------------

_BLOCKING: Final = (
    (Connection, TlsConnection), (ClusterConnection, ClusterTlsConnection), SocketConnection
)  # fmt: skip
_AWAITED: Final = (
    (AwaitedConnection, AwaitedTlsConnection),
    (AwaitedClusterConnection, AwaitedClusterTlsConnection),
    AwaitedSocketConnection,
)


def _timeouts(address: RedisAddress) -> dict[str, Any]:
    return {
        "socket_timeout": address.socket_timeout_s or SOCKET_TIMEOUT_S,
        "socket_connect_timeout": address.connect_timeout_s or SOCKET_TIMEOUT_S,
    }


def _options(address: RedisAddress) -> dict[str, Any]:
    """Return the options of every connection, as far as its kind of socket supports them.

    The library's own retries are off: the executors repeat commands.
    """
    timeouts = _timeouts(address)
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "replace",  # As in `PipelinedConnection`: the reader rejects no text.
        "socket_timeout": timeouts["socket_timeout"],
        "health_check_interval": address.health_check_s or SIGNAL_CHECK_S,
        "client_name": address.client_name,
        "db": address.db,
        **NO_NOTIFICATIONS,
        **address.login.options(),
        **(address.tls.options() if address.tls is not None else {}),
    }
    if address.protocol is not None:
        options["protocol"] = address.protocol
    if address.path is not None:
        return {**options, "path": address.path}
    options = {**options, **timeouts, "socket_keepalive": address.keepalive}
    if address.sentinels is not None or address.cluster:
        return options
    return {**options, "host": address.host, "port": address.port}


_Kinds = tuple[type, type]
"""Classes of a connection: without TLS, with TLS."""


def _pool_options(
    address: RedisAddress, prefix: str, single: _Kinds, clustered: _Kinds, local: type
) -> dict[str, Any]:
    plain, tls = clustered if address.cluster else single
    kind = local if address.path is not None else plain if address.tls is None else tls
    return {
        **({"nodes": nodes_of(address, prefix)} if address.cluster else {}),
        "connection_class": kind,
        "timeout": address.turn_timeout_s or SOCKET_TIMEOUT_S,
        "max_connections": address.connections_max or CONNECTIONS_MAX,
    }


def sentinel_options(address: RedisAddress) -> dict[str, Any]:
    """Return the options of the clients that ask an address' Sentinels.

    All of them together have the time of one connection, so that one that is silent does not use up
    that of the next.
    """
    assert address.sentinels is not None
    count = len(address.sentinels.places)
    shares = {name: seconds / count for name, seconds in _timeouts(address).items()}
    return {**shares, **address.sentinels.options()}


def _asks_sentinels(address: RedisAddress) -> dict[str, Any]:
    return {**NO_NOTIFICATIONS, **sentinel_options(address)}


def asking_options(address: RedisAddress) -> dict[str, Any]:
    """Return the options of clients that ask the nodes of a cluster where a key is."""
    tls = {"ssl": True, **address.tls.options()} if address.tls is not None else {}
    return {**_timeouts(address), **address.login.options(), **tls}


def nodes_of(address: RedisAddress, prefix: str) -> Nodes:
    """Return the nodes of a cluster that are asked which of them has the keys under a prefix."""
    options = {**NO_NOTIFICATIONS, **asking_options(address)}
    return Nodes(address.cluster, slot_of(prefix), options)


def connect(url: str, prefix: str = DEFAULT_PREFIX) -> redis.Redis:
    """Return a blocking client of an address as `parse_redis` reads it.

    Args:
        url: The address.
        prefix: Prefix of the keys: in a cluster it decides which node has them.

    Raises:
        AddressError: The address is not valid.
    """
    address = parse_redis(url)
    options = {**_options(address), "retry": Retry(NoBackoff(), 0)}
    if address.sentinels is not None:
        found = Sentinels(address.sentinels.places, sentinel_kwargs=_asks_sentinels(address))
        master: redis.Redis = found.master_for(
            address.sentinels.service,
            connection_class=SentinelConnection if address.tls is None else SentinelTlsConnection,
            max_connections=max(address.connections_max or 0, SENTINEL_CONNECTIONS_MAX),
            **options,
        )
        return master
    pool = redis.BlockingConnectionPool(
        queue_class=IdleConnections, **_pool_options(address, prefix, *_BLOCKING), **options
    )
    return redis.Redis.from_pool(pool)


def connect_async(url: str, prefix: str = DEFAULT_PREFIX) -> redis.asyncio.Redis:
    """Return an asyncio client for the same addresses as `connect`."""
    from redis.asyncio.retry import Retry as AsyncRetry  # noqa: PLC0415  only where awaited

    address = parse_redis(url)
    options = {**_options(address), "retry": AsyncRetry(NoBackoff(), 0)}
    if address.path is None:
        options |= {"names": LedgerNames(), "tls": _current(address.tls)}
    if address.sentinels is not None:
        kind = AwaitedSentinelConnection if address.tls is None else AwaitedSentinelTlsConnection
        master: redis.asyncio.Redis = _async_sentinels(address).master_for(
            address.sentinels.service,
            connection_class=kind,
            max_connections=max(address.connections_max or 0, SENTINEL_CONNECTIONS_MAX),
            **options,
        )
        return master
    pool = redis.asyncio.BlockingConnectionPool(
        **_pool_options(address, prefix, *_AWAITED), **options
    )
    return redis.asyncio.Redis.from_pool(pool)


def _async_sentinels(address: RedisAddress) -> AwaitedSentinels:
    given = address.sentinels
    assert given is not None
    return AwaitedSentinels(given.places, _asks_sentinels(address), _current(given.tls))


def _current(tls: Tls | None) -> CurrentContext | None:
    return None if tls is None else CurrentContext(tls)


def pipe_to(url: str, prefix: str = DEFAULT_PREFIX) -> PipelinedConnection:
    """Return a pipelined connection for the same addresses as `connect_async`."""
    given = parse_redis(url)
    find: FindMaster | None = None
    if given.sentinels is not None:
        find = partial(_async_sentinels(given).discover_master, given.sentinels.service)
    elif given.cluster:
        find = nodes_of(given, prefix).find_awaited
    address = Address(
        host=given.host,
        port=given.port,
        path=given.path,
        find=find,
        tls=_current(given.tls),
        login=given.login.words(),
        db=given.db,
        client_name=given.client_name,
        keepalive=given.keepalive,
    )
    return PipelinedConnection(address, silence_s=given.socket_timeout_s or SOCKET_TIMEOUT_S)
