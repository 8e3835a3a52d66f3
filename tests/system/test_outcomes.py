"""Every code gets exactly one outcome: the plain stories, in a real worker."""

import pytest

from checkpoint_worker.tasks.model import IntentState
from tests.support.deployment import Deployment, until
from tests.support.fixtures import NewDeployment


def test_a_right_code_completes_the_login(deployment: Deployment) -> None:
    """201, the intent is complete, one send: what the product is for."""
    person = deployment.person().open()
    record = deployment.outcome(person.submit(person.right()))
    assert (record.status, record.code_sent) == (201, True)
    assert record.body == {"object": "AccountCreated", "account_id": person.id}
    assert record.intent is not None
    assert record.intent.state is IntentState.COMPLETED
    assert record.queued_at is not None
    assert record.started_at is not None
    assert record.finished_at is not None
    assert record.queued_at <= record.started_at <= record.finished_at


def test_a_reconnect_is_answered_in_its_own_words(deployment: Deployment) -> None:
    """The purpose of the intent decides the body of the success."""
    person = deployment.person().open(purpose="reconnect")
    record = deployment.outcome(person.submit(person.right()))
    assert record.body == {"object": "AccountReconnected", "account_id": person.id}


def test_a_code_after_the_end_is_refused_and_not_sent(deployment: Deployment) -> None:
    """A completed intent takes no further code."""
    person = deployment.person().open()
    deployment.outcome(person.submit(person.right()))
    late = deployment.outcome(person.submit(person.wrong()))
    assert (late.status, late.code_sent) == (409, False)
    assert str((late.body or {})["type"]) == "errors/already_exists"


def test_a_wrong_code_costs_one_try_and_leaves_the_login_open(deployment: Deployment) -> None:
    """401 and one failure; the right code still works afterwards."""
    person = deployment.person().open()
    record = deployment.outcome(person.submit(person.wrong()))
    assert (record.status, record.code_sent) == (401, True)
    assert record.intent is not None
    assert (record.intent.failures, record.intent.failures_left) == (1, 2)
    assert record.intent.state is IntentState.OPEN
    assert deployment.outcome(person.submit(person.right())).status == 201


def test_the_third_wrong_code_kills_and_later_ones_are_not_sent(deployment: Deployment) -> None:
    """Killed is absorbing: even the right code is answered 500, without a send."""
    person = deployment.person().open()
    statuses = [deployment.outcome(person.submit(person.wrong())).status for _ in range(3)]
    assert statuses == [401, 401, 500]
    right = person.right()
    later = deployment.outcome(person.submit(right))
    assert (later.status, later.code_sent) == (500, False)
    assert later.intent is not None
    assert (later.intent.state, later.intent.failures) == (IntentState.KILLED, 3)
    assert person.sends(right) == 0
    assert len(person.account.sends) == 3


def test_silence_of_the_provider_is_408_and_the_code_counts_as_sent(deployment: Deployment) -> None:
    """Hanging up does not un-send; the login stays open for another code."""
    person = deployment.person().open().faults(hang=True)
    record = deployment.outcome(person.submit(person.wrong()))
    assert (record.status, record.code_sent) == (408, True)
    assert "may have been used" in str((record.body or {})["detail"])
    until(lambda: person.account.open_exchanges == 0, "the worker to hang up")
    person.faults()
    assert deployment.outcome(person.submit(person.right())).status == 201


def test_without_an_intent_nothing_is_sent(deployment: Deployment) -> None:
    """403 at once: missing is not fresh."""
    person = deployment.person()
    record = deployment.outcome(person.submit("123456"))
    assert (record.status, record.code_sent, record.intent) == (403, False, None)
    assert str((record.body or {})["type"]) == "errors/unknown_authentication_context"
    assert person.sends("123456") == 0


def test_a_further_checkpoint_is_202_and_its_code_completes(deployment: Deployment) -> None:
    """The intent goes on with the new checkpoint and the context that came with it."""
    person = deployment.person(kind="chained").open()
    first = deployment.outcome(person.submit(person.right()))
    assert (first.status, first.code_sent) == (202, True)
    assert first.body == {
        "object": "Checkpoint",
        "account_id": person.id,
        "checkpoint": {"type": "2FA", "source": "SMS"},
    }
    assert deployment.outcome(person.submit(person.right())).status == 201


def test_the_session_is_taken_once(deployment: Deployment) -> None:
    """The same taker may repeat, for a reply can be lost; nobody else gets it."""
    person = deployment.person().open()
    deployment.outcome(person.submit(person.right()))
    session = deployment.client.take_session(person.id, person.provider, "backend")
    assert session is not None
    assert any(cookie["name"] == "li_at" for cookie in session["cookies"])
    assert deployment.client.take_session(person.id, person.provider, "other") is None
    assert deployment.client.take_session(person.id, person.provider, "backend") == session


def test_a_user_who_belongs_to_another_account_is_409(deployment: Deployment) -> None:
    """One provider user, one account here: told by the completing commit itself."""
    first = deployment.person(user_id="555000111").open()
    deployment.outcome(first.submit(first.right()))
    second = deployment.person(user_id="555000111").open(user_id=None)
    record = deployment.outcome(second.submit(second.right()))
    assert (record.status, record.code_sent) == (409, True)
    assert str((record.body or {})["type"]) == "errors/already_exists"


def test_another_user_than_the_expected_one_kills(deployment: Deployment) -> None:
    """403 ``account_mismatch``: credentials of somebody else."""
    person = deployment.person().open(user_id="1")
    record = deployment.outcome(person.submit(person.right()))
    assert (record.status, record.code_sent) == (403, True)
    assert str((record.body or {})["type"]) == "errors/account_mismatch"
    assert record.intent is not None
    assert record.intent.state is IntentState.KILLED


@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [("restricted", 403, "killed"), ("captcha", 403, "open"), ("throttled", 500, "open")],
)
def test_what_the_provider_says_instead_decides(
    deployment: Deployment, kind: str, status: int, state: str
) -> None:
    """Each answer of a provider has one pair of the catalogue and one effect."""
    person = deployment.person(kind=kind).open()
    record = deployment.outcome(person.submit(person.right()))
    assert (record.status, record.code_sent) == (status, True)
    assert record.intent is not None
    assert (record.intent.state, record.intent.failures) == (state, 0)


def test_a_proxy_that_lets_nobody_through_is_an_unsent_failure(deployment: Deployment) -> None:
    """Connecting failed: the code never left, and the record says so."""
    person = deployment.person()
    with deployment.gate() as gate:
        person.open(proxy=gate.url)
        code = person.right()
        record = deployment.outcome(person.submit(code))
    assert (record.status, record.code_sent) == (502, False)
    assert person.sends(code) == 0
    assert deployment.client.intent(person.id, person.provider).faults == 1  # type: ignore[union-attr]


def test_a_queue_that_nobody_serves_is_504_by_the_reader(new_deployment: NewDeployment) -> None:
    """Even with no worker alive a question gets an answer, by the deadline and a second."""
    deployment = new_deployment()
    person = deployment.person().open()
    code = person.right()
    record = deployment.outcome(person.submit(code))
    assert (record.status, record.code_sent) == (504, False)
    assert record.queued_at is not None
    assert record.finished_at is not None
    waited_s = (record.finished_at - record.queued_at).total_seconds()
    assert deployment.settings.deadline_s <= waited_s <= deployment.settings.deadline_s + 5
    worker = deployment.worker()
    until(lambda: deployment.queue_length() == 0, "the late wake to be taken")
    assert worker.terminate() == 0
    assert person.sends(code) == 0
