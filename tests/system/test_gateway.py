"""The gateway as callers meet it: submissions, records, events, intents, sessions."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import Deployment, Person
from tests.support.gateways import (
    KEY,
    OTHER_KEY,
    SUBMIT,
    Caller,
    GatewayProcess,
    Waiting,
)

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def gateway(shared_deployment: Deployment) -> Iterator[GatewayProcess]:
    """One gateway for the module; at its end no code is in what it wrote."""
    with GatewayProcess(shared_deployment) as process:
        yield process
        assert process.terminate() == 0, process.log[-4000:]
        assert "request.crashed" not in process.log
        codes = {send.code for send in shared_deployment.sandbox.sends}
        assert codes
        assert not [code for code in codes if code in process.log]


def test_a_submission_waits_for_its_outcome(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """One call, one answer: what the record says."""
    person = deployment.person().open()
    answer = gateway.person(person, person.right())
    assert (answer.status, answer.word) == (201, "AccountCreated")
    assert answer.body == {"object": "AccountCreated", "account_id": person.id}
    record = gateway.record(answer.headers["X-Submission-ID"])
    assert (record.status, record.body["state"]) == (200, "final")
    assert (record.body["status"], record.body["body"]) == (201, answer.body)


def test_the_older_of_two_browsers_is_answered_409(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """The older request ends as soon as the newer is accepted, which gets its own outcome."""
    person = deployment.person().open().hold()
    older = Waiting(gateway.person, person, person.wrong())
    person.received()
    newer = Waiting(gateway.person, person, person.right())
    answer = older.answer()
    assert (answer.status, answer.word) == (409, "operation_canceled")
    person.release()
    assert newer.answer().status == 201


def test_who_prefers_it_gets_the_record_at_once(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """202 with the record, where it will be found, and what was heeded."""
    person = deployment.person().open()
    answer = gateway.person(person, person.right(), **ASYNC)
    assert (answer.status, answer.body["state"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "respond-async"
    where = answer.headers["Location"]
    assert where == f"/v1/submissions/{answer.body['submission_id']}"
    assert deployment.outcome(answer.body["submission_id"]).status == 201
    assert gateway.call("GET", where).body["status"] == 201


def test_who_prefers_it_waits_a_moment_first(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """``respond-async, wait=…`` (RFC 7240): the outcome if it comes in time, else the record."""
    person = deployment.person().open()
    in_time = gateway.person(person, person.wrong(), Prefer="respond-async, wait=30")
    assert (in_time.status, in_time.word) == (401, "invalid_checkpoint_solution")
    person.hold()
    too_late = gateway.person(person, person.right(), Prefer='respond-async;x=1, wait="1"')
    assert (too_late.status, too_late.body["state"]) == (202, "running")
    person.release()
    deployment.outcome(too_late.body["submission_id"])


def test_the_same_id_again_gets_the_same_outcome(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """A retry in between cannot submit twice, whatever code it brings."""
    person = deployment.person().open()
    code = person.wrong()
    first = gateway.person(person, code, Idempotency_Key="retry-me")
    again = gateway.person(person, person.right(), Idempotency_Key='"retry-me"')
    assert (first.status, first.raw) == (again.status, again.raw)
    assert first.body["instance"] == first.headers["X-Submission-ID"] == "retry-me"
    assert len(person.account.sends) == 1
    person.typed = [("retry-me", code)]


def test_an_id_is_one_persons(deployment: Deployment, gateway: GatewayProcess) -> None:
    """Another account under a known id is refused, and sees nothing of the record."""
    person, other = deployment.person().open(), deployment.person().open()
    gateway.person(person, person.wrong(), Idempotency_Key="taken-id")
    answer = gateway.person(other, other.right(), Idempotency_Key="taken-id")
    assert (answer.status, answer.word) == (400, "invalid_request")
    assert person.id not in answer.raw.decode()
    other.typed.clear()


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 129, '"', "a/b"])
def test_an_id_that_is_none_is_refused(
    deployment: Deployment, gateway: GatewayProcess, key: str
) -> None:
    """It becomes part of names in Redis and Celery."""
    person = deployment.person().open()
    answer = gateway.person(person, person.right(), Idempotency_Key=key)
    assert (answer.status, answer.word) == (400, "invalid_parameters")
    assert answer.body["instance"] == answer.headers["X-Request-ID"]


def test_a_step_that_has_passed_is_refused(deployment: Deployment, gateway: GatewayProcess) -> None:
    """A code for another step would cost a try; in JSON 1.0 is the integer 1."""
    person = deployment.person().open()
    fields = {"account_id": person.id, "provider": person.provider, "code": person.wrong()}
    person.typed.append(("", fields["code"]))
    wrong = gateway.submit({**fields, "checkpoint_step": 2})
    assert (wrong.status, wrong.word) == (400, "invalid_request")
    assert gateway.submit({**fields, "checkpoint_step": 1.0}).status == 401


# Hanging up ----------------------------------------------------------------------------


def _hang_up(gateway: GatewayProcess, person: Person, code: str, **headers: str) -> None:
    """Submit, and leave when the provider has the code."""
    before = gateway.log.count("status=hung-up")
    person.typed.append(("", code))
    fields = {"account_id": person.id, "provider": person.provider, "code": code}
    sent = {"Content-Type": "application/json", "X-API-KEY": KEY, **headers}
    with closing(gateway.connect()) as connection:
        connection.request("POST", SUBMIT, json.dumps(fields), sent)
        person.received(len(person.account.sends) + 1)
    gateway.wait_logged("status=hung-up", before + 1)


def test_to_hang_up_does_not_cancel(deployment: Deployment, gateway: GatewayProcess) -> None:
    """A lost connection is not a person's change of mind."""
    person = deployment.person().open().hold()
    _hang_up(gateway, person, person.right(), **{"Idempotency-Key": "left-alone"})
    person.release()
    assert deployment.outcome("left-alone").status == 201


def test_to_hang_up_cancels_for_who_asks_for_it(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """A page that is closed can take its code back; what has left may still be used."""
    person = deployment.person().open().hold()
    asked = {"Idempotency-Key": "taken-back", "Prefer": "cancel-on-disconnect"}
    _hang_up(gateway, person, person.right(), **asked)
    record = deployment.outcome("taken-back")
    assert (record.status, record.code_sent) == (409, True)
    person.release()


def test_a_submission_is_taken_back_by_its_id(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """The record is final then, or was before; an unknown id is 404."""
    person = deployment.person().open().hold()
    waiting = Waiting(gateway.person, person, person.right(), Idempotency_Key="delete-me")
    person.received()
    answer = gateway.call("DELETE", "/v1/submissions/delete-me")
    assert (answer.status, answer.body["status"]) == (200, 409)
    assert waiting.answer().status == 409
    assert gateway.call("DELETE", "/v1/submissions/delete-me").raw == answer.raw
    assert gateway.call("DELETE", "/v1/submissions/nobody").status == 404
    person.release()


# Reading -------------------------------------------------------------------------------


class Stream:
    """A reader of server-sent events, as a browser reads them."""

    def __init__(self, caller: Caller, submission_id: str, **headers: str) -> None:
        self._connection = caller.connect()
        path = f"/v1/submissions/{submission_id}/events"
        self._connection.request("GET", path, headers={"X-API-KEY": KEY, **headers})
        self.response = self._connection.getresponse()

    def blocks(self) -> Iterator[dict[str, str]]:
        """Yield each block as its fields; a comment has none."""
        fields: dict[str, str] = {}
        for line in self.response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if not name and not value:
                yield fields
                fields = {}
            else:
                fields[name or "comment"] = value

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def test_events_tell_each_change_to_the_end(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """The record now, then each change; after the final one the stream ends."""
    person = deployment.person().open().hold()
    submission_id = person.submit(person.right())
    person.received()
    with closing(Stream(gateway, submission_id)) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        blocks = stream.blocks()
        first = next(block for block in blocks if "data" in block)
        assert (first["id"], json.loads(first["data"])["state"]) == ("running", "running")
        person.release()
        last = [block for block in blocks if "data" in block][-1]
    assert last["id"] == "final"
    assert json.loads(last["data"]) == gateway.record(submission_id).body


def test_events_of_what_is_over_end_at_once(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """Whatever a reader saw last; one that has seen the end is told not to come back (204)."""
    person = deployment.person().open()
    submission_id = person.submit(person.right())
    deployment.outcome(submission_id)
    for seen in ("queued", "running", "x" * 500):
        with closing(Stream(gateway, submission_id, **{"Last-Event-ID": seen})) as stream:
            (block,) = stream.blocks()
        assert block["id"] == "final"
    with closing(Stream(gateway, submission_id, **{"Last-Event-ID": "final"})) as stream:
        assert stream.response.status == 204
    with closing(Stream(gateway, "nobody")) as stream:
        assert json.loads(stream.response.read())["type"] == "errors/not_found"


def test_the_newest_outcomes_come_first(deployment: Deployment, gateway: GatewayProcess) -> None:
    """All accounts, or one; at most as many as asked for."""
    person = deployment.person().open()
    ids = [person.submit(person.wrong()) for _ in range(1)]
    deployment.outcome(ids[0])
    ids.append(person.submit(person.right()))
    deployment.outcome(ids[1])

    def listed(query: str) -> list[str]:
        answer = gateway.call("GET", f"/v1/outcomes?{query}")
        assert (answer.status, answer.word) == (200, "OutcomeList")
        return [item["submission_id"] for item in answer.body["items"]]

    assert listed(f"account_id={person.id}") == ids[::-1]
    assert listed(f"limit=1&account_id={person.id}") == ids[1:]
    assert listed("limit=1") == ids[1:]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("limit=1001", "limit_too_high"),
        ("limit=" + "9" * 3000, "limit_too_high"),
        ("limit=0", "invalid_parameters"),
        ("limit=-1", "invalid_parameters"),
        ("limit=", "invalid_parameters"),
        ("limit=1e3", "invalid_parameters"),
        ("limit=%D9%A3", "invalid_parameters"),
        ("limit=1&limit=2", "invalid_parameters"),
        ("account_id=", "invalid_parameters"),
        ("account_id=" + "x" * 257, "invalid_parameters"),
        ("account_id=a%C2%9B", "invalid_parameters"),
        ("account_id=a%0A", "invalid_parameters"),
    ],
)
def test_a_limit_that_is_none_is_refused(
    deployment: Deployment, gateway: GatewayProcess, query: str, word: str
) -> None:
    """With the word of the contract that fits."""
    answer = gateway.call("GET", f"/v1/outcomes?{query}")
    assert (answer.status, answer.word) == (400, word)


# Intents and sessions ------------------------------------------------------------------


def _login(deployment: Deployment, person: Person) -> dict[str, Any]:
    login = deployment.loops.do(deployment.sandbox.begin_login, person.account)
    return {
        "account_id": person.id,
        "provider": person.provider,
        "checkpoint": login.checkpoint,
        "context": login.context,
        "user_id": login.user_id,
        "purpose": None,
    }


def test_an_intent_is_opened_and_read(deployment: Deployment, gateway: GatewayProcess) -> None:
    """The login service needs nothing but HTTP; nothing secret comes back."""
    person = deployment.person()
    fields = _login(deployment, person)
    where = f"/v1/intents?account_id={person.id}&provider={person.provider}"
    assert gateway.call("GET", where).word == "not_found"
    opened = gateway.call("POST", "/v1/intents", fields)
    assert (opened.status, opened.word, opened.body["state"]) == (201, "Intent", "open")
    assert opened.body["opened_at"].endswith("Z")
    assert gateway.call("GET", where).raw == opened.raw
    assert gateway.person(person, person.right()).status == 201
    assert gateway.call("GET", where).body["state"] == "completed"


def test_an_intent_that_does_not_fit_is_refused(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """The same checks as the client's, and a misspelt field is not passed over."""
    fields = _login(deployment, deployment.person())
    for changed, word in (
        ({"context": {"canary": 1}}, "invalid_parameters"),
        ({"context": None}, "missing_parameters"),
        ({"checkpoint": {}}, "missing_parameters"),
        ({"purpose": ["connect"]}, "invalid_parameters"),
        ({"proxy": "ftp://canary-user:canary-password@x"}, "invalid_parameters"),
        ({"prxy": "http://127.0.0.1"}, "invalid_parameters"),
        ({"provider": "NOBODY"}, "invalid_parameters"),
    ):
        answer = gateway.call("POST", "/v1/intents", {**fields, **changed})
        assert (answer.status, answer.word) == (400, word), changed
        assert b"canary-" not in answer.raw


def test_a_session_is_taken_once(deployment: Deployment, gateway: GatewayProcess) -> None:
    """Who lost the answer may take it again with the same key, nobody else."""
    person = deployment.person().open()
    assert gateway.person(person, person.right()).status == 201
    fields = {"account_id": person.id, "provider": person.provider}

    def take(key: str | None) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        return gateway.call("POST", "/v1/sessions", fields, headers=headers)

    taken = take("mine")
    assert (taken.status, taken.word) == (200, "Session")
    assert taken.body["session"]["cookies"]
    assert taken.headers["Cache-Control"] == "no-store"
    assert take("mine").raw == taken.raw
    assert [take(key).status for key in ("other", None)] == [404, 404]


# Keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-KEY": ""},
        {"X-API-KEY": KEY[:-1]},
        {"X-API-KEY": KEY + "x"},
        {"X-API-KEY": f"{OTHER_KEY},{KEY}"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"X-API-KEY": "\xff\xfe"},
    ],
)
def test_without_a_key_nothing_is_told(
    gateway: GatewayProcess, deployment: Deployment, headers: dict[str, str]
) -> None:
    """Not even which addresses there are; outside the 32, in their envelope."""
    caller = Caller(gateway.address, key=None)
    for method, path in (("POST", SUBMIT), ("GET", "/v1/outcomes"), ("GET", "/nothing")):
        answer = caller.call(method, path, headers=headers)
        assert (answer.status, answer.word) == (401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-KEY": OTHER_KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
    ],
)
def test_each_key_opens_either_way(
    gateway: GatewayProcess, deployment: Deployment, headers: dict[str, str]
) -> None:
    """To change a key, both are in force for a while."""
    caller = Caller(gateway.address, key=None)
    assert caller.call("GET", "/v1/outcomes", headers=headers).status == 200


def test_a_request_has_an_id(deployment: Deployment, gateway: GatewayProcess) -> None:
    """The caller's if it can go into a log, else ours; it is in the envelope and in the log."""
    answer = gateway.call("GET", "/v1/submissions/x", headers={"X-Request-ID": "trace-77.a"})
    assert answer.headers["X-Request-ID"] == answer.body["req_id"] == "trace-77.a"
    gateway.wait_logged("trace-77.a")
    for odd in ("", "a b", "x" * 129, "{evil}", "\xff"):
        answer = gateway.call("GET", "/v1/submissions/x", headers={"X-Request-ID": odd})
        assert answer.headers["X-Request-ID"] == answer.body["req_id"]
        assert answer.body["req_id"].startswith("req_")


def test_what_stands_in_an_address_is_not_logged(
    deployment: Deployment, gateway: GatewayProcess
) -> None:
    """A caller will put a code there some day; the line of the request is written all the same."""
    code = "C0DE-271828"
    for method, path in (
        ("POST", f"{SUBMIT}?code={code}"),
        ("GET", f"/v1/submissions/{code}"),
        ("GET", f"/{code}"),
        (code, SUBMIT),
    ):
        answer = gateway.call(method, path, headers={"X-Request-ID": f"trace-{method[:3]}"})
        assert answer.status in {400, 404, 405}
        gateway.wait_logged(f"request_id=trace-{method[:3]}")
    assert code not in gateway.log


def test_what_is_full_says_when_to_come_again(
    redis_server: EmbeddedRedis, deployment: Deployment, gateway: GatewayProcess
) -> None:
    """503 with Retry-After, and nothing stored."""
    with GatewayProcess(deployment, hourly_max=1, submissions_max=1) as narrow:
        person = deployment.person().open()
        deployment.outcome(person.submit(person.wrong()))
        answer = narrow.person(person, person.right(), Idempotency_Key="one-too-many")
        person.typed.pop()
        assert (answer.status, answer.word) == (503, "service_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert narrow.record("one-too-many").status == 404


def test_the_gateway_says_little_of_itself(deployment: Deployment, gateway: GatewayProcess) -> None:
    """No name of a server, no pages, no cache."""
    answer = gateway.call("GET", "/v1/outcomes")
    assert "Server" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert gateway.call("GET", path).word == "not_found"
