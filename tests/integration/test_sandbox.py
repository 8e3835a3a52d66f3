"""The sandbox: a stranger can log in, faults do what they say, counting never misses."""

from __future__ import annotations

import asyncio
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import pyotp
import pytest

from checkpoint_worker.providers.contract import (
    Cleared,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    ServiceUnavailableError,
)
from checkpoint_worker.providers.linkedin.adapter import LinkedIn, LinkedInContext
from checkpoint_worker.providers.sandbox import Sandbox, SandboxError, background
from checkpoint_worker.providers.sandbox.accounts import Account, Accounts
from checkpoint_worker.providers.sandbox.listeners import relay
from tests.support.canned_server import attempt


async def solve(sandbox: Sandbox, account: Account, code: str) -> object:
    """Log in as far as the checkpoint and verify a code there."""
    context = LinkedInContext.model_validate(sandbox.begin_login(account).context)
    return await attempt(LinkedIn(), sandbox.urls["LINKEDIN"], context, code)


# A stranger's client: the standard library, sharing nothing with the adapter ------------


class Hidden(HTMLParser):
    """Collects hidden inputs as a scraper would."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a hidden input."""
        found = dict(attrs)
        if tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"] or ""] = found["value"] or ""


class Stranger:
    """A browser-like client that follows redirects and keeps cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    def ask(self, path: str, form: dict[str, str] | None = None, **headers: str) -> str:
        """Get a page, or post a form."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(  # noqa: S310  the sandbox's own address
            self.url + path, data=data, headers=sent
        )
        with self._opener.open(request, timeout=10) as reply:
            return str(reply.read().decode())

    def cookie(self, name: str) -> str:
        """Return a cookie's value as it stands."""
        return next((str(each.value) for each in self.jar if each.name == name), "")


@pytest.mark.parametrize("source", ["EMAIL", "SMS", "APP"])
def test_an_independent_client_logs_in_from_the_first_step(source: str) -> None:
    """If only our own adapter got through, the two would merely agree with each other."""
    with background() as client:
        account = client.add_account("LINKEDIN", source=source)
        stranger = Stranger(client.urls()["LINKEDIN"])
        csrf = Hidden(stranger.ask("/uas/login")).fields["loginCsrfParam"]
        who = {"session_key": account["username"], "session_password": account["password"]}
        page = stranger.ask("/checkpoint/lg/login-submit", {"loginCsrfParam": csrf, **who})
        fields = Hidden(page).fields
        assert len(fields) == 12
        assert fields["csrfToken"] == stranger.cookie("JSESSIONID").strip('"')
        answer = {**fields, "language": "en-US", "recognizedDevice": "on"}
        wrong = stranger.ask(
            "/checkpoint/challenge/verify", {**answer, "pin": client.wrong_code(account["id"])}
        )
        assert stranger.cookie("li_at") == ""
        answer |= Hidden(wrong).fields
        code = client.current_code(account["id"])
        feed = stranger.ask("/checkpoint/challenge/verify", {**answer, "pin": code})
        assert "Feed" in feed
        token = stranger.cookie("JSESSIONID")
        assert token.startswith('"ajax:')
        me = json.loads(stranger.ask("/voyager/api/me", csrf_token=token.strip('"')))
        assert str(me["plainId"]) == account["user_id"]
        assert len(client.sends(account["id"])) == 2


def test_an_app_style_client_is_sent_to_the_same_page() -> None:
    """``/uas/authenticate`` answers with JSON that names the challenge page."""
    with background() as client:
        account = client.add_account("LINKEDIN")
        stranger = Stranger(client.urls()["LINKEDIN"])
        stranger.ask("/uas/authenticate")
        who = {"session_key": account["username"], "session_password": account["password"]}
        said = json.loads(stranger.ask("/uas/authenticate", who))
        assert said["login_result"] == "CHALLENGE"
        path = said["challenge_url"].removeprefix(stranger.url)
        fields = Hidden(stranger.ask(path)).fields
        code = client.current_code(account["id"])
        assert "Feed" in stranger.ask("/checkpoint/challenge/verify", {**fields, "pin": code})


def test_the_first_step_needs_the_password() -> None:
    """A login that begins without it would prove nothing."""
    with background() as client:
        account = client.add_account("LINKEDIN")
        stranger = Stranger(client.urls()["LINKEDIN"])
        who = {"session_key": account["username"], "session_password": "guess"}
        page = stranger.ask("/checkpoint/lg/login-submit", who)
        assert "challengeId" not in Hidden(page).fields
        with pytest.raises(urllib.error.HTTPError) as caught:
            stranger.ask("/uas/authenticate", who)
        with caught.value as refusal:
            assert json.load(refusal) == {"login_result": "BAD_PASSWORD"}


# Codes ---------------------------------------------------------------------------------


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def __call__(self) -> float:
        """Return the time it was set to."""
        return self.now_s


def test_a_delivered_code_works_once_until_it_expires() -> None:
    """As providers do: single use, and five minutes of life."""
    clock = Clock()
    account = Accounts(now=clock).add_account("LINKEDIN", source="SMS", kind="plain")
    account.deliver()
    first = account.current_code()
    assert account.judge(first) == "right"
    assert account.judge(first) == "wrong"
    account.deliver()
    second = account.current_code()
    clock.now_s += 300
    assert account.judge(second) == "expired"
    with pytest.raises(LookupError):
        account.current_code()


def test_the_app_shows_what_any_authenticator_shows_and_each_step_works_once() -> None:
    """The secret can go into a real app; the last step accepted is never accepted again."""
    clock = Clock()
    account = Accounts(now=clock).add_account("LINKEDIN", source="APP", kind="plain")
    code = account.current_code()
    assert code == pyotp.TOTP(account.secret).at(clock.now_s)
    assert account.judge(code) == "right"
    assert account.judge(code) == "wrong"
    following = account.current_code()
    assert following != code
    assert account.judge(following) == "right"
    clock.now_s += 90
    assert account.judge(account.current_code()) == "right"
    assert account.judge(following) == "wrong"


def test_a_wrong_code_is_never_right() -> None:
    """Neither for the inbox nor for the app, now or later."""
    clock = Clock()
    accounts = Accounts(now=clock)
    for source in ("EMAIL", "APP"):
        account = accounts.add_account("LINKEDIN", source=source, kind="plain")
        wrong = account.wrong_code()
        assert re.fullmatch(r"\d{6}", wrong)
        for _ in range(20):
            account.deliver()
            assert account.current_code() != wrong
            assert account.judge(wrong) == "wrong"
            clock.now_s += 30


def test_no_two_codes_are_the_same() -> None:
    """Counting sends by code needs it."""
    accounts = Accounts()
    codes = [accounts.fresh_code() for _ in range(2000)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"\d{6}", code) for code in codes)


# Faults --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"status": 500}, ProviderBrokenError),
        ({"status": 503}, ServiceUnavailableError),
        ({"redirect307": True}, ProviderBrokenError),
        ({"reset": True}, ProviderTimeoutError),
        ({"empty": True}, ProviderBrokenError),
        ({"wrong_answer": True}, ProviderBrokenError),
        ({"oversized": 50_000_000}, ProviderBrokenError),
        ({"captcha": True}, ProviderFailure),
        ({"kind": "restricted"}, ProviderFailure),
    ],
)
async def test_each_fault_shows_at_the_client_and_the_code_is_sent_once(
    sandbox: Sandbox, faults: dict[str, object], expected: type[ProviderFailure]
) -> None:
    """A fault is where impatient clients send twice."""
    account = sandbox.add_account("LINKEDIN", source="APP")
    sandbox.set_faults(account, **faults)
    code = account.current_code()
    with pytest.raises(expected):
        await solve(sandbox, account, code)
    assert sandbox.count(code) == 1
    sandbox.set_faults(account)
    assert isinstance(await solve(sandbox, account, account.current_code()), Cleared)


async def test_a_slow_answer_is_still_the_answer(sandbox: Sandbox) -> None:
    """``slow`` waits before the code is evaluated and then goes on as always."""
    account = sandbox.add_account("LINKEDIN")
    sandbox.set_faults(account, slow=0.05)
    assert isinstance(await solve(sandbox, account, account.wrong_code()), Rejected)


@pytest.mark.parametrize("faults", [{"hang": True}, {"drip": 30.0}, {"hold": True}])
async def test_an_answer_that_never_ends_counts_as_open_until_the_client_leaves(
    sandbox: Sandbox, faults: dict[str, object]
) -> None:
    """The send is counted when the body arrives; the exchange ends when the client hangs up."""
    account = sandbox.add_account("LINKEDIN", source="APP")
    sandbox.set_faults(account, **faults)
    code = account.current_code()
    task = asyncio.create_task(solve(sandbox, account, code))
    await sandbox.received(account)
    assert sandbox.count(code) == 1
    assert account.open_exchanges == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await sandbox.connection_logs["LINKEDIN"].deserted()
    await asyncio.sleep(0)  # The handler is told one turn after the connection log.
    assert account.open_exchanges == 0
    assert account.max_open_exchanges == 1


async def test_a_held_request_is_received_and_goes_on_when_released(sandbox: Sandbox) -> None:
    """So a test can act between the provider's having the code and its answer."""
    account = sandbox.add_account("LINKEDIN", source="APP")
    sandbox.hold(account)
    tasks = [asyncio.create_task(solve(sandbox, account, account.wrong_code()))]
    await sandbox.received(account, 1)
    tasks.append(asyncio.create_task(solve(sandbox, account, account.wrong_code())))
    await sandbox.received(account, 2)
    assert account.open_exchanges == account.max_open_exchanges == 2
    sandbox.release(account)
    assert all(isinstance(each, Rejected) for each in await asyncio.gather(*tasks))
    assert account.open_exchanges == 0


async def test_a_connection_is_seen_before_its_first_byte(sandbox: Sandbox) -> None:
    """The claim stands between the two; tests must be able to stop there."""
    port = int(sandbox.urls["LINKEDIN"].rpartition(":")[2])
    waiting = asyncio.create_task(sandbox.connected("LINKEDIN"))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await waiting
    assert sandbox.connection_logs["LINKEDIN"].silent == 1
    writer.close()
    await writer.wait_closed()
    await sandbox.connection_logs["LINKEDIN"].deserted()
    assert sandbox.connection_logs["LINKEDIN"].silent == 0
    assert sandbox.sends == []


def test_a_code_for_no_challenge_is_counted_all_the_same() -> None:
    """A count that looked only at valid requests would miss the send that matters."""
    with background() as client:
        stranger = Stranger(client.urls()["LINKEDIN"])
        with pytest.raises(urllib.error.HTTPError) as caught:
            stranger.ask("/checkpoint/challenge/verify", {"pin": "123456"})
        caught.value.close()
        sends = client.sends(code="123456")
        assert [send["account"] for send in sends] == [""]


async def test_unknown_kinds_sources_and_faults_are_refused(sandbox: Sandbox) -> None:
    """A misspelt fault that did nothing would make a test pass for nothing."""
    account = sandbox.add_account("LINKEDIN")
    for wrong in (
        lambda: sandbox.add_account("LINKEDIN", kind="odd"),
        lambda: sandbox.add_account("LINKEDIN", source="BACKUP"),
        lambda: sandbox.add_account("MYSPACE"),
        lambda: sandbox.set_faults(account, slowly=1),
        lambda: sandbox.set_faults(account, slow="1"),
        lambda: sandbox.set_faults(account, hang=1),
        lambda: sandbox.set_faults(account, kind="odd"),
    ):
        with pytest.raises(ValueError, match=r"no |not |wants"):
            wrong()


async def test_a_sandbox_stops_with_requests_still_hanging_and_twice() -> None:
    """Nothing may outlive a test."""
    sandbox = Sandbox()
    await sandbox.start()
    account = sandbox.add_account("LINKEDIN", source="APP")
    sandbox.set_faults(account, hang=True)
    task = asyncio.create_task(solve(sandbox, account, account.current_code()))
    await sandbox.received(account)
    await sandbox.stop()
    await sandbox.stop()
    with pytest.raises(ProviderTimeoutError):
        await task


# From outside --------------------------------------------------------------------------


def test_everything_can_be_done_from_another_process() -> None:
    """The demo, the command line and tests of a real worker use this side only."""
    with background() as client:
        account = client.add_account("LINKEDIN", source="SMS", user_id="42")["id"]
        login = client.begin_login(account)
        assert login["checkpoint"] == {"type": "2FA", "source": "SMS"}
        assert login["user_id"] == "42"
        context = LinkedInContext.model_validate(login["context"])
        assert client.set_faults(account, hold=True)["faults"] == {"hold": True}
        code = client.current_code(account)
        url = client.urls()["LINKEDIN"]
        with ThreadPoolExecutor(1) as pool:
            solving = pool.submit(asyncio.run, attempt(LinkedIn(), url, context, code))
            assert [send["code"] for send in client.received(account)] == [code]
            assert client.account(account)["open_exchanges"] == 1
            client.set_faults(account)
            assert isinstance(solving.result(), Cleared)
        with pytest.raises(TimeoutError):
            client.received(account, 2, timeout_s=0.01)
        client.begin_login(account)
        client.expired_code(account)
        with pytest.raises(SandboxError, match="no valid code"):
            client.current_code(account)
        with pytest.raises(LookupError):
            client.account("acc_nobody")


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("accounts", "application/json", '{"provider": "LINKEDIN", "odd": 1}'),
        ("accounts", "application/json", '{"provider": []}'),
        ("accounts", "application/json", "[]"),
        ("accounts", "application/json", "{"),
        ("accounts", "text/plain", '{"provider": "LINKEDIN"}'),
        ("logins", "application/json", '{"account": "acc_nobody"}'),
        ("faults", "application/json", '{"account": "acc_linkedin_1", "faults": 1}'),
        ("faults", "application/json", '{"account": "acc_linkedin_1", "faults": {"odd": 1}}'),
    ],
)
def test_what_the_control_api_does_not_understand_it_refuses(
    path: str, kind: str, body: str
) -> None:
    """With a sentence; and it takes no form, which any web page could post to it."""
    with background() as client:
        client.add_account("LINKEDIN")
        request = urllib.request.Request(  # noqa: S310  the sandbox's own address
            f"{client.page_url}/control/{path}",
            data=body.encode(),
            headers={"Content-Type": kind},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
        with caught.value as refusal:
            assert refusal.code == 400
            assert json.load(refusal)["error"]


def test_the_page_is_one_file_without_foreign_parts() -> None:
    """It must work on a machine without a network, and on a phone."""
    with background() as client:
        page = Stranger(client.page_url).ask("/")
    assert 'name="viewport"' in page
    assert 'lang="en"' in page
    assert not re.search(r"https?://|<link(?! rel=\"icon\" href=\"data:)|\ssrc=", page)


def test_a_taken_port_is_said_and_leaves_nothing_behind() -> None:
    """The next start on a free port must not find half a sandbox."""
    with background() as client:
        port = int(client.page_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"), background(port):
            pass


class FarSide:
    """A writer that notes whether it was closed."""

    closed = False

    def close(self) -> None:
        """Note it."""
        self.closed = True


@pytest.mark.parametrize("turns", range(6))
async def test_a_relay_closes_the_far_side_whenever_it_is_cancelled(turns: int) -> None:
    """Also while it ends already: the connection stayed open until the collector came by."""
    near, far, writer = asyncio.StreamReader(), asyncio.StreamReader(), FarSide()
    passing = asyncio.create_task(relay(near, FarSide(), far, writer))  # type: ignore[arg-type]
    near.feed_eof()
    for _ in range(turns + 1):
        await asyncio.sleep(0)
    passing.cancel()
    await asyncio.gather(passing, return_exceptions=True)
    assert writer.closed
