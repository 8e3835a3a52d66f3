"""Measures how fast a worker closes an exchange after a newer code or a kill of the intent.

Figures depend on the machine and are printed; asserted are only generous bounds against a bare
Redis pub/sub round trip of the same run. See them with ``pytest -s tests/benchmarks``.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import redis

from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import BOUND_S, LINKEDIN, SHORT, Deployment

ROUNDS = 100
TIMES_A_ROUND_TRIP = 100
"""Measured: 20 to 150 of them, on machines from idle to overloaded; a poll would be thousands."""
SLACK_S = 0.05
"""Delay that another process on a busy machine may cause in one of a hundred measurements."""


def figures(name: str, seconds: list[float]) -> tuple[float, float]:
    """Print and return median and 99th percentile, in seconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    p50_s, p99_s = cuts[49], cuts[98]
    print(f"\n{name:44} p50 {p50_s * 1e3:7.2f} ms   p99 {p99_s * 1e3:7.2f} ms", end="")  # noqa: T201
    return p50_s, p99_s


def round_trips(url: str) -> list[float]:
    """Measure publish to receipt over a bare connection."""
    taken: list[float] = []
    with redis.Redis.from_url(url) as client, client.pubsub() as channel:
        channel.subscribe("bench")
        assert channel.get_message(timeout=BOUND_S)
        for _ in range(ROUNDS):
            began = time.monotonic()
            client.publish("bench", "x")
            assert channel.get_message(timeout=BOUND_S)
            taken.append(time.monotonic() - began)
    return taken


def superseded_before_the_send(deployment: Deployment) -> list[float]:
    """Measure the time from a newer submission to the end of the previous one's connection."""
    taken: list[float] = []
    person = deployment.person()
    with deployment.gate() as gate:
        person.open(proxy=gate.url)
        person.submit(person.wrong())
        for number in range(1, ROUNDS + 1):
            gate.wait_for(number)
            request, new = deployment.client._core.read_submission(
                person.id, person.provider, person.wrong(), None
            )
            steps = deployment.client._core.submit(request, new, None)
            began = time.monotonic()
            deployment.client._executor.run(steps)
            taken.append(gate.wait_left(number) - began)
        deployment.client.kill_intent(person.id, person.provider)
    return taken


def killed_after_the_send(deployment: Deployment) -> list[float]:
    """Measure the time from a kill to the end of the exchange at the provider."""
    taken: list[float] = []
    for _ in range(ROUNDS):
        person = deployment.person().open().hold()
        person.submit(person.wrong())
        person.received()
        gone = asyncio.run_coroutine_threadsafe(deserted(deployment), deployment.loops.loop)
        began = time.monotonic()
        deployment.client.kill_intent(person.id, person.provider)
        taken.append(gone.result(BOUND_S) - began)
        person.release()
    return taken


async def deserted(deployment: Deployment) -> float:
    """Return when the last connection to the provider was closed."""
    await deployment.sandbox.connection_logs[LINKEDIN].deserted()
    return time.monotonic()


def test_an_exchange_is_closed_within_milliseconds(
    redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """The commit publishes the signal and the attempt closes its connection, without a poll."""
    times = SHORT | {"connect_timeout_s": 20.0, "heartbeat_s": 2.0, "lost_after_s": 5.0}
    times |= {"wake_again_s": 20.0, "deadline_s": 25.0}
    times |= {"submissions_max": 10 * ROUNDS, "hourly_max": 10 * ROUNDS}  # One person, many codes.
    with Deployment(redis_server.url, "bench", tmp_path, **times) as deployment:
        deployment.worker()
        bare_s, _ = figures("bare pub/sub round trip", round_trips(redis_server.url))
        for name, measure in (
            ("superseded before the send, submit to closed", superseded_before_the_send),
            ("killed after the send, kill to closed", killed_after_the_send),
        ):
            p50_s, p99_s = figures(name, measure(deployment))
            assert p50_s < TIMES_A_ROUND_TRIP * bare_s + SLACK_S
            assert p99_s < 1.0, "a poll or a heartbeat, not the signal"
        deployment.check()
