"""Connections to Redis that do not stay with one that is not the one to ask.

After a switchover behind a name the old master lives on as a replica and keeps its connections.
Libraries keep theirs as well: what a pool holds would be refused for ever. These end themselves
with such a refusal, so that the next command looks the name up anew.
"""

from __future__ import annotations

import re
from typing import Any, Final

import redis
from redis import asyncio as awaited
from redis import sentinel
from redis.asyncio import sentinel as awaited_sentinel
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
)

# Redis 6.2 wraps what a script's command was refused with: "ERR Error running script … -READONLY".
ELSEWHERE: Final = re.compile(
    r"(?:^|[\s-])(?:READONLY|LOADING|MASTERDOWN|UNBLOCKED|NOREPLICAS|MISCONF|CLUSTERDOWN)\b"
)
"""Refusals of a Redis that is not, or not yet, or not any more, the one to ask."""
_CLASSES: Final = (BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError)
"""The same, where the library has taken the word away."""


def is_elsewhere(error: BaseException) -> bool:
    """Whether an error says that another Redis, or this one by a new connection, is to be asked."""
    return isinstance(error, _CLASSES) or ELSEWHERE.search(str(error)) is not None


class _Leaves:
    """Ends a blocking connection with such a refusal."""

    def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  the library's
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            if is_elsewhere(error):
                self.disconnect()  # type: ignore[attr-defined]
            raise


class _LeavesAwaited:
    """Ends an awaited connection with such a refusal."""

    async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except redis.RedisError as error:
            if is_elsewhere(error):
                await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise


class Connection(_Leaves, redis.Connection):
    """Over TCP."""


class TlsConnection(_Leaves, redis.SSLConnection):
    """Over TLS."""


class SocketConnection(_Leaves, redis.UnixDomainSocketConnection):
    """Over a Unix socket."""


class SentinelConnection(_Leaves, sentinel.SentinelManagedConnection):
    """To the master that Sentinels name."""


class SentinelTlsConnection(_Leaves, sentinel.SentinelManagedSSLConnection):
    """The same over TLS."""


class AwaitedConnection(_LeavesAwaited, awaited.Connection):
    """Over TCP."""


class AwaitedTlsConnection(_LeavesAwaited, awaited.SSLConnection):
    """Over TLS."""


class AwaitedSocketConnection(_LeavesAwaited, awaited.UnixDomainSocketConnection):
    """Over a Unix socket."""


class AwaitedSentinelConnection(_LeavesAwaited, awaited_sentinel.SentinelManagedConnection):
    """To the master that Sentinels name."""


class AwaitedSentinelTlsConnection(_LeavesAwaited, awaited_sentinel.SentinelManagedSSLConnection):
    """The same over TLS."""


__all__ = [
    "AwaitedConnection",
    "AwaitedSentinelConnection",
    "AwaitedSentinelTlsConnection",
    "AwaitedSocketConnection",
    "AwaitedTlsConnection",
    "Connection",
    "SentinelConnection",
    "SentinelTlsConnection",
    "SocketConnection",
    "TlsConnection",
    "is_elsewhere",
]
