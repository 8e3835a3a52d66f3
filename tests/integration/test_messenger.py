"""MESSENGER: what is sent, to the letter, and what each answer means.

Requests are compared as bytes caught on a socket, answers are canned or the sandbox's; both
travel over the real transport.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from urllib.parse import parse_qsl, unquote

import pytest
from pydantic import ValidationError

from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Cleared,
    ContentTooLargeError,
    DeadIntentError,
    InsufficientPermissionsError,
    InvalidRequestError,
    MalformedRequestError,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    ResourceRestrictedError,
    ServiceUnavailableError,
    SessionMismatchError,
    SolutionKind,
    UnknownStepError,
    UnreadableAnswerError,
    Verdict,
)
from checkpoint_worker.providers.messenger import session as messenger_session
from checkpoint_worker.providers.messenger.adapter import Messenger
from checkpoint_worker.providers.messenger.requests import SPELLINGS, TRIES_MAX, MessengerContext
from checkpoint_worker.providers.sandbox import Sandbox
from tests.support.canned_server import Canned, answer, attempt
from tests.support.simulated import begin, solve


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for cookies again at once."""
    pauses = (0.0,) * len(messenger_session.EXCHANGE_PAUSES_S)
    monkeypatch.setattr(messenger_session, "EXCHANGE_PAUSES_S", pauses)


CODE = "048213"
SECRET = "canary-app-secret"
CONTEXT: dict[str, object] = {
    "route": "http",
    "user_agent": "[FBAN/Orca-Android;FBAV/1.0;FBLC/en_US;]",
    "uid": 100047110815,
    "login_first_factor": "canary-factor/+==",
    "machine_id": "canary-machine",
    "auth_token": "canary-transient",
    "email": "some.person+x@example.test",
    "device": {
        "device_id": "3f2a-b",
        "adid": "canary-adid",
        "locale": "fr_FR",
        "country": "FR",
        "connection_type": "WIFI",
        "sim_hni": "20801",
        "net_hni": "20810",
        "device_group": "5120",
    },
    "app": {
        "app_id": "4711",
        "client_token": "canary-app-token",
        "client_secret": SECRET,
        "api_key": "canary-api-key",
    },
}
CANARIES = (
    CODE, SECRET, "canary", "100047110815", "some.person", "FBAN", "3f2a-b",
)  # fmt: skip

COOKIES: list[dict[str, object]] = [
    {"name": "c_user", "value": "100047110815", "domain": ".facebook.com", "path": "/"},
    {
        "name": "xs",
        "value": "7:abc:2:1:-1:1",
        "domain": ".facebook.com",
        "path": "/",
        "expires": "Tue, 31 Dec 2097 23:59:59 GMT",
        "secure": True,
        "httponly": True,
    },
    {"name": "datr", "value": "d-1", "domain": ".facebook.com", "path": "/", "expires": 4e9},
    {"name": "fr", "value": "f-1", "domain": ".facebook.com", "path": "/"},
]
SESSION: dict[str, object] = {
    "access_token": "EAAGcanary",
    "uid": 100047110815,
    "session_key": "5.key",
    "secret": "s3",
    "machine_id": "m-new",
    "session_cookies": COOKIES,
    "analytics_claim": "hmac.x",
    "user_storage_key": "usk",
    "identifier": "some.person@example.test",
}


def context(**changes: object) -> MessengerContext:
    """Build the context of a first step, changed here and there."""
    return MessengerContext.model_validate({**CONTEXT, **changes})


def said(body: object, status: int = 200, *headers: str) -> bytes:
    """Write an answer in JSON."""
    return answer(status, json.dumps(body), "Content-Type: application/json", *headers)


def graph(code: int, *headers: str, status: int = 400, **more: object) -> bytes:
    """Write an error as the Graph host does."""
    error = {"message": "x", "type": "OAuthException", "code": code, "fbtrace_id": "A", **more}
    return said({"error": error}, status, *headers)


def legacy(code: int, **more: object) -> bytes:
    """Write an error as the legacy host does."""
    return said({"error_code": code, "error_msg": "x", **more})


PASSED = said(SESSION)


async def say(*answers: bytes, code: str = CODE, **changes: object) -> tuple[Verdict, Canned]:
    """Verify against canned answers and return the verdict and what was heard."""
    async with Canned(*answers) as provider:
        verdict = await attempt(
            Messenger(),
            provider.url,
            context(**changes),
            code,
            checkpoint={"type": "2FA", "source": "APP"},
        )
        return verdict, provider


async def judged(said_: bytes) -> Verdict:
    """Return the verdict on one canned answer; the code must have been sent exactly once."""
    verdict, provider = await say(said_)
    assert len(provider.carrying(CODE)) == len(provider.heard) == 1
    return verdict


async def fail(
    kind: type[ProviderFailure], said_: bytes, *, follow_up: bool = False
) -> ProviderFailure:
    """Verify against a canned answer; expect that failure, and the code sent exactly once."""
    async with Canned(said_) as provider:
        with pytest.raises(ProviderFailure) as caught:
            await attempt(Messenger(), provider.url, context(), CODE, checkpoint=APP_STEP)
        assert type(caught.value) is kind
        assert len(provider.carrying(CODE)) == 1
        assert follow_up or len(provider.heard) == 1
        return caught.value


APP_STEP = {"type": "2FA", "source": "APP"}


# What is sent --------------------------------------------------------------------------


FORM = {
    # Every field of the form but its signature.
    "credentials_type": "two_factor",
    "twofactor_code": "048213",
    "password": "048213",
    "email": "some.person+x@example.test",
    "userid": "100047110815",
    "first_factor": "canary-factor/+==",
    "machine_id": "canary-machine",
    "device_id": "3f2a-b",
    "adid": "canary-adid",
    "jazoest": "2443",  # 2, then 51+102+50+97+45+98.
    "api_key": "canary-api-key",
    "access_token": "4711|canary-app-token",
    "generate_session_cookies": "1",
    "generate_machine_id": "1",
    "generate_analytics_claim": "1",
    "currently_logged_in_userid": "0",
    "encrypted_msisdn": "",
    "community_id": "",
    "secure_family_device_id": "",
    "cpl": "true",
    "try_num": "2",
    "source": "login",
    "format": "json",
    "locale": "fr_FR",
    "client_country_code": "FR",
    "enroll_misauth": "false",
    "meta_inf_fbmeta": "NO_FILE",
    "fb_api_caller_class": "AuthOperations$PasswordAuthOperation",
    "fb_api_req_friendly_name": "authenticate",
}


def signature(form: dict[str, str], secret: str) -> str:
    """Sign the form as the app does, without the adapter's own code."""
    text = ""
    for key, value in sorted(form.items()):
        if key not in {"sig", "access_token"}:
            text += key + "=" + value
    return hashlib.md5((text + secret).encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("source", ["SMS", "APP", "BACKUP"])
@pytest.mark.parametrize("route", ["http", "auth_login"])
async def test_the_code_request_is_the_signed_form_to_the_letter(source: str, route: str) -> None:
    """Same body for text messages, apps and recovery codes, under either route's name."""
    async with Canned(PASSED) as provider:
        step = {"type": "2FA", "source": source}
        held = context(route=route)
        await attempt(Messenger(), provider.url, held, CODE, checkpoint=step)
    (sent,) = provider.heard
    assert sent.request_line == "POST /auth/login HTTP/1.1"
    pairs = parse_qsl(sent.body.decode(), keep_blank_values=True, strict_parsing=True)
    assert [key for key, _ in pairs] == sorted(dict(pairs))
    form = dict(pairs)
    assert form.pop("sig") == signature(FORM, SECRET)
    assert form == FORM
    headers = sent.headers
    assert headers.pop("content-length") == str(len(sent.body))
    headers.pop("connection", None)  # The transport's own.
    assert headers == {
        "host": provider.url.removeprefix("http://"),
        "user-agent": "[FBAN/Orca-Android;FBAV/1.0;FBLC/en_US;]",
        "authorization": "OAuth null",
        "content-type": "application/x-www-form-urlencoded",
        "x-fb-friendly-name": "authenticate",
        "x-fb-http-engine": "Liger",
        "x-fb-client-ip": "True",
        "x-fb-server-cluster": "True",
        "x-fb-connection-type": "WIFI",
        "x-fb-sim-hni": "20801",
        "x-fb-net-hni": "20810",
        "x-fb-device-group": "5120",
        "x-tigon-is-retry": "False",
    }


async def test_the_body_is_percent_encoded_without_pluses() -> None:
    """The app's encoding, not a browser's: a space is ``%20``, a plus ``%2B``."""
    _, provider = await say(PASSED, email="a b+c@example.test")
    body = provider.heard[0].body.decode()
    assert "&email=a%20b%2Bc%40example.test&" in body
    assert "access_token=4711%7Ccanary-app-token&" in body
    assert "fb_api_caller_class=AuthOperations%24PasswordAuthOperation&" in body
    assert "+" not in body
    assert "email=a b+c@example.test" in unquote(body)


async def test_what_a_context_leaves_out_has_its_usual_value() -> None:
    """An app of one key signs with its token; a device without radio sends no radio headers."""
    _, provider = await say(
        PASSED,
        user_agent="",
        device={"device_id": "é", "family_device_id": "fam"},
        app={"app_id": "4711", "client_token": "tok", "caller_class": "Fb4aAuthHandler"},
        try_num=5,
    )
    sent = provider.heard[0]
    form = dict(parse_qsl(sent.body.decode(), keep_blank_values=True))
    assert form["sig"] == signature(form, "tok")
    assert form["api_key"] == "4711"
    assert form["jazoest"] == "2233"
    assert form["family_device_id"] == "fam"
    assert form["fb_api_caller_class"] == "Fb4aAuthHandler"
    assert (form["locale"], form["client_country_code"], form["adid"]) == ("en_US", "US", "")
    assert form["try_num"] == "5"
    assert "user-agent" not in sent.headers
    assert not any(name.startswith(("x-fb-sim", "x-fb-net")) for name in sent.headers)


async def test_the_headers_of_the_logins_app_replace_the_usual_ones() -> None:
    """Of other apps the engine is another; what the form needs stays ours."""
    given = {"X-FB-HTTP-Engine": "Tigon", "x-fb-connection-type": "MOBILE.LTE", "x-fb-rmd": "1"}
    _, provider = await say(PASSED, headers=given)
    headers = provider.heard[0].headers
    assert headers["x-fb-http-engine"] == "Tigon"
    assert headers["x-fb-connection-type"] == "MOBILE.LTE"
    assert headers["x-fb-rmd"] == "1"
    assert headers["x-fb-client-ip"] == "True"
    for name in ("Authorization", "x-fb-friendly-name", "Content-Type"):
        with pytest.raises(ValidationError):
            context(headers={name: "x"})


@pytest.mark.parametrize(
    "data",
    [
        {"uid": 100047110815, "login_first_factor": "f", "machine_id": "m", "auth_token": "t"},
        {"userid": "100047110815", "first_factor": "f", "machine_id": "m", "support_uri": "/x"},
        '{"user_id": 100047110815, "first_factor_id": "f", "machine_id": "m", "auth_token": "t"}',
    ],
)
def test_the_first_steps_error_data_may_be_given_whole(data: object) -> None:
    """As it came: an object or a text, under the names of any app."""
    kept = {key: value for key, value in CONTEXT.items() if key not in SPELLINGS}
    held = MessengerContext.model_validate({**kept, "error_data": data})
    assert (held.uid, held.login_first_factor, held.machine_id) == ("100047110815", "f", "m")
    assert MessengerContext.model_validate({**CONTEXT, "error_data": data}) == context()


async def test_spaces_and_dashes_of_a_typed_code_are_left_out_and_zeros_kept() -> None:
    """The signature covers the code as it is sent, not as it was typed."""
    _, provider = await say(PASSED, code=" 048-2 13 ")
    form = dict(parse_qsl(provider.heard[0].body.decode(), keep_blank_values=True))
    assert form["twofactor_code"] == form["password"] == "048213"
    assert form["sig"] == signature(form, SECRET)


@pytest.mark.parametrize(
    ("step", "solution", "expected"),
    [
        ({"type": "2FA", "source": "EMAIL"}, SolutionKind.CODE, InvalidRequestError),
        ({"type": "2FA", "source": "SMS"}, SolutionKind.ANOTHER_WAY, ActionRequiredError),
    ],
)
async def test_what_this_route_cannot_carry_is_refused_before_anything_is_sent(
    step: dict[str, str], solution: SolutionKind, expected: type[ProviderFailure]
) -> None:
    """No code by email here, and no request for another way is known; a sentence says so."""
    async with Canned() as provider:
        with pytest.raises(expected) as caught:
            await attempt(
                Messenger(), provider.url, context(), CODE, checkpoint=step, solution=solution
            )
        assert provider.heard == []
        assert caught.value.detail


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": ""},
        {"uid": "12a"},
        {"uid": True},
        {"uid": "9" * 21},
        {"login_first_factor": ""},
        {"machine_id": ""},
        {"email": ""},
        {"device": {}},
        {"device": {"adid": "x"}},
        {"device": {"device_id": 7}},
        {"app": {}},
        {"app": {"app_id": "4711"}},
        {"app": {"client_token": "canary-app-token"}},
        {"try_num": 0},
        {"try_num": TRIES_MAX + 1},
        {"surprise": "canary"},
    ],
)
def test_an_unfit_context_is_refused_at_the_door(changes: dict[str, object]) -> None:
    """And the refusal shows none of its values."""
    with pytest.raises(ValidationError) as caught:
        context(**changes)
    assert "canary" not in str(caught.value)
    assert "12a" not in str(caught.value)


# Success -------------------------------------------------------------------------------


async def test_a_token_and_cookies_are_success() -> None:
    """The session is all a backend needs to go on: cookies and tokens, as JSON."""
    verdict = await judged(PASSED)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "100047110815"
    session = json.loads(json.dumps(verdict.session))
    cookies = {cookie["name"]: cookie for cookie in session.pop("cookies")}
    assert {name: cookie["value"] for name, cookie in cookies.items()} == {
        "c_user": "100047110815",
        "xs": "7:abc:2:1:-1:1",
        "datr": "d-1",
        "fr": "f-1",
    }
    assert {cookie["domain"] for cookie in cookies.values()} == {".facebook.com"}
    assert cookies["datr"]["expires"] == 4e9
    assert cookies["xs"]["expires"] == 4039372799
    assert cookies["fr"]["expires"] is None
    assert (cookies["xs"]["secure"], cookies["xs"]["httpOnly"]) == (True, True)
    shared = ("provider", "user_id", "user_agent", "device", "app", "headers")
    assert {name: session.pop(name) for name in shared} == {
        "provider": "MESSENGER",
        "user_id": "100047110815",
        **{name: CONTEXT[name] for name in ("user_agent", "device", "app")},
        "headers": {"Authorization": "OAuth EAAGcanary"},
    }
    assert (session.pop("public_identifier"), session.pop("username")) == (None, None)
    assert session == {
        name: SESSION[name]
        for name in (
            "access_token",
            "session_key",
            "secret",
            "machine_id",
            "analytics_claim",
            "user_storage_key",
            "identifier",
        )
    }
    assert "EAAGcanary" not in repr(verdict)


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": "100047110815"},
        {"uid": 100047110815.0},
        {"uid": ...},
        {"uid": None},
        {"identifier": ..., "analytics_claim": ...},
        {"session_cookies": [*COOKIES, {"odd": 1}, 7, {"name": "", "value": "x"}]},
        {"session_cookies": [{**COOKIES[0], "value": 100047110815}, *COOKIES[1:]]},
    ],
)
async def test_a_success_may_say_it_in_other_words(changes: dict[str, object]) -> None:
    """Numbers as text, optional parts missing, cookies nobody understands."""
    body = {key: value for key, value in {**SESSION, **changes}.items() if value is not ...}
    verdict = await judged(said(body))
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "100047110815"
    assert len(verdict.session["cookies"]) == 4  # type: ignore[arg-type]


def without(name: str) -> list[dict[str, object]]:
    """Return the session's cookies but one."""
    return [cookie for cookie in COOKIES if cookie["name"] != name]


@pytest.mark.parametrize(
    "changes",
    [
        {"session_cookies": []},
        {"session_cookies": None},
        {"session_cookies": without("c_user")},
        {"session_cookies": without("xs")},
        {"session_cookies": [*without("xs"), {"name": "xs", "value": "7", "max-age": -1}]},
        {"session_cookies": [*without("xs"), {"name": "xs", "value": "7", "expires": 0}]},
        {"session_cookies": [*without("xs"), {"name": "xs", "value": "deleted"}]},
        {"session_cookies": [*without("xs"), {"name": "xs", "value": None}]},
    ],
)
async def test_a_success_without_a_session_is_a_doubt(changes: dict[str, object]) -> None:
    """A token without cookies is asked for them; without any the login is no use."""
    await fail(UnreadableAnswerError, said({**SESSION, **changes}), follow_up=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": 1},
        {"uid": True},
        {
            "uid": "some-one",
            "session_cookies": [*without("c_user"), {"name": "c_user", "value": "some-one"}],
        },
    ],
)
async def test_a_success_without_an_account_is_the_providers_fault(
    changes: dict[str, object],
) -> None:
    """Nobody may be connected to an account whose owner is not known."""
    await fail(ProviderBrokenError, said({**SESSION, **changes}))


LOGIN_LINES = (
    "Set-Cookie: c_user=100047110815; Domain=.facebook.com; Path=/; Secure",
    "Set-Cookie: xs=7%3Aabc; Domain=.facebook.com; Path=/; Secure; HttpOnly",
)


@pytest.mark.parametrize(
    "reply",
    [
        said(SESSION, 400),
        said(SESSION, 500),
        said({**SESSION, "error": {"code": 401, "message": "x"}}),
        said({**SESSION, "error_code": 401}),
        said({**SESSION, "error": {"code": 0}, "errors": [{}], "error_code": "0"}),
        answer(302, "", "Location: https://x.example/", *LOGIN_LINES),
        answer(302, "", "Location: /accounts/suspended/", *LOGIN_LINES),
        answer(302, "", "Location: /two_factor/remember_browser/?x=1", *LOGIN_LINES),
        answer(200, "<h1>Hello</h1>", *LOGIN_LINES),
        answer(500, "{", *LOGIN_LINES),
        answer(200, "", *LOGIN_LINES).replace(b"Length: 0", b"Length: 9"),
    ],
)
async def test_a_session_outweighs_what_else_is_said(reply: bytes) -> None:
    """The code is used up: an error would throw the login away."""
    verdict = await judged(reply)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "100047110815"


@pytest.mark.parametrize(
    "reply",
    [
        said({**SESSION, "error": {"code": 405, "message": "x"}}),
        said(SESSION, 200, "x-fb-integrity-required: checkpoint"),
        answer(302, "", "Location: /checkpoint/?next=x", *LOGIN_LINES),
        answer(302, "", "Location: /privacy/consent/x", *LOGIN_LINES),
    ],
)
async def test_a_step_that_the_answer_names_holds_beside_a_session(reply: bytes) -> None:
    """Cookies come with a checkpoint, too: they work once it is passed."""
    await fail(ActionRequiredError, reply)


async def test_a_token_alone_is_turned_into_cookies() -> None:
    """As the provider's apps do it: one more request, which carries no code."""
    bare = {**SESSION, "session_cookies": []}
    verdict, provider = await say(said(bare), answer(503), PASSED)
    assert isinstance(verdict, Cleared)
    assert verdict.session["access_token"] == "EAAGcanary"
    assert len(provider.carrying(CODE)) == 1
    asked = provider.heard[2]
    assert asked.request_line == "POST /auth/create_session_for_app HTTP/1.1"
    assert dict(parse_qsl(asked.body.decode())) == {
        "access_token": "EAAGcanary",
        "device_id": "3f2a-b",
        "format": "json",
        "generate_analytics_claim": "1",
        "generate_session_cookies": "1",
        "machine_id": "m-new",
        "new_app_id": "4711",
    }


@pytest.mark.parametrize(
    "first",
    [
        answer(200, "<html>x</html>"),
        answer(401, "x"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        graph(2, message="Service temporarily unavailable", is_transient=True),
        graph(613),
        legacy(1),
        said({}),
    ],
)
async def test_one_failure_on_the_way_to_the_cookies_loses_no_login(first: bytes) -> None:
    """The request carries no code, and three further tries stand ready."""
    token_alone = {key: value for key, value in SESSION.items() if key != "session_cookies"}
    cookies = said({"session_cookies": COOKIES, "uid": 100047110815})
    verdict, provider = await say(said(token_alone), first, cookies)
    assert isinstance(verdict, Cleared)
    assert len(provider.carrying(CODE)) == 1


async def test_what_is_said_of_the_apps_token_is_not_asked_again() -> None:
    """The answer would be the same."""
    token_alone = {key: value for key, value in SESSION.items() if key != "session_cookies"}
    async with Canned(said(token_alone), graph(190), said(SESSION)) as provider:
        with pytest.raises(UnreadableAnswerError):
            await attempt(Messenger(), provider.url, context(), CODE, checkpoint=APP_STEP)
    assert len(provider.heard) == 2


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (
            graph(401, message="Incorrect code too many times. Try again later."),
            ProviderBrokenError,
        ),
        (graph(401, error_user_title="Account disabled"), AccountRestrictedError),
        (graph(401, message="Session expired"), DeadIntentError),
        (
            graph(613, message="You've entered an incorrect code too many times"),
            ProviderBrokenError,
        ),
        (graph(190, message="Error code 190: your session has expired"), DeadIntentError),
        (graph(9999, message="Fehlercode 190: Die Sitzung ist abgelaufen"), DeadIntentError),
        (
            graph(
                200, message="Access to this data is temporarily disabled for non-active accounts"
            ),
            InsufficientPermissionsError,
        ),
        (graph(10, message="Login has been disabled for this app."), InsufficientPermissionsError),
        (graph(1, message="The application has been disabled"), ProviderBrokenError),
        (graph(102, message="Session key invalid"), SessionMismatchError),
        (graph(5, message="Unauthorized source IP address"), ResourceRestrictedError),
    ],
)
async def test_words_about_something_else_neither_count_nor_kill(
    refusal: bytes, kind: type[ProviderFailure]
) -> None:
    """The operator's trouble, or a wait, is not the person's code or account."""
    await fail(kind, refusal)


async def test_the_user_is_the_one_who_logged_in_not_the_one_expected() -> None:
    """Whether it is the right account is the intent's to judge (403 ``account_mismatch``)."""
    cookies = [*without("c_user"), {"name": "c_user", "value": "42"}]
    verdict = await judged(said({**SESSION, "uid": 42, "session_cookies": cookies}))
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "42"


# Refusals ------------------------------------------------------------------------------

AGAIN = {"uid": 1, "login_first_factor": "f-2", "machine_id": "m-2", "auth_token": "t-2"}
AGAIN_TEXT = json.dumps(AGAIN)


@pytest.mark.parametrize(
    "refusal",
    [
        graph(401),
        graph(401, status=401),
        graph(401, status=500),
        graph(401, error_user_title="A checkpoint or a feature is disabled"),
        legacy(401),
        said({"error": {"code": "401"}}, 400),
        said({"error": {"code": 401.0}}, 400),
        graph(100, error_user_title="Code expired"),
        graph(100, error_user_msg="This code has already been used."),
        said({"error": 3912, "errorDescription": "The code you entered is incorrect."}),
        said({"errors": [{"code": 401, "message": "x"}, {"code": 1}]}, 400),
        answer(400, b'for (;;);{"error":{"code":401}}'),
    ],
)
async def test_code_401_is_a_refused_code_in_every_form(refusal: bytes) -> None:
    """At this step the number of a wrong password means the code; its words do not matter."""
    verdict = await judged(refusal)
    assert isinstance(verdict, Rejected)
    assert verdict.context == context(try_num=3)


@pytest.mark.parametrize(
    "refusal",
    [
        graph(406, error_subcode=1348162, error_data=AGAIN),
        graph(406, error_subcode=1348162, error_data=AGAIN_TEXT),
        legacy(406, error_data=AGAIN),
        legacy(406, error_subcode=1348162, error_data=AGAIN_TEXT),
        said({"errors": [{"code": 406, "error_data": AGAIN_TEXT}]}, 400),
    ],
)
async def test_still_two_factor_hands_back_the_new_first_factor(refusal: bytes) -> None:
    """With the old one the next try must fail; whose login it is stays as it was."""
    verdict = await judged(refusal)
    assert isinstance(verdict, Rejected)
    fresh = {"login_first_factor": "f-2", "machine_id": "m-2", "auth_token": "t-2"}
    assert verdict.context == context(**fresh, try_num=3)


async def test_a_refusal_without_a_machine_id_keeps_the_one_held() -> None:
    """The machine id of step one stays if the refusal brings none."""
    verdict = await judged(graph(406, error_data={"login_first_factor": "f-2", "machine_id": None}))
    assert isinstance(verdict, Rejected)
    assert verdict.context == context(login_first_factor="f-2", try_num=3)


@pytest.mark.parametrize(
    "answered",
    [
        graph(406, error_data=AGAIN, error_user_msg="You've tried too many times."),
        graph(405, error_subcode=1348023, error_data=AGAIN, message="Something went wrong."),
        graph(4, error_data=AGAIN_TEXT),
        legacy(613, error_data=AGAIN_TEXT),
        graph(2, status=500, error_data=AGAIN),
        graph(368, error_data=AGAIN),
        graph(9001, error_data=AGAIN),
    ],
)
async def test_a_failure_hands_back_the_first_factor_that_came_with_it(answered: bytes) -> None:
    """The provider takes the next code with the newest factor alone, whatever it answered."""
    with pytest.raises(ProviderFailure) as caught:
        await judged(answered)
    fresh = {"login_first_factor": "f-2", "machine_id": "m-2", "auth_token": "t-2"}
    assert caught.value.context == context(**fresh, try_num=3)


async def test_the_count_of_tries_ends_somewhere() -> None:
    """A context beyond its own bounds could not be used again."""
    verdict, _ = await say(graph(401), try_num=TRIES_MAX)
    assert isinstance(verdict, Rejected)
    assert verdict.context == context(try_num=TRIES_MAX)


@pytest.mark.parametrize(
    "data",
    [
        {"login_first_factor": "x" * 5000},
        {"login_first_factor": 7},
        {"login_first_factor": "f", "machine_id": ["m"]},
    ],
)
async def test_a_new_first_factor_beyond_the_bounds_of_a_context_is_not_kept(
    data: dict[str, object],
) -> None:
    """Else the next submission would find a context that it may not use."""
    verdict = await judged(graph(406, error_data=data))
    assert isinstance(verdict, Rejected)
    assert verdict.context == context(try_num=3)


# Failures ------------------------------------------------------------------------------

BY_KIND: dict[type[ProviderFailure], dict[str, bytes]] = {
    ActionRequiredError: {
        "406 without a factor": graph(406, error_data={"auth_token": "t"}),
        "406 without data": graph(406),
        "406 with garbage": graph(406, error_data="{"),
        "406 with a list": legacy(406, error_data="[1]"),
        "406 in an empty form": legacy(406, error_data=""),
        "verify on site": graph(405, message="User must verify their account on www.facebook.com"),
        "verify on site, legacy": legacy(405),
        "checkpoint, 459": graph(190, error_subcode=459),
        "checkpoint, 490": graph(401, error_subcode=490),
        "checkpoint, 459 legacy": legacy(1, error_subcode=459),
        "checkpoint, title": graph(7, error_user_title="Checkpoint\nneeded"),
        "checkpoint, web": said({"error": 1357007, "errorSummary": "A security check is needed"}),
        "platform, address": answer(302, "", "Location: /auth_platform/codesubmit/?x=1"),
        "account held": graph(9001, error_user_msg="Your account is temporarily unavailable."),
        "account held, blocked": graph(
            368,
            message="Your account is temporarily blocked. To regain access, follow these steps.",
        ),
        "checkpoint, message": graph(7, message="please clear the checkpoint"),
        "checkpoint, header": graph(1, "x-fb-integrity-required: checkpoint"),
        "checkpoint, header alone": answer(200, "<html>", "X-FB-Integrity-Required: Checkpoint"),
        "checkpoint, address": answer(
            302, "", "Location: https://m.facebook.com/login/checkpoint/?x=1"
        ),
        "deep data": graph(406, error_data="[" * 5000),
    },
    AccountRestrictedError: {
        "disabled, legacy": legacy(1, error_msg="Account disabled"),
        "disabled, title": graph(7, error_user_title="Account Disabled"),
        "disabled, message": graph(1, error_user_msg="Your account was disabled."),
        "disabled, address": answer(
            302, "", "Location: https://www.facebook.com/accounts/suspended/"
        ),
        "locked": graph(7, message="Your account is locked"),
        "blocked, any number": graph(9001, message="Your account has been temporarily blocked."),
        "blocked, 401": graph(401, message="Your account has been temporarily blocked."),
        "suspended": graph(401, error_user_title="We suspended your account"),
        "suspended, French": graph(401, message="Votre compte a été suspendu."),
        "suspended, Spanish": graph(401, message="Tu cuenta ha sido suspendida."),
        "suspended, Portuguese": graph(401, message="Sua conta foi suspensa."),
        "suspended, Italian": graph(401, message="Il tuo account è stato sospeso."),
        "abuse, blocked": graph(368, message="You're Temporarily  Blocked"),
    },
    ProviderBrokenError: {
        "error of its own, legacy": legacy(1),
        "throttled, 4": graph(4),
        "throttled, 17": graph(17),
        "throttled, 32": graph(32, error_user_msg="Wait a little"),
        "throttled, 613": legacy(613),
        "throttled, 3252001": graph(3252001),
        "throttled, status": answer(429, "slow down"),
        "abuse": graph(368, error_user_msg="You can't do this"),
        "abuse, not locked": graph(368, message="blocked, not unlocked"),
        "transient, 1": graph(1, error_user_msg="Try again"),
        "transient, 2": graph(2, status=500),
        "transient, flag": graph(9001, is_transient=True),
        "transient, words": graph(9001, error_user_msg="Something went wrong."),
        "transient, web": said({"error": 1357004, "errorSummary": "Sorry, something went wrong"}),
        "throttled, words": said({"errors": [{"code": 1675004, "summary": "Rate limit exceeded"}]}),
        "5xx": answer(500, "<h1>Sorry</h1>"),
    },
    DeadIntentError: {
        "unknown identifier": graph(400),
        "first factor expired": graph(190, error_subcode=463),
        "session expired": graph(102, message="Your session has expired"),
        "session expired, short": graph(190, error_user_msg="Session expired"),
        "password changed": graph(190, error_subcode="460"),
        "password changed, words": graph(190, message="The user changed their password."),
        "logged out": graph(190, error_subcode=467),
        "not logged in": said({"error": 1357001, "errorSummary": "Not Logged In"}),
    },
    SessionMismatchError: {
        "app token": graph(190, status=401),
        "app token, legacy": legacy(190),
    },
    MalformedRequestError: {
        "bad signature": graph(104),
        "bad parameter": graph(100),
        "bad api key": legacy(101),
    },
    UnknownStepError: {
        "user message": graph(9001, error_user_msg="Tell us your birthday"),
        "user message, list": said({"errors": [{"code": 9001, "error_user_msg": "More"}]}, 400),
    },
    ServiceUnavailableError: {
        "transient, 503": graph(2, status=503),
        "503": answer(503, "<h1>Sorry</h1>"),
        "maintenance": answer(502, "<h1>Maintenance</h1>"),
        "status in JSON": said({}, 503),
    },
    UnreadableAnswerError: {
        "unknown number": graph(9001),
        "empty": answer(200),
        "page": answer(200, "<html>checkpoint</html>"),
        "forbidden page": answer(403, "<html></html>"),
        "garbage": answer(200, bytes(range(256))),
        "list": said([SESSION]),
        "nothing said": said({"uid": 1}),
        "error without form": said({"error": "no"}, 400),
        "error of odd types": said(
            {"error": {"code": [], "error_subcode": {}, "message": 7, "error_data": 1}}, 400
        ),
        "endless number": said({"error": {"code": "4" * 9000}}, 400),
        "empty errors": said({"errors": [], "error": None}, 400),
        "deep": answer(400, "[" * 5000),
        "home": answer(302, "", "Location: /home.php"),
        "device question": answer(302, "", "Location: /two_factor/remember_browser/"),
        "web, unknown": said({"error": 3912, "errorSummary": "x"}),
        "redirect without address": answer(303),
        "resend, 307": answer(307, "", "Location: /auth/login"),
        "resend, 308": answer(308, "", "Location: https://x.example/"),
    },
    ProviderTimeoutError: {
        "timeout there": answer(408),
        "gateway timeout": answer(504),
    },
    ContentTooLargeError: {
        "too large": answer(413),
    },
}
FAILURES = {name: (kind, said_) for kind, rows in BY_KIND.items() for name, said_ in rows.items()}


@pytest.mark.parametrize("name", FAILURES)
async def test_each_answer_has_its_meaning(name: str) -> None:
    """Each known answer has its failure, in the forms that clients have seen."""
    kind, reply = FAILURES[name]
    failure = await fail(kind, reply)
    assert failure.detail


@pytest.mark.parametrize(
    "reply", [graph(613, "Retry-After: 90"), answer(429, "{}", "Retry-After: 90")]
)
async def test_throttling_says_how_long_to_wait(reply: bytes) -> None:
    """The operator's only clue; a number in the body and a status mean the same."""
    assert "90 s" in str((await fail(ProviderBrokenError, reply)).detail)


async def test_an_approval_tells_the_person_what_to_do() -> None:
    """No code helps there; the sentence is ours and says what does."""
    failure = await fail(ActionRequiredError, graph(406, error_data={"auth_token": "t", "uid": 1}))
    assert "approve" in str(failure.detail)
    assert "device" in str(failure.detail)


@pytest.mark.parametrize("name", [*FAILURES, "cut"])
async def test_no_failure_repeats_a_secret_or_the_providers_words(name: str) -> None:
    """A failure ends in logs and answers, with everything that hangs on it."""
    reply = FAILURES[name][1] if name in FAILURES else b"HTTP/1.1 200 -\r\nContent-Le"
    async with Canned(reply.replace(b'"x"', b'"canary words"')) as provider:
        with pytest.raises(ProviderFailure) as caught:
            await attempt(Messenger(), provider.url, context(), CODE, checkpoint=APP_STEP)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    shown = "\n".join(line for line in shown.splitlines() if not line.startswith("    "))
    for canary in (*CANARIES, "birthday", "facebook.com"):
        assert canary not in shown


# With the simulated provider -----------------------------------------------------------


async def test_somebody_elses_login_is_reported_as_theirs(sandbox: Sandbox) -> None:
    """The caller compares the id with the one it expects."""
    account, login = begin(sandbox, "MESSENGER", "APP", "somebody_else")
    verdict = await solve(sandbox, login, account.current_code())
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == str(int(login.user_id) + 1)
