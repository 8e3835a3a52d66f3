"""Reads of one turn of the loop leave as one script, and remain reads of their own callers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from checkpoint_worker.tasks.storage import executor
from checkpoint_worker.tasks.storage.bundles import READS_AT_ONCE
from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    LedgerUnavailableError,
    ScriptCall,
    connect_async,
    pipe_to,
)

PLAIN = ("", 0, 0)


class CountingExecutor(AsyncExecutor):
    """Notes how many keys each run of a script has."""

    def __init__(self, url: str) -> None:
        super().__init__(connect_async(url), pipe_to(url))
        self.sizes: list[int] = []

    async def _eval(self, call: ScriptCall) -> list[Any]:
        self.sizes.append(len(call.keys))
        return await super()._eval(call)


def read(
    executor: AsyncExecutor, *keys: str, args: tuple[str | int, ...] = PLAIN
) -> Awaitable[Any]:
    """Return the values of some keys, as one caller asks for them."""

    async def values() -> Any:
        return (await executor._call(ScriptCall("read", keys, args)))[-1]

    return values()


def played(url: str, play: Callable[[CountingExecutor], Awaitable[None]]) -> None:
    """Run a scene over an executor with a pipelined connection."""

    async def run() -> None:
        executor = CountingExecutor(url)
        try:
            await play(executor)
        finally:
            await executor.aclose()

    asyncio.run(run())


@pytest.fixture
def raw(redis_url: str) -> Any:
    """A client with ``k0`` to ``k99`` written, each with its own name as value."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.mset({f"k{number}": f"k{number}" for number in range(100)})
        yield client


def test_reads_of_one_turn_are_one_script_and_each_gets_its_values(
    redis_url: str, raw: redis.Redis
) -> None:
    """Absent keys too, also at the end."""
    del raw

    async def play(executor: CountingExecutor) -> None:
        found = await asyncio.gather(
            read(executor, "k1", "none", "k2"), read(executor, "k3"), read(executor, "none", "none")
        )
        assert found == [["k1", None, "k2"], ["k3"], [None, None]]
        assert executor.sizes == [6]
        assert await read(executor, "k4") == ["k4"]
        assert executor.sizes == [6, 1]

    played(redis_url, play)


def test_a_bundle_has_a_largest_size(redis_url: str, raw: redis.Redis) -> None:
    """A script must not hold Redis for thousands of reads."""
    del raw

    async def play(executor: CountingExecutor) -> None:
        count = 2 * READS_AT_ONCE + 1
        found = await asyncio.gather(*(read(executor, f"k{number}") for number in range(count)))
        assert found == [[f"k{number}"] for number in range(count)]
        assert sorted(executor.sizes) == [1, READS_AT_ONCE, READS_AT_ONCE]

    played(redis_url, play)


def test_only_reads_that_ask_for_the_same_are_bundled(redis_url: str, raw: redis.Redis) -> None:
    """A read from a master stays one, and a count is made for its own caller."""
    raw.zadd("queued", {"a": 1})

    async def play(executor: CountingExecutor) -> None:
        counted = ScriptCall("read", ("k3",), ("queued", 0, 0))
        *plain, counts = await asyncio.gather(
            read(executor, "k1"), read(executor, "k2", args=("", 0, 1)), executor._call(counted)
        )
        assert plain == [["k1"], ["k2"]]
        assert counts[2:4] == [1, 1]
        assert executor.sizes == [1, 1, 1]

    played(redis_url, play)


def test_a_key_that_cannot_be_read_fails_only_its_own_caller(
    redis_url: str, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the bundle is everybody's; then each asks alone."""
    monkeypatch.setattr(executor, "PAUSES_S", (0.0, 0.0))
    raw.lpush("no string", "x")

    async def play(executor: CountingExecutor) -> None:
        good, bad = await asyncio.gather(
            read(executor, "k1"), read(executor, "no string"), return_exceptions=True
        )
        assert good == ["k1"]
        assert isinstance(bad, LedgerUnavailableError)
        assert executor.sizes == [2, 1, 1, 1]

    played(redis_url, play)


def test_a_caller_that_is_cancelled_takes_no_other_along(redis_url: str, raw: redis.Redis) -> None:
    """Before the bundle leaves, and while Redis is asked."""
    del raw

    async def play(executor: CountingExecutor) -> None:
        for turns in (1, 2, 3):
            tasks = [asyncio.ensure_future(read(executor, f"k{number}")) for number in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            tasks[1].cancel()
            assert [await tasks[0], await tasks[2]] == [["k0"], ["k2"]]
            assert tasks[1].cancelled()

    played(redis_url, play)


def test_a_bundle_whose_loop_ends_ends_its_callers(redis_url: str) -> None:
    """Nobody waits for a reply that no task brings; the next loop has bundles of its own."""
    executor = CountingExecutor(redis_url)

    async def leave() -> list[asyncio.Task[Any]]:
        waiting = [asyncio.ensure_future(read(executor, "k1")) for _ in range(2)]
        await asyncio.sleep(0)  # They ask; the bundle leaves in the next turn.
        await asyncio.sleep(0)
        (task,) = executor._reads._tasks
        task.cancel()
        await asyncio.wait(waiting, timeout=30)
        return waiting

    assert all(task.cancelled() for task in asyncio.run(leave()))

    async def ask_again() -> Any:
        try:
            return await read(executor, "k1")
        finally:
            await executor.aclose()

    assert asyncio.run(ask_again()) == [None]
