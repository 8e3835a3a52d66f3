"""Closes the connections of a client whose event loop was closed before them.

After ``asyncio.run`` nobody can await, and a transport of a closed loop cannot call back: without
this its socket stays open until it is collected, and Python reports each one with a
`ResourceWarning`. It uses private attributes of asyncio and redis-py, which have no public way to
do this, and passes over those that are not there. uvloop closes its sockets itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis.asyncio

    from checkpoint_worker.tasks.storage.pipelining import PipelinedConnection


def close_left_open(client: redis.asyncio.Redis, pipe: PipelinedConnection) -> None:
    """Close the connections of a client and of a pipelined connection, whose loop is closed."""
    # One by one: the stream of a transport reports it too, if it is collected while that is open.
    for transport in itertools.chain(_of_pools(client), _of_pipe(pipe)):
        _close(transport)


def _of_pools(client: redis.asyncio.Redis) -> Iterator[Any]:
    """Yield the transports of a client, and let redis-py forget them."""
    finder = getattr(client.connection_pool, "sentinel_manager", None)
    clients = [client, *(finder.sentinels if finder is not None else ())]
    for pool in (each.connection_pool for each in clients):
        for name in ("_available_connections", "_in_use_connections"):
            for connection in list(getattr(pool, name, ())):
                writer = getattr(connection, "_writer", None)
                if writer is not None:
                    connection._writer = connection._reader = None  # noqa: SLF001  see the module
                    yield writer.transport


def _of_pipe(pipe: PipelinedConnection) -> Iterator[Any]:
    link = pipe._link  # noqa: SLF001  see the module
    if link is not None and link._transport is not None:  # noqa: SLF001
        yield link._transport  # noqa: SLF001
    pipe.close()


def _close(transport: Any) -> None:  # noqa: ANN401  asyncio's or another loop's
    """Close the socket of a transport; callbacks that would need the loop are left out."""
    # Below TLS there is the transport with the socket.
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
    with suppress(RuntimeError):  # The loop is closed; the transport counts as closing now.
        transport.abort()
    if getattr(below, "_sock", None) is not None:
        with suppress(RuntimeError):  # As above, from the protocol; the socket is closed after it.
            below._call_connection_lost(None)  # noqa: SLF001  see the module
