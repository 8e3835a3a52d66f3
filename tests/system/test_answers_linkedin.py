"""LINKEDIN: every answer that is known, through the real pipeline: Redis, a worker, HTTP."""

from __future__ import annotations

import pytest

from tests.support.answers import give, name, pair, play, written_otherwise
from tests.support.deployment import LINKEDIN, Deployment
from tests.support.known import ACTION, PASSED, REFUSED, Row
from tests.support.linkedin_rows import ROWS

SPELLINGS = [word for word, _ in written_otherwise("048213")]


@pytest.mark.parametrize("row", ROWS, ids=name)
def test_each_known_answer_becomes_what_the_page_says(deployment: Deployment, row: Row) -> None:
    """Sent once; outcome, intent and count of failures are the row's."""
    play(deployment, deployment.person(kind=row.scene).open(), row)


@pytest.mark.parametrize("word", SPELLINGS)
def test_a_code_is_sent_in_ascii_however_it_is_typed(deployment: Deployment, word: str) -> None:
    """Other scripts, invisible marks, spaces, dashes: the person cannot see or mend them."""
    person = deployment.person().open()
    code = person.right()
    record = deployment.outcome(person.submit(dict(written_otherwise(code))[word]))
    assert pair(record) == PASSED
    assert person.account.sends[-1].code == code
    person.typed[-1] = (person.typed[-1][0], code)  # As the deployment counts them.


@pytest.mark.parametrize("source", ["EMAIL", "SMS", "APP"])
def test_the_zeros_of_a_code_are_kept(deployment: Deployment, source: str) -> None:
    """A code is no number."""
    person = deployment.person(source=source).open()
    give(person, "000042", "EMAIL" if source == "APP" else source)  # type: ignore[arg-type]
    record = deployment.outcome(person.submit("000042"))
    assert person.account.sends[-1].code == "000042"
    assert pair(record) == (REFUSED if source == "APP" else PASSED)


@pytest.mark.parametrize(
    ("source", "words"), [("EMAIL", ["EMAIL"]), ("SMS", ["APP", "SMS"]), ("APP", ["APP", "SMS"])]
)
def test_another_way_names_the_methods_of_the_form(
    deployment: Deployment, source: str, words: list[str]
) -> None:
    """Source words alone; nothing is sent, and the code still works afterwards."""
    person = deployment.person(source=source).open()
    record = deployment.outcome(person.submit("TRY_ANOTHER_WAY"))
    assert (pair(record), record.code_sent) == (ACTION, False)
    detail = str((record.body or {})["detail"])
    assert f" {', '.join(words)}." in detail
    assert person.account.sends == []
    assert pair(deployment.outcome(person.submit(person.right()))) == PASSED


@pytest.mark.parametrize("host", ["www.linkedin.com", "linkedin.com", "de.linkedin.com"])
def test_an_address_of_the_provider_is_taken_for_its_path(
    deployment: Deployment, host: str
) -> None:
    """Apps are given the whole address of a challenge, and forms may have one as their action."""
    person = deployment.person()
    context = deployment.loops.do(deployment.sandbox.begin_login, person.account).context
    addresses = {name: f"https://{host}{context[name]}" for name in ("action", "referer")}
    person.open(context={**context, **addresses})
    assert pair(deployment.outcome(person.submit(person.right()))) == PASSED


def test_the_session_has_all_that_clients_go_on_with(deployment: Deployment) -> None:
    """Whole jar, its attributes, the token without quotes, the browser it belongs to."""
    person = deployment.person()
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    context = {**login.context, "headers": {"X-LI-Track": "{}", "Sec-Fetch-Dest": "document"}}
    person.open(context=context)
    assert pair(deployment.outcome(person.submit(person.right()))) == PASSED
    session = deployment.client.take_session(account_id=person.id, provider=LINKEDIN)
    assert session is not None
    cookies = {cookie["name"]: cookie for cookie in session["cookies"]}
    assert {"li_at", "JSESSIONID", "bcookie", "bscookie", "lidc"} <= cookies.keys()
    assert cookies["JSESSIONID"]["value"].startswith('"ajax:')
    assert session["csrf_token"] == cookies["JSESSIONID"]["value"].strip('"')
    assert session["headers"]["csrf-token"] == session["csrf_token"]
    assert session["headers"]["X-LI-Track"] == "{}"
    assert session["user_agent"] == login.context["user_agent"]
    assert session["public_identifier"] == person.account.handle
    assert cookies["li_at"]["httpOnly"] is True
    assert cookies["li_at"]["expires"] > 0
