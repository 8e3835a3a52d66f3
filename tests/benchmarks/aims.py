"""Compares measured figures with the product's aims; deploy/docs/figures.md shows both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks.baselines import PRODUCT
from tests.benchmarks.measures.endings import GOOD, LATE
from tests.benchmarks.measures.inflight import ASKED
from tests.benchmarks.measures.supersede import IDLE
from tests.benchmarks.peers.contenders import PEERS

Found = dict[str, Any]
SPREAD: Final = 1.1
"""Ratio below which two costs count as equal."""


FASTEST_JOBS: Final = 3.7
FASTEST_CPU: Final = 0.29
"""Ratios of Dramatiq on gevent to plain Celery's threads in a backlog when these aims were set:
2,244 to 613 jobs/s, and 422 to 1,452 µs."""
WHOLE: Final = 1_000
"""Value from which a figure is printed without decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim.

    Attributes:
        what: Description.
        measure: Name of the measurement.
        read: Takes the figure from that measurement; ``None`` if its subject was not measured.
        bound: The figure to reach.
        at_least: Whether a larger figure is better.
        unit: Unit that follows the figure.
    """

    what: str
    measure: str
    read: Callable[[Found], float | None]
    bound: float
    at_least: bool = False
    unit: str = ""

    def line(self, found: Found) -> str | None:
        """Return the aim as a row of a table, if there is a figure for it."""
        value = self.read(found)
        if value is None:
            return None
        reached = value >= self.bound if self.at_least else value <= self.bound
        side = "at least" if self.at_least else "at most"
        told = f"{value:,.4g}" if value < WHOLE else f"{value:,.0f}"
        return (
            f"| {self.what} | {side} {self.bound:,g}{self.unit} | {told}{self.unit} "
            f"| {'yes' if reached else 'not yet'} |"
        )


def _ratio(figure: str) -> Callable[[Found], float]:
    return lambda found: float(found["ratios"][PRODUCT][figure])


def _middle(subject: str, figure: str) -> Callable[[Found], float]:
    return lambda found: float(found["medians"][subject][figure])


def _busy(figure: str) -> Callable[[Found], float]:
    return lambda found: max(
        float(mine[figure]) for name, mine in found["medians"].items() if name != IDLE
    )


def _tail(found: Found) -> float:
    mine = found["medians"][PRODUCT]
    return float(mine["p99_ms"] / mine["p50_ms"])


def _dearest(figure: str) -> Callable[[Found], float]:
    def read(found: Found) -> float:
        middle = found["medians"]
        bad = [mine[figure] for name, mine in middle.items() if name not in (GOOD.name, LATE.name)]
        return float(max(bad) / middle[LATE.name][figure])

    return read


def _beside_peers(
    figure: str, best: Callable[[list[float]], float]
) -> Callable[[Found], float | None]:
    """Return our figure as a multiple of the better peer's."""

    def read(found: Found) -> float | None:
        middle = found["medians"]
        peers = [middle[name][figure] for name in PEERS if name in middle]
        return float(middle[PRODUCT][figure] / best(peers)) if peers else None

    return read


def _growth(found: Found) -> float:
    return max(float(ratio["cpu_us"]) for ratio in found["ratios"].values())


TIMES: Final = " \u00d7"
AIMS: Final = (
    Aim(
        what="jobs/s, against plain Celery's threads",
        measure="throughput",
        read=_ratio("jobs_s"),
        bound=2.5,
        at_least=True,
        unit=TIMES,
    ),
    Aim(
        what="worker CPU a job, against plain Celery's threads",
        measure="throughput",
        read=_ratio("cpu_us"),
        bound=0.6,
        unit=TIMES,
    ),
    Aim(
        what="jobs/s, likewise, beyond the fastest queue there was when this was aimed for",
        measure="throughput",
        read=_ratio("jobs_s"),
        bound=FASTEST_JOBS,
        at_least=True,
        unit=TIMES,
    ),
    Aim(
        what="worker CPU a job, likewise, below the thriftiest queue's",
        measure="throughput",
        read=_ratio("cpu_us"),
        bound=FASTEST_CPU,
        unit=TIMES,
    ),
    Aim(
        what="Redis CPU a job, against plain Celery's threads",
        measure="throughput",
        read=_ratio("redis_cpu_us"),
        bound=1.0,
        unit=TIMES,
    ),
    Aim(
        what="Redis commands a job, those inside scripts included",
        measure="throughput",
        read=_middle(PRODUCT, "redis_commands"),
        bound=30,
    ),
    Aim(
        what="jobs/s of arriving jobs, against the faster of dramatiq and taskiq",
        measure="arrivals",
        read=_beside_peers("jobs_s", max),
        bound=1.0,
        at_least=True,
        unit=TIMES,
    ),
    Aim(
        what="worker CPU of an arriving job, against the thriftier of dramatiq and taskiq",
        measure="arrivals",
        read=_beside_peers("cpu_us", min),
        bound=1.0,
        unit=TIMES,
    ),
    Aim(
        what="worker CPU of the dearest failing end, against a good one after 5 s",
        measure="endings",
        read=_dearest("cpu_us"),
        bound=1.3,
        unit=TIMES,
    ),
    Aim(
        what="its memory, likewise",
        measure="endings",
        read=_dearest("grown_kb"),
        bound=1.3,
        unit=TIMES,
    ),
    Aim(
        what="submission to outcome, median, against plain Celery's threads",
        measure="latency",
        read=_ratio("p50_ms"),
        bound=1.3,
        unit=TIMES,
    ),
    Aim(
        what="its p99, against its median",
        measure="latency",
        read=_tail,
        bound=3.0,
        unit=TIMES,
    ),
    Aim(
        what="older one's outcome, median, idle",
        measure="supersede",
        read=_middle(IDLE, "outcome_p50_ms"),
        bound=3.0,
        unit=" ms",
    ),
    Aim(
        what="older one's outcome, p99, idle",
        measure="supersede",
        read=_middle(IDLE, "outcome_p99_ms"),
        bound=10.0,
        unit=" ms",
    ),
    Aim(
        what="older one's outcome, p99, many in flight",
        measure="supersede",
        read=_busy("outcome_p99_ms"),
        bound=5.0,
        unit=" ms",
    ),
    Aim(
        what="in flight in one process",
        measure="inflight",
        read=_middle(PRODUCT, "peak"),
        bound=ASKED,
        at_least=True,
    ),
    Aim(
        what="memory of one of them",
        measure="inflight",
        read=_middle(PRODUCT, "rss_kb"),
        bound=25.0,
        unit=" KB",
    ),
    Aim(
        what="loop lag meanwhile, p99",
        measure="inflight",
        read=_middle(PRODUCT, "lag_p99_ms"),
        bound=50.0,
        unit=" ms",
    ),
    Aim(
        what="CPU a job with the most intents stored, against the fewest",
        measure="growth",
        read=_growth,
        bound=SPREAD,
        unit=TIMES,
    ),
)


def table(found: Found) -> str:
    """Return the aims that these measurements say something of, as a table."""
    rows = ["| aim | aimed for | measured | reached |", "|---|--:|--:|---|"]
    lines = [aim.line(found[aim.measure]) for aim in AIMS if aim.measure in found]
    rows += [line for line in lines if line is not None]
    return "\n".join(rows)
