"""Redis in cluster mode: finding the node that has the slot of all keys of a deployment.

The prefix has a hash tag (``{checkpoint}``), so every key, the Celery queue included, is on one
node, and a client needs a connection to that node alone. Each new connection first asks the
cluster for the node, as it would ask Sentinels for the master. A node that has given the slot away
answers ``MOVED``; this ends the connection, and the next connection asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import redis
import redis.asyncio as awaited
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry

from checkpoint_worker.tasks.storage.connections import (
    AwaitedConnection,
    AwaitedTlsConnection,
    Connection,
    TlsConnection,
    keep_look_ups_of,
    look_up_by,
)
from checkpoint_worker.tasks.storage.names import LedgerNames
from checkpoint_worker.tasks.storage.steps import Steps, run_awaited, run_blocking
from checkpoint_worker.tasks.tracebacks import let_go

Place = tuple[str, int]

NODES_MAX: Final = 32
"""Maximum number of known nodes besides those of the address."""
ASK: Final = ("CLUSTER", "SLOTS")
"""Command that finds the node. Every version and hosted service knows it, unlike CLUSTER SHARDS."""
UNTOLD: Final = ("", "?")
"""Values that a node returns as its own address where it does not know it."""


def slot_of(prefix: str) -> int:
    """Return the slot of every key under a prefix with a hash tag."""
    return int(key_slot(prefix.encode()))


class Nodes:
    """The known nodes of a cluster, which are asked in turn where a slot is, silent ones last.

    Args:
        places: Nodes of the address.
        slot: Slot of the deployment's keys.
        options: Options of redis-py's clients: login, TLS, timeouts.
    """

    def __init__(self, places: Sequence[Place], slot: int, options: dict[str, Any]) -> None:
        self.slot, self._seeds, self._options = slot, tuple(places), options
        self._order: tuple[Place, ...] = self._seeds
        self._silent: frozenset[Place] = frozenset()
        self._names = LedgerNames()

    def find(self) -> Place:
        """Return the node that has the slot; blocking.

        Raises:
            ConnectionError: No node answered, or none knows the slot's master.
        """
        return run_blocking(self._find(self._ask))

    async def find_awaited(self) -> Place:
        """Return the node that has the slot; awaited. It raises as `find` does."""
        return await run_awaited(self._find(self._ask_awaited))

    def _find(self, ask: Callable[[Place], object]) -> Steps[Place]:
        why: Exception = redis.ConnectionError("no node of the cluster answers")
        for place in self._next_places():
            try:
                return self._heard(place, (yield ask(place)))
            except (RedisError, OSError) as error:
                why = _connection_error(error)
        try:
            raise why
        finally:  # Else it and this frame would keep each other.
            del why

    def _ask(self, place: Place) -> object:
        asking = redis.Redis(**self._to(place), retry=Retry(NoBackoff(), 0))
        with keep_look_ups_of(asking) as client:
            return client.execute_command(*ASK)

    async def _ask_awaited(self, place: Place) -> object:
        asking = awaited.Redis(**self._to(place), retry=AsyncRetry(NoBackoff(), 0))
        async with look_up_by(self._names, asking) as client:
            return await client.execute_command(*ASK)

    def _to(self, place: Place) -> dict[str, Any]:
        return {**self._options, "host": place[0], "port": place[1], "decode_responses": True}

    def _next_places(self) -> Iterator[Place]:
        """Yield the nodes in the order in which they are asked.

        A node that was asked moves to the end, even if it answered: a node that was cut off from
        the others returns what it knew before. Nodes that did not answer come after all others.
        """
        for place in sorted(self._order, key=self._silent.__contains__):
            rest = [each for each in self._order if each != place]
            self._order = (*rest, place)
            self._silent |= {place}
            yield place

    def _heard(self, asked: Place, told: Any) -> Place:  # noqa: ANN401  any reply
        nodes = [(row[0], row[1], [place_of(node, asked) for node in row[2:]]) for row in told]
        owner = next((all_[0] for first, last, all_ in nodes if first <= self.slot <= last), None)
        if owner is None:
            msg = "CLUSTERDOWN this node knows of no master for the slot"
            raise redis.ConnectionError(msg)
        self._silent -= {asked}
        # The address may name only one node, and nodes are replaced; so remember the others.
        others = [place for *_, all_ in nodes for place in all_ if place not in self._seeds]
        known = dict.fromkeys((*self._seeds, *others[:NODES_MAX]))
        kept = [place for place in self._order if place in known]
        self._order = tuple(dict.fromkeys((*kept, *known)))
        self._silent &= frozenset(known)
        return owner


def place_of(node: Sequence[Any], asked: Place) -> Place:
    """Return the address of a node in a reply of the node ``asked``."""
    host = node[0]
    return asked[0] if host is None or host in UNTOLD else str(host), int(node[1])


def _connection_error(error: Exception) -> Exception:
    """Return an error as a connection error, because the search is a part of connecting."""
    let_go(error)  # The library keeps a reference to it in a frame.
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return error
    if isinstance(error, NoPermissionError):
        return redis.ConnectionError("NOPERM (CLUSTER SLOTS)")
    known = ("cluster support disabled", "unknown command")
    kind = next((words for words in known if words in str(error)), type(error).__name__)
    return redis.ConnectionError(f"{kind} (CLUSTER SLOTS)")


class _FindsNode:
    """Lets a blocking connection be made to the node that has the slot."""

    def __init__(self, *, nodes: Nodes, **options: Any) -> None:  # noqa: ANN401  the library's
        super().__init__(**options)
        self._nodes = nodes

    def _connect(self) -> Any:  # noqa: ANN401
        self.host, self.port = self._nodes.find()
        return super()._connect()  # type: ignore[misc]


class _FindsNodeAwaited:
    """Lets an awaited connection be made to the node that has the slot."""

    def __init__(self, *, nodes: Nodes, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._nodes = nodes

    async def _connect(self) -> None:
        self.host, self.port = await self._nodes.find_awaited()
        await super()._connect()  # type: ignore[misc]


class ClusterConnection(_FindsNode, Connection):
    """A blocking connection to the node that has the slot."""


class ClusterTlsConnection(_FindsNode, TlsConnection):
    """A blocking TLS connection to the node that has the slot."""


class AwaitedClusterConnection(_FindsNodeAwaited, AwaitedConnection):
    """An awaited connection to the node that has the slot."""


class AwaitedClusterTlsConnection(_FindsNodeAwaited, AwaitedTlsConnection):
    """An awaited TLS connection to the node that has the slot."""
