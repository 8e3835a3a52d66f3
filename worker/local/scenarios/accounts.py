"""Whose account a login opens, and what its user may ask for."""

from __future__ import annotations

from checkpoint_worker.providers.contract import TRY_ANOTHER_WAY
from checkpoint_worker.worker.local.scenarios.context import ScenarioContext
from checkpoint_worker.worker.local.scenarios.labels import (
    ACTION,
    CREATED,
    EXISTS,
    INSTAGRAM,
    MESSENGER,
    MISMATCH,
    RECONNECTED,
    TWITTER,
)
from checkpoint_worker.worker.local.scenarios.registry import scenario


@scenario("reconnect", INSTAGRAM)
async def _reconnect(context: ScenarioContext) -> None:
    """An account that is connected again."""
    person = await context.person(purpose="reconnect")
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("known account", ticket, RECONNECTED, sent=True)


@scenario("connected-twice", INSTAGRAM)
async def _connected_twice(context: ScenarioContext) -> None:
    """The same user on a second account."""
    first = await context.person()
    ticket = await context.submit(first, await context.right(first))
    await context.outcome("first account", ticket, CREATED, sent=True)
    second = await context.person(user_id=first.user_id)
    ticket = await context.submit(second, await context.right(second))
    await context.outcome("second account", ticket, EXISTS, sent=True)


@scenario("another-way", TWITTER)
async def _another_way(context: ScenarioContext) -> None:
    """TRY_ANOTHER_WAY, then the code after all."""
    person = await context.person()
    asked = await context.submit(person, TRY_ANOTHER_WAY)
    await context.outcome("another way", asked, ACTION, sent=False, failures_left=3)
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("then the code", ticket, CREATED, sent=True)


@scenario("somebody-else", MESSENGER)
async def _somebody_else(context: ScenarioContext) -> None:
    """The code opens another user's account."""
    person = await context.person(kind="somebody_else")
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("another user's", ticket, MISMATCH, sent=True)
