"""MESSENGER: every answer that is known, through the real pipeline: Redis, a worker, HTTP."""

from __future__ import annotations

import pytest

from checkpoint_worker.tasks.operations.validation import CheckpointError
from tests.support.answers import give, name, pair, play, someone, written_otherwise
from tests.support.deployment import Deployment
from tests.support.known import ACTION, PASSED, Row
from tests.support.messenger_rows import ROWS

MESSENGER = "MESSENGER"
BACKUP = "12345678"
SPELLINGS = [word for word, _ in written_otherwise(BACKUP)]


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_each_known_answer_becomes_what_the_page_says(deployment: Deployment, row: Row) -> None:
    """Sent once; outcome, intent and count of failures are the row's."""
    play(deployment, someone(deployment, MESSENGER, source="APP", kind=row.scene).open(), row)


@pytest.mark.parametrize("source", ["APP", "SMS", "BACKUP"])
@pytest.mark.parametrize("word", ["as shown", *SPELLINGS])
def test_a_recovery_code_is_sent_at_every_prompt(
    deployment: Deployment, source: str, word: str
) -> None:
    """One field takes it; the person at the prompt has no other. However it is typed."""
    person = someone(deployment, MESSENGER, source=source).open()
    give(person, BACKUP, "BACKUP")
    typed = {"as shown": "1234 5678", **dict(written_otherwise(BACKUP))}[word]
    record = deployment.outcome(person.submit(typed))
    assert pair(record) == PASSED
    assert person.account.sends[-1].code == BACKUP
    person.typed[-1] = (person.typed[-1][0], BACKUP)  # As the deployment counts them.


@pytest.mark.parametrize("source", ["APP", "SMS", "BACKUP"])
@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("123456789", "too_many_characters"),
        ("123 456 789", "too_many_characters"),
        ("048213 271828", "invalid_request"),
        ("letter", "invalid_request"),
    ],
)
def test_what_no_code_of_this_provider_can_be_is_not_sent(
    deployment: Deployment, source: str, typed: str, word: str
) -> None:
    """Nine digits are none, two codes are none, letters are none."""
    person = someone(deployment, MESSENGER, source=source).open()
    with pytest.raises(CheckpointError) as caught:
        person.submit(typed)
    assert (caught.value.status, caught.value.body["type"]) == (400, f"errors/{word}")
    assert person.account.sends == []


@pytest.mark.parametrize("source", ["APP", "SMS", "BACKUP"])
def test_another_way_names_the_methods(deployment: Deployment, source: str) -> None:
    """Source words alone; nothing is sent, and the code still works afterwards."""
    person = someone(deployment, MESSENGER, source=source).open()
    record = deployment.outcome(person.submit("TRY_ANOTHER_WAY"))
    assert (pair(record), record.code_sent) == (ACTION, False)
    assert " SMS, APP, BACKUP." in str((record.body or {})["detail"])
    assert person.account.sends == []
    assert pair(deployment.outcome(person.submit(person.right()))) == PASSED


def test_the_session_has_all_that_clients_go_on_with(deployment: Deployment) -> None:
    """Cookies with their attributes, the token and its header, the device and the app."""
    person = someone(deployment, MESSENGER, source="APP")
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    headers = {"x-fb-connection-quality": "EXCELLENT", "x-fb-http-engine": "Tigon"}
    person.open(context={**login.context, "headers": headers})
    assert pair(deployment.outcome(person.submit(person.right()))) == PASSED
    session = deployment.client.take_session(account_id=person.id, provider=MESSENGER)
    assert session is not None
    cookies = {cookie["name"]: cookie for cookie in session["cookies"]}
    assert {"c_user", "xs", "datr", "fr"} <= cookies.keys()
    assert (cookies["xs"]["secure"], cookies["xs"]["httpOnly"]) == (True, True)
    assert cookies["xs"]["domain"] == ".facebook.com"
    token = session["access_token"]
    assert session["headers"] == {**headers, "Authorization": f"OAuth {token}"}
    assert session["device"] == login.context["device"]
    assert session["app"] == login.context["app"]
    assert session["machine_id"] == login.context["machine_id"]
    assert all(session[name] for name in ("session_key", "secret", "identifier"))


def test_the_answer_of_the_first_step_may_be_given_as_it_came(deployment: Deployment) -> None:
    """``error_data`` whole, under the names of other apps, as an object or a text."""
    for names in ({}, {"uid": "userid", "login_first_factor": "first_factor"}):
        person = someone(deployment, MESSENGER, source="APP")
        login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
        inside = ("uid", "login_first_factor", "machine_id", "auth_token")
        data = {names.get(each, each): login.context[each] for each in inside}
        kept = {key: value for key, value in login.context.items() if key not in inside}
        person.open(context={**kept, "error_data": data})
        assert pair(deployment.outcome(person.submit(person.right()))) == PASSED
