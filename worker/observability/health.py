"""Reports whether this worker is alive and ready: over HTTP, by a heartbeat file, to systemd.

*Alive* means that both loops of the process run. *Ready* means that the worker takes codes: the
broker is connected, messages are consumed, the ledger answers heartbeats, and no stop was
requested. An unreachable broker or Redis makes the worker unready but not dead, because a restart
would not help.

This module runs on the loop that runs the attempts. If that loop is blocked, no HTTP answer and no
heartbeat file is written, which correctly reports the fault.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery.worker import state as celery_state
from starlette.requests import Request
from starlette.responses import Response

from checkpoint_worker.tasks.execution.sweeper import Heartbeat
from checkpoint_worker.worker.observability.access import Access
from checkpoint_worker.worker.observability.ledger_gauges import LedgerGauges
from checkpoint_worker.worker.observability.liveness import (
    HUB_STALE_S,
    LIVENESS,
    LOOP_STALE_S,
    TICK_S,
)
from checkpoint_worker.worker.observability.logs import lines_lost
from checkpoint_worker.worker.observability.metrics import METRICS
from checkpoint_worker.worker.observability.pages import (
    OK,
    Checks,
    Pages,
    Reports,
    checks_page,
    failing,
    fine,
    metrics_page,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChecks:
    """Evaluates the state of the parts of a worker.

    Attributes:
        worker: Celery's worker.
        heart: The heartbeat in the ledger.
        access: The permission check of the ledger's user.
    """

    worker: Any
    heart: Heartbeat
    access: Access

    def live(self) -> Checks:
        """Return the checks whose failure a restart can mend."""
        loop_s, hub_s = LIVENESS.loop_age_s, LIVENESS.hub_age_s
        return {
            "loop": OK if loop_s < LOOP_STALE_S else f"blocked for {loop_s:.0f} s",
            "hub": OK if hub_s < HUB_STALE_S else f"Celery's thread blocked for {hub_s:.0f} s",
        }

    def ready(self) -> Checks:
        """Return the checks whose failure keeps codes away from this worker."""
        consumer = getattr(self.worker, "consumer", None)
        reached = getattr(consumer, "connection", None) is not None
        lost = getattr(consumer, "lost_by", "")
        why = lost and f"; {lost}"
        broker = OK if reached else "not reached"
        if getattr(consumer, "is_refused", False):
            broker = f"lost as soon as it is reached{why}"
        return {
            **self.live(),
            "broker": broker,
            "consuming": OK if LIVENESS.consuming else f"no messages are taken{why}",
            "ledger": self._ledger(),
            "redis": self.access.said,
            "draining": "was asked to stop" if draining() else OK,
        }

    def _ledger(self) -> str:
        answered_s = self.heart.answered_s
        why = f"; {self.heart.refused}" if self.heart.refused else ""
        if answered_s is None:
            return f"no heartbeat was answered yet{why}"
        age_s = time.monotonic() - answered_s
        if age_s < self.heart.attempts.settings.lost_after_s:
            return OK
        return f"no heartbeat answered for {age_s:.0f} s{why}"


def draining() -> bool:
    """Whether a warm or cold stop was requested."""
    return any(
        asked is not None and asked is not False
        for asked in (celery_state.should_stop, celery_state.should_terminate)
    )


@dataclass(slots=True, kw_only=True)
class Health:
    """Publishes the health of one worker while its pool runs.

    Attributes:
        ask_hub: Makes the hub's thread call a function; returns false before the hub is known.
        capacity: Returns the number of jobs that the pool runs at once.
        checkup: The checks to publish.
        view: Gauges that are refreshed before each scrape.
        reports: The heartbeat file and the service manager.
    """

    ask_hub: Callable[[Callable[[], None]], bool]
    capacity: Callable[[], int]
    checkup: HealthChecks
    view: LedgerGauges
    reports: Reports
    _pages: Pages = field(init=False)
    _hub_asked: bool = False

    def __post_init__(self) -> None:
        self._pages = Pages(
            {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}
        )

    @property
    def address(self) -> str | None:
        """The bound address, once the pages are served at one."""
        return self._pages.address

    async def listen(self, address: str) -> None:
        """Serve ``/livez``, ``/readyz`` and ``/metrics``.

        Raises:
            AddressError: The address is in use or does not belong to this machine.
        """
        await self._pages.listen(address)

    async def answer(self, connection: socket.socket) -> None:
        """Serve the same pages over a connection to the supervisor."""
        await self._pages.answer(connection)

    async def run(self) -> None:
        """Measure both loops and publish the health until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                asked_s = loop.time()
                await asyncio.sleep(TICK_S)
                LIVENESS.loop_turned(loop.time() - asked_s - TICK_S)
                self._ask_hub()
                self._publish()
        finally:
            await self._close()

    def _ask_hub(self) -> None:
        if not self._hub_asked:
            # Before the call: the hub's thread may answer at once.
            self._hub_asked = True
            if not self.ask_hub(self._hub_answers):
                self._hub_asked = False

    def _hub_answers(self) -> None:
        self._hub_asked = False
        LIVENESS.hub_turned()

    def _publish(self) -> None:
        if self.reports.is_due():
            self.reports.make(
                worker=self.checkup.heart.attempts.worker,
                live=fine(self.checkup.live()),
                why=failing(self.checkup.ready()),
                draining=draining(),
                address=self.address,
            )

    async def _close(self) -> None:
        await self.reports.close()
        await self._pages.leave()

    # HTTP handlers

    async def _livez(self, _request: Request) -> Response:
        return checks_page("live", self.checkup.live())

    async def _readyz(self, _request: Request) -> Response:
        return checks_page("ready", self.checkup.ready())

    async def _metrics(self, request: Request) -> Response:
        await self.view.refresh()
        attempts = self.checkup.heart.attempts
        METRICS.in_flight.set(len(attempts.running))
        METRICS.capacity.set(self.capacity())  # `--concurrency` overrides the setting.
        METRICS.loop_lag.set(LIVENESS.lag_s)
        METRICS.ready.set(fine(self.checkup.ready()))
        METRICS.draining.set(draining())
        METRICS.log_lines_lost.inc(lines_lost())
        return await metrics_page(request, METRICS.expose)
