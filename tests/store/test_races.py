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
from tests.store.desk import (
    ACCOUNT,
    PROVIDER,
    Desk,
    Subscriber,
    in_lockstep,
    race_violations,
    raw_submit,
)

CONTENDERS = 7
ROUNDS = 12
SEEDS = 12


@pytest.fixture
def desk(redis_url: str) -> Iterator[Desk]:
    """Return a desk without limits for one account: here they all race for the same."""
    made = Desk.at(redis_url, submissions_max=10_000, hourly_max=10_000)
    yield made
    made.redis.close()


def test_submissions_racing_from_threads_are_each_answered_once(
    desk: Desk, results: Subscriber, redis_url: str
) -> None:
    """One record, one publication, one entry each; the chain of successors has no gap.

    The web backends of a deployment are as many processes; nothing but the commit orders
    them.
    """
    desk.open()
    ids = []
    with ThreadPoolExecutor(CONTENDERS) as pool:
        clients = [connect(redis_url) for _ in range(CONTENDERS)]
        for number in range(ROUNDS):
            start = threading.Barrier(CONTENDERS)

            def submit(place: int, number: int = number, start: threading.Barrier = start) -> str:
                steps = desk.submitting(f"s{number}_{place}", str(100_000 + place))
                start.wait(30)
                return SyncExecutor(clients[place]).run(steps).id

            ids += list(pool.map(submit, range(CONTENDERS)))
        for client in clients:
            client.close()
    assert race_violations(desk, ids, results.heard()) == []


def test_submissions_racing_on_one_loop_are_each_answered_once(
    desk: Desk, results: Subscriber, redis_url: str
) -> None:
    """The same through the awaited door."""
    desk.open()
    ids = [f"s{number}" for number in range(CONTENDERS * 4)]

    async def race() -> None:
        client = connect_async(redis_url)
        door = AsyncExecutor(client)
        for at in range(0, len(ids), CONTENDERS):
            batch = ids[at : at + CONTENDERS]
            await asyncio.gather(*(door.run(desk.submitting(name)) for name in batch))
        await client.aclose()

    asyncio.run(race())
    assert race_violations(desk, ids, results.heard()) == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_interleaving_of_submissions_is_answered_once(
    desk: Desk, results: Subscriber, seed: int
) -> None:
    """Reads and commits interleaved at random: what threads may do, and more of it."""
    desk.open()
    ids = [f"s{number}" for number in range(CONTENDERS)]
    in_lockstep(desk, [desk.submitting(name) for name in ids], random.Random(seed))
    assert race_violations(desk, ids, results.heard()) == []


def test_one_id_submitted_by_many_at_once_is_accepted_once(desk: Desk, results: Subscriber) -> None:
    """A backend that repeats a request while the first is on its way sends one code."""
    desk.open()
    many = [desk.submitting("s1") for _ in range(CONTENDERS)]
    got = in_lockstep(desk, many, random.Random(1))
    assert sorted(submitted.accepted for submitted in got) == [False] * 6 + [True]
    assert {submitted.outcome.seq for submitted in got} == {1}
    assert race_violations(desk, ["s1"], results.heard()) == []


def test_a_decision_is_given_up_when_others_are_always_faster(desk: Desk) -> None:
    """The loop has a bound with a name: a hot intent ends in an error, not in a hang."""
    desk.open()
    steps = desk.submitting("slow")
    call = next(steps)
    rounds: list[str] = []

    def contend(call: ScriptCall) -> None:
        while True:
            if call.script == "commit":
                rounds.append(f"fast{len(rounds)}")
                desk.bring(lambda seen: raw_submit(seen, rounds[-1]))
            call = steps.send(desk.door._call(call))

    with pytest.raises(LedgerBusyError):
        contend(call)
    assert len(rounds) == COMMIT_ROUNDS
    assert desk.record("slow") is None


def test_commits_for_two_intents_do_not_disturb_each_other(desk: Desk) -> None:
    """The version belongs to an intent; accounts share nothing but the indexes."""
    desk.open("a")
    desk.open("b")
    rng = random.Random(3)
    in_lockstep(desk, [desk.submitting("s1", account="a"), desk.submitting("s2", account="b")], rng)
    assert desk.intent("a").version == desk.intent("b").version == 2
    assert desk.redis.zcard(desk.store.keys.queued) == 2
    assert desk.door.run(desk.store.read(PROVIDER, ACCOUNT)).intent is None
