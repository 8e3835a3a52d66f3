"""Whole logins at every simulated provider: right, wrong, expired and used codes, chains, ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Checkpoint,
    Cleared,
    DeadIntentError,
    MalformedRequestError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    ResourceRestrictedError,
    ServiceUnavailableError,
    SessionMismatchError,
    SubscriptionRequiredError,
    UnknownStepError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.linkedin import adapter as linkedin
from checkpoint_worker.providers.linkedin import session as linkedin_session
from checkpoint_worker.providers.messenger import session as messenger_session
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.messenger import MessengerSimulator
from tests.support.instagram_first_step import DEVICE
from tests.support.simulated import begin, solve

Kind = tuple[str, str, str]
"""Provider, source of the code, kind of account."""
Failure = type[ProviderFailure]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once: how often is the point here, and how long stands in the code."""
    for module, name in (
        (linkedin_session, "ME_PAUSES_S"),
        (linkedin, "PAGE_PAUSES_S"),
        (messenger_session, "EXCHANGE_PAUSES_S"),
    ):
        monkeypatch.setattr(module, name, (0.0,) * len(getattr(module, name)))


def each(provider: str, sources: str, kinds: str = "plain") -> Iterable[Kind]:
    """Return every kind with every source."""
    return [(provider, source, kind) for source in sources.split() for kind in kinds.split()]


def switch(sandbox: Sandbox, **switches: bool) -> None:
    """Set switches of MESSENGER's simulator."""
    simulator = sandbox.simulators["MESSENGER"]
    assert isinstance(simulator, MessengerSimulator)
    for name, value in switches.items():
        assert isinstance(getattr(simulator, name), bool)
        setattr(simulator, name, value)


FORMS: Final[list[dict[str, bool]]] = [
    {},
    {"is_strict": True},
    {"is_legacy": True},
    {"writes_data_as_text": True},
    {"is_legacy": True, "writes_data_as_text": True, "is_strict": True},
]
"""The forms in which MESSENGER may answer."""
ALL_SOURCES: Final = "EMAIL SMS APP BACKUP"


# Right and wrong codes -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "source", "kind"),
    [
        *each("LINKEDIN", "EMAIL SMS APP"),
        *each("TWITTER", ALL_SOURCES, "plain at_once asked_only"),
    ],
)
async def test_a_right_code_clears_the_checkpoint(
    sandbox: Sandbox, provider: str, source: str, kind: str
) -> None:
    """Whatever the source is and however the flow goes on; one request carries the code."""
    account, login = begin(sandbox, provider, source, kind)
    code = account.current_code()
    verdict = await solve(sandbox, login, code)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == login.user_id == account.user_id
    assert sandbox.count(code) == 1
    assert len(sandbox.sends) == 1


RETRIED: Final = [
    *each("LINKEDIN", "EMAIL SMS APP"),
    *each("TWITTER", ALL_SOURCES, "plain reprompts errors_in_200"),
    *each("INSTAGRAM", "APP SMS BACKUP EMAIL"),
    *each("INSTAGRAM", "APP", "renewing"),
    *each("INSTAGRAM", "SMS", "checkpoint"),
    *each("INSTAGRAM", "EMAIL SMS", "checkpoint_web"),
    *each("INSTAGRAM", "APP SMS BACKUP", "bloks"),
    *each("INSTAGRAM", "EMAIL", "auth_platform"),
    *each("INSTAGRAM", "APP SMS", "web"),
]


@pytest.mark.parametrize(
    ("provider", "source", "kind", "form"),
    [
        *((*login, {}) for login in RETRIED),
        *((*login, form) for login in each("MESSENGER", "SMS APP BACKUP") for form in FORMS),
    ],
)
async def test_after_a_wrong_code_the_right_one_works_with_the_new_context(
    sandbox: Sandbox, provider: str, source: str, kind: str, form: dict[str, bool]
) -> None:
    """On every route, of the same kind as before; the simulator rotates what its provider does."""
    switch(sandbox, **form)
    account, login = begin(sandbox, provider, source, kind)
    wrong, right = account.wrong_code(), account.current_code()
    first = await solve(sandbox, login, wrong)
    assert isinstance(first, Rejected)
    kept = provider == "MESSENGER" and first.context is None
    assert kept or (first.context and first.context.route == login.context["route"])
    verdict = await solve(sandbox, login, right, None if kept else first)
    assert isinstance(verdict, Cleared)
    assert verdict.user_id == login.user_id
    assert [send.code for send in account.sends] == [wrong, right]
    assert sandbox.count(wrong) == sandbox.count(right) == 1


@pytest.mark.parametrize("provider", ["LINKEDIN", "TWITTER"])
async def test_the_old_context_no_longer_works_after_a_wrong_code(
    sandbox: Sandbox, provider: str
) -> None:
    """Which is why a rejection hands back a new one."""
    account, login = begin(sandbox, provider)
    await solve(sandbox, login, account.wrong_code())
    with pytest.raises(DeadIntentError):
        await solve(sandbox, login, account.current_code())


@pytest.mark.parametrize(("source", "kind"), [("APP", "renewing"), ("EMAIL", "auth_platform")])
async def test_the_old_context_no_longer_works_where_the_answer_had_a_new_one(
    sandbox: Sandbox, source: str, kind: str
) -> None:
    """At INSTAGRAM it is refused, or the login is over."""
    account, login = begin(sandbox, "INSTAGRAM", source, kind)
    await solve(sandbox, login, account.wrong_code())
    try:
        verdict = await solve(sandbox, login, account.current_code())
    except DeadIntentError:
        return
    assert isinstance(verdict, Rejected)


@pytest.mark.parametrize("form", FORMS)
async def test_a_rotated_first_factor_is_used_for_the_next_try(
    sandbox: Sandbox, form: dict[str, bool]
) -> None:
    """After "still 2FA" the simulator takes the new one only."""
    switch(sandbox, **form)
    account, login = begin(sandbox, "MESSENGER", "SMS", "rotating")
    first = await solve(sandbox, login, account.wrong_code())
    assert isinstance(first, Rejected)
    with pytest.raises(DeadIntentError):
        await solve(sandbox, login, account.current_code())
    second = await solve(sandbox, login, account.wrong_code(), first)
    assert isinstance(second, Rejected)
    verdict = await solve(sandbox, login, account.current_code(), second)
    assert isinstance(verdict, Cleared)
    assert len(account.sends) == 4


@pytest.mark.parametrize(
    ("provider", "source", "kind", "expected"),
    [
        ("LINKEDIN", "EMAIL", "plain", None),
        ("TWITTER", "EMAIL", "plain", None),
        ("MESSENGER", "SMS", "plain", None),
        ("MESSENGER", "BACKUP", "plain", None),
        # A second factor's identifier dies with its code; a checkpoint asks again.
        ("INSTAGRAM", "SMS", "plain", DeadIntentError),
        ("INSTAGRAM", "EMAIL", "plain", None),
        ("INSTAGRAM", "SMS", "bloks", None),
    ],
)
async def test_an_expired_code_is_what_each_route_says_it_is(
    sandbox: Sandbox, provider: str, source: str, kind: str, expected: Failure | None
) -> None:
    """To the person it is the same as a wrong one."""
    account, login = begin(sandbox, provider, source, kind)
    code = account.current_code()
    account.expire_codes()
    if expected is None:
        assert isinstance(await solve(sandbox, login, code), Rejected)
    else:
        with pytest.raises(expected):
            await solve(sandbox, login, code)
    assert [send.code for send in account.sends] == [code]


@pytest.mark.parametrize(
    ("provider", "source", "kind"),
    [*each("LINKEDIN", "SMS APP"), *each("MESSENGER", "SMS APP BACKUP")],
)
async def test_a_used_code_is_rejected(
    sandbox: Sandbox, provider: str, source: str, kind: str
) -> None:
    """Codes work once, those of an app too."""
    account, login = begin(sandbox, provider, source, kind)
    code = account.current_code()
    assert isinstance(await solve(sandbox, login, code), Cleared)
    again = sandbox.begin_login(account)
    assert isinstance(await solve(sandbox, again, code), Rejected)
    assert [send.code for send in account.sends] == [code, code]


@pytest.mark.parametrize(
    ("provider", "source", "steps"),
    [
        ("LINKEDIN", "EMAIL", [("2FA", "SMS")]),
        ("TWITTER", "APP", [("OTP", "EMAIL")]),
        ("TWITTER", "EMAIL", [("2FA", "SMS")]),
        ("INSTAGRAM", "APP", [("OTP", "EMAIL")]),
        ("INSTAGRAM", "EMAIL", [("OTP", "SMS")]),
        ("INSTAGRAM", "SMS", [("OTP", "EMAIL")]),
    ],
)
async def test_a_chain_of_checkpoints_is_walked_to_its_end(
    sandbox: Sandbox, provider: str, source: str, steps: list[tuple[str, str]]
) -> None:
    """Each code goes with the context of the step before, after a wrong one too."""
    account, login = begin(sandbox, provider, source, "chained")
    step = await solve(sandbox, login, account.current_code())
    for type_, place in steps:
        assert isinstance(step, NextCheckpoint)
        assert step.checkpoint == Checkpoint(type=type_, source=place)
        refused = await solve(sandbox, login, account.wrong_code(), step)
        assert isinstance(refused, Rejected)
        assert refused.context is not None
        again = NextCheckpoint(checkpoint=step.checkpoint, context=refused.context)
        step = await solve(sandbox, login, account.current_code(), again)
    assert isinstance(step, Cleared)
    assert len(account.sends) == 1 + 2 * len(steps)


@pytest.mark.parametrize(
    ("provider", "source", "allowed", "then", "at_last"),
    [
        ("LINKEDIN", "EMAIL", 3, DeadIntentError, None),
        ("TWITTER", "EMAIL", 4, DeadIntentError, None),
        ("INSTAGRAM", "APP", 3, ProviderBrokenError, DeadIntentError),
        ("MESSENGER", "APP", 4, None, DeadIntentError),
    ],
)
async def test_too_many_wrong_codes_end_the_login(
    sandbox: Sandbox,
    provider: str,
    source: str,
    allowed: int,
    then: Failure | None,
    at_last: Failure | None,
) -> None:
    """The provider's own limit: the next wrong code, or at last the right one, is refused."""
    account, login = begin(sandbox, provider, source)
    after: Rejected | None = None
    for _ in range(allowed):
        after_ = await solve(sandbox, login, account.wrong_code(), after)
        assert isinstance(after_, Rejected)
        after = after_ if after_.context else None
    if then is not None:
        with pytest.raises(then):
            await solve(sandbox, login, account.wrong_code(), after)
    if at_last is not None:
        with pytest.raises(at_last):
            await solve(sandbox, login, account.current_code(), after)


@pytest.mark.parametrize(("provider", "source"), [("LINKEDIN", "EMAIL"), ("TWITTER", "APP")])
async def test_a_hiccup_after_the_code_is_ridden_out(
    sandbox: Sandbox, provider: str, source: str
) -> None:
    """The code is spent by then; whatever is asked afterwards may be repeated."""
    account, login = begin(sandbox, provider, source)
    sandbox.set_faults(account, fail_followups=2)
    assert isinstance(await solve(sandbox, login, account.current_code()), Cleared)
    assert len(account.sends) == 1


# What the provider may say after the right code -----------------------------------------

KINDS: Final[dict[str, dict[Failure, str]]] = {
    "LINKEDIN": {
        AccountRestrictedError: "restricted",
        ActionRequiredError: "captcha approval approval_redirect password identity",
        UnknownStepError: "unknown",
        DeadIntentError: "challenge_expired",
        ProviderBrokenError: "failing throttled nobody",
        ResourceRestrictedError: "blocked",
        UnreadableAnswerError: "revoked",
    },
    "TWITTER": {
        AccountRestrictedError: "suspended locked denied_suspended",
        ActionRequiredError: "reset denied captcha choose_method password then_address",
        UnknownStepError: "unknown",
        DeadIntentError: "flow_dead guest_expired",
        ProviderBrokenError: "throttled limited refused failing",
        ResourceRestrictedError: "client_refused blocked",
        ServiceUnavailableError: "over_capacity",
        SessionMismatchError: "csrf",
        SubscriptionRequiredError: "premium",
        UnreadableAnswerError: "contradiction nobody sessionless",
    },
    "INSTAGRAM": {
        AccountRestrictedError: "restricted disabled suspended suspended_web",
        ActionRequiredError: "approval auth_platform_challenge captcha password unusable_password"
        " consent logged_out_checkpoint submit_phone consent_redirect",
        UnknownStepError: "unknown unknown_redirect",
        DeadIntentError: "logged_out challenge_expired login_redirect",
        ProviderBrokenError: "throttled rate_limited upgrade old_version problem",
        ResourceRestrictedError: "spam blocked address ip_block",
        UnreadableAnswerError: "mismatch nobody",
    },
    "MESSENGER": {
        AccountRestrictedError: "disabled locked suspended blocked",
        ActionRequiredError: "checkpoint checkpoint_words unconfirmed integrity verify approval",
        UnknownStepError: "unknown",
        DeadIntentError: "unknown_identifier expired_factor password_changed",
        ProviderBrokenError: "throttled busy abuse failing contradiction",
        ServiceUnavailableError: "unavailable",
        SessionMismatchError: "bad_token",
        UnreadableAnswerError: "no_session revoked",
    },
}
SOURCES: Final = {
    "LINKEDIN": "EMAIL",
    "TWITTER": "SMS",
    "INSTAGRAM": "APP EMAIL",
    "MESSENGER": "APP",
}


@pytest.mark.parametrize(
    ("provider", "kind", "source", "form", "expected"),
    [
        (provider, kind, source, form, expected)
        for provider, kinds in KINDS.items()
        for expected, named in kinds.items()
        for kind in named.split()
        for source in SOURCES[provider].split()
        for form in (FORMS if provider == "MESSENGER" else FORMS[:1])
    ],
)
async def test_each_kind_of_account_is_told_apart(
    sandbox: Sandbox,
    provider: str,
    kind: str,
    source: str,
    form: dict[str, bool],
    expected: Failure,
) -> None:
    """What the provider may say after the right code, over real HTTP, in each of its forms."""
    switch(sandbox, **form)
    account, login = begin(sandbox, provider, source, kind)
    code = account.current_code()
    with pytest.raises(ProviderFailure) as caught:
        await solve(sandbox, login, code)
    # The legacy form has no place for a message to the person.
    no_place = kind == "unknown" and form.get("is_legacy")
    assert type(caught.value) is (UnreadableAnswerError if no_place else expected)
    assert sandbox.count(code) == 1
    assert provider != "MESSENGER" or len(sandbox.sends) == 1


# A context that does not fit ------------------------------------------------------------

OTHER_TOKEN: Final = {"cookies": ({"name": "csrftoken", "value": "x"},)}
OTHER_DEVICE: Final = {"device": DEVICE}


def changed(held: object, change: object) -> object:
    """Return a context with other values here and there; ``None`` leaves a value out."""
    if not (isinstance(held, dict) and isinstance(change, dict)):
        return change
    kept = {name: value for name, value in held.items() if change.get(name, value) is not None}
    return kept | {
        name: changed(held.get(name), value) for name, value in change.items() if value is not None
    }


@pytest.mark.parametrize(
    ("provider", "source", "kind", "change", "expected"),
    [
        ("LINKEDIN", "EMAIL", "plain", {"fields": {"csrfToken": "ajax:1"}}, SessionMismatchError),
        ("LINKEDIN", "EMAIL", "plain", {"fields": {"challengeId": "AgOther"}}, DeadIntentError),
        ("LINKEDIN", "EMAIL", "plain", {"fields": {"requestSubmissionId": "x"}}, DeadIntentError),
        ("LINKEDIN", "EMAIL", "plain", {"fields": {"challengeType": None}}, MalformedRequestError),
        ("TWITTER", "APP", "plain", {"flow_token": "g;1:-2:nobody:1"}, DeadIntentError),
        ("TWITTER", "APP", "plain", {"guest_token": "1"}, DeadIntentError),
        ("TWITTER", "SMS", "plain", {"subtask_id": "LoginAcid", "hint_text": "Confirmation code"},
         MalformedRequestError),
        ("INSTAGRAM", "APP", "plain", {"two_factor_identifier": "stale"}, DeadIntentError),
        ("INSTAGRAM", "APP", "plain", OTHER_DEVICE, DeadIntentError),
        ("INSTAGRAM", "APP", "plain", {"username": "somebody.else"}, MalformedRequestError),
        ("INSTAGRAM", "APP", "plain", {"verification_method": "1"}, MalformedRequestError),
        ("INSTAGRAM", "APP", "plain", OTHER_TOKEN, SessionMismatchError),
        ("INSTAGRAM", "APP", "web", OTHER_TOKEN, SessionMismatchError),
        ("INSTAGRAM", "APP", "web", {"two_factor_identifier": "stale"}, DeadIntentError),
        ("INSTAGRAM", "EMAIL", "plain", {"api_path": "/challenge/1/stale/"}, DeadIntentError),
        ("INSTAGRAM", "EMAIL", "plain", OTHER_DEVICE, DeadIntentError),
        ("INSTAGRAM", "APP", "bloks", {"challenge": "sms"}, MalformedRequestError),
        ("INSTAGRAM", "APP", "bloks", OTHER_DEVICE, MalformedRequestError),
        ("MESSENGER", "APP", "plain", {"uid": "1"}, MalformedRequestError),
        ("MESSENGER", "APP", "plain", {"machine_id": "other"}, MalformedRequestError),
        ("MESSENGER", "APP", "plain", {"login_first_factor": "other"}, DeadIntentError),
        ("MESSENGER", "APP", "plain", {"email": "other@example.test"}, DeadIntentError),
        ("MESSENGER", "APP", "plain", {"device": {"device_id": "other"}}, MalformedRequestError),
        ("MESSENGER", "APP", "plain", {"app": {"client_secret": "other"}}, MalformedRequestError),
        ("MESSENGER", "APP", "plain", {"app": {"api_key": "other"}}, MalformedRequestError),
        ("MESSENGER", "APP", "plain", {"app": {"client_token": "other"}}, SessionMismatchError),
    ],
)  # fmt: skip
async def test_a_context_that_does_not_fit_is_noticed(
    sandbox: Sandbox,
    provider: str,
    source: str,
    kind: str,
    change: dict[str, object],
    expected: Failure,
) -> None:
    """The simulator is as strict as the notes; the code counts as sent."""
    account, login = begin(sandbox, provider, source, kind)
    login.context.update(changed(login.context, change))  # type: ignore[arg-type, call-overload]
    code = account.current_code()
    with pytest.raises(expected):
        await solve(sandbox, login, code)
    assert sandbox.count(code) == 1
