"""What is typed into a page, how often, and what is left of it; without a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import pytest

from checkpoint_worker.providers.live_session.browser import (
    GENERIC,
    RECIPES,
    BrowserExtraMissingError,
    LoginPage,
    PageLostError,
    Patience,
    Recipe,
    RecordingError,
    UserId,
    calls,
    finished,
    is_end,
    judging,
    playwright_error,
    recipe_for,
)
from checkpoint_worker.providers.live_session.browser.calls import recorded_by
from checkpoint_worker.providers.live_session.browser.finished import SESSION_MAX
from tests.support.stub_page import URL, Answer, CutError, Request, Response, StubPage

CODE: Final = "271828"
RECIPE: Final = replace(GENERIC, success=("sid", "uid"), user_id=UserId(cookie="uid"))
QUICK: Final = Patience(
    whole_s=5.0, find_s=0.4, key_s=0.0, itself_s=0.0, enable_s=0.3, settle_s=0.05, away_s=0.15,
    unknown_s=0.25,
)  # fmt: skip
REJECTED: Final = {"verdict": "rejected"}
TIMED_OUT: Final = {"status": 408, "type": "request_timeout"}
IN_DOUBT: Final = {"status": 403, "type": "action_required", "in_doubt": True}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stub answers at once or never."""
    monkeypatch.setattr(calls, "READ_S", 0.05)
    monkeypatch.setattr(calls, "CALL_S", 0.3)


async def begun(page: StubPage, recipe: Recipe = RECIPE, **options: Any) -> LoginPage:
    """Return a login page that watches a stub."""
    stub: Any = page
    login = LoginPage(stub, "ACME", recipe=recipe, patience=QUICK, **options)
    await login.begin()
    return login


async def answered(page: StubPage, code: str = CODE, **options: Any) -> Mapping[str, object]:
    """Type a code into a stub; return the answer."""
    login = await begun(page, **options)
    try:
        return await login.answer("sub_1", code)
    finally:
        await login.end()
        assert not any(page.handlers.values()), "no listener is left"


def run(page: StubPage, code: str = CODE, **options: Any) -> dict[str, object]:
    """Type a code into a stub; return the answer."""
    return dict(asyncio.run(answered(page, code, **options)))


def clears(page: StubPage) -> None:
    """Let the right code finish the login."""

    def finish(code: str) -> None:
        page.answered(code)
        page.context.set(sid="s1", uid="77")
        page.turn()
        page.hide("Home")

    page.on_submit = finish


# Verdicts ------------------------------------------------------------------------------


def test_a_right_code_is_typed_once_and_hands_over_the_login() -> None:
    """The session has the site's cookies and storage, in the form of every session."""
    page = StubPage()
    page.context.set(domain=".other.test", tracker="t")
    clears(page)
    answer = run(page)
    session: Any = answer.pop("session")
    assert answer == {"verdict": "cleared", "user_id": "77"}
    assert (page.keys, page.submits) == ([*CODE], [CODE])
    assert {each["name"] for each in session["cookies"]} == {"sid", "uid"}
    assert session["user_agent"] == "Stub/1.0"
    assert session["origins"][0]["localStorage"] == [{"name": "kept", "value": "x" * 10}]
    assert (session["user_id"], session["provider"]) == ("77", "ACME")


def test_a_refused_code_is_refused_and_cleared() -> None:
    """The page says so beside the field; nothing of the code is left there."""
    page = StubPage()
    page.on_submit = page.refuse
    assert run(page) == REJECTED
    assert page.held == ""
    assert page.submits == [CODE]


def test_an_error_of_before_refuses_nothing() -> None:
    """What was shown before the submit is no answer to this code."""
    page = StubPage()
    page.alerts = ["That code is incorrect."]
    page.on_submit = page.answered
    login_patience = replace(QUICK, whole_s=0.6)

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        login.patience = login_patience
        return await login.answer("sub_1", CODE)

    assert dict(asyncio.run(play())) == IN_DOUBT


def test_an_error_without_an_answer_of_the_provider_refuses_nothing() -> None:
    """A page that checks by itself has not asked whether the code is right."""
    page = StubPage()
    page.on_submit = lambda _: page.alerts.append("That code is invalid.")

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        login.patience = replace(QUICK, whole_s=0.6)
        return await login.answer("sub_1", CODE)

    assert dict(asyncio.run(play())) == TIMED_OUT


def test_a_login_of_before_is_none_of_now() -> None:
    """A session's cookie that the browser held already clears nothing."""
    page = StubPage()
    page.context.set(sid="old", uid="77")
    page.on_submit = page.refuse
    assert run(page) == REJECTED


def test_a_field_that_the_page_marks_is_refused_in_any_words() -> None:
    """``aria-invalid`` is about this very field."""
    page = StubPage()

    def mark(code: str) -> None:
        page.answered(code)
        page.invalid, page.alerts = True, ["Nope."]

    page.on_submit = mark
    assert run(page) == REJECTED


def test_a_throttled_code_is_not_refused() -> None:
    """It was not judged."""
    page = StubPage()

    def throttle(code: str) -> None:
        page.answered(code)
        page.alerts = ["Too many attempts. Your code is invalid, try again later."]

    page.on_submit = throttle
    assert run(page) == {"status": 500, "type": "provider_error"}


def test_a_further_field_is_the_next_checkpoint() -> None:
    """Another source, in a new document, and nothing refused."""
    page = StubPage()

    def further(code: str) -> None:
        page.answered(code)
        page.turn()
        page.show()
        page.headings = ["Open your authentication app"]

    page.on_submit = further
    checkpoint = {"type": "2FA", "source": "APP"}
    assert run(page) == {"verdict": "next_checkpoint", "checkpoint": checkpoint}


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Solve the captcha", {"status": 403, "type": "action_required", "action": "captcha"}),
        ("Agree to our terms", {"status": 403, "type": "action_required", "action": "consent"}),
        ("Approve this login", {"status": 403, "type": "action_required", "action": "approval"}),
        ("Change your password", {"status": 403, "type": "action_required", "action": "password"}),
        ("Verify your identity", {"status": 403, "type": "action_required", "action": "identity"}),
        ("Your account has been suspended", {"status": 403, "type": "account_restricted"}),
        ("Your session has expired", {"status": 500, "type": "authentication_intent_error"}),
        ("Too many attempts", {"status": 500, "type": "authentication_intent_error"}),
        ("News of today", IN_DOUBT),
    ],
)
def test_a_page_after_the_code_is_what_it_says(heading: str, expected: dict[str, Any]) -> None:
    """Captcha, consent, the end; a page that is not known is in doubt."""
    page = StubPage()

    def go(code: str) -> None:
        page.answered(code)
        page.turn()
        page.hide(heading)

    page.on_submit = go
    answer = run(page)
    assert answer == expected
    ends = {"account_restricted", "authentication_intent_error"}
    assert is_end(answer) is (expected["type"] in ends)


def test_a_page_that_leaves_the_site_is_in_doubt() -> None:
    """Wherever it went, nothing says that the code was wrong."""
    page = StubPage()

    def leave(_: str) -> None:
        page.url = "about:blank"
        page.turn()
        page.hide()

    page.on_submit = leave
    assert run(page) == IN_DOUBT


def test_a_login_without_an_owner_is_in_doubt() -> None:
    """The session is there, but whose it is nobody said."""
    page = StubPage()
    clears(page)
    answer = run(page, recipe=replace(RECIPE, user_id=None))
    assert answer == {"status": 500, "type": "provider_error", "in_doubt": True}
    page = StubPage()
    clears(page)
    answer = run(page, recipe=replace(RECIPE, user_id=None), user_id="42")
    assert answer["user_id"] == "42"


@pytest.mark.parametrize("where", ["page", "answer", "nowhere"])
def test_the_owner_is_asked_for_where_no_cookie_names_it(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the page as its scripts find it, or by the provider's answer."""
    page = StubPage()
    clears(page)
    owner = json.dumps({"plainId": 77})
    if where == "page":
        page.owner = owner
    elif where == "answer":
        page.context.request.answer = Answer(200, owner.encode())
    else:
        page.context.request.answer = CutError("no way")
    recipe = replace(RECIPE, user_id=None, owner_path="/me")
    if where == "nowhere":
        monkeypatch.setattr(finished, "OWNER_S", 0.3)
        answer = run(page, recipe=recipe)
        assert answer["status"] == 500
        assert page.context.request.asked[0] == "https://www.example.test/me"
    else:
        assert run(page, recipe=recipe)["user_id"] == "77"


def test_a_session_is_bounded() -> None:
    """Its message has a limit; storage goes first, then the cookies that no login needs."""
    page = StubPage()
    clears(page)
    page.context.set(**{f"c{number}": "x" * 4000 for number in range(60)})
    session: Any = run(page)["session"]
    assert session["origins"] == []
    assert len(json.dumps(session)) < SESSION_MAX
    assert {"sid", "uid"} <= {each["name"] for each in session["cookies"]}


# Once, and never into the wrong place --------------------------------------------------


def test_a_submission_is_typed_once() -> None:
    """Also if it is handed in again: a second try would use up a second one."""
    page = StubPage()
    page.on_submit = page.refuse

    async def play() -> list[dict[str, object]]:
        login = await begun(page)
        first = await login.answer("sub_1", CODE)
        again = await login.answer("sub_1", CODE)
        return [dict(first), dict(again)]

    assert asyncio.run(play()) == [REJECTED, TIMED_OUT]
    assert page.keys == [*CODE]


def test_a_form_that_submits_itself_is_not_submitted_again() -> None:
    """The request with the code is seen, and so is a form that is gone."""
    page = StubPage()
    page.auto = True
    clears(page)
    assert run(page)["verdict"] == "cleared"
    assert page.submits == [CODE]


def test_six_boxes_get_a_key_each() -> None:
    """In their order."""
    page = StubPage(boxes=6)
    page.on_submit = page.refuse
    assert run(page) == REJECTED
    assert page.submits == [CODE]


def test_a_form_without_a_button_is_submitted_by_enter() -> None:
    """As a person does."""
    page = StubPage()
    page.has_button = False
    page.on_submit = page.refuse
    assert run(page) == REJECTED


def test_a_press_that_fails_is_not_repeated() -> None:
    """It may have been done."""
    page = StubPage()
    page.broken["click"] = CutError("timed out")

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        login.patience = replace(QUICK, whole_s=1.0)
        return await login.answer("sub_1", CODE)

    assert dict(asyncio.run(play())) == TIMED_OUT


def test_a_page_that_is_drawn_anew_while_typing_is_not_submitted() -> None:
    """Part of the code is lost; half a code would use up a try."""
    page = StubPage()

    async def lose() -> None:
        if len(page.keys) == 3:
            page.inputs[0].value = ""

    page.on_key = lose
    assert run(page) == {"status": 500, "type": "provider_error"}
    assert page.submits == []
    assert page.held == ""


def test_a_button_that_stays_disabled_is_not_pressed() -> None:
    """The page does not take a code of this form."""
    page = StubPage()
    page.disabled = True
    assert run(page) == {"status": 400, "type": "invalid_request"}
    assert (page.submits, page.held) == ([], "")


@pytest.mark.parametrize("code", ["", "12 34\n5", "1" * 65, "ключ"])
def test_a_text_that_is_no_code_is_not_typed(code: str) -> None:
    """A control key would press what nobody asked for."""
    page = StubPage()
    assert run(page, code) == {"status": 400, "type": "invalid_request"}
    assert page.keys == []


@pytest.mark.parametrize(("boxes", "code"), [(0, "1234567"), (6, "12345")])
def test_a_code_that_cannot_fit_is_not_typed(boxes: int, code: str) -> None:
    """Too long for the field, or not one for each box."""
    page = StubPage(boxes=boxes)
    assert run(page, code)["status"] == 400
    assert page.keys == []


def test_another_way_is_not_typed() -> None:
    """The literal is no code."""
    page = StubPage()
    assert run(page, "TRY_ANOTHER_WAY")["action"] == "another_way"
    assert page.keys == []


def test_what_stood_in_the_field_goes_first() -> None:
    """A code of before, or what the browser has filled in."""
    page = StubPage()
    page.inputs[0].value = "999"
    page.on_submit = page.refuse
    assert run(page) == REJECTED
    assert page.submits == [CODE]


def test_a_page_that_is_done_already_is_not_typed_into() -> None:
    """The answer to an older code came late: the login is finished."""
    page = StubPage()

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        page.context.set(sid="s1", uid="77")
        return await login.answer("sub_1", CODE)

    assert asyncio.run(play())["verdict"] == "cleared"
    assert page.keys == []


@pytest.mark.parametrize("kind", ["away", "captcha", "unknown", "disabled", "loading"])
def test_a_page_without_its_field_is_not_typed_into(kind: str) -> None:
    """Nothing was sent, so nothing is in doubt."""
    page = StubPage()
    action = "captcha" if kind == "captcha" else "unknown"
    expected: dict[str, object] = {"status": 403, "type": "action_required", "action": action}

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        if kind == "away":
            page.url = "https://www.phish.test/checkpoint/1"
        elif kind == "disabled":
            page.field_disabled = True
        elif kind == "loading":
            page.ready = False
        else:
            page.hide("Solve the captcha" if kind == "captcha" else "Hello")
        return await login.answer("sub_1", CODE)

    if kind == "loading":
        expected = dict(TIMED_OUT)
    assert dict(asyncio.run(play())) == expected
    assert page.keys == []


def test_a_late_field_is_waited_for() -> None:
    """Fields appear by script."""
    page = StubPage()
    page.hide("Loading")
    page.on_submit = page.refuse

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        asyncio.get_running_loop().call_later(0.15, page.show)
        return await login.answer("sub_1", CODE)

    assert dict(asyncio.run(play())) == REJECTED


# Cancel, silence, loss -----------------------------------------------------------------


def test_a_canceled_code_is_not_submitted_and_not_left() -> None:
    """It stops between two keys, and the key on its way is awaited before the field is cleared."""
    page = StubPage()

    async def play() -> None:
        reached, on = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            if len(page.keys) == 3:
                reached.set()
                await on.wait()

        page.on_key = hold
        login = await begun(page)
        task = asyncio.create_task(login.answer("sub_1", CODE))
        await reached.wait()
        task.cancel()
        on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert page.held == ""
        assert (page.keys, page.submits, page.cleared) == ([*CODE[:3]], [], 1)
        page.on_key = None
        page.on_submit = page.refuse
        assert dict(await login.answer("sub_2", "161803")) == REJECTED
        assert page.submits == ["161803"]

    asyncio.run(play())


def test_a_page_that_never_answers_is_timed_out_and_cleared() -> None:
    """Its form is still being sent, which no script reaches: the sending is stopped."""
    page = StubPage()

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        login.patience = replace(QUICK, whole_s=0.8)
        page.on_submit = lambda _: page.stuck.update({"look", "clear"})
        return await login.answer("sub_1", CODE)

    assert dict(asyncio.run(play())) == TIMED_OUT
    assert (page.held, page.stopped) == ("", 1)


def test_a_finished_login_is_seen_while_the_page_is_loading() -> None:
    """By its cookies; its loading is not stopped."""
    page = StubPage()

    def finish(code: str) -> None:
        page.answered(code)
        page.context.set(sid="s1", uid="77")
        page.stuck |= {"look", "clear", "about"}

    page.on_submit = finish
    assert run(page)["verdict"] == "cleared"
    assert page.stopped == 0


@pytest.mark.parametrize("kind", ["event", "look", "type", "submit"])
def test_a_page_that_is_lost_is_timed_out(kind: str) -> None:
    """What became of the code nobody knows."""
    page = StubPage()
    gone = CutError("Target page, context or browser has been closed\nCall log: type 2")

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        if kind == "event":
            page.on_submit = lambda _: page.emit("crash")
        elif kind == "submit":
            page.on_submit = lambda _: page.broken.update(look=gone, cookies=gone)
        else:
            page.broken[kind] = gone
        answer = await login.answer("sub_1", CODE)
        assert login.lost.is_set()
        assert not await login.is_there()
        return answer

    assert dict(asyncio.run(play())) == TIMED_OUT


def test_a_browser_that_is_gone_is_noticed_when_it_is_asked() -> None:
    """Also where no event says so; a busy page is not gone."""
    page = StubPage()

    async def play() -> None:
        login = await begun(page)
        assert await login.is_there()
        page.stuck.add("cookies")
        assert await login.is_there()
        page.stuck.clear()
        page.broken["cookies"] = CutError("Connection closed while reading from the driver")
        assert not await login.is_there()

    asyncio.run(play())


@pytest.mark.parametrize("text", ["Target page has been closed", "Timeout"])
def test_a_page_that_is_gone_does_not_begin(text: str) -> None:
    """There is nothing to register."""
    page = StubPage()
    page.broken["cookies"] = CutError(text)
    with pytest.raises(PageLostError):
        asyncio.run(begun(page))


def test_no_error_quotes_a_key() -> None:
    """Playwright's messages do, and a traceback would show them."""

    async def fail() -> None:
        raise CutError(CODE)

    for call in (calls.read, calls.whole):
        with pytest.raises(calls.PageBusyError) as caught:
            asyncio.run(call(fail()))
        assert CODE not in repr(caught.value)
        assert caught.value.__suppress_context__
    page = StubPage()
    page.broken["type"] = CutError(f"Locator.type: {CODE} failed")
    assert run(page) == {"status": 500, "type": "provider_error"}
    assert page.submits == []


# Recordings and Playwright --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video", "trace", "har", "log"])
def test_a_recorded_page_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the beginning, and before each code."""
    page = StubPage()

    async def play() -> Mapping[str, object]:
        login = await begun(page)
        if kind == "video":
            page.video = object()
        elif kind == "log":
            monkeypatch.setenv("DEBUG", "pw:api")
        else:
            state = {"_is_tracing": kind == "trace", "_har_recorders": {"1": 1}}
            page.context.tracing = SimpleNamespace(_impl_obj=SimpleNamespace(**state))
        with pytest.raises(RecordingError, match="stop it"):
            await begun(page)
        return await login.answer("sub_1", CODE)

    assert dict(asyncio.run(play())) == {"status": 503, "type": "no_handler"}
    assert page.keys == []


@pytest.mark.parametrize(
    ("debug", "logs"),
    [
        ("pw:protocol", True), ("pw:*", True), ("*", True), ("mine app:*,pw:api", True),
        ("", False), ("app:*", False), ("-pw:*", False), ("pw:install", False),
    ],
)  # fmt: skip
def test_a_log_that_is_switched_on_by_a_pattern_is_a_recording(
    debug: str, logs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``DEBUG=*`` is a habit; Playwright's protocol log then has every key."""
    monkeypatch.setenv("DEBUG", debug)
    assert (recorded_by(StubPage()) is not None) is logs


def test_a_plain_install_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and no more than that is imported."""
    monkeypatch.setitem(__import__("sys").modules, "playwright.async_api", None)
    with pytest.raises(
        BrowserExtraMissingError, match=r"pip install 'checkpoint-worker\[browser\]'"
    ):
        playwright_error()


def test_the_code_is_in_no_representation() -> None:
    """Nor is the session's."""
    page = StubPage()
    clears(page)

    async def play() -> LoginPage:
        login = await begun(page)
        await login.answer("sub_1", CODE)
        return login

    login = asyncio.run(play())
    assert CODE not in repr(vars(login))
    assert "s1" not in repr(login.login)
    assert login.page.url == URL


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://www.linkedin.com/checkpoint", "linkedin.com"),
        ("https://login.bank.co.uk/otp", "bank.co.uk"),
        ("http://127.0.0.1:8700/web", "127.0.0.1:8700"),
        ("http://localhost:1/", "localhost:1"),
        ("http://[::1]:2/", "[::1]:2"),
        ("about:blank", ""),
    ],
)
def test_a_site_is_what_belongs_together(url: str, site: str) -> None:
    """Cookies and frames of it belong to the login, others do not."""
    assert judging.site_of(url) == site


def test_cookies_of_other_sites_and_forms_are_left_out() -> None:
    """Of the login's own, none is of a form that no context takes."""
    given = [
        {"name": "a", "value": "1", "domain": ".example.test", "path": "/", "expires": 5.5},
        {"name": "b", "value": "2", "domain": "www.example.test", "path": "/", "expires": -1},
        {"name": "", "value": "3", "domain": "example.test", "path": "/", "expires": -1},
        {"name": "c", "value": "4", "domain": "myexample.test", "path": "/", "expires": -1},
    ]
    found = judging.read_cookies(given, "example.test")
    assert [(each.name, each.expires_at) for each in found] == [("a", 5.5), ("b", None)]


@pytest.mark.parametrize("provider", sorted(RECIPES))
def test_a_recipe_names_whose_login_it_is(provider: str) -> None:
    """Every provider has the cookies of a login, and a way to its owner."""
    recipe = recipe_for(provider)
    assert recipe is not GENERIC
    assert recipe.success
    assert (recipe.user_id is None) is bool(recipe.owner_path)


@pytest.mark.parametrize(
    ("cookie", "expected"), [("u%3D77", "77"), ('"u=77"', "77"), ("u=x", None), ("", None)]
)
def test_the_owner_is_read_from_its_cookie(cookie: str, expected: str | None) -> None:
    """In the forms that browsers hold it in."""
    named = recipe_for("TWITTER").user_id
    assert named is not None
    assert named.read(cookie) == expected


@pytest.mark.parametrize(
    ("heading", "text", "source"),
    [
        ("Two-factor authentication required", "sent to your phone by text message", "SMS"),
        ("Two-factor authentication", "Enter one of your recovery codes.", "BACKUP"),
        ("Enter code", "We sent it by email. Or use a backup code.", "EMAIL"),
        ("Enter code", "Enter the code we sent to your number ending in 09.", "SMS"),
        ("Enter code", "Use a backup code", None),
    ],
)
def test_a_page_says_where_its_code_comes_from(heading: str, text: str, source: str | None) -> None:
    """What it asks for, and not what it offers beside."""
    page = StubPage()
    page.headings, page.text = [heading], text

    async def play() -> Any:
        stub: Any = page
        return await LoginPage(stub, "ACME", patience=QUICK).begin()

    assert asyncio.run(play()).source == source


def test_a_recipe_without_a_sign_reads_none() -> None:
    """A caller may leave signs out: the page is then not known."""
    page = StubPage()
    page.on_submit = lambda _: page.hide("Solve the captcha")
    assert run(page, recipe=replace(RECIPE, signs={})) == IN_DOUBT


def test_a_browser_without_a_handle_of_its_own_is_watched_too() -> None:
    """A persistent context names no browser."""
    page = StubPage()
    page.context.browser = None
    page.on_submit = page.refuse
    assert run(page) == REJECTED


def test_a_body_that_cannot_be_read_is_none_that_is_known() -> None:
    """Other requests of the page are no answer to the code; the address may hold it."""
    page = StubPage()

    class Odd(Request):
        @property
        def post_data_buffer(self) -> bytes:
            raise CutError

        @post_data_buffer.setter
        def post_data_buffer(self, value: bytes) -> None:
            del value

    def send(code: str) -> None:
        page.emit("request", Odd(URL))
        page.emit("response", Response(Odd(URL)))
        page.emit("request", Request(f"{URL}?code={code}", method="GET"))
        page.emit("response", Response(Request(URL, method="GET")))
        page.refuse(code)

    page.on_submit = send
    assert run(page) == REJECTED


def test_codes_that_a_page_encrypts_are_answered_by_its_other_requests() -> None:
    """The request with the code is not recognised; the page's own errors still count."""
    page = StubPage()

    def send(_: str) -> None:
        page.emit("response", Response(Request(URL, b"sealed")))
        page.alerts = ["That code is incorrect."]

    page.on_submit = send
    assert run(page) == REJECTED
