"""Measures submission to outcome on an idle worker; the provider answers at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final

from checkpoint_worker.tasks.client import AsyncCheckpointClient
from tests.benchmarks.baselines import PLAIN, PRODUCT, plain_worker
from tests.benchmarks.environment import Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add, cuts
from tests.benchmarks.measures.throughput import THREADS
from tests.support.processes import START_S, StuckError

SAMPLES: Final = 200
WARM: Final = 20
WAIT_S: Final = 60.0


async def of_product(environment: Environment, samples: int) -> list[float]:
    """Submit and wait, one at a time; return the times in seconds."""
    taken: list[float] = []
    name = time.monotonic_ns()
    async with AsyncCheckpointClient(environment.settings) as client:
        for number in range(WARM + samples):
            account = f"acc_{name}_{number}"
            await environment.open(client, account)
            began_s = time.monotonic()
            submission_id = await environment.submit(client, account)
            record = await client.wait(submission_id, WAIT_S)
            taken.append(time.monotonic() - began_s)
            if record is None or record.status != 201:
                msg = "an outcome of the product is not 201"
                raise StuckError(msg)
    return taken[WARM:]


def of_plain(environment: Environment, samples: int) -> list[float]:
    """Send a task and hear its outcome on the channel, one at a time."""
    taken: list[float] = []
    with environment.raw.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe("plain:results")
        for number in range(WARM + samples):
            began_s = time.monotonic()
            environment.producer.send_task("plain.solve", args=(number,), queue="celery")
            _hear(channel, number)
            taken.append(time.monotonic() - began_s)
    return taken[WARM:]


def _hear(channel: Any, number: int) -> None:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        message = channel.get_message(timeout=1.0)
        if message is not None and json.loads(message["data"])["number"] == number:
            return
    msg = "plain Celery gave no outcome"
    raise StuckError(msg)


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure both in turns; both workers run all the time."""
    rows: Rows = {}
    samples = SAMPLES // 4 if options.quick else SAMPLES
    with (
        started_environment() as environment,
        environment.workers(0),
        plain_worker(environment, 0, "-P", "threads", "-c", str(THREADS)),
    ):
        for number in range(options.rounds):
            told(f"round {number + 1}")
            for name, taken in (
                (PRODUCT, asyncio.run(of_product(environment, samples))),
                (PLAIN, of_plain(environment, samples)),
            ):
                p50_ms, p99_ms = cuts(taken)
                add(rows, name, {"p50_ms": p50_ms, "p99_ms": p99_ms})
    return rows


MEASURE: Final = Measure(
    name="latency",
    title="Submission to outcome, one at a time, provider answers at once",
    run=run,
    against=PLAIN,
)
