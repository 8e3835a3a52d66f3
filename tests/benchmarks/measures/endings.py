"""Measures the cost of a submission by its outcome.

Failures must not cost more than successes, because refusals and timeouts arrive in large numbers.
Ratios compare each outcome with a success in the same round. While submissions hang, the heartbeats
and our reads of outcomes are measured too, so compare them with the success after 5 s.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks.baselines import DELAY_MS, Product
from tests.benchmarks.environment import Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.benchmarks.measures.throughput import ROUND_S, work_off
from tests.support.processes import StuckError, rss_kb, until

JOBS_MAX: Final = 900
"""All of a crowd are in flight at once, as at a provider that hangs."""
HANGING_MS: Final = 100_000
SLOW_MS: Final = 5_000
FIGURES: Final = ("cpu_us", "redis_cpu_us", "redis_commands")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One way to end.

    Attributes:
        name: Name in reports.
        statuses: Statuses of the outcomes of one account's submissions.
        delay_ms: Time until the provider answers, ms.
        in_flight: Whether the second code comes while the first is with the provider.
        settings: Settings of the worker.
    """

    name: str
    statuses: tuple[int, ...]
    delay_ms: int = DELAY_MS
    in_flight: bool = False
    settings: tuple[tuple[str, object], ...] = ()


GOOD: Final = Ending(name="cleared", statuses=(201,))
LATE: Final = Ending(name="cleared after 5 s", statuses=(201,), delay_ms=SLOW_MS)
ENDINGS: Final = (
    GOOD,
    LATE,
    Ending(name="refused", statuses=(401,), settings=(("BENCH_REFUSES", 1),)),
    Ending(name="superseded in the queue, then cleared", statuses=(409, 201)),
    Ending(
        name="superseded in flight, then cleared",
        statuses=(409, 201),
        delay_ms=SLOW_MS,
        in_flight=True,
    ),
    Ending(
        name="timed out",
        statuses=(408,),
        delay_ms=HANGING_MS,
        settings=(("PROVIDER_TIMEOUT_S", 7),),
    ),
)


class Crowd(Product):
    """The product with a backlog that ends in one way."""

    def __init__(self, environment: Environment, ending: Ending) -> None:
        super().__init__(environment, delay_ms=ending.delay_ms, **dict(ending.settings))
        self._ending, self.grown_kb = ending, 0

    def submit(self, jobs: int) -> None:
        for _ in self._ending.statuses[: 1 if self._ending.in_flight else None]:
            super().submit(jobs)

    def release(self) -> None:
        super().release()
        if self._ending.in_flight:
            jobs = len(self._accounts)
            until(lambda: self._stand.facts()["open"] >= jobs, ROUND_S, "all in flight", 0.1)
            super().submit(jobs)

    def done(self) -> int:
        return super().done() // (len(self._ending.statuses) if self._ending.in_flight else 1)

    @contextlib.contextmanager
    def workers(self) -> Iterator[Sequence[int]]:
        with super().workers() as pids:
            before_kb = sum(map(rss_kb, pids))
            yield pids
            self.grown_kb = sum(map(rss_kb, pids)) - before_kb

    def check(self) -> None:
        """Make sure that the outcomes are those that were meant."""
        found = Counter(record["status"] for record in self._stand.everything())
        if set(found) != set(self._ending.statuses):
            msg = f"nothing was measured: {self._ending.name} ended with {dict(found)}"
            raise StuckError(msg)


def end(ending: Ending, environment: Environment, jobs: int) -> dict[str, Any]:
    """Let a crowd end in one way; return what one submission costs."""
    crowd, each = Crowd(environment, ending), len(ending.statuses)
    figures = work_off(crowd, environment, jobs)
    kept = {name: figures[name] / each for name in FIGURES}
    return kept | {"grown_kb": crowd.grown_kb / jobs / each}


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure every ending in turns."""
    rows: Rows = {}
    jobs = min(options.jobs, JOBS_MAX)
    with started_environment() as environment:
        for number in range(options.rounds):
            for ending in ENDINGS:
                told(f"round {number + 1}, {ending.name}")
                environment.raw.flushall()
                add(rows, ending.name, end(ending, environment, jobs))
    return rows


MEASURE: Final = Measure(
    name="endings", title="One submission, by how it ends", run=run, against=GOOD.name
)
