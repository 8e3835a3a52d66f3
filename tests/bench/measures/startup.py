"""From the start of a worker to the first outcome of what already waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.bench.contenders import PLAIN, PRODUCT, plain_worker
from tests.bench.figures import Measure, Options, Rows, add
from tests.bench.measures.throughput import THREADS
from tests.bench.processes import START_S, until
from tests.bench.stand import standing


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Start both in turns."""
    rows: Rows = {}
    with standing() as stand:
        for number in range(options.rounds):
            told(f"round {number + 1}")
            stand.raw.flushall()
            stand.opened(["acc_1"])
            stand.submitted(["acc_1"])
            began_s = time.monotonic()
            with stand.workers(0):
                until(lambda: stand.done() >= 1, START_S, "an outcome")
                add(rows, PRODUCT, {"ready_s": time.monotonic() - began_s})
            stand.producer.send_task("plain.solve", args=(1,), queue="celery")
            began_s = time.monotonic()
            with plain_worker(stand, 0, "-P", "threads", "-c", str(THREADS)):
                until(lambda: stand.raw.get("plain:done"), START_S, "an outcome")
                add(rows, PLAIN, {"ready_s": time.monotonic() - began_s})
    return rows


MEASURE: Final = Measure(name="startup", title="Start to first outcome", run=run, against=PLAIN)
