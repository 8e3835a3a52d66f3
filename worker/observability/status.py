"""One look at a deployment: what lies in the ledger, the broker and the stream of outcomes.

Reads and changes nothing. What a look means is said by `worker.cli.diagnosis`.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import redis
from redis.exceptions import RedisError

from checkpoint_worker.tasks.addresses import RedisAddress, parse_redis
from checkpoint_worker.tasks.client import make_store
from checkpoint_worker.tasks.operations.wake import broker_address, in_ledger, make_producer
from checkpoint_worker.tasks.settings import PROVIDERS, Settings
from checkpoint_worker.tasks.storage.connections import CLUSTER, CLUSTER_DOWN, why
from checkpoint_worker.tasks.storage.executor import (
    Operation,
    ScriptCall,
    SyncExecutor,
    answered,
    connect,
)
from checkpoint_worker.tasks.storage.store import Overview, WorkerView

PAGE: Final = 1_000
READ_MAX: Final = 10_000
"""Outcomes read in one look at most; a busier deployment has its metrics."""
BROKER_TIMEOUT_S: Final = 3.0
MEMORY_NEAR: Final = 0.05
"""So near to `memory_share_max`, as a share of `maxmemory`, it is told."""
SILENT_BEATS: Final = 3
"""Heartbeats that a worker may miss before its silence is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCount:
    """How often one outcome came from one provider lately."""

    provider: str
    status: int
    type: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """One look at a deployment.

    Attributes:
        view: The ledger.
        queue: Messages in the broker's queue, ``None`` if it does not answer.
        outcomes: Of the last ``minutes``, the commonest first.
        complete: Whether those are all; a look reads at most `READ_MAX`.
        broker_why: Why the broker does not answer, if that is known.
        refuses: Why the ledger's Redis refuses what is written; empty: it does not.
    """

    view: Overview
    queue: int | None
    minutes: float
    outcomes: tuple[OutcomeCount, ...]
    complete: bool
    settings: Settings = field(repr=False)
    broker_why: str = ""
    refuses: str = ""

    @property
    def in_flight(self) -> int:
        """Intents whose exchange with the provider is being made, or may still be open."""
        return sum(each.holds for each in self.view.workers)

    @property
    def memory_share(self) -> float | None:
        """How much of its ``maxmemory`` the ledger's Redis uses; ``None`` without a limit."""
        return None if self.view.filled is None else self.view.filled / 1000

    @property
    def oldest_s(self) -> float:
        """For how long the oldest submission has waited, seconds."""
        oldest = self.view.oldest
        return (self.view.now_ms - oldest.queued_ms) / 1000 if oldest else 0.0

    def beat_age_s(self, worker: WorkerView) -> float:
        """How long ago a worker beat, seconds."""
        return max(0, self.view.now_ms - worker.beat_ms) / 1000

    def is_lost(self, worker: WorkerView) -> bool:
        """Whether it was silent for so long that a sweeper judges it lost."""
        return self.beat_age_s(worker) > self.settings.lost_after_s

    def is_silent(self, worker: WorkerView) -> bool:
        """Whether it misses heartbeats: sooner than it is lost, and soon after that forgotten."""
        age_s = self.beat_age_s(worker)
        return self.is_lost(worker) or age_s > SILENT_BEATS * self.settings.heartbeat_s


def memory_of(info: Mapping[str, Any]) -> tuple[int, int]:
    """Return what Redis counts when it refuses a write, and its limit or 0, both in bytes."""
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    return used, int(info.get("maxmemory", 0))


def refusal(info: Mapping[str, Any], *, clustered: bool = False) -> str:
    """Return why a Redis refuses what is written, as far as its INFO tells; else nothing.

    Args:
        info: What it tells.
        clustered: Whether its address is that of a cluster. One of a single server may lead to the
            right node, until the next failover.
    """
    if info.get("redis_mode") == "cluster" and not clustered:
        return why(RedisError("CROSSSLOT"))
    if info.get("role") == "slave":
        return why(RedisError("READONLY"))
    used, most = memory_of(info)
    if 0 < most <= used and info.get("maxmemory_policy") == "noeviction":
        return why(RedisError("OOM"))
    if int(info.get("min_slaves_good_slaves", 1)) == 0:  # Told where a number is asked for.
        return why(RedisError("NOREPLICAS"))
    return ""


def in_cluster_mode(client: redis.Redis) -> bool:
    """Whether a Redis is part of a cluster, also where INFO is refused."""
    try:
        told: Any = client.info("cluster")
    except RedisError:
        told = {}
    if told.get("cluster_enabled") == 1:
        return True
    try:
        client.eval("return 1", 2, "a", "b")  # Two keys of different slots.
    except RedisError as error:
        return why(error) in {CLUSTER, CLUSTER_DOWN}
    return False


class StatusReader:
    """Looks at a deployment again and again over the same connections.

    Args:
        settings: Of the deployment.
        minutes: How far back outcomes are counted.
    """

    def __init__(self, settings: Settings, minutes: float) -> None:
        self.settings, self.minutes = settings, minutes
        self._client = connect(settings.redis_url.get_secret_value(), settings.prefix)
        self._clustered = bool(parse_redis(settings.redis_url.get_secret_value()).cluster)
        self._door = SyncExecutor(self._client)
        self._store = make_store(settings)
        self._producer = make_producer(settings)
        broker = broker_address(settings)
        self._mistaken = isinstance(broker, RedisAddress) and not (
            broker.cluster or in_ledger(settings)
        )
        self._seen: deque[tuple[int, str, int, str]] = deque()
        self._last = ""
        self._complete = True
        self.broker_why = ""
        """Why the broker did not answer, if that is known."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._producer.close()

    def look(self) -> StatusReport:
        """Look once.

        Raises:
            LedgerError: Redis does not answer.
        """
        view = self._door.run(self._store.overview())
        # Whether its identity is told, without which nobody takes a submission.
        self._door.run(self._store.read(PROVIDERS[0], "checkpoint-status"))
        with answered():
            refuses = refusal(
                cast("Mapping[str, Any]", self._client.info()), clustered=self._clustered
            )
        self._door.run(self._read_outcomes(view.now_ms - round(self.minutes * 60_000)))
        counted = Counter((provider, status, type_) for _, provider, status, type_ in self._seen)
        return StatusReport(
            view=view,
            queue=self.queue_length(),
            broker_why=self.broker_why,
            refuses=refuses,
            minutes=self.minutes,
            outcomes=tuple(
                OutcomeCount(provider=provider, status=status, type=type_, count=count)
                for (provider, status, type_), count in counted.most_common()
            ),
            complete=self._complete,
            settings=self.settings,
        )

    def queue_length(self) -> int | None:
        """Return how many messages wait in the broker, ``None`` if it does not answer."""
        try:
            with self._producer.connection_for_read() as connection:
                connection.ensure_connection(
                    max_retries=1, interval_start=0.1, timeout=BROKER_TIMEOUT_S
                )
                try:
                    queue = self.settings.prefix
                    channel = connection.default_channel
                    if self._mistaken and in_cluster_mode(channel.client):
                        self.broker_why = CLUSTER  # It may answer, until the next failover.
                        return None
                    declared = channel.queue_declare(queue, passive=True)
                except connection.channel_errors:
                    return 0  # An empty queue does not exist in Redis.
                return int(declared.message_count)
        except Exception as error:  # noqa: BLE001  whatever the broker's library raises
            self.broker_why = why(error)
            return None

    def _read_outcomes(self, from_ms: int) -> Operation[None]:
        """Read what is new in the stream, newest first, and forget what is too old."""
        fresh: list[tuple[int, str, int, str]] = []
        start, newest, there = "+", "", True
        while there and len(fresh) < READ_MAX:
            args = (start, PAGE, "", 0)  # A look at a replica is told as one.
            looked, last, rows = yield ScriptCall("recent", (self._store.keys.outcomes,), args)
            there = int(looked) == PAGE
            for entry, text in rows:
                newest = newest or entry
                if _order(entry) <= max(_order(self._last), (from_ms, 0)):
                    there = False
                    break
                if (outcome := _outcome(text)) is not None:
                    fresh.append((_order(entry)[0], *outcome))
            start = f"({last}" if last else start
        if there:
            self._complete = False
            self._seen.clear()
        self._last = newest or self._last
        self._seen.extend(reversed(fresh))
        while self._seen and self._seen[0][0] < from_ms:
            self._seen.popleft()


def _order(entry: str) -> tuple[int, int]:
    at_ms, _, number = entry.partition("-")
    return int(at_ms or 0), int(number or 0)


def _outcome(text: str) -> tuple[str, int, str] | None:
    """Return provider, status and type of a record; ``None`` for what this version cannot read."""
    try:
        record = json.loads(text)
        status, body = record["status"], record["body"]
        if status is None or body is None:
            return str(record["provider"]), 201, "intent completed"
        kind = str(body.get("type", body.get("object", ""))).removeprefix("errors/")
        return str(record["provider"]), int(status), kind
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
