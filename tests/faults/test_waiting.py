"""Backends wait while the connection their news comes over is cut again and again."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
from checkpoint_worker.tasks.client import waiter as ears
from checkpoint_worker.tasks.operations.validation import CheckpointError
from tests.support.deployment import RedisProcess
from tests.support.ledger_fixture import PROVIDER, LedgerFixture
from tests.support.waiting import PATIENCE_S, followed, listeners, scripts_run, until, write

TASKS: Final = 10_000
QUIET_READS: Final = 100
"""Maximum number of reads in three seconds in which nothing happens."""

CUTS: Final = 100
ACCOUNTS: Final = 12
LOOK_S: Final = 0.02
"""How long each wait lasts: they begin and end all the time, some while nobody is connected."""


@pytest.mark.fault
async def test_a_wait_never_fails_because_its_subscription_was_cut(redis_url: str) -> None:
    """It brings hints only; what a backend waits for is in the record.

    All who wait share one subscription. When it is lost one of them comes, another leaves and
    the listener reads, and only one of the three may connect anew: two at once on the same
    connection end in errors of the library's inside that no caller expects.
    """
    ledger = LedgerFixture.at(redis_url)
    names = [f"acc_{number}" for number in range(ACCOUNTS)]
    for name in names:
        ledger.open(name)
        ledger.submit(f"sub_{name}", account=name)

    async def waits(client: AsyncCheckpointClient, name: str, over: asyncio.Event) -> int:
        while not over.is_set():
            record = await client.wait(f"sub_{name}", LOOK_S)
            assert record is not None
        record = await client.wait(f"sub_{name}", PATIENCE_S)
        assert record is not None
        return record.status or 0

    over = asyncio.Event()
    async with AsyncCheckpointClient(ledger.settings) as client, asyncio.timeout(PATIENCE_S):
        waiting = [asyncio.create_task(waits(client, name, over)) for name in names]
        for _ in range(CUTS):
            await client._redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(LOOK_S)
        over.set()
        for name in names:
            assert await client.kill_intent(name, PROVIDER)
        found = await asyncio.gather(*waiting)
    assert found == [500] * ACCOUNTS
    ledger.redis.close()


async def reads_in(seconds: float, ledger: LedgerFixture) -> int:
    """Return the number of scripts that Redis ran in this time."""
    before = await asyncio.to_thread(scripts_run, ledger)
    await asyncio.sleep(seconds)
    return await asyncio.to_thread(scripts_run, ledger) - before


@pytest.mark.timeout(4 * PATIENCE_S)
async def test_ten_thousand_tasks_wait_over_one_connection(ledger: LedgerFixture) -> None:
    """Each hears its own outcome. Waiting costs reads by the hundred, not one each a second.

    Every wait reads once before and is looked at once when its channel is confirmed; the rest of
    the time Redis is asked for `LOOK_MOST` records a second, in one command.
    """
    names = [f"s{number}" for number in range(TASKS)]
    write(ledger, names, "queued")
    start = scripts_run(ledger)
    async with AsyncCheckpointClient(ledger.settings) as client:
        waits = [asyncio.create_task(client.wait(name, 4 * PATIENCE_S)) for name in names]
        await asyncio.to_thread(until, lambda: followed(ledger) == TASKS, 3 * PATIENCE_S)
        connections = await asyncio.to_thread(listeners, ledger)
        # Redis has confirmed all channels; the client may still read after some confirmations.
        async with asyncio.timeout(PATIENCE_S):
            while await reads_in(3 * ears.POLL_S, ledger) > QUIET_READS:
                pass
        await asyncio.to_thread(write, ledger, names, "final")
        records = await asyncio.gather(*waits)
        reads = await asyncio.to_thread(scripts_run, ledger)
    assert [record.status if record else None for record in records] == [409] * TASKS
    assert connections == 1
    assert reads - start <= 2 * TASKS


def test_a_wait_does_not_outlast_its_time_where_the_ledger_went_away(tmp_path: Path) -> None:
    """It returns what it knew, a few seconds late at most; one that asks then gets a 503."""
    with ThreadPoolExecutor(1) as crowd, RedisProcess(tmp_path) as server:
        ledger = LedgerFixture.at(server.url)
        with CheckpointClient(ledger.settings) as client:
            write(ledger, ["s1"], "queued")
            waiting = crowd.submit(client.wait, "s1", 3.0)
            until(lambda: followed(ledger) == 1)
            server.stop()
            record = waiting.result(PATIENCE_S / 3)
            assert record is not None
            assert record.state == "queued"
            with pytest.raises(CheckpointError) as caught:
                client.wait("s1", 1.0)
            assert caught.value.pair.key == (503, "service_unavailable")
            server.kill()
        ledger.redis.close()
