"""How Flower reaches its Redis: a subscription that has gone silent is made anew.

Flower does nothing but listen. After a switchover behind a name it would listen for ever to the old
master, which answers every look whether the connection lives. Workers tell of themselves every two
seconds; who hears none of them for longer looks the name up again.
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
"""Looked at once a second, so 3 s at most. A look costs an event only if one comes just then."""


class _Listens:
    """Subscribes anew after a silence."""

    _heard_s: float | None = None

    def drain_events(self, connection: Any, timeout: float | None = None) -> Any:  # noqa: ANN401  kombu's
        """Wait for an event as kombu does."""
        now_s = time.monotonic()
        if self._heard_s is None:
            self._heard_s = now_s
        try:
            found = super().drain_events(connection, timeout=timeout)  # type: ignore[misc]
        except TimeoutError:
            if time.monotonic() - self._heard_s > SILENT_S:
                self._heard_s = time.monotonic()
                self._subscribe_anew()
            raise
        self._heard_s = time.monotonic()
        return found

    def _subscribe_anew(self) -> None:
        channels: Any = self.cycle._channels  # type: ignore[attr-defined]  # noqa: SLF001
        for channel in channels:
            if channel.active_fanout_queues and channel.subclient.connection is not None:
                channel.subclient.connection.disconnect()


class ListeningTransport(_Listens, RedisTransport):  # type: ignore[misc]  # Untyped.
    """``redis://`` and ``rediss://``."""


class ListeningSentinelTransport(_Listens, SentinelTransport):  # type: ignore[misc]
    """``sentinel://``."""


class ListeningClusterTransport(_Listens, ClusterTransport):  # type: ignore[misc]
    """``redis+cluster://``, which Flower takes for ``redis://``."""


def install(*, clustered: bool) -> None:
    """Let kombu use them in this process; Flower knows a broker by the scheme of its address.

    Args:
        clustered: Whether the broker's address is that of a cluster.
    """
    kind = "ListeningClusterTransport" if clustered else "ListeningTransport"
    TRANSPORT_ALIASES["redis"] = f"checkpoint_worker.worker.runtime.monitor_transports:{kind}"
    TRANSPORT_ALIASES["rediss"] = f"checkpoint_worker.worker.runtime.monitor_transports:{kind}"
    TRANSPORT_ALIASES["sentinel"] = (
        "checkpoint_worker.worker.runtime.monitor_transports:ListeningSentinelTransport"
    )


__all__ = [
    "ListeningClusterTransport",
    "ListeningSentinelTransport",
    "ListeningTransport",
    "install",
]
