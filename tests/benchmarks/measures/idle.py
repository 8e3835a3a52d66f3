"""Measures the cost of an idle worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from tests.benchmarks.baselines import PLAIN, Contender, Plain, Product
from tests.benchmarks.environment import Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.benchmarks.measures.throughput import THREADS
from tests.support.processes import cpu_s

LOOK_S: Final = 10.0
LOOK_QUICK_S: Final = 3.0
MINUTE_S: Final = 60.0


def look(environment: Environment, pids: Sequence[int], look_s: float) -> dict[str, float]:
    """Watch workers do nothing."""
    load, used_s, began_s = environment.load(), cpu_s(pids), time.monotonic()
    time.sleep(look_s)
    took_s = time.monotonic() - began_s
    used_s, load = cpu_s(pids) - used_s, environment.load().since(load)
    return {
        "cpu_s_min": used_s / took_s * MINUTE_S,
        "commands_s": (load.commands - 1) / took_s,  # One is our own look.
    }


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Watch both in turns, warm."""
    rows: Rows = {}
    look_s = LOOK_QUICK_S if options.quick else LOOK_S
    with started_environment() as environment:
        for number in range(1 if options.quick else min(options.rounds, 2)):
            both: tuple[Contender, ...] = (
                Product(environment),
                Plain(environment, "threads", THREADS),
            )
            for contender in both:
                told(f"round {number + 1}, {contender.name}")
                environment.raw.flushall()
                contender.prepare(0)
                with contender.workers() as pids:
                    add(rows, contender.name, look(environment, pids, look_s))
    return rows


MEASURE: Final = Measure(name="idle", title="Idle", run=run, against=PLAIN)
