"""The bridges on stand-ins of the libraries' objects, which have their attributes and no more.

`test_libraries` runs the libraries themselves. Here each stand-in is made of a recorded state.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http.cookiejar import Cookie, CookieJar
from types import SimpleNamespace as Has
from typing import Any, Final, cast

import aiohttp
import pytest

from checkpoint_worker.providers import bridges
from checkpoint_worker.providers.bridges import linkedin, twikit
from checkpoint_worker.providers.bridges.forms import as_tough, cookies_of, fill_aiohttp, values
from checkpoint_worker.providers.contract import Checkpoint
from checkpoint_worker.tasks.operations.validation import read_context
from tests.support.library_cases import Case, bridge_of
from tests.unit.test_bridges import CASES, LOGIN, SESSION, recorded

State = dict[str, Any]


class Jar(CookieJar):
    """A jar with the one method that requests adds."""

    def set(self, name: str, value: str, *, domain: str = "", path: str = "/") -> None:
        """Keep a cookie."""
        rest: dict[str, str] = {}
        given = (0, name, value, None, False, domain, True, False, path, True, False, None)
        self.set_cookie(Cookie(*given, True, None, None, rest))

    @property
    def pairs(self) -> dict[str, str | None]:
        """Names and values."""
        return {each.name: each.value for each in self}


def jar_of(cookies: object) -> Jar:
    """Return a jar with the cookies of a state."""
    jar = Jar()
    for each in cookies_of(cookies):
        jar.set(each["name"], each["value"])
    return jar


def loop_jar(state: State) -> aiohttp.CookieJar:
    """Return aiohttp's jar, in which a value keeps the quotes that it came with."""
    jar = aiohttp.CookieJar(unsafe=True)
    bare = [{**each, "domain": "", "path": "/"} for each in cookies_of(state.get("cookies"))]
    fill_aiohttp(jar, {"cookies": bare})
    return jar


def instagrapi(state: State) -> Any:
    """Return a ``Client``."""
    path = state.get("challenge_path") or "/"
    client = Has(
        private=Has(cookies=jar_of(state.get("jar") or state["cookies"])),
        app_id=state["app_id"],
        base_headers={**state.get("headers", {}), "User-Agent": "x", "X-Pigeon-Rawclienttime": "1"},
        bloks_versioning_id=state.get("bloks_versioning_id"),
        username=state.get("username"),
        last_json=state.get("last_json"),
        last_response=Has(url=f"https://i.instagram.com{path}"),
        settings={},
    )
    client.get_settings = lambda: {
        name: value for name, value in state.items() if name not in {"jar", "last_json", "headers"}
    }
    client.set_settings = client.settings.update
    return client


def instaloader(state: State) -> Any:
    """Return an ``Instaloader`` whose login waits for its code."""
    session = Has(headers={"User-Agent": state["user_agent"]}, cookies=jar_of(state["cookies"]))
    context = Has(
        username=None,
        two_factor_auth_pending=(session, state["username"], state["two_factor_identifier"]),
        _session=Has(headers={}),
        loaded=[],
    )
    context.load_session = lambda *said: context.loaded.append(said)
    return Has(context=context)


def linkedin_messaging(state: State) -> Any:
    """Return a ``LinkedInMessaging``."""
    session = Has(headers={"user-agent": state["user_agent"]}, cookie_jar=loop_jar(state))
    return Has(session=session, two_factor_payload=state["two_factor_payload"])


def android_state(state: State, **more: Any) -> Any:
    """Return an ``AndroidState`` of either mautrix library."""
    left_out = {"user_agent", "cookies", *more}
    return Has(
        serialize=lambda: {key: each for key, each in state.items() if key not in left_out},
        user_agent=state["user_agent"],
        device=Has(uuid="u", id="i", phone_id="p"),
        session=Has(),
        cookies=Has(jar=loop_jar(state)),
        **more,
    )


def maufbapi(state: State) -> Any:
    """Return its ``AndroidState``."""
    return android_state(state, application=Has(**state["application"]))


def mauigpapi(state: State) -> Any:
    """Return its ``AndroidState``; the constants stand in capitals."""
    app = state["application"]
    constants = {
        "FACEBOOK_ANALYTICS_APPLICATION_ID": app.get("app_id"),
        "BLOKS_VERSION_ID": app.get("bloks_version_id"),
        "CAPABILITIES": app.get("capabilities"),
    }
    return android_state(state, application=Has(**constants))


def tweety(state: State) -> Any:
    """Return a ``Twitter``; the constants stand in a module of the library."""
    session = Has(cookies=jar_of(state["cookies"]))
    made = Has(generate_transaction_id=lambda _method, _path: state["transaction_id"])
    request = Has(_guest_token=state["guest_token"], session=session, _transaction=made)
    return Has(_last_json=state["answer"], request=request, session=Has())


def twikit_client(state: State) -> Any:
    """Return a ``Client``."""
    transaction = Has(
        home_page_response=bool(state["transaction_id"]),
        generate_transaction_id=lambda _method, _path: state["transaction_id"],
    )
    client = Has(
        client_transaction=transaction,
        _user_agent=state["user_agent"],
        _token=state["bearer_token"],
        http=Has(cookies=jar_of(state["cookies"])),
        kept={},
    )
    client.set_cookies = lambda said, *, clear_cookies: client.kept.update(said, _=clear_cookies)
    return client


CLIENTS: Final[dict[str, Callable[[State], Any]]] = {
    "aiograpi": instagrapi,
    "instagrapi": instagrapi,
    "instaloader": instaloader,
    "linkedin-messaging": linkedin_messaging,
    "maufbapi": maufbapi,
    "mauigpapi": mauigpapi,
    "node-instagram": lambda state: state,
    "tweety-ns": tweety,
    "twikit": twikit_client,
}


async def in_a_loop(check: Callable[[], None]) -> None:
    """Run a check where aiohttp's jars may be made."""
    check()


def told(pair: tuple[dict[str, str], State]) -> State:
    """Return checkpoint and context, without the cookies' attributes, which a jar adds."""
    checkpoint, context = pair
    pairs = (
        {each["name"]: each["value"] for each in context["cookies"]} if "cookies" in context else {}
    )
    return {**context, "cookies": pairs, "checkpoint": checkpoint}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_client_says_what_its_recorded_state_says(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object and its JSON make the same intent."""
    bridge, (state, answer) = bridge_of(case), recorded(case)
    if case.library == "tweety-ns":
        constants = Has(
            REQUEST_USER_AGENT=state["user_agent"], DEFAULT_BEARER_TOKEN=state["bearer_token"]
        )
        monkeypatch.setitem(sys.modules, "tweety.constants", cast("Any", constants))

    def check() -> None:
        client = CLIENTS[case.library](state)
        words: State = {"source": case.source, "login": LOGIN}
        said = told(bridge.context_from(client, answer, **words))
        assert said == told(bridge.context_from(state, answer, **words))
        assert told(bridge.context_from(bridge.state_of(client), answer, **words)) == said

    await in_a_loop(check)


def test_an_exception_of_instagrapi_is_an_answer() -> None:
    """Its members are those of the answer; an answer beside the settings is one, too."""
    case = next(each for each in CASES if each.library == "instagrapi")
    state, _ = recorded(case)
    error = RuntimeError()
    vars(error).update(state["last_json"])
    bridge = bridge_of(case)
    by_error = bridge.context_from(instagrapi({**state, "last_json": None}), error)
    assert told(by_error) == told(bridge.context_from(state))


def test_a_loader_that_waits_for_no_code_has_nothing_to_hand_over() -> None:
    """The login ended, or has not begun."""
    bridge = bridges.of("instaloader")
    client = Has(context=Has(two_factor_auth_pending=None, username="ann"))
    assert bridge.state_of(client) == {"username": "ann"}
    with pytest.raises(bridges.MissingError):
        bridge.context_from(client, source="APP")


# The way back ---------------------------------------------------------------------------


def case_of(library: str) -> State:
    """Return a recorded state of a library."""
    return recorded(next(each for each in CASES if each.library == library))[0]


def test_instagrapi_takes_the_session() -> None:
    """Cookies go through its settings; the jar of before is emptied."""
    client = instagrapi(case_of("instagrapi"))
    bridges.of("instagrapi").restore(SESSION, client)
    assert client.settings["cookies"] == values(SESSION)
    assert not list(client.private.cookies)
    assert client.username == "ann"


def test_instaloader_takes_the_session() -> None:
    """Nothing waits any more, and the user agent is that of the login."""
    client = instaloader(case_of("instaloader"))
    bridges.of("instaloader").restore(SESSION, client)
    assert client.context.loaded == [("ann", values(SESSION))]
    assert client.context._session.headers == {"User-Agent": "Agent/1"}
    assert client.context.two_factor_auth_pending is None


@pytest.mark.parametrize("library", ["linkedin-messaging", "linkedin-api"])
async def test_a_linkedin_client_takes_the_session(library: str) -> None:
    """Either library's session, with its token."""

    def check() -> None:
        client = linkedin_messaging(case_of("linkedin-messaging"))
        if library == "linkedin-api":
            client = Has(client=Has(session=Has(headers={}, cookies=Jar())))
        bridges.of(library).restore(SESSION, client)
        session = getattr(client, "client", client).session
        assert session.headers == {"csrf-token": "ajax:1", "user-agent": "Agent/1"}
        held = getattr(session, "cookie_jar", None)
        jar = session.cookies if held is None else held
        assert {each["name"]: each["value"] for each in cookies_of(jar)} == values(SESSION)

    await in_a_loop(check)


@pytest.mark.parametrize("library", ["maufbapi", "mauigpapi"])
async def test_an_android_state_takes_the_session(library: str) -> None:
    """Session, device and jar."""

    def check() -> None:
        client = CLIENTS[library](case_of(library))
        bridges.of(library).restore(SESSION, client)
        if library == "maufbapi":
            assert (client.session.access_token, client.session.uid) == ("EAA", 77)
            assert client.device.uuid == "android-1"
        else:
            assert (client.session.ds_user_id, client.session.rur) == ("77", "RUR")
            assert (client.device.uuid, client.device.id) == ("g-1", "android-1")
            found = {each["name"]: each["value"] for each in cookies_of(client.cookies)}
            assert found == values(SESSION)

    await in_a_loop(check)


def test_twikit_takes_the_session() -> None:
    """Its jar is emptied first."""
    client = twikit_client(case_of("twikit"))
    bridges.of("twikit").restore(SESSION, client)
    assert client.kept == {**values(SESSION), "_": True}
    assert client._user_agent == "Agent/1"


def test_node_s_state_takes_the_session() -> None:
    """The answer of the login is no part of a state."""
    state = {**case_of("node-instagram"), "answer": {}}
    bridges.of("instagram-private-api").restore(SESSION, state)
    assert cookies_of(state["cookies"])[0]["value"] == "77%3Aabc"
    assert "answer" not in state


def test_a_date_that_is_none_is_no_expiry() -> None:
    """tough-cookie writes the word Infinity."""
    jar = as_tough(SESSION)
    jar["cookies"][0]["expires"] = "Infinity"
    assert "expires_at" not in cookies_of(jar)[0]
    assert cookies_of(7) == []


async def test_twikit_stops_at_the_code_and_nowhere_else() -> None:
    """The first answer is not asked for a code; then the wrapped method is as it was."""
    step = {"subtask_id": "LoginTwoFactorAuthChallenge"}
    answers: list[Any] = [
        {"subtasks": [{"subtask_id": "LoginEnterPassword"}]},
        {"subtasks": [step]},
    ]

    async def send(_guest: str, *_inputs: Any) -> tuple[Any, None]:
        return answers.pop(0), None

    client = Has(v11=Has(onboarding_task=send))
    twikit.stop_at_code(client)
    assert (await client.v11.onboarding_task("guest"))[0]["subtasks"][0] != step
    with pytest.raises(twikit.CodeDue) as stop:
        await client.v11.onboarding_task("guest")
    assert stop.value.answer == {"subtasks": [step], "guest_token": "guest"}
    assert client.v11.onboarding_task is send


PAGE: Final = """<html><form id="nav" action="/search"><input name="q"></form>
<form id="%s" action="/checkpoint/challenge/verify" method="post">
<input type="hidden" name="csrfToken" value="ajax:1">
<INPUT TYPE="HIDDEN" NAME="challengeId" VALUE="a&amp;b">
<input name="pin"><input type="checkbox" name="recognizedDevice"><input type="submit"></form>"""
ADDRESS: Final = "https://www.linkedin.com/checkpoint/challenge/made-up?ut=x"


class ChallengeException(Exception):  # noqa: N818  as the library's
    """What linkedin-api raises."""


def linkedin_api() -> Any:
    """Return a ``Linkedin`` whose jar has the cookies of the page before the login."""
    jar = Jar()
    jar.set("JSESSIONID", '"ajax:1"', domain=".www.linkedin.com")
    jar.update = lambda more: [jar.set_cookie(each) for each in more]  # type: ignore[attr-defined]
    return Has(client=Has(session=Has(headers={"user-agent": "A/1"}, cookies=jar)))


def challenged(told: State, cookies: object = ()) -> ChallengeException:
    """Return the exception of ``authenticate``, which keeps its answer in a local variable."""

    def authenticate() -> None:
        res = Has(json=lambda: told, cookies=cookies)
        raise ChallengeException(res.json().get("login_result"))

    try:
        authenticate()
    except ChallengeException as error:
        return error
    raise AssertionError


def test_linkedin_api_stops_with_the_address_in_its_traceback() -> None:
    """The cookies of that answer, which the library leaves out, go into the jar."""
    client, more = linkedin_api(), Jar()
    more.set("chp_token", "made-up", domain=".www.linkedin.com")
    answer = {"login_result": "CHALLENGE", "challenge_url": "/checkpoint/challenge/made-up?ut=x"}
    assert linkedin.challenge_of(client, challenged(answer, more)) == ADDRESS
    page = Has(url=ADDRESS, text=PAGE % "email-pin-challenge")
    checkpoint, context = linkedin.context_from(client, page)
    assert checkpoint == {"type": "OTP", "source": "EMAIL"}
    assert context["fields"] == {"csrfToken": "ajax:1", "challengeId": "a&b"}
    assert context["recognized_device"]
    assert context["user_agent"] == "A/1"
    held = read_context("LINKEDIN", context, checkpoint=Checkpoint(**checkpoint))
    assert {each.name for each in held.cookies} == {"JSESSIONID", "chp_token"}
    again = linkedin.context_from(linkedin.state_of(client), {"url": ADDRESS, "html": page.text})
    assert told(again) == told((checkpoint, context))
    page.text = PAGE % "two-step-challenge"
    assert linkedin.context_from(client, page, source="APP")[0] == {"type": "2FA", "source": "APP"}
    with pytest.raises(bridges.MissingError, match="source is missing"):
        linkedin.context_from(client, page)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (challenged({"login_result": "BAD_PASSWORD"}), "challenge_url is missing"),
        (ChallengeException("CHALLENGE"), "challenge_url is missing"),
    ],
    ids=["no address", "no traceback"],
)
def test_an_answer_without_a_page_is_no_hand_over(error: Exception, sentence: str) -> None:
    """The password was wrong, or the exception was made elsewhere."""
    with pytest.raises(bridges.MissingError, match=sentence):
        linkedin.challenge_of(linkedin_api(), error)
    with pytest.raises(bridges.MissingError, match="two_factor_payload"):
        linkedin.context_from(linkedin_api(), source="EMAIL")
    with pytest.raises(bridges.MissingError, match="the input pin is missing"):
        linkedin.context_from(linkedin_api(), Has(url=ADDRESS, text="<form></form>"))


def test_a_flow_that_asks_for_no_code_is_no_hand_over() -> None:
    """It stopped at the password, say."""
    state = case_of("tweety-ns")
    state["answer"]["subtasks"] = [{"subtask_id": "LoginEnterPassword"}]
    with pytest.raises(bridges.MissingError, match="no subtask asks for a code"):
        bridges.of("tweety-ns").context_from(state, source="APP")
