"""Jobs that arrive while the worker runs: it competes with its client for the cores."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tests.benchmarks.baselines import PLAIN, PRODUCT, Contender, Plain, Product
from tests.benchmarks.environment import Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.benchmarks.measures.throughput import ROUND_S, THREADS
from tests.benchmarks.peers.contenders import peers
from tests.support.processes import START_S, cpu_s, running, until

EVENTS: Final = ("-m", "celery", "-A", "worker", "events", "--dump")


class Monitored(Product):
    """The product while a monitor receives the events of its tasks, as Flower does."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.name = f"{PRODUCT}, monitor listening"

    @contextlib.contextmanager
    def workers(self) -> Iterator[Sequence[int]]:
        stand = self._stand
        with running(stand.log("monitor"), *EVENTS, env=stand.env):
            until(
                lambda: stand.raw.pubsub_numpat() or stand.raw.pubsub_channels(),
                START_S,
                "the monitor",
            )
            with super().workers() as pids:
                yield pids


def arrive(contender: Contender, environment: Environment, jobs: int) -> dict[str, float]:
    """Submit all jobs to a worker that runs; return the figures.

    The clock runs from the first submission to the last outcome.
    """
    contender.prepare(jobs)
    with contender.workers() as pids:
        load, wanted = environment.load(), contender.done() + jobs
        used_s, began_s = cpu_s(pids), time.monotonic()
        contender.submit(jobs)
        until(lambda: contender.done() >= wanted, ROUND_S, f"the outcomes of {contender.name}")
        took_s, used_s = time.monotonic() - began_s, cpu_s(pids) - used_s
        load = environment.load().since(load)
    contender.check()
    return {
        "jobs_s": jobs / took_s,
        "cpu_us": used_s / jobs * 1e6,
        "redis_cpu_us": load.cpu_s / jobs * 1e6,
    }


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure all contenders in turns."""
    rows: Rows = {}
    with started_environment() as environment:
        for number in range(options.rounds):
            few = [Product(environment), Plain(environment, "threads", THREADS)]
            many = [] if options.quick else [Monitored(environment), *peers(environment, told)]
            for contender in (*few, *many):
                told(f"round {number + 1}, {contender.name}")
                environment.raw.flushall()
                add(rows, contender.name, arrive(contender, environment, options.jobs))
    return rows


MEASURE: Final = Measure(
    name="arrivals",
    title="Jobs that arrive while the worker runs, provider answers after 20 ms",
    run=run,
    against=PLAIN,
)
