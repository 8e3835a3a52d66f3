"""Codes that no provider answers, and other ways to submit."""

from __future__ import annotations

from checkpoint_worker.worker.local.scenarios.context import OUTCOME_TIMEOUT_S, ScenarioContext
from checkpoint_worker.worker.local.scenarios.labels import (
    CREATED,
    INVALID,
    OUT_OF_TIME,
    PROVIDER_SILENT,
    TOO_LONG,
    UNKNOWN,
)
from checkpoint_worker.worker.local.scenarios.registry import Start, scenario


@scenario("hang")
async def _hangs(context: ScenarioContext) -> None:
    """The provider never answers."""
    person = await context.person()
    await context.trouble(person, hang=True)
    ticket = await context.submit(person, await context.wrong(person))
    await context.outcome("no answer", ticket, PROVIDER_SILENT, sent=True, failures_left=3)


@scenario("unserved", start=Start.WITHOUT_WORKER)
async def _unserved(context: ScenarioContext) -> None:
    """No worker serves the queue."""
    person = await context.stranger()
    await context.open(person, workerless=True)
    ticket = await context.submit(person, await context.right(person), workerless=True)
    # Without worker and sweeper, a client that asks after the deadline settles the submission.
    await context.environment.workerless.wait(ticket.id, OUTCOME_TIMEOUT_S)
    await context.outcome("nobody works", ticket, OUT_OF_TIME, sent=False)


@scenario("no-intent", start=Start.WITHOUT_WORKER)
async def _no_intent(context: ScenarioContext) -> None:
    """Nobody opened a login."""
    person = await context.stranger()
    ticket = await context.submit(person, await context.wrong(person))
    await context.outcome("no login open", ticket, UNKNOWN, sent=False)


@scenario("bad-input", start=Start.WITHOUT_WORKER)
async def _bad_input(context: ScenarioContext) -> None:
    """Refused before it is stored."""
    person = await context.stranger()
    good = {"account_id": person.account_id, "provider": person.provider, "code": "123456"}
    await context.refused("empty code", INVALID, **good | {"code": " "})
    await context.refused("endless code", TOO_LONG, **good | {"code": "1" * 257})
    await context.refused("unknown provider", INVALID, **good | {"provider": "FAXBOOK"})
    await context.refused("no account", INVALID, **good | {"account_id": ""})


@scenario("celery")
async def _celery_producer(context: ScenarioContext) -> None:
    """Plain Celery producer."""
    person = await context.person()
    ticket = await context.produce(person, await context.right(person))
    await context.outcome("send_task", ticket, CREATED, sent=True)
