"""Right and wrong codes from every source of every provider."""

from __future__ import annotations

from functools import partial
from typing import Final

from checkpoint_worker.worker.local.scenarios.context import ScenarioContext
from checkpoint_worker.worker.local.scenarios.labels import (
    CREATED,
    INSTAGRAM,
    KILLED,
    LINKEDIN,
    NEXT,
    REJECTED,
    SOURCES,
    TWITTER,
)
from checkpoint_worker.worker.local.scenarios.registry import scenario

_ABOUT: Final = {
    "EMAIL": "code by email",
    "SMS": "code from a text message",
    "APP": "code from an authenticator app",
    "BACKUP": "backup code",
}


async def _accepted(context: ScenarioContext, source: str) -> None:
    person = await context.person(source)
    ticket = await context.submit(person, await context.right(person))
    await context.outcome(f"code from {source}", ticket, CREATED, sent=True)


for _provider, _sources in SOURCES.items():
    for _source in _sources:
        scenario(f"{{}}-{_source.lower()}", _provider, about=_ABOUT[_source])(
            partial(_accepted, source=_source)
        )


@scenario("{}-wrong", *SOURCES)
async def _wrong(context: ScenarioContext) -> None:
    """Wrong code, then the right one."""
    person = await context.person()
    first = await context.submit(person, await context.wrong(person))
    await context.outcome("wrong code", first, REJECTED, sent=True, failures_left=2)
    second = await context.submit(person, await context.right(person))
    await context.outcome("then the right one", second, CREATED, sent=True)


@scenario("{}-chained", LINKEDIN, INSTAGRAM, TWITTER)
async def _chained(context: ScenarioContext) -> None:
    """Two checkpoints in a row."""
    person = await context.person(kind="chained")
    first = await context.submit(person, await context.right(person))
    await context.outcome("first code", first, NEXT, sent=True, failures_left=3)
    second = await context.submit(person, await context.right(person))
    await context.outcome("second code", second, CREATED, sent=True)


@scenario("session")
async def _session_taken(context: ScenarioContext) -> None:
    """The backend takes the session, once."""
    client, person = context.environment.client, await context.person()
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("right code", ticket, CREATED, sent=True)
    who = {"account_id": person.account_id, "provider": person.provider}
    first = await client.take_session(**who, token="backend-1")  # noqa: S106  a name, not a secret
    other = await client.take_session(**who, token="backend-2")  # noqa: S106
    again = await client.take_session(**who, token="backend-1")  # noqa: S106
    context.expect("the backend can take the session", hold=bool(first))
    context.expect("nobody else can take it then", hold=other is None)
    context.expect("a caller that lost the reply can take it again", hold=again == first)


@scenario("killed")
async def _three_wrong(context: ScenarioContext) -> None:
    """Three wrong codes end the login."""
    person = await context.person()
    for left, what, expected in (
        (2, "wrong", REJECTED),
        (1, "wrong again", REJECTED),
        (0, "and again", KILLED),
    ):
        ticket = await context.submit(person, await context.wrong(person))
        await context.outcome(what, ticket, expected, sent=True, failures_left=left)
    late = await context.submit(person, await context.right(person))
    await context.outcome("right, too late", late, KILLED, sent=False)
