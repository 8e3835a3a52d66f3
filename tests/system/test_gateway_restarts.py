"""Everything restarts while requests wait: each gets its outcome or an honest 503 or 504."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.deployment import PATIENT, Deployment, Person, RedisProcess, until
from tests.support.fixtures import NewDeployment
from tests.support.gateways import KEY, SUBMIT, Answer, GatewayProcess, Waiting

WAITING = 4


def _wait_for_all(
    deployment: Deployment, gateway: GatewayProcess
) -> list[tuple[str, Person, Waiting]]:
    """Have some persons submit the right code, and wait until all are accepted."""
    waiting = []
    for number in range(WAITING):
        person, key = deployment.person().open(), f"waiting-{number}"
        code = person.right()
        waiting.append((key, person, Waiting(gateway.person, person, code, Idempotency_Key=key)))
    until(lambda: all(deployment.client.result(key) for key, _, _ in waiting), "all to be accepted")
    return waiting


def _assert_still_open(answer: Answer, key: str) -> None:
    assert (answer.status, answer.word) == (503, "service_unavailable")
    assert answer.body["instance"] == answer.headers["X-Submission-ID"] == key
    assert int(answer.headers["Retry-After"]) > 0
    assert "code" in answer.body["detail"], "it says whether the code may have been used"


def test_a_gateway_that_stops_lets_its_requests_end(new_deployment: NewDeployment) -> None:
    """It takes in nothing more; who waits has the grace to get an outcome."""
    deployment = new_deployment(**PATIENT)
    with GatewayProcess(deployment, "--grace", "50") as gateway:
        waiting = _wait_for_all(deployment, gateway)
        gateway.process.terminate()
        gateway.wait_logged("Shutting down")
        until(lambda: _refuses(gateway), "it to listen no more")
        deployment.worker()
        assert [each.answer().status for _, _, each in waiting] == [201] * WAITING
        assert gateway.process.wait(60) == 0


def _refuses(gateway: GatewayProcess) -> bool:
    try:
        gateway.connect().connect()
    except ConnectionRefusedError:
        return True
    return False


def test_after_its_grace_a_gateway_says_where_it_stands(new_deployment: NewDeployment) -> None:
    """503 with the id; the next gateway knows the submission, and asks and waits again."""
    deployment = new_deployment(**PATIENT)
    with GatewayProcess(deployment, "--grace", "0") as gateway:
        waiting = _wait_for_all(deployment, gateway)
        gateway.process.terminate()
        for key, _, each in waiting:
            _assert_still_open(each.answer(), key)
        assert gateway.process.wait(60) == 0
    with GatewayProcess(deployment, port=gateway.port) as newer:
        for key, person, _ in waiting:
            assert newer.record(key).body["state"] == "queued"
            person.typed.clear()
        again = [
            Waiting(newer.person, person, person.right(), Idempotency_Key=key)
            for key, person, _ in waiting
        ]
        deployment.worker()
        assert [each.answer().status for each in again] == [201] * WAITING


def test_a_body_that_comes_too_slowly_for_the_stop_is_answered_in_our_words(
    new_deployment: NewDeployment,
) -> None:
    """The server cancels it. Its own answer would be a 500 that no caller of this API can read."""
    with GatewayProcess(new_deployment(), "--grace", "0") as gateway:
        connection = gateway.connect()
        with closing(connection):
            connection.putrequest("POST", SUBMIT)
            for name, value in (("X-API-KEY", KEY), ("Content-Type", "application/json")):
                connection.putheader(name, value)
            connection.putheader("Content-Length", "100")
            connection.endheaders(b'{"code')
            # A whole request on another connection: the gateway has read the first one by then.
            assert gateway.call("GET", "/v1/outcomes").status == 200
            gateway.process.terminate()
            response = connection.getresponse()
            answer = Answer(status=response.status, headers=response.headers, raw=response.read())
        assert (answer.status, answer.word) == (503, "service_unavailable")
        assert "No code was taken." in answer.body["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert gateway.process.wait(60) == 0


def test_a_gateway_that_is_killed_loses_nothing_but_connections(
    new_deployment: NewDeployment,
) -> None:
    """The submissions go on; a client that knows the id asks the next gateway."""
    deployment = new_deployment(**PATIENT)
    with GatewayProcess(deployment) as gateway:
        waiting = _wait_for_all(deployment, gateway)
        gateway.kill()
        for _, _, each in waiting:
            each.wait()
            assert isinstance(each.failed, OSError)
    deployment.worker()
    with GatewayProcess(deployment) as newer:
        for key, person, _ in waiting:
            deployment.outcome(key)
            assert newer.record(key).body["status"] == 201
            assert len(person.account.sends) == 1


def test_requests_outlive_a_worker(new_deployment: NewDeployment) -> None:
    """What had left with the one that was killed is 504, what had not is sent by the next."""
    deployment = new_deployment()
    worker = deployment.worker()
    with GatewayProcess(deployment) as gateway:
        held = deployment.person().open().hold()
        sent = Waiting(gateway.person, held, held.right(), Idempotency_Key="sent")
        held.received()
        worker.kill()
        unsent = deployment.person().open()
        waiting = Waiting(gateway.person, unsent, unsent.right(), Idempotency_Key="unsent")
        deployment.start_worker()
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
    own_redis: RedisProcess, new_deployment: NewDeployment
) -> None:
    """For a while nobody is answered; then everybody is, as if nothing had been."""
    deployment = new_deployment(own_redis.url, **PATIENT)
    with GatewayProcess(deployment) as gateway:
        waiting = _wait_for_all(deployment, gateway)
        own_redis.stop()
        answer = gateway.record("waiting-0")
        assert (answer.status, answer.word) == (503, "service_unavailable")
        own_redis.go_on()
        deployment.worker()
        assert [each.answer().status for _, _, each in waiting] == [201] * WAITING


def test_requests_outlive_a_redis_that_has_forgotten_them(
    own_redis: RedisProcess, new_deployment: NewDeployment
) -> None:
    """504 at once: nothing more will come, and nobody knows what became of the code."""
    deployment = new_deployment(own_redis.url, **PATIENT)
    with GatewayProcess(deployment) as gateway:
        waiting = _wait_for_all(deployment, gateway)
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
