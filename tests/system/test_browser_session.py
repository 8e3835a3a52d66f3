"""A login goes through a browser: real Chromium, simulated pages, worker and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from checkpoint_worker.providers import bridges
from checkpoint_worker.providers.live_session.browser import Patience, RecordingError
from checkpoint_worker.tasks.live_session.browser import Ended
from checkpoint_worker.tasks.records import Outcome
from tests.support.browsers import (
    PATIENCE,
    TIMES,
    BrowserLogin,
    Chromium,
    chromium_of,
    elapsed,
    files_with,
    needs_chromium,
)
from tests.support.deployment import BOUND_S, Deployment, Person, until

pytestmark = needs_chromium

PROVIDERS: Final = ("INSTAGRAM", "LINKEDIN", "MESSENGER", "TWITTER")
LOOKS: Final = (
    "late", "boxes", "disabled", "auto", "bare", "iframe", "toast", "interstitial",
    "late,boxes,auto", "iframe,boxes,disabled",
)  # fmt: skip
SLOW_KEYS: Final = replace(PATIENCE, key_s=1.0)
"""A code that takes so long to type that it can be interrupted."""
GONE_S: Final = 10.0
"""Until the worker no longer counts on a browser that is gone."""


@pytest.fixture(scope="module")
def deployment(redis_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment with a worker for all tests here."""
    logs = tmp_path_factory.mktemp("browser")
    with Deployment(redis_server.url, "browser", logs, **TIMES) as made:
        worker = made.worker()
        yield made
        assert worker.terminate() == 0, worker.log[-4000:]


@pytest.fixture(scope="module")
def chromium(deployment: Deployment) -> Iterator[Chromium]:
    """One browser for all tests here."""
    with chromium_of(deployment) as made:
        yield made


@pytest.fixture(autouse=True)
def _checked(deployment: Deployment) -> Iterator[None]:
    """Check afterwards what holds of every submission, such as one send at most."""
    yield
    deployment.check()


def wire(record: Outcome) -> tuple[int | None, str, bool | None]:
    """Return what tells outcomes apart: status, type or object, whether it was sent."""
    body = record.body or {}
    return record.status, str(body.get("type", body["object"])), record.code_sent


CLEARED: Final = (201, "AccountCreated", True)
REFUSED: Final = (401, "errors/invalid_checkpoint_solution", True)
CANCELED: Final = (409, "errors/operation_canceled", True)


def cleared(login: BrowserLogin) -> None:
    """Type a wrong code and the right one; check what is left."""
    wrong, right = login.person.wrong(), login.person.right()
    assert wire(login.outcome(wrong)) == REFUSED
    assert login.held() == "", "the refused code is cleared"
    assert wire(login.outcome(right)) == CLEARED
    assert login.person.sends(wrong) == 1
    assert login.person.sends(right) == 1
    end = login.ended()
    assert (end.why, end.user_id) == (Ended.CLEARED, login.person.account.user_id)
    session = login.deployment.client.take_session(login.person.id, login.provider)
    assert session == end.session
    assert session["provider"] == login.provider
    until(lambda: login.page.url.endswith("/home"), "home")
    assert login.person.account.handle in login.loops.run(login.page.content())
    assert not login.deployment.redis.exists(
        f"{login.deployment.prefix}:session:{login.provider}:{login.person.id}"
    )


@pytest.mark.parametrize("provider", PROVIDERS)
def test_wrong_then_right_at_each_provider(chromium: Chromium, provider: str) -> None:
    """Each code is typed once; the finished login is handed over, and the page is given back."""
    with BrowserLogin(chromium, provider) as login:
        cleared(login)


@pytest.mark.parametrize("look", LOOKS)
def test_wrong_then_right_however_the_page_is_built(chromium: Chromium, look: str) -> None:
    """Late fields, boxes, frames, toasts, pages that submit themselves."""
    with BrowserLogin(chromium, "LINKEDIN", look=look) as login:
        assert login.session.checkpoint == {"type": "2FA", "source": "SMS"}
        cleared(login)


CAPTCHA: Final = "The provider asks for a captcha, which the person must solve on its site."
SCENES: Final = (
    ("chained", (202, "Checkpoint", True), ""),
    ("captcha", (403, "errors/action_required", True), CAPTCHA),
    ("captcha_first", (403, "errors/action_required", True), CAPTCHA),
    ("consent", (403, "errors/action_required", True), "agree to its terms"),
    ("approval", (403, "errors/action_required", True), "approves the login"),
    ("dead", (500, "errors/authentication_intent_error", True), ""),
    ("locked", (500, "errors/authentication_intent_error", True), ""),
    ("away", (403, "errors/action_required", True), ""),
    ("help", (403, "errors/action_required", True), ""),
)


@pytest.mark.parametrize(("scene", "expected", "detail"), SCENES, ids=[row[0] for row in SCENES])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_page_after_a_code_has_its_outcome(
    chromium: Chromium,
    provider: str,
    scene: str,
    expected: tuple[int, str, bool],
    detail: str,
) -> None:
    """What a page is decides; one that is not known is in doubt, never refused or cleared."""
    with BrowserLogin(chromium, provider, scene=scene) as login:
        record = login.outcome(login.person.right())
        assert wire(record) == expected, record.body
        assert detail in str((record.body or {}).get("detail"))
        assert login.sends() == (scene != "captcha_first")
        if scene in {"dead", "locked"}:
            assert login.ended().why is Ended.DEAD
        elif scene == "chained":
            assert login.held() == ""
            assert wire(login.outcome(login.person.right())) == CLEARED
            assert login.ended().why is Ended.CLEARED
        assert not login.page.is_closed()


@pytest.mark.parametrize("scene", ["away", "help"])
def test_a_page_that_nobody_knows_is_in_doubt(chromium: Chromium, scene: str) -> None:
    """The code may have been right: no failure is counted, and the intent stays open."""
    with BrowserLogin(chromium, scene=scene) as login:
        record = login.outcome(login.person.right())
        assert record.intent is not None
        assert (record.intent.state, record.intent.failures) == ("open", 0)
        log = next(iter(login.deployment._workers)).log
        assert any(
            "attempt.in_doubt" in line and record.submission_id in line for line in log.splitlines()
        )


@pytest.mark.parametrize("provider", ["LINKEDIN", "TWITTER"])
def test_a_page_that_never_answers_is_408_and_keeps_no_code(
    chromium: Chromium, provider: str
) -> None:
    """A form that is being sent, or a script that waits: the code may have been used."""
    patience = replace(PATIENCE, whole_s=5.0)
    with BrowserLogin(chromium, provider, scene="silent", patience=patience) as login:
        record = login.outcome(login.person.right())
        assert wire(record) == (408, "errors/request_timeout", True)
        until(lambda: login.held() == "", "an empty field")
        assert login.sends() == 1


def test_a_newer_code_stops_the_elder_while_it_is_typed(chromium: Chromium) -> None:
    """The elder is never submitted, and no key of it is left before the newer one."""
    with BrowserLogin(chromium, patience=SLOW_KEYS) as login:
        wrong, right = login.person.wrong(), login.person.right()
        elder = login.submit(wrong)
        login.wait_typing()
        newer = login.submit(right)
        assert wire(login.deployment.outcome(elder)) == CANCELED
        assert wire(login.deployment.outcome(newer)) == CLEARED
        assert (login.person.sends(wrong), login.person.sends(right)) == (0, 1)


def test_a_canceled_code_is_not_submitted_and_is_cleared(chromium: Chromium) -> None:
    """The page is as it was; the next code goes on from there."""
    with BrowserLogin(chromium, patience=SLOW_KEYS) as login:
        submitted = login.submit(login.person.wrong())
        login.wait_typing()
        login.deployment.client.cancel(submitted)
        assert wire(login.deployment.outcome(submitted)) == CANCELED
        until(lambda: login.held() == "", "an empty field")
        login.session._login.patience = PATIENCE
        assert wire(login.outcome(login.person.right())) == CLEARED
        assert login.sends() == 1


def test_a_killed_intent_stops_the_typing(chromium: Chromium) -> None:
    """Nothing drains for it."""
    with BrowserLogin(chromium, patience=SLOW_KEYS) as login:
        submitted = login.submit(login.person.right())
        login.wait_typing()
        login.deployment.client.kill_intent(login.person.id, login.provider)
        assert login.deployment.outcome(submitted).status == 500
        until(lambda: login.held() == "", "an empty field")
        assert login.sends() == 0


def test_another_way_is_not_typed(chromium: Chromium) -> None:
    """It is no code; the person chooses on the page."""
    with BrowserLogin(chromium) as login:
        record = login.outcome("TRY_ANOTHER_WAY")
        assert record.status == 403
        assert "another method" in str((record.body or {})["detail"])
        assert login.held() == ""


def test_a_code_that_cannot_fit_is_not_typed(chromium: Chromium) -> None:
    """Six boxes take no seven digits; the try is not wasted."""
    with BrowserLogin(chromium, look="boxes") as login:
        record = login.outcome("1234567")
        assert record.status == 400
        assert login.sends() == 0
        assert wire(login.outcome(login.person.right())) == CLEARED


# A browser that is gone ------------------------------------------------------------------


async def close_page(login: BrowserLogin) -> None:
    """Close the page."""
    await login.page.close()


async def close_context(login: BrowserLogin) -> None:
    """Close its context."""
    await login.context.close()


async def crash_page(login: BrowserLogin) -> None:
    """Let the page's process crash; the navigation never ends."""
    session = await login.context.new_cdp_session(login.page)
    crashing = asyncio.ensure_future(session.send("Page.crash"))
    await asyncio.wait({crashing}, timeout=1.0)
    crashing.add_done_callback(lambda done: done.cancelled() or done.exception())


async def close_browser(login: BrowserLogin) -> None:
    """Close the browser."""
    await login.chromium.browser.close()


@pytest.mark.parametrize("gone", [close_page, close_context, crash_page, close_browser])
def test_a_browser_that_is_gone_is_no_session_at_once(deployment: Deployment, gone: Any) -> None:
    """503, not sent: the person may begin again, and no try is used up."""
    with Chromium(deployment) as own, BrowserLogin(own) as login:
        deployment.loops.run(gone(login))
        since = time.monotonic()
        end = login.ended()
        assert end.why is Ended.LOST
        record = login.outcome(login.person.right())
        assert elapsed(since) < GONE_S
        assert wire(record) == (503, "errors/no_client_session", False)
        assert login.sends() == 0


@pytest.mark.parametrize("gone", [close_page, crash_page, close_browser])
def test_a_browser_that_is_lost_after_the_code_is_408(deployment: Deployment, gone: Any) -> None:
    """The code may have been used."""
    with Chromium(deployment) as own, BrowserLogin(own, "TWITTER", scene="silent") as login:
        submitted = login.submit(login.person.right())
        login.person.received()
        deployment.loops.run(gone(login))
        assert wire(deployment.outcome(submitted)) == (408, "errors/request_timeout", True)
        assert login.ended().why is Ended.LOST


def test_a_killed_browser_leaves_no_code_behind(
    deployment: Deployment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In no profile, crash dump, log or record, although it ends with the code in its field."""
    caplog.set_level("DEBUG")
    code = "939393"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    with (
        Chromium(deployment, env=environment) as own,
        BrowserLogin(own, patience=replace(PATIENCE, itself_s=8.0)) as login,
    ):
        login.submit(code)
        until(lambda: login.held() == code, "the whole code in the field")
        for pid in children_of(os.getpid(), "chrom"):
            if str(tmp_path) in Path(f"/proc/{pid}/environ").read_text("utf-8", "replace"):
                os.kill(pid, signal.SIGSEGV)
        assert login.ended().why is Ended.LOST
    assert files_with(tmp_path, code) == []
    assert code not in caplog.text
    for worker in deployment._workers:
        assert code not in worker.log
    for name in deployment.redis.scan_iter(f"{deployment.prefix}*"):
        if deployment.redis.type(name) == "string":
            assert code not in str(deployment.redis.get(name))


def children_of(parent: int, word: str) -> list[int]:
    """Return the processes below one whose name holds a word."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = path.read_text().partition(" (")
        except OSError:
            continue
        name, _, fields = rest.rpartition(") ")
        parents[int(pid)], names[int(pid)] = int(fields.split()[1]), name

    def is_below(pid: int) -> bool:
        while pid > 1:
            pid = parents.get(pid, 0)
            if pid == parent:
                return True
        return False

    return [pid for pid, name in names.items() if word in name and is_below(pid)]


# Recordings ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video", "har"])
def test_a_recorded_page_is_refused(chromium: Chromium, tmp_path: Path, kind: str) -> None:
    """A code in a recording would outlive its login; the message says what to do."""
    options: dict[str, Any] = {
        "video": {"record_video_dir": str(tmp_path)},
        "har": {"record_har_path": str(tmp_path / "all.har")},
    }[kind]
    with (
        pytest.raises(RecordingError, match="begin the login in a context without it"),
        BrowserLogin(chromium, context=options),
    ):
        pass


def test_a_trace_that_begins_later_keeps_a_code_from_being_typed(chromium: Chromium) -> None:
    """It is looked for before each code."""
    with BrowserLogin(chromium) as login:
        login.loops.run(login.context.tracing.start(snapshots=True))
        record = login.outcome(login.person.right())
        assert wire(record) == (503, "errors/no_handler", True)
        assert login.sends() == 0
        login.loops.run(login.context.tracing.stop())
        assert wire(login.outcome(login.person.right())) == CLEARED


# Many, and the newer login of TWITTER ----------------------------------------------------


def test_twenty_sessions_in_one_process(chromium: Chromium) -> None:
    """Each code goes to its own page."""
    logins = [BrowserLogin(chromium, PROVIDERS[number % len(PROVIDERS)]) for number in range(20)]
    try:
        for login in logins:
            login.__enter__()
        submitted = [login.submit(login.person.right()) for login in logins]
        for login, each in zip(logins, submitted, strict=True):
            assert wire(login.deployment.outcome(each)) == CLEARED
            assert login.ended().user_id == login.person.account.user_id
    finally:
        for login in logins:
            login.__exit__()


class Cookies:
    """What the bridge of twikit fills of a client of that library."""

    def __init__(self) -> None:
        self._user_agent = "before"
        self.cookies: dict[str, str] = {}

    def set_cookies(self, cookies: dict[str, str], *, clear_cookies: bool) -> None:
        """Take cookies as the library's client does."""
        assert clear_cookies
        self.cookies = dict(cookies)


def test_twitters_newer_login_goes_through_the_browser_alone(chromium: Chromium) -> None:
    """403 over HTTP, because the login is bound to its browser; 201 through the session."""
    deployment = chromium.deployment
    with BrowserLogin(chromium, "TWITTER", kind="jetfuel", opens=False) as login:
        over_http = Person(deployment, login.person.account).open()
        refused = deployment.outcome(over_http.submit(over_http.right()))
        assert wire(refused) == (403, "errors/action_required", False)
        deployment.client.open_intent(
            account_id=login.person.id,
            provider="TWITTER",
            checkpoint=login.session.checkpoint,
            context=login.session.context,
        )
        login.loops.run(login.page.reload())
        assert wire(login.outcome(login.person.right())) == CLEARED
        session = deployment.client.take_session(login.person.id, "TWITTER")
    client = Cookies()
    bridges.of("twikit").restore(session, client)
    assert client._user_agent == session["user_agent"] != "before"
    headers = {
        "Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items()),
        "x-csrf-token": client.cookies["ct0"],
        "User-Agent": client._user_agent,
        "Authorization": "Bearer made-up",
    }
    url = f"{deployment.sandbox.urls['TWITTER']}/1.1/account/verify_credentials.json"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  the sandbox's own
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=BOUND_S) as reply:
        assert str(json.load(reply)["id_str"]) == login.person.account.user_id


def test_patience_fits_the_worker() -> None:
    """With the defaults the session answers before the worker gives it up."""
    from checkpoint_worker.tasks.settings import Settings  # noqa: PLC0415

    assert Patience().whole_s < Settings.model_fields["provider_timeout_s"].default
