"""LINKEDIN: what is sent, to the letter, and what each answer means.

Requests are compared as bytes caught on a socket, answers are canned or the sandbox's; both
travel over the real transport.
"""

from __future__ import annotations

import base64
import json
import traceback

import pytest
from pydantic import ValidationError

from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Checkpoint,
    Cleared,
    ContentTooLargeError,
    DeadIntentError,
    MalformedRequestError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    ResourceRestrictedError,
    ServiceUnavailableError,
    SessionMismatchError,
    UnknownStepError,
    UnreadableAnswerError,
    Verdict,
)
from checkpoint_worker.providers.http.html import TAGS_MAX
from checkpoint_worker.providers.linkedin import adapter as linkedin
from checkpoint_worker.providers.linkedin import session as linkedin_session
from checkpoint_worker.providers.linkedin.adapter import HOPS_MAX, LinkedIn, LinkedInContext
from checkpoint_worker.providers.linkedin.session import ME_PAUSES_S
from tests.support.canned_server import Canned, answer, attempt


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once: how often is the point here, and how long stands in the code."""
    monkeypatch.setattr(linkedin_session, "ME_PAUSES_S", (0.0,) * len(ME_PAUSES_S))
    monkeypatch.setattr(linkedin, "PAGE_PAUSES_S", (0.0,) * len(linkedin.PAGE_PAUSES_S))


CODE = "048213"
HIDDEN = {
    "csrfToken": "ajax:0123456789",
    "pageInstance": "urn:li:page:d_checkpoint_ch_emailPin;abc/+ ==",
    "resendUrl": "/checkpoint/challenge/resend",
    "challengeId": "AgFirst",
    "displayTime": "1790000000000",
    "challengeSource": "CONSUMER_LOGIN",
    "requestSubmissionId": "sub-1",
    "challengeType": "AQtype&co",
    "challengeData": "AQdata=",
    "challengeDetails": "AQdetails",
    "failureRedirectUri": "/checkpoint/lg/login?errorKey=challenge_global_internal_error",
    "flowTreeId": "flow",
}
CONTEXT = {
    "user_agent": "StepOne/1.0",
    "cookies": [
        {"name": "JSESSIONID", "value": '"ajax:0123456789"', "domain": ".www.linkedin.com"},
        {"name": "bcookie", "value": '"v=2&0a1b"', "domain": ".linkedin.com", "path": "/"},
        {"name": "lang", "value": "v=2&lang=en-us"},
    ],
    "form_id": "email-pin-challenge",
    "referer": "/checkpoint/challenge/AQtoken?ut=1",
    "fields": HIDDEN,
}
LI_AT = "Set-Cookie: li_at=AQEsecret; Domain=.www.linkedin.com; Path=/; Secure; HttpOnly"
NEW_SESSION = 'Set-Cookie: JSESSIONID="ajax:999"; Path=/'
PASSED = answer(303, "", "Location: /feed/", LI_AT, NEW_SESSION)
ME = {
    "plainId": 4711,
    "miniProfile": {"objectUrn": "urn:li:member:4711", "publicIdentifier": "some-person"},
}
ME_ANSWER = answer(200, json.dumps(ME), "Content-Type: application/json")


PROFILE_ID = base64.urlsafe_b64encode(
    bytes.fromhex("002a0000") + (4711).to_bytes(4, "big") + bytes(21)
).decode()[:39]
"""A profile's id holds the member's."""


def context(**changes: object) -> LinkedInContext:
    """Build the context of a first step, changed here and there."""
    return LinkedInContext.model_validate({**CONTEXT, **changes})


def page(body: str) -> str:
    """Wrap a body into a page."""
    return f"<!DOCTYPE html><html><head><title>x</title></head><body>{body}</body></html>"


def redirect(location: str, status: int = 303) -> bytes:
    """Write a redirect."""
    return answer(status, "", f"Location: {location}")


def pin_form(
    *,
    form_id: str = "email-pin-challenge",
    challenge_id: str = "AgFirst",
    error: str = '<div id="email-pin-error" class="hidden__imp">Not valid.</div>',
    extra: str = "",
    action: str = "/checkpoint/challenge/verify",
) -> str:
    """Build a challenge page as the provider renders it."""
    fields = {**HIDDEN, "challengeId": challenge_id, "requestSubmissionId": "sub-2"}
    inputs = "".join(f'<input type="hidden" name="{k}" value="{v}">' for k, v in fields.items())
    return page(
        f'<form id="{form_id}" action="{action}">{inputs}<input name="pin">{error}{extra}</form>'
    )


async def say(*answers: bytes, code: str = CODE, **changes: object) -> tuple[Verdict, Canned]:
    """Verify against canned answers and return the verdict and what was heard."""
    async with Canned(*answers) as provider:
        return await attempt(LinkedIn(), provider.url, context(**changes), code), provider


async def fail(kind: type[ProviderFailure], *answers: bytes, code: str = CODE) -> ProviderFailure:
    """Verify against canned answers; expect that failure, and the code sent exactly once."""
    async with Canned(*answers) as provider:
        with pytest.raises(ProviderFailure) as caught:
            await attempt(LinkedIn(), provider.url, context(), code)
        assert type(caught.value) is kind
        assert len(provider.carrying(code)) == 1
        assert len(provider.heard) >= len(answers)
        return caught.value


# What is sent --------------------------------------------------------------------------


async def test_the_code_request_is_the_form_of_the_page_byte_for_byte() -> None:
    """Every hidden input goes back unchanged and in order, then language and pin.

    The cookie keeps its quotes: without them the token check at the provider fails.
    """
    _, provider = await say(PASSED, ME_ANSWER)
    sent = provider.heard[0]
    assert sent.request_line == "POST /checkpoint/challenge/verify HTTP/1.1"
    assert sent.body == (
        b"csrfToken=ajax%3A0123456789"
        b"&pageInstance=urn%3Ali%3Apage%3Ad_checkpoint_ch_emailPin%3Babc%2F%2B+%3D%3D"
        b"&resendUrl=%2Fcheckpoint%2Fchallenge%2Fresend"
        b"&challengeId=AgFirst"
        b"&displayTime=1790000000000"
        b"&challengeSource=CONSUMER_LOGIN"
        b"&requestSubmissionId=sub-1"
        b"&challengeType=AQtype%26co"
        b"&challengeData=AQdata%3D"
        b"&challengeDetails=AQdetails"
        b"&failureRedirectUri=%2Fcheckpoint%2Flg%2Flogin%3FerrorKey%3D"
        b"challenge_global_internal_error"
        b"&flowTreeId=flow"
        b"&language=en-US"
        b"&pin=048213"
    )
    headers = sent.headers
    host = provider.url.removeprefix("http://")
    assert headers.pop("content-length") == str(len(sent.body))
    headers.pop("connection", None)  # The transport's own.
    assert headers == {
        "host": host,
        "user-agent": "StepOne/1.0",
        "accept": "text/html",
        "accept-language": "en-US",
        "referer": f"http://{host}/checkpoint/challenge/AQtoken?ut=1",
        "cookie": 'JSESSIONID="ajax:0123456789"; bcookie="v=2&0a1b"; lang=v=2&lang=en-us',
        "content-type": "application/x-www-form-urlencoded",
        "origin": f"http://{host}",
    }


async def test_the_two_step_form_also_sends_its_check_box() -> None:
    """``recognizedDevice`` is sent only if the page has that input."""
    _, provider = await say(PASSED, ME_ANSWER, form_id="two-step-challenge", recognized_device=True)
    assert provider.heard[0].body.endswith(b"&language=en-US&recognizedDevice=on&pin=048213")


async def test_the_forms_own_action_is_used() -> None:
    """The page decides where its form goes, within its host."""
    _, provider = await say(PASSED, ME_ANSWER, action="/checkpoint/challenge/verifyV2?x=1")
    assert provider.heard[0].request_line.startswith("POST /checkpoint/challenge/verifyV2?x=1 ")


async def test_the_headers_of_the_logins_browser_go_where_it_sends_them() -> None:
    """A client whose requests are not the browser's own loses the session at once."""
    given = {
        "Accept-Language": "de-DE,de;q=0.9",
        "Sec-Fetch-Dest": "document",
        "Sec-CH-UA": '"Chromium";v="141"',
        "X-LI-Track": '{"clientVersion":"1.13"}',
    }
    verdict, provider = await say(PASSED, ME_ANSWER, headers=given)
    posted, asked = (heard.headers for heard in provider.heard)
    assert posted["accept-language"] == asked["accept-language"] == "de-DE,de;q=0.9"
    assert posted["sec-ch-ua"] == asked["sec-ch-ua"] == '"Chromium";v="141"'
    assert (posted["sec-fetch-dest"], "x-li-track" in posted) == ("document", False)
    assert ("sec-fetch-dest" in asked, asked["x-li-track"]) == (False, '{"clientVersion":"1.13"}')
    assert (posted["accept"], asked["accept"]) == ("text/html", "application/json")
    assert isinstance(verdict, Cleared)
    assert given.items() <= verdict.session["headers"].items()  # type: ignore[attr-defined]


async def test_the_language_of_the_page_is_kept() -> None:
    """The form may say in which language it was made."""
    _, provider = await say(PASSED, ME_ANSWER, fields={**HIDDEN, "language": "de-DE"})
    assert provider.heard[0].body.endswith(b"&language=de-DE&pin=048213")


@pytest.mark.parametrize("host", ["www.linkedin.com", "linkedin.com", "de.linkedin.com"])
@pytest.mark.parametrize("name", ["action", "referer"])
def test_an_address_of_the_provider_is_its_path(name: str, host: str) -> None:
    """And no other host's."""
    held = context(**{name: f"https://{host}/checkpoint/challenge/x?y=1"})
    assert getattr(held, name) == "/checkpoint/challenge/x?y=1"
    others = (f"{host}.example/x", "notlinkedin.com/x", f"{host}@evil.example/x")
    for other in (*(f"https://{each}" for each in others), f"ftp://{host}/x", f"//{host}/x"):
        with pytest.raises(ValidationError):
            context(**{name: other})


async def test_spaces_and_dashes_of_a_typed_code_are_left_out_and_zeros_kept() -> None:
    """An inner space makes a good code fail; so would a number without its zero."""
    _, provider = await say(PASSED, ME_ANSWER, code=" 048-2 13 ")
    assert provider.heard[0].body.endswith(b"&pin=048213")


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "https://evil.example/collect"},
        {"action": "//evil.example/collect"},
        {"action": "/\\evil.example/collect"},
        {"action": "checkpoint/challenge/verify"},
        {"referer": "https://evil.example/"},
        {"fields": {}},
        {"fields": {**HIDDEN, "csrfToken": ""}},
        {"fields": {**HIDDEN, "pin": "1"}},
        {"surprise": "x"},
    ],
)
def test_an_unfit_context_is_refused_at_the_door(changes: dict[str, object]) -> None:
    """A context gives paths only: a host of its own would be handed the code."""
    with pytest.raises(ValidationError) as caught:
        context(**changes)
    assert "ajax" not in str(caught.value)
    assert "evil" not in str(caught.value)


# Success -------------------------------------------------------------------------------


async def test_a_session_cookie_is_success_and_a_second_request_names_the_account() -> None:
    """``li_at`` is the only reliable sign; the answer itself does not say whose it is."""
    verdict, provider = await say(PASSED, ME_ANSWER)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"
    asked = provider.heard[1]
    assert asked.request_line == "GET /voyager/api/me HTTP/1.1"
    assert asked.headers["csrf-token"] == "ajax:999"
    assert asked.headers["x-restli-protocol-version"] == "2.0.0"
    assert asked.headers["user-agent"] == "StepOne/1.0"
    cookies = asked.headers["cookie"].split("; ")
    assert "li_at=AQEsecret" in cookies
    assert 'JSESSIONID="ajax:999"' in cookies
    assert 'JSESSIONID="ajax:0123456789"' not in cookies
    assert len(provider.carrying(CODE)) == 1


async def test_the_session_handed_back_is_json_with_all_a_backend_needs() -> None:
    """The backend goes on with cookies and token, and stores them as JSON."""
    verdict, _ = await say(PASSED, ME_ANSWER)
    assert isinstance(verdict, Cleared)
    session = json.loads(json.dumps(verdict.session))
    assert session["csrf_token"] == "ajax:999"
    assert session["public_identifier"] == "some-person"
    cookies = {cookie["name"]: cookie["value"] for cookie in session["cookies"]}
    assert cookies["li_at"] == "AQEsecret"
    assert cookies["JSESSIONID"] == '"ajax:999"'
    assert cookies["bcookie"] == '"v=2&0a1b"'
    assert "AQEsecret" not in repr(verdict)


@pytest.mark.parametrize(
    "me",
    [
        {"plainId": 4711},
        {"plainId": "4711"},
        {"miniProfile": {"objectUrn": "urn:li:member:4711"}},
        {"miniProfile": {"objectUrn": "urn:li:fs_member:4711"}},
        {"miniProfile": {"entityUrn": f"urn:li:fs_miniProfile:{PROFILE_ID}"}},
        {"miniProfile": {"dashEntityUrn": f"urn:li:fsd_profile:{PROFILE_ID}"}},
        {"plainId": 4711, "miniProfile": {"entityUrn": "urn:li:fs_miniProfile:ACoAAother"}},
        {"data": {"plainId": 4711}, "included": []},
        {"data": {}, "included": [{"objectUrn": "urn:li:member:4711"}]},
        ME,
    ],
)
async def test_the_member_number_is_found_wherever_it_stands(me: dict[str, object]) -> None:
    """Two places name the member; either will do."""
    verdict, _ = await say(PASSED, answer(200, json.dumps(me)))
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"


@pytest.mark.parametrize(
    "me",
    [
        answer(200, "{}"),
        answer(200, "[]"),
        answer(200, "<html>"),
        answer(200, '{"plainId": true}'),
        answer(200, '{"plainId": 1, "miniProfile": {"objectUrn": "urn:li:member:2"}}'),
        answer(200, '{"miniProfile": {"entityUrn": "urn:li:fs_profile:ACoAA"}}'),
        answer(
            200, f'{{"miniProfile": {{"entityUrn": "urn:li:fs_profile:AAAA{PROFILE_ID[4:]}"}}}}'
        ),
        answer(200, '{"data": {}, "included": [{"plainId": 1}, {"plainId": 1}]}'),
        answer(200, '{"plainId": 0}'),
        answer(401),
        redirect("/uas/login"),
        answer(200, json.dumps(ME), "Set-Cookie: li_at=delete me; Path=/; Max-Age=0"),
    ],
)
async def test_a_success_without_an_account_is_the_providers_fault(me: bytes) -> None:
    """Nobody may be connected to an account whose owner is not known."""
    await fail(ProviderBrokenError, PASSED, me)


async def test_asking_whose_account_it_is_is_tried_again_a_bounded_number_of_times() -> None:
    """It carries no code; a hiccup there must not waste an accepted one."""
    verdict, provider = await say(PASSED, answer(503), answer(502), ME_ANSWER)
    assert isinstance(verdict, Cleared)
    assert len(provider.carrying(CODE)) == 1
    await fail(ProviderBrokenError, PASSED, *[answer(503)] * len(ME_PAUSES_S))


@pytest.mark.parametrize(
    "said",
    [
        answer(500, "", LI_AT),
        answer(403, "CSRF check failed.", LI_AT),
        answer(303, "", "Location: /uas/login", LI_AT),
        answer(303, "", "Location: https://x.example/", LI_AT),
        answer(200, page("<h1>Your account is restricted</h1>"), LI_AT),
        answer(200, "{", LI_AT),
        answer(200, page("<div>" * TAGS_MAX), LI_AT),
        answer(200, "", LI_AT).replace(b"Length: 0", b"Length: 9"),
    ],
)
async def test_a_session_outweighs_what_else_is_said(said: bytes) -> None:
    """The code is used up: an error would throw the login away. Asking whose it is tells."""
    verdict, provider = await say(said, ME_ANSWER)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"
    assert len(provider.heard) == 2


async def test_a_restriction_beside_a_session_that_does_not_hold_is_told() -> None:
    """The provider has said why nobody answers for the login; it is no fault of its own."""
    said = answer(200, page("<h1>Your account is restricted</h1>"), LI_AT)
    await fail(AccountRestrictedError, said, *[answer(403, "CSRF check failed.")] * 3)


@pytest.mark.parametrize("written", ['"\\"ajax:0123456789\\""', "%22ajax%3A0123456789%22"])
async def test_a_token_that_a_jar_keeps_escaped_is_sent_bare(written: str) -> None:
    """Where the answer sets no new one, the login would be lost over a quote."""
    said = answer(303, "", "Location: /feed/", LI_AT)
    jar = [{"name": "JSESSIONID", "value": written, "domain": ".www.linkedin.com"}]
    verdict, provider = await say(said, ME_ANSWER, cookies=jar)
    assert provider.heard[1].headers["csrf-token"] == "ajax:0123456789"
    assert isinstance(verdict, Cleared)
    assert verdict.session["csrf_token"] == "ajax:0123456789"


async def test_a_session_behind_a_further_challenge_needs_the_person() -> None:
    """The code was taken, and the provider does not give the session out before that step."""
    step = redirect("https://www.linkedin.com/checkpoint/challenge/AQnext?ut=2", 302)
    await fail(ActionRequiredError, PASSED, step, step, step)


@pytest.mark.parametrize(
    "first",
    [
        answer(302, "", "Location: /voyager/api/me", "Set-Cookie: lidc=new; Path=/"),
        answer(403, "CSRF check failed.", "Set-Cookie: lidc=new; Path=/"),
        answer(503, "", "Set-Cookie: lidc=new; Path=/"),
    ],
)
async def test_each_try_has_the_cookies_of_the_answers_before_it(first: bytes) -> None:
    """The provider sends a request back to itself until it has them: a loop without them."""
    token = b'Set-Cookie: JSESSIONID="ajax:1000"; Path=/\r\n'
    first = first.replace(b"Set-Cookie:", token + b"Set-Cookie:", 1)
    verdict, provider = await say(PASSED, first, ME_ANSWER)
    assert isinstance(verdict, Cleared)
    again = provider.heard[2].headers
    assert again["csrf-token"] == "ajax:1000"
    assert {"lidc=new", 'JSESSIONID="ajax:1000"'} <= set(again["cookie"].split("; "))
    assert verdict.session["csrf_token"] == "ajax:1000"


# Failures ------------------------------------------------------------------------------

LOGIN_FORM = '<form class="login__form"><input name="session_password"></form>'
EXPIRED = "Max-Age=0"
DEAD_LI_AT = (
    'Set-Cookie: li_at="delete me"; Path=/',
    "Set-Cookie: li_at=delete me; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    "Set-Cookie: li_at=AQEold; Path=/; Max-Age=0",
    "Set-Cookie: li_at=; Path=/",
)

BY_KIND: dict[type[ProviderFailure], dict[str, bytes]] = {
    DeadIntentError: {
        "too many attempts": redirect(
            "/checkpoint/lg/login?errorKey=challenge_global_internal_error"
        ),
        "errorKey, short login": redirect("/login/?errorKey=x", 302),
        "errorKey, reset page": redirect("/checkpoint/rp/request-password-reset?errorKey=x", 302),
        "session expired, login": redirect("/login", 302),
        "session expired, uas": redirect("/uas/login?x=y", 302),
        "session expired, wall": redirect("/authwall?trk=1", 302),
        "session expired, page": answer(200, page(LOGIN_FORM)),
    },
    ProviderBrokenError: {
        "unexpected error": redirect("/uas/login?a=b&errorKey=unexpected_error", 302),
        "throttled": answer(429, "", "Retry-After: 60"),
        "error": answer(500, page("<h1>Oops</h1>")),
        "gateway": answer(502),
    },
    ActionRequiredError: {
        "captcha, address": redirect("/checkpoint/challenge/funCaptchaInternal?x=1"),
        "approval, address": redirect("/checkpoint/challengesV2/AQF"),
        "password, address": redirect("/checkpoint/rp/password-reset"),
        "captcha, key": answer(
            200, page('<form><input type="hidden" name="captchaSiteKey"></form>')
        ),
        "captcha, block": answer(200, page('<div id="captcha-internal"></div>')),
        "captcha, data": answer(
            200, page('<code id="securedDataExchange" style="display: none">x</code>')
        ),
        "captcha, words": answer(200, page("<h1>Let's do a quick\n security check</h1>")),
        "approval, marker": answer(200, page('<div data-test-id="auth-app-approval"></div>')),
        "approval, words": answer(200, page("<h1>Check your LinkedIn app</h1>")),
        "password, words": answer(200, page("<p>Please choose a more secure password.</p>")),
        "identity, url": answer(200, page('<a id="idverifyUrl">go</a>')),
        "identity, words": answer(200, page("<p>Upload a government-issued ID</p>")),
        "identity, take-over form": answer(
            200, page('<form name="ATOPinChallengeForm"><input name="pin"></form>')
        ),
    },
    UnknownStepError: {
        "unknown, address": redirect("/checkpoint/new/thing"),
        "unknown, host": redirect("https://x.example/feed/"),
        "redirect with nonsense": redirect("http://["),
        "unknown, form": answer(200, page("<form><input name=q></form>")),
    },
    UnreadableAnswerError: {
        "unknown, endless address": answer(
            303, "", f"Location: /checkpoint/challenge/{'x' * 5_000}"
        ),
        "redirect without address": answer(303),
        "feed without session": redirect("/feed/"),
        "resend, 307": answer(307, "", "Location: /checkpoint/challenge/verify"),
        "resend, 308": answer(308, "", "Location: /feed/"),
        "no form": answer(200, page("<h1>Hello</h1>")),
        "empty": answer(200),
        "garbage": answer(200, bytes(range(256))),
        "form without token": answer(
            200, page('<form id="email-pin-challenge"><input name="pin"></form>')
        ),
        "unauthorised": answer(401),
        "gone": answer(404, page("<form></form>")),
    },
    AccountRestrictedError: {
        "restricted, marker": answer(200, page('<i id="pagekey-uas-account-restricted"></i>')),
        "restricted, words": answer(200, page("<h1>Your account is temporarily restricted</h1>")),
        "restricted, forbidden": answer(403, page("<h1>Your account is restricted</h1>")),
    },
    SessionMismatchError: {
        "csrf": answer(403, "CSRF check failed."),
    },
    ResourceRestrictedError: {
        "forbidden, empty": answer(403),
        "forbidden": answer(403, page("<h1>Access denied</h1>")),
        "blocked": answer(999),
    },
    MalformedRequestError: {
        "csrf, in the markup alone": answer(
            400, page('<form id="x"><input name="csrfToken"></form>')
        ),
        "malformed": answer(400, "Bad Request"),
    },
    ContentTooLargeError: {
        "too large": answer(413),
    },
    ProviderTimeoutError: {
        "timeout there": answer(408),
        "gateway timeout": answer(504),
    },
    ServiceUnavailableError: {
        "unavailable": answer(503),
    },
}
FAILURES = {name: (kind, said) for kind, rows in BY_KIND.items() for name, said in rows.items()}


@pytest.mark.parametrize(("kind", "said"), FAILURES.values(), ids=FAILURES)
async def test_each_failure_is_told_apart(kind: type[ProviderFailure], said: bytes) -> None:
    """Each answer has its failure, and the code leaves exactly once."""
    failure = await fail(kind, said)
    assert failure.detail
    assert CODE not in "".join(traceback.format_exception(failure))


@pytest.mark.parametrize("cookie", DEAD_LI_AT)
async def test_a_revoked_session_cookie_is_the_opposite_of_success(cookie: str) -> None:
    """The provider writes words or an expiry over the cookie when it logs someone out."""
    await fail(DeadIntentError, answer(303, "", "Location: /uas/login", cookie))
    await fail(UnreadableAnswerError, answer(303, "", "Location: /feed/", cookie))
    verdict, _ = await say(answer(200, pin_form(), cookie))
    assert isinstance(verdict, Rejected)


async def test_how_long_to_wait_is_told_to_the_caller() -> None:
    """The number is all that is passed on of the header."""
    failure = await fail(ProviderBrokenError, answer(429, "", "Retry-After: 60"))
    assert "60" in str(failure.detail)


async def test_a_failure_hands_back_the_cookies_that_came_with_it() -> None:
    """A person who solves the captcha and comes back needs the jar as the provider left it."""
    said = answer(200, page('<i id="captcha-internal"></i>'), "Set-Cookie: fid=new; Path=/")
    failure = await fail(ActionRequiredError, said)
    assert failure.context is not None
    assert failure.context.cookies[-1].value == "new"


async def test_the_page_the_provider_named_for_failures_ends_the_challenge() -> None:
    """``failureRedirectUri`` says in advance where a fatal failure leads."""
    fields = {**HIDDEN, "failureRedirectUri": "/checkpoint/odd/end?x=1"}
    async with Canned(redirect("/checkpoint/odd/end?x=1")) as provider:
        with pytest.raises(DeadIntentError):
            await attempt(LinkedIn(), provider.url, context(fields=fields), CODE)


# The form again ------------------------------------------------------------------------

SHOWN = '<div id="email-pin-error">That code is not valid.</div>'


@pytest.mark.parametrize(
    "error",
    [
        SHOWN,
        '<div id="phone-pin-error"><b>No.</b></div>',
        '<span role="alert">No.</span>',
        '<div id="email-pin-error" class="hidden">No.</div>',
        '<div id="email-pin-error" style="display:none">No.</div>',
        '<div hidden><span role="alert">No.</span></div>',
        '<div id="email-pin-error"></div>',
        "",
    ],
)
async def test_the_same_form_again_is_a_rejection(error: str) -> None:
    """With its error shown or hidden: without a session the code was not taken."""
    verdict, provider = await say(answer(200, pin_form(error=error)))
    assert isinstance(verdict, Rejected)
    assert len(provider.heard) == 1


async def test_a_form_that_says_the_session_has_expired_judges_no_code() -> None:
    """The form is there again, so the login may go on; the code was not looked at."""
    error = '<div id="email-pin-error">Your session has expired. Please sign in again.</div>'
    failure = await fail(UnreadableAnswerError, answer(200, pin_form(error=error)))
    assert isinstance(failure.context, LinkedInContext)
    assert failure.context.fields["requestSubmissionId"] == "sub-2"


CUT = b"HTTP/1.1 200 OK\r\n" + NEW_SESSION.encode() + b"\r\nContent-Length: 900\r\n\r\n<html>"


@pytest.mark.parametrize(
    "answered",
    [
        answer(429, "", NEW_SESSION),
        answer(500, page("Something went wrong"), NEW_SESSION),
        answer(403, "", NEW_SESSION),
        CUT,
    ],
)
async def test_a_new_token_without_a_new_form_goes_with_the_next_code(answered: bytes) -> None:
    """The provider compares the form's token with the cookie and refuses the old one."""
    async with Canned(answered, answer(429)) as provider:
        with pytest.raises(ProviderFailure) as caught:
            await attempt(LinkedIn(), provider.url, context(), CODE)
        held = caught.value.context
        assert isinstance(held, LinkedInContext)
        assert held.why_hopeless() is None
        with pytest.raises(ProviderFailure):
            await attempt(LinkedIn(), provider.url, held, CODE)
        assert 'JSESSIONID="ajax:999"' in provider.heard[1].headers["cookie"]
        assert b"csrfToken=ajax%3A999&" in provider.heard[1].body


async def test_a_rejection_hands_back_the_fresh_inputs_and_cookies() -> None:
    """Providers rotate both with every answer; with the old ones the next try must fail."""
    said = answer(200, pin_form(error=SHOWN), "Set-Cookie: bcookie=new; Path=/")
    verdict, _ = await say(said)
    assert isinstance(verdict, Rejected)
    after = verdict.context
    assert isinstance(after, LinkedInContext)
    assert after.fields == {**HIDDEN, "requestSubmissionId": "sub-2"}
    assert list(after.fields) == list(HIDDEN)
    cookies = {cookie.name: cookie.value for cookie in after.cookies}
    assert cookies == {
        "JSESSIONID": '"ajax:0123456789"',
        "bcookie": "new",
        "lang": "v=2&lang=en-us",
    }
    LinkedInContext.model_validate(after.model_dump())


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("/checkpoint/challenge/verifyV2", "/checkpoint/challenge/verifyV2"),
        ("", "/checkpoint/challenge/verify"),
        ("https://evil.example/collect", "/checkpoint/challenge/verify"),
        ("//evil.example/collect", "/checkpoint/challenge/verify"),
        ("/a b", "/checkpoint/challenge/verify"),
    ],
)
async def test_a_scraped_action_never_leads_to_another_host(action: str, expected: str) -> None:
    """A page may be wrong or forged; the next code still goes to the provider."""
    verdict, _ = await say(answer(200, pin_form(action=action)))
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, LinkedInContext)
    assert verdict.context.action == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            pin_form(form_id="two-step-challenge", extra="<p>We sent a text message.</p>"),
            Checkpoint(type="2FA", source="SMS"),
        ),
        (
            pin_form(form_id="two-step-challenge", extra="<p>Open your authenticator app.</p>"),
            Checkpoint(type="2FA", source="APP"),
        ),
        (pin_form(form_id="two-step-challenge"), Checkpoint(type="2FA", source=None)),
        (pin_form(challenge_id="AgSecond"), Checkpoint(type="OTP", source="EMAIL")),
        (pin_form(form_id="new-kind"), Checkpoint(type="OTP", source="EMAIL")),
    ],
)
async def test_another_form_without_an_error_is_a_further_checkpoint(
    form: str, expected: Checkpoint
) -> None:
    """The code was taken and one more is wanted; its form is the next context."""
    verdict, _ = await say(answer(200, form))
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint == expected
    assert isinstance(verdict.context, LinkedInContext)
    assert verdict.context.fields["requestSubmissionId"] == "sub-2"


async def test_another_form_with_an_error_shown_is_a_rejection() -> None:
    """A visible error outweighs a rotated challenge id."""
    verdict, _ = await say(answer(200, pin_form(challenge_id="AgSecond", error=SHOWN)))
    assert isinstance(verdict, Rejected)


async def test_a_refusal_beside_the_code_is_read_wherever_it_stands() -> None:
    """The provider's class names change; its sentence says that the code was not taken."""
    sentence = "The verification code you entered isn't valid. Please check it and try again."
    said = pin_form(challenge_id="AgSecond", extra=f'<p class="input-error">{sentence}</p>')
    verdict, _ = await say(answer(200, said))
    assert isinstance(verdict, Rejected)


COOKIE_BANNER = (
    '<div aria-live="assertive" id="artdeco-global-alert-container" role="alert">'
    '<div class="artdeco-global-alert artdeco-global-alert--COOKIE_CONSENT" role="alert">'
    "<p>LinkedIn and 3rd parties use cookies.</p></div></div>"
)


@pytest.mark.parametrize("banner", ["", COOKIE_BANNER])
async def test_a_notice_of_the_whole_site_is_no_error_of_the_code(banner: str) -> None:
    """It stands on pages of every kind, and must not count a code that was taken as wrong."""

    def with_banner(form: str) -> bytes:
        return answer(200, form.replace("<body>", f"<body>{banner}"))

    verdict, _ = await say(with_banner(pin_form(challenge_id="AgSecond")))
    assert isinstance(verdict, NextCheckpoint)
    captcha = '<input type="hidden" name="captchaSiteKey" value="6L">'
    await fail(ActionRequiredError, with_banner(pin_form(extra=captcha)))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Too many attempts. Please try again later.", ProviderBrokenError),
        ("You've entered an incorrect code too many times.", ProviderBrokenError),
        ("Something went wrong. Please try again.", ProviderBrokenError),
        ("Etwas ist schiefgelaufen.", ProviderBrokenError),
        ("There was an unexpected problem that prevented us.", ProviderBrokenError),
        ("Se ha producido un error.", ProviderBrokenError),
        ("Veuillez réessayer plus tard.", ProviderBrokenError),
        ("请稍后再试。", ProviderBrokenError),
        ("You have exceeded the number of allowed attempts.", ProviderBrokenError),
        ("Please enable cookies in your browser.", ProviderBrokenError),
        ("We couldn\u2019t send you a code.", ProviderBrokenError),
        ("This challenge has expired. Please start over.", UnreadableAnswerError),
        ("Your account has been temporarily restricted.", AccountRestrictedError),
    ],
)
async def test_an_error_of_the_form_that_judges_no_code_is_told(
    text: str, kind: type[ProviderFailure]
) -> None:
    """No try is counted, and the fresh form is kept for the next code."""
    form = pin_form(error=f'<div id="email-pin-error">{text}</div>', challenge_id="AgSecond")
    failure = await fail(kind, answer(200, form))
    assert isinstance(failure.context, LinkedInContext)
    assert failure.context.fields["requestSubmissionId"] == "sub-2"


@pytest.mark.parametrize(
    "text",
    [
        "Error code 4021: your session has expired.",
        "You've entered an incorrect code too many times. Please try again later.",
        '{"status":400,"code":"BAD","message":"The request is invalid"}',
    ],
)
async def test_a_page_that_only_names_a_code_refuses_none(text: str) -> None:
    """A wrong refusal costs the person one of three tries."""
    async with Canned(answer(200, page(text))) as provider:
        with pytest.raises(ProviderFailure):
            await attempt(LinkedIn(), provider.url, context(), CODE)


NOTICES = [
    "We\u2019ve sent you another code.",
    "A new verification code has been sent to your email.",
    "Wir haben Ihnen einen neuen Code gesendet.",
    "Nous vous avons envoyé un nouveau code.",
    "Hemos enviado otro código.",
    "Enviamos um novo código.",
    "Ti abbiamo inviato un altro codice.",
    "We hebben een nieuwe code verzonden.",
]


@pytest.mark.parametrize("notice", NOTICES)
async def test_a_notice_that_a_code_was_sent_refuses_none(notice: str) -> None:
    """Above a new challenge it announces the next code; above the old one the form asks again."""
    error = f'<div role="alert">{notice}</div>'
    verdict, _ = await say(answer(200, pin_form(challenge_id="AgSecond", error=error)))
    assert isinstance(verdict, NextCheckpoint)
    verdict, _ = await say(answer(200, pin_form(error=error)))
    assert isinstance(verdict, Rejected)
    wrong = f'<div role="alert">That code isn\u2019t valid. {notice}</div>'
    verdict, _ = await say(answer(200, pin_form(challenge_id="AgSecond", error=wrong)))
    assert isinstance(verdict, Rejected)


async def test_a_check_box_on_the_new_form_is_noted() -> None:
    """The next request depends on it."""
    box = '<input type="checkbox" name="recognizedDevice">'
    verdict, _ = await say(answer(200, pin_form(form_id="two-step-challenge", extra=box)))
    assert isinstance(verdict, NextCheckpoint)
    assert isinstance(verdict.context, LinkedInContext)
    assert verdict.context.recognized_device
    assert verdict.context.form_id == "two-step-challenge"


async def test_a_challenge_page_behind_a_redirect_is_read_without_the_code() -> None:
    """The page after the redirect is a request of its own; the code stays where it was."""
    verdict, provider = await say(
        answer(303, "", "Location: /checkpoint/challenge/AQnext?ut=2", "Set-Cookie: c=1"),
        answer(200, pin_form(challenge_id="AgSecond")),
    )
    assert isinstance(verdict, NextCheckpoint)
    assert isinstance(verdict.context, LinkedInContext)
    assert verdict.context.referer == "/checkpoint/challenge/AQnext?ut=2"
    asked = provider.heard[1]
    assert asked.request_line == "GET /checkpoint/challenge/AQnext?ut=2 HTTP/1.1"
    assert asked.headers["cookie"].endswith("c=1")
    assert len(provider.carrying(CODE)) == 1


async def test_redirects_in_a_circle_end() -> None:
    """Every loop has a bound."""
    circle = [redirect("/checkpoint/challenge/AQround")] * (HOPS_MAX + 2)
    async with Canned(*circle) as provider:
        with pytest.raises(ProviderBrokenError):
            await attempt(LinkedIn(), provider.url, context(), CODE)
        assert len(provider.heard) <= HOPS_MAX + 2
        assert len(provider.carrying(CODE)) == 1


async def test_hostile_pages_end_quickly() -> None:
    """A page is parsed on the loop that serves everybody; depth costs quadratic time."""
    end = "<form><input name=q></form>"
    await fail(UnknownStepError, answer(200, page("<span role=alert>x" * 9_000 + end)))
    await fail(UnreadableAnswerError, answer(200, page("<div>" * TAGS_MAX + end)))


async def test_a_form_beyond_the_bounds_of_a_context_is_not_kept() -> None:
    """Else the next submission would find a context that it may not use."""
    many = "".join(f'<input type="hidden" name="n{n}" value="">' for n in range(101))
    await fail(UnreadableAnswerError, answer(200, pin_form(extra=many)))


async def test_of_several_forms_the_one_of_the_checkpoint_is_read() -> None:
    """Its id was noted in the first step; another form on the page changes nothing."""
    other = '<form id="sms-instead"><input name="pin"></form>'
    verdict, _ = await say(answer(200, page(other + pin_form(error=SHOWN))))
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, LinkedInContext)
    assert verdict.context.form_id == "email-pin-challenge"
