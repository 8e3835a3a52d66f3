"""What TWITTER really answers, through the whole pipeline: Redis, a worker, HTTP, the session."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import pytest

from checkpoint_worker.providers.sandbox.twitter_answers import HINTS
from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError
from tests.support.deployment import Deployment, Person

TWITTER: Final = "TWITTER"


class Row(NamedTuple):
    """What becomes of a code.

    Attributes:
        pair: Status and type, or object.
        intent: How the intent stands then.
        failures: Counted refusals.
    """

    pair: str
    intent: str = "open"
    failures: int = 0


PASSED: Final = Row("201 AccountCreated", "completed")
FURTHER: Final = Row("202 Checkpoint")
REFUSED: Final = Row("401 invalid_checkpoint_solution", "open", 1)
ACTION: Final = Row("403 action_required")
BLOCKED: Final = Row("403 resource_access_restricted")
BROKEN: Final = Row("500 provider_error")
MALFORMED: Final = Row("400 malformed_request")
LOCKED: Final = Row("403 account_restricted", "killed")
MISMATCH: Final = Row("403 session_mismatch", "killed")
DEAD: Final = Row("500 authentication_intent_error", "killed")

RIGHT: Final = {
    # A session, whatever stands around it
    "plain": PASSED,
    "at_once": PASSED,
    "exit": PASSED,
    "check_forbidden": PASSED,
    "behind_notice": PASSED,
    "many_cookies": PASSED,
    "twid_with_more": PASSED,
    "empty_errors": PASSED,
    "token_less": PASSED,
    "token_asked": PASSED,
    "asked_only": PASSED,
    "mobile": PASSED,
    "session_in_redirect": PASSED,
    "session_in_redirect_to_login": PASSED,
    "session_in_page": PASSED,
    "session_in_bare_403": PASSED,
    "session_in_error": PASSED,
    "session_in_refusal": PASSED,
    "session_in_failure": PASSED,
    "session_in_unknown": PASSED,
    "session_in_denial": PASSED,
    # Identity and named steps hold
    "stranger": Row("403 account_mismatch", "killed"),
    "contradiction": BROKEN,
    "nobody": BROKEN,
    "session_and_captcha": ACTION,
    "session_and_code": FURTHER,
    "chained": FURTHER,
    # Screens that are known, and one that is not
    "captcha": ACTION,
    "captcha_error": ACTION,
    "choose_method": ACTION,
    "password": ACTION,
    "reset": ACTION,
    "security_key": ACTION,
    "birthday": ACTION,
    "script": ACTION,
    "denied": ACTION,
    "access_denied": ACTION,
    "then_address": ACTION,
    "redirected_to_access": ACTION,
    "unknown": ACTION,
    "unknown_null": ACTION,
    # Doubt
    "sessionless": BROKEN,
    "bare_401": BROKEN,
    "bare_403": BROKEN,
    "bare_404": BROKEN,
    "teapot": BROKEN,
    "redirected": BROKEN,
    "page": BROKEN,
    "retriable": BROKEN,
    "unknown_error": BROKEN,
    "unknown_forbidden": BROKEN,
    # The operator's matter, not the person's
    "client_refused": BLOCKED,
    "client_refused_german": BLOCKED,
    "blocked": BLOCKED,
    "mitigated": BLOCKED,
    "refused": BROKEN,
    "limited": BROKEN,
    "throttled": BROKEN,
    "flow_failed": BROKEN,
    "value_invalid": MALFORMED,
    "wrong_step": MALFORMED,
    # What the provider says it has ended
    "suspended": LOCKED,
    "locked": LOCKED,
    "denied_suspended": LOCKED,
    "csrf": MISMATCH,
    "guest_expired": DEAD,
    "flow_dead": DEAD,
    "starts_again": DEAD,
    "redirected_to_login": DEAD,
}
WRONG: Final = (
    "plain", "reprompts", "errors_in_200", "refused_german", "refused_japanese", "refused_arabic",
    "refused_pin", "refused_expired", "refused_by_toast", "refused_by_dialog",
)  # fmt: skip


def open_login(
    deployment: Deployment, kind: str = "plain", source: str = "APP", **changes: Any
) -> Person:
    """Begin a login and open its intent, its context changed here and there."""
    account = deployment.loops.do(deployment.sandbox.add_account, TWITTER, kind=kind, source=source)
    deployment.persons.append(Person(deployment, account))
    person = deployment.persons[-1]
    login = deployment.loops.do(deployment.sandbox.begin_login, account)
    return person.open(context={**login.context, **changes}) if changes else person.open()


def refuse_login(deployment: Deployment, field: str, kind: str = "plain", **options: Any) -> None:
    """Begin a login whose intent is refused at the opening, by the name of a field."""
    with pytest.raises(CheckpointError, match=field) as caught:
        open_login(deployment, kind, **options)
    assert caught.value.status == 400
    assert deployment.persons[-1].account.sends == []


def become(deployment: Deployment, person: Person, code: str) -> tuple[Row, dict[str, Any]]:
    """Submit a code; return what became of it, and the body."""
    record = deployment.outcome(person.submit(code))
    assert record.body is not None
    assert record.intent is not None
    word = str(record.body.get("type", record.body["object"])).removeprefix("errors/")
    row = Row(f"{record.status} {word}", record.intent.state.value, record.intent.failures)
    return row, dict(record.body)


def take(client: CheckpointClient, person: Person) -> dict[str, Any]:
    """Take the finished login over."""
    session = client.take_session(person.id, TWITTER)
    assert session is not None
    return dict(session)


@pytest.mark.parametrize(("kind", "expected"), RIGHT.items(), ids=RIGHT)
def test_what_is_said_after_the_right_code(
    deployment: Deployment, kind: str, expected: Row
) -> None:
    """Status, intent and count are those of the page; a session that was given is there."""
    person = open_login(deployment, kind)
    code = person.right()
    row, body = become(deployment, person, code)
    assert row == expected, body
    assert person.sends(code) == 1
    if expected != PASSED:
        return
    session = take(deployment.client, person)
    assert session["user_id"] == person.account.user_id
    assert session["provider"] == TWITTER
    cookies = {each["name"]: each["value"] for each in session["cookies"]}
    if kind == "mobile":
        assert session["oauth_token_secret"]
        return
    assert cookies["auth_token"]
    assert cookies["ct0"] == session["csrf_token"] == session["headers"]["x-csrf-token"]
    assert session["headers"]["authorization"].startswith("Bearer ")
    assert session["user_agent"]


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_code_is_counted_and_the_right_one_works_after_it(
    deployment: Deployment, kind: str
) -> None:
    """However the refusal is worded or shown, it is no unknown step, and ends nothing."""
    person = open_login(deployment, kind, source="SMS")
    row, body = become(deployment, person, person.wrong())
    assert row == REFUSED, body
    assert become(deployment, person, person.right())[0] == PASSED._replace(failures=1)


@pytest.mark.parametrize("kind", HINTS)
def test_a_code_goes_where_a_code_is_asked_for(deployment: Deployment, kind: str) -> None:
    """The caller said that one was mailed; only a field that plainly asks for else gets none."""
    if kind not in {"hint_verification", "hint_german", "hint_japanese", "hint_empty"}:
        refuse_login(deployment, "context.hint_text", kind, source="EMAIL")
        return
    person = open_login(deployment, kind, source="EMAIL")
    code = person.right()
    row, body = become(deployment, person, code)
    assert row == PASSED, body
    assert person.sends(code)


@pytest.mark.parametrize("keyboard", ["email", "number"])
def test_the_keyboard_says_more_than_the_hint(deployment: Deployment, keyboard: str) -> None:
    """It is the same word in every language."""
    said = {"keyboard_type": keyboard, "hint_text": "Email address"}
    if keyboard == "email":
        said["hint_text"] = "XYZ"
        refuse_login(deployment, "context.keyboard_type", source="EMAIL", **said)
        return
    person = open_login(deployment, source="EMAIL", **said)
    code = person.right()
    row, _ = become(deployment, person, code)
    assert row == PASSED
    assert person.sends(code)


@pytest.mark.parametrize("source", ["APP", "SMS"])
def test_a_backup_code_is_taken_at_another_prompt(deployment: Deployment, source: str) -> None:
    """The subtask has one field for all of them, and the person has no other."""
    person = open_login(deployment, source=source)
    row, _ = become(deployment, person, "a1b2 c3d4-e5f6")
    assert row == REFUSED, "it was sent and judged"
    assert [send.code for send in person.account.sends] == ["a1b2c3d4e5f6"]
    person.typed = [(person.typed[0][0], "a1b2c3d4e5f6")]  # It is sent without its gaps.


@pytest.mark.parametrize("code", ["1234567", "abcdef", "123456 654321", "☎"])
def test_what_is_no_code_of_the_prompt_is_refused_before_anything_is_stored(
    deployment: Deployment, code: str
) -> None:
    """Neither six digits nor a whole backup code, or two codes in one."""
    person = open_login(deployment)
    with pytest.raises(CheckpointError) as caught:
        person.submit(code)
    assert caught.value.status == 400
    assert person.account.sends == []


@pytest.mark.parametrize("zero", ["\u0660", "\u0966", "\uff10", "\U0001d7ce"], ids=ascii)
def test_digits_of_other_scripts_and_unseen_marks_arrive_as_digits(
    deployment: Deployment, zero: str
) -> None:
    """Also with a mark for the direction, a byte order mark and a full stop."""
    person = open_login(deployment, source="SMS")
    code = person.right()
    typed = "\u200f\ufeff" + "".join(chr(ord(zero) + int(digit)) for digit in code) + "\u2069."
    row, _ = become(deployment, person, typed)
    assert row == PASSED
    assert person.sends(code) == 1
    person.typed = [(person.typed[0][0], code)]  # It is sent in digits that providers take.


@pytest.mark.parametrize(
    ("source", "changes", "ways"),
    [
        ("APP", {}, "APP, BACKUP"),
        ("APP", {"methods": []}, "APP, SMS, BACKUP"),
        ("EMAIL", {}, "EMAIL, SMS"),
        ("SMS", {"methods": ["Code per SMS an +49 *** 12 senden", "Ersatzcode"]}, "SMS, BACKUP"),
    ],
)
def test_another_way_names_the_methods_as_words_of_ours(
    deployment: Deployment, source: str, changes: dict[str, Any], ways: str
) -> None:
    """Never what the provider wrote, which has numbers and addresses in it."""
    person = open_login(deployment, source=source, **changes)
    record = deployment.outcome(person.submit("TRY_ANOTHER_WAY"))
    assert record.body is not None
    assert (record.status, record.body["type"]) == (403, "errors/action_required")
    assert f": {ways}." in str(record.body["detail"])
    assert "12" not in str(record.body["detail"])
    assert record.code_sent is False
    assert person.account.sends == []


def test_doubt_is_no_way_to_guess(deployment: Deployment) -> None:
    """As many codes in doubt as may be refused, then none is sent; the login is not ended."""
    person = open_login(deployment, source="SMS")
    for _ in range(deployment.settings.failures_max):
        person.faults(kind="retriable")
        code = person.right()
        assert become(deployment, person, code)[0] == BROKEN
        person.faults()
        deployment.loops.do(person.account.deliver, "SMS")
    row, body = become(deployment, person, person.right())
    assert row == ACTION
    assert "not sent" in body["detail"]
    assert len(person.account.sends) == deployment.settings.failures_max
