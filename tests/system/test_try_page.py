"""The page to try it, as a person meets it: a real Chromium, gateway, worker, sandbox and Redis."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.chromium import chromium, needs_chromium
from tests.support.deployment import BOUND_S, ROOT, Deployment, until
from tests.support.fixtures import NewDeployment
from tests.support.gateways import KEY, SUBMIT, Caller

DESKTOP: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 320, "height": 640}
PATIENCE: Final[dict[str, Any]] = {
    "provider_timeout_s": 6.0,
    "drain_s": 1.0,
    "deadline_s": 20.0,
}
"""A browser on a busy machine is slower than a test's own calls."""
TOUCH_PX: Final = 44
CONTRAST_MIN: Final = 4.5

expect.set_options(timeout=BOUND_S * 1000)


class TryPage(Caller):
    """The page's server as the process that ``checkpoint up`` starts."""

    def __init__(self, deployment: Deployment, sandbox_url: str) -> None:
        command = [
            sys.executable,
            "-m",
            "checkpoint_worker.worker.local.playground",
            "--until-stdin-closes",
        ]
        self.log_path = deployment.logs / "try.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--sandbox", sandbox_url],
                cwd=ROOT,
                env=deployment.environ(api_keys=KEY),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log_path.read_text()
        super().__init__(json.loads(line)["try"], key=None)

    def close(self) -> None:
        """Close its stdin, as who started it does, and look at what it left."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(BOUND_S) == 0
        self.process.stdout.close()
        assert "Traceback" not in self.log_path.read_text()


@contextmanager
def serving(deployment: Deployment, sandbox_url: str | None = None) -> Iterator[TryPage]:
    """Serve the page over a deployment."""
    served = TryPage(deployment, sandbox_url or deployment.sandbox.page_url)
    try:
        yield served
    finally:
        served.close()


@pytest.fixture(scope="module")
def house(
    redis_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, TryPage]]:
    """A deployment with a worker, and the page's server, for all tests here."""
    logs = tmp_path_factory.mktemp("try")
    with Deployment(redis_server.url, "try-page", logs, **PATIENCE) as deployment:
        worker = deployment.worker()
        with serving(deployment) as served:
            yield deployment, served
        assert worker.terminate() == 0, worker.log[-4000:]


@pytest.fixture
def deployment(house: tuple[Deployment, TryPage]) -> Deployment:
    """The deployment behind the page."""
    return house[0]


@pytest.fixture
def served(house: tuple[Deployment, TryPage]) -> TryPage:
    """The page's server."""
    return house[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    with chromium() as browser:
        yield browser


class Visit:
    """One person's look at the page; whatever the browser complains about fails the test."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport=DESKTOP, **options)  # type: ignore[arg-type]
        self.context.set_default_timeout(BOUND_S * 1000)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " event => console.error('CSP ' + event.violatedDirective))"
        )
        self.page.goto(address)
        expect(self.page.locator("#start [name=source] option").first).to_be_attached()

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def start(self, provider: str = "LINKEDIN", source: str = "EMAIL") -> str:
        """Start a login; return the code that came."""
        self.page.get_by_label("Provider", exact=True).select_option(provider)
        self.page.get_by_label("Code from").select_option(source)
        self.page.get_by_role("button", name="Start a login").click()
        return self.arrived()

    def arrived(self) -> str:
        """Wait for the code in the inbox."""
        expect(self.page.locator("#arrived")).to_have_text(re.compile(r"^\w{6,}$"))
        return self.page.locator("#arrived").inner_text()

    def type(self, code: str) -> None:
        """Type a code into the field."""
        self.page.get_by_label("Code", exact=True).fill(code)

    def demonstrate(self, name: str) -> None:
        """Press one of the buttons that show what happens."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def submit(self, code: str) -> None:
        """Type a code and send it."""
        self.type(code)
        self.page.get_by_role("button", name="Submit").click()

    def card(self, number: int) -> Locator:
        """Return the card of the so-many-th submission of this visit."""
        return self.page.locator(f".card[data-number='{number}']")

    def outcome(self, number: int) -> dict[str, Any]:
        """Wait for the outcome of a submission; return its record."""
        expect(self.card(number)).to_have_attribute("data-state", "final")
        record: dict[str, Any] = json.loads(self.card(number).locator("pre").text_content() or "")
        expect(self.card(number).locator(".badge")).to_contain_text(str(record["status"]))
        return record

    def says(self, number: int, words: str) -> None:
        """Assert that a card explains itself so."""
        expect(self.card(number).locator(".why")).to_contain_text(words)

    def account(self) -> str:
        """Return the account that the page shows."""
        return self.page.locator("#intent dd").first.inner_text().split()[0]


@pytest.fixture
def visit(browser: Browser, served: TryPage) -> Iterator[Visit]:
    """A visit on a desktop."""
    with visiting(browser, served) as visit:
        yield visit


@contextmanager
def visiting(browser: Browser, served: TryPage, **options: Any) -> Iterator[Visit]:
    """Visit the page; afterwards the browser must have had nothing to complain about."""
    visit = Visit(browser, served.address, **options)
    try:
        yield visit
        assert visit.complaints == []
    finally:
        visit.context.close()


def sends(deployment: Deployment, account_id: str) -> list[str]:
    """Return the codes that the provider received for an account."""
    return [send.code for send in deployment.sandbox.sends if send.account == account_id]


# In a browser --------------------------------------------------------------------------


@needs_chromium
@pytest.mark.parametrize(
    ("provider", "source"),
    [("LINKEDIN", "EMAIL"), ("INSTAGRAM", "BACKUP"), ("TWITTER", "SMS"), ("MESSENGER", "APP")],
)
def test_the_right_code_connects_the_account(
    visit: Visit, deployment: Deployment, provider: str, source: str
) -> None:
    """Start, see the code, type it, watch it come in; the record is what the ledger holds."""
    code = visit.start(provider, source)
    visit.submit(code)
    record = visit.outcome(1)
    assert record["body"] == {"object": "AccountCreated", "account_id": visit.account()}
    visit.says(1, "The provider took this code: the account is connected.")
    assert sends(deployment, visit.account()) == [code]
    ledger = deployment.client.result(record["submission_id"])
    assert ledger is not None
    assert json.loads(ledger.to_json()) == record
    expect(visit.page.locator("#intent")).to_contain_text("completed")
    expect(visit.page.locator("#said")).to_contain_text("the account is connected. 201.")


@needs_chromium
def test_queued_running_and_final_are_seen_live(visit: Visit, deployment: Deployment) -> None:
    """The events come over the stream as they happen: nobody has to ask again."""
    code = visit.start()
    account = visit.account()
    deployment.loops.do(deployment.sandbox.hold, deployment.sandbox.accounts.by_id[account])
    visit.submit(code)
    expect(visit.card(1).locator(".badge")).to_have_text("running")
    visit.says(1, "From here on it is never sent again.")
    deployment.loops.do(deployment.sandbox.release, deployment.sandbox.accounts.by_id[account])
    assert visit.outcome(1)["status"] == 201


@needs_chromium
def test_a_wrong_code_counts_and_the_right_one_still_connects(visit: Visit) -> None:
    """401 with the tries that are left, then 201 on the same login."""
    code = visit.start()
    visit.demonstrate("a wrong code")
    assert visit.outcome(1)["status"] == 401
    visit.says(1, "The provider refused this code. That counts: 2 tries left.")
    expect(visit.page.locator("#intent")).to_contain_text("open, 2 tries left")
    visit.submit(code)
    assert visit.outcome(2)["status"] == 201


@needs_chromium
def test_a_real_double_click_is_sent_once(visit: Visit, deployment: Deployment) -> None:
    """Two clicks are two submissions of one code: one connects, the provider sees one.

    Whether the first is still under way when the second arrives is the machine's business.
    """
    code = visit.start()
    visit.page.get_by_label("slowly").check()
    visit.type(code)
    visit.page.get_by_role("button", name="Submit").dblclick()
    statuses = sorted([visit.outcome(1)["status"], visit.outcome(2)["status"]])
    assert statuses == [201, 409]
    assert sends(deployment, visit.account()) == [code]


@needs_chromium
def test_the_double_click_button_explains_both_outcomes(
    visit: Visit, deployment: Deployment
) -> None:
    """It starts its own login, slows the provider down, and makes it prompt again."""
    visit.demonstrate("a double click")
    records = [visit.outcome(1), visit.outcome(2)]
    older, newer = sorted(records, key=lambda record: int(record["seq"]))
    assert (older["status"], newer["status"]) == (409, 201)
    assert older["superseded_by"] == newer["submission_id"]
    card = visit.page.locator(f".card[data-id='{older['submission_id']}']")
    expect(card.locator(".why")).to_contain_text("A newer code was sent")
    assert len(sends(deployment, visit.account())) == 1
    expect(visit.page.get_by_label("at once")).to_be_checked()


@needs_chromium
def test_a_demonstration_begins_with_an_open_login(visit: Visit, deployment: Deployment) -> None:
    """The one that the page shows may have ended since: both codes were 409 then."""
    visit.start()
    ended = visit.account()
    deployment.client.kill_intent(ended, "LINKEDIN")
    visit.demonstrate("a double click")
    assert {visit.outcome(number)["status"] for number in (1, 2)} == {201, 409}
    assert visit.account() != ended


@needs_chromium
def test_a_newer_code_supersedes_the_one_that_hangs(visit: Visit, deployment: Deployment) -> None:
    """The older one is answered 409 though it was sent; the newer is sent after it and connects."""
    visit.start()
    visit.demonstrate("a newer code")
    newer, older = visit.outcome(2), visit.outcome(1)
    assert (older["status"], older["code_sent"]) == (409, True)
    assert (newer["status"], newer["code_sent"], newer["supersedes"]) == (
        201,
        True,
        older["submission_id"],
    )
    visit.says(1, "A newer code was sent; this one was taken back")
    assert len(sends(deployment, visit.account())) == 2


@needs_chromium
def test_three_wrong_codes_kill_and_a_new_start_gives_all_tries_back(visit: Visit) -> None:
    """401, 401, 500; after that nothing is sent; the same person may log in anew."""
    visit.start()
    account = visit.account()
    visit.demonstrate("three wrong codes")
    assert [visit.outcome(number)["status"] for number in (1, 2, 3)] == [401, 401, 500]
    visit.says(3, "Refused once too often: the login is killed")
    expect(visit.page.locator("#intent")).to_contain_text("killed, 0 tries left")
    visit.submit("123456")
    assert visit.outcome(4)["code_sent"] is False
    visit.says(4, "The login was killed before, so this code was not sent.")
    visit.demonstrate("starting again")
    expect(visit.page.locator("#intent")).to_contain_text("open, 3 tries left")
    assert visit.account() == account
    visit.submit(visit.arrived())
    assert visit.outcome(5)["status"] == 201


@needs_chromium
def test_a_silent_provider_is_a_timeout_with_an_outcome(
    visit: Visit, deployment: Deployment
) -> None:
    """408 within the provider's limit; the code may have been used and is never sent again."""
    code = visit.start()
    visit.demonstrate("a timeout")
    other = visit.page.get_by_role("button", name="a wrong code", exact=True)
    other.click(force=True)  # It says that it is not to be pressed now, and can be all the same.
    expect(visit.page.locator("#said")).to_contain_text("One at a time")
    record = visit.outcome(1)
    assert (record["status"], record["code_sent"]) == (408, True)
    visit.says(1, "The provider did not answer in time.")
    assert sends(deployment, visit.account()) == [code]
    expect(visit.page.locator("#intent")).to_contain_text("open, 3 tries left")


@needs_chromium
def test_another_way_is_refused_and_does_not_count(visit: Visit, deployment: Deployment) -> None:
    """Where the adapter knows no request for it nothing is sent."""
    visit.demonstrate("TRY_ANOTHER_WAY")
    record = visit.outcome(1)
    assert (record["status"], record["code_sent"]) == (403, False)
    visit.says(1, "Nothing was sent, and it does not count.")
    assert sends(deployment, visit.account()) == []


@needs_chromium
def test_what_the_gateway_refuses_is_told(browser: Browser, served: TryPage) -> None:
    """A code that is too long is no submission; the browser itself notes the status."""
    visit = Visit(browser, served.address)
    visit.start()
    visit.submit("1" * 300)
    expect(visit.card(1)).to_have_attribute("data-state", "refused")
    expect(visit.card(1).locator(".badge")).to_have_text("not accepted")
    assert all("status of 400" in each for each in visit.complaints)
    visit.context.close()


@needs_chromium
def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    """Tab reaches everything in the order of the page, and each focus is seen."""
    press = visit.page.keyboard.press
    names = []
    for _ in range(3):
        press("Tab")
        names.append(visit.page.evaluate("document.activeElement.textContent.trim().slice(0, 13)"))
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert visit.page.evaluate(outline) == "solid"
    assert names[-1] == "Start a login"
    press("Enter")
    code = visit.arrived()
    expect(visit.page.get_by_label("Code", exact=True)).to_be_focused()
    visit.page.keyboard.type(code)
    press("Enter")
    assert visit.outcome(1)["status"] == 201
    for _ in range(4):  # Submit, the chosen pace, then the first two demonstrations.
        press("Tab")
    expect(visit.page.get_by_role("button", name="a wrong code")).to_be_focused()
    press("Enter")
    assert visit.outcome(2)["status"] == 401
    summary = visit.card(2).locator("summary")
    summary.focus()
    press("Enter")
    expect(visit.card(2).locator("pre")).to_be_visible()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_phone_needs_no_sideways_scrolling(
    browser: Browser, served: TryPage, scheme: Any
) -> None:
    """At 320 px all is within the screen, large enough for a thumb, and readable."""
    options = {"color_scheme": scheme, "has_touch": True, "is_mobile": True}
    with visiting(browser, served, **options) as visit:
        visit.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
        visit.submit(visit.start("INSTAGRAM", "BACKUP"))
        visit.outcome(1)
        visit.demonstrate("three wrong codes")
        visit.outcome(4)
        visit.card(4).locator("summary").click()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert too_small(visit.page) == []
        assert too_faint(visit.page) == []


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_and_contrast(browser: Browser, served: TryPage, scheme: Any) -> None:
    """What a checker of accessibility looks at first, in both colour schemes."""
    with visiting(browser, served, color_scheme=scheme, reduced_motion="reduce") as visit:
        visit.submit(visit.start())
        visit.outcome(1)
        visit.demonstrate("a double click")
        assert {visit.outcome(number)["status"] for number in (2, 3)} == {201, 409}
        visit.demonstrate("a wrong code")
        visit.outcome(4)
        assert too_faint(visit.page) == []
        assert unnamed(visit.page) == []
        assert visit.page.evaluate("document.getAnimations().length") == 0
        assert visit.page.evaluate("document.documentElement.lang") == "en"
        assert visit.page.title() == "Try a checkpoint"
        levels = visit.page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3')].map(each => +each.tagName[1])"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        steps = itertools.pairwise(levels)
        assert all(after <= before + 1 for before, after in steps)
        twice = "[...document.querySelectorAll('[id]')].map(each => each.id)"
        ids = visit.page.evaluate(twice)
        assert len(ids) == len(set(ids))
        said = visit.page.get_by_role("log")
        assert len(said.all()) == 1
        field = visit.page.get_by_label("Code", exact=True)
        assert field.get_attribute("autocomplete") == "one-time-code"
        assert field.get_attribute("inputmode") == "numeric"


@needs_chromium
@pytest.mark.fault
def test_a_sandbox_that_went_away_is_said_in_the_page(
    browser: Browser, deployment: Deployment, tmp_path: Path
) -> None:
    """No spinner for ever: a sentence that says what to look at."""
    with serving(deployment, "http://127.0.0.1:1") as workerless:
        context = browser.new_context()
        page = context.new_page()
        page.goto(workerless.address)
        said = page.get_by_role("log")
        expect(said).to_contain_text("The sandbox does not answer")
        context.close()


def too_small(page: Page) -> list[str]:
    """Return what is there to be touched and smaller than a finger."""
    found: list[str] = page.evaluate(
        """(least) => [...document.querySelectorAll(
            'button, select, summary, label:has([type=radio]), input:not([type=radio])')]
            .filter(each => each.checkVisibility())
            .map(each => [each, each.getBoundingClientRect()])
            .filter(([, box]) => box.height < least || box.width < least)
            .map(([each, box]) => `${each.outerHTML.slice(0, 60)} ${box.width}x${box.height}`)""",
        TOUCH_PX,
    )
    return found


def too_faint(page: Page) -> list[str]:
    """Return the texts whose contrast with what is behind them is below WCAG's 4.5."""
    found: list[str] = page.evaluate(
        """(least) => {
            const channels = colour => colour.match(/[\\d.]+/g).map(Number);
            const light = colour => {
                const [r, g, b] = channels(colour).map(each => {
                    const part = each / 255;
                    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const behind = element => {
                for (let each = element; each; each = each.parentElement) {
                    const colour = getComputedStyle(each).backgroundColor;
                    if (channels(colour)[3] !== 0) return colour;
                }
                throw new Error('nothing is behind');
            };
            const faint = [];
            for (const element of document.querySelectorAll('body *')) {
                const own = [...element.childNodes].some(
                    each => each.nodeType === 3 && each.textContent.trim());
                if (!(own || element.matches('input')) || !element.checkVisibility()) continue;
                if (element.matches('[type=radio], option')) continue;
                const [one, other] = [getComputedStyle(element).color, behind(element)].map(light);
                const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
                if (ratio < least) faint.push(`${element.outerHTML.slice(0, 60)} ${ratio}`);
            }
            return faint;
        }""",
        CONTRAST_MIN,
    )
    return found


def unnamed(page: Page) -> list[str]:
    """Return controls and regions without a name, and descriptions that point nowhere."""
    found: list[str] = page.evaluate(
        """() => {
            const points = (each, name) => (each.getAttribute(name) ?? '').split(' ')
                .filter(Boolean).some(id => !document.getElementById(id)?.textContent.trim());
            return [...document.querySelectorAll('button, input, select, section, ul, ol, [role]')]
                .filter(each => {
                    if (points(each, 'aria-labelledby') || points(each, 'aria-describedby')) {
                        return true;
                    }
                    if (each.matches('input, select')) return !each.labels.length;
                    if (each.matches('button')) return !each.textContent.trim();
                    if (each.matches('section, [role]')) {
                        return !each.ariaLabel && !each.hasAttribute('aria-labelledby');
                    }
                    return false;
                })
                .map(each => each.outerHTML.slice(0, 80));
        }"""
    )
    return found


# Over plain HTTP -----------------------------------------------------------------------


class _Metas(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "meta" and given.get("name"):
            self.found[str(given["name"])] = given.get("content") or ""


def page_key(served: TryPage) -> str:
    """Return the key that the page carries."""
    return _Metas(served.call("GET", "/").raw.decode()).found["api-key"]


def begin(served: TryPage, **fields: str) -> dict[str, Any]:
    """Begin a login."""
    answer = served.call("POST", "/try/login", fields)
    assert answer.status == 201, answer.raw
    intent: dict[str, Any] = answer.body
    return intent


def refused(served: TryPage, path: str, body: object = None, **options: Any) -> tuple[int, str]:
    """Call and be refused; return status and sentence."""
    answer = served.call("GET" if body is None else "POST", path, body, **options)
    assert answer.body.keys() == {"error"}
    return answer.status, answer.body["error"]


def test_the_page_may_load_nothing_from_elsewhere(served: TryPage) -> None:
    """No CDN, no inline script, no frame around it, nothing kept in a cache."""
    for path in ("/", "/try/try.js", "/try/try.css"):
        answer = served.call("GET", path)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store"
        loaded = re.findall(
            r"(?:src=|<link[^>]*href=|import |url\()[\"']?([^\"' >]+)", answer.raw.decode()
        )
        assert all(each.startswith(("/try/", "data:,")) for each in loaded), loaded


def test_the_page_has_a_key_of_its_own(served: TryPage) -> None:
    """Who sees the page does not learn the key of the environment file, and both open."""
    key = page_key(served)
    assert len(key) >= 32
    assert KEY not in served.call("GET", "/").raw.decode()
    assert Caller(served.address, key).call("GET", "/v1/outcomes").status == 200
    assert Caller(served.address, KEY).call("GET", "/v1/outcomes").status == 200
    assert served.call("GET", "/v1/outcomes").status == 401
    assert key not in served.log_path.read_text()


def test_the_rest_is_the_product_s_gateway(served: TryPage, deployment: Deployment) -> None:
    """Begin, read the inbox, submit and wait as a backend does."""
    intent = begin(served, provider="TWITTER", source="SMS")
    account = intent["account_id"]
    assert (intent["state"], intent["failures_left"], intent["source"]) == ("open", 3, "SMS")
    inbox = served.call("GET", f"/try/inbox?account_id={account}").body
    assert (inbox["source"], inbox["received"]) == ("SMS", 0)
    fields = {"account_id": account, "provider": "TWITTER", "code": inbox["code"]}
    answer = Caller(served.address, KEY).call("POST", SUBMIT, fields)
    assert (answer.status, answer.word) == (201, "AccountCreated")
    after = served.call("GET", f"/try/inbox?account_id={account}").body
    assert (after["code"], after["received"]) == (None, 1)
    assert inbox["code"] not in served.log_path.read_text()


def test_the_same_person_may_begin_again(served: TryPage) -> None:
    """It opens the intent anew: the next generation, all tries back."""
    first = begin(served, provider="LINKEDIN", source="EMAIL")
    second = begin(served, account_id=first["account_id"])
    assert second["account_id"] == first["account_id"]
    assert (first["generation"], second["generation"]) == (1, 2)


def test_a_wrong_code_is_no_code_of_that_person(served: TryPage) -> None:
    """It stays wrong, whatever the inbox holds."""
    account = begin(served, provider="LINKEDIN", source="EMAIL")["account_id"]
    wrong = served.call("POST", "/try/wrong", {"account_id": account}).body["code"]
    inbox = served.call("GET", f"/try/inbox?account_id={account}").body
    assert re.fullmatch(r"\d{6}", wrong)
    assert wrong != inbox["code"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/try/login", {"provider": "MYSPACE", "source": "SMS"}, 400, "there are LINKEDIN,"),
        ("/try/login", {"provider": ["LINKEDIN"], "source": "SMS"}, 400, "no such provider"),
        ("/try/login", {"provider": "LINKEDIN", "source": "PIGEON"}, 400, "EMAIL, SMS, APP"),
        ("/try/login", {"provider": "LINKEDIN"}, 400, "EMAIL, SMS, APP"),
        ("/try/login", {"account_id": "acc_nobody"}, 404, "start a login first"),
        ("/try/login", {"account_id": "a", "source": "SMS"}, 400, "already"),
        ("/try/login", {"provider": "LINKEDIN", "proxy": "x"}, 400, "Unknown field"),
        ("/try/login", {"provider": "L" * 5000}, 400, "4,096 bytes"),
        ("/try/login", ["LINKEDIN"], 400, ""),
        ("/try/inbox?account_id=acc_nobody", None, 404, "start a login first"),
        ("/try/inbox", None, 404, "start a login first"),
        ("/try/wrong", {"account_id": 7}, 404, "start a login first"),
        (
            "/try/pace",
            {"account_id": "acc_nobody", "pace": "slow"},
            404,
            "start a login first",
        ),
        ("/try/nothing.js", None, 404, "nothing here"),
    ],
)
def test_what_the_page_s_server_cannot_do_is_a_sentence(
    served: TryPage, path: str, body: object, status: int, words: str
) -> None:
    """Each says what there is instead."""
    got, said = refused(served, path, body)
    assert got == status
    assert words in said
    assert said.endswith(".")


def test_there_are_three_paces(served: TryPage) -> None:
    """A fourth is refused with the names of the three."""
    account = begin(served, provider="LINKEDIN", source="EMAIL")["account_id"]
    for pace in ("slow", "silent", "prompt"):
        answer = served.call("POST", "/try/pace", {"account_id": account, "pace": pace})
        assert (answer.status, answer.body) == (200, {"pace": pace})
    status, said = refused(served, "/try/pace", {"account_id": account, "pace": "warp"})
    assert (status, said) == (400, "There is no such pace; there are prompt, slow, silent.")


def test_other_pages_cannot_use_it(served: TryPage) -> None:
    """A page elsewhere may post plain forms here, or have its own name lead here: both fail."""
    status, _ = refused(
        served, "/try/login", {"provider": "LINKEDIN"}, headers={"Content-Type": "text/plain"}
    )
    assert status == 400
    for path in ("/", "/try/providers", "/openapi.json"):
        answer = served.call("GET", path, headers={"Host": "evil.example"})
        assert answer.status == 400
        assert b"api-key" not in answer.raw
    assert "Access-Control-Allow-Origin" not in served.call("GET", "/try/providers").headers


@pytest.mark.fault
def test_a_sandbox_that_is_away_is_told_in_clear_words(deployment: Deployment) -> None:
    """502 and what to look at; the page itself is served all the same."""
    with serving(deployment, "http://127.0.0.1:1") as workerless:
        assert workerless.call("GET", "/").status == 200
        wanted = (502, "The sandbox does not answer. Is `checkpoint up` still running?")
        assert refused(workerless, "/try/providers") == wanted
        assert (
            refused(workerless, "/try/login", {"provider": "LINKEDIN", "source": "SMS"}) == wanted
        )
        assert refused(workerless, "/try/inbox?account_id=acc_1") == wanted


@pytest.mark.fault
def test_a_ledger_that_is_away_is_told_in_clear_words(new_deployment: NewDeployment) -> None:
    """The sentence of the catalogue, with its status."""
    nowhere = new_deployment()
    nowhere._given["redis_url"] = "redis://127.0.0.1:1/0"
    with serving(nowhere) as workerless:
        status, said = refused(workerless, "/try/login", {"provider": "LINKEDIN", "source": "SMS"})
    assert status == 503
    assert said


def test_it_ends_at_once_while_somebody_watches(deployment: Deployment) -> None:
    """An open event stream does not hold `checkpoint up` when it stops."""
    with serving(deployment) as served:
        account = begin(served, provider="LINKEDIN", source="EMAIL")["account_id"]
        served.call("POST", "/try/pace", {"account_id": account, "pace": "silent"})
        code = served.call("GET", f"/try/inbox?account_id={account}").body["code"]
        fields = {"account_id": account, "provider": "LINKEDIN", "code": code}
        caller = Caller(served.address, KEY)
        asked = caller.call("POST", SUBMIT, fields, headers={"Prefer": "respond-async"})
        connection = caller.connect()
        path = f"{asked.headers['Location']}/events"
        connection.request("GET", path, headers={"X-API-KEY": KEY})
        response = connection.getresponse()
        assert b"retry" in response.readline()
        served.close()  # Whose bound and status are asserted there.
        connection.close()
    until(lambda: deployment.client.result(asked.body["submission_id"]).is_final, "its outcome")  # type: ignore[union-attr]


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl is installed")
def test_up_prints_the_page_first_and_a_call_that_works(tmp_path: Path) -> None:
    """The address is the first thing to read; the key stays in the private file."""
    command = [sys.executable, "-m", "checkpoint_worker.worker.cli", "up", "--sandbox-port", "0"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CHECKPOINT_")}
    with subprocess.Popen(
        [*command, "--directory", str(tmp_path / "up")],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            while not lines[-1].startswith("Flower:"):
                assert lines[-1], "up ended"
                lines.append(process.stdout.readline())
            address = lines[0].removeprefix("Try it in a browser: ").strip()
            key = key_in(tmp_path / "up" / "env")
            assert key not in "".join(lines)
            page = Caller(address, None).call("GET", "/").raw
            assert b"Try a checkpoint" in page
            assert key.encode() not in page
            (call,) = [line for line in lines if line.startswith("Over HTTP: ")]
            assert (
                subprocess.run(
                    ["sh", "-c", call.removeprefix("Over HTTP: ").replace("curl ", "curl -s ")],
                    check=True,
                    capture_output=True,
                    env=environ,
                ).stdout
                == b'{"object":"OutcomeList","items":[],"next":null}'
            )
        finally:
            process.terminate()
            assert process.wait(BOUND_S) == 0


def key_in(env_path: Path) -> str:
    """Return the API key of an environment file, which only its owner may read."""
    assert env_path.stat().st_mode & 0o777 == 0o600
    found = re.search("^CHECKPOINT_API_KEYS=([0-9a-f]{64})$", env_path.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]
