"""A newer code while an older one is queued, connecting or with the provider."""

from __future__ import annotations

from checkpoint_worker.worker.local.holding_proxy import HoldingProxy
from checkpoint_worker.worker.local.scenarios.context import ScenarioContext
from checkpoint_worker.worker.local.scenarios.labels import CANCELED, CREATED
from checkpoint_worker.worker.local.scenarios.registry import Start, scenario


@scenario("newer-queued", start=Start.BEFORE_WORKER)
async def _newer_while_queued(context: ScenarioContext) -> None:
    """Newer code while the older is queued."""
    person = await context.person()
    previous = await context.submit(person, await context.wrong(person))
    newer = await context.submit(person, await context.right(person))
    context.worker_may_start.set()
    await context.outcome("older", previous, CANCELED, sent=False, superseded_by=newer)
    await context.outcome("newer", newer, CREATED, sent=True, failures_left=3)


@scenario("newer-before-send")
async def _newer_before_send(context: ScenarioContext) -> None:
    """Newer code while the older connects."""
    async with HoldingProxy() as proxy:
        person = await context.person(proxy=proxy.url)
        previous = await context.submit(person, await context.wrong(person))
        await proxy.arrived()
        newer = await context.submit(person, await context.right(person))
        await context.outcome("older", previous, CANCELED, sent=False, superseded_by=newer)
        proxy.open()
        await context.outcome("newer", newer, CREATED, sent=True, failures_left=3)


@scenario("newer-after-send")
async def _newer_after_send(context: ScenarioContext) -> None:
    """Newer code while the provider thinks."""
    person = await context.person()
    await context.trouble(person, hold=True)
    previous = await context.submit(person, await context.wrong(person))
    await context.received(person)
    newer = await context.submit(person, await context.right(person))
    await context.outcome("older", previous, CANCELED, sent=True, superseded_by=newer)
    await context.trouble(person)
    await context.outcome("newer", newer, CREATED, sent=True)


@scenario("newer-hanging")
async def _newer_while_hanging(context: ScenarioContext) -> None:
    """Newer code while the provider hangs."""
    person = await context.person()
    await context.trouble(person, hang=True)
    previous = await context.submit(person, await context.wrong(person))
    await context.received(person)
    await context.trouble(person)  # For the next code; the first one hangs for ever.
    newer = await context.submit(person, await context.right(person))
    await context.outcome("older", previous, CANCELED, sent=True, superseded_by=newer)
    await context.outcome("newer", newer, CREATED, sent=True, failures_left=3)


@scenario("double-click")
async def _double_click(context: ScenarioContext) -> None:
    """The same code twice, sent once."""
    person = await context.person()
    await context.trouble(person, hold=True)
    code = await context.right(person)
    first = await context.submit(person, code)
    await context.received(person)
    second = await context.submit(person, code)
    await context.outcome("first click", first, CANCELED, sent=True, superseded_by=second)
    await context.trouble(person)
    await context.outcome("second click", second, CREATED, sent=False)
