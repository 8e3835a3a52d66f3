"""Further headers of the login's client: checked at the opening, then sent as they are."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import (
    ENCODINGS,
    OUR_HEADERS,
    Challenge,
    CodeRequest,
    Context,
    Cookie,
    ProviderFailure,
    Reply,
    Request,
)
from checkpoint_worker.providers.http.request import checked_headers
from checkpoint_worker.providers.sessions import Session, SessionCookie, of_context
from checkpoint_worker.tasks.operations.validation import CheckpointError, read_context
from tests.support.conformance_cases import ADAPTER_ROUTES, AdapterRoute
from tests.support.random_answers import LOGINS, Case, Given, challenge_of


class Made(Context):
    """A context whose adapter makes a header."""

    made_headers: ClassVar[frozenset[str]] = frozenset({"authorization", "x-made"})


def rule(headers: dict[str, Any], model: type[Context] = Made) -> str:
    """Return the rule that a header breaks, empty if it fits."""
    try:
        model(headers=headers)
    except ValidationError as error:
        (item,) = error.errors(include_input=False)
        return str(item["msg"])
    return ""


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Accept-Language": "de-DE,de;q=0.9"},
        {"X-IG-Timezone-Offset": "7200", "sec-ch-ua": '"Chromium";v="130"'},
        {"Accept-Encoding": "gzip, deflate, br, zstd"},
        {"accept-encoding": "br;q=1.0, gzip; q=0.8, identity ; q=0"},
        {"X-Tab": "a\tb"},
        {"X-Name": "Zoë"},
    ],
)
def test_what_a_client_sends_fits(headers: dict[str, str]) -> None:
    """And can be put on the wire as it is."""
    held = Made(headers=headers)
    assert held.with_headers({"X-Made": "1"}) == {"X-Made": "1", **headers}
    assert set(checked_headers(headers)) == {name.lower() for name in headers}


@pytest.mark.parametrize("name", [*sorted(OUR_HEADERS), "authorization", "x-made"])
def test_no_header_of_ours_can_be_given(name: str) -> None:
    """In any spelling; the refusal names it."""
    for spelling in (name, name.title(), name.upper()):
        assert name in rule({spelling: "x"})


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"": "x"}, "names"),
        ({"a b": "x"}, "names"),
        ({"a:b": "x"}, "names"),
        ({"a\r\nb": "x"}, "names"),
        ({"é": "x"}, "names"),
        ({"x" * 129: "x"}, "names"),
        ({"x": "a\r\nHost: y"}, "values"),
        ({"x": "a\x00"}, "values"),
        ({"x": "\ud800"}, "values"),
        ({"x": "y" * 4_097}, "values"),
        ({"x": "1", "X": "2"}, "once"),
        ({"Accept-Encoding": "gzip, compress"}, "accept-encoding"),
        ({"Accept-Encoding": "*"}, "accept-encoding"),
        ({"Accept-Encoding": ""}, "accept-encoding"),
        ({"Accept-Encoding": "gzip;q=2"}, "accept-encoding"),
        ({str(number): "x" for number in range(51)}, "50"),
        ({"x": 5}, "string"),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_refused_at_the_opening(headers: dict[str, Any], said: str) -> None:
    """No line is broken, no encoding named that cannot be undone."""
    assert said.lower() in rule(headers).lower()


def test_the_refusal_names_field_rule_and_mend_and_no_value() -> None:
    """The program that opens the intent reads it."""
    given = {"fields": {"csrfToken": "x"}, "headers": {"Cookie": "canary=1"}}
    with pytest.raises(CheckpointError) as caught:
        read_context("LINKEDIN", given)
    detail = str(caught.value.body["detail"])
    assert "context.headers" in detail
    assert "cookie" in detail
    assert "leave it out" in detail
    assert "canary" not in detail


class Noting(Given):
    """Keeps the headers of every request."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.sent: list[Mapping[str, str]] = []

    async def send_code(self, request: CodeRequest) -> Reply:
        self.sent.append(request.headers)
        return await super().send_code(request)

    async def fetch(self, request: Request) -> Reply:
        self.sent.append(request.headers)
        return await super().fetch(request)


@pytest.mark.parametrize("tested", [tested for tested in ADAPTER_ROUTES if tested.sends], ids=str)
async def test_every_request_has_them_and_none_of_ours_is_dropped(tested: AdapterRoute) -> None:
    """What an adapter makes can either not be given, or is sent as it was given."""
    asked = challenge_of(tested)
    fixed = OUR_HEADERS | type(asked.context).made_headers
    usual = set[str]()
    for headers in await requests_with(tested, asked, {"X-Further": "as-given"}):
        assert headers["X-Further"] == "as-given"
        usual |= {name for name in headers if name.lower() not in fixed} - {"X-Further"}
    given = dict.fromkeys(usual, "identity")
    for headers in await requests_with(tested, asked, given):
        assert {name: headers.get(name) for name in given} == given


async def requests_with(
    tested: AdapterRoute, asked: Challenge, given: dict[str, str]
) -> list[Mapping[str, str]]:
    """Return the headers of every request of a login whose client has headers of its own."""
    held = asked.context.as_json() | {"headers": given}
    context = type(asked.context).model_validate(held)
    challenge = dataclasses.replace(asked, context=context)
    login = "".join(f"Set-Cookie: {line}\r\n" for line in LOGINS[tested.provider])
    raw = f"HTTP/1.1 200 OK\r\n{login}Content-Length: 2\r\n\r\n{{}}".encode()
    case = Case(raw=raw, has_login=True, has_cookies=True, is_foreign=True, told="")
    exchange = Noting(case)
    with contextlib.suppress(ProviderFailure):
        await providers.adapters()[tested.provider].verify(challenge, exchange)
    assert exchange.code_sent
    return exchange.sent


def test_every_encoding_that_may_be_named_can_be_undone() -> None:
    """Else the answer, and the login with it, would be lost."""
    from checkpoint_worker.providers.http.decoding import Body  # noqa: PLC0415  beside what is asked

    for word in ENCODINGS:
        assert Body(word, 10).finish() == b""
        assert not Body(word, 10)._is_foreign


def test_a_context_without_new_fields_is_read_by_the_version_before() -> None:
    """Which forbids what it does not know; the route always stands there."""
    for provider, adapter in providers.adapters().items():
        for route, model in adapter.contexts.items():
            assert "headers" in model.model_fields, provider
            held = model.model_construct(route=route)
            assert "headers" not in held.as_json()
            assert held.as_json()["route"] == route


def test_a_session_is_what_a_browser_takes() -> None:
    """Cookies with all that their provider said, in the names that automation uses."""
    cookie = Cookie.model_validate(
        {
            "name": "li_at",
            "value": '"x"',
            "domain": ".www.linkedin.com",
            "expires_at": 5.0,
            "secure": True,
            "httpOnly": True,
            "sameSite": "no_restriction",
        }
    )
    held = Context(user_agent="made-up/1", device={"a": "b"}, cookies=(cookie,))
    session = Session(
        provider="LINKEDIN", user_id="7", headers={}, **of_context(held, held.cookies)
    )
    assert session.as_json() == {
        "provider": "LINKEDIN",
        "user_id": "7",
        "public_identifier": None,
        "username": None,
        "user_agent": "made-up/1",
        "device": {"a": "b"},
        "app": {},
        "cookies": [
            {
                "name": "li_at",
                "value": '"x"',
                "domain": ".www.linkedin.com",
                "path": "/",
                "expires": 5.0,
                "secure": True,
                "httpOnly": True,
                "sameSite": None,
            }
        ],
        "headers": {},
    }
    assert "x" not in repr(session.cookies[0]).replace("expires", "").replace("max", "")
    lax = SessionCookie.of(cookie.model_copy(update={"same_site": "Lax"}))
    assert lax.same_site == "Lax"


@pytest.mark.parametrize(
    ("said", "same_site"),
    [("lax", "Lax"), ("STRICT", "Strict"), ("None", "None"), ("weird", ""), (None, ""), (5, "")],
)
def test_a_cookie_s_attributes_are_kept_and_nonsense_is_nothing(
    said: object, same_site: str
) -> None:
    """A jar that was exported somewhere is no reason to refuse a login."""
    for key in ("same_site", "sameSite"):
        cookie = Cookie.model_validate({"name": "a", "value": "b", key: said, "secure": "yes?"})
        assert cookie.same_site == same_site
        assert not cookie.secure
