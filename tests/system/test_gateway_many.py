"""Very many requests wait in one gateway process: all are answered, and its size has a bound."""

import asyncio
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from tests.support.deployment import BOUND_S, LINKEDIN, Deployment, until
from tests.support.fixtures import NewDeployment
from tests.support.gateways import KEY, SUBMIT, GatewayProcess
from tests.support.outcome_cases import LIVE, OTP

FILES, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
OTHER_FILES = 128
"""What a process has open besides the requests; a part of them."""
REQUESTS = 1_000 if FILES == resource.RLIM_INFINITY else min(1_000, FILES - OTHER_FILES)
"""Each is a connection, here and in the gateway; a machine may grant 1,024 files and no more."""
NAME = "many"
"""Name of the gateway's connections in Redis."""
CONNECTIONS_MAX = 16
"""The commands', the subscription's, the broker's few."""
MEMORY_MAX_MB = 400


def _rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _redis_connections(deployment: Deployment) -> int:
    """Count the gateway's connections: others come and go in the same Redis.

    Their descriptors would tell, but those of a process that keeps its memory private are the
    superuser's to read.
    """
    return sum(each["name"] == NAME for each in deployment.redis.client_list())


async def _submit_all(address: str) -> list[tuple[int, str]]:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"X-API-KEY": KEY}

    async def submit(session: aiohttp.ClientSession, number: int) -> tuple[int, str]:
        fields = {"account_id": f"acc_{number}", "provider": LINKEDIN, "code": f"{number:06}"}
        async with session.post(address + SUBMIT, json=fields) as response:
            return response.status, (await response.json())["type"]

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        return await asyncio.gather(*(submit(session, number) for number in range(REQUESTS)))


def test_a_thousand_requests_wait_in_one_process(
    new_deployment: NewDeployment, record_property: Callable[[str, object], None]
) -> None:
    """They share the connections of one client; every one gets its outcome when a worker comes."""
    deployment = new_deployment(deadline_s=110.0, queue_age_max_s=100.0)
    for number in range(REQUESTS):
        deployment.client.open_intent(
            account_id=f"acc_{number}", provider=LINKEDIN, checkpoint=OTP, context=LIVE
        )
    named = f"{deployment.url}?client_name={NAME}"
    with GatewayProcess(deployment, redis_url=named) as gateway:
        small_mb = _rss_mb(gateway.pid)
        answers = asyncio.run_coroutine_threadsafe(
            _submit_all(gateway.address), deployment.loops.loop
        )
        # Nobody works yet: all of them wait when the one subscription follows all accounts.
        channels = f"{deployment.prefix}:results:acc_*"
        until(lambda: len(deployment.redis.pubsub_channels(channels)) == REQUESTS, "all to wait")
        size_mb, connections = _rss_mb(gateway.pid), _redis_connections(deployment)
        start = time.monotonic()
        deployment.worker()
        told = answers.result(2 * BOUND_S)
        took_s = time.monotonic() - start
        assert gateway.terminate() == 0
    figures = {
        "memory_mb": round(size_mb),
        "memory_idle_mb": round(small_mb),
        "redis_connections": connections,
        "answered_after_s": round(took_s, 1),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    print(figures)  # noqa: T201  shown with -s
    assert told == [(503, "errors/no_client_session")] * REQUESTS
    assert 0 < connections <= CONNECTIONS_MAX
    assert size_mb <= MEMORY_MAX_MB
