"""Metrics that are read from the ledger: counts of outcomes, and gauges of the backlog.

Reads are bounded in size and time. If Redis does not answer, the gauges are NaN.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any, Final

import structlog
from redis.exceptions import ResponseError

from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.worker.observability.metrics import Metrics

GROUP: Final = "checkpoint.metrics"
READER: Final = "workers"
"""One consumer name for all workers: without acknowledgements it has no pending entries."""
READ_EVERY_S: Final = 1.0
READ_MOST: Final = 500
CACHE_S: Final = 2.0
TIMEOUT_S: Final = 1.0
"""Longest wait of a scrape for Redis; after it the scrape returns without these gauges."""

log = structlog.get_logger("checkpoint.metrics")


class OutcomeReader:
    """Counts the outcomes that the consumer group delivers to this worker.

    The workers share a consumer group without acknowledgements, so each record is delivered to one
    of them. Outcomes written while no worker runs are counted by the next worker.
    """

    def __init__(self, attempts: AttemptRunner, metrics: Metrics) -> None:
        self._client = attempts.executor.client
        self._stream, self._metrics = attempts.store.keys.outcomes, metrics
        self._start = "$"
        self._logged = False

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            full = False
            try:
                full = await self.once()
                self._logged = False
            except Exception as error:  # noqa: BLE001  a metric must never end a worker
                if not self._logged:  # Log it once: heartbeats report an unreachable Redis.
                    log.warning("outcomes.unread", error=type(error).__name__)
                self._logged = True
            if not full:
                await asyncio.sleep(READ_EVERY_S)

    async def once(self) -> bool:
        """Count one batch of records; return whether there may be more."""
        try:
            found: Any = await self._client.xreadgroup(
                GROUP, READER, {self._stream: ">"}, count=READ_MOST, noack=True
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return await self._make_group()
        self._start = "0"  # If the stream is deleted, the new one is counted from its start.
        rows = found[0][1] if found else []
        for _, fields in rows:
            self._count(fields)
        return len(rows) == READ_MOST

    async def _make_group(self) -> bool:
        try:
            await self._client.xgroup_create(self._stream, GROUP, self._start, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # Another worker has created it.
                raise
        return True

    def _count(self, fields: dict[str, str]) -> None:
        try:
            record = json.loads(fields["record"])
            if record["state"] == "final":
                self._metrics.count_outcome(record)
        except Exception as error:  # noqa: BLE001  the stream may hold any entry
            log.warning("outcomes.unreadable", error=type(error).__name__)


class LedgerGauges:
    """Sets the gauges of the backlog, with the script that `checkpoint status` uses.

    Args:
        attempts: Gives access to the ledger.
        metrics: Holds the gauges.
        own_broker: Whether the broker is another server, so that dead letters are not in the
            ledger.
    """

    def __init__(self, attempts: AttemptRunner, metrics: Metrics, *, own_broker: bool) -> None:
        self._executor, self._store = attempts.executor, attempts.store
        self._metrics, self._own_broker = metrics, own_broker
        self._lock = asyncio.Lock()
        self._read_s = -math.inf
        self._logged = False

    async def refresh(self) -> None:
        """Update the gauges unless they are recent, within `TIMEOUT_S`; never raise."""
        async with self._lock:
            if time.monotonic() - self._read_s < CACHE_S:
                return
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._read()
                self._metrics.ledger_up.set(1)
                self._logged = False
            except Exception as error:  # noqa: BLE001  a scrape returns the other metrics in any case
                self._reset()
                if not self._logged:
                    log.warning("ledger.unread", error=type(error).__name__)
                self._logged = True
            self._read_s = time.monotonic()

    async def _read(self) -> None:
        view, metrics = await self._executor.run(self._store.status_snapshot(most=0)), self._metrics
        metrics.waiting.set(view.waiting)
        metrics.overdue.set(view.overdue)
        metrics.oldest_waiting.set(view.oldest_s)
        metrics.dead_letters_kept.set(math.nan if self._own_broker else view.dead_letters)
        share = view.memory_share
        metrics.memory_share.set(math.nan if share is None else share)

    def _reset(self) -> None:
        """Set the gauges to NaN, so that no alert is based on old figures."""
        metrics = self._metrics
        metrics.ledger_up.set(0)
        for gauge in (
            metrics.waiting, metrics.overdue, metrics.oldest_waiting, metrics.dead_letters_kept,
            metrics.memory_share,
        ):  # fmt: skip
            gauge.set(math.nan)
