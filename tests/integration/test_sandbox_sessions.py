"""The simulators after the code: a session opens what it should, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import pytest

from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.messenger_app import ACCESS_TOKEN, APP, signature

WITHOUT_SESSION: Final = [
    ("LINKEDIN", "GET", "/feed/", 303),
    ("LINKEDIN", "GET", "/voyager/api/identity/profiles/me", 401),
    ("MESSENGER", "POST", "/graphql", 400),
    ("MESSENGER", "GET", "/me", 400),
    ("MESSENGER", "POST", "/method/user.register", 400),
    ("MESSENGER", "POST", "/", 400),
    ("MESSENGER", "GET", "/checkpoint/", 302),
    ("MESSENGER", "POST", "/checkpoint/", 302),
    ("MESSENGER", "GET", "/logout.php", 302),
]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Return a client with a browser's jar of cookies."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as made:
        yield made


async def ask(
    session: aiohttp.ClientSession, method: str, url: str, **words: Any
) -> tuple[int, str]:
    """Return status and text of an answer, a redirect as it is."""
    async with session.request(method, url, allow_redirects=False, **words) as reply:
        return reply.status, await reply.text()


@pytest.mark.parametrize(("provider", "method", "path", "status"), WITHOUT_SESSION)
async def test_nothing_is_shown_without_a_session(
    sandbox: Sandbox,
    session: aiohttp.ClientSession,
    provider: str,
    method: str,
    path: str,
    status: int,
) -> None:
    """A client that took no session over must not believe that it did."""
    assert (await ask(session, method, sandbox.urls[provider] + path))[0] == status


async def test_a_linkedin_session_needs_its_token(
    sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    """Every request of the interface carries the session's token, and a logout does."""
    url, account = (
        sandbox.urls["LINKEDIN"],
        sandbox.add_account("LINKEDIN", kind="no_second_factor"),
    )
    form = {"session_key": account.username, "session_password": account.password}
    assert (await ask(session, "POST", f"{url}/checkpoint/lg/login-submit", data=form))[0] == 303
    profile = f"{url}/voyager/api/identity/profiles/me"
    assert (await ask(session, "GET", profile))[0] == 403
    jar = {cookie.key: cookie.value for cookie in session.cookie_jar}
    headers = {"csrf-token": jar["JSESSIONID"].strip('"')}
    assert (await ask(session, "GET", profile, headers=headers))[0] == 200
    await ask(session, "GET", f"{url}/uas/logout")
    assert (await ask(session, "GET", profile, headers=headers))[0] == 200
    await ask(session, "GET", f"{url}/uas/logout", params={"csrfToken": headers["csrf-token"]})
    assert (await ask(session, "GET", profile, headers=headers))[0] == 401


async def test_a_messenger_token_opens_the_interface(
    sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    """Each way in which the app says its token."""
    url, account = (
        sandbox.urls["MESSENGER"],
        sandbox.add_account("MESSENGER", source="APP", kind="no_second_factor"),
    )
    form = {
        "credentials_type": "password",
        "email": account.username,
        "password": account.password,
        "device_id": "6f1a0c1e-0000-4000-8000-000000000001",
        "api_key": APP["app_id"],
        "access_token": ACCESS_TOKEN,
    }
    form["sig"] = signature(form, APP["client_secret"])
    async with session.post(f"{url}/auth/login", data=form) as reply:
        token = (await reply.json())["access_token"]
    headers = {"Authorization": f"OAuth {token}"}
    for method, path, words in (
        ("GET", "/me", {"params": {"access_token": token}}),
        ("GET", f"/{account.user_id}", {"headers": headers}),
        ("POST", "/graphql", {"headers": headers}),
        ("POST", "/method/user.register", {"data": {"access_token": token}}),
    ):
        assert (await ask(session, method, url + path, **words))[0] == 200, path
    batches = {"": "[]", "no JSON": "[]", "[{}, {}]": "[[0, "}
    for batch, answer in batches.items():
        status, text = await ask(session, "POST", f"{url}/", headers=headers, data={"batch": batch})
        assert (status, text.startswith(answer)) == (200, True), batch


async def test_facebook_s_site_takes_a_few_wrong_codes_and_ends_a_session(
    sandbox: Sandbox, session: aiohttp.ClientSession
) -> None:
    """A wrong password, a prompt that was given up, and a session before and after its end.

    Clients tell its pages apart by their words: facebook-scraper by these two.
    """
    url, account = sandbox.urls["MESSENGER"], sandbox.add_account("MESSENGER", source="APP")
    query = f"{url}/api/graphqlbatch/"
    login = {"email": account.username, "pass": account.password}
    assert "1357001" in (await ask(session, "POST", query))[1]
    async with session.post(
        f"{url}/login.php", data={**login, "pass": "wrong"}, allow_redirects=False
    ) as reply:
        assert "error" in reply.headers["Location"]

    async def prompt() -> str:
        await ask(session, "POST", f"{url}/login.php", data=login)
        text = (await ask(session, "GET", f"{url}/checkpoint/"))[1]
        assert "Enter login code to continue" in text
        return text.partition('name="nh" value="')[2].partition('"')[0]

    nh, tries = await prompt(), 0
    wrong = {"nh": nh, "approvals_code": account.wrong_code()}
    while (answer := await ask(session, "POST", f"{url}/checkpoint/", data=wrong))[0] == 200:
        assert "<strong>The login code you entered doesn&#x27;t match" in answer[1]
        tries += 1
    assert 0 < tries < 10
    nh = await prompt()
    code = {"nh": nh, "approvals_code": account.current_code()}
    for form in ({"nh": nh}, code, {"nh": nh}):
        await ask(session, "POST", f"{url}/checkpoint/", data=form)
    assert account.user_id in (await ask(session, "POST", query))[1]
    await ask(session, "GET", f"{url}/logout.php")
    assert "1357001" in (await ask(session, "POST", query))[1]
