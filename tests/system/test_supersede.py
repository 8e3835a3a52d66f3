"""A newer code arrives: the older one is answered at once, the newer gets its own outcome."""

import redis

from checkpoint_worker.tasks.model import IntentState
from checkpoint_worker.tasks.records import Outcome
from tests.support.deployment import BOUND_S, PATIENT, Deployment, Person, until
from tests.support.fixtures import NewDeployment


def assert_superseded(record: Outcome, newer: str, *, sent: bool) -> None:
    """Assert the older one's record: 409, naming its successor."""
    assert (record.status, record.superseded_by, record.code_sent) == (409, newer, sent)
    assert str((record.body or {})["type"]) == "errors/operation_canceled"


def final_now(deployment: Deployment, submission_id: str) -> Outcome:
    """Return a record that has to be final without any wait."""
    record = deployment.client.result(submission_id)
    assert record is not None
    assert record.is_final, record
    return record


def test_newer_code_wins_while_no_worker_runs_yet(new_deployment: NewDeployment) -> None:
    """The older one is final with the commit that accepts the newer; only the newer is sent."""
    deployment = new_deployment(**PATIENT)
    person = deployment.person().open()
    old, new = person.wrong(), person.right()
    older = person.submit(old)
    newer = person.submit(new)
    assert_superseded(final_now(deployment, older), newer, sent=False)
    deployment.worker()
    record = deployment.outcome(newer)
    assert (record.status, record.supersedes) == (201, older)
    assert (person.sends(old), person.sends(new)) == (0, 1)


def test_newer_code_wins_while_the_worker_stands_still(new_deployment: NewDeployment) -> None:
    """Nobody needs the worker to be answered; when it goes on it sends the newer alone."""
    deployment = new_deployment(**PATIENT)
    worker = deployment.worker()
    person = deployment.person().open()
    worker.stop()
    old, new = person.wrong(), person.right()
    older, newer = person.submit(old), person.submit(new)
    assert_superseded(final_now(deployment, older), newer, sent=False)
    worker.go_on()
    assert deployment.outcome(newer).status == 201
    assert (person.sends(old), person.sends(new)) == (0, 1)


def test_newer_code_wins_before_the_older_one_is_sent(deployment: Deployment) -> None:
    """The older one's connection stands, no byte has left: it is closed and never used."""
    person = deployment.person()
    with deployment.gate() as gate:
        person.open(proxy=gate.url)
        old, new = person.wrong(), person.right()
        older = person.submit(old)
        gate.wait_for(1)
        newer = person.submit(new)
        assert_superseded(final_now(deployment, older), newer, sent=False)
        gate.wait_left(1)
        gate.wait_for(2)
        gate.open()
        assert deployment.outcome(newer).status == 201
    assert (person.sends(old), person.sends(new)) == (0, 1)


def test_newer_code_wins_after_the_older_one_was_sent(deployment: Deployment) -> None:
    """The older one is 409 at once; its exchange drains, then the newer is sent: never two."""
    person = deployment.person().open().faults(hang=True)
    old, new = person.wrong(), person.right()
    older = person.submit(old)
    person.received(1)
    person.faults()
    newer = person.submit(new)
    assert_superseded(final_now(deployment, older), newer, sent=True)
    assert person.account.open_exchanges == 1
    record = deployment.outcome(newer)
    assert (record.status, record.code_sent) == (201, True)
    assert (person.sends(old), person.sends(new)) == (1, 1)
    assert person.account.max_open_exchanges == 1


def test_the_older_one_s_refusal_counts_though_nobody_waits_for_it(deployment: Deployment) -> None:
    """A verdict counts by generation and claim: the failure is real, the newer goes on."""
    person = deployment.person().open().hold()
    older = person.submit(person.wrong())
    person.received(1)
    newer = person.submit(person.right())
    person.release()
    record = deployment.outcome(newer)
    assert record.status == 201
    assert record.intent is not None
    assert record.intent.failures == 1
    assert final_now(deployment, older).status == 409


def test_an_older_one_that_clears_gives_the_waiting_newer_its_success(
    deployment: Deployment,
) -> None:
    """201 without a send: the login is done, a second code would only do harm."""
    person = deployment.person().open().hold()
    right, other = person.right(), person.wrong()
    older = person.submit(right)
    person.received(1)
    newer = person.submit(other)
    person.release()
    record = deployment.outcome(newer)
    assert (record.status, record.code_sent) == (201, False)
    assert_superseded(final_now(deployment, older), newer, sent=True)
    assert (person.sends(right), person.sends(other)) == (1, 0)


def test_an_older_one_s_next_checkpoint_answers_the_newer(deployment: Deployment) -> None:
    """Its code was for the old step: 202, not sent; the next step takes a new code."""
    person = deployment.person(kind="chained").open().hold()
    person.submit(person.right())
    person.received(1)
    other = person.wrong()
    newer = person.submit(other)
    person.release()
    record = deployment.outcome(newer)
    assert (record.status, record.code_sent) == (202, False)
    assert person.sends(other) == 0
    assert deployment.outcome(person.submit(person.right())).status == 201


def test_a_double_click_is_sent_once_and_both_are_answered(deployment: Deployment) -> None:
    """The same code on the wire already: the newer takes its verdict, nothing drains."""
    person = deployment.person().open().hold()
    code = person.right()
    older = person.submit(code)
    person.received(1)
    newer = person.submit(code)
    assert_superseded(final_now(deployment, older), newer, sent=True)
    person.release()
    record = deployment.outcome(newer)
    assert (record.status, record.code_sent) == (201, False)
    assert person.sends(code) == 1


def test_a_double_click_shares_the_silence_as_well(deployment: Deployment) -> None:
    """No verdict: the newer gets the older one's error, unsent; typed again it is sent."""
    person = deployment.person().open().hold()
    code = person.right()
    person.submit(code)
    person.received(1)
    record = deployment.outcome(person.submit(code))
    assert (record.status, record.code_sent) == (408, False)
    assert person.sends(code) == 1
    person.release()
    until(lambda: person.account.open_exchanges == 0, "the end of the held exchange")
    again = deployment.outcome(person.submit(code))
    assert again.code_sent is True
    assert person.sends(code) == 2


def test_five_codes_in_a_row_leave_one_outcome_of_the_last(deployment: Deployment) -> None:
    """Many clicks lock nobody out: all but the last are 409, the last is sent."""
    person = deployment.person().open().faults(hang=True)
    ids = [person.submit(person.wrong())]
    person.received(1)
    person.faults()
    ids += [person.submit(person.wrong()) for _ in range(3)]
    last = person.submit(person.right())
    for older, newer in zip(ids, [*ids[1:], last], strict=True):
        assert_superseded(final_now(deployment, older), newer, sent=older == ids[0])
    assert deployment.outcome(last).status == 201
    assert len(person.account.sends) == 2


def test_the_older_one_s_record_and_the_newer_s_are_published_by_one_commit(
    deployment: Deployment,
) -> None:
    """A reader who sees the newer accepted never finds the older one unanswered."""
    person = deployment.person().open().hold()
    older = person.submit(person.wrong())
    person.received(1)
    keys = deployment.client._core.store.keys
    with redis.Redis.from_url(deployment.url, decode_responses=True) as client:
        channel = client.pubsub()
        channel.subscribe(keys.account_results(person.id), keys.signals)
        for _ in range(2):
            assert channel.get_message(timeout=BOUND_S)
        newer = person.submit(person.right())
        heard = channel.get_message(timeout=BOUND_S)
        assert heard is not None
        record = Outcome.model_validate_json(heard["data"])
        assert (record.submission_id, record.superseded_by) == (older, newer)
        assert client.exists(keys.result(newer))
        channel.close()
    person.release()
    deployment.outcome(newer)


# Kill, cancel, reopen ------------------------------------------------------------------


def held(deployment: Deployment) -> tuple[Person, str]:
    """Return a person whose code the provider has and does not answer."""
    person = deployment.person().open().hold()
    submission = person.submit(person.right())
    person.received(1)
    return person, submission


def test_a_kill_closes_the_exchange_at_once(deployment: Deployment) -> None:
    """500, and nobody goes on talking to the provider."""
    person, submission = held(deployment)
    info = deployment.client.kill_intent(person.id, person.provider)
    assert info is not None
    assert info.state is IntentState.KILLED
    record = final_now(deployment, submission)
    assert (record.status, record.code_sent) == (500, True)
    until(lambda: person.account.open_exchanges == 0, "the worker to hang up")
    assert deployment.outcome(person.submit(person.right())).status == 500
    assert len(person.account.sends) == 1


def test_a_canceled_code_on_the_wire_is_409_and_drains(deployment: Deployment) -> None:
    """Canceled by the caller: no successor; the exchange is closed by the end of the drain."""
    person, submission = held(deployment)
    record = deployment.client.cancel(submission)
    assert record is not None
    assert (record.status, record.superseded_by, record.code_sent) == (409, None, True)
    until(lambda: person.account.open_exchanges == 0, "the worker to hang up")
    assert deployment.client.cancel(submission) == record, "a second cancel changes nothing"
    assert deployment.client.cancel("never-heard-of") is None


def test_a_canceled_code_that_waits_is_never_sent(new_deployment: NewDeployment) -> None:
    """409 without a send, also when its wake arrives afterwards."""
    deployment = new_deployment(**PATIENT)
    person = deployment.person().open()
    code = person.right()
    submission = person.submit(code)
    record = deployment.client.cancel(submission)
    assert record is not None
    assert (record.status, record.superseded_by, record.code_sent) == (409, None, False)
    deployment.worker()
    until(lambda: deployment.queue_length() == 0, "the wake to be taken")
    after = deployment.outcome(person.submit(person.right()))
    assert after.status == 201
    assert person.sends(code) == 1, "by the second submission of it"


def test_a_login_opened_again_leaves_the_old_exchange_behind(deployment: Deployment) -> None:
    """The old answer belongs to no one; the new login waits until that exchange is over."""
    person, submission = held(deployment)
    person.open()
    record = final_now(deployment, submission)
    assert (record.status, record.code_sent, record.superseded_by) == (409, True, None)
    code = person.right()
    newer = person.submit(code)
    person.received(2)
    person.release()
    fresh = deployment.outcome(newer)
    assert (fresh.status, fresh.generation) == (201, 2)
    assert person.account.max_open_exchanges == 1
