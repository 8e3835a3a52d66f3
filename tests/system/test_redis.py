"""Redis goes away, comes back, or comes back empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.deployment import PATIENT, RedisProcess, until
from tests.support.fixtures import NewDeployment

ROOMY = PATIENT | {"provider_timeout_s": 12.0}


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis for this test alone."""
    with RedisProcess(tmp_path) as server:
        yield server


def test_a_wake_that_outlives_its_ledger_sends_nothing(
    own_redis: RedisProcess, new_deployment: NewDeployment
) -> None:
    """Missing is not fresh: no record, no send, although a copy of the message survived."""
    deployment = new_deployment(own_redis.url, **PATIENT)
    person = deployment.person().open()
    code = person.right()
    submission = person.submit(code)
    message = deployment.message(submission)
    own_redis.kill()
    own_redis.start()
    person.open()
    deployment.redis.lpush(deployment.prefix, message)
    deployment.worker()
    until(lambda: deployment.queue_length() == 0, "the copy to be taken")
    assert deployment.client.result(submission) is None
    fresh = person.right()
    assert deployment.outcome(person.submit(fresh)).status == 201
    assert (person.sends(code), person.sends(fresh)) == (0, 1)


def test_a_ledger_restored_on_another_redis_sends_nothing(
    own_redis: RedisProcess, new_deployment: NewDeployment
) -> None:
    """A failover may have lost a claim, so what it queued is answered 504, maybe used."""
    deployment = new_deployment(own_redis.url, **PATIENT)
    person = deployment.person().open()
    code = person.right()
    submission = person.submit(code)
    with redis.Redis.from_url(own_redis.url) as client:
        saved = [(key, client.dump(key), client.pttl(key)) for key in client.scan_iter()]
        own_redis.kill()
        own_redis.start()
        for key, value, left_ms in saved:
            client.restore(key, max(0, left_ms), value)
    deployment.worker()
    record = deployment.outcome(submission)
    assert (record.status, record.code_sent) == (504, True)
    assert person.sends(code) == 0


def test_redis_away_for_many_heartbeats_loses_nobody(
    own_redis: RedisProcess, new_deployment: NewDeployment
) -> None:
    """Nobody has beaten meanwhile, and that is nobody's fault: the code sent is heard."""
    deployment = new_deployment(own_redis.url, **ROOMY)
    workers = [deployment.start_worker(), deployment.start_worker()]
    for worker in workers:
        worker.wait_ready()
    beats = f"{deployment.prefix}:beats"
    person = deployment.person().open().hold()
    submission = person.submit(person.right())
    person.received()
    before = {worker.name for worker in workers}
    own_redis.stop()
    for worker in workers:
        until(lambda: "heartbeat.unanswered" in worker.log, "a gap beyond lost_after_s")  # noqa: B023
    person.release()
    own_redis.go_on()
    record = deployment.outcome(submission)
    assert (record.status, record.code_sent) == (201, True)
    after = deployment.person().open()
    assert deployment.outcome(after.submit(after.right())).status == 201
    assert set(deployment.redis.zrange(beats, 0, -1)) == before
    for worker in workers:
        assert worker.process.poll() is None
        assert "worker.lost" not in worker.log


def test_a_worker_survives_a_redis_that_comes_back_empty(
    own_redis: RedisProcess, new_deployment: NewDeployment
) -> None:
    """Connections are cut, scripts are gone, the queue is gone: it serves the next code."""
    deployment = new_deployment(own_redis.url, **ROOMY)
    worker = deployment.worker()
    held = deployment.person().open().hold()
    lost = held.submit(held.right())
    held.received()
    own_redis.kill()
    until(lambda: "heartbeat.unanswered" in worker.log, "the loss to be noticed")
    own_redis.start()
    until(lambda: worker.name, "a heartbeat")
    held.release()
    person = deployment.person().open()
    deployment.publications.seen.clear()
    record = until(
        lambda: deployment.client.result(person.submit(person.right(), "sub_after_it")), "a record"
    )
    assert deployment.outcome("sub_after_it").status == 201
    assert deployment.client.result(lost) is None
    assert worker.process.poll() is None
    assert len(held.account.sends) == 1
    assert record is not None
    deployment.persons.clear()  # The listener of publications went with the old Redis.
