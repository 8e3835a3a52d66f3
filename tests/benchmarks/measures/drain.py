"""Measures the time that a backlog takes from the moment a worker receives it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.benchmarks.baselines import PLAIN, Contender, Plain, Product
from tests.benchmarks.environment import started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.benchmarks.measures.throughput import ROUND_S, THREADS
from tests.support.processes import until

BACKLOG: Final = 10_000
BACKLOG_QUICK: Final = 500


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Let both work off one backlog each, once: it is long enough to even out the machine."""
    rows: Rows = {}
    backlog = BACKLOG_QUICK if options.quick else BACKLOG
    with started_environment() as environment:
        both: tuple[Contender, ...] = (Product(environment), Plain(environment, "threads", THREADS))
        for contender in both:
            told(f"{backlog} for {contender.name}")
            environment.raw.flushall()
            contender.prepare(backlog)
            contender.submit(backlog)
            contender.hold()
            with contender.workers():
                wanted = contender.done() + backlog
                began_s = time.monotonic()
                contender.release()
                until(lambda: contender.done() >= wanted, ROUND_S, "the backlog's end")  # noqa: B023
                took_s = time.monotonic() - began_s
            contender.check()
            add(rows, contender.name, {"asked": backlog, "drain_s": took_s})
    return rows


MEASURE: Final = Measure(name="drain", title="A long backlog", run=run, against=PLAIN)
