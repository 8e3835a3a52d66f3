"""What the ledger shows a worker's metrics: outcomes as they are written, and what waits.

Reading never harms: it is bounded in size and time, and a Redis that is away leaves gauges at NaN.
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
"""One reader for all of them: without acknowledgements nothing is pending for it."""
READ_EVERY_S: Final = 1.0
READ_MOST: Final = 500
CACHE_S: Final = 2.0
TIMEOUT_S: Final = 1.0
"""A scrape waits no longer for Redis, and says without it what it can."""

log = structlog.get_logger("checkpoint.metrics")


class OutcomeReader:
    """Counts the outcomes that fall to this worker among all that are written.

    The workers share a consumer group without acknowledgements: each record is handed to one of
    them. What is written while no worker runs is counted by the next one.
    """

    def __init__(self, attempts: AttemptRunner, metrics: Metrics) -> None:
        self._client = attempts.door.client
        self._stream, self._metrics = attempts.store.keys.outcomes, metrics
        self._start = "$"
        self._told = False

    async def run(self) -> None:
        """Count until cancelled."""
        while True:
            full = False
            try:
                full = await self.once()
                self._told = False
            except Exception as error:  # noqa: BLE001  a count must never end a worker
                if not self._told:  # Once: heartbeats tell of a Redis that is away.
                    log.warning("outcomes.unread", error=type(error).__name__)
                self._told = True
            if not full:
                await asyncio.sleep(READ_EVERY_S)

    async def once(self) -> bool:
        """Count what is there; true if there may be more."""
        try:
            found: Any = await self._client.xreadgroup(
                GROUP, READER, {self._stream: ">"}, count=READ_MOST, noack=True
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return await self._make_group()
        self._start = "0"  # Should the stream vanish: of a new one nothing is counted yet.
        rows = found[0][1] if found else []
        for _, fields in rows:
            self._count(fields)
        return len(rows) == READ_MOST

    async def _make_group(self) -> bool:
        try:
            await self._client.xgroup_create(self._stream, GROUP, self._start, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # Another worker was faster.
                raise
        return True

    def _count(self, fields: dict[str, str]) -> None:
        try:
            record = json.loads(fields["record"])
            if record["state"] == "final":
                self._metrics.count_outcome(record)
        except Exception as error:  # noqa: BLE001  whatever somebody appended there
            log.warning("outcomes.unreadable", error=type(error).__name__)


class LedgerGauges:
    """Sets the gauges of what lies in the ledger: what `checkpoint status` shows, by its script.

    Args:
        attempts: Whose door is used.
        metrics: Whose gauges.
        own_broker: The broker is another server, so the dead letters are not in the ledger.
    """

    def __init__(self, attempts: AttemptRunner, metrics: Metrics, *, own_broker: bool) -> None:
        self._door, self._store = attempts.door, attempts.store
        self._metrics, self._own_broker = metrics, own_broker
        self._lock = asyncio.Lock()
        self._read_s = -math.inf
        self._told = False

    async def refresh(self) -> None:
        """Bring the gauges up to date, unless they are; never raises, never waits for long."""
        async with self._lock:
            if time.monotonic() - self._read_s < CACHE_S:
                return
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._read()
                self._metrics.ledger_up.set(1)
                self._told = False
            except Exception as error:  # noqa: BLE001  a scrape tells what it can
                self._forget()
                if not self._told:
                    log.warning("ledger.unread", error=type(error).__name__)
                self._told = True
            self._read_s = time.monotonic()

    async def _read(self) -> None:
        view, metrics = await self._door.run(self._store.overview(most=0)), self._metrics
        oldest = view.oldest
        metrics.waiting.set(view.waiting)
        metrics.overdue.set(view.overdue)
        metrics.oldest_waiting.set((view.now_ms - oldest.queued_ms) / 1000 if oldest else 0)
        metrics.dead_letters_kept.set(math.nan if self._own_broker else view.dead_letters)
        metrics.memory_share.set(math.nan if view.filled is None else view.filled / 1000)

    def _forget(self) -> None:
        """Rather nothing than old figures: an alert must not rest on them."""
        metrics = self._metrics
        metrics.ledger_up.set(0)
        for gauge in (
            metrics.waiting, metrics.overdue, metrics.oldest_waiting, metrics.dead_letters_kept,
            metrics.memory_share,
        ):  # fmt: skip
            gauge.set(math.nan)
