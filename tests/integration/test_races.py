"""Many submissions at once for one intent: each gets one record, one message, one entry."""

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    LedgerBusyError,
    ScriptCall,
    SyncExecutor,
    connect,
    connect_async,
)
from checkpoint_worker.tasks.storage.store import COMMIT_ROUNDS
from tests.support.ledger_fixture import (
    ACCOUNT,
    PROVIDER,
    LedgerFixture,
    Subscriber,
    in_lockstep,
    race_violations,
    raw_submit,
)

CONTENDERS = 7
ROUNDS = 12
SEEDS = 12


@pytest.fixture
def ledger(redis_url: str) -> Iterator[LedgerFixture]:
    """Return a ledger without limits for one account: here they all race for the same."""
    made = LedgerFixture.at(redis_url, submissions_max=10_000, hourly_max=10_000)
    yield made
    made.redis.close()


def test_submissions_racing_from_threads_are_each_answered_once(
    ledger: LedgerFixture, results: Subscriber, redis_url: str
) -> None:
    """One record, one publication, one entry each; the chain of successors has no gap.

    The web backends of a deployment are as many processes; nothing but the commit orders
    them.
    """
    ledger.open()
    ids = []
    with ThreadPoolExecutor(CONTENDERS) as pool:
        clients = [connect(redis_url) for _ in range(CONTENDERS)]
        for number in range(ROUNDS):
            start = threading.Barrier(CONTENDERS)

            def submit(place: int, number: int = number, start: threading.Barrier = start) -> str:
                steps = ledger.submitting(f"s{number}_{place}", str(100_000 + place))
                start.wait(30)
                return SyncExecutor(clients[place]).run(steps).id

            ids += list(pool.map(submit, range(CONTENDERS)))
        for client in clients:
            client.close()
    assert race_violations(ledger, ids, results.heard()) == []


async def test_submissions_racing_on_one_loop_are_each_answered_once(
    ledger: LedgerFixture, results: Subscriber, redis_url: str
) -> None:
    """The same through the awaited executor."""
    ledger.open()
    ids = [f"s{number}" for number in range(CONTENDERS * 4)]
    client = connect_async(redis_url)
    executor = AsyncExecutor(client)
    for at in range(0, len(ids), CONTENDERS):
        batch = ids[at : at + CONTENDERS]
        await asyncio.gather(*(executor.run(ledger.submitting(name)) for name in batch))
    await client.aclose()
    assert race_violations(ledger, ids, results.heard()) == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_interleaving_of_submissions_is_answered_once(
    ledger: LedgerFixture, results: Subscriber, seed: int
) -> None:
    """Reads and commits interleaved at random: what threads may do, and more of it."""
    ledger.open()
    ids = [f"s{number}" for number in range(CONTENDERS)]
    in_lockstep(ledger, [ledger.submitting(name) for name in ids], random.Random(seed))
    assert race_violations(ledger, ids, results.heard()) == []


def test_one_id_submitted_by_many_at_once_is_accepted_once(
    ledger: LedgerFixture, results: Subscriber
) -> None:
    """A backend that repeats a request while the first is on its way sends one code."""
    ledger.open()
    many = [ledger.submitting("s1") for _ in range(CONTENDERS)]
    got = in_lockstep(ledger, many, random.Random(1))
    assert sorted(submitted.accepted for submitted in got) == [False] * 6 + [True]
    assert {submitted.outcome.seq for submitted in got} == {1}
    assert race_violations(ledger, ["s1"], results.heard()) == []


def test_a_decision_is_given_up_when_others_are_always_faster(ledger: LedgerFixture) -> None:
    """The loop has a bound with a name: a hot intent ends in an error, not in a hang."""
    ledger.open()
    steps = ledger.submitting("slow")
    call = next(steps)
    rounds: list[str] = []

    def contend(call: ScriptCall) -> None:
        while True:
            if call.script == "commit":
                rounds.append(f"fast{len(rounds)}")
                ledger.bring(lambda seen: raw_submit(seen, rounds[-1]))
            call = steps.send(ledger.executor._call(call))

    with pytest.raises(LedgerBusyError):
        contend(call)
    assert len(rounds) == COMMIT_ROUNDS
    assert ledger.record("slow") is None


def test_commits_for_two_intents_do_not_disturb_each_other(ledger: LedgerFixture) -> None:
    """The version belongs to an intent; accounts share nothing but the indexes."""
    ledger.open("a")
    ledger.open("b")
    rng = random.Random(3)
    in_lockstep(
        ledger, [ledger.submitting("s1", account="a"), ledger.submitting("s2", account="b")], rng
    )
    assert ledger.intent("a").version == ledger.intent("b").version == 2
    assert ledger.redis.zcard(ledger.store.keys.queued) == 2
    assert ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT)).intent is None
