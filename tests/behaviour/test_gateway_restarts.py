"""Everything restarts while requests wait: each gets its outcome or an honest 503 or 504."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import Setting
from tests.behaviour.gateways import Answer, GatewayProcess, Waiting
from tests.behaviour.stage import PATIENT, Person, RedisProcess, Stage, until

WAITING = 4


def _wait_for_all(stage: Stage, gateway: GatewayProcess) -> list[tuple[str, Person, Waiting]]:
    """Have some persons submit the right code, and wait until all are accepted."""
    waiting = []
    for number in range(WAITING):
        person, key = stage.person().open(), f"waiting-{number}"
        code = person.right()
        waiting.append((key, person, Waiting(gateway.person, person, code, Idempotency_Key=key)))
    until(lambda: all(stage.client.result(key) for key, _, _ in waiting), "all to be accepted")
    return waiting


def _assert_still_open(answer: Answer, key: str) -> None:
    assert (answer.status, answer.word) == (503, "service_unavailable")
    assert answer.body["instance"] == answer.headers["X-Submission-ID"] == key
    assert int(answer.headers["Retry-After"]) > 0
    assert "code" in answer.body["detail"], "it says whether the code may have been used"


def test_a_gateway_that_stops_lets_its_requests_end(new_stage: Setting) -> None:
    """It takes in nothing more; who waits has the grace to get an outcome."""
    stage = new_stage(**PATIENT)
    with GatewayProcess(stage, "--grace", "50") as gateway:
        waiting = _wait_for_all(stage, gateway)
        gateway.process.terminate()
        gateway.wait_logged("Shutting down")
        until(lambda: _refuses(gateway), "it to listen no more")
        stage.worker()
        assert [each.answer().status for _, _, each in waiting] == [201] * WAITING
        assert gateway.process.wait(60) == 0


def _refuses(gateway: GatewayProcess) -> bool:
    try:
        gateway.connect().connect()
    except ConnectionRefusedError:
        return True
    return False


def test_after_its_grace_a_gateway_says_where_it_stands(new_stage: Setting) -> None:
    """503 with the id; the next gateway knows the submission, and asks and waits again."""
    stage = new_stage(**PATIENT)
    with GatewayProcess(stage, "--grace", "0") as gateway:
        waiting = _wait_for_all(stage, gateway)
        gateway.process.terminate()
        for key, _, each in waiting:
            _assert_still_open(each.answer(), key)
        assert gateway.process.wait(60) == 0
    with GatewayProcess(stage, port=gateway.port) as newer:
        for key, person, _ in waiting:
            assert newer.record(key).body["state"] == "queued"
            person.typed.clear()
        again = [
            Waiting(newer.person, person, person.right(), Idempotency_Key=key)
            for key, person, _ in waiting
        ]
        stage.worker()
        assert [each.answer().status for each in again] == [201] * WAITING


def test_a_gateway_that_is_killed_loses_nothing_but_connections(new_stage: Setting) -> None:
    """The submissions go on; whoever knows the id asks the next gateway."""
    stage = new_stage(**PATIENT)
    with GatewayProcess(stage) as gateway:
        waiting = _wait_for_all(stage, gateway)
        gateway.kill()
        for _, _, each in waiting:
            each.wait()
            assert isinstance(each.failed, OSError)
    stage.worker()
    with GatewayProcess(stage) as newer:
        for key, person, _ in waiting:
            stage.outcome(key)
            assert newer.record(key).body["status"] == 201
            assert len(person.account.sends) == 1


def test_requests_outlive_a_worker(new_stage: Setting) -> None:
    """What had left with the one that was killed is 504, what had not is sent by the next."""
    stage = new_stage()
    worker = stage.worker()
    with GatewayProcess(stage) as gateway:
        held = stage.person().open()
        held.hold()
        sent = Waiting(gateway.person, held, held.right(), Idempotency_Key="sent")
        held.received()
        worker.kill()
        unsent = stage.person().open()
        waiting = Waiting(gateway.person, unsent, unsent.right(), Idempotency_Key="unsent")
        stage.start_worker()
        answer = sent.answer()
        assert (answer.status, answer.word) == (504, "request_timeout")
        assert "may have been used" in answer.body["detail"]
        assert gateway.record("sent").body["body"] == answer.body
        late = waiting.answer()
        assert late.status in {201, 504}, "sent by the next worker, or too late for it"
        assert gateway.record("unsent").body["body"] == late.body
        held.release()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that may be harmed."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisProcess(folder) as redis:
        yield redis


def test_requests_outlive_a_redis_that_stands_still(
    own_redis: RedisProcess, new_stage: Setting
) -> None:
    """For a while nobody is answered; then everybody is, as if nothing had been."""
    stage = new_stage(own_redis.url, **PATIENT)
    with GatewayProcess(stage) as gateway:
        waiting = _wait_for_all(stage, gateway)
        own_redis.stop()
        answer = gateway.record("waiting-0")
        assert (answer.status, answer.word) == (503, "service_unavailable")
        own_redis.go_on()
        stage.worker()
        assert [each.answer().status for _, _, each in waiting] == [201] * WAITING


def test_requests_outlive_a_redis_that_has_forgotten_them(
    own_redis: RedisProcess, new_stage: Setting
) -> None:
    """504 at once: nothing more will come, and nobody knows what became of the code."""
    stage = new_stage(own_redis.url, **PATIENT)
    with GatewayProcess(stage) as gateway:
        waiting = _wait_for_all(stage, gateway)
        own_redis.kill()
        own_redis.start()
        for key, person, each in waiting:
            answer = each.answer()
            assert (answer.status, answer.word) == (504, "request_timeout")
            assert answer.body["instance"] == key
            assert "may have been used" in answer.body["detail"]
            assert "Retry-After" not in answer.headers, "the same id would be a new submission"
            assert gateway.record(key).status == 404
            person.typed.clear()
