"""What people reported about INSTAGRAM logins elsewhere, through Redis, a worker and the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from checkpoint_worker.providers.sandbox.instagram_answers import CROWD, ROUTED
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import Deployment, Person

OPEN, DONE, KILLED = "open", "completed", "killed"
ROUTES = {
    "two_factor": ("plain", "APP"),
    "challenge": ("checkpoint", "EMAIL"),
    "challenge_web": ("checkpoint_web", "EMAIL"),
    "bloks_two_factor": ("bloks", "SMS"),
    "bloks_auth_platform": ("auth_platform", "EMAIL"),
    "web": ("web", "SMS"),
}
BLOKS = ("bloks_two_factor", "bloks_auth_platform")
OTHERS = tuple(route for route in ROUTES if route not in BLOKS)
WEB = ("challenge_web", "web")


@pytest.fixture(scope="module")
def shared_deployment(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """One worker that serves every route; nothing that it heard stands in its log."""
    logs = tmp_path_factory.mktemp("logs")
    with Deployment(redis_server.url, "instagram", logs, routes_off="none") as deployment:
        worker = deployment.worker()
        yield deployment
        assert worker.terminate() == 0, worker.log[-4000:]
        assert "Traceback" not in worker.log
        assert "sessionid" not in worker.log


def person_at(deployment: Deployment, route: str, says: str = "", **more: Any) -> Person:
    """Begin a login that takes a route; after that the provider says what a kind says."""
    kind, source = ROUTES[route]
    return _person(deployment, kind, source, says, **more)


def _person(deployment: Deployment, kind: str, source: str, says: str = "", **more: Any) -> Person:
    account = deployment.loops.do(
        deployment.sandbox.add_account, "INSTAGRAM", source=source, kind=kind
    )
    person = Person(deployment, account).open(**more)
    deployment.persons.append(person)
    if says:
        person.faults(kind=says)
    return person


def doubts(deployment: Deployment, person: Person) -> int:
    """Return how many codes were sent without an answer that says anything."""
    found = deployment.client._executor.run(
        deployment.client._core.store.read(person.provider, person.id)
    )
    return found.intent.doubts if found.intent else 0


def told(record: Outcome) -> str:
    """Return status and word of an outcome."""
    body = dict(record.body or {})
    word = str(body.get("type") or body.get("object")).removeprefix("errors/")
    return f"{record.status} {word}"


def session_of(deployment: Deployment, person: Person) -> dict[str, Any]:
    """Take the session; return it with its cookies by name."""
    session = deployment.client.take_session(person.id, person.provider)
    assert session is not None
    jar = {cookie["name"]: cookie["value"] for cookie in session["cookies"]}
    return {**session, "jar": jar}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An answer to a code, and what the person gets to see.

    Attributes:
        says: The sandbox's kind.
        routes: Where it is said.
        becomes: Status and word.
        intent: How the intent stands then.
        wrong: Whether the code is a wrong one; then a failure is counted.
        doubt: Whether nothing is known of the code, so a doubt is counted.
    """

    says: str
    routes: tuple[str, ...]
    becomes: str
    intent: str = OPEN
    wrong: bool = False
    doubt: bool = False

    def __str__(self) -> str:
        return self.says


PASSED, REFUSED = "201 AccountCreated", "401 invalid_checkpoint_solution"
ACTION, BROKEN = "403 action_required", "500 provider_error"
SITUATIONS = (
    # The session is in the answer, whatever is around it.
    Report(says="crowded", routes=OTHERS, becomes=PASSED, intent=DONE),
    Report(says="bare", routes=OTHERS, becomes=PASSED, intent=DONE),
    Report(says="guarded", routes=OTHERS, becomes=PASSED, intent=DONE),
    Report(says="home_redirect", routes=tuple(ROUTES), becomes=PASSED, intent=DONE),
    Report(says="header_only", routes=tuple(ROUTES), becomes=PASSED, intent=DONE),
    Report(says="routed", routes=tuple(ROUTES), becomes=PASSED, intent=DONE),
    # The code was refused.
    Report(says="german", routes=tuple(ROUTES), becomes=REFUSED, wrong=True),
    Report(says="toast", routes=BLOKS, becomes=REFUSED, wrong=True),
    Report(says="dialog", routes=BLOKS, becomes=REFUSED, wrong=True),
    Report(says="plain", routes=tuple(ROUTES), becomes=REFUSED, wrong=True),
    Report(says="renewing", routes=("two_factor", "web"), becomes=REFUSED, wrong=True),
    # The code was right, and there is something for the person to do.
    Report(says="consent_redirect", routes=OTHERS, becomes=ACTION),
    Report(says="consent", routes=OTHERS, becomes=ACTION),
    Report(says="submit_phone", routes=OTHERS, becomes=ACTION),
    Report(says="logged_out_checkpoint", routes=OTHERS, becomes=ACTION),
    Report(says="approval", routes=tuple(ROUTES), becomes=ACTION),
    Report(says="auth_platform_challenge", routes=tuple(ROUTES), becomes=ACTION),
    Report(says="unusable_password", routes=OTHERS, becomes=ACTION),
    Report(says="emptied", routes=BLOKS, becomes=ACTION),
    Report(says="passkey", routes=BLOKS, becomes=ACTION),
    Report(says="account_suggestion", routes=BLOKS, becomes=ACTION),
    # Nobody knows: the login stays, and the code counts as used.
    Report(says="unknown", routes=tuple(ROUTES), becomes=ACTION, doubt=True),
    Report(says="unknown_redirect", routes=OTHERS, becomes=ACTION, doubt=True),
    Report(says="new_screen", routes=BLOKS, becomes=ACTION, doubt=True),
    Report(says="new_program", routes=BLOKS, becomes=BROKEN, doubt=True),
    # The provider's own trouble, or trouble with the client.
    Report(says="old_version", routes=tuple(ROUTES), becomes=BROKEN),
    Report(says="upgrade", routes=OTHERS, becomes=BROKEN),
    Report(says="problem", routes=OTHERS, becomes=BROKEN),
    Report(says="throttled", routes=tuple(ROUTES), becomes=BROKEN),
    Report(says="spam", routes=tuple(ROUTES), becomes="403 resource_access_restricted"),
    Report(says="ip_block", routes=OTHERS, becomes="403 resource_access_restricted"),
    # The provider has let go of this login.
    Report(says="suspended", routes=tuple(ROUTES), becomes="403 account_restricted", intent=KILLED),
    Report(says="suspended_web", routes=OTHERS, becomes="403 account_restricted", intent=KILLED),
    Report(
        says="login_redirect",
        routes=OTHERS,
        becomes="500 authentication_intent_error",
        intent=KILLED,
    ),
    Report(
        says="logged_out",
        routes=tuple(ROUTES),
        becomes="500 authentication_intent_error",
        intent=KILLED,
    ),
)
PLAYS = [
    pytest.param(report, route, id=f"{report}-{route}")
    for report in SITUATIONS
    for route in report.routes
]


@pytest.mark.parametrize(("report", "route"), PLAYS)
def test_each_report_ends_as_it_should(deployment: Deployment, report: Report, route: str) -> None:
    """The code leaves once; the intent stands as the outcome says, and the counts with it."""
    person = person_at(deployment, route, report.says)
    code = person.wrong() if report.wrong else person.right()
    record = deployment.outcome(person.submit(code))
    assert told(record) == report.becomes
    assert (record.code_sent, person.sends(code)) == (True, 1)
    assert record.intent is not None
    assert record.intent.state.value == report.intent
    if report.intent == OPEN:
        left = deployment.settings.failures_max - report.wrong
        assert record.intent.failures_left == left
    assert doubts(deployment, person) == report.doubt
    if report.becomes == PASSED:
        session = session_of(deployment, person)
        needed = {"sessionid", "ds_user_id", "csrftoken", "mid"}
        assert {name for name in needed if session["jar"].get(name)} == needed
        assert session["user_id"] == session["jar"]["ds_user_id"] == person.account.user_id
        assert session["user_agent"]
        if report.says == "crowded":
            assert len(session["jar"]) < CROWD
        if report.says == "routed" and route not in BLOKS:
            assert session["jar"]["rur"] == ROUTED


@pytest.mark.parametrize(
    ("report", "route"),
    [each for each in PLAYS if each.values[0].wrong],  # type: ignore[union-attr]
)
def test_after_a_refused_code_the_right_one_ends_the_login(
    deployment: Deployment, report: Report, route: str
) -> None:
    """With the context of the refusal: tokens and identifiers may be new."""
    person = person_at(deployment, route, report.says)
    deployment.outcome(person.submit(person.wrong()))
    person.faults(kind="plain")
    assert told(deployment.outcome(person.submit(person.right()))) == PASSED


# What comes in ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["long_path", "native", "checkpoint"])
def test_a_checkpoint_is_found_by_every_spelling_of_its_path(
    deployment: Deployment, kind: str
) -> None:
    """As clients keep it, and with the flag that clients disagree about."""
    person = _person(deployment, kind, "EMAIL")
    assert told(deployment.outcome(person.submit(person.right()))) == PASSED


@pytest.mark.parametrize(
    "spelling",
    ["{0}", "https://i.instagram.com/api/v1{0}", "/api{0}", "api/v1{0}"],
)
def test_a_path_is_opened_as_the_first_step_spelled_it(
    deployment: Deployment, spelling: str
) -> None:
    """The intent is opened with any of them; the code goes to one place."""
    account = deployment.loops.do(deployment.sandbox.add_account, "INSTAGRAM", kind="checkpoint")
    login = deployment.loops.do(deployment.sandbox.begin_login, account)
    path = str(login.context["api_path"]).rstrip("/")
    person = Person(deployment, account)
    deployment.client.open_intent(
        account_id=account.id,
        provider="INSTAGRAM",
        checkpoint=login.checkpoint,
        user_id=login.user_id,
        context={**login.context, "api_path": spelling.format(path)},
    )
    deployment.persons.append(person)
    assert told(deployment.outcome(person.submit(person.right()))) == PASSED


@pytest.mark.parametrize("typed", ["{0}", "{1} {2}", "{1}-{2}", " {0} "])
def test_a_backup_code_is_taken_at_the_prompt_for_the_app(
    deployment: Deployment, typed: str
) -> None:
    """As the provider shows it, in two groups; the person has no other field."""
    person = _person(deployment, "spare_code", "APP")
    code = person.right()
    assert len(code) == 8
    record = deployment.outcome(person.submit(typed.format(code, code[:4], code[4:])))
    assert told(record) == PASSED
    person.typed[-1] = (person.typed[-1][0], code)


@pytest.mark.parametrize("source", ["APP", "SMS", "EMAIL", "BACKUP"])
def test_a_code_that_is_too_long_is_never_sent(deployment: Deployment, source: str) -> None:
    """Nine digits are no code of any kind; nothing is used up."""
    person = _person(deployment, "checkpoint" if source == "EMAIL" else "plain", source)
    with pytest.raises(Exception, match="too_many_characters"):
        person.submit("123456789")
    assert person.account.sends == []


@pytest.mark.parametrize(("kind", "field"), [("plain", "mid"), ("web", "csrftoken")])
def test_what_is_kept_beside_the_jar_is_enough(
    deployment: Deployment, kind: str, field: str
) -> None:
    """Client libraries hold the machine id and the token without a cookie."""
    account = deployment.loops.do(
        deployment.sandbox.add_account, "INSTAGRAM", source="SMS", kind=kind
    )
    login = deployment.loops.do(deployment.sandbox.begin_login, account)
    jar = {each["name"]: each["value"] for each in login.context["cookies"]}
    cookies = [each for each in login.context["cookies"] if each["name"] != field]
    person = Person(deployment, account)
    deployment.persons.append(person)
    deployment.client.open_intent(
        account_id=account.id,
        provider="INSTAGRAM",
        checkpoint=login.checkpoint,
        user_id=login.user_id,
        context={**login.context, "cookies": cookies, field: jar[field]},
    )
    record = deployment.outcome(person.submit(person.right()))
    assert told(record) == PASSED
    assert session_of(deployment, person)["jar"][field]


# Further steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["challenge", "challenge_web"])
def test_a_second_factor_by_whatsapp_follows_a_checkpoint(
    deployment: Deployment, route: str
) -> None:
    """The next checkpoint says where the person has to look, and its code ends the login."""
    person = person_at(deployment, route, "whatsapp")
    record = deployment.outcome(person.submit(person.right()))
    assert told(record) == "202 Checkpoint"
    assert dict(record.body or {})["checkpoint"] == {"type": "2FA", "source": "WHATSAPP"}
    assert told(deployment.outcome(person.submit(person.right()))) == PASSED


def test_the_second_code_of_a_chain_is_taken_for_a_bot_s(deployment: Deployment) -> None:
    """The first was right; the second tells nothing about it."""
    person = person_at(deployment, "two_factor", "chained")
    assert told(deployment.outcome(person.submit(person.right()))) == "202 Checkpoint"
    person.faults(kind="spam")
    record = deployment.outcome(person.submit(person.right()))
    assert told(record) == "403 resource_access_restricted"
    assert record.intent is not None
    assert record.intent.state.value == OPEN


@pytest.mark.parametrize(
    ("route", "ways"),
    [
        ("two_factor", {"APP", "BACKUP"}),
        ("challenge", {"EMAIL"}),
        ("bloks_two_factor", {"SMS", "BACKUP"}),
        ("web", {"SMS", "BACKUP"}),
    ],
)
def test_another_way_is_answered_with_the_methods(
    deployment: Deployment, route: str, ways: set[str]
) -> None:
    """Nothing is sent; the page that asks can show them."""
    person = person_at(deployment, route)
    record = deployment.outcome(person.submit("TRY_ANOTHER_WAY"))
    assert told(record) == ACTION
    detail = str(dict(record.body or {})["detail"])
    assert all(way in detail for way in ways), detail
    assert record.code_sent is False
    assert person.account.sends == []
