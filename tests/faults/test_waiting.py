"""Backends wait while the connection their news comes over is cut again and again."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from checkpoint_worker.tasks.client import AsyncCheckpointClient
from tests.store.desk import PROVIDER, Desk

CUTS: Final = 100
ACCOUNTS: Final = 12
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.02
"""How long each wait lasts: they begin and end all the time, some while nobody is connected."""


@pytest.mark.fault
def test_a_wait_never_fails_because_its_subscription_was_cut(redis_url: str) -> None:
    """It brings hints only; what a backend waits for is in the record.

    All who wait share one subscription. When it is lost one of them comes, another leaves and
    the listener reads, and only one of the three may connect anew: two at once on the same
    connection end in errors of the library's inside that no caller expects.
    """
    desk = Desk.at(redis_url)
    names = [f"acc_{number}" for number in range(ACCOUNTS)]
    for name in names:
        desk.open(name)
        desk.submit(f"sub_{name}", account=name)

    async def waits(client: AsyncCheckpointClient, name: str, over: asyncio.Event) -> int:
        while not over.is_set():
            record = await client.wait(f"sub_{name}", LOOK_S)
            assert record is not None
        record = await client.wait(f"sub_{name}", PATIENCE_S)
        assert record is not None
        return record.status or 0

    async def play() -> list[int]:
        over = asyncio.Event()
        async with AsyncCheckpointClient(desk.settings) as client, asyncio.timeout(PATIENCE_S):
            waiting = [asyncio.create_task(waits(client, name, over)) for name in names]
            for _ in range(CUTS):
                await client._redis.client_kill_filter(_type="pubsub")
                await asyncio.sleep(LOOK_S)
            over.set()
            for name in names:
                assert await client.kill_intent(name, PROVIDER)
            return await asyncio.gather(*waiting)

    assert asyncio.run(play()) == [500] * ACCOUNTS
    desk.redis.close()
