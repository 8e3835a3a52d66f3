"""Connections to Redis that close themselves when their Redis is not the right one any more.

After a switchover behind a host name the old master runs on as a replica and keeps its connections.
A client library keeps them in its pool too, so every later command would be refused. The
connections here close themselves on such a refusal, and the next command resolves the name again.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
from redis import asyncio as awaited
from redis import sentinel
from redis.asyncio import sentinel as awaited_sentinel
from redis.asyncio.retry import Retry as AwaitedRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
)
from redis.retry import Retry

from checkpoint_worker.tasks.storage.addresses import CurrentContext
from checkpoint_worker.tasks.storage.names import LedgerNames, addresses_of

Places = Sequence[tuple[str, int]]

# Redis 6.2 wraps the refusal of a script's command: "ERR Error running script … -READONLY".
ELSEWHERE: Final = re.compile(
    r"(?:^|[\s-])(?:READONLY|LOADING|MASTERDOWN|UNBLOCKED|NOREPLICAS|MISCONF|CLUSTERDOWN|MOVED)\b"
)
"""Pattern of the refusals of a Redis that is not, not yet, or not any more the right one."""
CAUSES_DEEP: Final = 5
"""Maximum number of chained exceptions in which `why` looks for a cause."""
_CLASSES: Final = (BusyLoadingError, ClusterDownError, MasterDownError, MovedError, ReadOnlyError)
"""Exceptions for the same refusals; redis-py removes the error word from their messages."""


def is_elsewhere(error: BaseException) -> bool:
    """Whether an error requires another Redis, or a new connection to this one."""
    return isinstance(error, _CLASSES) or ELSEWHERE.search(str(error)) is not None


CLUSTER: Final = (
    "it runs in cluster mode and is not the node that has all of these keys: the address has to be"
    " redis+cluster://…, and the prefix needs a hash tag"
)
CLUSTER_DOWN: Final = "cluster mode: the cluster is down, or no master has these keys now"
NO_CLUSTER: Final = "it does not run in cluster mode: write redis://… or rediss://…"
MOVING: Final = "cluster mode: these keys are being moved to another node"
NO_TLS: Final = (
    "TLS does not fit: it is spoken on one side alone (redis:// or rediss://), or another way"
)
_TLS: Final = (
    "WRONG_VERSION_NUMBER|wrong version number|RECORD_LAYER|record layer|UNEXPECTED_EOF"
    "|SSL: |SSLError|InvalidResponse|Protocol Error|no reply of Redis|in time over TLS"
)
CAUSES: Final[tuple[tuple[str, str], ...]] = (
    ("cluster support disabled", NO_CLUSTER),
    ("TRYAGAIN|TryAgain|AskError|\bASK\b|non local key", MOVING),
    ("CROSSSLOT|MOVED|MovedError|in cluster mode|ClusterCrossSlot", CLUSTER),
    # A replica that has lost its master answers this too.
    ("CLUSTERDOWN|ClusterDownError", CLUSTER_DOWN),
    (
        "WRONGPASS|NOAUTH|AuthenticationError|invalid password|Client sent AUTH",
        "it refuses this user or password",
    ),
    (
        "NOPERM|NoPermission|no permissions",
        "this user may not do what is needed there (its ACL)",
    ),
    (
        "READONLY|ReadOnly|previous master is now a slave",
        "it is a read-only replica: its master has to be asked",
    ),
    ("OOM|OutOfMemory|maxmemory", "it is full (maxmemory): it refuses every write"),
    ("LOADING|BusyLoading", "it is still loading its data"),
    ("MASTERDOWN|MasterDown", "it is a replica that has lost its master"),
    ("NOREPLICAS", "too few replicas follow it for it to take a write"),
    ("MISCONF", "it cannot save to its disk and refuses writes until it can"),
    ("DB index is out of range|invalid DB index", "it has no database of this number"),
    (
        "CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "its certificate is not trusted here (ssl_ca_certs, or another host name)",
    ),
    (_TLS, NO_TLS),
    ("NoSentinelError", "no Sentinel answers"),
    ("MasterNotFound|No master found", "no Sentinel knows a master of this name"),
    ("unknown command", "it does not know a command that is needed"),
    (
        "gaierror|name resolution|Name or service|No address associated",
        "its name is not resolved here (DNS)",
    ),
    ("Too many open files", "this process may open no more files (ulimit -n)"),
    (
        "Connection closed by server",
        "it hangs up: it may want TLS (rediss://), or take no more connections (maxclients)",
    ),
)
"""Pattern in a refusal, and the meaning that is shown to the operator."""
NO_IDENTITY: Final = (
    "this Redis does not tell its identity (INFO) to this user, so nothing is taken or sent: "
    "grant +info, which -@dangerous takes away"
)


def why(error: BaseException) -> str:
    """Return the reason why a Redis does not answer, empty if it is unknown.

    A library's message may quote arguments, so the text returned contains nothing of it.
    """
    seen: BaseException | None = error
    texts: list[str] = []
    while seen is not None and len(texts) < CAUSES_DEEP:
        texts.append(f"{type(seen).__name__} {seen}")
        seen = seen.__cause__ or seen.__context__
    text = " ".join(texts)
    return next((words for pattern, words in CAUSES if re.search(pattern, text)), "")


class _ClosesItself:
    """Closes a blocking connection when `is_elsewhere` is true of a reply, or one is owed.

    An exception of a signal handler (a time limit of the host, Ctrl-C) may come after a command is
    sent and before its reply is read. redis-py gives such a connection back to its pool, and every
    later command on it would get the reply of the one before. It may also come while the connection
    is set up: later commands would meet no parser, no login or database 0.
    """

    answers_calls = True
    """Whether each command is a call whose reply is read before the connection is given back."""
    _owes = False
    """Whether a reply is on its way that no caller will read if this one is interrupted."""
    _is_half_made = False
    """Whether the connection is being set up, or its set-up was interrupted."""

    def connect_check_health(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  the library's
        if self._is_half_made:
            self.disconnect()
        if self._sock:  # type: ignore[attr-defined]
            return
        self._is_half_made = True
        super().connect_check_health(*args, **options)  # type: ignore[misc]
        self._is_half_made = False

    def send_command(self, *words: Any, **options: Any) -> None:  # noqa: ANN401  the library's
        # If a signal handler raises while hiredis makes text of a number, the process crashes.
        texts = (str(word) if isinstance(word, (int, float)) else word for word in words)
        super().send_command(*texts, **options)  # type: ignore[misc]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002  the library's
        if not self._sock:  # type: ignore[attr-defined]
            self.connect_check_health(check_health=False)
        if check_health:
            self.check_health()  # type: ignore[attr-defined]
        self._owes = True
        super().send_packed_command(command, check_health=False)  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  the library's
        try:
            reply = super().read_response(*args, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            self._owes = False
            if is_elsewhere(error):
                self.disconnect()
            raise
        self._owes = False
        return reply

    def disconnect(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  the library's
        self._owes = self._is_half_made = False
        super().disconnect(*args, **options)  # type: ignore[misc]

    def register_connect_callback(self, callback: Any) -> None:  # noqa: ANN401  the library's
        """Note that a subscriber has the connection; the library has no other sign of it."""
        self.answers_calls = False
        super().register_connect_callback(callback)  # type: ignore[misc]

    def deregister_connect_callback(self, callback: Any) -> None:  # noqa: ANN401  the library's
        """Note that the subscriber is about to give the connection back."""
        self.answers_calls = type(self).answers_calls
        super().deregister_connect_callback(callback)  # type: ignore[misc]

    def should_reconnect(self) -> bool:
        """Hang up if a reply is owed or the set-up was interrupted.

        The library asks when a caller gives the connection back; of a subscriber's also while it
        subscribes again, within the set-up.
        """
        if self.answers_calls and (self._is_half_made or self._owes):
            self.disconnect()
        return super().should_reconnect()  # type: ignore[misc, no-any-return]


class _ClosesItselfAwaited:
    """Closes an awaited connection when `is_elsewhere` is true of a reply, and loses no cancel.

    redis-py sends through `asyncio.wait_for`. Before Python 3.12 this function drops a cancel that
    arrives at the moment when the sending is done.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ANN401, FBT001, FBT002  the library's
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)  # type: ignore[misc]
        if task and task.cancelling() > before:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise asyncio.CancelledError

    async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            if is_elsewhere(error):
                await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise


class _LooksUp:
    """Lets an awaited connection be made to an address that `LedgerNames` found.

    asyncio's own look-up ends with the attempt, and its thread goes on without use. redis-py's TLS
    context is made once for each connection of a pool, and stays as it is.
    """

    _place: str | None = None
    """The address that is connected to."""

    def __init__(
        self,
        *,
        names: LedgerNames | None = None,
        tls: CurrentContext | None = None,
        **options: Any,  # noqa: ANN401  the library's
    ) -> None:
        super().__init__(**options)
        self._names, self._tls = names or LedgerNames(), tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        if self._tls is not None:
            self.ssl_context.context = self._tls()  # type: ignore[attr-defined]
        arguments = dict(super()._connection_arguments())  # type: ignore[misc]
        if "ssl" in arguments:
            arguments["server_hostname"] = arguments["host"]
        return {**arguments, "host": self._place}

    async def _connect(self) -> None:
        connect = super()._connect  # type: ignore[misc]

        async def to(place: str) -> None:
            self._place = place
            await connect()

        async with asyncio.timeout(self.socket_connect_timeout):  # type: ignore[attr-defined]
            await self._names.connect(self.host, self.port, to)  # type: ignore[attr-defined]


class _Connects(redis.Connection):
    """Connects a blocking connection to the addresses that `addresses_of` returns."""

    def _connect(self) -> Any:  # noqa: ANN401  the library's
        host, failed = self.host, None
        for address in addresses_of(host, self.port):
            self.host = address
            try:
                return super()._connect()  # type: ignore[no-untyped-call]
            except OSError as error:
                failed = failed or error
            finally:
                self.host = host
        try:
            raise failed or socket.gaierror(socket.EAI_NONAME, "the name has no address")
        finally:  # Else it and this frame would keep each other.
            del failed


class Connection(_ClosesItself, _Connects):
    """A blocking connection over TCP."""


class TlsConnection(_ClosesItself, redis.SSLConnection, _Connects):
    """A blocking connection over TLS."""


class SocketConnection(_ClosesItself, redis.UnixDomainSocketConnection):
    """A blocking connection over a Unix socket."""


class SentinelConnection(_ClosesItself, sentinel.SentinelManagedConnection, _Connects):
    """A blocking connection to the master that Sentinels name."""


class SentinelTlsConnection(_ClosesItself, sentinel.SentinelManagedSSLConnection, _Connects):
    """A blocking TLS connection to the master that Sentinels name."""


class NoSentinelError(redis.ConnectionError):
    """None of the Sentinels answered."""


class _AsksInTurn:
    """The part that the blocking and the awaited clients of the Sentinels share.

    A Sentinel that is silent or answers an error tells nothing, so the next one is asked, within
    the time that one connection may take; it is asked last from then on. redis-py would repeat each
    question ten times, and let an error of one Sentinel end the search.
    """

    sentinels: list[Any]

    def _address_in(self, masters: Any, service: str) -> tuple[str, int] | None:  # noqa: ANN401
        state = masters.get(service)
        if not state or not self.check_master_state(state, service):  # type: ignore[attr-defined]
            return None
        return state["ip"], state["port"]

    def _moved(self, each: object, place: int) -> None:
        """Move a Sentinel in the order in which they are asked: 0 the first, -1 the last."""
        self.sentinels.remove(each)
        self.sentinels.insert(place % (len(self.sentinels) + 1), each)


def _nothing_told(service: str, failed: int, asked: int) -> redis.ConnectionError:
    if failed == asked:
        return NoSentinelError(f"No Sentinel answers for {service!r}")
    return sentinel.MasterNotFoundError(f"No master found for {service!r}")


class Sentinels(_AsksInTurn, sentinel.Sentinel):
    """Blocking clients of the Sentinels, which keep no connection: questions are rare.

    redis-py leaves such a connection to the garbage collector when the client of the master closes.
    """

    def __init__(
        self,
        places: Places,
        sentinel_kwargs: Mapping[str, Any],
        **options: Any,  # noqa: ANN401  the library's, for connections to the master
    ) -> None:
        asking = {**sentinel_kwargs, "retry": Retry(NoBackoff(), 0)}
        super().__init__(places, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
        for each in self.sentinels:
            keep_look_ups_of(each)

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the master.

        Raises:
            ConnectionError: No Sentinel answers, or none knows the master.
        """
        failed = 0
        for each in (asked := list(self.sentinels)):
            try:
                found = self._address_in(each.sentinel_masters(), service_name)
                self._moved(each, 0 if found else -1)
                if found:
                    return found
            except (redis.RedisError, OSError):
                self._moved(each, -1)
                failed += 1
            finally:
                each.connection_pool.disconnect(inuse_connections=False)
        raise _nothing_told(service_name, failed, len(asked))


class AwaitedSentinels(_AsksInTurn, awaited_sentinel.Sentinel):
    """Awaited clients of the Sentinels; the next question may come from another event loop."""

    def __init__(
        self, places: Places, sentinel_kwargs: Mapping[str, Any], tls: CurrentContext | None = None
    ) -> None:
        options = {**sentinel_kwargs, "retry": AwaitedRetry(NoBackoff(), 0)}
        super().__init__(places, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        names = LedgerNames()
        for each in self.sentinels:
            look_up_by(names, each, tls)

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the master.

        Raises:
            ConnectionError: No Sentinel answers, or none knows the master.
        """
        failed = 0
        for each in (asked := list(self.sentinels)):
            told = False
            try:
                found = self._address_in(await each.sentinel_masters(), service_name)
                told = found is not None
                if found is not None:
                    return found
            except (redis.RedisError, OSError):
                failed += 1
            finally:  # Also where the caller's time ended while this one was silent.
                self._moved(each, 0 if told else -1)
                await each.connection_pool.disconnect(inuse_connections=False)
        raise _nothing_told(service_name, failed, len(asked))


class AwaitedConnection(_ClosesItselfAwaited, _LooksUp, awaited.Connection):
    """An awaited connection over TCP."""


class AwaitedTlsConnection(_ClosesItselfAwaited, _LooksUp, awaited.SSLConnection):
    """An awaited connection over TLS."""


class AwaitedSocketConnection(_ClosesItselfAwaited, awaited.UnixDomainSocketConnection):
    """An awaited connection over a Unix socket."""


class AwaitedSentinelConnection(
    _ClosesItselfAwaited, _LooksUp, awaited_sentinel.SentinelManagedConnection
):
    """An awaited connection to the master that Sentinels name."""


class AwaitedSentinelTlsConnection(
    _ClosesItselfAwaited, _LooksUp, awaited_sentinel.SentinelManagedSSLConnection
):
    """An awaited TLS connection to the master that Sentinels name."""


def look_up_by(
    names: LedgerNames, client: awaited.Redis, tls: CurrentContext | None = None
) -> awaited.Redis:
    """Let a client that has made no connection yet connect as `_LooksUp` does; return it."""
    pool = client.connection_pool
    is_tls = issubclass(pool.connection_class, awaited.SSLConnection)
    pool.connection_class = AwaitedTlsConnection if is_tls else AwaitedConnection
    pool.connection_kwargs.update(names=names, tls=tls)
    return client


def keep_look_ups_of(client: redis.Redis) -> redis.Redis:
    """Let a blocking client that has made no connection yet connect as `_Connects`; return it."""
    pool = client.connection_pool
    is_tls = issubclass(pool.connection_class, redis.SSLConnection)
    pool.connection_class = TlsConnection if is_tls else Connection
    return client
