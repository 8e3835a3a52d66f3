"""Workers die, stand still, come late and leave: at most one send, exactly one outcome."""

from __future__ import annotations

from datetime import timedelta

from checkpoint_worker.tasks.model import IntentState
from tests.support.deployment import PATIENT, Deployment, Person, Worker, until
from tests.support.fixtures import NewDeployment

ROOMY = PATIENT | {"provider_timeout_s": 4.0, "connect_timeout_s": 40.0}


def test_a_worker_that_died_with_a_wake_is_replaced(new_deployment: NewDeployment) -> None:
    """The message may have died with it; the sweeper of the next worker wakes it again."""
    deployment = new_deployment(**ROOMY)
    first = deployment.worker()
    first.stop()
    person = deployment.person().open()
    code = person.right()
    submission = person.submit(code)
    first.kill()
    deployment.redis.delete(deployment.prefix)
    deployment.worker()
    record = deployment.outcome(submission)
    assert (record.status, record.code_sent) == (201, True)
    assert person.sends(code) == 1


def test_a_worker_that_died_while_connecting_is_replaced(new_deployment: NewDeployment) -> None:
    """Nothing was claimed, so another one may send it: once."""
    deployment = new_deployment(**ROOMY)
    first = deployment.worker()
    person = deployment.person()
    with deployment.gate() as gate:
        person.open(proxy=gate.url)
        code = person.right()
        submission = person.submit(code)
        gate.wait_for(1)
        deployment.worker()
        first.kill()
        gate.open()
        assert deployment.outcome(submission).status == 201
    assert person.sends(code) == 1


def test_a_worker_that_died_after_the_send_leaves_the_wire_busy(
    new_deployment: NewDeployment,
) -> None:
    """504, the code may have been used; a newer one waits until that exchange must be over."""
    deployment = new_deployment(**ROOMY)
    deployment.start_worker()
    deployment.start_worker()
    for worker in deployment._workers:
        worker.wait_ready()
    person = deployment.person().open()
    person.faults(hang=True)
    old, new = person.wrong(), person.right()
    older = person.submit(old)
    person.received()
    person.faults()
    deployment.holder(person).kill()
    record = deployment.outcome(older)
    assert (record.status, record.code_sent) == (504, True)
    newer = person.submit(new)
    after = deployment.outcome(newer)
    assert (after.status, after.code_sent) == (201, True)
    assert record.started_at is not None
    assert record.finished_at is not None
    assert after.queued_at is not None
    assert after.started_at is not None
    limit = timedelta(seconds=deployment.settings.provider_timeout_s)
    assert after.started_at - record.started_at >= limit
    assert after.queued_at - record.started_at < limit, "or it would have waited for nothing"
    assert (person.sends(old), person.sends(new)) == (1, 1)


def freeze(deployment: Deployment) -> tuple[Person, str, Worker]:
    """Send a code, stop the worker that holds it until it is taken for lost; then release."""
    person = deployment.person().open()
    person.hold()
    submission = person.submit(person.right())
    person.received()
    holder = deployment.holder(person)
    holder.stop()
    record = deployment.outcome(submission)
    assert (record.status, record.code_sent) == (504, True)
    assert record.finished_at is not None
    assert record.started_at is not None
    taken_s = (record.finished_at - record.started_at).total_seconds()
    assert taken_s < deployment.settings.provider_timeout_s, "it was not the worker's loss"
    return person, submission, holder


def test_a_worker_that_stood_still_is_heard_when_it_goes_on(new_deployment: NewDeployment) -> None:
    """t=0 sent · t=1 it stands still, 504 · t=2 it goes on and hears that the code was right.

    The record stays; the login is done all the same, and a waiting submission profits from it.
    """
    deployment = new_deployment(**ROOMY | {"provider_timeout_s": 8.0})
    for worker in [deployment.start_worker(), deployment.start_worker()]:
        worker.wait_ready()

    person, submission, holder = freeze(deployment)
    person.release()
    holder.go_on()
    until(
        lambda: deployment.client.intent(person.id, person.provider).state is IntentState.COMPLETED,  # type: ignore[union-attr]
        "the verdict",
    )
    told = until(lambda: deployment.publications.of(None), "the intent's own message")
    assert [(each["state"], each["account_id"]) for each in told] == [("intent", person.id)]
    record = deployment.client.result(submission)
    assert record is not None
    assert record.status == 504, "a final record never changes"
    assert len(person.account.sends) == 1

    person, _, holder = freeze(deployment)
    other = person.wrong()
    newer = person.submit(other)
    person.release()
    holder.go_on()
    record = deployment.outcome(newer)
    assert (record.status, record.code_sent) == (201, False)
    assert person.sends(other) == 0


def test_a_backlog_is_shared_by_the_workers_that_come(new_deployment: NewDeployment) -> None:
    """Codes that wait for the first worker are sent once each, by either of two."""
    deployment = new_deployment(
        lost_after_s=20.0, **ROOMY
    )  # None dies; one may starve for a second.
    persons = [deployment.person().open() for _ in range(40)]
    submissions = [person.submit(person.right()) for person in persons]
    workers = [deployment.start_worker(), deployment.start_worker()]
    for submission in submissions:
        assert deployment.outcome(submission).status == 201
    for worker in workers:
        worker.wait_ready()
        assert "worker.lost" not in worker.log
    assert [len(person.account.sends) for person in persons] == [1] * 40


def test_a_worker_asked_to_end_lets_its_exchange_finish(new_deployment: NewDeployment) -> None:
    """SIGTERM: what was sent gets its verdict, then the worker leaves the ledger, exit 0."""
    deployment = new_deployment(**ROOMY)
    worker = deployment.worker("-l", "INFO")
    person = deployment.person().open()
    person.hold()
    submission = person.submit(person.right())
    person.received()
    worker.process.terminate()
    until(lambda: "pool.draining" in worker.log, "the drain")
    assert worker.process.poll() is None
    person.release()
    assert deployment.outcome(submission).status == 201
    assert worker.process.wait(30) == 0
    assert worker.name is None, "nobody has to wait for it"


def test_a_worker_asked_to_end_with_nothing_to_do_ends(new_deployment: NewDeployment) -> None:
    """Exit 0, and no trace in the ledger that a sweeper would have to judge."""
    deployment = new_deployment()
    worker = deployment.worker()
    assert worker.terminate() == 0
    assert not deployment.redis.exists(f"{deployment.prefix}:beats")
    assert [line for line in worker.log.splitlines() if '"level": "error' in line] == []
