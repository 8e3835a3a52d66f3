"""Paths of attempt and sweep that whole workers and the simulation seldom take.

One guard each, over a real Redis on a plain loop: what the proof by mutants needs, and what a
measurement of branches would otherwise miss.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from providers.contract import Challenge, ProviderFailure, Verdict
from tasks import attempt as module
from tasks.ledger import Call
from tasks.sweep import Heart, Sweeper
from tests.behaviour.stage import BOUND_S
from tests.behaviour.test_attempt import CLEARED, CODE, Desk, FakeExchange, OnDesk, on_desk

__all__ = ["on_desk"]  # A fixture: pytest finds it by its name here.

OVERDUE: dict[str, float] = {
    "provider_timeout_s": 0.1,
    "drain_s": 0.1,
    "wire_margin_s": 0.1,
    "min_send_s": 0.1,
    "deadline_s": 0.4,
}
"""Times under which a submission is overdue at once."""


async def clears(exchange: FakeExchange, _: Challenge) -> Verdict:
    """Send the code and be let in."""
    await exchange.send()
    return CLEARED


def test_a_claim_whose_reply_was_lost_is_repeated_and_sent_once(on_desk: OnDesk) -> None:
    """The repeat finds its token and needs nothing the first reply carried: the code was read."""

    async def play(desk: Desk) -> None:
        whole, lost = desk.door._eval, []

        async def losing(call: Call) -> list[Any]:
            reply = await whole(call)
            if call.script == "commit" and not lost:
                lost.append(call)
                raise ConnectionResetError
            return reply

        desk.play(clears)
        await desk.opened()
        desk.patch.setattr(desk.door, "_eval", losing)
        record = await desk.run()
        assert (record.status, record.code_sent) == (201, True)
        assert len(lost) == 1
        assert desk.sent == [CODE]

    on_desk(play)


def test_a_host_whose_clock_is_wrong_changes_no_deadline(
    on_desk: OnDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is Redis': a backend an hour ahead would shorten nobody's deadline."""

    async def play(desk: Desk) -> None:
        right_ns, right_s = time.time_ns, time.time
        with monkeypatch.context() as wrong:
            wrong.setattr(time, "time_ns", lambda: right_ns() + 3_600_000_000_000)
            wrong.setattr(time, "time", lambda: right_s() + 3_600)
            await desk.opened()
        seconds, micros = await desk.side.client.time()
        current = (await desk.intent()).current
        assert current is not None
        limit_ms = desk.attempts.store.limits.deadline_ms
        left_ms = current.deadline_ms - (seconds * 1_000 + micros // 1_000)
        assert limit_ms - BOUND_S * 1_000 < left_ms <= limit_ms

    on_desk(play)


def test_two_sweeps_settle_once_and_change_nothing_final(on_desk: OnDesk) -> None:
    """A leader that lost its lock may still be at it: each of its writes is one like any other."""

    async def play(desk: Desk) -> None:
        async def nothing_waits() -> int:
            return 0

        await desk.opened()
        sweepers = [
            Sweeper(desk.attempts, Heart(desk.attempts), nothing_waits) for _ in range(2)
        ]
        async with asyncio.timeout(BOUND_S):
            while not (await desk.record()).is_final:
                await asyncio.gather(*(sweeper.once() for sweeper in sweepers))
                await asyncio.sleep(0.01)
        await asyncio.gather(*(sweeper.once() for sweeper in sweepers))
        record = await desk.record()
        assert (record.status, record.code_sent) == (504, False)
        assert await desk.side.client.xlen(desk.attempts.store.keys.outcomes) == 1

    on_desk(play, **OVERDUE)
