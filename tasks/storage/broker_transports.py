"""Kombu's Redis transports with the connections of `tasks.storage.connections`.

These connections close themselves when their Redis is not, or not any more, the right one.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis
from redis import ConnectionPool, Redis

from checkpoint_worker.tasks.storage.cluster import (
    ClusterConnection,
    ClusterTlsConnection,
    Nodes,
    slot_of,
)
from checkpoint_worker.tasks.storage.connections import (
    Connection,
    SentinelConnection,
    Sentinels,
    SentinelTlsConnection,
    TlsConnection,
)


def _consuming(kind: type) -> type:
    """Return a class of connections on which kombu sends BRPOP and reads its reply much later."""
    return type(kind.__name__, (kind,), {"answers_calls": False})


class Channel(redis.Channel):
    """A channel to a Redis."""

    connection_class: Any = _consuming(Connection)
    connection_class_ssl: Any = _consuming(TlsConnection)


class SentinelChannel(redis.SentinelChannel):
    """A channel to the Redis that any of the Sentinels names.

    The broker's address holds only the first Sentinel. Kombu would take the others from
    alternative addresses, and would switch to its own transport after the first lost connection.
    It would also ask them as redis-py does: see `Sentinels`.
    """

    connection_class: Any = _consuming(SentinelConnection)
    connection_class_ssl: Any = _consuming(SentinelTlsConnection)

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> ConnectionPool:  # noqa: FBT001, FBT002  kombu's
        options = self.connection.client.transport_options
        params: dict[str, Any] = self._connparams(asynchronous)  # type: ignore[no-untyped-call]
        others = {name: each for name, each in params.items() if name not in {"host", "port"}}
        asked = Sentinels(options["sentinels"], options["sentinel_kwargs"], **others)
        master: Redis = asked.master_for(options["master_name"], Redis)
        return master.connection_pool


class ClusterChannel(Channel):
    """A channel to the node of a cluster that has the keys of the prefix, the queue among them."""

    connection_class: Any = _consuming(ClusterConnection)
    connection_class_ssl: Any = _consuming(ClusterTlsConnection)

    def __init__(self, connection: Any, **options: Any) -> None:  # noqa: ANN401  kombu's
        # The name of this table contains no exchange, so it has no hash tag of its own.
        prefix = connection.client.transport_options["prefix"]
        self.keyprefix_binding_deadlines = f"_kombu.binding_deadlines.{prefix}"
        super().__init__(connection, **options)  # type: ignore[no-untyped-call]

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002  kombu's
        params: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        options = self.connection.client.transport_options
        slot = slot_of(options["prefix"])
        return params | {"nodes": Nodes(options["cluster"], slot, options["cluster_kwargs"])}


class RedisTransport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel


class ClusterTransport(redis.Transport):
    """``redis+cluster://`` and ``rediss+cluster://``."""

    Channel = ClusterChannel
