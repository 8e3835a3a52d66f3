"""TWITTER: what is sent, to the letter, and what each answer means.

Requests are compared as bytes caught on a socket, answers are canned or the sandbox's; both
travel over the real transport.
"""

from __future__ import annotations

import json
import re
import socket
import time
import traceback
from typing import Any

import pytest
from pydantic import ValidationError

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    CodeRequest,
    Context,
    DeadIntentError,
    ExchangeRefusedError,
    InvalidRequestError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    Reply,
    ServiceUnavailableError,
    SolutionKind,
    SubscriptionRequiredError,
    UnreadableAnswerError,
    Verdict,
    check_code,
)
from checkpoint_worker.providers.http.exchange import HttpExchange
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.twitter.adapter import FOLLOW_UPS_MAX, Twitter
from checkpoint_worker.providers.twitter.protocol import OcfContext
from checkpoint_worker.providers.twitter.session import ASKED_MAX, ME_ASKED_MAX
from tests.support.canned_server import Canned, answer, attempt
from tests.support.conformance_cases import REFUSED
from tests.support.hostile import Peer, serving
from tests.support.simulated import begin, solve
from tests.support.twitter_answers import (
    CASES,
    CHECK,
    CHOOSE,
    LATER,
    NEXT,
    NO_TOKEN,
    OPEN,
    PASSED_TWICE,
    SESSION,
    SET_TOKEN,
    TOKEN,
    deny,
    enter_text,
    error,
    flow,
    said,
    step,
)

CODE = "048213"
COMMON: dict[str, object] = {
    "user_agent": "StepOne/1.0",
    "app": {"bearer_token": "public-web-token"},
    "guest_token": "1790000000000000001",
    "transaction_id": "txn+/=",
    "cookies": [
        {"name": "guest_id", "value": "v1%3A179", "domain": ".x.com"},
        {"name": "att", "value": "1-att", "domain": ".x.com", "path": "/"},
    ],
}
OCF = {**COMMON, "route": "ocf", "flow_token": TOKEN, "subtask_id": "LoginTwoFactorAuthChallenge"}
ACID = {**OCF, "subtask_id": "LoginAcid", "hint_text": "Confirmation code"}
JETFUEL = {
    **COMMON,
    "route": "jetfuel",
    "session_token": "5f0c0f9e-0001",
    "prelude_dispatch_id": "5f0c0f9e-0002",
    "action": "/onboarding/web/actions/finish_two_factor_auth",
    "fields": ["challenge_response"],
    "user_id": "4711",
    "castle_token": "castle-one",
}
CT0 = {"name": "ct0", "value": "csrf-guest", "domain": ".x.com"}

PASSED = PASSED_TWICE


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries of one request."""
    monkeypatch.setattr("checkpoint_worker.providers.twitter.session.ASKED_PAUSE_S", 0.02)


def context(base: dict[str, Any] = OCF, **changes: object) -> Context:
    """Build the context of a first step, changed here and there."""
    model = Twitter.contexts[str(base["route"])]
    return model.model_validate({**base, **changes})


async def say(
    *answers: bytes,
    base: dict[str, Any] = OCF,
    code: str = CODE,
    source: str = "APP",
    **changes: object,
) -> tuple[Verdict, Canned]:
    """Verify against canned answers and return the verdict and what was heard."""
    async with Canned(*answers) as provider:
        held = context(base, **changes)
        checkpoint = {"type": "2FA", "source": source}
        verdict = await attempt(Twitter(), provider.url, held, code, checkpoint=checkpoint)
        return verdict, provider


async def fail(
    kind: type[ProviderFailure],
    *answers: bytes,
    base: dict[str, Any] = OCF,
    source: str = "APP",
    sent: int = 1,
    code: str = CODE,
) -> ProviderFailure:
    """Verify against canned answers; expect that failure, and the code sent exactly once."""
    async with Canned(*answers) as provider:
        checkpoint = {"type": "2FA", "source": source}
        with pytest.raises(ProviderFailure) as caught:
            await attempt(Twitter(), provider.url, context(base), code, checkpoint=checkpoint)
        assert type(caught.value) is kind
        assert len(provider.heard) >= len(answers) * sent
        assert len([heard for heard in provider.heard if code.encode() in heard.body]) == sent
        return caught.value


# What is sent --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "subtask", "code"),
    [
        ("APP", "LoginTwoFactorAuthChallenge", "048213"),
        ("SMS", "LoginTwoFactorAuthChallenge", "048213"),
        ("BACKUP", "LoginTwoFactorAuthChallenge", "abc123def456"),
        ("EMAIL", "LoginAcid", "x1y2z3"),
    ],
)
async def test_the_code_request_is_the_flows_next_step(
    source: str, subtask: str, code: str
) -> None:
    """As clients send it: method, path, headers and the JSON fields in their order."""
    base = {**OCF, "subtask_id": subtask, "hint_text": "Confirmation code"}
    _, provider = await say(*PASSED, base=base, source=source, code=code)
    sent = provider.heard[0]
    assert sent.request_line == "POST /1.1/onboarding/task.json HTTP/1.1"
    assert sent.body.decode() == (
        f'{{"flow_token":"{TOKEN}","subtask_inputs":[{{"subtask_id":"{subtask}",'
        f'"enter_text":{{"text":"{code}","link":"next_link"}}}}]}}'
    )
    headers = sent.headers
    assert headers.pop("content-length") == str(len(sent.body))
    headers.pop("connection", None)  # The transport's own.
    assert headers == {
        "host": provider.url.removeprefix("http://"),
        "authorization": "Bearer public-web-token",
        "user-agent": "StepOne/1.0",
        "accept-language": "en-US",
        "x-guest-token": "1790000000000000001",
        "x-client-transaction-id": "txn+/=",
        "x-twitter-active-user": "yes",
        "x-twitter-client-language": "en",
        "cookie": "guest_id=v1%3A179; att=1-att",
        "content-type": "application/json",
        "origin": "https://x.com",
        "referer": "https://x.com/",
    }


async def test_the_token_of_a_session_is_sent_only_if_there_is_one() -> None:
    """Inventing a ``ct0`` is answered with error 399; leaving out a real one with 353."""
    _, provider = await say(*PASSED, cookies=[CT0])
    assert provider.heard[0].headers["x-csrf-token"] == "csrf-guest"
    assert provider.heard[0].headers["x-twitter-auth-type"] == "OAuth2Session"
    assert provider.heard[0].headers["cookie"] == "ct0=csrf-guest"
    assert provider.heard[1].headers["x-csrf-token"] == "csrf-new"


async def test_the_guest_token_may_come_from_its_cookie() -> None:
    """A browser never asks for it; the page sets ``gt``."""
    cookies = [{"name": "gt", "value": "179"}]
    _, provider = await say(*PASSED, guest_token="", transaction_id="", cookies=cookies)
    assert provider.heard[0].headers["x-guest-token"] == "179"
    assert "x-client-transaction-id" not in provider.heard[0].headers


async def test_the_link_is_the_one_the_challenge_gave() -> None:
    """Echoed, whatever it is; a browser's castle token goes along if there is one."""
    _, provider = await say(*PASSED, link_id="other_link", castle_token="castle")
    sent = json.loads(provider.heard[0].body)["subtask_inputs"][0]["enter_text"]
    assert sent == {"text": CODE, "link": "other_link", "castle_token": "castle"}


async def test_spaces_and_dashes_of_a_typed_code_are_left_out_and_zeros_kept() -> None:
    """An inner space makes a good code fail; so would a number without its zero."""
    _, provider = await say(*PASSED, code=" 048-2 13 ")
    assert b'"text":"048213"' in provider.heard[0].body


async def test_without_a_deployments_address_the_flow_goes_to_the_providers_own_host() -> None:
    """A context names none; the deployment may set another."""

    class Silent:
        """Catches the address and answers nothing useful."""

        code_sent = False
        url = ""

        async def send_code(self, request: CodeRequest) -> Reply:
            self.url = request.url
            return Reply(status=500, headers={})

        async def fetch(self, request: Any) -> Reply:
            raise NotImplementedError

    async def address(base_url: str) -> str:
        silent = Silent()
        checkpoint = Checkpoint(type="2FA", source="APP")
        challenge = Challenge(checkpoint=checkpoint, context=context(), base_url=base_url)
        with pytest.raises(ProviderBrokenError):
            await Twitter().verify(challenge, silent)
        return silent.url

    other, task = "http://127.0.0.1:1", "/1.1/onboarding/task.json"
    assert await address(Twitter.default_url) == "https://api.x.com" + task
    assert await address(other) == other + task


@pytest.mark.parametrize("typed", ["123456 654321", "123456-654321", "123456\n654321."])
def test_two_codes_are_no_backup_code(typed: str) -> None:
    """Together they are as long as one, and which of the two is meant nobody knows."""
    with pytest.raises(InvalidRequestError):
        check_code(typed, Twitter.code_formats["APP"])
    assert check_code("a1b2c3 d4e5f6", Twitter.code_formats["APP"]) == "a1b2c3d4e5f6"
    assert check_code("123 456", Twitter.code_formats["APP"]) == "123456"


# An address instead of a code ----------------------------------------------------------

ASKS_ADDRESS = {**ACID, "hint_text": "Phone or email"}


@pytest.mark.parametrize("source", ["EMAIL", "SMS", "APP", "BACKUP"])
async def test_a_code_is_never_sent_to_a_step_that_asks_for_an_address(source: str) -> None:
    """Only the hint "Confirmation code" asks for one; the try would be lost."""
    await fail(ActionRequiredError, base=ASKS_ADDRESS, source=source, sent=0)


@pytest.mark.parametrize("typed", ["048213", "abc123def456", "person", "048-213"])
async def test_what_is_no_address_is_not_sent_as_one(typed: str) -> None:
    """Looked at when the solution is in the clear, which is before the first byte."""
    await fail(InvalidRequestError, base=ASKS_ADDRESS, source="ADDRESS", sent=0, code=typed)


@pytest.mark.parametrize("typed", ["someone@example.test", "(+33)0612345678", "+1 555-0100-99"])
async def test_an_address_is_sent_where_the_checkpoint_asks_for_one(typed: str) -> None:
    """As it was typed: taking its dashes out could make it another one."""
    verdict, provider = await say(*PASSED, base=ASKS_ADDRESS, source="PHONE", code=typed)
    assert isinstance(verdict, Cleared)
    inputs = json.loads(provider.heard[0].body)["subtask_inputs"]
    assert inputs == [
        {"subtask_id": "LoginAcid", "enter_text": {"text": typed, "link": "next_link"}}
    ]


@pytest.mark.parametrize("base", [OCF, ACID])
async def test_an_address_is_never_sent_as_a_code(base: dict[str, Any]) -> None:
    """Where the source is unknown nobody has looked at the solution before."""
    await fail(
        InvalidRequestError, base=base, source="NEWKIND", sent=0, code="someone@example.test"
    )


async def test_a_code_after_an_address_is_a_further_checkpoint() -> None:
    """The same subtask, but it asks for another thing."""
    answers = [said(flow({"subtask_id": "LoginAcid", **enter_text(lead="Check your email")}))]
    verdict, _ = await say(
        *answers, base=ASKS_ADDRESS, source="ADDRESS", code="someone@example.test"
    )
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint == Checkpoint(type="OTP", source="EMAIL")


# The context ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (OCF, {"flow_token": ""}),
        (OCF, {"app": {}}),
        (OCF, {"app": {"bearer_token": ""}}),
        (OCF, {"guest_token": ""}),
        (OCF, {"subtask_id": "LoginEnterPassword"}),
        (OCF, {"surprise": "x"}),
        (JETFUEL, {"surprise": "x"}),
        (JETFUEL, {"session_token": "x" * 257}),
    ],
)
def test_an_unfit_context_is_refused_at_the_door(
    base: dict[str, Any], changes: dict[str, object]
) -> None:
    """Before anything is stored, and without a word of what was wrong with it."""
    with pytest.raises(ValidationError) as caught:
        context(base, **changes)
    assert "public-web-token" not in str(caught.value)
    assert "xxx" not in str(caught.value)


# Success -------------------------------------------------------------------------------


async def test_a_session_cookie_is_success_and_the_flow_is_closed() -> None:
    """``auth_token`` decides; closing makes the provider set the final ``ct0``."""
    closed = said(flow(token=LATER), "Set-Cookie: ct0=csrf-final; Path=/")
    verdict, provider = await say(PASSED[0], closed)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"
    session = json.loads(json.dumps(verdict.session))
    cookies = {cookie["name"]: cookie["value"] for cookie in session["cookies"]}
    assert cookies["auth_token"] == "secretsession"
    assert cookies["guest_id"] == "v1%3A179"
    assert session["csrf_token"] == cookies["ct0"] == "csrf-final"
    assert "secretsession" not in repr(verdict)
    assert len(provider.heard) == 2
    closing = provider.heard[1]
    assert closing.request_line == "POST /1.1/onboarding/task.json HTTP/1.1"
    assert json.loads(closing.body) == {"flow_token": NEXT, "subtask_inputs": []}
    assert closing.headers["x-csrf-token"] == "csrf-new"
    assert "auth_token=secretsession" in closing.headers["cookie"]


async def test_the_question_for_other_accounts_is_answered_when_it_is_asked() -> None:
    """Server-driven, without the code; the session comes with its answer."""
    verdict, provider = await say(said(flow(CHECK)), said(flow(OPEN), *SESSION), PASSED[1])
    assert isinstance(verdict, Cleared)
    assert len(provider.heard) == 3
    assert json.loads(provider.heard[1].body) == {
        "flow_token": NEXT,
        "subtask_inputs": [
            {
                "subtask_id": "AccountDuplicationCheck",
                "check_logged_in_account": {"link": "AccountDuplicationCheck_false"},
            }
        ],
    }
    assert len(provider.carrying(CODE)) == 1


@pytest.mark.parametrize(
    "subtasks", [[], [{"subtask_id": "X", "open_home_timeline": {}}], [{"end_flow": {}}]]
)
async def test_other_endings_of_the_flow_are_not_answered(subtasks: list[object]) -> None:
    """Nothing is asked there; the cookie says all."""
    verdict, provider = await say(said(flow(*subtasks), *SESSION))
    assert isinstance(verdict, Cleared)
    assert len(provider.heard) == 1


async def test_apps_get_tokens_instead_of_cookies() -> None:
    """The mobile flavour of ``open_account`` is a session of its own."""
    tokens = {"oauth_token": "4711-a", "oauth_token_secret": "b", "known_device_token": "k"}
    account = {"user": {"id_str": "4711", "screen_name": "someone"}, **tokens}
    opened = {"subtask_id": "LoginSuccessSubtask", "open_account": account}
    verdict, _ = await say(said(flow(opened)), PASSED[1])
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"
    assert {name: verdict.session[name] for name in tokens} == tokens
    assert verdict.session["screen_name"] == "someone"


TWID = "Set-Cookie: twid={}; Path=/"


@pytest.mark.parametrize(
    ("subtask", "cookies"),
    [
        (OPEN, SESSION[:2]),
        ({"subtask_id": "Done"}, [*SESSION[:2], TWID.format("u%3D4711")]),
        ({"subtask_id": "Done"}, [*SESSION[:2], TWID.format('"u=4711"')]),
        ({"subtask_id": "Done", "deep": [{"user": {"id_str": "4711"}}]}, SESSION[:2]),
        ({"subtask_id": "Done", "deep": {"id_str": "12"}}, SESSION),
    ],
)
async def test_the_account_is_found_where_it_stands(subtask: object, cookies: list[str]) -> None:
    """``open_account``, then ``twid``, then the first id of the answer."""
    verdict, _ = await say(said(flow(subtask), *cookies), PASSED[1])
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"


async def test_if_nothing_names_the_account_the_provider_is_asked() -> None:
    """With the new session, and more than once if it does not answer: no code is in it."""
    me = said({"id_str": "4711"})
    answers = [said(flow(), *SESSION[:2]), answer(503), answer(502), me]
    verdict, provider = await say(*answers)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"
    asked = provider.heard[1]
    assert asked.request_line == "GET /1.1/account/verify_credentials.json HTTP/1.1"
    assert asked.headers["x-csrf-token"] == "csrf-new"
    assert asked.headers["x-twitter-auth-type"] == "OAuth2Session"
    assert "x-guest-token" not in asked.headers
    assert "auth_token=secretsession" in asked.headers["cookie"]
    assert len(provider.carrying(CODE)) == 1


@pytest.mark.parametrize(
    "me",
    [
        said({}),
        said([]),
        said({"id_str": ""}),
        said({"id_str": "x"}),
        answer(200, "<html>"),
        error(32, status=401),
        said({"id_str": "4711"}, "Set-Cookie: auth_token=; Max-Age=0"),
    ],
)
async def test_a_success_without_an_account_is_the_providers_fault(me: bytes) -> None:
    """Nobody may be connected to an account whose owner is not known."""
    await fail(UnreadableAnswerError, said(flow(), *SESSION[:2]), me)


async def test_asking_whose_account_it_is_has_a_bound() -> None:
    """Every loop has one."""
    failure = await fail(
        UnreadableAnswerError, said(flow(), *SESSION[:2]), *[answer(503)] * ME_ASKED_MAX
    )
    assert isinstance(failure.__cause__, ServiceUnavailableError)


async def test_two_accounts_in_one_success_are_a_contradiction() -> None:
    """Either could be the wrong one."""
    cookies = (*SESSION[:2], TWID.format("u%3D4712"))
    await fail(UnreadableAnswerError, said(flow(OPEN), *cookies), PASSED[1])


async def test_another_account_than_the_challenge_named_is_told_as_it_is() -> None:
    """Who is expected is the intent's to know; the adapter says who came."""
    verdict, _ = await say(*PASSED, user_id="1")
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == "4711"


async def test_a_session_outlives_what_goes_wrong_when_the_flow_is_closed() -> None:
    """The login was complete before; the closing is a courtesy."""
    for last in (answer(500), answer(200, "<html>"), error(131, status=500), error(399)):
        verdict, provider = await say(PASSED[0], *[last] * ASKED_MAX)
        assert isinstance(verdict, Cleared)
        assert len(provider.carrying(CODE)) == 1


async def test_a_session_that_is_taken_back_is_none() -> None:
    """Also when it is the last thing the provider says."""
    closed = said(flow(token=LATER), "Set-Cookie: auth_token=x; Path=/; Max-Age=0")
    await fail(UnreadableAnswerError, PASSED[0], closed)


async def test_a_hiccup_after_the_code_is_ridden_out_a_bounded_number_of_times() -> None:
    """The code is spent by then; what follows carries none and may be repeated."""
    check = said(flow(CHECK))
    verdict, provider = await say(check, answer(503), answer(500), *PASSED)
    assert isinstance(verdict, Cleared)
    assert len(provider.carrying(CODE)) == 1
    await fail(ServiceUnavailableError, check, *[answer(503)] * ASKED_MAX)


async def test_a_silence_after_the_code_is_not_asked_again() -> None:
    """The flow may have moved on: its old token would be answered as a dead one."""
    async with Canned(said(flow(CHECK))) as provider:
        with pytest.raises(ProviderTimeoutError):
            await attempt(Twitter(), provider.url, context(), CODE)
        assert len(provider.heard) == 2


async def test_a_flow_that_goes_round_in_circles_ends() -> None:
    """Every loop has a bound."""
    circle = [said(flow(CHECK))] * (FOLLOW_UPS_MAX + 5)
    async with Canned(*circle) as provider:
        with pytest.raises(UnreadableAnswerError):
            await attempt(Twitter(), provider.url, context(), CODE)
        assert len(provider.heard) == FOLLOW_UPS_MAX + 1
        assert len(provider.carrying(CODE)) == 1


# The session that is handed over -------------------------------------------------------


async def test_the_session_has_what_a_client_needs_to_go_on() -> None:
    """Cookies with what was said of them, the headers of the site, and how the login was made."""
    device, headers = {"id": "d"}, {"Accept-Language": "de", "sec-ch-ua-platform": '"Linux"'}
    verdict, provider = await say(*PASSED, device=device, headers=headers)
    assert isinstance(verdict, Cleared)
    session = json.loads(json.dumps(verdict.session))
    assert {name: session[name] for name in ("provider", "user_id", "user_agent", "device")} == {
        "provider": "TWITTER",
        "user_id": "4711",
        "user_agent": "StepOne/1.0",
        "device": device,
    }
    assert session["app"] == COMMON["app"]
    auth = next(each for each in session["cookies"] if each["name"] == "auth_token")
    assert auth == {
        "name": "auth_token",
        "value": "secretsession",
        "domain": ".x.com",
        "path": "/",
        "expires": None,
        "secure": True,
        "httpOnly": True,
        "sameSite": None,
    }
    assert session["headers"] == {
        "authorization": "Bearer public-web-token",
        "x-csrf-token": "csrf-new",
        "x-twitter-auth-type": "OAuth2Session",
        "x-twitter-active-user": "yes",
        "x-twitter-client-language": "en",
        **headers,
    }
    for heard in provider.heard:
        assert heard.headers["accept-language"] == "de"
        assert heard.headers["sec-ch-ua-platform"] == '"Linux"'


@pytest.mark.parametrize("token", ["t0ken", "Bearer t0ken", "bearer  t0ken ", " t0ken"])
async def test_the_apps_token_may_be_given_as_its_header_has_it(token: str) -> None:
    """Clients keep it with the word in front, which must not stand there twice."""
    _, provider = await say(*PASSED, app={"bearer_token": token})
    assert provider.heard[0].headers["authorization"] == "Bearer t0ken"


async def test_a_token_that_is_not_set_is_made_as_the_site_makes_it() -> None:
    """In cookie and header alike, for the hosts of the session; the provider's own replaces it."""
    answers = [said(flow(), *NO_TOKEN), said({"id_str": "4711", "screen_name": "someone"})]
    verdict, provider = await say(*answers)
    assert isinstance(verdict, Cleared)
    made = provider.heard[1].headers["x-csrf-token"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert f"ct0={made}" in provider.heard[1].headers["cookie"]
    assert verdict.session["csrf_token"] == made
    assert verdict.session["screen_name"] == "someone"
    again, _ = await say(*answers)
    assert isinstance(again, Cleared)
    assert again.session["csrf_token"] != made

    given, _ = await say(answers[0], said({"id_str": "4711"}, SET_TOKEN))
    assert isinstance(given, Cleared)
    assert given.session["csrf_token"] == "csrf-set"


async def test_before_the_login_is_complete_no_token_is_made() -> None:
    """An invented one is answered with error 399."""
    _, provider = await say(said(flow(CHECK)), *PASSED)
    assert "x-csrf-token" not in provider.heard[0].headers
    assert "x-csrf-token" not in provider.heard[1].headers


@pytest.mark.parametrize("first", [said(flow(OPEN), *SESSION), said(flow(), *NO_TOKEN)])
async def test_a_courtesy_does_not_take_the_time_of_the_login(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closing, and showing a made token: a provider that does not answer costs no session."""
    monkeypatch.setattr("checkpoint_worker.providers.twitter.adapter.COURTESY_S", 0.05)
    monkeypatch.setattr("checkpoint_worker.providers.twitter.session.COURTESY_S", 0.05)

    async def first_alone(peer: Peer) -> None:
        if CODE.encode() in await peer.request():
            await peer.say(first)
        await peer.end()

    async with serving(first_alone) as server:
        verdict = await attempt(Twitter(), server.url, context(), CODE)
    assert isinstance(verdict, Cleared)
    assert verdict.session["csrf_token"]
    assert server.errors == []


async def test_whose_login_it_is_is_asked_again_after_silence() -> None:
    """The request has no code in it, and without its answer the login is lost."""
    answers = [said(flow(), *SESSION[:2]), b"", answer(503), b"", said({"id_str": "4711"})]
    verdict, provider = await say(*answers)
    assert isinstance(verdict, Cleared)
    assert len(provider.heard) == len(answers)
    assert len(provider.carrying(CODE)) == 1


async def test_a_flood_of_cookies_drowns_no_session() -> None:
    """A context holds 200; what a login needs is not among those that go."""
    flood = [f"Set-Cookie: extra{number}=x; Path=/" for number in range(300)]
    verdict, _ = await say(said(flow(), *SESSION, *flood))
    assert isinstance(verdict, Cleared)
    session = json.loads(json.dumps(verdict.session))
    kept = {each["name"] for each in session["cookies"]}
    assert len(kept) == 200
    assert {"auth_token", "ct0", "twid", "guest_id", "att", "extra299"} <= kept


async def test_what_people_write_about_themselves_names_no_source() -> None:
    """The subtask has the account in its header, with its name and description."""
    part = enter_text("Confirmation code", "Check your email")
    part["enter_text"]["header"]["user"]["description"] = "I back up. Backup codes, text messages."
    verdict, _ = await say(step("LoginAcid", **part))
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint == Checkpoint(type="OTP", source="EMAIL")


@pytest.mark.parametrize("typed", ["048213", "someone@example.test", "(+33)0612345678"])
async def test_a_step_that_says_nothing_takes_what_was_typed(typed: str) -> None:
    """Where neither checkpoint nor hint says what is asked for, the person knows best."""
    base = {**ACID, "hint_text": ""}
    verdict, provider = await say(*PASSED, base=base, source="NEWKIND", code=typed)
    assert isinstance(verdict, Cleared)
    sent = json.loads(provider.heard[0].body)["subtask_inputs"][0]["enter_text"]
    assert sent["text"] == typed


def acid(hint: str, **enter: Any) -> dict[str, Any]:
    """Build the subtask that asks for an address or a code."""
    return {"subtask_id": "LoginAcid", **enter_text(hint, **enter)}


@pytest.mark.parametrize("following", [acid("Confirmation code"), acid("", keyboard_type="number")])
async def test_an_address_that_was_taken_is_not_refused(following: dict[str, Any]) -> None:
    """The step said nothing, took the address and sent a code: that code is what comes next."""
    base = {**ACID, "hint_text": ""}
    verdict, _ = await say(
        said(flow(following)), base=base, source="ADDRESS", code="someone@example.test"
    )
    assert isinstance(verdict, NextCheckpoint)


async def test_an_address_that_was_not_taken_is_refused() -> None:
    """The same step again, which says as little as before."""
    base = {**ACID, "hint_text": ""}
    verdict, _ = await say(
        said(flow(acid(""))), base=base, source="ADDRESS", code="someone@example.test"
    )
    assert isinstance(verdict, Rejected)


async def test_a_step_for_another_address_needs_the_person() -> None:
    """The first one was taken."""
    base = {**ACID, "hint_text": "Email address"}
    async with Canned(said(flow(acid("Phone number")))) as provider:
        with pytest.raises(ActionRequiredError):
            await attempt(
                Twitter(),
                provider.url,
                context(base),
                "someone@example.test",
                checkpoint={"type": "OTP", "source": "ADDRESS"},
            )


@pytest.mark.parametrize("text", ["Something went wrong.", "Too many attempts. Try later."])
async def test_a_notice_before_the_same_step_may_judge_no_code(text: str) -> None:
    """No try is counted; the flow's new token is kept."""
    toast = {"subtask_id": "x", "in_app_notification": {"message": {"text": text}}}
    again = {"subtask_id": OCF["subtask_id"], **enter_text("Enter code")}
    failure = await fail(ProviderBrokenError, said(flow(toast, again, token=LATER)))
    assert isinstance(failure.context, OcfContext)
    assert failure.context.flow_token == LATER


@pytest.mark.parametrize("first", [answer(200, "<html>x</html>"), answer(403, "x"), answer(429)])
async def test_one_failure_on_the_way_to_the_accounts_name_loses_no_login(first: bytes) -> None:
    """The request carries no code."""
    verdict, provider = await say(
        said(flow(), *SESSION[:2]), first, *[said({"id_str": "4711"})] * 2
    )
    assert isinstance(verdict, Cleared)
    assert len(provider.carrying(CODE)) == 1


async def test_a_further_step_keeps_what_it_offers_instead() -> None:
    """Source words of ours, for a backend that asks for another way then."""
    offered = {"subtask_id": "LoginTwoFactorAuthChallenge", **enter_text("Enter code")}
    verdict, _ = await say(said(flow(offered, CHOOSE)), base=ACID, source="EMAIL")
    assert isinstance(verdict, NextCheckpoint)
    assert isinstance(verdict.context, OcfContext)
    assert verdict.context.methods == ("APP", "BACKUP")
    challenge = Challenge(checkpoint=verdict.checkpoint, context=verdict.context, base_url="")
    assert Twitter().ways(challenge) == ("APP", "BACKUP")


# Failures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [
        error(399, "SMS codes are for X Premium."),
        error(1, "Text messages need Twitter Blue."),
        error(399, "Subscribe to use text messages.", 200),
        deny("Get Premium", "Only subscribers can use text messages."),
    ],
)
async def test_text_messages_may_need_a_subscription(told: bytes) -> None:
    """Only for them: at another source the words are advertising."""
    await fail(SubscriptionRequiredError, told, source="SMS")
    with pytest.raises(ProviderFailure) as caught:
        await say(told, source="APP")
    assert not isinstance(caught.value, SubscriptionRequiredError)


async def test_how_long_to_wait_is_told_to_the_caller() -> None:
    """A number of seconds, from either header; nothing else of them is passed on."""
    failure = await fail(ProviderBrokenError, error(88, "", 429, "Retry-After: 60"))
    assert "60 s" in str(failure.detail)
    reset = int(time.time()) + 90
    failure = await fail(ProviderBrokenError, error(88, "", 400, f"x-rate-limit-reset: {reset}"))
    assert any(f"wait {left} s" in str(failure.detail) for left in range(60, 91))


async def test_a_failure_hands_back_what_came_with_it() -> None:
    """A person who solves the captcha and comes back needs token and jar as they were left."""
    subtask = {"subtask_id": "ArkoseLogin", "web_modal": {}}
    failure = await fail(ActionRequiredError, said(flow(subtask), "Set-Cookie: att=2-new; Path=/"))
    assert isinstance(failure.context, OcfContext)
    assert failure.context.flow_token == NEXT
    assert failure.context.cookies[-1].value == "2-new"


# A refused code ------------------------------------------------------------------------

REFUSALS = {
    f"{each.name[:40]} {way}": told
    for each in CASES
    if each.becomes == REFUSED
    for way, told in each.answers.items()
    if isinstance(told, bytes)
}
WRONG = error(399, "Incorrect. Please try again.")


@pytest.mark.parametrize("told", REFUSALS.values(), ids=REFUSALS)
async def test_a_refused_code_hands_back_the_flows_next_token(told: bytes) -> None:
    """Every answer issues one and the old one is stale; errors hide it behind their message."""
    verdict, provider = await say(told)
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, OcfContext)
    assert verdict.context.flow_token == NEXT
    assert len(provider.heard) == 1
    Twitter.contexts["ocf"].model_validate(verdict.context.model_dump())


@pytest.mark.parametrize(
    "tail",
    ["", " g;1:-2:Other:9", " g;17612:-1755527345321:NxTWvWL3tKwZ1X1:6", " g;nonsense"],
)
async def test_a_token_that_is_not_the_flows_next_one_is_not_kept(tail: str) -> None:
    """An error may say another flow's, an older one or none at all."""
    body = {"errors": [{"code": 399, "message": f"Incorrect. Please try again.{tail}"}]}
    verdict, _ = await say(said(body, status=400))
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, OcfContext)
    assert verdict.context.flow_token == TOKEN


async def test_the_token_behind_a_message_is_no_part_of_it() -> None:
    """It is random, so any word may stand in it."""
    body = {"errors": [{"code": 399, "message": "Incorrect. g;17612:-17:suspended:8"}]}
    verdict, _ = await say(said(body, status=400))
    assert isinstance(verdict, Rejected)


async def test_a_castle_token_is_not_used_twice() -> None:
    """It works once; the next try goes without one."""
    verdict, _ = await say(WRONG, castle_token="castle")
    assert isinstance(verdict, Rejected)
    assert isinstance(verdict.context, OcfContext)
    assert verdict.context.castle_token == ""


CUT = b"HTTP/1.1 200 OK\r\nSet-Cookie: ct0=csrf-next; Path=/\r\nContent-Length: 900\r\n\r\n{"


@pytest.mark.parametrize(("answered", "token"), [(CUT, "csrf-next"), (b"", "csrf-guest")])
async def test_an_answer_that_is_cut_short_changes_the_context_too(
    answered: bytes, token: str
) -> None:
    """Its cookies hold for the next code, and the castle token went out with this one."""
    with pytest.raises(ProviderFailure) as caught:
        await say(answered, cookies=[CT0], castle_token="castle")
    held = caught.value.context
    assert isinstance(held, OcfContext)
    assert {each.name: each.value for each in held.cookies}["ct0"] == token
    assert held.castle_token == ""


async def test_a_castle_token_that_was_not_sent_is_kept() -> None:
    """It works once, and no connection was made for it."""
    async with Canned() as provider:
        url = provider.url
    with pytest.raises(ProviderFailure) as caught:
        await attempt(Twitter(), url, context(castle_token="castle"), CODE)
    assert caught.value.context is None


async def test_a_code_that_was_taken_cannot_be_refused_later() -> None:
    """401 means that this code was judged; a later error says nothing of it."""
    await fail(UnreadableAnswerError, said(flow(CHECK)), WRONG)


# A further step ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "subtask", "lead", "expected"),
    [
        (OCF, "LoginAcid", "Check your email", Checkpoint(type="OTP", source="EMAIL")),
        (OCF, "LoginAcid", "We texted your phone", Checkpoint(type="OTP", source="SMS")),
        (OCF, "LoginAcid", "", Checkpoint(type="OTP", source=None)),
        (
            ACID,
            "LoginTwoFactorAuthChallenge",
            "Use your authenticator app",
            Checkpoint(type="2FA", source="APP"),
        ),
        (
            ACID,
            "LoginTwoFactorAuthChallenge",
            "Enter your backup code",
            Checkpoint(type="2FA", source="BACKUP"),
        ),
        (
            ACID,
            "LoginTwoFactorAuthChallenge",
            "We sent a text message",
            Checkpoint(type="2FA", source="SMS"),
        ),
    ],
)
async def test_another_step_that_takes_a_code_is_a_further_checkpoint(
    base: dict[str, Any], subtask: str, lead: str, expected: Checkpoint
) -> None:
    """Its token, hint and link are the next context, which is fit to be sent."""
    part = enter_text("confirmation CODE", lead, next_link={"link_id": "other"})
    verdict, _ = await say(step(subtask, **part), base=base, source="SMS")
    assert isinstance(verdict, NextCheckpoint)
    assert verdict.checkpoint == expected
    held = verdict.context
    assert isinstance(held, OcfContext)
    assert (held.flow_token, held.subtask_id, held.link_id) == (NEXT, subtask, "other")
    assert not held.asks_for_address


async def test_a_further_step_after_the_question_for_other_accounts_is_one_too() -> None:
    """The flow decides the order."""
    acid = said(flow({"subtask_id": "LoginAcid", **enter_text()}, token=LATER))
    verdict, _ = await say(said(flow(CHECK)), acid)
    assert isinstance(verdict, NextCheckpoint)
    assert isinstance(verdict.context, OcfContext)
    assert verdict.context.flow_token == LATER


# The newer login -----------------------------------------------------------------------


@pytest.mark.parametrize("held", [JETFUEL, {"route": "jetfuel"}], ids=["full", "bare"])
@pytest.mark.parametrize("solution", SolutionKind)
async def test_the_newer_login_is_refused_before_anybody_is_spoken_to(
    held: dict[str, Any], solution: SolutionKind
) -> None:
    """It is bound to its browser, so the code stays unused, whatever of it is known here.

    The listener is never asked to accept: a connection would be waiting in its queue. That
    one would be seen is tried on it afterwards.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(ActionRequiredError) as caught:
            await attempt(Twitter(), url, context(held), CODE, solution=solution)
        with pytest.raises(BlockingIOError):
            listener.accept()
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()
    failure = caught.value
    assert (failure.status, failure.type) == (403, "action_required")
    assert "bound to the browser" in str(failure.detail)
    assert "`live_session`" in str(failure.detail)
    assert failure.context is None
    shown = "".join(traceback.format_exception(failure))
    assert not [secret for secret in (CODE, "castle-one", "5f0c", "4711") if secret in shown]


async def test_the_newer_login_does_not_claim_the_code() -> None:
    """An unclaimed code is ``code_sent: false``, and nothing of it is lost."""
    claims: list[None] = []

    async def claim() -> ClaimTicket:
        claims.append(None)
        raise ExchangeRefusedError

    async with Canned() as provider:
        exchange = HttpExchange(claim=claim, connect_timeout_s=1.0)
        challenge = Challenge(
            checkpoint=Checkpoint(type="2FA", source="APP"),
            context=context(JETFUEL),
            base_url=provider.url,
        )
        with pytest.raises(ActionRequiredError):
            await Twitter().verify(challenge, exchange)
        assert not exchange.code_sent
        assert provider.heard == []
    assert claims == []


async def test_a_retired_flow_is_a_dead_intent_and_no_newer_login() -> None:
    """The older flow answers 366 where the newer one took its place; the login starts again."""
    told = error(366, "flow name LoginFlow is currently not accessible")
    failure = await fail(DeadIntentError, told)
    assert (failure.status, failure.type) == (500, "authentication_intent_error")
    assert "must start again" in str(failure.detail)


# Hostile answers -----------------------------------------------------------------------


async def test_what_is_beyond_the_bounds_of_a_context_is_not_kept() -> None:
    """Else the next submission would find a context that it may not use."""
    await fail(UnreadableAnswerError, said(flow({"subtask_id": "X"}, token="g" * 2000)))
    part = enter_text("h" * 2000)
    await fail(UnreadableAnswerError, said(flow({"subtask_id": "LoginAcid", **part})))


async def test_hostile_answers_end_quickly() -> None:
    """They are read on the loop that serves everybody."""
    spaces = " " * 500_000
    body = {"errors": [{"code": 5, "message": spaces + "g;"}] * 4}
    started = time.monotonic()
    await fail(UnreadableAnswerError, said(body, status=400))
    body = {"errors": [{"code": 5, "message": "required input " * 50_000}] * 4}
    await fail(UnreadableAnswerError, said(body, status=400))
    assert time.monotonic() - started < 30  # Seconds; without bounds it is hours.


# With the simulated provider -----------------------------------------------------------


async def test_an_address_clears_a_checkpoint_that_asks_for_one(sandbox: Sandbox) -> None:
    """And a code for it is not sent."""
    account, login = begin(sandbox, "TWITTER", kind="address")
    assert login.checkpoint == {"type": "OTP", "source": "ADDRESS"}
    with pytest.raises(InvalidRequestError):
        await solve(sandbox, login, "123456")
    assert sandbox.sends == []
    refused = await solve(sandbox, login, "somebody@else.test")
    assert isinstance(refused, Rejected)
    verdict = await solve(sandbox, login, account.username, refused)
    assert isinstance(verdict, Cleared)


async def test_a_strangers_account_is_told_by_its_own_id(sandbox: Sandbox) -> None:
    """The intent knows who was expected and says 403 ``account_mismatch``."""
    account, login = begin(sandbox, "TWITTER", kind="stranger")
    verdict = await solve(sandbox, login, account.current_code())
    assert isinstance(verdict, Cleared)
    assert verdict.user_id != login.user_id


async def test_an_app_login_ends_with_its_tokens(sandbox: Sandbox) -> None:
    """No cookie is set in that flavour."""
    account, login = begin(sandbox, "TWITTER", kind="mobile")
    verdict = await solve(sandbox, login, account.current_code())
    assert isinstance(verdict, Cleared)
    assert verdict.session["oauth_token_secret"]


@pytest.mark.parametrize("source", ["EMAIL", "SMS", "APP", "BACKUP"])
async def test_a_simulated_newer_login_is_recognised_and_nothing_is_sent(
    sandbox: Sandbox, source: str
) -> None:
    """Its context opens an intent like any other; the provider hears nothing of the code."""
    account, login = begin(sandbox, "TWITTER", source, "jetfuel")
    assert login.context["route"] == "jetfuel"
    code = account.current_code()
    with pytest.raises(ActionRequiredError):
        await solve(sandbox, login, code)
    assert sandbox.sends == []
    assert sandbox.count(code) == 0
