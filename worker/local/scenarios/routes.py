"""Other routes to a provider: a proxy, or the client session that holds the login."""

from __future__ import annotations

import asyncio

from checkpoint_worker.providers.live_session import new_session_secret
from checkpoint_worker.worker.local.scenarios.context import ScenarioContext
from checkpoint_worker.worker.local.scenarios.labels import (
    CREATED,
    MESSENGER,
    NO_SESSION,
    PROXY_AUTH,
    REJECTED,
    TWITTER,
)
from checkpoint_worker.worker.local.scenarios.registry import scenario


@scenario("proxy", TWITTER)
async def _proxy(context: ScenarioContext) -> None:
    """Through a proxy with a password."""
    auth_proxy = context.environment.auth_proxy
    person = await context.person(proxy=auth_proxy.url(auth_proxy.password))
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("proxy's password", ticket, CREATED, sent=True)
    context.expect("it went through the proxy", hold=auth_proxy.passed > 0)


@scenario("proxy-refuses", TWITTER)
async def _proxy_refuses(context: ScenarioContext) -> None:
    """The proxy refuses the password."""
    auth_proxy = context.environment.auth_proxy
    person = await context.person(proxy=auth_proxy.url("not-the-password"))
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("wrong password", ticket, PROXY_AUTH, sent=False, failures_left=3)
    context.expect("the proxy refused it", hold=auth_proxy.refused > 0)


@scenario("live-session", MESSENGER)
async def _live_session(context: ScenarioContext) -> None:
    """A client session holds the login."""
    person = await context.stranger()
    secret = new_session_secret()
    login_context = await context.open(person, secret=secret)
    who = (person.provider, person.account_id)
    await asyncio.to_thread(context.environment.host_session, *who, login_context, secret)
    wrong = await context.submit(person, await context.wrong(person))
    await context.outcome("wrong code", wrong, REJECTED, sent=True, failures_left=2)
    right = await context.submit(person, await context.right(person))
    await context.outcome("then the right one", right, CREATED, sent=True)


@scenario("no-session", MESSENGER)
async def _no_session(context: ScenarioContext) -> None:
    """No client session is there."""
    person = await context.stranger()
    await context.open(person, secret=new_session_secret())
    ticket = await context.submit(person, await context.right(person))
    await context.outcome("no session", ticket, NO_SESSION, sent=False, failures_left=3)
