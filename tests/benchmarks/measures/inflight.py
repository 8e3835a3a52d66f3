"""Measures concurrent verifications of one process: their number, memory and lateness."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from tests.benchmarks.baselines import HELD, PLAIN, PRODUCT, plain_worker
from tests.benchmarks.environment import Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.support.processes import START_S, StuckError, rss_kb, until

ASKED: Final = 10_000
ASKED_QUICK: Final = 500
DELAY_MS: Final = 30_000
"""Long enough for the last to begin before the first is answered."""
DELAY_QUICK_MS: Final = 5_000
ROUND_S: Final = 240.0
POLL_S: Final = 0.2


def of_product(
    environment: Environment, asked: int, delay_ms: int, told: Callable[[str], None]
) -> Rows:
    """Give one worker everything at once; watch it until all have their outcome."""
    rows: Rows = {}
    accounts = [f"acc_{number}" for number in range(asked)]
    told(f"submitting {asked}")
    environment.opened(accounts)
    environment.submitted(accounts)
    environment.raw.rename("checkpoint", HELD)
    lag_file = environment.folder / "lag.json"
    with environment.workers(delay_ms, CONCURRENCY=asked, BENCH_LAG_FILE=lag_file) as (worker,):
        base_kb = peak_kb = rss_kb(worker.pid)
        environment.raw.rename(HELD, "checkpoint")
        end_s = time.monotonic() + ROUND_S
        told("in flight")
        while environment.done() < asked:
            peak_kb = max(peak_kb, rss_kb(worker.pid))
            if time.monotonic() > end_s:
                msg = f"{environment.done()} of {asked} outcomes after {ROUND_S:g} s"
                raise StuckError(msg)
            time.sleep(POLL_S)
        lag = json.loads(lag_file.read_text())
    records = environment.everything()
    late_ms = sorted(
        _ms(record["finished_at"]) - _ms(record["started_at"]) - delay_ms
        for record in records
        if record["status"] == 201
    )
    peak = environment.facts()["peak"]
    told(f"lag {lag}")
    told(f"outcomes: {dict(Counter(_kind(record) for record in records))}")
    figures = {
        "asked": asked,
        "peak": peak,
        "rss_kb": (peak_kb - base_kb) / peak,
        "late_p99_ms": late_ms[int(len(late_ms) * 0.99)],
        "lag_p99_ms": lag["p99_ms"],
        "not_201": sum(record["status"] != 201 for record in records),
    }
    add(rows, PRODUCT, figures)
    return rows


def _kind(record: dict[str, Any]) -> str:
    body = record["body"]
    return " ".join(filter(None, (str(record["status"]), body.get("type"), body.get("detail"))))


def _ms(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp() * 1000


def of_plain(environment: Environment, asked: int, delay_ms: int) -> dict[str, float]:
    """Ask plain Celery for as many threads."""
    with plain_worker(environment, delay_ms, "-P", "threads", "-c", str(asked)) as worker:
        until(lambda: environment.producer.control.ping(timeout=0.5), START_S, "plain Celery")
        base_kb = peak_kb = rss_kb(worker.pid)
        for number in range(asked):
            environment.producer.send_task("plain.solve", args=(number,), queue="celery")
        end_s = time.monotonic() + ROUND_S
        while int(environment.raw.get("plain:done") or 0) < asked:
            peak_kb = max(peak_kb, rss_kb(worker.pid))
            if time.monotonic() > end_s:
                break  # What failed never counts.
            time.sleep(POLL_S)
        failed = asked - int(environment.raw.get("plain:done") or 0)
    peak = environment.facts()["peak"]
    return {"asked": asked, "peak": peak, "rss_kb": (peak_kb - base_kb) / peak, "not_201": failed}


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure the product; plain Celery's threads only where few are asked for."""
    asked, delay_ms = (ASKED_QUICK, DELAY_QUICK_MS) if options.quick else (ASKED, DELAY_MS)
    with started_environment() as environment:
        rows = of_product(environment, asked, delay_ms, told)
    if options.quick:
        with started_environment() as environment:
            told("plain Celery")
            add(rows, PLAIN, of_plain(environment, asked, delay_ms))
    return rows


MEASURE: Final = Measure(
    name="inflight",
    title="Most in flight in one process",
    run=run,
    against=PLAIN,
)
