"""One module per measurement; `ALL` is their order."""

from __future__ import annotations

from typing import Final

from tests.benchmarks.measures import (
    arrivals,
    drain,
    endings,
    gateway,
    growth,
    idle,
    inflight,
    latency,
    startup,
    supersede,
    throughput,
)

ALL: Final = tuple(
    module.MEASURE
    for module in (
        throughput,
        arrivals,
        latency,
        supersede,
        inflight,
        drain,
        endings,
        gateway,
        growth,
        startup,
        idle,
    )
)

__all__ = ["ALL"]
