"""Wakes and plain producers' messages: lost, doubled, late or strange, they change no outcome."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu.message import Message

from checkpoint_worker.tasks.celery_task.sanitize import sanitizing_strategy
from checkpoint_worker.tasks.operations.wake import TASK, make_producer
from tests.support.deployment import PATIENT, Deployment, Person, until
from tests.support.fixtures import NewDeployment
from tests.system.test_pool import Monitor


@pytest.fixture
def producer(deployment: Deployment) -> Iterator[Celery]:
    """A plain Celery producer: no client of ours, only the task's name and the queue."""
    app = make_producer(deployment.settings)
    yield app
    app.close()


def send_raw(app: Celery, person: Person, code: object, submission_id: str, **options: Any) -> None:
    """Send a code as a plain producer does."""
    app.send_task(
        TASK,
        kwargs={"account_id": person.id, "provider": person.provider, "code": code},
        task_id=submission_id,
        **options,
    )
    if (submission_id, str(code)) not in person.typed:
        person.typed.append((submission_id, str(code)))


def answered(deployment: Deployment, submission_id: str) -> Any:
    """Wait for the record of a submission that only a message told of."""
    until(lambda: deployment.client.result(submission_id), "a record")
    return deployment.outcome(submission_id)


# Wakes ---------------------------------------------------------------------------------


def test_ten_copies_of_a_wake_send_once(new_deployment: NewDeployment) -> None:
    """Celery delivers at least once at best; the claim sends at most once."""
    deployment = new_deployment(**PATIENT)
    person = deployment.person().open()
    code = person.right()
    submission = person.submit(code)
    message = deployment.message(submission)
    deployment.redis.rpush(deployment.prefix, *[message] * 9)
    deployment.worker()
    deployment.worker()
    assert deployment.outcome(submission).status == 201
    until(lambda: deployment.queue_length() == 0, "every copy to be taken")
    deployment.redis.rpush(deployment.prefix, message)
    until(lambda: deployment.queue_length() == 0, "the late copy to be taken")
    after = deployment.person().open()
    assert deployment.outcome(after.submit(after.right())).status == 201
    assert person.sends(code) == 1


def test_copies_of_a_wake_during_the_exchange_change_nothing(deployment: Deployment) -> None:
    """A second wake of what runs here ends at once."""
    person = deployment.person().open().hold()
    code = person.right()
    submission = person.submit(code)
    person.received(1)
    for _ in range(3):
        deployment.client._wake(submission, person.id, person.provider)
    until(lambda: deployment.queue_length() == 0, "the copies to be taken")
    person.release()
    assert deployment.outcome(submission).status == 201
    assert person.sends(code) == 1


def test_a_wake_for_nothing_known_does_nothing(deployment: Deployment) -> None:
    """Missing is not fresh: no record, no send."""
    person = deployment.person().open()
    deployment.client._wake("sub_unknown", person.id, person.provider)
    assert deployment.outcome(person.submit(person.right())).status == 201
    assert deployment.client.result("sub_unknown") is None


def test_a_wake_that_was_lost_is_sent_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper wakes what waits without a message: a lost one costs latency alone."""
    person = deployment.person().open()
    with monkeypatch.context() as patched:
        patched.setattr(deployment.client, "_wake", lambda *_: None)
        submission = person.submit(person.right())
    assert deployment.outcome(submission).status == 201


# Plain producers -----------------------------------------------------------------------


def test_a_plain_producer_s_code_is_verified(deployment: Deployment, producer: Celery) -> None:
    """Any Celery client may send; its task id is the submission id."""
    person = deployment.person().open()
    code = person.right()
    send_raw(producer, person, code, "raw-right", compression="gzip")
    record = answered(deployment, "raw-right")
    assert (record.status, record.submission_id, record.code_sent) == (201, "raw-right", True)
    assert person.sends(code) == 1


def test_a_plain_producer_s_message_twice_is_sent_once(
    deployment: Deployment, producer: Celery
) -> None:
    """A broker may double it; the id makes it one submission."""
    person = deployment.person().open()
    code = person.wrong()
    for _ in range(4):
        send_raw(producer, person, code, "raw-twice")
    assert answered(deployment, "raw-twice").status == 401
    until(lambda: deployment.queue_length() == 0, "every copy to be taken")
    assert deployment.outcome(person.submit(person.right())).status == 201
    assert person.sends(code) == 1


def test_arguments_by_position_are_read_as_well(deployment: Deployment, producer: Celery) -> None:
    """Not every producer names its arguments."""
    person = deployment.person().open()
    code = person.right()
    producer.send_task(TASK, args=[person.id, person.provider, code], task_id="raw-args")
    person.typed.append(("raw-args", code))
    assert answered(deployment, "raw-args").status == 201


@pytest.mark.parametrize(
    ("name", "kwargs", "type_"),
    [
        ("int-code", {"code": 123456}, "invalid_parameters"),
        ("null-code", {"code": None}, "missing_parameters"),
        ("empty-code", {"code": "  "}, "invalid_parameters"),
        ("long-code", {"code": "1" * 300}, "too_many_characters"),
        ("half-a-pair", {"code": "12\ud83456"}, "invalid_parameters"),
        ("no-account", {"code": "123456", "account_id": None}, "missing_parameters"),
        ("odd-account", {"code": "123456", "account_id": ["x"]}, "invalid_parameters"),
        ("no-provider", {"code": "123456", "provider": None}, "missing_parameters"),
        ("odd-provider", {"code": "123456", "provider": "GEOCITIES"}, "invalid_parameters"),
    ],
)
def test_a_plain_producer_s_mistake_has_a_record(
    deployment: Deployment, producer: Celery, name: str, kwargs: dict[str, object], type_: str
) -> None:
    """400 with a record, for such a producer has no other way to hear of it."""
    person = deployment.person().open()
    given = {"account_id": person.id, "provider": person.provider, **kwargs}
    producer.send_task(TASK, kwargs=given, task_id=f"raw-{name}")
    record = answered(deployment, f"raw-{name}")
    assert (record.status, record.code_sent) == (400, False)
    assert record.body["type"] == f"errors/{type_}"
    assert not person.account.sends


def test_half_a_surrogate_pair_in_an_account_harms_nobody(
    deployment: Deployment, producer: Celery
) -> None:
    """JSON can carry what UTF-8 cannot; it is answered, not crashed over."""
    kwargs = {"account_id": "acc_\udc00", "provider": "LINKEDIN", "code": "123456"}
    producer.send_task(TASK, kwargs=kwargs, task_id="raw-surrogate")
    assert answered(deployment, "raw-surrogate").status == 403


# Strangers -----------------------------------------------------------------------------


def envelope(body: object, **headers: object) -> str:
    """Return a message as it lies in Redis, with headers replaced or, if None, left out."""
    given: dict[str, object] = {
        "lang": "py", "task": TASK, "id": "odd", "root_id": "odd", "parent_id": None,
        "group": None, "retries": 0, "timelimit": [None, None], "eta": None, "expires": None,
        "argsrepr": "", "kwargsrepr": "", "origin": "x",
    }  # fmt: skip
    given = {name: value for name, value in (given | headers).items() if value is not ...}
    text = body if isinstance(body, str) else json.dumps(body)
    return json.dumps(
        {
            "body": base64.b64encode(text.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": given,
            "properties": {
                "correlation_id": "odd", "reply_to": "", "delivery_mode": 2, "priority": 0,
                "delivery_info": {"exchange": "", "routing_key": ""},
                "body_encoding": "base64", "delivery_tag": "tag",
            },
        }
    )  # fmt: skip


GOOD = [[], {"account_id": "acc_odd", "provider": "LINKEDIN", "code": "847362"}, {}]
STRANGE = {
    "id is missing": envelope(GOOD, id=...),
    "id is a number": envelope(GOOD, id=7),
    "id is a list": envelope(GOOD, id=["odd"]),
    "id is empty": envelope(GOOD, id=""),
    "id has odd characters": envelope(GOOD, id="847362:../*"),
    "id is endless": envelope(GOOD, id="x" * 129),
    "body is no JSON": envelope("847362{"),
    "body is empty": envelope(""),
    "body is null": envelope(None),
    "body is a number": envelope(847362),
    "body is an object": envelope({"code": "847362"}),
    "body is too short": envelope([[], {}]),
    "arguments are a number": envelope([847362, {}, {}]),
    "named arguments are a number": envelope([[], 847362, {}]),
    "protocol 1": envelope(
        {"task": TASK, "id": "odd", "args": [], "kwargs": {"code": "847362"}}, task=..., id=...
    ),
    "time limit is a word": envelope(GOOD, id="odd-1", timelimit="never"),
    "eta is a number": envelope(GOOD, id="odd-2", eta=5),
    "expires is a word": envelope(GOOD, id="odd-3", expires="soon"),
    "callbacks are a number": envelope([*GOOD[:2], {"callbacks": 5}], id="odd-4"),
    "embedded is a list": envelope([*GOOD[:2], [1]], id="odd-5"),
    "nested too deep": envelope("[" * 100_000),
}


def test_strange_messages_harm_nobody(new_deployment: NewDeployment) -> None:
    """None ends the worker, and none of their codes gets into its log."""
    deployment = new_deployment(log_level="DEBUG", **PATIENT)
    worker = deployment.worker("-l", "DEBUG")
    for message in STRANGE.values():
        deployment.redis.lpush(deployment.prefix, message)
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.right())).status == 201
    assert worker.process.poll() is None
    assert worker.terminate() == 0
    assert "847362" not in worker.log
    for name in ("odd", *(f"odd-{number}" for number in range(1, 6))):
        record = deployment.outcome(name)
        assert (record.status, record.code_sent) == (403 if name == "odd-5" else 400, False), name


class FakeConsumer:
    """The part of Celery's consumer a strategy uses."""

    connection_errors = ()


class FakeMessage(Message):
    """A message that notes whether it was rejected."""

    rejected = False

    def reject_log_error(self, *_: object) -> None:
        self.rejected = True


def test_the_strategy_needs_no_transport_of_ours(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another broker strange messages get this far; they are rejected, not raised over."""
    passed: list[Any] = []
    monkeypatch.setattr(
        "checkpoint_worker.tasks.celery_task.sanitize.default",
        lambda *_: lambda message, *_: passed.append(message),
    )
    app = Celery("odd", set_as_current=False)
    app.conf.update(checkpoint_settings=deployment.settings)
    receive = sanitizing_strategy(None, app, FakeConsumer())
    for why, element in STRANGE.items():
        raw = json.loads(element)
        message = FakeMessage(
            body=base64.b64decode(raw["body"]),
            content_type=raw["content-type"],
            content_encoding=raw["content-encoding"],
            headers=raw["headers"],
            accept={"application/json"},
        )
        receive(message, None, None, None, None)
        assert message.rejected is not (passed[-1:] == [message]), why
        assert not (message.rejected and why.startswith("body")), "it names a submission"
    for message in passed:
        assert "847362" not in repr((message.body, message.headers, message.payload))
        assert message.headers["timelimit"] == [None, None]
    app.close()


READY = ("SUCCESS", "FAILURE", "REVOKED")

# Where a code may not be seen ----------------------------------------------------------


def test_codes_are_seen_nowhere(new_deployment: NewDeployment) -> None:
    """Not in events, ``inspect``, logs at DEBUG, records or Redis: the canaries would tell."""
    deployment = new_deployment(log_level="DEBUG", **PATIENT)
    producer = make_producer(deployment.settings)
    first, second = deployment.person().open(), deployment.person().open()
    canaries = [first.wrong(), second.wrong(), first.right()]
    with Monitor(producer) as monitor:
        # A name of its own: workers of other deployments hear the same broadcasts.
        node = f"{deployment.prefix}@here"
        worker = deployment.worker("-l", "DEBUG", "-n", node)
        monitor.until(lambda: "worker-online" in monitor.types())
        for person in (first, second):
            person.hold()
        by_client = first.submit(canaries[0])
        send_raw(producer, second, canaries[1], "raw-canary")
        first.received()
        second.received()
        waiting = first.submit(canaries[2])
        shown = inspect_all(producer, node, "raw-canary", by_client)
        assert "raw-canary" in shown
        assert_hidden(canaries, shown, "inspect")
        assert_hidden([canaries[0], canaries[1]], dump(deployment), "Redis while sent")
        assert_hidden([canaries[2]], dump(deployment), "Redis while sealed")
        for person in (first, second):
            person.release()
        for submission in (by_client, waiting, "raw-canary"):
            deployment.outcome(submission)
            monitor.until(lambda: monitor.status(submission) in READY)  # noqa: B023  called here
        producers_own = [event for event in monitor.events if event["type"] == "task-sent"]
        others = [event for event in monitor.events if event["type"] != "task-sent"]
        assert canaries[1] in repr(producers_own), "what a plain producer itself announces"
        assert_hidden(canaries, repr(others), "events")
    assert_hidden(canaries, dump(deployment), "Redis afterwards")
    assert worker.terminate() == 0
    assert_hidden(canaries, worker.log, "the log")
    assert "attempt.settled" in worker.log
    producer.close()


def inspect_all(producer: Celery, node: str, *ids: str) -> str:
    """Return everything that ``inspect`` shows of the tasks of one worker."""
    asked = producer.control.inspect(destination=[node], timeout=5, limit=1)
    shown = [asked.active(), asked.reserved(), asked.scheduled(), asked.query_task(*ids)]
    return repr(shown)


def dump(deployment: Deployment) -> str:
    """Return all that rests in Redis under the deployment's prefix, but the codes' numbers."""
    found: list[Any] = []
    client = deployment.redis
    for key in client.scan_iter(f"{deployment.prefix}*"):
        kind = str(client.type(key))
        read: dict[str, Any] = {
            "string": client.get,
            "list": lambda name: client.lrange(name, 0, -1),
            "hash": client.hgetall,
            "set": client.smembers,
            "zset": lambda name: [member for member, _ in client.zscan_iter(name)],
            "stream": client.xrange,
        }
        found.append((key, read[kind](key)))
    return repr(found)


def assert_hidden(canaries: list[str], text: str, where: str) -> None:
    """Assert that no canary is in a text; six digits inside a longer number are none."""
    for canary in canaries:
        assert not re.search(rf"(?<![0-9a-fA-F]){canary}(?![0-9a-fA-F])", text), where
