"""INSTAGRAM: what each route sends, to the letter, and what each answer means.

Requests are compared as bytes caught on a socket, answers are canned or the sandbox's; both
travel over the real transport.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import parse_qsl, quote_plus

import pytest
from pydantic import ValidationError

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Checkpoint,
    Cleared,
    CodeRequest,
    Context,
    DeadIntentError,
    InvalidRequestError,
    MalformedRequestError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    Reply,
    Request,
    ResourceRestrictedError,
    UnreadableAnswerError,
    Verdict,
)
from checkpoint_worker.providers.instagram.adapter import Instagram
from checkpoint_worker.providers.instagram.contexts import (
    BloksAuthPlatformContext,
    ChallengeContext,
    ChallengeWebContext,
    InstagramContext,
    TwoFactorContext,
    WebContext,
)
from checkpoint_worker.providers.sandbox import Sandbox
from tests.support.canned_server import Canned, answer, attempt
from tests.support.instagram_answers import (
    AUTHORIZATION,
    BLOKS_2FA,
    BLOKS_AP,
    CHALLENGE,
    CHALLENGE_WEB,
    CODE_ENTRY,
    COOKIE,
    LOGGED_IN,
    OWNER,
    PROFILE_SCREEN,
    SESSION_ID,
    TWO_FACTOR,
    USER,
    VERIFY,
    WEB_2FA,
    authorization,
    bloks,
    body,
    challenge_required,
    packed_login,
    refusal,
    written,
)
from tests.support.instagram_first_step import (
    CODE,
    CONTEXTS,
    DEVICE,
    SOURCES,
    context,
)
from tests.support.simulated import begin, solve


async def say(
    route: str, *answers: bytes, code: str = CODE, source: str = "", **changes: object
) -> tuple[Verdict, Canned]:
    """Verify against canned answers and return the verdict and what was heard."""
    checkpoint = {"type": "2FA", "source": source or SOURCES.get(route, "APP")}
    async with Canned(*answers) as provider:
        held = context(route, **changes)
        verdict = await attempt(Instagram(), provider.url, held, code, checkpoint=checkpoint)
        return verdict, provider


async def fail(kind: type[ProviderFailure], route: str, *answers: bytes) -> ProviderFailure:
    """Verify against canned answers; expect that failure, and the code sent exactly once."""
    checkpoint = {"type": "2FA", "source": SOURCES.get(route, "APP")}
    async with Canned(*answers) as provider:
        with pytest.raises(ProviderFailure) as caught:
            await attempt(Instagram(), provider.url, context(route), CODE, checkpoint=checkpoint)
        assert type(caught.value) is kind
        assert len(provider.carrying(CODE)) == 1
        assert len(provider.heard) == len(answers)
        return caught.value


WELCOME = body(200, LOGGED_IN, AUTHORIZATION, "ig-set-ig-u-ds-user-id: 4711")
SUCCESSES = {
    TWO_FACTOR: WELCOME,
    CHALLENGE: body(200, {**LOGGED_IN, "action": "close"}, AUTHORIZATION),
    CHALLENGE_WEB: body(200, {"type": "CHALLENGE_REDIRECTION", "status": "ok"}, COOKIE, OWNER),
    BLOKS_2FA: packed_login(),
    BLOKS_AP: packed_login(),
    WEB_2FA: body(200, {"authenticated": True, "userId": "4711", "status": "ok"}, COOKIE, OWNER),
}


# What is sent --------------------------------------------------------------------------


def app_headers(host: str, length: int, **more: str) -> dict[str, str]:
    """Spell out the common headers of the mobile app."""
    return {
        "host": host,
        "content-length": str(length),
        "user-agent": "Instagram 385.0 Android (34/14)",
        "x-ig-app-id": "567067343352427",
        "x-ig-device-id": "5d0f1a0e-1111-4222-8333-444455556666",
        "x-ig-family-device-id": "6e1f2b1f-2222-4333-8444-555566667777",
        "x-ig-android-id": "android-0123456789abcdef",
        "x-mid": "Zmid",
        "x-ig-app-locale": "en_US",
        "accept-language": "en-US",
        "x-ig-www-claim": "0",
        "ig-intended-user-id": "0",
        "x-ig-capabilities": "3brTv10=",
        "x-ig-connection-type": "WIFI",
        "x-fb-http-engine": "Liger",
        "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
        "cookie": "csrftoken=canaryToken; mid=Zmid",
        **more,
    }


def web_headers(url: str, length: int, referer: str) -> dict[str, str]:
    """Spell out the headers of the web's forms."""
    return {
        "host": url.removeprefix("http://"),
        "content-length": str(length),
        "user-agent": "Mozilla/5.0",
        "accept": "*/*",
        "accept-language": "en-US",
        "x-csrftoken": "canaryToken",
        "x-requested-with": "XMLHttpRequest",
        "x-instagram-ajax": "1",
        "x-ig-app-id": "936619743392459",
        "origin": url,
        "referer": url + referer,
        "content-type": "application/x-www-form-urlencoded",
        "cookie": "csrftoken=canaryToken; mid=Zmid",
    }


async def sent(
    route: str, code: str = CODE, **options: Any
) -> tuple[str, dict[str, str], bytes, str]:
    """Return request line, headers, body and the provider's address of the code's request."""
    verdict, provider = await say(route, SUCCESSES[route], code=code, **options)
    assert isinstance(verdict, Cleared)
    assert len(provider.heard) == 1
    heard = provider.heard[0]
    headers = heard.headers
    headers.pop("connection", None)  # The transport's own.
    return heard.request_line, headers, heard.body, provider.url


@pytest.mark.parametrize(
    ("source", "typed", "code", "method"),
    [
        ("SMS", "048213", "048213", "1"),
        ("BACKUP", "1234 5678", "12345678", "2"),
        ("APP", " 048-213", "048213", "3"),
    ],
)
async def test_a_second_factor_is_the_apps_signed_form_byte_for_byte(
    source: str, typed: str, code: str, method: str
) -> None:
    """The app's second factor has the true method of each source, and the device is trusted."""
    line, headers, form, url = await sent(TWO_FACTOR, code=typed, source=source)
    assert line == "POST /api/v1/accounts/two_factor_login/ HTTP/1.1"
    assert form == (
        b"signed_body=SIGNATURE.%7B"
        b"%22verification_code%22%3A%22" + code.encode() + b"%22%2C"
        b"%22two_factor_identifier%22%3A%22canaryIdentifier%22%2C"
        b"%22username%22%3A%22some.person%22%2C"
        b"%22verification_method%22%3A%22" + method.encode() + b"%22%2C"
        b"%22trust_this_device%22%3A%221%22%2C"
        b"%22guid%22%3A%225d0f1a0e-1111-4222-8333-444455556666%22%2C"
        b"%22device_id%22%3A%22android-0123456789abcdef%22%2C"
        b"%22phone_id%22%3A%226e1f2b1f-2222-4333-8444-555566667777%22%2C"
        b"%22_csrftoken%22%3A%22canaryToken%22%7D"
    )
    assert headers == app_headers(url.removeprefix("http://"), len(form))


async def test_what_one_client_only_sends_goes_along_if_the_first_step_had_it() -> None:
    """``waterfall_id`` and ``phone_id`` are optional; nothing about a device is made up."""
    _, headers, form, _ = await sent(
        TWO_FACTOR,
        waterfall_id="w-1",
        device={name: DEVICE[name] for name in ("guid", "device_id")},
        app={"bloks_version_id": "b10c5", "locale": "de_DE", "http_engine": "Tigon/MNS/TCP"},
        cookies=[],
    )
    assert b"%22waterfall_id%22%3A%22w-1%22" in form
    assert b"phone_id" not in form
    assert b"_csrftoken" not in form
    assert headers["x-bloks-version-id"] == "b10c5"
    assert headers["x-ig-app-locale"] == "de_DE"
    assert headers["accept-language"] == "de-DE"
    assert headers["x-fb-http-engine"] == "Tigon/MNS/TCP"
    assert not headers.keys() & {"x-mid", "cookie", "x-ig-family-device-id"}


@pytest.mark.parametrize(
    ("flags", "method"),
    [
        ({"totp_two_factor_on": True, "sms_two_factor_on": True}, "3"),
        ({"sms_two_factor_on": True}, "1"),
        ({"whatsapp_two_factor_on": True}, "6"),
        ({"verification_method": 6, "pk": 4711}, "6"),
    ],
)
async def test_without_a_source_the_flags_tell_the_method(
    flags: dict[str, Any], method: str
) -> None:
    """A checkpoint's source may be a word nobody here knows."""
    _, _, form, _ = await sent(TWO_FACTOR, source="PIGEON", **flags)
    assert f"%22verification_method%22%3A%22{method}%22".encode() in form


@pytest.mark.parametrize("source", ["EMAIL", "SMS"])
async def test_a_checkpoint_is_answered_at_its_own_path(source: str) -> None:
    """Route B: one field for both sources, and the ids of the device."""
    line, headers, form, url = await sent(CHALLENGE, source=source)
    assert line == "POST /api/v1/challenge/4711/canaryNonce/ HTTP/1.1"
    said = (
        '{"security_code":"048213","guid":"5d0f1a0e-1111-4222-8333-444455556666",'
        '"device_id":"android-0123456789abcdef","_csrftoken":"canaryToken"}'
    )
    assert form == b"signed_body=SIGNATURE." + quote_plus(said).encode()
    assert headers == app_headers(url.removeprefix("http://"), len(form))


async def test_the_checkpoints_web_form_is_plain() -> None:
    """Route B in a browser: the same path without the API's prefix, the token in a header."""
    line, headers, form, url = await sent(CHALLENGE_WEB)
    assert line == "POST /challenge/4711/canaryNonce/ HTTP/1.1"
    assert form == b"security_code=048213"
    assert headers == web_headers(url, len(form), "/challenge/4711/canaryNonce/")


async def test_the_webs_second_factor_is_plain() -> None:
    """Three fields and no method: the web asks for none."""
    line, headers, form, url = await sent(WEB_2FA)
    assert line == "POST /accounts/login/ajax/two_factor/ HTTP/1.1"
    assert form == b"username=some.person&verificationCode=048213&identifier=canaryIdentifier"
    assert headers == web_headers(url, len(form), "/")


async def test_the_build_number_of_the_web_page_is_taken_from_the_context() -> None:
    """``x-instagram-ajax`` names the page's build; ``1`` is what clients send without it."""
    _, headers, _, _ = await sent(WEB_2FA, app={"instagram_ajax": "1007616494"})
    assert headers["x-instagram-ajax"] == "1007616494"


@pytest.mark.parametrize(
    ("source", "code", "challenge"),
    [("SMS", "048213", "sms"), ("BACKUP", "12345678", "backup_codes"), ("APP", "048213", "totp")],
)
async def test_a_bloks_second_factor_is_an_unsigned_action(
    source: str, code: str, challenge: str
) -> None:
    """Route C: parameters as JSON inside a plain form, true method per source."""
    line, headers, form, url = await sent(BLOKS_2FA, code=code, source=source)
    assert line == f"POST /api/v1/bloks/async_action/{VERIFY}/ HTTP/1.1"
    fields = dict(parse_qsl(form.decode(), strict_parsing=True))
    assert json.loads(fields.pop("params")) == {
        "client_input_params": {
            "code": code,
            "should_trust_device": 1,
            "family_device_id": DEVICE["phone_id"],
            "device_id": DEVICE["device_id"],
            "machine_id": "Zmid",
            "auth_secure_device_id": "",
            "block_store_machine_id": "",
            "cloud_trust_token": None,
            "network_bssid": None,
        },
        "server_params": {
            "two_step_verification_context": "canaryContext",
            "challenge": challenge,
            "flow_source": "two_factor_login",
            "device_id": DEVICE["device_id"],
            "should_fallback_to_sms": 0,
            "spectra_reg_login_data": None,
        },
    }
    assert fields == {
        "_uuid": DEVICE["guid"],
        "bk_client_context": '{"bloks_version":"b10c5","styles_id":"instagram"}',
        "bloks_versioning_id": "b10c5",
    }
    assert headers == app_headers(
        url.removeprefix("http://"),
        len(form),
        **{
            "x-bloks-version-id": "b10c5",
            "x-fb-friendly-name": f"IgApi: bloks/async_action/{VERIFY}/",
        },
    )


async def test_a_profile_code_goes_with_its_screens_context() -> None:
    """Route D: the same envelope; ``device_id`` means two things in it."""
    line, headers, form, _ = await sent(BLOKS_AP)
    assert line == f"POST /api/v1/bloks/async_action/{CODE_ENTRY}/ HTTP/1.1"
    fields = dict(parse_qsl(form.decode(), strict_parsing=True))
    params = json.loads(fields["params"])
    assert params["client_input_params"] == {
        "code": CODE,
        "aac": "canaryAac",
        "family_device_id": DEVICE["phone_id"],
        "device_id": DEVICE["device_id"],
        "machine_id": "Zmid",
        "auth_secure_device_id": "",
    }
    assert params["server_params"].pop("INTERNAL__latency_qpl_instance_id") > 1_700_000_000_000
    assert params["server_params"] == {
        "context_data": "canaryData",
        "device_id": DEVICE["guid"],
        "INTERNAL__latency_qpl_marker_id": 36707139,
    }
    assert headers["x-fb-friendly-name"] == f"IgApi: bloks/async_action/{CODE_ENTRY}/"


class Recorder:
    """An exchange that notes addresses and answers from a list."""

    code_sent = True

    def __init__(self, *replies: Reply) -> None:
        self.urls: list[str] = []
        self._replies = list(replies)

    async def send_code(self, request: CodeRequest) -> Reply:
        """Note where the code would go."""
        return await self.fetch(Request(method="POST", url=request.url))

    async def fetch(self, request: Request) -> Reply:
        """Note where the request would go."""
        self.urls.append(request.url)
        return self._replies.pop(0)


@pytest.mark.parametrize(
    ("route", "host"),
    [
        (TWO_FACTOR, "https://i.instagram.com/api/v1/accounts/"),
        (CHALLENGE, "https://i.instagram.com/api/v1/challenge/"),
        (CHALLENGE_WEB, "https://www.instagram.com/challenge/"),
        (BLOKS_2FA, "https://i.instagram.com/api/v1/bloks/"),
        (BLOKS_AP, "https://b.i.instagram.com/api/v1/bloks/"),
        (WEB_2FA, "https://www.instagram.com/accounts/"),
    ],
)
async def test_each_route_has_its_host_unless_the_deployment_names_an_address(
    route: str, host: str
) -> None:
    """``CHECKPOINT_INSTAGRAM_URL`` means one address for all routes: a gateway, the sandbox."""

    async def scenario(base_url: str) -> str:
        exchange = Recorder(Reply(status=500, headers={}))
        challenge = Challenge(
            checkpoint=Checkpoint(type="2FA", source="SMS"),
            context=context(route),
            base_url=base_url,
        )
        with pytest.raises(ProviderBrokenError):
            await Instagram().verify(challenge, exchange)
        return exchange.urls[0]

    assert (await scenario(Instagram.default_url)).startswith(host)
    path = host.removeprefix("https://").partition("/")[2]
    assert (await scenario("https://gate.test:8443")).startswith(f"https://gate.test:8443/{path}")


# What is not sent ----------------------------------------------------------------------


async def unsent(kind: type[ProviderFailure], held: Context, **options: object) -> None:
    """Expect a failure before a byte has left."""
    async with Canned() as provider:
        with pytest.raises(ProviderFailure) as caught:
            await attempt(Instagram(), provider.url, held, CODE, **options)  # type: ignore[arg-type]
        assert type(caught.value) is kind
        assert provider.heard == []


@pytest.mark.parametrize("route", [CHALLENGE, CHALLENGE_WEB])
@pytest.mark.parametrize(
    "changes",
    [
        {"api_path": "/auth_platform/?apc=canary"},
        {"native_flow": True, "step_name": ""},
        {"native_flow": True, "step_name": "tell_us_more"},
        {"api_path": "/challenge/"},
        {"api_path": "/challenge/?challenge_node_id=1"},
        {"bloks_action": "com.bloks.www.ig.challenge.redirect.async"},
        {"step_name": "STEP_NAME"},
        {"step_name": "ufac_www_bloks"},
        {"step_name": "selfie_captcha"},
    ],
)
async def test_a_checkpoint_that_takes_no_code_is_the_persons_to_pass(
    route: str, changes: dict[str, object]
) -> None:
    """These checkpoints take no code; a code sent there would be lost."""
    await unsent(ActionRequiredError, context(route, **changes))


@pytest.mark.parametrize("route", [TWO_FACTOR, BLOKS_2FA])
async def test_a_second_factor_of_unknown_kind_is_not_guessed(route: str) -> None:
    """A wrong method spends the code and moves some accounts to another route."""
    for source, error in (("OTHER", MalformedRequestError), ("EMAIL", InvalidRequestError)):
        await unsent(error, context(route), checkpoint={"type": "2FA", "source": source})


@pytest.mark.parametrize(
    ("route", "changes", "named"),
    [
        (TWO_FACTOR, {"username": ""}, "username"),
        (TWO_FACTOR, {"two_factor_identifier": ""}, "two_factor_identifier"),
        (TWO_FACTOR, {"user_agent": ""}, "user_agent"),
        (TWO_FACTOR, {"device": {"guid": "canary"}}, "device"),
        (TWO_FACTOR, {"surprise": "canary"}, "surprise"),
        (CHALLENGE, {"api_path": "https://canary.example/challenge/1/n/"}, "api_path"),
        (CHALLENGE, {"api_path": "//canary.example/challenge/1/n/"}, "api_path"),
        (CHALLENGE, {"api_path": "/\\canary.example/challenge/1/n/"}, "api_path"),
        (CHALLENGE_WEB, {"cookies": [{"name": "mid", "value": "canary"}]}, "csrftoken"),
        (BLOKS_2FA, {"device": {"guid": "canary", "device_id": "x"}}, "device"),
        (BLOKS_2FA, {"app": {}}, "app"),
        (BLOKS_2FA, {"two_step_verification_context": ""}, "two_step_verification_context"),
        (BLOKS_AP, {"app": {}}, "app"),
        (BLOKS_AP, {"context_data": ""}, "context_data"),
        (WEB_2FA, {"cookies": []}, "csrftoken"),
        (WEB_2FA, {"two_factor_path": "/canary/"}, "two_factor_path"),
    ],
)
def test_an_unfit_context_is_refused_at_the_door_by_the_fields_name(
    route: str, changes: dict[str, object], named: str
) -> None:
    """The caller reads which field it is and never what was in it."""
    with pytest.raises(ValidationError) as caught:
        context(route, **changes)
    assert {each["loc"][0] for each in caught.value.errors()} == {named}
    assert "canary" not in str(caught.value)


def test_what_a_context_may_not_leave_out() -> None:
    """Required ones have no default that would pass for the first step's."""
    for route, needed in (
        (TWO_FACTOR, {"device", "user_agent", "username", "two_factor_identifier"}),
        (WEB_2FA, {"csrftoken", "user_agent", "username", "two_factor_identifier"}),
        (CHALLENGE, {"device", "user_agent", "api_path"}),
        (BLOKS_AP, {"app", "device", "user_agent", "context_data"}),
    ):
        with pytest.raises(ValidationError) as caught:
            Instagram().contexts[route].model_validate({"route": route})
        assert {each["loc"][0] for each in caught.value.errors()} == needed


def test_a_context_without_a_route_is_a_second_factors() -> None:
    """It is what a login service that knows one route only will send."""
    held = Instagram().contexts["http"].model_validate(CONTEXTS[TWO_FACTOR])
    assert isinstance(held, TwoFactorContext)
    assert held.route == "two_factor"
    named = {**CONTEXTS[TWO_FACTOR], "route": "http"}
    assert isinstance(Instagram().contexts["http"].model_validate(named), TwoFactorContext)


@pytest.mark.parametrize("route", CONTEXTS)
def test_a_schema_can_be_exported_of_each_context(route: str) -> None:
    """The schema is part of the published documentation."""
    schema = Instagram().contexts[route].model_json_schema()
    assert schema["properties"]["route"]


# Success -------------------------------------------------------------------------------


@pytest.mark.parametrize("route", CONTEXTS)
async def test_each_routes_success_is_a_session_with_its_owner(route: str) -> None:
    """The backend goes on with token and cookies, and stores them as JSON."""
    verdict, provider = await say(route, SUCCESSES[route])
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == USER
    session = json.loads(json.dumps(verdict.session))
    assert session["sessionid"] == SESSION_ID
    cookies = {cookie["name"]: cookie["value"] for cookie in session["cookies"]}
    assert cookies["mid"] == "Zmid"
    has_header = route not in {CHALLENGE_WEB, WEB_2FA}
    assert (session["authorization"] is not None) == has_header
    if has_header:
        assert session["authorization"] == AUTHORIZATION.partition(": ")[2]
    assert "canary" not in repr(verdict)
    assert len(provider.carrying(CODE)) == 1


async def test_the_session_keeps_what_later_requests_are_asked_for() -> None:
    """``rur`` and the claim come once, with the answer to the code."""
    said = body(
        200,
        LOGGED_IN,
        AUTHORIZATION,
        "ig-set-ig-u-rur: RVA,4711,1",
        "x-ig-set-www-claim: hmac.x",
        "ig-set-x-mid: Znew",
        COOKIE,
    )
    verdict, _ = await say(TWO_FACTOR, said)
    assert isinstance(verdict, Cleared)
    assert verdict.session["rur"] == "RVA,4711,1"
    assert verdict.session["www_claim"] == "hmac.x"
    assert verdict.session["username"] == "some.person"
    cookies = verdict.session["cookies"]
    assert isinstance(cookies, list)
    values = {cookie["name"]: cookie["value"] for cookie in cookies}
    assert values == {
        "csrftoken": "canaryToken",
        "mid": "Znew",
        "sessionid": SESSION_ID,
        "ds_user_id": USER,
        "ig_did": DEVICE["guid"].upper(),
        "rur": "RVA,4711,1",
    }


@pytest.mark.parametrize(
    "said",
    [
        body(200, {"logged_in_user": {"pk": 4711}, "status": "ok"}, COOKIE),
        body(200, {"logged_in_user": {"pk": "4711"}, "status": "ok"}, COOKIE),
        body(200, {"logged_in_user": {"pk_id": "4711"}, "status": "ok"}, COOKIE),
        body(200, {"logged_in_user": {"x": 1}, "status": "ok"}, AUTHORIZATION),
        body(200, {"logged_in_user": {"x": 1}, "status": "ok"}, COOKIE, OWNER),
        body(200, {"logged_in_user": {"x": 1}, "status": "ok"}, AUTHORIZATION.rstrip("=")),
        body(200, LOGGED_IN, COOKIE, "ig-set-authorization: Bearer IGT:2:"),
    ],
)
async def test_the_owner_is_found_wherever_it_is_said(said: bytes) -> None:
    """Providers say it in five places, rarely in all of them."""
    verdict, _ = await say(TWO_FACTOR, said)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == USER


OTHER = authorization(ds_user_id="4712", sessionid=SESSION_ID)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (TWO_FACTOR, body(200, LOGGED_IN, OTHER)),
        (TWO_FACTOR, body(200, LOGGED_IN, AUTHORIZATION, "ig-set-ig-u-ds-user-id: 4712")),
        (TWO_FACTOR, body(200, LOGGED_IN, AUTHORIZATION, "Set-Cookie: ds_user_id=4712")),
        (TWO_FACTOR, body(200, {"logged_in_user": {"pk": "a b"}, "status": "ok"}, COOKIE)),
        (TWO_FACTOR, body(200, LOGGED_IN)),
        (TWO_FACTOR, body(200, LOGGED_IN, "ig-set-authorization: Bearer IGT:2:")),
        (TWO_FACTOR, body(200, LOGGED_IN, "ig-set-authorization: Bearer IGT:2:%%%")),
        (TWO_FACTOR, body(200, LOGGED_IN, "ig-set-authorization: Bearer IGT:2:bnVsbA==")),
        (TWO_FACTOR, body(200, LOGGED_IN, "ig-set-authorization: Bearer IGT:2:abcde")),
        (TWO_FACTOR, body(200, LOGGED_IN, "Set-Cookie: sessionid=; Path=/", OWNER)),
        (TWO_FACTOR, body(200, LOGGED_IN, COOKIE + "; Max-Age=0", OWNER)),
        (CHALLENGE, body(200, {**LOGGED_IN, "action": "close"})),
        (WEB_2FA, body(200, {"authenticated": True, "userId": "4712", "status": "ok"}, OWNER)),
        (
            WEB_2FA,
            body(200, {"authenticated": True, "userId": "4712", "status": "ok"}, COOKIE, OWNER),
        ),
        (BLOKS_2FA, packed_login({"logged_in_user": {"pk": 4712}})),
        (BLOKS_2FA, packed_login(headers={}, cookies="")),
        (BLOKS_2FA, packed_login(said="not an object")),
        (BLOKS_2FA, bloks('(bk.x "{\\"login_response\\": \\"{\\"}")')),
        (BLOKS_2FA, bloks('(bk.x "{\\"login_response\\": ")')),
    ],
)
async def test_a_success_that_contradicts_itself_is_the_providers_fault(
    route: str, said: bytes
) -> None:
    """Nobody may be connected to an account whose owner or session is in doubt."""
    await fail(UnreadableAnswerError, route, said)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (TWO_FACTOR, body(200, {**LOGGED_IN, "status": "fail"}, AUTHORIZATION)),
        (TWO_FACTOR, body(400, LOGGED_IN, AUTHORIZATION)),
        (TWO_FACTOR, body(200, {"logged_in_user": {"pk": True}, "status": "ok"}, COOKIE)),
        (WEB_2FA, body(200, {"authenticated": True, "status": "ok"}, COOKIE)),
    ],
)
async def test_a_session_outweighs_what_stands_around_it(route: str, said: bytes) -> None:
    """Its owner is in the session's id, where nothing else says it."""
    verdict, _ = await say(route, said)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == USER


async def test_a_cleared_checkpoint_without_a_session_ends_the_intent() -> None:
    """The block is gone without a login, so the login starts again from step one."""
    await fail(DeadIntentError, CHALLENGE, body(200, {"action": "close", "status": "ok"}))
    ended = {"type": "CHALLENGE_REDIRECTION", "location": "x", "status": "ok"}
    await fail(DeadIntentError, CHALLENGE, body(200, ended))
    await fail(DeadIntentError, CHALLENGE_WEB, body(200, ended))
    colon = "ig-set-authorization: Bearer IGT:2:"
    await fail(DeadIntentError, CHALLENGE, body(200, {"action": "close", "status": "ok"}, colon))


# Failures ------------------------------------------------------------------------------

SENTENCE = "Please check the code we sent you and try again."


async def test_the_words_are_trusted_in_a_fixed_order() -> None:
    """Status, then ``spam``, second factor, message constants, ``error_type``, text."""
    wrong = "sms_code_validation_code_invalid"
    await fail(ProviderBrokenError, TWO_FACTOR, refusal(429, spam=True, error_type=wrong))
    await fail(
        ResourceRestrictedError,
        TWO_FACTOR,
        refusal(spam=True, two_factor_required=True, message="login_required"),
    )
    verdict, _ = await say(TWO_FACTOR, refusal(two_factor_required=True, message="login_required"))
    assert isinstance(verdict, Rejected)
    await fail(DeadIntentError, TWO_FACTOR, refusal(message="login_required", error_type=wrong))
    await fail(DeadIntentError, TWO_FACTOR, refusal(message=SENTENCE, error_type="invalid_nonce"))


async def test_a_failure_hands_back_what_the_answer_changed() -> None:
    """The intent stays open after most of them; the next try needs the fresh token."""
    said = refusal(error_type="rate_limit_error").replace(
        b"\r\n\r\n", b"\r\nSet-Cookie: csrftoken=fresh; Path=/\r\nig-set-x-mid: Znew\r\n\r\n", 1
    )
    failure = await fail(ProviderBrokenError, TWO_FACTOR, said)
    assert isinstance(failure.context, TwoFactorContext)
    assert failure.context.cookie("csrftoken") == "fresh"
    assert failure.context.cookie("mid") == "Znew"


# A refused code ------------------------------------------------------------------------

ENTRY_CALL = (
    f'(bk.action.bloks.Async "{CODE_ENTRY}" (f4i (dkc "server_params") '
    '(dkc (f4i (dkc "device_id" "context_data") (dkc (bk.DeviceId) "fresh \\"data\\"")))))'
)


@pytest.mark.parametrize("route", [TWO_FACTOR, WEB_2FA])
async def test_a_new_identifier_is_kept_for_the_next_try(route: str) -> None:
    """With the old one the next code would be "no longer valid"."""
    info = {"two_factor_identifier": "fresh", "username": "some.person"}
    said = refusal(two_factor_required=True, two_factor_info=info)
    verdict, _ = await say(route, said)
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, TwoFactorContext | WebContext)
    assert verdict.context.two_factor_identifier == "fresh"


async def test_a_screens_new_context_is_kept_for_the_next_try() -> None:
    """Route D: each screen issues its own, as a literal in the call that names the action."""
    decoy = ENTRY_CALL.replace(CODE_ENTRY, "com.bloks.www.other").replace("fresh", "decoy")
    said = bloks(f'(bk.both {decoy} (bk.set "{PROFILE_SCREEN}" "No.") {ENTRY_CALL})')
    verdict, _ = await say(BLOKS_AP, said)
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, BloksAuthPlatformContext)
    assert verdict.context.context_data == 'fresh "data"'


@pytest.mark.parametrize(
    "action",
    [
        ENTRY_CALL.replace('"fresh \\"data\\""', "(bk.compute)"),
        ENTRY_CALL.replace('"device_id" ', ""),
        ENTRY_CALL.replace("(f4i", "(odd"),
        ENTRY_CALL[:-9],
        ")))" + '"',
    ],
)
async def test_a_screens_context_that_is_no_literal_is_not_guessed(action: str) -> None:
    """Nothing is evaluated; the held one stays."""
    verdict, _ = await say(BLOKS_AP, bloks(f'(bk.set "{PROFILE_SCREEN}" "No.") {action}'))
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, BloksAuthPlatformContext)
    assert verdict.context.context_data == "canaryData"


async def test_hostile_programs_end_quickly() -> None:
    """An answer is read on the loop that serves everybody; a bound ends what is too long."""
    await fail(UnreadableAnswerError, BLOKS_2FA, bloks("(" * 500_000))
    await fail(UnreadableAnswerError, BLOKS_2FA, bloks("(" * 100_000 + ")" * 90_000))
    await fail(UnreadableAnswerError, BLOKS_2FA, bloks('"' + "\\\\" * 300_000))
    verdict, _ = await say(TWO_FACTOR, refusal(message="account disabled reset " * 40_000))
    assert isinstance(verdict, Rejected)
    nested = f'("{CODE_ENTRY}" ' * 30_000
    error = written("No.", PROFILE_SCREEN)
    verdict, _ = await say(BLOKS_AP, bloks(f"{error} {nested}" + ")" * 30_000))
    assert isinstance(verdict, Rejected)
    for part in ('(x.dialog "', f'("{PROFILE_SCREEN}" (x "', '(f4i (dkc "a") (dkc "'):
        said = bloks(part * 20_000 + ")" * 60_000)
        with contextlib.suppress(ActionRequiredError, UnreadableAnswerError):
            await say(BLOKS_AP, said)


# A further step ------------------------------------------------------------------------


async def test_a_checkpoint_after_the_second_factor_is_looked_at_once() -> None:
    """Its state says whether a code is on its way; then it is the next checkpoint (202)."""
    asked = challenge_required(
        api_path="/challenge/4711/n2/", challenge_context='{"a": 1}', native_flow=False
    )
    state = body(200, {"step_name": "verify_email", "status": "ok"}, "Set-Cookie: csrftoken=fresh")
    verdict, provider = await say(TWO_FACTOR, asked, state)
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint == Checkpoint(type="OTP", source="EMAIL")
    following = verdict.context
    assert isinstance(following, ChallengeContext)
    assert following.api_path == "/challenge/4711/n2/"
    assert following.challenge_context == '{"a": 1}'
    assert following.step_name == "verify_email"
    assert following.device == DEVICE
    assert following.cookie("csrftoken") == "fresh"
    look = provider.heard[1]
    assert look.request_line == (
        "GET /api/v1/challenge/4711/n2/?guid=5d0f1a0e-1111-4222-8333-444455556666"
        "&device_id=android-0123456789abcdef&challenge_context=%7B%22a%22%3A+1%7D HTTP/1.1"
    )
    assert look.headers["x-ig-android-id"] == "android-0123456789abcdef"
    assert "content-type" not in look.headers
    assert len(provider.carrying(CODE)) == 1
    again = Instagram().contexts["challenge"].model_validate(following.model_dump())
    assert again == following


async def test_the_look_at_a_checkpoint_keeps_the_query_of_its_path() -> None:
    """Some paths come with one; a second question mark would be part of a value."""
    asked = challenge_required(api_path="/challenge/4711/n2/?next=x")
    state = body(200, {"step_name": "verify_email", "status": "ok"})
    verdict, provider = await say(TWO_FACTOR, asked, state)
    assert isinstance(verdict, NextCheckpoint)
    assert provider.heard[1].request_line.startswith(
        "GET /api/v1/challenge/4711/n2/?next=x&guid=5d0f1a0e-"
    )


@pytest.mark.parametrize(
    "state",
    [
        body(200, {"step_name": "select_verify_method", "status": "ok"}),
        body(200, {"step_name": "selfie_captcha", "status": "ok"}),
        body(400, {"step_name": "verify_email", "status": "fail"}),
        body(200, {"status": "ok"}),
        answer(500),
        answer(200, "<html>"),
        b"",
    ],
)
async def test_a_checkpoint_that_has_not_sent_a_code_is_the_persons_to_pass(state: bytes) -> None:
    """Choosing how to be asked belongs to the first step; nothing is chosen for a person."""
    asked = challenge_required(api_path="/challenge/4711/n2/")
    failure = await fail(ActionRequiredError, TWO_FACTOR, asked, state)
    assert isinstance(failure.context, TwoFactorContext)


async def test_the_look_at_a_checkpoint_goes_to_the_apps_host() -> None:
    """Route D lives on another host than the checkpoint that may follow it."""
    said = {"message": "challenge_required", "challenge": {"api_path": "/challenge/1/n/"}}
    exchange = Recorder(
        Reply(status=400, headers={}, body=json.dumps(said).encode()),
        Reply(status=200, headers={}, body=b'{"step_name": "verify_sms_code"}'),
    )
    challenge = Challenge(
        checkpoint=Checkpoint(type="2FA", source="EMAIL"),
        context=context(BLOKS_AP),
        base_url=Instagram.default_url,
    )
    verdict = await Instagram().verify(challenge, exchange)
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint.source == "SMS"
    first, second = exchange.urls
    assert first.startswith("https://b.i.instagram.com/")
    assert second.startswith("https://i.instagram.com/api/v1/challenge/1/n/?")


@pytest.mark.parametrize(
    ("route", "said"),
    [
        (CHALLENGE, body(200, {"step_name": "verify_sms_code", "status": "ok"})),
        (
            CHALLENGE_WEB,
            body(200, {"challenge": {"challengeType": "VerifySMSCodeForm", "errors": []}}),
        ),
    ],
)
async def test_another_code_in_the_same_checkpoint_is_the_next_one(route: str, said: bytes) -> None:
    """Email first, then a text message: the path stays, the question is another."""
    verdict, _ = await say(route, said)
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint == Checkpoint(type="OTP", source="SMS")
    assert isinstance(verdict.context, ChallengeContext | ChallengeWebContext)
    assert verdict.context.api_path == "/challenge/4711/canaryNonce/"


@pytest.mark.parametrize(
    ("route", "model"),
    [(CHALLENGE, TwoFactorContext), (BLOKS_AP, TwoFactorContext), (CHALLENGE_WEB, WebContext)],
)
@pytest.mark.parametrize(
    ("flags", "source"),
    [({"totp_two_factor_on": True, "sms_two_factor_on": True}, "APP"),
     ({"sms_two_factor_on": True}, "SMS")],
)  # fmt: skip
async def test_a_second_factor_after_a_checkpoint_is_the_next_one(
    route: str, model: type[InstagramContext], flags: dict[str, object], source: str
) -> None:
    """Nobody asked for it before, so the code was taken."""
    info = {"two_factor_identifier": "id-2", "username": "some.person", **flags}
    said = refusal(two_factor_required=True, two_factor_info=info)
    verdict, _ = await say(route, said)
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint == Checkpoint(type="2FA", source=source)
    assert type(verdict.context) is model
    assert isinstance(verdict.context, TwoFactorContext | WebContext)
    assert verdict.context.two_factor_identifier == "id-2"
    again = Instagram().contexts[verdict.context.route]
    assert again.model_validate(verdict.context.model_dump()) == verdict.context


@pytest.mark.parametrize(
    ("kind", "info"),
    [
        (ActionRequiredError, {}),
        (ActionRequiredError, {"two_factor_identifier": "x", "username": "some.person"}),
        (ActionRequiredError, {"two_factor_identifier": "x", "totp_two_factor_on": True}),
    ],
)
async def test_a_second_factor_that_cannot_be_answered_is_no_next_checkpoint(
    kind: type[ProviderFailure], info: dict[str, object]
) -> None:
    """A 202 promises that the next code can be submitted."""
    await fail(kind, CHALLENGE, refusal(two_factor_required=True, two_factor_info=info))


# With the simulated provider -----------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("EMAIL", "plain", DeadIntentError),
        ("EMAIL", "checkpoint_web", DeadIntentError),
        ("APP", "plain", UnreadableAnswerError),
        ("APP", "bloks", UnreadableAnswerError),
        ("APP", "web", UnreadableAnswerError),
    ],
)
async def test_a_login_that_passes_without_a_session_is_no_success(
    sandbox: Sandbox, source: str, kind: str, expected: type[ProviderFailure]
) -> None:
    """A cleared checkpoint says so by itself; everywhere else it is a contradiction."""
    account, login = begin(sandbox, "INSTAGRAM", source, kind)
    sandbox.set_faults(account, sessionless=True)
    with pytest.raises(expected):
        await solve(sandbox, login, account.current_code())
