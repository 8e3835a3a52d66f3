"""One health address for all children: readiness of each, and the metrics of all.

Every sample keeps its value and gets the label ``process``. Sums are left to Prometheus: the sum of
counters would fall when a child is replaced, and ``rate`` would count everything again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from checkpoint_worker.worker.observability.pages import (
    OK,
    Checks,
    Pages,
    Reports,
    checks_page,
    failing,
    metrics_page,
)
from checkpoint_worker.worker.runtime.processes.channel import Channel
from checkpoint_worker.worker.runtime.processes.rules import Slot, Supervision

LABEL: Final = "process"
OWN: Final = "supervisor"
"""The label's value for the supervisor's own process."""
LIVE_CHECKS: Final = ("loop", "hub")
"""The checks of a child whose failure its replacement can mend; see `HealthChecks.live`."""
DRAINING: Final = "draining"
STALE_S: Final = 5.0
"""Age of the last answer at which a child counts as not ready."""
WORKER: Final = "supervisor"
"""The name in the heartbeat file, which holds a worker's name otherwise."""


class Report:
    """Publishes the state of a command: health pages, heartbeat file, service manager.

    The command is *alive* while the supervisor answers: it replaces a child that is not. It is
    *ready* when every child is.

    Args:
        supervision: The children's state.
        heartbeat_file: Path of the heartbeat file, or ``None`` for none.
    """

    def __init__(self, supervision: Supervision, heartbeat_file: str | None) -> None:
        self._supervision = supervision
        self._reports = Reports(heartbeat_file=heartbeat_file)
        self._heard: dict[int, tuple[float, Checks]] = {}
        self._now_s = 0.0
        self.channels: dict[int, Channel] = {}
        """The channels of the children that run, by number."""
        self.ends: dict[int, int] = dict.fromkeys((slot.number for slot in supervision.slots), 0)
        """How often each child has ended without being asked to."""
        self.pages = Pages({"/livez": self._livez, "/readyz": self._readyz,
                            "/metrics": self._metrics})  # fmt: skip

    def heard(self, slot: Slot, checks: Checks, now_s: float) -> None:
        """Keep the checks of a child, and let the rules know what they say."""
        self._heard[slot.number] = now_s, checks
        live = all(checks.get(name) == OK for name in LIVE_CHECKS)
        draining = checks.get(DRAINING, OK) != OK
        self._supervision.answered(slot, now_s, live=live, draining=draining)

    def forget(self, slot: Slot) -> None:
        """Drop the checks of a process that has ended."""
        self._heard.pop(slot.number, None)

    def publish(self, now_s: float) -> None:
        """Write the heartbeat file and notify the service manager, about once a second.

        Nothing is published before the first answer of a child: a command whose settings are wrong
        has not started.
        """
        self._now_s = now_s
        if self._supervision.proven and self._reports.is_due():
            self._reports.make(
                worker=WORKER,
                live=True,
                why=failing(self.ready()),
                draining=self._supervision.stopping,
                address=self.pages.address,
            )

    async def close(self) -> None:
        """Report the end and close the pages."""
        await self._reports.close()
        await self.pages.leave()

    def ready(self) -> Checks:
        """Return a check for each child, and whether the command was asked to stop."""
        checks = {f"{LABEL} {each.number}": self._state(each) for each in self._supervision.slots}
        stopping = self._supervision.stopping
        return {**checks, DRAINING: "was asked to stop" if stopping else OK}

    def _state(self, slot: Slot) -> str:
        """Return ``ok``, or why a child takes no codes."""
        if slot.pid is None:
            left_s = max(0.0, slot.due_s - self._now_s)
            ends = self.ends[slot.number]
            again = f"has ended, starts again in {left_s:.0f} s; ends so far: {ends}"
            return again if ends else "not started"
        if slot.number not in self._heard:
            return "starting"
        heard_s, checks = self._heard[slot.number]
        if self._now_s - heard_s >= STALE_S:
            return f"no answer for {self._now_s - heard_s:.0f} s"
        return ", ".join(failing(checks)) or OK

    # HTTP handlers

    async def _livez(self, _request: Request) -> Response:
        return checks_page("live", {OWN: OK})

    async def _readyz(self, _request: Request) -> Response:
        return checks_page("ready", self.ready())

    async def _metrics(self, request: Request) -> Response:
        numbers = list(self.ends)
        found = await asyncio.gather(*map(self._scrape, numbers))
        texts = dict(zip(numbers, found, strict=True))
        return await metrics_page(request, lambda accept: self._expose(texts, accept))

    async def _scrape(self, number: int) -> str | None:
        channel = self.channels.get(number)
        return None if channel is None else await channel.metrics()

    def _expose(self, texts: Mapping[int, str | None], accept: str) -> tuple[bytes, str]:
        registry = CollectorRegistry()
        registry.register(_Ready(merged(self._families(texts))))
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def _families(self, texts: Mapping[int, str | None]) -> Iterable[tuple[str, Metric]]:
        """Yield the metrics of each process; a silent child is not ready, whatever it said last."""
        for number, text in texts.items():
            if text is not None:
                for family in text_string_to_metric_families(text):
                    yield str(number), family
            else:
                for name, value in (("ready", False), ("draining", self._supervision.stopping)):
                    yield str(number), GaugeMetricFamily(f"checkpoint_{name}", name, value)
        for family in ProcessCollector(registry=None).collect():
            yield OWN, family


class _Ready(Collector):
    """Hands families to an encoder, which takes a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        return self._families

    def describe(self) -> Iterable[Metric]:
        """Return nothing: no other collector of this registry could have the same names."""
        return ()


def merged(families: Iterable[tuple[str, Metric]]) -> list[Metric]:
    """Return each metric once, with the samples of all processes under the label ``process``."""
    found: dict[str, Metric] = {}
    for process, family in families:
        whole = found.setdefault(
            family.name, Metric(family.name, family.documentation, family.type)
        )
        for sample in family.samples:
            whole.add_sample(sample.name, {**sample.labels, LABEL: process}, sample.value)
    return list(found.values())
