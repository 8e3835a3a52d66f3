"""A subscription tells every reconnect, also the library's own: messages were lost before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import pytest

from checkpoint_worker.tasks.storage import subscription
from checkpoint_worker.tasks.storage.executor import connect_async
from checkpoint_worker.tasks.storage.subscription import Silence, Subscription
from tests.support.deployment import BOUND_S


def test_only_a_test_without_an_answer_proves_a_dead_connection() -> None:
    """A process that was starved or suspended has received nothing, and lost nothing."""
    now_s = [0.0]
    silence = Silence(3.0, lambda: now_s[0])

    def after(passed_s: float) -> bool:
        now_s[0] += passed_s
        return silence.needs_test()

    assert [after(2.9), after(0.1), after(2.9)] == [False, True, False]
    silence.end()
    assert [after(60.0), after(2.9)] == [True, False], "it stood still for a minute"
    with pytest.raises(TimeoutError):
        after(0.1)


async def _read_until(there: Subscription, met: Callable[[], bool]) -> list[str]:
    texts: list[str] = []
    async with asyncio.timeout(BOUND_S):
        while not met():
            if (text := await there.next(0.2)) is not None:
                texts.append(text)
    return texts


@pytest.mark.parametrize("names", [("one",), ("one", "two")], ids=len)
def test_a_reconnect_that_the_library_made_is_told(redis_url: str, names: tuple[str, ...]) -> None:
    """t=0 the server ends the connection · t=1 redis-py has subscribed again by itself."""

    async def through() -> None:
        client = connect_async(redis_url)
        told: list[int] = []
        there = Subscription(
            client, client.publish, *names, quiet_s=BOUND_S, subscribed=lambda: told.append(1)
        )
        async with there:
            assert len(told) == 1, "all channels, once"
            assert await client.client_kill_filter(_type="pubsub")
            assert not await _read_until(there, lambda: len(told) == 2)
            for name in names:
                assert await client.publish(name, name) == 1
                assert await there.next(BOUND_S) == name
            assert len(told) == 2
        await client.aclose()

    asyncio.run(through())


class _Flapping(Subscription):
    """Loses each connection at once, and connects again at the fourth try."""

    tries = 0

    async def __aenter__(self) -> Self:
        self.tries += 1
        if self.tries % 4:
            raise ConnectionRefusedError
        return await super().__aenter__()

    async def next(self, timeout_s: float) -> str | None:
        raise ConnectionResetError


def test_an_outage_is_told_once_however_many_tries_it_takes(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber writes a line of each loss, and an hour has 3,600 tries."""
    monkeypatch.setattr(subscription, "RECONNECT_MAX_S", 0.01)

    async def through() -> None:
        client, lost = connect_async(redis_url), list[str]()
        there = _Flapping(client, client.publish, "one")
        running = asyncio.create_task(
            there.run(lambda _: None, lambda error: lost.append(type(error).__name__))
        )
        async with asyncio.timeout(BOUND_S):
            while there.tries < 9:  # noqa: ASYNC110  a test's own count
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await client.aclose()
        assert lost == ["ConnectionRefusedError", "ConnectionResetError", "ConnectionResetError"]

    asyncio.run(through())
