"""Kombu's Redis transports, with connections that leave a Redis that is not the one to ask."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from redis import Redis

from tasks.connections import (
    Connection,
    SentinelConnection,
    SentinelTlsConnection,
    TlsConnection,
)


class Channel(redis.Channel):
    """A channel to a Redis."""

    connection_class: Any = Connection
    connection_class_ssl: Any = TlsConnection


class SentinelChannel(redis.SentinelChannel):
    """A channel to the Redis that any of the Sentinels names.

    The broker's address names the first alone. Kombu would take the others from alternative
    addresses, and go on with a transport of its own after the first lost connection.
    """

    connection_class: Any = SentinelConnection
    connection_class_ssl: Any = SentinelTlsConnection

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002  kombu's
        pool: Any = super()._sentinel_managed_pool(asynchronous)  # type: ignore[no-untyped-call]
        finder = pool.sentinel_manager
        others = self.connection.client.transport_options["sentinels"][1:]
        finder.sentinels += [Redis(host, port, **finder.sentinel_kwargs) for host, port in others]
        return pool


class RedisTransport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel


__all__ = ["Channel", "RedisTransport", "SentinelChannel", "SentinelTransport"]
