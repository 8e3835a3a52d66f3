"""Measures the time from the start of a worker to the first outcome of waiting submissions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.benchmarks.baselines import PLAIN, PRODUCT, plain_worker
from tests.benchmarks.environment import started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.benchmarks.measures.throughput import THREADS
from tests.support.processes import START_S, until


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Start both in turns."""
    rows: Rows = {}
    with started_environment() as environment:
        for number in range(options.rounds):
            told(f"round {number + 1}")
            environment.raw.flushall()
            environment.opened(["acc_1"])
            environment.submitted(["acc_1"])
            began_s = time.monotonic()
            with environment.workers(0):
                until(lambda: environment.done() >= 1, START_S, "an outcome")
                add(rows, PRODUCT, {"ready_s": time.monotonic() - began_s})
            environment.producer.send_task("plain.solve", args=(1,), queue="celery")
            began_s = time.monotonic()
            with plain_worker(environment, 0, "-P", "threads", "-c", str(THREADS)):
                until(lambda: environment.raw.get("plain:done"), START_S, "an outcome")
                add(rows, PLAIN, {"ready_s": time.monotonic() - began_s})
    return rows


MEASURE: Final = Measure(name="startup", title="Start to first outcome", run=run, against=PLAIN)
