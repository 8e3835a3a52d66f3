"""Checkpoint and context together: what `open_intent` refuses is what no code can clear.

`LEGAL` states for each step what the providers are known to ask for. The walk compares each
combination of type and source with the judgement at the opening and with what the adapter does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from checkpoint_worker.providers import LIVE_SESSION, adapter_for, adapters
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Checkpoint,
    CodeRequest,
    InvalidRequestError,
    MalformedRequestError,
    ProviderFailure,
    ProviderTimeoutError,
    Reply,
    Request,
    UnescapedCharactersError,
)
from checkpoint_worker.providers.twitter.protocol import ACID, TWO_FACTOR
from checkpoint_worker.tasks.operations.validation import CheckpointError, read_context
from tests.support.contexts import CONTEXTS, PROVIDERS, example

TYPES: Final = ("2FA", "OTP", "ANOTHER_TYPE")
SOURCES: Final = ("EMAIL", "SMS", "APP", "BACKUP", "WHATSAPP", "ANOTHER_SOURCE", None)
KNOWN: Final = {"EMAIL", "SMS", "APP", "BACKUP"}
CODE: Final = "471100"

SECOND: Final = {"2FA": {"SMS", "APP", "BACKUP"}}
SECOND_OF_INSTAGRAM: Final = {"2FA": {"SMS", "APP", "WHATSAPP", "BACKUP"}}
MESSAGE: Final = {"OTP": {"EMAIL", "SMS"}}
EMAILED: Final = {"OTP": {"EMAIL"}}
TEXTED: Final = {"OTP": {"SMS"}}
ANY_FORM: Final = {"OTP": {"EMAIL", "SMS"}, "2FA": {"SMS", "APP"}}
PHONE_FORM: Final = {"OTP": {"SMS"}, "2FA": {"SMS", "APP"}}

Table = Mapping[str, set[str]]


@dataclass(frozen=True)
class Step:
    """A step, with what it may be asked for.

    Attributes:
        sent: What the route takes, whatever its page says; the adapter refuses other sources.
        told: What the page says; by default the same.
        field: The field that a refusal names.
        alone: Whether the adapter knows the method of a code without a source.
    """

    provider: str
    route: str
    sent: Table
    told: Table | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    field: str = "route"
    alone: bool = True

    @property
    def legal(self) -> Table:
        return self.sent if self.told is None else self.told

    @property
    def context(self) -> dict[str, Any]:
        model = CONTEXTS[self.provider, self.route]
        return example(model) | {"route": self.route} | self.changes

    def __str__(self) -> str:
        return "-".join([self.provider, self.route, *map(str, self.changes.values())])[:80]


def _linkedin(told: Table, where: str, form_id: str, page: str) -> Step:
    instance = f"urn:li:page:d_checkpoint_ch_{page};smsPhonePin=="
    fields = {"csrfToken": "ajax:0000000000000000000", "pageInstance": instance}
    changes = {"form_id": form_id, "fields": fields}
    return Step("LINKEDIN", "http", ANY_FORM, told, changes, field=where)


def _factor(route: str, changes: Mapping[str, Any], *, alone: bool = True) -> Step:
    bare = {"methods": [], "totp_two_factor_on": False, "sms_two_factor_on": False}
    bare |= {"whatsapp_two_factor_on": False, "verification_method": "", "challenge": ""}
    names = CONTEXTS["INSTAGRAM", route].model_fields
    kept = {name: value for name, value in {**bare, **changes}.items() if name in names}
    return Step("INSTAGRAM", route, SECOND_OF_INSTAGRAM, None, kept, alone=alone)


def _screen(challenge: str, source: str) -> Step:
    told = {"2FA": {source, "BACKUP"}}
    changes = {"challenge": challenge, "methods": []}
    route = "bloks_two_factor"
    return Step("INSTAGRAM", route, SECOND_OF_INSTAGRAM, told, changes, field="challenge")


def _named(route: str, step_name: str, told: Table | None, where: str = "step_name") -> Step:
    changes = {"step_name": step_name, "bloks_action": ""}
    return Step("INSTAGRAM", route, MESSAGE, told, changes, field=where if told else "route")


def _subtask(name: str, sent: Table, **changes: Any) -> Step:
    told = {"subtask_id": name, "hint_text": "", "keyboard_type": "", **changes}
    return Step("TWITTER", "ocf", sent, None, told, field="subtask_id")


LEGAL: Final = [
    _linkedin(ANY_FORM, "route", "", "madeUp"),
    _linkedin(ANY_FORM, "route", "another-form", "madeUp"),
    _linkedin(EMAILED, "form_id", "email-pin-challenge", "madeUp"),
    _linkedin(EMAILED, "fields.pageInstance", "", "emailPin"),
    _linkedin(PHONE_FORM, "form_id", "two-step-challenge", "emailPin"),
    _linkedin(PHONE_FORM, "fields.pageInstance", "another-form", "twoStepVerification"),
    _factor("two_factor", {"totp_two_factor_on": True}),
    _factor("two_factor", {"methods": ["whatsapp"]}),
    _factor("two_factor", {"verification_method": "3"}),
    _factor("two_factor", {}, alone=False),
    _factor("http", {"sms_two_factor_on": True}),
    _factor("bloks_two_factor", {"methods": ["SMS"]}),
    _factor("bloks_two_factor", {"challenge": "made_up"}),
    _factor("bloks_two_factor", {}, alone=False),
    _screen("totp", "APP"),
    _screen("sms", "SMS"),
    _screen("backup_codes", "BACKUP"),
    _factor("web", {}),
    *(
        step
        for route in ("challenge", "challenge_web")
        for step in (
            _named(route, "", None),
            _named(route, "verify_code", None),
            _named(route, "made_up", None),
            _named(route, "verify_email", EMAILED),
            _named(route, "VerifySMSCodeForm", TEXTED),
        )
    ),
    Step("INSTAGRAM", "bloks_auth_platform", {**MESSAGE, "2FA": {"EMAIL", "SMS"}}),
    _subtask(TWO_FACTOR, SECOND),
    _subtask(TWO_FACTOR, SECOND, hint_text="Email or phone number"),
    _subtask(ACID, MESSAGE, hint_text="Confirmation code"),
    _subtask(ACID, MESSAGE, hint_text="Email", keyboard_type="number"),
    *(Step("MESSENGER", route, SECOND) for route in ("http", "auth_login")),
]
"""Every step that takes a code, with the type of its checkpoint and the sources of its codes."""


def combinations() -> Iterator[Any]:
    """Yield each step with each type and source."""
    for step in LEGAL:
        for type_ in TYPES:
            for source in SOURCES:
                yield pytest.param(step, type_, source, id=f"{step} {type_} {source}")


def is_taken(table: Table, type_: str, source: str | None) -> bool:
    """Whether a table has a type and a source; words without a common meaning pass."""
    union = set().union(*table.values())
    if source in KNOWN and source not in union:
        return False
    types = [each for each, its in table.items() if source in its or source not in union]
    return type_ == TYPES[2] or type_ in types


class Counting:
    """An exchange that counts code requests; no provider answers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @property
    def code_sent(self) -> bool:
        return bool(self.bodies)

    async def send_code(self, request: CodeRequest) -> Reply:
        self.bodies.append(request.body(CODE))
        raise ProviderTimeoutError

    async def fetch(self, request: Request) -> Reply:
        raise ProviderTimeoutError(request.url)


def send(
    provider: str, context: Mapping[str, Any], type_: str = "OTP", source: str | None = None
) -> tuple[ProviderFailure, list[bytes]]:
    """Return how an attempt with a stored context ends, and what it sent."""
    route = str(context["route"])
    adapter, exchange = adapter_for(provider, route), Counting()
    assert adapter is not None
    challenge = Challenge(
        checkpoint=Checkpoint(type=type_, source=source),
        context=adapter.contexts[route].model_validate(context),
        base_url=adapter.default_url,
    )
    with pytest.raises(ProviderFailure) as caught:
        asyncio.run(adapter.verify(challenge, exchange))
    return caught.value, exchange.bodies


def refusal(
    provider: str, context: Mapping[str, Any], type_: str = "OTP", source: str | None = None
) -> CheckpointError | None:
    """Return the refusal at the opening, ``None`` if the intent would be opened."""
    try:
        read_context(provider, context, checkpoint=Checkpoint(type=type_, source=source))
    except CheckpointError as error:
        return error
    return None


@pytest.mark.parametrize(("step", "type_", "source"), list(combinations()))
def test_the_opening_refuses_what_no_code_can_clear(
    step: Step, type_: str, source: str | None
) -> None:
    """And nothing else; what it accepts is sent, once."""
    needs = not step.alone and source not in step.sent["2FA"]
    error = refusal(step.provider, step.context, type_, source)
    failure, bodies = send(step.provider, step.context, type_, source)
    if is_taken(step.legal, type_, source) and not needs:
        assert error is None
        assert len(bodies) == 1
        assert CODE.encode() in bodies[0]
        return
    assert error is not None
    assert error.pair.key == (400, "invalid_parameters")
    detail = str(error.body["detail"])
    assert ("checkpoint.source must be " in detail) != ("checkpoint.type must be " in detail)
    assert f"context.{step.field}" in detail or needs
    if source in KNOWN and source not in set().union(*step.sent.values()):
        assert isinstance(failure, InvalidRequestError)
        assert not bodies
    elif needs:
        assert isinstance(failure, MalformedRequestError)
        assert not bodies
    else:  # A label, or the page, contradicts: an intent that is open already goes its way.
        assert len(bodies) == 1


def test_the_walk_knows_every_route() -> None:
    """But those that take every checkpoint."""
    walked = {(step.provider, step.route) for step in LEGAL} | {("TWITTER", "http")}
    assert {place for place in CONTEXTS if place not in walked} == {
        ("TWITTER", "jetfuel"),
        ("LINKEDIN", LIVE_SESSION),
    }
    assert adapters()["TWITTER"].contexts["http"] is adapters()["TWITTER"].contexts["ocf"]


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("source", SOURCES)
def test_a_live_session_takes_every_checkpoint(type_: str, source: str | None) -> None:
    """Its program knows the step; the newer login of TWITTER is opened to be told its way."""
    live = example(CONTEXTS["LINKEDIN", LIVE_SESSION])
    for provider in PROVIDERS:
        assert refusal(provider, live, type_, source) is None
        assert send(provider, live, type_, source)[1] == [CODE.encode()]
    newer = example(CONTEXTS["TWITTER", "jetfuel"])
    assert refusal("TWITTER", newer, type_, source) is None
    failure, bodies = send("TWITTER", newer, type_, source)
    assert isinstance(failure, ActionRequiredError)
    assert not bodies


@pytest.mark.parametrize("field", ["hint_text", "keyboard_type"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_code_is_not_opened_for_a_step_that_asks_for_an_address(
    field: str, source: str | None
) -> None:
    """An address is the solution there, of any source that is none of codes."""
    said = {"hint_text": "Phone number or email"} if field == "hint_text" else {field: "email"}
    context = _subtask(ACID, MESSAGE, **said).context
    error = refusal("TWITTER", context, "OTP", source)
    _, bodies = send_address(context, source)
    assert (error is None) == (source not in KNOWN) == bool(bodies)
    if source in {"EMAIL", "SMS"}:
        assert error is not None
        assert f"context.{field} is of a step without codes of {source}" in str(error)


def send_address(context: Mapping[str, Any], source: str | None) -> tuple[object, list[bytes]]:
    """Send an address instead of a code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "CODE", "ann@example.com")
        return send("TWITTER", context, "OTP", source)


OWN_PATH: Final = "/challenge/1000000001/madeup/"
HOPELESS: Final = [
    ("LINKEDIN", "http", {"action": "/checkpoint/ verify"}, "action", UnescapedCharactersError),
    ("LINKEDIN", "http", {"referer": "/checkpoint/\u00fc"}, "referer", UnescapedCharactersError),
    *(
        ("INSTAGRAM", route, changes, name, error)
        for route in ("challenge", "challenge_web")
        for changes, name, error in (
            ({"api_path": "/challenge/1/n n/"}, "api_path", UnescapedCharactersError),
            ({"api_path": "/challenge/"}, "api_path", ActionRequiredError),
            ({"api_path": "/auth_platform/?apc=x"}, "api_path", ActionRequiredError),
            ({"step_name": "select_verify_method"}, "step_name", ActionRequiredError),
            ({"step_name": "selfie_captcha"}, "step_name", ActionRequiredError),
            ({"native_flow": True, "step_name": ""}, "native_flow", ActionRequiredError),
            (
                {"bloks_action": "com.bloks.www.ig.challenge.redirect.async"},
                "bloks_action",
                ActionRequiredError,
            ),
        )
    ),
]


@pytest.mark.parametrize(("provider", "route", "changes", "name", "kind"), HOPELESS, ids=str)
def test_what_the_adapter_never_sends_is_not_opened(
    provider: str, route: str, changes: dict[str, Any], name: str, kind: type[ProviderFailure]
) -> None:
    """The refusal names the field and the mend; the adapter's own is for contexts of before."""
    context = example(CONTEXTS[provider, route]) | {"route": route} | changes
    error = refusal(provider, context)
    assert error is not None
    assert error.status == 400
    assert f"context.{name}" in str(error)
    failure, bodies = send(provider, context)
    assert isinstance(failure, kind)
    assert not bodies


@pytest.mark.parametrize(
    ("cookie", "token", "fits"),
    [
        ('"ajax:1"', "ajax:1", True),
        ("ajax:1", "ajax:1", True),
        ('\\"ajax:1\\"', "ajax:1", True),
        ("%22ajax:1%22", "ajax%3A1", True),
        ('"ajax:1"', '"ajax:1"', True),
        ('"ajax:1"', "ajax:2", False),
        ('"ajax:12"', "ajax:1", False),
    ],
)
def test_a_token_of_another_session_is_not_opened(cookie: str, token: str, fits: bool) -> None:
    """The provider compares both and ends the login; how a jar writes quotes does not matter."""
    context = example(CONTEXTS["LINKEDIN", "http"])
    context |= {
        "cookies": [{"name": "JSESSIONID", "value": cookie}],
        "fields": {"csrfToken": token},
    }
    error = refusal("LINKEDIN", context, "OTP", "EMAIL")
    assert (error is None) == fits
    if error is not None:
        assert "context.fields.csrfToken must be the cookie JSESSIONID" in str(error)
        assert "ajax" not in str(error)
