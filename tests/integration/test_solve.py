"""The Celery task in this process: what it shows Celery, and what it leaves alone.

Whole workers run it in other tests; here it meets what a producer, a broker or a ledger rarely do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.app.task import Context
from celery.exceptions import Ignore

from checkpoint_worker.tasks.celery_task.async_task import Call, Superseded
from checkpoint_worker.tasks.celery_task.task import SolveFailed, install, solve
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key, solution_name
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.integration.test_attempt import (
    ACCOUNT,
    CODE,
    OTHER,
    PROVIDER,
    LedgerFixture,
    Play,
    clears,
    ledger,
    no_answer,
)
from tests.support.deployment import SHORT

RunPlay = Callable[..., None]


@pytest.fixture
def at_work(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[RunPlay]:
    """Run a coroutine in a process whose task has its attempts."""

    def run(play: Play, **more: Any) -> None:
        given = {**SHORT, "redis_url": redis_server.url, "secret_keys": make_key(), **more}
        settings = Settings(**{**given, "prefix": f"t{abs(hash(request.node.name))}"})

        async def with_desk() -> None:
            async with ledger(settings, redis_server.url, monkeypatch) as made:
                install(made.attempts)
                await play(made)

        asyncio.run(with_desk())

    yield run
    install(None)


async def wake(task_id: str = "sub_a", *given: Any) -> str:
    """Run the task as the pool does; the task id is the submission id."""

    async def run() -> str:
        call = Call(task=solve, request=Context(id=task_id), coroutine=solve.run(*given))
        shown: str = await call.enter().coroutine
        return shown

    return await asyncio.create_task(run())


def sealed_for(made: LedgerFixture, submission_id: str, code: object) -> str:
    """Return a plain producer's code as the strategy seals it."""
    name = solution_name(PROVIDER, ACCOUNT, submission_id)
    return made.attempts.vault.seal(name, json.dumps(code).encode())


# What Celery shows ---------------------------------------------------------------------


def test_an_outcome_is_shown_by_its_status_and_type(at_work: RunPlay) -> None:
    """Flower shows what happened, and no more than that."""

    async def play(made: LedgerFixture) -> None:
        made.play(clears)
        await made.opened()
        assert await wake("sub_a", ACCOUNT, PROVIDER) == "201 AccountCreated"
        assert made.sent == [CODE]

    at_work(play)


def test_who_was_superseded_is_revoked_and_names_the_successor(at_work: RunPlay) -> None:
    """Flower's REVOKED is the catalogue's column for a code that a newer one overtook."""

    async def play(made: LedgerFixture) -> None:
        made.play(clears)
        await made.opened()
        await made.submit(OTHER, "sub_b")
        with pytest.raises(Superseded) as shown:
            await wake("sub_a", ACCOUNT, PROVIDER)
        assert shown.value.successor == "sub_b"
        assert not made.sent

    at_work(play)


# Plain producers -----------------------------------------------------------------------


def test_a_plain_producer_s_code_is_accepted_and_verified_in_one_go(at_work: RunPlay) -> None:
    """Its message is submission and wake at once."""

    async def play(made: LedgerFixture) -> None:
        made.play(clears)
        await made.open()
        sealed = sealed_for(made, "raw-1", CODE)
        assert await wake("raw-1", ACCOUNT, PROVIDER, sealed) == "201 AccountCreated"
        assert made.sent == [CODE]

    at_work(play)


def test_plain_producers_are_refused_where_they_are_switched_off(at_work: RunPlay) -> None:
    """The answer says what to use instead; no code is stored and none is sent."""

    async def play(made: LedgerFixture) -> None:
        made.play(clears)
        await made.open()
        assert await wake("raw-1", ACCOUNT, PROVIDER, sealed_for(made, "raw-1", CODE)) == (
            "400 invalid_request"
        )
        record = await made.record("raw-1")
        assert record.body is not None
        assert "switched off" in record.body["detail"]
        assert (await made.intent()).current is None
        assert not made.sent

    at_work(play, raw_intake=False)


@pytest.mark.parametrize("account", [None, 7, {"id": ACCOUNT}])
def test_a_plain_producer_without_an_account_is_answered(at_work: RunPlay, account: Any) -> None:
    """Whoever waits for this id hears what is wrong with it."""

    async def play(made: LedgerFixture) -> None:
        name = solution_name(PROVIDER, str(account), "raw-1")
        sealed = made.attempts.vault.seal(name, json.dumps(CODE).encode())
        assert (await wake("raw-1", account, PROVIDER, sealed)).startswith("400 ")
        assert (await made.record("raw-1")).account_id == ""

    at_work(play)


def test_a_code_sealed_for_another_submission_is_not_taken_in(at_work: RunPlay) -> None:
    """Who can write to the queue alone cannot make a worker send what was sealed elsewhere."""

    async def play(made: LedgerFixture) -> None:
        made.play(clears)
        await made.open()
        stolen = sealed_for(made, "raw-1", CODE)
        with pytest.raises(Ignore):
            await wake("raw-2", ACCOUNT, PROVIDER, stolen)
        _, record = await made.do(made.attempts.store.record("raw-2"))
        assert record is None
        assert not made.sent

    at_work(play)


# What leads to nothing -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("task_id", "given"),
    [
        ("no id of ours!", (ACCOUNT, PROVIDER)),
        ("sub_a", ()),
        ("sub_a", (ACCOUNT, ["LINKEDIN"])),
        ("sub_unknown", (ACCOUNT, PROVIDER)),
    ],
    ids=["an unusable id", "no account", "a list as the provider", "an unknown id"],
)
def test_a_wake_that_names_nothing_changes_nothing(
    at_work: RunPlay, task_id: str, given: tuple[Any, ...]
) -> None:
    """It is dropped, and the code that waits goes on waiting, sealed and unsent."""

    async def play(made: LedgerFixture) -> None:
        made.play(clears)
        await made.opened()
        with pytest.raises(Ignore):
            await wake(task_id, *given)
        current = (await made.intent()).current
        assert current is not None
        assert current.id == "sub_a"
        assert not made.sent

    at_work(play)


def test_a_wake_while_the_ledger_is_away_leaves_the_code_where_it_is(at_work: RunPlay) -> None:
    """The sweeper wakes it again; here nothing may fail and nothing be sent."""

    async def play(made: LedgerFixture) -> None:
        made.play(clears)
        await made.opened()
        for waiting in (made.door.before, made.door.after):
            waiting.update({name: [no_answer] * 9 for name in ("read", "commit", "record")})
        with pytest.raises(Ignore):
            await wake("sub_a", ACCOUNT, PROVIDER)
        assert not made.sent
        made.door.before.clear()
        made.door.after.clear()
        assert await wake("sub_a", ACCOUNT, PROVIDER) == "201 AccountCreated"
        assert made.sent == [CODE]

    at_work(play)


def test_outside_a_worker_the_task_says_where_it_runs() -> None:
    """A plain Celery worker that found our task has no ledger to look into."""
    with pytest.raises(RuntimeError, match="in a checkpoint worker only"):
        asyncio.run(wake("sub_a", ACCOUNT, PROVIDER))


def test_what_an_operator_must_see_fails_the_task(at_work: RunPlay) -> None:
    """FAILURE in Flower is for what somebody has to look at."""

    async def play(made: LedgerFixture) -> None:
        async def breaks(*_: object) -> Any:
            msg = "a bug"
            raise ValueError(msg)

        made.play(breaks)
        await made.opened()
        with pytest.raises(SolveFailed, match=r"^500 unexpected_error$"):
            await wake("sub_a", ACCOUNT, PROVIDER)

    at_work(play)
