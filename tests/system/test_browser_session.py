"""A login goes through a browser: real Chromium, simulated pages, worker and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Final

import pytest
from click.testing import CliRunner

from checkpoint_worker.providers import bridges
from checkpoint_worker.providers.live_session.browser import Patience, RecordingError
from checkpoint_worker.tasks.live_session import new_session_secret
from checkpoint_worker.tasks.live_session.browser import Ended
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.worker.cli.main import cli
from tests.support.browsers import (
    PATIENCE,
    TIMES,
    BrowserLogin,
    Chromium,
    chromium_of,
    elapsed,
    files_with,
)
from tests.support.chromium import needs_chromium
from tests.support.deployment import BOUND_S, ROOT, Deployment, Person, until
from tests.support.examples import defined_by
from tests.support.measuring import IMPORTS, slowdown
from tests.support.web_logins import Client

pytestmark = needs_chromium

PROVIDERS: Final = ("INSTAGRAM", "LINKEDIN", "MESSENGER", "TWITTER")
LOOKS: Final = (
    "late", "boxes", "disabled", "auto", "bare", "iframe", "toast", "interstitial",
    "late,boxes,auto", "iframe,boxes,disabled",
)  # fmt: skip
SLOW_KEYS: Final = replace(PATIENCE, key_s=1.0)
"""A code that takes so long to type that it can be interrupted."""
AT_ONCE: Final = 5
"""Codes on their way together: more pages at work are the machine's business."""
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
    patience = replace(PATIENCE, whole_s=5.0 * slowdown())  # The code is typed within it.
    with BrowserLogin(chromium, provider, scene="silent", patience=patience) as login:
        record = login.outcome(login.person.right())
        assert wire(record) == (408, "errors/request_timeout", True)
        until(lambda: login.held() == "", "an empty field")
        assert login.sends() == 1


def test_a_newer_code_stops_the_older_one_while_it_is_typed(chromium: Chromium) -> None:
    """The older one is never submitted, and no key of it is left before the newer one."""
    with BrowserLogin(chromium, patience=SLOW_KEYS) as login:
        wrong, right = login.person.wrong(), login.person.right()
        older = login.submit(wrong)
        login.wait_typing()
        newer = login.submit(right)
        assert wire(login.deployment.outcome(older)) == CANCELED
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
    """Five digits are not for six boxes; the try is not wasted."""
    with BrowserLogin(chromium, look="boxes") as login:
        record = login.outcome("12345")
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
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    """In no profile, crash dump, log or record, although it ends with the code in its field."""
    caplog.set_level("DEBUG")
    code = "939393"
    with TemporaryDirectory(prefix="crash-") as home:  # Chromium's socket needs a short path.
        environment = {**os.environ, "TMPDIR": home, "HOME": home}
        with (
            Chromium(deployment, env=environment) as own,
            BrowserLogin(own, patience=replace(PATIENCE, itself_s=8.0)) as login,
        ):
            login.submit(code)
            until(lambda: login.held() == code, "the whole code in the field")
            for pid in children_of(os.getpid(), "chrom"):
                with suppress(FileNotFoundError, ProcessLookupError):  # It ended with another one.
                    if home in Path(f"/proc/{pid}/environ").read_text("utf-8", "replace"):
                        os.kill(pid, signal.SIGSEGV)
            assert login.ended().why is Ended.LOST
        assert files_with(Path(home), code) == []
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


def test_a_recorded_page_is_refused(chromium: Chromium, tmp_path: Path) -> None:
    """A code in a recording would outlive its login; the message says what to do."""
    options = {"record_har_path": str(tmp_path / "all.har")}
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
        for start in range(0, len(logins), AT_ONCE):
            some = logins[start : start + AT_ONCE]
            submitted = [login.submit(login.person.right()) for login in some]
            for login, each in zip(some, submitted, strict=True):
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


# The examples ----------------------------------------------------------------------------


def test_the_backend_of_the_page(
    chromium: Chromium, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five lines, as the page shows them."""
    for name, value in deployment.environ().items():
        if name.startswith("CHECKPOINT_"):
            monkeypatch.setenv(name, value)
    backend = defined_by("browser_login.py")
    with BrowserLogin(chromium, opens=False) as login:
        deployment.loops.run(login.session.__aexit__())
        stopped = backend.login_stopped(login.page, login.provider, login.person.id)
        waiting = asyncio.run_coroutine_threadsafe(stopped, deployment.loops.loop)
        until(lambda: deployment.client.intent(login.person.id, login.provider), "the intent")
        assert wire(login.outcome(login.person.right())) == CLEARED
        session = waiting.result(BOUND_S)
        assert session["user_id"] == login.person.account.user_id
        deployment.loops.run(backend.client.close())


class Driver:
    """Selenium's driver calls on a page whose script is played; Selenium is not installed here."""

    def __init__(self, client: Client) -> None:
        self._client, self._form, self._keys, self._named = client, client.form, "", ""
        self._alerts: list[str] = []

    def find_element(self, by: str, selector: str) -> Driver:
        """Return the field or the button."""
        assert by == "css selector"
        self._named = selector
        assert self._form.code_field["autocomplete"] == "one-time-code"
        return self

    def find_elements(self, by: str, selector: str) -> list[Any]:
        """Return the errors that are shown."""
        assert (by, selector) == ("css selector", "[role='alert']")
        return [SimpleNamespace(text=each) for each in self._alerts]

    def clear(self) -> None:
        """Empty the field; the error goes away with it."""
        self._keys = ""

    def send_keys(self, key: str) -> None:
        """Type."""
        self._keys += key

    def click(self) -> None:
        """Submit as the page's script does."""
        assert "submit" in self._named
        said = self._client.submit_by_script(self._form, self._keys)["page"]
        self._alerts = [said["error"]] if "error" in said else []

    def get_cookies(self) -> list[dict[str, str]]:
        """Return the browser's cookies."""
        return [{"name": name, "value": value} for name, value in self._client.cookies.items()]


def test_the_selenium_example(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, then cleared, over the protocol; each code is sent once."""
    monkeypatch.setenv("CHECKPOINT_REDIS_URL", deployment.url)
    monkeypatch.setenv("CHECKPOINT_PREFIX", deployment.prefix)
    example = defined_by("selenium_session.py")
    account = deployment.loops.do(deployment.sandbox.add_account, "TWITTER", source="SMS")
    person = Person(deployment, account)
    deployment.persons.append(person)
    client = Client(deployment.sandbox.page_url)
    client.begin("TWITTER", person.id)
    secret = new_session_secret()
    holding = asyncio.run_coroutine_threadsafe(
        example.hold(Driver(client), secret, "TWITTER", person.id), deployment.loops.loop
    )
    deployment.client.open_intent(
        account_id=person.id,
        provider="TWITTER",
        checkpoint={"type": "2FA", "source": "SMS"},
        context={"route": "live_session", "secret": secret},
    )
    name = f"{deployment.prefix}:session:TWITTER:{person.id}"
    until(lambda: deployment.redis.exists(name), "the registration")
    wrong, right = person.wrong(), person.right()
    assert wire(deployment.outcome(person.submit(wrong))) == REFUSED
    assert wire(deployment.outcome(person.submit(right))) == CLEARED
    assert (person.sends(wrong), person.sends(right)) == (1, 1)
    session = deployment.client.take_session(person.id, "TWITTER")
    assert session is not None
    assert session["user_id"] == account.user_id
    holding.cancel()


def test_the_selenium_example_stops_between_two_keys(deployment: Deployment) -> None:
    """A code that nobody waits for is neither submitted nor left in the field."""
    del deployment
    example = defined_by("selenium_session.py")
    typed: list[str] = []
    stop = threading.Event()

    def send_keys(key: str) -> None:
        typed.append(key)
        stop.set()

    field = SimpleNamespace(clear=typed.clear, send_keys=send_keys)
    driver = SimpleNamespace(find_element=lambda *_: field, find_elements=lambda *_: [])
    assert example.type_code(driver, "271828", stop)["status"] == 408
    assert typed == []


# The command -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["right", "none"])
def test_the_command_holds_a_login_of_the_sandbox(deployment: Deployment, code: str) -> None:
    """It opens the intent, says what to type, and ends with the login."""
    command = [sys.executable, "-m", "checkpoint_worker.worker.cli.main", "session", "--browser"]
    command += ["-p", "LINKEDIN", "--sandbox", deployment.sandbox.page_url, "--headless"]
    command += ["--json", "--timeout", "60" if code == "right" else "0.1"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**deployment.environ(), **IMPORTS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = iter(process.stderr.readline, "")
    if code == "right":
        line = next(each for each in told if "checkpoint submit" in each)
        account = deployment.sandbox.accounts.by_id[line.split()[2]]
        person = Person(deployment, account)
        assert wire(deployment.outcome(person.submit(person.right()))) == CLEARED
    output, errors = process.communicate(timeout=BOUND_S)
    ended = json.loads(output)
    if code == "right":
        assert (process.returncode, ended["ended"]) == (0, "cleared"), errors
        assert ended["user_id"] == account.user_id
    else:
        assert (process.returncode, ended["ended"]) == (1, "timed out"), errors


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ([], 2, "say --browser"),
        (["--browser"], 2, "say where the login is"),
        (["--browser", "--sandbox", "http://x", "--url", "http://y"], 2, "leave out --url"),
        (["--browser", "--url", "file:///etc", "--account", "a"], 2, "begins with https"),
        (["--browser", "--url", "http://127.0.0.1:1", "--account", "a"], 1, "check --url"),
        (["--browser", "--sandbox", "http://127.0.0.1:1"], 1, "no sandbox answers"),
        (
            ["--browser", "--url", "http://x", "--account", "a", "--executable", "/bin/false"],
            1,
            "no browser starts",
        ),
    ],
)
def test_the_command_says_what_to_do(
    deployment: Deployment,
    options: list[str],
    status: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one sentence, without a traceback."""
    for name, value in deployment.environ().items():
        if name.startswith("CHECKPOINT_"):
            monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli, ["session", "-p", "LINKEDIN", "--headless", *options])
    assert result.exit_code == status, result.output
    assert sentence in result.output


@pytest.mark.parametrize("text", ["nonsense", '{"cookies": 1}', "[]"])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, text: str) -> None:
    """And nothing of it is shown."""
    file = tmp_path / "state.json"
    file.write_text(text)
    options = ["--browser", "--url", "http://x", "--account", "a", "--state", str(file)]
    result = CliRunner().invoke(cli, ["session", "-p", "LINKEDIN", *options])
    assert result.exit_code == 2
    assert "no storage state" in result.output
    assert text not in result.output
