"""Reads the status of a deployment: ledger, broker queue and stream of outcomes.

Reading changes nothing. `worker.cli.diagnosis` interprets the report.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from redis.exceptions import RedisError

from checkpoint_worker.tasks.catalogue import kind_of
from checkpoint_worker.tasks.client import make_store
from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.tasks.settings import PROVIDERS, Settings
from checkpoint_worker.tasks.storage.address_parser import parse_redis
from checkpoint_worker.tasks.storage.connections import why
from checkpoint_worker.tasks.storage.executor import (
    Operation,
    SyncExecutor,
    answered,
    connect,
)
from checkpoint_worker.tasks.storage.views import StatusSnapshot, WorkerView
from checkpoint_worker.worker.observability.broker_queue import queue_length

PAGE: Final = 1_000
READ_MAX: Final = 10_000
"""Largest number of outcomes that one report reads; larger deployments use the metrics."""
MEMORY_NEAR: Final = 0.05
"""Distance from `memory_share_max`, as a share of `maxmemory`, at which a warning is given."""
SILENT_BEATS: Final = 3
"""Missed heartbeats after which a worker is reported as silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCount:
    """Number of equal outcomes of one provider in the reported period."""

    provider: str
    status: int
    type: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """The status of a deployment at one moment.

    Attributes:
        view: The ledger.
        queue: Messages in the broker's queue, ``None`` if it does not answer.
        minutes: Length of the period of ``outcomes``.
        outcomes: Outcomes of the last ``minutes``, the most frequent first.
        complete: Whether ``outcomes`` covers the period; a report reads at most `READ_MAX`.
        settings: The settings of the deployment.
        broker_why: Why the broker does not answer, if that is known.
        refuses: Why the ledger's Redis refuses writes; empty if it accepts them.
    """

    view: StatusSnapshot
    queue: int | None
    minutes: float
    outcomes: tuple[OutcomeCount, ...]
    complete: bool
    settings: Settings = field(repr=False)
    broker_why: str = ""
    refuses: str = ""

    def beat_age_s(self, worker: WorkerView) -> float:
        """Return the seconds since a worker's last heartbeat."""
        return max(0, self.view.now_ms - worker.beat_ms) / 1000

    def is_lost(self, worker: WorkerView) -> bool:
        """Return whether a worker was silent for so long that a sweeper judges it lost."""
        return self.beat_age_s(worker) > self.settings.lost_after_s

    def is_silent(self, worker: WorkerView) -> bool:
        """Return whether a worker has missed several heartbeats, or is lost already."""
        age_s = self.beat_age_s(worker)
        return self.is_lost(worker) or age_s > SILENT_BEATS * self.settings.heartbeat_s


def memory_of(info: Mapping[str, Any]) -> tuple[int, int]:
    """Return the memory that Redis compares with its limit, and the limit or 0, in bytes."""
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    return used, int(info.get("maxmemory", 0))


def refusal(info: Mapping[str, Any], *, clustered: bool = False) -> str:
    """Return why a Redis refuses writes, as far as INFO shows it, or an empty text.

    Args:
        info: The result of INFO.
        clustered: Whether its URL is that of a cluster. The URL of a single server may lead to the
            right node until the next failover.
    """
    if info.get("redis_mode") == "cluster" and not clustered:
        return why(RedisError("CROSSSLOT"))
    if info.get("role") == "slave":
        return why(RedisError("READONLY"))
    used, most = memory_of(info)
    if 0 < most <= used and info.get("maxmemory_policy") == "noeviction":
        return why(RedisError("OOM"))
    # The field exists where min-replicas is set.
    if int(info.get("min_slaves_good_slaves", 1)) == 0:
        return why(RedisError("NOREPLICAS"))
    return ""


class StatusReader:
    """Reads the status of a deployment repeatedly over the same connections.

    Args:
        settings: The settings of the deployment.
        minutes: The period for which outcomes are counted.
    """

    def __init__(self, settings: Settings, minutes: float) -> None:
        self.settings, self.minutes = settings, minutes
        self._client = connect(settings.redis_url.get_secret_value(), settings.prefix)
        self._clustered = bool(parse_redis(settings.redis_url.get_secret_value()).cluster)
        self._executor = SyncExecutor(self._client)
        self._store = make_store(settings)
        self._producer = make_producer(settings)
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
        """Return a new report.

        Raises:
            LedgerError: Redis does not answer.
        """
        view = self._executor.run(self._store.status_snapshot())
        # This read fails if the ledger has no identity, without which no submission is accepted.
        self._executor.run(self._store.read(PROVIDERS[0], "checkpoint-status"))
        with answered():
            refuses = refusal(
                cast("Mapping[str, Any]", self._client.info()), clustered=self._clustered
            )
        self._executor.run(self._read_outcomes(view.now_ms - round(self.minutes * 60_000)))
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
        """Return the number of messages in the broker's queue, ``None`` if it does not answer."""
        try:
            return queue_length(self._producer, self.settings)
        except Exception as error:  # noqa: BLE001  the broker's library may raise any exception
            self.broker_why = why(error)
            return None

    def _read_outcomes(self, from_ms: int) -> Operation[None]:
        """Read the new entries of the stream, newest first, and discard those that are too old."""
        fresh: list[tuple[int, str, int, str]] = []
        start, newest, there = "+", "", True
        while there and len(fresh) < READ_MAX:
            # The report names a replica as such.
            looked, last, rows = yield from self._store.entries(start, PAGE, needs_master=False)
            there = looked == PAGE
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
    """Return provider, status and type of a record, ``None`` if this version cannot read it."""
    try:
        record = json.loads(text)
        status, body = record["status"], record["body"]
        if status is None or body is None:
            return str(record["provider"]), 201, "intent completed"
        return str(record["provider"]), int(status), kind_of(body)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None
