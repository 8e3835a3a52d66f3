"""A newer code: until the older one's outcome is received, and until its connection is closed.

The older one waits to connect at a gate that stays silent, so nothing of it was sent. Instants of
the provider's process compare with ours: both are the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from checkpoint_worker.tasks.client import AsyncCheckpointClient
from tests.benchmarks.environment import PROVIDER, Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add, cuts
from tests.support.processes import StuckError, until

IDLE: Final = "idle"
SAMPLES: Final = 100
HEARD_S: Final = 60.0
ACCOUNT: Final = "acc_superseded"
HOLD_MS: Final = 100_000
"""The others are answered only after the measurement."""


async def measure(environment: Environment, samples: int) -> tuple[list[float], list[float]]:
    """Submit code after code; return seconds to the older's outcome and to its hang-up."""
    heard: list[float] = []
    began: list[float] = []
    async with AsyncCheckpointClient(environment.settings) as client:
        before = await _facts(environment)
        await environment.open(client, ACCOUNT, proxy=environment.gate)
        older = await environment.submit(client, ACCOUNT)
        for number in range(1, samples + 1):
            await _gate_reached(environment, before["gate"] + number)
            waiting = asyncio.create_task(client.wait(older, HEARD_S))
            await asyncio.sleep(0.02)  # It listens before the clock runs, as a backend does.
            began.append(time.monotonic())
            newer = await environment.submit(client, ACCOUNT)
            record = await waiting
            heard.append(time.monotonic() - began[-1])
            if record is None or record.status != 409:
                msg = "a superseded submission was not answered with 409"
                raise StuckError(msg)
            older = newer
        await client.kill_intent(ACCOUNT, PROVIDER)
        seen = len(before["left_s"])

        def all_left() -> bool:
            return len(environment.facts()["left_s"]) > seen + samples - 1

        await asyncio.to_thread(until, all_left, HEARD_S, "the older ones' connections to close")
        left_s = (await _facts(environment))["left_s"][seen:]
    # One is at the gate at a time, and the next comes after it has left.
    return heard, [max(0.0, left - at) for left, at in zip(left_s, began, strict=False)]


async def _facts(environment: Environment) -> dict[str, Any]:
    return await asyncio.to_thread(environment.facts)


async def _gate_reached(environment: Environment, count: int) -> None:
    await asyncio.to_thread(
        until, lambda: environment.facts()["gate"] >= count, HEARD_S, "a connection at the gate"
    )


def crowd(environment: Environment, others: int) -> None:
    """Start other submissions and wait until the provider holds all of them."""
    accounts = [f"acc_other_{number}" for number in range(others)]
    environment.opened(accounts)
    environment.submitted(accounts)
    until(lambda: environment.facts()["open"] >= others, HEARD_S, "the others to be in flight", 0.1)


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure on an idle worker, then with a crowd in flight."""
    rows: Rows = {}
    others = 200 if options.quick else 2_000
    samples = SAMPLES // 4 if options.quick else SAMPLES
    # The limits are large, so that no attempt ends by its own timeout.
    times = {"CONNECT_TIMEOUT_S": 60, "CONCURRENCY": others + 1_000}
    with started_environment() as environment, environment.workers(HOLD_MS, **times) as (worker,):
        for name, count in ((IDLE, 0), (f"{others:,} others in flight", others)):
            if count:
                told(f"{count} others")
                crowd(environment, count)
            for number in range(options.rounds):
                told(f"{name}, round {number + 1}")
                heard, closed = asyncio.run(measure(environment, samples))
                (heard_p50, heard_p99), (closed_p50, closed_p99) = cuts(heard), cuts(closed)
                figures = {"outcome_p50_ms": heard_p50, "outcome_p99_ms": heard_p99}
                figures |= {"closed_p50_ms": closed_p50, "closed_p99_ms": closed_p99}
                add(rows, name, figures)
        if environment.facts()["open"] < others:
            msg = "the others were answered during the measurement: the machine is too slow"
            raise StuckError(msg)
        worker.kill()  # Asked to end, it would wait for the others' answers.
    return rows


MEASURE: Final = Measure(
    name="supersede",
    title="A newer code takes over, nothing sent of the older one",
    run=run,
    against=IDLE,
)
