"""INSTAGRAM: what people reported about logins elsewhere, at the adapter, kind by kind.

What an answer becomes is tested row by row in ``test_instagram_answers``. Here is what comes in,
what goes out on the wire, and what is handed over in the end.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Cleared,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    SolutionKind,
    TooManyCharactersError,
    UnreadableAnswerError,
    check_code,
)
from checkpoint_worker.providers.http.jar import CONTEXT_BYTES_MAX, CONTEXT_COOKIES_MAX
from checkpoint_worker.providers.instagram import responses as means
from checkpoint_worker.providers.instagram.adapter import Instagram
from checkpoint_worker.providers.instagram.contexts import (
    WEB_PATHS,
    CheckpointContext,
    InstagramContext,
)
from checkpoint_worker.providers.meanings import WAIT_WORDS
from tests.integration.test_instagram import SUCCESSES, say
from tests.support import instagram_sentences as sentences
from tests.support.canned_server import Canned, Heard, answer, attempt
from tests.support.instagram_answers import (
    AUTHORIZATION,
    BLOKS_2FA,
    BLOKS_AP,
    CHALLENGE,
    CHALLENGE_WEB,
    COOKIE,
    JSON_ROUTES,
    LOGGED_IN,
    OWNER,
    PROFILE_SCREEN,
    ROUTES,
    SCREEN,
    SESSION_ID,
    TWO_FACTOR,
    USER,
    WEB_2FA,
    bloks,
    body,
    packed_login,
    pushed,
    redirect,
    refusal,
    written,
)
from tests.support.instagram_first_step import CODE, COOKIES, DEVICE, SOURCES, context

BACKUP = "12345678"
NO_COOKIES: dict[str, Any] = {"cookies": [], "csrftoken": "canaryToken"}


def sent(heard: Heard) -> dict[str, Any]:
    """Return the fields of a request, whatever form its route has."""
    form = {name: values[0] for name, values in parse_qs(heard.body.decode()).items()}
    if "signed_body" in form:
        return dict(json.loads(form["signed_body"].removeprefix("SIGNATURE.")))
    params = json.loads(form.pop("params", "{}"))
    return {**form, **params.get("server_params", {}), **params.get("client_input_params", {})}


async def request_of(route: str, *, code: str = CODE, source: str = "", **changes: object) -> Heard:
    """Send a code and return the request that carried it."""
    verdict, provider = await say(route, SUCCESSES[route], code=code, source=source, **changes)
    assert isinstance(verdict, Cleared)
    (heard,) = provider.carrying(code)
    return heard


async def session_after(route: str, said: bytes, **changes: object) -> dict[str, Any]:
    """Finish a login and return the session."""
    verdict, _ = await say(route, said, **changes)
    assert isinstance(verdict, Cleared)
    return json.loads(json.dumps(verdict.session))


def jar_of(session: dict[str, Any]) -> dict[str, str]:
    """Return a session's cookies by name."""
    return {cookie["name"]: cookie["value"] for cookie in session["cookies"]}


# Cookies, however many and however spelled ------------------------------------------------


@pytest.mark.parametrize("count", [1, 101, 250, 900])
@pytest.mark.parametrize("route", [TWO_FACTOR, CHALLENGE_WEB, WEB_2FA])
async def test_a_login_beside_many_cookies_is_a_login(route: str, count: int) -> None:
    """Some are emptied, some are set; what the next client needs is in the jar's bound."""
    emptied = [f"Set-Cookie: gone{number}=; Max-Age=0" for number in range(count // 2)]
    more = [f"Set-Cookie: seen{number}={'x' * 40}; Path=/" for number in range(count - count // 2)]
    said = body(200, {"status": "ok"}, *emptied, COOKIE, OWNER, *more)
    session = await session_after(route, said)
    jar = jar_of(session)
    assert {"sessionid", "ds_user_id", "csrftoken", "mid"} <= jar.keys()
    assert jar["sessionid"] == SESSION_ID
    assert len(session["cookies"]) <= CONTEXT_COOKIES_MAX
    assert not any(name.startswith("gone") for name in jar)


@pytest.mark.parametrize("size", [100, 1_500, 3_000])
async def test_a_jar_grows_over_no_bound_whatever_an_answer_sets(size: int) -> None:
    """A context that was refused by its own checks could not be opened for the next code."""
    said = refusal(message="Please check the code.").replace(
        b"\r\n\r\n",
        b"".join(b"\r\nSet-Cookie: c%d=%s" % (number, b"x" * size) for number in range(60))
        + b"\r\nSet-Cookie: csrftoken=fresh\r\n\r\n",
        1,
    )
    verdict, _ = await say(TWO_FACTOR, said)
    assert isinstance(verdict, Rejected)
    held = verdict.context
    assert isinstance(held, InstagramContext)
    assert held.cookie("csrftoken") == "fresh"
    assert held.cookie("mid") == "Zmid"
    assert sum(len(cookie.model_dump_json()) for cookie in held.cookies) <= CONTEXT_BYTES_MAX
    assert Instagram().contexts[TWO_FACTOR].model_validate(held.as_json()) == held


async def test_a_quoted_value_stays_as_it_was_sent() -> None:
    """``rur`` has quotes and escapes; decoded once it would be another value."""
    value = r'"RVA\0544711\0541800000000:01f7"'
    session = await session_after(
        TWO_FACTOR, body(200, LOGGED_IN, COOKIE, OWNER, f"Set-Cookie: rur={value}; Path=/")
    )
    assert jar_of(session)["rur"] == value
    again = context(TWO_FACTOR, cookies=[*COOKIES, {"name": "rur", "value": value}])
    verdict, provider = await say(TWO_FACTOR, SUCCESSES[TWO_FACTOR], cookies=again.cookies)
    assert isinstance(verdict, Cleared)
    assert value in provider.heard[0].headers["cookie"]


@pytest.mark.parametrize("route", ROUTES)
async def test_ids_without_a_cookie_go_where_cookies_would_take_them(route: str) -> None:
    """Client libraries keep ``mid`` and the token beside their jar, or in no jar at all."""
    heard = await request_of(route, **NO_COOKIES, mid="Zbeside", ig_did="D-1")
    if route in {CHALLENGE_WEB, WEB_2FA}:
        assert heard.headers["x-csrftoken"] == "canaryToken"
        assert heard.headers["cookie"] == "csrftoken=canaryToken; mid=Zbeside; ig_did=D-1"
        assert "x-mid" not in heard.headers
    else:
        assert heard.headers["x-mid"] == "Zbeside"
    if route in {TWO_FACTOR, CHALLENGE}:
        assert sent(heard)["_csrftoken"] == "canaryToken"
    if route in {BLOKS_2FA, BLOKS_AP}:
        assert sent(heard)["machine_id"] == "Zbeside"


@pytest.mark.parametrize("route", ROUTES)
async def test_a_cookie_goes_before_what_is_kept_beside_it(route: str) -> None:
    """It is the newer one: answers set it."""
    heard = await request_of(route, mid="Zold", csrftoken="old")
    assert b"Zold" not in heard.raw
    assert b"=old" not in heard.raw
    assert b"canaryToken" in heard.raw


# Paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        "/challenge/4711/nonce/",
        "/challenge/4711/nonce",
        "challenge/4711/nonce/",
        "/api/v1/challenge/4711/nonce/",
        "api/v1/challenge/4711/nonce/",
        "/v1/challenge/4711/nonce/",
        "/api/challenge/4711/nonce/",
        "https://i.instagram.com/challenge/4711/nonce/",
        "https://i.instagram.com/api/v1/challenge/4711/nonce",
        "https://www.instagram.com/challenge/4711/nonce/",
        "https://instagram.com/api/v1/challenge/4711/nonce/",
        "www.instagram.com/challenge/4711/nonce/",
        "//i.instagram.com/api/v1/challenge/4711/nonce/",
    ],
)
@pytest.mark.parametrize("route", [CHALLENGE, CHALLENGE_WEB])
async def test_every_spelling_of_a_checkpoint_is_one_path(route: str, spelling: str) -> None:
    """Clients keep ``api_path``, with the prefix or without, or the whole address."""
    held = context(route, api_path=spelling)
    assert isinstance(held, CheckpointContext)
    assert held.api_path == "/challenge/4711/nonce/"
    path = (await request_of(route, api_path=spelling)).request_line.split()[1]
    assert path == ("/api/v1" if route == CHALLENGE else "") + "/challenge/4711/nonce/"


@pytest.mark.parametrize("query", ["?next=/", "?challenge_context=a%7Cb", "?a=1&b=2"])
def test_a_path_keeps_its_query(query: str) -> None:
    """Behind the slash that was missing."""
    held = context(CHALLENGE, api_path="/api/v1/challenge/4711/nonce" + query)
    assert isinstance(held, CheckpointContext)
    assert held.api_path == "/challenge/4711/nonce/" + query


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/challenge/1/n/",
        "https://instagram.com.evil.example/challenge/1/n/",
        "//evil.example/challenge/1/n/",
        "evilinstagram.com/challenge/1/n/",
        "ftp://i.instagram.com/challenge/1/n/",
    ],
)
def test_a_foreign_address_loses_no_host(address: str) -> None:
    """It is refused, as any text that is no path."""
    with pytest.raises(ValueError, match="api_path"):
        context(CHALLENGE, api_path=address)


# Codes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["APP", "SMS", "WHATSAPP"])
@pytest.mark.parametrize(
    "typed", [BACKUP, "1234 5678", "1234-5678", "\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18"]
)
async def test_a_backup_code_is_taken_at_the_prompt_of_every_second_factor(
    source: str, typed: str
) -> None:
    """The form tells it; it goes as what it is."""
    whole = check_code(typed, Instagram.code_formats[source])
    assert whole == BACKUP
    assert (
        sent(await request_of(TWO_FACTOR, code=whole, source=source))["verification_method"] == "2"
    )
    assert (
        sent(await request_of(BLOKS_2FA, code=whole, source=source))["challenge"] == "backup_codes"
    )
    newer = await request_of(WEB_2FA, code=whole, source=source, two_factor_path=WEB_PATHS[1])
    assert sent(newer)["verification_method"] == "2"
    named = await request_of(TWO_FACTOR, code=whole, source=source, verification_method="3")
    assert sent(named)["verification_method"] == "2"


@pytest.mark.parametrize(
    ("flags", "method", "challenge"),
    [({"totp_two_factor_on": True}, "3", "totp"), ({"sms_two_factor_on": True}, "1", "sms")],
)
async def test_six_digits_at_the_prompt_for_a_backup_code_are_the_method_that_is_on(
    flags: dict[str, bool], method: str, challenge: str
) -> None:
    """Nobody types six digits of a code with eight."""
    heard = await request_of(TWO_FACTOR, source="BACKUP", **flags)
    assert sent(heard)["verification_method"] == method
    named = ("APP",) if challenge == "totp" else ("SMS",)
    heard = await request_of(BLOKS_2FA, source="BACKUP", methods=named)
    assert sent(heard)["challenge"] == challenge


@pytest.mark.parametrize("source", ["APP", "SMS", "EMAIL", "BACKUP", "WHATSAPP"])
@pytest.mark.parametrize("typed", ["123456789", "123 456 789"])
def test_what_is_longer_than_any_code_is_not_sent(source: str, typed: str) -> None:
    """No other form is that long."""
    with pytest.raises(TooManyCharactersError):
        check_code(typed, Instagram.code_formats[source])


def test_a_checkpoint_by_email_has_no_backup_codes() -> None:
    """They belong to the second factor."""
    with pytest.raises(TooManyCharactersError):
        check_code(BACKUP, Instagram.code_formats["EMAIL"])


# Headers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
async def test_every_header_that_is_made_is_reserved_and_the_client_s_own_go_along(
    route: str,
) -> None:
    """Language is the client's own where it gives one."""
    usual = (await request_of(route)).headers
    model = Instagram().contexts[route]
    ours = {"content-type", "cookie", "host", "user-agent", "content-length", "connection"}
    made = usual.keys() - ours - {"accept-language", "accept-encoding"}
    assert made <= model.made_headers
    own = {"Accept-Language": "de-DE, en-US", "X-IG-Timezone-Offset": "7200"}
    heard = await request_of(route, headers=own)
    assert heard.headers["accept-language"] == "de-DE, en-US"
    assert heard.headers["x-ig-timezone-offset"] == "7200"
    assert {name: heard.headers[name] for name in made} == {
        name: usual[name].replace(usual["host"], heard.headers["host"]) for name in made
    }
    for name in sorted(model.made_headers):
        with pytest.raises(ValueError, match="headers"):
            context(route, headers={name.title(): "x"})


@pytest.mark.parametrize(
    ("route", "names"),
    [(TWO_FACTOR, "trust_this_device"), (BLOKS_2FA, "should_trust_device")],
)
async def test_whether_the_device_is_remembered_is_the_persons_choice(
    route: str, names: str
) -> None:
    """Said in the request's own form."""
    assert str(sent(await request_of(route))[names]) == "1"
    assert str(sent(await request_of(route, trust_this_device=False))[names]) == "0"


async def test_the_newer_path_of_the_web_has_more_fields() -> None:
    """The older form stays as it was."""
    heard = await request_of(WEB_2FA, two_factor_path=WEB_PATHS[1], trust_this_device=False)
    assert heard.request_line.split()[1] == WEB_PATHS[1]
    assert sent(heard) == {
        "username": "some.person",
        "verificationCode": CODE,
        "identifier": "canaryIdentifier",
        "verification_method": "3",
        "trust_signal": "false",
        "queryParams": "{}",
    }
    older = await request_of(WEB_2FA)
    assert older.request_line.split()[1] == WEB_PATHS[0]
    assert sent(older).keys() == {"username", "verificationCode", "identifier"}


# Another way -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "changes", "ways"),
    [
        (TWO_FACTOR, {"sms_two_factor_on": True}, ["SMS", "BACKUP", "APP"]),
        (TWO_FACTOR, {"totp_two_factor_on": True}, ["APP", "BACKUP"]),
        (TWO_FACTOR, {"whatsapp_two_factor_on": True}, ["WHATSAPP", "BACKUP", "APP"]),
        (CHALLENGE, {"methods": ["SMS", "EMAIL"]}, ["SMS", "EMAIL"]),
        (CHALLENGE, {}, ["EMAIL"]),
        (CHALLENGE, {"methods": ["email", "phone_number", "new"]}, ["EMAIL", "SMS"]),
        (CHALLENGE_WEB, {"methods": ["SMS"]}, ["SMS", "EMAIL"]),
        (BLOKS_2FA, {"methods": ["SMS", "APP"]}, ["SMS", "APP", "BACKUP"]),
        (BLOKS_2FA, {"methods": ["totp", "backup_codes", "whatsapp"]}, ["WHATSAPP", "BACKUP"]),
        (BLOKS_AP, {"methods": ["SMS"]}, ["SMS", "EMAIL"]),
        (WEB_2FA, {}, ["BACKUP", "APP"]),
    ],
)
async def test_the_other_ways_are_named_in_source_words(
    route: str, changes: dict[str, object], ways: list[str]
) -> None:
    """In words that an intent's checkpoint has; the provider's numbers mean nothing to people."""

    async def scenario() -> ProviderFailure:
        checkpoint = {"type": "2FA", "source": SOURCES.get(route, "APP")}
        async with Canned() as provider:
            with pytest.raises(ActionRequiredError) as caught:
                await attempt(
                    Instagram(),
                    provider.url,
                    context(route, **changes),
                    CODE,
                    checkpoint=checkpoint,
                    solution=SolutionKind.ANOTHER_WAY,
                )
            assert provider.heard == []
            return caught.value

    detail = (await scenario()).detail
    assert all(way in detail for way in ways)
    assert not any(way in detail for way in {"SMS", "EMAIL", "BACKUP", "WHATSAPP"} - set(ways))


@pytest.mark.parametrize(
    ("route", "held", "asked"),
    [
        ("challenge", "verify_email", {"step_name": "verify_sms_code", "status": "ok"}),
        ("challenge_web", "VerifyEmailCodeForm", {"challengeType": "VerifySMSCodeForm"}),
    ],
)
async def test_the_step_of_the_context_tells_the_next_one_from_the_same(
    route: str, held: str, asked: dict[str, object]
) -> None:
    """Without a source the context alone knows which code was asked for; words of others too."""
    again = {key: held if key in {"step_name", "challengeType"} else value
             for key, value in asked.items()}  # fmt: skip
    for source in ("", "PHONE"):
        following, _ = await say(route, body(200, asked), step_name=held, source=source)
        assert isinstance(following, NextCheckpoint)
        assert following.checkpoint.source == "SMS"
        refused, _ = await say(route, body(200, again), step_name=held, source=source)
        assert isinstance(refused, Rejected)


# Words -------------------------------------------------------------------------------------


def test_every_language_that_is_known_has_a_sentence() -> None:
    """A pattern that nothing matches is none."""
    assert sentences.WAIT.keys() <= WAIT_WORDS.keys()


@pytest.mark.parametrize("language", sentences.WAIT)
@pytest.mark.parametrize("route", [TWO_FACTOR, WEB_2FA])
async def test_a_sentence_that_asks_to_wait_is_no_refused_code(route: str, language: str) -> None:
    """In the language of the app or the account, whichever it is; no try is counted."""
    with pytest.raises(ProviderBrokenError) as caught:
        await say(route, refusal(message=sentences.WAIT[language]))
    assert type(caught.value) is ProviderBrokenError


@pytest.mark.parametrize("language", sentences.WRONG)
@pytest.mark.parametrize("route", JSON_ROUTES)
async def test_a_refused_code_is_one_in_every_language(route: str, language: str) -> None:
    """Its form says so; its words say nothing else."""
    verdict, _ = await say(route, refusal(message=sentences.WRONG[language]))
    assert isinstance(verdict, Rejected)


@pytest.mark.parametrize("language", sentences.PROBLEM)
def test_a_problem_there_is_no_refused_code(language: str) -> None:
    """One more try costs the person a code; a counted one might cost the login."""
    assert means.of_words(sentences.PROBLEM[language]) is means.PROBLEM


@pytest.mark.parametrize("language", sentences.DISABLED)
def test_a_disabled_account_is_one_in_other_languages(language: str) -> None:
    """The only words of another language that end a login."""
    assert means.of_words(sentences.DISABLED[language]) is means.DISABLED


# What is handed over -----------------------------------------------------------------------

HEADER_ONLY = {
    TWO_FACTOR: body(200, LOGGED_IN, AUTHORIZATION, "ig-set-ig-u-ds-user-id: 4711"),
    CHALLENGE: body(200, {**LOGGED_IN, "action": "close"}, AUTHORIZATION),
    BLOKS_2FA: packed_login(cookies=""),
    BLOKS_AP: packed_login(cookies=[]),
}


@pytest.mark.parametrize("jar", [COOKIES, []], ids=["with a jar", "without"])
@pytest.mark.parametrize("route", HEADER_ONLY)
async def test_a_login_by_header_alone_has_the_cookies_of_a_browser(
    route: str, jar: list[dict[str, str]]
) -> None:
    """Clients of the web go on with five cookies, whichever form the login came in."""
    session = await session_after(route, HEADER_ONLY[route], cookies=jar, mid="Zbeside")
    cookies = jar_of(session)
    assert cookies["sessionid"] == SESSION_ID
    assert cookies["ds_user_id"] == USER == session["user_id"]
    assert cookies["csrftoken"]
    assert cookies["mid"] == ("Zmid" if jar else "Zbeside") == session["mid"]
    assert cookies["ig_did"] == DEVICE["guid"].upper()
    domains = {each["name"]: each["domain"] for each in session["cookies"]}
    assert domains["sessionid"] == ".instagram.com"
    assert session["headers"]["Authorization"] == session["authorization"]
    assert session["headers"]["X-MID"] == cookies["mid"]


@pytest.mark.parametrize("route", ROUTES)
async def test_a_session_has_the_client_that_it_was_made_by(route: str) -> None:
    """Another device or user agent later on is a known cause of the next checkpoint."""
    own = {"Accept-Language": "de-DE"}
    session = await session_after(route, SUCCESSES[route], headers=own)
    held = context(route)
    assert session["provider"] == "INSTAGRAM"
    assert session["user_agent"] == held.user_agent
    assert session["device"] == dict(held.device)
    assert session["app"] == dict(held.app)
    assert session["headers"]["Accept-Language"] == "de-DE"
    assert {"sessionid", "ds_user_id", "csrftoken", "mid"} <= jar_of(session).keys()


async def test_a_device_id_of_the_web_is_kept() -> None:
    """The app's own stands in only where there is none."""
    kept = await session_after(WEB_2FA, SUCCESSES[WEB_2FA], ig_did="D-1")
    assert jar_of(kept)["ig_did"] == "D-1"
    said = body(200, LOGGED_IN, AUTHORIZATION, "Set-Cookie: ig_did=D-2; Path=/")
    assert jar_of(await session_after(TWO_FACTOR, said, ig_did="D-1"))["ig_did"] == "D-2"


# Answers whose body cannot be read -----------------------------------------------------------

PACKED = "Content-Encoding: compress"


@pytest.mark.parametrize(
    "said",
    [
        answer(200, b"\x1f\x9d\x90", PACKED, COOKIE, OWNER),
        answer(200, b"\x1f\x8b\x08garbage", "Content-Encoding: gzip", COOKIE, OWNER),
        answer(200, "<html>", COOKIE, OWNER),
        answer(302, b"\x1f\x9d\x90", PACKED, "Location: /", COOKIE, OWNER),
    ],
    ids=["unknown packing", "broken packing", "page", "redirect"],
)
@pytest.mark.parametrize("route", [CHALLENGE_WEB, WEB_2FA, TWO_FACTOR])
async def test_a_session_in_the_head_needs_no_body(route: str, said: bytes) -> None:
    """The code is used up, and the provider lets nobody in twice with it."""
    assert jar_of(await session_after(route, said))["sessionid"] == SESSION_ID


async def test_a_redirect_needs_no_body_and_what_cannot_be_read_keeps_its_cookies() -> None:
    """Its address is all that it says; a fresh token is needed for the next code."""
    fresh = "Set-Cookie: csrftoken=fresh"
    checkpoint = answer(302, b"\x1f\x9d\x90", PACKED, "Location: /challenge/1/n/", fresh)
    unreadable = answer(200, b"\x1f\x9d\x90", PACKED, fresh)
    for said, kind in ((checkpoint, ActionRequiredError), (unreadable, UnreadableAnswerError)):
        with pytest.raises(kind) as caught:
            await say(WEB_2FA, said)
        held = caught.value.context
        assert isinstance(held, InstagramContext)
        assert held.cookie("csrftoken") == "fresh"


@pytest.mark.parametrize("place", ["/challenge/1/n/", "/auth_platform/?apc=x", "/privacy/consent/"])
@pytest.mark.parametrize("route", JSON_ROUTES)
async def test_a_further_step_that_is_named_holds_though_there_is_a_session(
    route: str, place: str
) -> None:
    """It would end with the first request; the cookies are kept for what comes after the step."""
    with pytest.raises(ActionRequiredError) as caught:
        await say(route, redirect(place, COOKIE, OWNER))
    held = caught.value.context
    assert isinstance(held, InstagramContext)
    assert held.cookie("sessionid") == SESSION_ID


@pytest.mark.parametrize(
    "said",
    [
        {"message": "challenge_required", "challenge": {"url": "/challenge/1/n/"}},
        {"checkpoint_url": "/challenge/1/n/"},
        {"challenge": {"api_path": "/challenge/1/n/"}},
        {"redirect_url": "/privacy/consent/"},
        {"message": "consent_required"},
        {"step_name": "select_verify_method"},
        {"error_type": "unusable_password"},
    ],
    ids=str,
)
@pytest.mark.parametrize("route", JSON_ROUTES)
async def test_a_body_that_names_a_known_step_holds(route: str, said: dict[str, object]) -> None:
    """Whatever cookies came with it."""
    with pytest.raises(ActionRequiredError) as caught:
        await say(route, body(400, {**said, "status": "fail"}, COOKIE, OWNER))
    assert not caught.value.in_doubt


@pytest.mark.parametrize(
    "said",
    [
        {"step_name": "tell_us_more"},
        {"redirect_url": "/"},
        {"challenge": {"challengeType": "NewForm"}},
        {"message": "Please wait a few minutes before you try again."},
        {"error_type": "something_new", "spam": True},
        {"challenge": []},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_a_session_outweighs_a_body_that_names_none(
    said: dict[str, object], status: int
) -> None:
    """A name that nobody knows is no reason to throw a login away."""
    session = await session_after(WEB_2FA, body(status, {**said, "status": "fail"}, COOKIE, OWNER))
    assert jar_of(session)["sessionid"] == SESSION_ID


@pytest.mark.parametrize("text", ["", "  "], ids=["empty", "blank"])
@pytest.mark.parametrize(
    ("route", "screen"),
    [(BLOKS_2FA, SCREEN), (BLOKS_AP, PROFILE_SCREEN)],
    ids=["second factor", "profile"],
)
async def test_an_error_that_is_emptied_refuses_nothing(route: str, screen: str, text: str) -> None:
    """A screen clears its error before it goes on."""
    said = bloks(f"(bk.x {written(text, screen)} {pushed('com.bloks.www.ap.passkey_auth')})")
    with pytest.raises(ActionRequiredError):
        await say(route, said)


# Steps ---------------------------------------------------------------------------------------


async def test_a_second_factor_by_whatsapp_after_a_checkpoint_can_be_answered() -> None:
    """202 with the source that the person has to look at; the code goes by its method."""
    info = {"two_factor_identifier": "id-2", "username": "some.person"}
    asked = refusal(
        two_factor_required=True, two_factor_info={**info, "whatsapp_two_factor_on": True}
    )
    verdict, _ = await say(CHALLENGE, asked)
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint.source == "WHATSAPP"
    following = verdict.context
    assert isinstance(following, InstagramContext)
    async with Canned(SUCCESSES[TWO_FACTOR]) as provider:
        checkpoint = {"type": "2FA", "source": "WHATSAPP"}
        await attempt(Instagram(), provider.url, following, CODE, checkpoint=checkpoint)
        found = sent(provider.heard[0])
    assert (found)["verification_method"] == "6"


@pytest.mark.parametrize("step", ["verify_code", "verify_email", "VerifyEmailCodeForm"])
async def test_a_native_checkpoint_whose_step_takes_a_code_takes_it(step: str) -> None:
    """Clients disagree about the flag; the step is what the provider waits for."""
    route = CHALLENGE_WEB if step.endswith("Form") else CHALLENGE
    assert (await request_of(route, native_flow=True, step_name=step)).body


@pytest.mark.parametrize("place", ["/", "/accounts/onetap/", "/accounts/login/?next=%2F"])
@pytest.mark.parametrize("route", [CHALLENGE_WEB, WEB_2FA])
async def test_a_session_outweighs_where_it_redirects_to(route: str, place: str) -> None:
    """Browsers follow and are logged in, wherever that is."""
    assert jar_of(await session_after(route, redirect(place, COOKIE, OWNER)))["ds_user_id"] == USER
