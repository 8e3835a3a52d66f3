"""What Celery's monitors show: one column of the catalogue, seen in real events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import Deployment, Person
from tests.support.fixtures import NewDeployment
from tests.system.test_pool import Monitor


@pytest.fixture(scope="module")
def watched(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, Monitor]]:
    """A deployment with a monitor that saw its worker come."""
    with Deployment(redis_server.url, "states", tmp_path_factory.mktemp("states")) as deployment:
        producer = make_producer(deployment.settings)
        with Monitor(producer) as monitor:
            deployment.worker()
            monitor.until(lambda: "worker-online" in monitor.types())
            yield deployment, monitor
        producer.close()


@pytest.mark.parametrize(
    ("kind", "right", "status", "state"),
    [
        ("plain", True, 201, "SUCCESS"),
        ("chained", True, 202, "SUCCESS"),
        ("plain", False, 401, "SUCCESS"),
        ("restricted", True, 403, "SUCCESS"),
        ("captcha", True, 403, "SUCCESS"),
        ("challenge_expired", True, 500, "SUCCESS"),
        ("throttled", True, 500, "FAILURE"),
        ("blocked", True, 403, "FAILURE"),
    ],
)
def test_a_state_says_whether_an_operator_must_act(
    watched: tuple[Deployment, Monitor], kind: str, right: bool, status: int, state: str
) -> None:
    """A refused code is a good day's work; FAILURE is for what an operator has to look at."""
    deployment, monitor = watched
    person = deployment.person(kind=kind).open()
    submission = person.submit(person.right() if right else person.wrong())
    assert deployment.outcome(submission).status == status
    monitor.wait_state(submission, state)
    deployment.check()


def test_silence_is_a_failure(watched: tuple[Deployment, Monitor]) -> None:
    """408: an operator wants to know; the text names status and type, never a value."""
    deployment, monitor = watched
    person = deployment.person().open().faults(hang=True)
    submission = person.submit(person.right())
    assert deployment.outcome(submission).status == 408
    failed = monitor.wait(submission, "task-failed")
    assert "408 request_timeout" in failed["exception"]
    assert failed["traceback"] == "SolveFailed: 408 request_timeout"
    deployment.check()


def test_a_superseded_task_is_revoked_and_names_its_successor(
    watched: tuple[Deployment, Monitor],
) -> None:
    """REVOKED, not FAILURE: nothing went wrong, a newer code came."""
    deployment, monitor = watched
    person = deployment.person().open().faults(hang=True)
    older = person.submit(person.wrong())
    person.received()
    person.faults()
    newer = person.submit(person.right())
    assert newer in monitor.wait(older, "task-revoked")["exception"]
    monitor.wait_state(older, "REVOKED")
    assert deployment.outcome(newer).status == 201
    monitor.wait_state(newer, "SUCCESS")
    deployment.check()


def test_a_canceled_task_is_revoked(watched: tuple[Deployment, Monitor]) -> None:
    """Also without a successor, and also before its code was sent."""
    deployment, monitor = watched
    person = deployment.person()
    with deployment.gate() as gate:
        person.open(proxy=gate.url)
        submission = person.submit(person.right())
        gate.wait_for(1)
        deployment.client.cancel(submission)
        assert monitor.wait(submission, "task-revoked")["exception"] == "canceled"
        gate.wait_left(1)
    deployment.check()


def test_a_late_wake_of_what_is_over_is_a_failure(new_deployment: NewDeployment) -> None:
    """504, settled by its reader: the worker that comes later shows what the record says."""
    deployment = new_deployment(
        provider_timeout_s=0.5, min_send_s=0.1, drain_s=0.1, wire_margin_s=0.1, deadline_s=0.8
    )
    person: Person = deployment.person().open()
    submission = person.submit(person.right())
    assert deployment.outcome(submission).status == 504
    producer = make_producer(deployment.settings)
    with Monitor(producer) as monitor:
        deployment.worker()
        monitor.wait_state(submission, "FAILURE")
    producer.close()
    assert not person.account.sends
