"""The Celery task in this process: what it shows Celery, and what it leaves alone.

Whole workers run it in other tests; here it meets what a producer, a broker or a ledger rarely do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from celery.app.task import Context
from celery.exceptions import Ignore

from checkpoint_worker.tasks.celery_task.async_task import Call, Superseded
from checkpoint_worker.tasks.celery_task.task import SolveFailed, install, solve
from checkpoint_worker.tasks.storage.vault import solution_name
from tests.integration.test_attempt import (
    ACCOUNT,
    CODE,
    OTHER,
    PROVIDER,
    LedgerFixture,
    clears,
    ledger,
    no_answer,
)

__all__ = ["ledger"]  # A fixture: pytest finds it by its name here.


@pytest.fixture
async def made(ledger: LedgerFixture) -> AsyncIterator[LedgerFixture]:
    """Return the ledger of a process whose task has its attempts."""
    install(ledger.attempts)
    yield ledger
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


async def test_an_outcome_is_shown_by_its_status_and_type(made: LedgerFixture) -> None:
    """Flower shows what happened, and no more than that."""
    await made.opened(clears)
    assert await wake("sub_a", ACCOUNT, PROVIDER) == "201 AccountCreated"
    assert made.sent == [CODE]


async def test_who_was_superseded_is_revoked_and_names_the_successor(made: LedgerFixture) -> None:
    """Flower's REVOKED is the catalogue's column for a code that a newer one overtook."""
    await made.opened(clears)
    await made.submit(OTHER, "sub_b")
    with pytest.raises(Superseded) as shown:
        await wake("sub_a", ACCOUNT, PROVIDER)
    assert shown.value.successor == "sub_b"
    assert not made.sent


# Plain producers -----------------------------------------------------------------------


async def test_a_plain_producer_s_code_is_accepted_and_verified_in_one_go(
    made: LedgerFixture,
) -> None:
    """Its message is submission and wake at once."""
    made.play(clears)
    await made.open()
    sealed = sealed_for(made, "raw-1", CODE)
    assert await wake("raw-1", ACCOUNT, PROVIDER, sealed) == "201 AccountCreated"
    assert made.sent == [CODE]


@pytest.mark.settings(raw_intake=False)
async def test_plain_producers_are_refused_where_they_are_switched_off(made: LedgerFixture) -> None:
    """The answer says what to use instead; no code is stored and none is sent."""
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


@pytest.mark.parametrize("account", [None, 7, {"id": ACCOUNT}])
async def test_a_plain_producer_without_an_account_is_answered(
    made: LedgerFixture, account: Any
) -> None:
    """A waiter for this id hears what is wrong with it."""
    name = solution_name(PROVIDER, str(account), "raw-1")
    sealed = made.attempts.vault.seal(name, json.dumps(CODE).encode())
    assert (await wake("raw-1", account, PROVIDER, sealed)).startswith("400 ")
    assert (await made.record("raw-1")).account_id == ""


async def test_a_code_sealed_for_another_submission_is_not_taken_in(made: LedgerFixture) -> None:
    """Who can write to the queue alone cannot make a worker send what was sealed elsewhere."""
    made.play(clears)
    await made.open()
    stolen = sealed_for(made, "raw-1", CODE)
    with pytest.raises(Ignore):
        await wake("raw-2", ACCOUNT, PROVIDER, stolen)
    _, record = await made.do(made.attempts.store.record("raw-2"))
    assert record is None
    assert not made.sent


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
async def test_a_wake_that_names_nothing_changes_nothing(
    made: LedgerFixture, task_id: str, given: tuple[Any, ...]
) -> None:
    """It is dropped, and the code that waits goes on waiting, sealed and unsent."""
    await made.opened(clears)
    with pytest.raises(Ignore):
        await wake(task_id, *given)
    current = (await made.intent()).current
    assert current is not None
    assert current.id == "sub_a"
    assert not made.sent


async def test_a_wake_while_the_ledger_is_away_leaves_the_code_where_it_is(
    made: LedgerFixture,
) -> None:
    """The sweeper wakes it again; here nothing may fail and nothing be sent."""
    await made.opened(clears)
    for waiting in (made.executor.before, made.executor.after):
        waiting.update({name: [no_answer] * 9 for name in ("read", "commit", "record")})
    with pytest.raises(Ignore):
        await wake("sub_a", ACCOUNT, PROVIDER)
    assert not made.sent
    made.executor.before.clear()
    made.executor.after.clear()
    assert await wake("sub_a", ACCOUNT, PROVIDER) == "201 AccountCreated"
    assert made.sent == [CODE]


async def test_outside_a_worker_the_task_says_where_it_runs() -> None:
    """A plain Celery worker that found our task has no ledger to look into."""
    with pytest.raises(RuntimeError, match="in a checkpoint worker only"):
        await wake("sub_a", ACCOUNT, PROVIDER)


async def test_what_an_operator_must_see_fails_the_task(made: LedgerFixture) -> None:
    """FAILURE in Flower is for what an operator has to look at."""

    async def breaks(*_: object) -> Any:
        msg = "a bug"
        raise ValueError(msg)

    await made.opened(breaks)
    with pytest.raises(SolveFailed, match=r"^500 unexpected_error$"):
        await wake("sub_a", ACCOUNT, PROVIDER)
