"""The bridges on recorded states of client libraries: their names and forms, the values made up.

`test_libraries` runs them with the libraries themselves.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from http.cookiejar import MozillaCookieJar
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from checkpoint_worker.providers import BUILT_IN, adapter_for, bridges
from checkpoint_worker.providers.bridges.forms import (
    as_netscape,
    as_storage_state,
    as_tough,
    cookies_of,
    values,
)
from checkpoint_worker.providers.contract import Cookie
from tests.support.library_cases import HANDOVERS, STATES, Case, bridge_of

RECORDED: Final[dict[str, Any]] = json.loads(STATES.read_text())
CASES: Final = [case for case in HANDOVERS if case.name in RECORDED]
LOGIN: Final = "ann@example.com"
SHORT: Final = 8
"""Longer texts of a state are secrets, or look like them."""

_IDS = ("uuids.uuid", "uuids.android_device_id", "uuids.phone_id", "user_agent")
_FLOW = ("guest_token", "user_agent", "bearer_token", "answer.flow_token")
NEEDED: Final = {
    "aiograpi": _IDS,
    "instagrapi": _IDS,
    "instaloader": ("user_agent", "username", "two_factor_identifier", "cookies"),
    "linkedin-messaging": ("two_factor_payload", "two_factor_payload.csrfToken", "cookies"),
    "maufbapi": (
        "user_agent", "device.uuid", "application.client_id", "application.client_secret",
        "session.uid", "session.login_first_factor", "session.machine_id",
    ),
    "mauigpapi": ("user_agent", "device.uuid", "device.id", "device.phoneId"),
    "node-instagram": (
        "uuid", "deviceId", "phoneId", "deviceString", "language", "constants.APP_VERSION",
        "constants.APP_VERSION_CODE",
    ),
    "tweety-ns": _FLOW,
    "twikit": _FLOW[1:3],
}  # fmt: skip
"""What a library's state must have, by dotted names."""

COOKIES: Final = [
    {
        "name": name,
        "value": value,
        "domain": domain,
        "path": "/",
        "expires": expires,
        "secure": True,
        "httpOnly": http_only,
        "sameSite": None,
    }
    for name, value, domain, expires, http_only in (
        ("sessionid", "77%3Aabc", ".example.com", 2_000_000_000.0, True),
        ("csrftoken", "tok", ".example.com", None, False),
        ("li_at", "AQE", ".www.example.com", 2_000_000_000.0, True),
        ("JSESSIONID", '"ajax:1"', "www.example.com", None, False),
    )
]
SESSION: Final[dict[str, Any]] = {
    "user_id": "77",
    "username": "ann",
    "user_agent": "Agent/1",
    "device": {"guid": "g-1", "device_id": "android-1", "phone_id": "p-1"},
    "app": {},
    "headers": {"X-MID": "m-1"},
    "cookies": COOKIES,
    "authorization": "Bearer IGT:2:eyJkc191c2VyX2lkIjoiNzcifQ",
    "sessionid": "77%3Aabc",
    "mid": "m-1",
    "rur": "RUR",
    "www_claim": "claim",
    "csrf_token": "ajax:1",
    "access_token": "EAA",
    "machine_id": "mach",
}


def recorded(case: Case) -> tuple[dict[str, Any], Any]:
    """Return a state and the answer beside it, where the library keeps it elsewhere."""
    found = copy.deepcopy(RECORDED[case.name])
    return found["state"], found["answer"]


def is_gone(state: dict[str, Any], name: str) -> None:
    """Take a value out of a state."""
    *above, last = name.split(".")
    for part in above:
        state = state[part]
    del state[last]


def test_every_library_has_a_bridge_and_a_recorded_state() -> None:
    """But linkedin-api, which holds nothing that could be handed over."""
    covered = {bridge_of(case) for case in CASES}
    assert {bridges.of(name) for name in bridges.names()} == covered
    assert {bridge.PROVIDER for bridge in covered} == set(BUILT_IN)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_state_makes_an_intent(case: Case) -> None:
    """The context validates as `open_intent` validates it, and names the source."""
    state, answer = recorded(case)
    checkpoint, context = bridge_of(case).context_from(
        state, answer, source=case.source, login=LOGIN
    )
    adapter = adapter_for(case.provider)
    assert adapter is not None
    held = adapter.contexts[context["route"]].model_validate(context)
    assert checkpoint["source"] == case.source
    assert held.user_agent
    assert json.loads(json.dumps(context)) == context


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "host", ["example.com", "not{0}", "{0}.example.com", "www.{0}", ".{0}", ""]
)
def test_a_cookie_of_another_host_stays_in_its_jar(case: Case, host: str) -> None:
    """No client sends it to this provider; one of its name here would take its place."""
    state, answer = recorded(case)
    if case.provider == "MESSENGER":
        return  # Its context has no cookies.
    domain = host.format({"TWITTER": "x.com"}.get(case.provider, f"{case.provider.lower()}.com"))
    jar = "jar" if "jar" in state else "cookies"
    added = {"name": "made_up", "value": "canary", "domain": domain}
    listed = [*cookies_of(state[jar]), added]
    state[jar] = json.dumps({"cookies": listed}) if isinstance(state[jar], str) else listed
    _, context = bridge_of(case).context_from(state, answer, source=case.source, login=LOGIN)
    assert ("canary" in str(context["cookies"])) == (host in {"www.{0}", ".{0}", ""})


def leaves(value: object) -> Iterator[str]:
    """Each text in a state, without the names."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    elif isinstance(value, str):
        yield value


def missing() -> Iterator[Any]:
    """Each case with each value that its state must have."""
    for case in CASES:
        for name in NEEDED[case.library]:
            yield pytest.param(case, name, id=f"{case.name} {name}")


@pytest.mark.parametrize(("case", "name"), list(missing()))
def test_a_missing_value_is_named_with_its_place(case: Case, name: str) -> None:
    """The sentence says which, and where the library keeps it; it quotes no value."""
    state, answer = recorded(case)
    is_gone(state, name)
    login = LOGIN if case.provider == "MESSENGER" else ""
    with pytest.raises(bridges.MissingError) as caught:
        bridge_of(case).context_from(state, answer, source=case.source, login=login)
    said = str(caught.value)
    assert name.rpartition(".")[2] in said
    assert "; the library keeps it in " in said
    assert not [each for each in leaves(state) if len(each) > SHORT and each in said]


@pytest.mark.parametrize("library", ["instaloader", "linkedin-messaging", "maufbapi", "twikit"])
def test_a_source_that_the_library_does_not_keep_is_asked_for(library: str) -> None:
    """A guess would send the person to the wrong place."""
    case = next(each for each in CASES if each.library == library and each.source == "APP")
    with pytest.raises(bridges.MissingError, match="source is missing"):
        bridge_of(case).context_from(*recorded(case), login=LOGIN)


def test_a_login_name_that_the_library_does_not_keep_is_asked_for() -> None:
    """The provider wants it again beside the code."""
    case = next(each for each in CASES if each.library == "maufbapi")
    with pytest.raises(bridges.MissingError, match="login is missing"):
        bridge_of(case).context_from(*recorded(case), source="APP")


def test_a_login_without_an_answer_is_refused() -> None:
    """A settings file alone does not say where the login stopped."""
    case = next(each for each in CASES if each.library == "instagrapi")
    state, _ = recorded(case)
    del state["last_json"], state["challenge_path"]
    with pytest.raises(bridges.MissingError, match=r"the library keeps it in client\.last_json"):
        bridge_of(case).context_from(state)


def test_the_apps_newer_login_is_handed_over_too() -> None:
    """Its library raises an exception that has the answer's members."""
    case = next(each for each in CASES if each.library == "instagrapi")
    state, _ = recorded(case)
    error = RuntimeError()
    error.two_step_verification_context = "ctx"  # type: ignore[attr-defined]  as the library does it
    _, context = bridge_of(case).context_from(state, error, source="APP")
    adapter = adapter_for("INSTAGRAM")
    assert adapter is not None
    assert adapter.contexts["bloks_two_factor"].model_validate(context)


# The way back ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_settings_hold_the_session(case: Case) -> None:
    """The library's own form, as JSON, with no rest of the hand-over."""
    bridge = bridge_of(case)
    state, _ = recorded(case)
    settings = json.loads(json.dumps(bridge.settings_from(SESSION, state)))
    text = json.dumps(settings)
    expected = {
        "INSTAGRAM": "77%3Aabc",
        "LINKEDIN": "AQE",
        "TWITTER": "77%3Aabc",
        "MESSENGER": "EAA",
    }
    assert expected[case.provider] in text
    assert not {"last_json", "jar", "answer", "challenge_path"} & set(settings)
    if isinstance(settings.get("cookies"), str | dict):
        found = {each["name"]: each["value"] for each in cookies_of(settings["cookies"])}
        bare = {name: value.strip('"') for name, value in values(SESSION).items()}
        # mauigpapi puts quotes around what needs them itself.
        assert found == (bare if case.library == "mauigpapi" else values(SESSION))


def test_instagrapi_goes_on_with_cookies_alone() -> None:
    """A login of the site has no header; the library makes its own."""
    bridge = bridges.of("instagrapi")
    settings = bridge.settings_from({**SESSION, "authorization": None}, {})
    assert settings["authorization_data"]["sessionid"] == "77%3Aabc"
    assert bridge.settings_from(SESSION, {})["authorization_data"] == {"ds_user_id": "77"}


def test_instagrapi_keeps_the_device_of_the_login() -> None:
    """It makes its user agent of these parts, not of the one that it saved."""
    agent = "Instagram 1.2 Android (34/14; 480dpi; 1x2; Maker/m; Model; dev; cpu; de_DE; 99)"
    app = {"bloks_version_id": "b", "locale": "de_DE"}
    settings = bridges.of("instagrapi").settings_from(
        {**SESSION, "user_agent": agent, "app": app}, {"device_settings": {"dpi": "1dpi"}}
    )
    assert settings["device_settings"] == {
        "app_version": "1.2", "android_version": 34, "android_release": "14", "dpi": "480dpi",
        "resolution": "1x2", "manufacturer": "Maker/m", "model": "Model", "device": "dev",
        "cpu": "cpu", "version_code": "99", "bloks_versioning_id": "b",
    }  # fmt: skip
    assert settings["locale"] == "de_DE"


def test_the_name_of_a_twitter_session_file() -> None:
    """The library compares the user name of a file with that of the login."""
    settings = bridges.of("tweety-ns").settings_from({**SESSION, "screen_name": "ann_x"}, {})
    assert settings["user"] == {"id": "77", "username": "ann_x"}
    client = SimpleNamespace(session=SimpleNamespace(cookies={}, logged_in=False))
    bridges.of("tweety-ns").restore(SESSION, client)
    assert client.session.logged_in
    assert client.session.cookies == values(SESSION)


# General forms --------------------------------------------------------------------------


@pytest.mark.parametrize("write", [as_netscape, as_storage_state, as_tough, list])
def test_a_session_survives_each_form(write: Any) -> None:
    """What tools read is what the session had."""
    said = {"cookies": COOKIES} if write is list else write(SESSION)
    for form in (said, json.dumps(said) if isinstance(said, dict) else said):
        kept = [Cookie.model_validate(each) for each in cookies_of(form)]
        for cookie, each in zip(kept, COOKIES, strict=True):
            assert (cookie.name, cookie.value) == (each["name"], each["value"])
            assert (cookie.domain, cookie.path) == (each["domain"], each["path"])
            assert (cookie.expires_at, cookie.http_only) == (each["expires"], each["httpOnly"])
            assert cookie.secure


def test_the_netscape_file_is_one() -> None:
    """The standard library reads it, as curl does."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cookies.txt"
        file.write_text(as_netscape(SESSION))
        jar = MozillaCookieJar(str(file))
        jar.load(ignore_discard=True, ignore_expires=True)
        assert {each.name: each.value for each in jar} == values(SESSION)
        assert len(cookies_of(jar)) == len(COOKIES)


def test_plain_json_has_what_a_request_carries() -> None:
    """Cookies and headers, the user agent among them."""
    said = bridges.EXPORTS["json"](SESSION)
    assert said == {
        "cookies": values(SESSION),
        "headers": {"User-Agent": "Agent/1", "X-MID": "m-1"},
    }
