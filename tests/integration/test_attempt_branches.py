"""Paths of attempt and sweep that whole workers and the simulation seldom take.

One guard each, over a real Redis on a plain loop: what the proof by mutants needs, and what a
measurement of branches would otherwise miss.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from checkpoint_worker.providers import LIVE_SESSION
from checkpoint_worker.providers.contract import Challenge, Checkpoint, ClaimTicket, Verdict
from checkpoint_worker.providers.http.exchange import HttpExchange
from checkpoint_worker.providers.live_session import new_session_secret
from checkpoint_worker.tasks.events import Kill, Open, SignalAction, Wake
from checkpoint_worker.tasks.execution import attempt as module
from checkpoint_worker.tasks.execution import sweeper as sweep
from checkpoint_worker.tasks.execution.attempt import AttemptRunner, http_exchange
from checkpoint_worker.tasks.execution.ledger import CLAIMS_AT_ONCE, Look, Target
from checkpoint_worker.tasks.execution.sweeper import Heartbeat, Sweeper
from checkpoint_worker.tasks.model import Purpose, replace
from checkpoint_worker.tasks.operations.acceptance import open_steps
from checkpoint_worker.tasks.operations.validation import Sealed
from checkpoint_worker.tasks.storage.executor import ScriptCall
from checkpoint_worker.tasks.storage.signals import HeardSignal
from tests.integration.test_attempt import (
    ACCOUNT,
    CLEARED,
    CODE,
    PROVIDER,
    FakeExchange,
    Hangs,
    LedgerFixture,
    ledger,
    sees,
)
from tests.support.deployment import BOUND_S

__all__ = ["ledger"]  # A fixture: pytest finds it by its name here.

REDELIVERY_MS = (3_600 + 100) * 1_000
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


async def test_a_claim_whose_reply_was_lost_is_repeated_and_sent_once(
    ledger: LedgerFixture,
) -> None:
    """The repeat finds its token and needs nothing the first reply carried: the code was read."""
    whole, lost = ledger.executor._eval, []

    async def losing(call: ScriptCall) -> list[Any]:
        reply = await whole(call)
        if call.script == "commit" and not lost:
            lost.append(call)
            raise ConnectionResetError
        return reply

    await ledger.opened(clears)
    ledger.patch.setattr(ledger.executor, "_eval", losing)
    record = await ledger.run()
    assert (record.status, record.code_sent) == (201, True)
    assert len(lost) == 1
    assert ledger.sent == [CODE]


async def test_a_host_whose_clock_is_wrong_changes_no_deadline(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is Redis': a backend an hour ahead would shorten nobody's deadline."""
    right_ns, right_s = time.time_ns, time.time
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time_ns", lambda: right_ns() + 3_600_000_000_000)
        wrong.setattr(time, "time", lambda: right_s() + 3_600)
        await ledger.opened()
    seconds, micros = await ledger.side.client.time()
    current = (await ledger.intent()).current
    assert current is not None
    limit_ms = ledger.attempts.store.limits.deadline_ms
    left_ms = current.deadline_ms - (seconds * 1_000 + micros // 1_000)
    assert limit_ms - BOUND_S * 1_000 < left_ms <= limit_ms


@pytest.mark.settings(**OVERDUE)
async def test_two_sweeps_settle_once_and_change_nothing_final(ledger: LedgerFixture) -> None:
    """A leader that lost its lock may still be at it: each of its writes is one like any other."""

    async def nothing_waits() -> int:
        return 0

    await ledger.opened()
    sweepers = [
        Sweeper(ledger.attempts, Heartbeat(ledger.attempts), nothing_waits) for _ in range(2)
    ]
    async with asyncio.timeout(BOUND_S):
        while not (await ledger.record()).is_final:
            await asyncio.gather(*(sweeper.once() for sweeper in sweepers))
            await asyncio.sleep(0.01)
    await asyncio.gather(*(sweeper.once() for sweeper in sweepers))
    record = await ledger.record()
    assert (record.status, record.code_sent) == (504, False)
    assert await ledger.side.client.xlen(ledger.attempts.store.keys.outcomes) == 1


async def test_a_claim_whose_answer_takes_too_long_is_not_sent(ledger: LedgerFixture) -> None:
    """Between the claim's command and the first byte others may have given the wire away."""

    async def slow() -> None:
        await asyncio.sleep(0.1)

    ledger.patch.setattr(module, "FIRST_BYTE_S", 0.05)
    await ledger.opened(clears)
    ledger.executor.after["commit"] = [slow]
    record = await ledger.run()
    assert (record.status, record.code_sent) == (504, False)
    assert not ledger.sent


async def test_a_used_id_is_remembered_longer_than_any_redelivery(ledger: LedgerFixture) -> None:
    """Celery's Redis transport gives a message out again after an hour and a sweep."""
    await ledger.opened()
    life_ms = await ledger.side.client.pttl(ledger.attempts.store.keys.seen("sub_a"))
    assert life_ms > REDELIVERY_MS


async def test_a_heartbeat_s_answer_tells_the_holder_to_hang_up(ledger: LedgerFixture) -> None:
    """A signal may be lost; the beat asks again and again."""
    heard: list[HeardSignal] = []
    hear = AttemptRunner.on_signal

    hangs = Hangs()

    def noted(attempts: AttemptRunner, signal: HeardSignal) -> None:
        heard.append(signal)
        hear(attempts, signal)

    ledger.patch.setattr(AttemptRunner, "on_signal", noted)
    await ledger.opened(hangs)
    running = ledger.start()
    await hangs.reached.wait()
    await ledger.transact(Kill())
    await Heartbeat(ledger.attempts).send_heartbeat()
    assert heard == [HeardSignal(submission_id="sub_a", do=SignalAction.DRAIN, left_s=0)]
    assert (await running).status == 500


async def test_the_way_to_a_provider_is_the_settings(ledger: LedgerFixture) -> None:
    """A worker's exchanges are HTTP, and nothing is sent by making one."""

    async def never() -> ClaimTicket:
        raise AssertionError

    made = http_exchange(ledger.settings)(never, None)
    assert isinstance(made, HttpExchange)
    assert not made.code_sent


async def test_a_live_session_s_attempt_asks_for_the_session(ledger: LedgerFixture) -> None:
    """By the intent's route, whatever the provider; where none is registered, nothing leaves."""
    steps = open_steps(
        ledger.attempts.store,
        ledger.attempts.vault,
        Open(
            account_id=ACCOUNT,
            provider=PROVIDER,
            checkpoint=Checkpoint(type="OTP", source="EMAIL"),
            purpose=Purpose.CONNECT,
        ),
        Sealed(context={"route": LIVE_SESSION, "secret": new_session_secret()}),
    )
    await ledger.do(steps)
    await ledger.submit()
    record = await ledger.run()
    assert record.body is not None
    assert (record.status, record.code_sent) == (503, False)
    assert record.body["type"] == "errors/no_client_session"
    assert not ledger.sent


async def queues_for_a_claim(ledger: LedgerFixture) -> None:
    """Take every place, and start an attempt that comes too late for one."""
    await ledger.opened(clears)
    for _ in range(CLAIMS_AT_ONCE):
        await ledger.attempts.claim_slots.acquire()


async def test_a_claim_that_is_stopped_while_it_queues_is_not_made(ledger: LedgerFixture) -> None:
    """In a burst claims wait their turn; who was superseded meanwhile asks for nothing."""
    await queues_for_a_claim(ledger)
    running = ledger.start()
    await sees(lambda: bool(ledger.attempts.claim_slots._waiters))
    ledger.tell(SignalAction.STOP)
    assert (await running).state == "queued", "at once, though no place is free"
    assert not ledger.sent


async def test_a_claim_that_is_stopped_as_its_turn_comes_is_not_made(ledger: LedgerFixture) -> None:
    """Its place is given and it is superseded before it can move: the last look is its own."""
    await queues_for_a_claim(ledger)
    running = ledger.start()
    await sees(lambda: bool(ledger.attempts.claim_slots._waiters))
    ledger.attempts.claim_slots.release()
    ledger.tell(SignalAction.STOP)
    assert (await running).state == "queued"
    assert not ledger.sent
    assert not ledger.attempts.claim_slots.locked(), "the place is free again"


@pytest.mark.settings(
    provider_timeout_s=0.1, drain_s=0.1, wire_margin_s=0.1, deadline_s=1.0, min_send_s=0.6
)
async def test_a_claim_that_queues_until_it_is_too_late_is_not_made(ledger: LedgerFixture) -> None:
    """With a silent Redis places are free again late; nobody waits for one beyond its deadline."""
    await queues_for_a_claim(ledger)
    record = await ledger.run()
    assert (record.status, record.code_sent) == (504, False)
    assert not ledger.sent


@pytest.mark.settings(provider_timeout_s=20.0, deadline_s=60.0)
async def test_a_claim_has_all_of_its_provider_s_time_however_long_ago_the_look_was(
    ledger: LedgerFixture,
) -> None:
    """It counts from the claim; else a slow connect would burn the code for nothing."""
    left_s: list[float] = []
    look = AttemptRunner.look

    async def five_seconds_ago(runner: AttemptRunner, target: Target) -> Look:
        seen = await look(runner, target)
        snapshot = replace(seen.snapshot, now_ms=seen.snapshot.now_ms - 5_000)
        return seen._replace(snapshot=snapshot, read_s=seen.read_s - 5.0)

    async def looks(exchange: FakeExchange, _: Challenge) -> Verdict:
        await exchange.send()
        limit = next(iter(ledger.attempts.running.values()))._limit
        assert limit is not None
        left_s.append((limit.when() or 0) - asyncio.get_running_loop().time())
        return CLEARED

    ledger.patch.setattr(AttemptRunner, "look", five_seconds_ago)
    await ledger.opened(looks)
    assert (await ledger.run()).status == 201
    whole_s = ledger.settings.provider_timeout_s
    assert whole_s - 1.0 < left_s[0] <= whole_s + 0.01


@pytest.mark.settings(sweep_s=0.01)
async def test_a_sweep_comes_to_an_end_however_much_is_due(ledger: LedgerFixture) -> None:
    """After so many full batches others have their turn; the next sweep goes on."""

    async def nothing_waits() -> int:
        return 0

    looks: list[int] = []

    async def always_more(_: Sweeper, skip: int) -> int:
        looks.append(skip)
        return skip + 1

    ledger.patch.setattr(sweep, "BATCHES_MAX", 2)
    ledger.patch.setattr(Sweeper, "once", always_more)
    sweeping = asyncio.create_task(
        Sweeper(ledger.attempts, Heartbeat(ledger.attempts), nothing_waits).run()
    )
    await sees(lambda: len(looks) > 2 or sweeping.done())
    sweeping.cancel()
    assert looks[:3] == [0, 1, 0]


async def test_what_changed_nothing_is_known_later_as_it_was_read(ledger: LedgerFixture) -> None:
    """A decision without a commit left no token behind that a repeat could be known by."""
    await ledger.opened()
    seen = await ledger.do(ledger.attempts.store.read(PROVIDER, ACCOUNT))
    result = await ledger.transact(Wake(submission_id="sub_a", run_id=seen.run_id))
    later = result.advanced_by(5)
    assert later.now_ms == result.now_ms + 5
    assert (later.tokens, later.intent) == (seen.tokens, seen.intent)
