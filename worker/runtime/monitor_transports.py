"""Transports of Flower's process, which renew a subscription that has become silent.

Flower only receives. After a failover behind a host name it would stay subscribed at the old
master, which still answers connection checks. Workers publish an event every two seconds, so a
longer silence means a wrong or dead connection: the transport disconnects and resolves the name
again.
"""

from __future__ import annotations

import time
from typing import Any, Final

from kombu.transport import TRANSPORT_ALIASES

from checkpoint_worker.tasks.storage.broker_transports import (
    ClusterTransport,
    RedisTransport,
    SentinelTransport,
)

SILENT_S: Final = 2.5
"""Silence after which the transport reconnects; checked once a second, so after 3 s at most.
Reconnecting loses an event only if one is published at that moment."""


class _Resubscribing:
    """Renews the subscription after a silence."""

    _received_s: float | None = None

    def drain_events(self, connection: Any, timeout: float | None = None) -> Any:  # noqa: ANN401  kombu's
        """Wait for an event as kombu does; reconnect after a silence."""
        now_s = time.monotonic()
        if self._received_s is None:
            self._received_s = now_s
        try:
            found = super().drain_events(connection, timeout=timeout)  # type: ignore[misc]
        except TimeoutError:
            if time.monotonic() - self._received_s > SILENT_S:
                self._received_s = time.monotonic()
                self._resubscribe()
            raise
        self._received_s = time.monotonic()
        return found

    def _resubscribe(self) -> None:
        channels: Any = self.cycle._channels  # type: ignore[attr-defined]  # noqa: SLF001
        for channel in channels:
            if channel.active_fanout_queues and channel.subclient.connection is not None:
                channel.subclient.connection.disconnect()


class ListeningTransport(_Resubscribing, RedisTransport):  # type: ignore[misc]  # Untyped.
    """Transport for ``redis://`` and ``rediss://``."""


class ListeningSentinelTransport(_Resubscribing, SentinelTransport):  # type: ignore[misc]
    """Transport for ``sentinel://``."""


class ListeningClusterTransport(_Resubscribing, ClusterTransport):  # type: ignore[misc]
    """Transport for ``redis+cluster://``, which Flower is given as ``redis://``."""


def install(*, clustered: bool) -> None:
    """Register these transports with kombu, under the URL schemes that Flower knows.

    Args:
        clustered: Whether the broker's URL is that of a cluster.
    """
    kind = "ListeningClusterTransport" if clustered else "ListeningTransport"
    TRANSPORT_ALIASES["redis"] = f"checkpoint_worker.worker.runtime.monitor_transports:{kind}"
    TRANSPORT_ALIASES["rediss"] = f"checkpoint_worker.worker.runtime.monitor_transports:{kind}"
    TRANSPORT_ALIASES["sentinel"] = (
        "checkpoint_worker.worker.runtime.monitor_transports:ListeningSentinelTransport"
    )
