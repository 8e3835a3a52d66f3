"""The simulated web logins as a person meets them, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, Self

import pytest
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect

from checkpoint_worker.providers.sandbox import SandboxClient, background
from checkpoint_worker.providers.sandbox.web import LOOKS
from tests.support.chromium import chromium, needs_chromium
from tests.support.deployment import BOUND_S
from tests.support.web_logins import SESSIONS, session

PROVIDERS: Final = sorted(SESSIONS)
EACH_WAY: Final = ("LINKEDIN", "TWITTER")
"""One provider whose form the browser posts, and one whose form a script sends."""
LABELS: Final = {
    "LINKEDIN": "Please enter the code here",
    "INSTAGRAM": "Security Code",
    "TWITTER": "Enter code",
    "MESSENGER": "Login code",
}
ALL: Final = ",".join(sorted(LOOKS.keys() - {"plain", "bound", "auto"}))

expect.set_options(timeout=BOUND_S * 1000)
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxClient]:
    """A sandbox for all tests of the module."""
    with background() as client:
        yield client


class Visit:
    """A person's login in a browser of its own; whatever a page's script breaks fails the test."""

    def __init__(
        self,
        browser: Browser,
        sandbox: SandboxClient,
        provider: str,
        *,
        look: str = "plain",
        scene: str = "",
        source: str = "SMS",
        kind: str = "plain",
    ) -> None:
        self.sandbox = sandbox
        self.looks = set(look.split(","))
        self.account = sandbox.add_account(provider, source=source, kind=kind)
        self.complaints: list[str] = []
        self.context = browser.new_context()
        self.context.set_default_timeout(BOUND_S * 1000)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " event => console.error('CSP ' + event.violatedDirective))"
        )
        self.page.goto(sandbox.web_login_url(self.account, look=look, scene=scene))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.context.close()
        if kind is None:
            assert self.complaints == []

    def _hear(self, message: Any) -> None:
        # That a refusal has a status of 400 is the browser's remark, not the page's.
        if message.type in {"error", "warning"} and "Failed to load" not in message.text:
            self.complaints.append(message.text)

    @property
    def place(self) -> Page | FrameLocator:
        """What holds the form."""
        return self.page.frame_locator("iframe") if "iframe" in self.looks else self.page

    @property
    def boxes(self) -> Locator:
        """The inputs for single digits."""
        return self.place.get_by_label(re.compile(r"^Digit \d of 6$"))

    @property
    def field(self) -> Locator:
        """The input for the code, or the first one."""
        if "boxes" in self.looks:
            return self.boxes.first
        return self.place.get_by_label(LABELS[self.account["provider"]], exact=True)

    @property
    def button(self) -> Locator:
        """The button that submits."""
        return self.place.get_by_role("button")

    @property
    def right(self) -> str:
        """The code that the person would type."""
        return self.sandbox.current_code(self.account["id"])

    @property
    def wrong(self) -> str:
        """A code that is none."""
        return self.sandbox.wrong_code(self.account["id"])

    def type(self, code: str) -> None:
        """Type a code key by key, and submit it where the page does not."""
        if "boxes" not in self.looks:
            self.field.fill("")
        self.field.click()
        self.page.keyboard.type(code)
        if "auto" not in self.looks:
            self.button.click()

    def complained(self) -> None:
        """Wait for the error of a wrong code."""
        text = re.compile(r"isn't valid|check the security code|Incorrect|doesn't match")
        expect(self.place.get_by_role("alert").filter(has_text=text)).to_be_visible()

    def is_home(self) -> None:
        """Wait for the account's page, and look for its cookies."""
        provider = self.account["provider"]
        self.page.wait_for_url(f"**/web/{provider.lower()}/home")
        expect(self.page.get_by_role("main")).to_contain_text(self.account["handle"])
        assert {each["name"] for each in self.context.cookies()} >= SESSIONS[provider]

    def sent(self, *codes: str) -> None:
        """Assert which codes have arrived, in order."""
        assert [each["code"] for each in self.sandbox.sends(self.account["id"])] == [*codes]


@pytest.mark.parametrize(
    ("provider", "look"),
    [
        *((name, look) for name in EACH_WAY for look in sorted(LOOKS.keys() - {"bound"})),
        *((name, ALL) for name in PROVIDERS),
        *((name, "plain") for name in PROVIDERS if name not in EACH_WAY),
    ],
)
def test_each_look_takes_a_wrong_code_and_then_the_right_one(
    browser: Browser, sandbox: SandboxClient, provider: str, look: str
) -> None:
    """The page shows its error and stays; the right code ends at home; each arrives once."""
    with Visit(browser, sandbox, provider, look=look) as visit:
        wrong, right = visit.wrong, visit.right
        visit.type(wrong)
        visit.complained()
        visit.type(right)
        visit.is_home()
        visit.sent(wrong, right)


# Looks by themselves ------------------------------------------------------------------


def test_boxes_move_the_focus_take_a_paste_and_are_emptied_by_an_error(
    browser: Browser, sandbox: SandboxClient
) -> None:
    """As such inputs do: on with each digit, back with backspace on an empty one."""
    with Visit(browser, sandbox, "LINKEDIN", look="boxes,toast") as visit:
        keyboard = visit.page.keyboard
        visit.boxes.first.click()
        keyboard.type("12")
        expect(visit.boxes.nth(2)).to_be_focused()
        keyboard.press("Backspace")
        expect(visit.boxes.nth(1)).to_be_focused()
        wrong = visit.wrong
        visit.boxes.first.evaluate(
            """(box, text) => {
              const clipboardData = new DataTransfer();
              clipboardData.setData("text", text);
              box.dispatchEvent(new ClipboardEvent("paste", { clipboardData, cancelable: true }));
            }""",
            f" {wrong} ",
        )
        assert [box.input_value() for box in visit.boxes.all()] == [*wrong]
        visit.button.click()
        visit.complained()
        assert [box.input_value() for box in visit.boxes.all()] == [""] * 6
        expect(visit.boxes.first).to_be_focused()
        visit.sent(wrong)


def test_a_value_set_by_a_script_is_not_typed(browser: Browser, sandbox: SandboxClient) -> None:
    """The page goes by what it hears: the button stays off, and nothing can be sent around it."""
    with Visit(browser, sandbox, "INSTAGRAM", look="disabled") as visit:
        expect(visit.button).to_be_disabled()
        code = visit.right
        visit.field.evaluate("(input, code) => { input.value = code; }", code)
        expect(visit.button).to_be_disabled()
        visit.field.evaluate("input => input.form.requestSubmit()")
        visit.sent()
        visit.type(code)
        visit.is_home()
        visit.sent(code)


def test_a_toast_goes_away_and_the_form_stays(browser: Browser, sandbox: SandboxClient) -> None:
    """What was typed stands there still, which who types the next code has to clear."""
    with Visit(browser, sandbox, "MESSENGER", look="toast") as visit:
        wrong = visit.wrong
        visit.type(wrong)
        visit.complained()
        expect(visit.page.get_by_test_id("toast")).to_have_count(0)
        expect(visit.field).to_have_value(wrong)
        expect(visit.button).to_be_enabled()


# Scenes -------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_second_code_is_asked_for(
    browser: Browser, sandbox: SandboxClient, provider: str
) -> None:
    """TWITTER's script puts its form in the place of the first one; the others load a page."""
    with Visit(browser, sandbox, provider, scene="chained", source="APP") as visit:
        first, address = visit.right, visit.page.url
        visit.page.evaluate("window.stays = true")
        visit.type(first)
        visit.page.wait_for_url(lambda url: url != address)
        expect(visit.button).to_be_visible()
        visit.page.wait_for_function("document.querySelector('[data-code]').value === ''")
        assert visit.page.evaluate("window.stays === true") is (provider == "TWITTER")
        second = visit.right
        visit.page.get_by_role("textbox").press_sequentially(second)
        visit.button.click()
        visit.is_home()
        visit.sent(first, second)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_captcha_is_for_a_person(browser: Browser, sandbox: SandboxClient, provider: str) -> None:
    """It has a frame of its own; when the person has done it, the login is at home."""
    with Visit(browser, sandbox, provider, scene="captcha") as visit:
        visit.type(visit.right)
        visit.page.wait_for_url("**/captcha/*")
        expect(visit.page.get_by_title("Captcha challenge")).to_be_visible()
        puzzle = visit.page.frame_locator("#captcha-internal")
        expect(puzzle.get_by_role("main")).to_contain_text("Pick the picture")
        visit.page.get_by_role("checkbox").check()
        visit.page.get_by_role("button", name="Verify").click()
        visit.is_home()


@pytest.mark.parametrize("provider", EACH_WAY)
@pytest.mark.parametrize("scene", ["consent", "approval"])
def test_a_person_consents_or_approves(
    browser: Browser, sandbox: SandboxClient, provider: str, scene: str
) -> None:
    """The page has no input and one button, which ends the login."""
    with Visit(browser, sandbox, provider, scene=scene) as visit:
        visit.type(visit.right)
        visit.page.wait_for_url(f"**/{scene}/*")
        expect(visit.page.get_by_role("textbox")).to_have_count(0)
        visit.page.get_by_role("button").click()
        visit.is_home()


@pytest.mark.parametrize("provider", EACH_WAY)
@pytest.mark.parametrize("scene", ["dead", "locked"])
def test_a_login_that_is_over_says_so(
    browser: Browser, sandbox: SandboxClient, provider: str, scene: str
) -> None:
    """An alert says why, and a link leads to the form for name and password."""
    with Visit(browser, sandbox, provider, scene=scene) as visit:
        visit.type(visit.right)
        expect(visit.page.get_by_role("alert")).to_contain_text(
            re.compile("again|too many", re.IGNORECASE)
        )
        visit.page.get_by_role("link", name="Back to sign in").click()
        expect(visit.page.get_by_label("Password")).to_be_visible()


@pytest.mark.parametrize("provider", EACH_WAY)
def test_a_page_can_go_away(browser: Browser, sandbox: SandboxClient, provider: str) -> None:
    """It ends at a page without an origin."""
    with Visit(browser, sandbox, provider, scene="away") as visit:
        visit.type(visit.right)
        visit.page.wait_for_url("about:blank")


@pytest.mark.parametrize("provider", EACH_WAY)
def test_a_page_can_wait_for_ever(browser: Browser, sandbox: SandboxClient, provider: str) -> None:
    """The code has arrived, and the page stays where it is."""
    with Visit(browser, sandbox, provider, scene="silent") as visit:
        code, address = visit.right, visit.page.url
        visit.field.fill(code)
        visit.button.click(no_wait_after=True)
        sandbox.received(visit.account["id"])
        if provider == "TWITTER":
            # Elsewhere the form is posted by the browser, and Playwright waits for its answer.
            expect(visit.button).to_be_disabled()
            expect(visit.page.locator("form")).to_have_attribute("aria-busy", "true")
        assert visit.page.url == address
        visit.sent(code)
        assert sandbox.account(visit.account["id"])["open_exchanges"] == 1


def test_the_sandbox_s_page_leads_to_a_login(browser: Browser, sandbox: SandboxClient) -> None:
    """Each account has a link to it, which opens beside the page with its codes."""
    account = sandbox.add_account("MESSENGER", source="APP")
    context = browser.new_context()
    page = context.new_page()
    page.goto(sandbox.page_url)
    with context.expect_page() as opened:
        page.get_by_label(account["id"]).get_by_role("link", name="Log in with a browser").click()
    login = opened.value
    login.get_by_label("Login code").fill(sandbox.current_code(account["id"]))
    login.get_by_role("button").click()
    login.wait_for_url("**/web/messenger/home")
    context.close()


# Bound to its browser -----------------------------------------------------------------

THE_KEY: Final = """
async () => {
  const opening = indexedDB.open("login-key", 1);
  await new Promise(done => { opening.onsuccess = done; });
  const asked = opening.result.transaction("login-key").objectStore("login-key").getAll();
  await new Promise(done => { asked.onsuccess = done; });
  const { privateKey } = asked.result[0];
  const formats = ["jwk", "pkcs8", "raw"];
  const tried = await Promise.allSettled(
    formats.map(each => crypto.subtle.exportKey(each, privateKey)));
  return [privateKey.extractable, ...tried.map(each => each.status)];
}
"""


@pytest.mark.parametrize(
    "look", ["bound", "bound,boxes,disabled,late", "bound,iframe,interstitial"]
)
def test_a_bound_login_works_in_its_browser_alone(
    browser: Browser, sandbox: SandboxClient, look: str
) -> None:
    """After a reload, too; and its session is one that clients without a browser can use."""
    with Visit(browser, sandbox, "TWITTER", look=look) as visit:
        expect(visit.field).to_be_visible()
        visit.page.reload()
        wrong, right = visit.wrong, visit.right
        visit.type(wrong)
        visit.complained()
        visit.type(right)
        visit.is_home()
        visit.sent(wrong, right)
        cookies = {each["name"]: each["value"] for each in visit.context.cookies()}
        me = session(sandbox, visit.account, cookies)
        assert me["id_str"] == visit.account["user_id"]


def test_a_bound_login_s_key_cannot_be_taken_away(browser: Browser, sandbox: SandboxClient) -> None:
    """No script reads it, another browser with all the rest gets no form, and HTTP a 403."""
    with Visit(browser, sandbox, "TWITTER", kind="jetfuel") as visit:
        expect(visit.field).to_be_visible()
        assert visit.page.evaluate(THE_KEY) == [False, "rejected", "rejected", "rejected"]
        other = browser.new_context(storage_state=visit.context.storage_state(indexed_db=True))
        page = other.new_page()
        page.goto(visit.page.url)
        expect(page.get_by_role("alert")).to_contain_text("another browser")
        expect(page.get_by_role("textbox")).to_have_count(0)
        code = visit.right
        fields = visit.page.eval_on_selector_all(
            "form input", "inputs => inputs.map(each => [each.name, each.value])"
        )
        sent = {**dict(fields), "text": code}
        answer = other.request.post(visit.page.url, form=sent)
        assert answer.status == 403
        other.close()
        visit.type(code)
        visit.is_home()
        visit.sent(code, code)
