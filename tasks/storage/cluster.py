"""A Redis in cluster mode: which node has the one slot in which all keys of a deployment lie.

The prefix has a hash tag (``{checkpoint}``), so every key, the Celery queue among them, is on one
node, and one node is all a client needs. It is asked for before each connection, as Sentinels are
asked for the master. A node that has given the slot away answers ``MOVED``, which ends the
connection, and the next one asks anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import redis
import redis.asyncio as awaited
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry

from checkpoint_worker.tasks.frames import let_go
from checkpoint_worker.tasks.storage.connections import (
    AwaitedConnection,
    AwaitedTlsConnection,
    Connection,
    TlsConnection,
)

Place = tuple[str, int]

NODES_MAX: Final = 32
"""Nodes that are remembered beside those of the address."""
ASK: Final = ("CLUSTER", "SLOTS")
"""Known to every version and to hosted ones; CLUSTER SHARDS is not."""
UNTOLD: Final = ("", "?")
"""What a node says for its own address where it does not know it."""


def slot_of(prefix: str) -> int:
    """Return the slot of every key under a prefix with a hash tag."""
    return int(key_slot(prefix.encode()))


class Nodes:
    """Those who know where a slot is; each is asked in turn, silent ones last.

    Args:
        places: Nodes of the address.
        slot: Of the deployment's keys.
        options: Of redis-py's clients: login, TLS, timeouts.
    """

    def __init__(self, places: Sequence[Place], slot: int, options: dict[str, Any]) -> None:
        self.slot, self._seeds, self._options = slot, tuple(places), options
        self._order: tuple[Place, ...] = self._seeds
        self._silent: frozenset[Place] = frozenset()

    def find(self) -> Place:
        """Ask, blocking.

        Raises:
            ConnectionError: Nobody answered, or nobody knows.
        """
        why: Exception = redis.ConnectionError("no node of the cluster answers")
        for place in self._in_turn():
            try:
                with redis.Redis(**self._to(place), retry=Retry(NoBackoff(), 0)) as client:
                    return self._heard(place, client.execute_command(*ASK))
            except (RedisError, OSError) as error:
                why = _passed_on(error)
        try:
            raise why
        finally:  # Else it and this frame would keep each other.
            del why

    async def find_awaited(self) -> Place:
        """Ask, awaited.

        Raises:
            ConnectionError: Nobody answered, or nobody knows.
        """
        from redis.asyncio.retry import Retry as AsyncRetry  # noqa: PLC0415  only where awaited

        why: Exception = redis.ConnectionError("no node of the cluster answers")
        for place in self._in_turn():
            retry = AsyncRetry(NoBackoff(), 0)
            try:
                async with awaited.Redis(**self._to(place), retry=retry) as client:
                    return self._heard(place, await client.execute_command(*ASK))
            except (RedisError, OSError) as error:
                why = _passed_on(error)
        try:
            raise why
        finally:  # Else it and this frame would keep each other.
            del why

    def _to(self, place: Place) -> dict[str, Any]:
        return {**self._options, "host": place[0], "port": place[1], "decode_responses": True}

    def _in_turn(self) -> Iterator[Place]:
        """Yield whom to ask.

        Who is asked goes to the end, also one that answered: a node that was cut off from the
        others tells what it knew before. Who did not answer is asked after all others.
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
        # Nodes come and go; the address may name but one of them.
        others = [place for *_, all_ in nodes for place in all_ if place not in self._seeds]
        known = dict.fromkeys((*self._seeds, *others[:NODES_MAX]))
        kept = [place for place in self._order if place in known]
        self._order = tuple(dict.fromkeys((*kept, *known)))
        self._silent &= frozenset(known)
        return owner


def place_of(node: Sequence[Any], asked: Place) -> Place:
    """Return where a node is that another one, or it itself, has told of."""
    host = node[0]
    return asked[0] if host is None or host in UNTOLD else str(host), int(node[1])


def _passed_on(error: Exception) -> Exception:
    """Return an error as one of the connection, which it is to whoever wants to connect."""
    let_go(error)  # The library keeps it in a frame.
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return error
    if isinstance(error, NoPermissionError):
        return redis.ConnectionError("NOPERM (CLUSTER SLOTS)")
    known = ("cluster support disabled", "unknown command")
    kind = next((words for words in known if words in str(error)), type(error).__name__)
    return redis.ConnectionError(f"{kind} (CLUSTER SLOTS)")


class _Finds:
    """Lets a blocking connection be made to the node that has the slot."""

    def __init__(self, *, nodes: Nodes, **options: Any) -> None:  # noqa: ANN401  the library's
        super().__init__(**options)
        self._nodes = nodes

    def _connect(self) -> Any:  # noqa: ANN401
        self.host, self.port = self._nodes.find()
        return super()._connect()  # type: ignore[misc]


class _FindsAwaited:
    """Lets an awaited connection be made to the node that has the slot."""

    def __init__(self, *, nodes: Nodes, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._nodes = nodes

    async def _connect(self) -> None:
        self.host, self.port = await self._nodes.find_awaited()
        await super()._connect()  # type: ignore[misc]


class ClusterConnection(_Finds, Connection):
    """To the node that has the slot."""


class ClusterTlsConnection(_Finds, TlsConnection):
    """The same over TLS."""


class AwaitedClusterConnection(_FindsAwaited, AwaitedConnection):
    """To the node that has the slot."""


class AwaitedClusterTlsConnection(_FindsAwaited, AwaitedTlsConnection):
    """The same over TLS."""


__all__ = [
    "AwaitedClusterConnection",
    "AwaitedClusterTlsConnection",
    "ClusterConnection",
    "ClusterTlsConnection",
    "Nodes",
    "Place",
    "place_of",
    "slot_of",
]
