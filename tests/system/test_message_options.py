"""Each option that a plain Celery producer can give a message has one meaning, and an outcome."""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from celery import Celery, signature
from celery.app.amqp import AMQP
from kombu import Producer

from checkpoint_worker.tasks.celery_task.message_options import (
    HEADERS_MAX,
    HEADERS_SUM_MAX,
    passed_on,
    refusal,
)
from checkpoint_worker.tasks.operations.wake import TASK, make_producer
from checkpoint_worker.worker.runtime.broker import validate_message
from tests.support.deployment import PATIENCE, PATIENT, ROOT, Deployment, until
from tests.support.fixtures import NewDeployment
from tests.system.test_messages import answered, send_raw

PAGE: Final = ROOT / "deploy" / "docs" / "celery.md"
FOLLOWING: Final = {"task": "their.own", "args": [], "kwargs": {}, "options": {}}
TAKEN: Final = (403, "unknown_authentication_context")
"""The outcome of a submission that was taken in as any other: there is no login to clear."""
UNSERVED: Final = (400, "invalid_request")
TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SOON: Final = datetime.now(UTC) + timedelta(hours=1)

MEANINGS: Final[dict[str, tuple[tuple[dict[str, Any], tuple[int, str]], ...]]] = {
    "expires": (({"expires": 60}, TAKEN), ({"expires": -1}, (504, "request_timeout"))),
    "eta": (({"eta": SOON}, UNSERVED), ({"eta": datetime(2001, 1, 1, tzinfo=UTC)}, TAKEN)),
    "countdown": (({"countdown": 60}, UNSERVED), ({"countdown": 0}, TAKEN)),
    "link": (({"link": signature("their.own")}, UNSERVED),),
    "link_error": (({"link_error": signature("their.own")}, UNSERVED),),
    "chain": (({"chain": [FOLLOWING]}, UNSERVED),),
    "chord": (({"chord": FOLLOWING}, UNSERVED),),
    "group_id": (({"group_id": "g"}, TAKEN),),
    "group_index": (({"group_id": "g", "group_index": 1}, TAKEN),),
    "retries": (({"retries": 3}, TAKEN),),
    "time_limit": (({"time_limit": 1}, UNSERVED), ({"time_limit": 3_600}, TAKEN)),
    "soft_time_limit": (({"soft_time_limit": 1}, UNSERVED), ({"soft_time_limit": 3_600}, TAKEN)),
    "reply_to": (({"reply_to": "their-queue"}, TAKEN),),
    "root_id": (({"root_id": "r"}, TAKEN),),
    "parent_id": (({"parent_id": "p"}, TAKEN),),
    "shadow": (({"shadow": "another name"}, TAKEN),),
    "origin": (({"origin": "here"}, TAKEN),),
    "ignore_result": (({"ignore_result": False}, TAKEN),),
    "argsrepr": (({"argsrepr": "(...)"}, TAKEN),),
    "kwargsrepr": (({"kwargsrepr": "{...}"}, TAKEN),),
    "stamped_headers": (({"stamped_headers": ["s"], "s": "1"}, TAKEN),),
    "replaced_task_nesting": (({"replaced_task_nesting": 2}, TAKEN),),
    "serializer": (
        ({"serializer": "json"}, TAKEN),
        ({"serializer": "pickle"}, (400, "invalid_parameters")),
        ({"serializer": "yaml"}, (400, "invalid_parameters")),
    ),
    "compression": (
        ({"compression": "zlib"}, TAKEN),
        ({"compression": "bzip2"}, TAKEN),
        ({"compression": "lzma"}, TAKEN),
    ),
    "headers": (({"headers": {"traceparent": TRACE, "x": "1"}}, TAKEN),),
    "priority": (({"priority": 3}, TAKEN), ({"priority": 9}, TAKEN)),
    "delivery_mode": (({"delivery_mode": 1}, TAKEN),),
}
"""Option -> values of it and the outcome of a code that is sent with each."""
ELSEWHERE: Final = {"queue", "routing_key", "exchange", "exchange_type", "declare", "expiration"}
"""They say which queue a message comes into and for how long it lies there: not the worker's."""
PRODUCERS_OWN: Final = {
    "self", "task_id", "name", "args", "kwargs", "options", "now", "timezone", "create_sent_event",
    "callbacks", "errbacks", "producer", "connection", "router", "result_cls", "publisher",
    "add_to_parent", "route_name", "task_type", "body", "mandatory", "immediate", "content_type",
    "content_encoding", "retry", "retry_policy", "timeout", "confirm_timeout", "properties",
}  # fmt: skip
"""What the task is, another name for one of the options, or what the producer does with it."""


@pytest.fixture
def producer(deployment: Deployment) -> Iterator[Celery]:
    """A plain Celery producer: no client of ours, only the task's name and the queue."""
    app = make_producer(deployment.settings)
    yield app
    app.close()


def test_every_option_of_celery_has_a_meaning() -> None:
    """A later Celery has more of them: each is decided on, here and in the page."""
    known = {
        *inspect.signature(Celery.send_task).parameters,
        *inspect.signature(AMQP.as_task_v2).parameters,
        *inspect.signature(Producer.publish).parameters,
    }
    decided = MEANINGS.keys() | ELSEWHERE
    assert known - PRODUCERS_OWN <= decided
    section = PAGE.read_text().partition("## Options of a message")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", section, re.MULTILINE)))
    assert sorted(named) == sorted({*decided, "task_id", "task_protocol"})


def test_each_option_has_the_outcome_it_is_said_to_have(
    deployment: Deployment, producer: Celery
) -> None:
    """Each one has its outcome in time, and none of them says nothing."""
    expected: dict[str, tuple[int, str]] = {}
    for name, values in MEANINGS.items():
        for number, (options, outcome) in enumerate(values):
            given = {"account_id": f"acc_{name}", "provider": "LINKEDIN", "code": "123456"}
            expected[f"{name}-{number}"] = outcome
            producer.send_task(TASK, kwargs=given, task_id=f"{name}-{number}", **options)
    for submission_id, (status, type_) in expected.items():
        record = answered(deployment, submission_id)
        told = (record.status, record.body["type"].removeprefix("errors/"), record.code_sent)
        assert told == (status, type_, False), submission_id


def test_a_message_of_protocol_1_has_an_outcome(deployment: Deployment, producer: Celery) -> None:
    """Old producers send it; its id is in the body."""
    producer.conf.task_protocol = 1
    given = {"account_id": "acc_old", "provider": "LINKEDIN", "code": "123456"}
    producer.send_task(TASK, kwargs=given, task_id="old-1")
    record = answered(deployment, "old-1")
    assert (record.status, record.code_sent) == (400, False)
    assert "protocol" in record.body["detail"]


def test_an_expired_code_is_not_sent(new_deployment: NewDeployment) -> None:
    """Its sender has given it up; Celery itself would drop it without a word."""
    deployment = new_deployment(**PATIENT)
    person = deployment.person().open()
    with make_producer(deployment.settings) as producer:
        send_raw(producer, person, person.right(), "late", expires=0.01)
        send_raw(producer, person, person.wrong(), "later", expires=0.01)
    time.sleep(0.02)
    deployment.worker()
    for name in ("late", "later"):
        record = answered(deployment, name)
        assert (record.status, record.code_sent) == (504, False)
    assert not person.account.sends
    assert deployment.outcome(person.submit(person.right())).status == 201


def test_a_code_that_expires_while_it_waits_is_not_sent(new_deployment: NewDeployment) -> None:
    """It was taken in time, and waits for an exchange that is under way."""
    deployment = new_deployment(deadline_s=60.0, provider_timeout_s=30.0, drain_s=20.0)
    deployment.worker()
    person = deployment.person().open().hold()
    first, right = person.submit(person.wrong()), person.right()
    person.received(1)
    expires = datetime.now(UTC) + timedelta(seconds=3)
    with make_producer(deployment.settings) as producer:
        send_raw(producer, person, right, "waits", expires=expires)
    assert deployment.outcome(first).status == 409
    until(lambda: datetime.now(UTC) > expires, "the end of it")
    person.release()
    record = answered(deployment, "waits")
    assert (record.status, record.code_sent) == (504, False)
    assert person.sends(right) == 0


def test_an_expired_wake_is_a_wake(deployment: Deployment, producer: Celery) -> None:
    """The ledger decides on what has a record; an option of its message changes nothing."""
    person = deployment.person().open().hold()
    submission = person.submit(person.right())
    kwargs = {"account_id": person.id, "provider": person.provider}
    producer.send_task(TASK, kwargs=kwargs, task_id=submission, expires=-1, countdown=60)
    until(lambda: deployment.queue_length() == 0, "the wake to be taken")
    person.release()
    assert deployment.outcome(submission).status == 201


# Headers of a trace -------------------------------------------------------------------------

LISTENER: Final = """
import json, os
from celery.signals import task_prerun, task_received
@task_prerun.connect(weak=False)
def prerun(task, **_):
    with open(os.environ["TOLD"], "a") as file:
        told = {name: getattr(task.request, name, None) for name in ("traceparent", "baggage")}
        file.write(json.dumps(told | {"headers": task.request.headers}) + "\\n")
"""


def test_a_trace_goes_through_to_log_lines_and_to_celery_s_request(
    new_deployment: NewDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a tracer in the worker, or a reader of the log, finds the request it belongs to."""
    deployment = new_deployment(log_level="INFO")
    told = deployment.logs / "told"
    (deployment.logs / "trace_listener.py").write_text(LISTENER)
    monkeypatch.setenv("TOLD", str(told))
    monkeypatch.setenv("PYTHONPATH", str(deployment.logs))
    worker = deployment.worker("-I", f"{PATIENCE},trace_listener")
    person = deployment.person().open()
    code = person.right()
    headers = {
        "traceparent": TRACE,
        "baggage": "user=1",
        "x-code": f"the code is {code}",
        "odd\nname": "x",
        "task": "their.own",
        "args": "x",
    }
    with make_producer(deployment.settings) as producer:
        send_raw(producer, person, code, "traced", headers=headers | {"task": TASK})
        send_raw(producer, person, person.wrong(), "odd", headers={"traceparent": f"{TRACE}\n"})
    assert answered(deployment, "traced").status in {201, 409}
    answered(deployment, "odd")
    worker.terminate()
    lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    about = [each for each in lines if each.get("submission_id") == "traced"]
    assert about
    assert {each.get("traceparent") for each in about} == {TRACE}
    assert not any(each.get("traceparent") for each in lines if each not in about)
    seen = [json.loads(line) for line in told.read_text().splitlines()]
    kept = {"traceparent": TRACE, "baggage": "user=1"}
    assert kept | {"headers": kept} in seen
    assert code not in told.read_text()


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"traceparent": TRACE, "sentry-trace": "x", "n": 1}, {"traceparent", "sentry-trace", "n"}),
        ({"delivery_info": "x", "is_eager": True, "update": "x", "id": "x", "lang": "x"}, set()),
        ({"x": ["a"], "y": {"a": 1}, "z": None, "1": "a", "a b": "c", "": "d"}, set()),
        ({"x": "a\nb", "y": "\u2028", "z": "\ud800", "w": "a\x7f"}, set()),
        ({"x": "a" * 9_000, "y": "b"}, {"y"}),
        ({"x": "code 12 34-56", "y": "123 456", "z": 123456, "w": "12345"}, {"w"}),
        ({"headers": 5, "x": "1"}, {"x"}),
        ({"headers": {"x": "123456"}, "y": "1"}, {"y"}),
        ({"headers": {"x": "1"}, "y": "1"}, {"y", "headers"}),
        ({}, set()),
    ],
)
def test_headers_of_a_producer_are_bounded(headers: dict[str, Any], kept: set[str]) -> None:
    """Names, kinds, lengths; none that Celery has for itself, and none with the code in it."""
    assert passed_on(headers, "123456").keys() == kept


def test_headers_of_a_producer_are_few() -> None:
    """A stranger's headers fill no memory and no log."""
    many = passed_on({f"h{number}": "x" for number in range(1_000)})
    assert len(many) == HEADERS_MAX
    long = passed_on({f"h{number}": "x" * 8_000 for number in range(9)})
    assert 0 < len(str(long)) <= HEADERS_SUM_MAX


def test_a_request_has_all_headers_where_a_tracer_repeats_them() -> None:
    """Sentry reads the inner ones, OpenTelemetry the outer ones."""
    found = passed_on({"traceparent": TRACE, "headers": {"sentry-trace": "s", "id": "x"}})
    assert found["headers"] == {"traceparent": TRACE, "sentry-trace": "s"}


@pytest.mark.parametrize(
    ("headers", "embed", "why"),
    [
        ({"eta": 5}, {}, "eta_form"),
        ({"eta": "soon"}, {}, "eta_form"),
        ({"eta": "9999-12-31T23:59:59"}, {}, "eta"),
        ({"expires": "soon"}, {}, "expires"),
        ({"expires": True}, {}, "expires"),
        ({"expires": "2001-01-01T00:00:00"}, {}, "expired"),
        ({"timelimit": "never"}, {}, "time_limit_form"),
        ({"timelimit": [True, None]}, {}, "time_limit_form"),
        ({"timelimit": [0.1, None]}, {}, "time_limit"),
        ({"timelimit": [60, 29]}, {}, "time_limit"),
        ({"timelimit": [None, None]}, {"callbacks": [], "chain": None}, None),
        ({}, {"errbacks": [1]}, "callbacks"),
        ({}, ["odd"], None),
    ],
)
def test_an_odd_option_is_a_refusal(headers: dict[str, Any], embed: object, why: str) -> None:
    """Malformed ones end nothing."""
    assert refusal(headers, embed, now_s=1.7e9, deadline_s=30.0) == (why, None)


def test_a_wake_with_a_trace_keeps_it() -> None:
    """A backend's tracer adds its header to whatever Celery sends for it."""
    element = {
        "body": json.dumps([[], {"account_id": "a", "provider": "LINKEDIN"}, {}]),
        "headers": {"task": TASK, "id": "x", "traceparent": TRACE, "eta": 5},
        "properties": {},
    }
    headers = validate_message(json.dumps(element).encode(), "queue")["headers"]
    assert (headers["traceparent"], headers["eta"]) == (TRACE, None)
