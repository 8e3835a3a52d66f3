"""A message that is not ours, or not well formed, or a broker that goes away: the worker stays.

Elements are pushed as anybody with access to Redis could push them, with a plain LPUSH.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import pickle
import random
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Self

import pytest
import redis
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.transport.virtual import Channel, Message

import checkpoint_worker.tasks.celery_task.task  # noqa: F401  registers the task
from checkpoint_worker.tasks.celery_task.message_options import REFUSALS
from checkpoint_worker.tasks.celery_task.sanitize import sanitizing_strategy
from checkpoint_worker.tasks.operations.wake import TASK, make_producer
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.address_parser import parse_broker
from checkpoint_worker.tasks.storage.addresses import AddressError
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.app import worker_config
from checkpoint_worker.worker.runtime.broker import (
    BODY_MAX,
    ELEMENT_MAX,
    READ_MAX,
    InvalidMessageError,
    validate_message,
)
from tests.support.deployment import Deployment, LoopThread, RedisProcess, until
from tests.support.fixtures import NewDeployment
from tests.support.health_probe import HealthProbe
from tests.support.measuring import in_time
from tests.system.test_pool import Monitor

log = logging.getLogger(__name__)

ROOMY: Final = {"provider_timeout_s": 12.0, "deadline_s": 20.0}
"""What is in flight outlasts the trouble, and a busy machine."""
CANARY: Final = "847362"
GOOD: Final = [[], {"account_id": "acc_odd", "provider": "LINKEDIN", "code": CANARY}, {}]
RECOVERED_MAX_S: Final = 5.0
"""From the broker's return to the first message taken."""
HALF_OPEN_MAX_S: Final = 15.0
"""From the last byte of a connection that went silent to the next message taken."""


def element(body: object = GOOD, /, *, top: Any = (), props: Any = (), **headers: object) -> bytes:
    """Return a message as it lies in Redis; ``...`` leaves a field out."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    kept = {
        "lang": "py", "task": TASK, "id": "odd", "root_id": "odd", "parent_id": None,
        "group": None, "retries": 0, "timelimit": [None, None], "eta": None, "expires": None,
        "argsrepr": CANARY, "kwargsrepr": CANARY, "origin": CANARY,
    } | headers  # fmt: skip
    properties = {
        "correlation_id": "odd", "reply_to": "", "delivery_mode": 2, "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": ""}, "body_encoding": "base64",
        "delivery_tag": "tag",
    } | dict(props)  # fmt: skip
    message = {
        "body": base64.b64encode(raw).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": _without_gaps(kept),
        "properties": _without_gaps(properties),
    } | dict(top)
    return json.dumps(_without_gaps(message)).encode()


def _without_gaps(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not ...}


WHOLE: Final = element()
UNFIT: Final[dict[str, bytes]] = {
    "not JSON": b"847362",
    "a word": b"hello 847362",
    "empty": b"",
    "blank": b"  \n",
    "a NUL byte": b"\0",
    "NUL bytes around it": b"\0" + WHOLE + b"\0",
    "null": b"null",
    "true": b"true",
    "a list": b'["847362"]',
    "a number": b"847362",
    "NaN": b"NaN",
    "a string": b'"847362"',
    "an empty object": b"{}",
    "truncated": WHOLE[:-20],
    "truncated early": WHOLE[:30],
    "twice in one": WHOLE * 2,
    "pickled": b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00\x8c\x06847362\x94.",
    "invalid UTF-8": b'{"body": "\xff\xfe847362"}',
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "a number of 5,000 digits": b"1" * 5_000,
    "lists nested too deep": b"[" * 100_000,
    "objects nested too deep": b'{"a":' * 100_000,
    "closed lists nested too deep": b"[" * 990 + b"]" * 990,
    "a type nobody knows": b'{"__type__": "x", "__value__": "847362"}',
    "a type that is a list": b'{"__type__": [], "__value__": "847362"}',
    "a broken uuid": b'{"__type__": "uuid", "__value__": {"hex": "847362"}}',
    "element huge": element(kwargsrepr="8" * READ_MAX),
    "no headers": element(top={"headers": ...}),
    "headers null": element(top={"headers": None}),
    "headers a list": element(top={"headers": [CANARY]}),
    "no properties": element(top={"properties": ...}),
    "properties a word": element(top={"properties": CANARY}),
    "no task": element(task=...),
    "another task": element(task="their.own.task"),
    "a task that is no name": element(task=CANARY),
    "a task that is an object": element(task={"code": CANARY}),
    "Celery's own task": element(task="celery.chord_unlock"),
    "no id": element(id=...),
    "id null": element(id=None),
    "id a number": element(id=7),
    "id a list": element(id=["odd"]),
    "id an object": element(id={"hex": "odd"}),
    "id empty": element(id=""),
    "id with odd characters": element(id="odd:../*"),
    "id with a line break": element(id="odd\n"),
    "id endless": element(id="x" * 129),
}
"""What is no task of ours, or names no submission."""

UNREADABLE: Final[dict[str, bytes]] = {
    "no body": element(top={"body": ...}),
    "body null": element(top={"body": None}),
    "body a number": element(top={"body": 847362}),
    "body an object": element(top={"body": {"code": CANARY}}),
    "body not base64": element(top={"body": "847362{"}),
    "body half a surrogate": element(top={"body": "\ud800"}, props={"body_encoding": "utf-8"}),
    "body no JSON": element(b"847362{"),
    "body empty": element(b""),
    "body invalid UTF-8": element(b'[[], {"code": "\xff847362"}, {}]'),
    "body is null": element(None),
    "body is a number": element(847362),
    "body is an object": element({"code": CANARY}),
    "body too short": element([[], {}]),
    "body too long": element([[], {}, {}, {}]),
    "body nested too deep": element(b"[" * 40_000),
    "arguments nested too deep": element(
        b'[[], {"account_id": ' + b"[" * 900 + b"]" * 900 + b"}, {}]"
    ),
    "body huge": element([[], {"code": "8" * (BODY_MAX + 1)}, {}]),
    "arguments a number": element([847362, {}, {}]),
    "named arguments a number": element([[], 847362, {}]),
    "named arguments a list": element([[], ["code", CANARY], {}]),
    "named arguments null": element([[], None, {}]),
    "protocol 1": element(
        {"task": TASK, "id": "odd", "args": [], "kwargs": {"code": CANARY}}, top={"headers": {}}
    ),
    "compressed in an unknown way": element(compression="application/x-odd"),
    "said to be compressed": element(compression="application/x-gzip"),
    "compression a list": element(compression=[1]),
    "a bomb": element(zlib.compress(b" " * 50_000_000), compression="application/x-gzip"),
    "half compressed": element(
        zlib.compress(json.dumps(GOOD).encode())[:-6], compression="application/x-gzip"
    ),
    "pickled body": element(pickle.dumps(GOOD)),
    "yaml body": element(b"- []\n- {code: 847362}\n- {}\n"),
    "much lzma": element(b"\x5d\0\0\0\x80" + b"\xff" * 8, compression="application/x-lzma"),
}
"""Names a submission, whose outcome says that the rest cannot be read."""

ODD: Final[dict[str, bytes]] = {
    "eta-word": element(id="eta-word", eta="soon"),
    # Kombu's JSON makes instances of such objects, or fails; Celery's tracer reads with it.
    "typed-unknown": element(
        [[], {**GOOD[1], "account_id": {"__type__": "nope", "__value__": CANARY}}, {}],
        id="typed-unknown",
    ),
    "typed-decimal": element(
        [[], {**GOOD[1], "provider": {"__type__": "decimal", "__value__": "1.5"}}, {}],
        id="typed-decimal",
    ),
    "typed-positional": element(
        [[{"__type__": "uuid", "__value__": CANARY}, "LINKEDIN", CANARY], {}, {}],
        id="typed-positional",
    ),
    "talkative": element(id="talkative", kwargsrepr="8" * ELEMENT_MAX),
    "bom": element(b"\xef\xbb\xbf" + json.dumps([[], GOOD[1], {}]).encode(), id="bom"),
    "eta-number": element(id="eta-number", eta=5),
    "eta-far": element(id="eta-far", eta="9999-12-31T23:59:59"),
    "expires-word": element(id="expires-word", expires="soon"),
    "expires-past": element(id="expires-past", expires="2001-01-01T00:00:00"),
    "limit-word": element(id="limit-word", timelimit="never"),
    "limit-short": element(id="limit-short", timelimit=[0.0001]),
    "retries-word": element(id="retries-word", retries="many"),
    "callbacks": element([*GOOD[:2], {"callbacks": 5, "errbacks": [5]}], id="callbacks"),
    "chain": element([*GOOD[:2], {"chain": [{"task": "their.own"}]}], id="chain"),
    "embedded-list": element([*GOOD[:2], [1]], id="embedded-list"),
    "embedded-null": element([*GOOD[:2], None], id="embedded-null"),
    "group": element(id="group", group={"a": 1}, root_id=[1], parent_id=7),
    "shadow": element(id="shadow", shadow=["x"], stamps=7, stamped_headers=[1], ignore_result="x"),
    "content-type": element(id="content-type", top={"content-type": "application/x-odd"}),
    "content-null": element(id="content-null", top={"content-type": None, "content-encoding": 7}),
    "encoding-odd": element(id="encoding-odd", top={"content-encoding": "utf-99"}),
    "tag-list": element(id="tag-list", props={"delivery_tag": ["x"]}),
    "tag-missing": element(id="tag-missing", props={"delivery_tag": ...}),
    "info-missing": element(id="info-missing", props={"delivery_info": ...}),
    "info-word": element(id="info-word", props={"delivery_info": "x"}),
    "priority-word": element(id="priority-word", props={"priority": "high", "reply_to": [1]}),
    "unknown-argument": element([[], {**GOOD[1], "more": {"a": [1]}}, {}], id="unknown-argument"),
    "by-position": element([["acc_odd", "LINKEDIN", CANARY, 1, 2], {}, {}], id="by-position"),
    "argument-object": element([[], {**GOOD[1], "account_id": {"a": 1}}, {}], id="argument-object"),
    "code-object": element([[], {**GOOD[1], "code": {"a": [CANARY]}}, {}], id="code-object"),
    "zipped": element(
        zlib.compress(json.dumps(GOOD).encode()), id="zipped", compression="application/x-gzip"
    ),
}  # fmt: skip
"""Ours, whatever else is odd about it; the name is the id, and each has a record afterwards."""

BROADCASTS: Final = (
    b"847362", b"", b"\0", b"null", b"[1]", b"7", b"{}", b"[" * 100_000, b"\xff",
    b'{"body": "x", "properties": 5, "headers": {}}',
    b'{"body": "!", "properties": {"body_encoding": "base64", "delivery_tag": "x"}}',
    b'{"__type__": [], "__value__": 1}',
)  # fmt: skip


def letters(deployment: Deployment) -> list[dict[str, Any]]:
    """Return the dead letters, newest first."""
    return [
        json.loads(text) for text in deployment.redis.lrange(f"{deployment.prefix}:dead", 0, -1)
    ]


def serves(deployment: Deployment) -> None:
    """Assert that a right code is cleared."""
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.right())).status == 201


# What lies in the queue ----------------------------------------------------------------


def test_no_message_ends_the_worker(new_deployment: NewDeployment) -> None:
    """What is not ours is described in the dead letters, once each, and quoted nowhere."""
    deployment = new_deployment(log_level="DEBUG", **ROOMY)
    with make_producer(deployment.settings) as producer, Monitor(producer) as monitor:
        worker = deployment.worker("-l", "DEBUG")
        monitor.until(lambda: "worker-online" in monitor.types())
        control = f"/0.{deployment.prefix}.celery.pidbox"
        for broadcast in BROADCASTS:
            for channel in (control, f"{control}/x", "/0.nobody"):
                deployment.redis.publish(channel, broadcast)
        deployment.redis.lpush(
            deployment.prefix, *UNFIT.values(), *UNREADABLE.values(), *ODD.values()
        )
        deployment.redis.lpush(f"{deployment.prefix}\x06\x163", b"of another priority 847362")
        serves(deployment)
        for name in ODD:
            until(lambda: deployment.client.result(name), f"a record of {name}")  # noqa: B023
            assert deployment.outcome(name).status in {400, 403, 504}, name
        unread = deployment.outcome("odd")
        assert (unread.status, unread.code_sent) == (400, False)
        events = repr(monitor.events)
    dead = letters(deployment)
    assert len(dead) == len(UNFIT) + 1
    assert {letter["told"] for letter in dead} == {None, "their.own.task", "celery.chord_unlock"}
    assert worker.process.poll() is None
    assert worker.terminate() == 0
    assert worker.log.count("broker.set_aside") == len(dead)
    assert "Restarting" not in worker.log
    assert "Connection to broker lost" not in worker.log
    for text in (worker.log, events, json.dumps(dead)):
        assert CANARY not in text


def mutated(chance: random.Random) -> bytes:
    """Return a valid message with something wrong, or not."""
    odd = chance.choice([None, 0, -1, 1.5, "", "x", [], {}, [[]], {"a": 1}, True, "\ud800", 10**30])
    message = json.loads(element(id=f"fuzz-{chance.randrange(10**6)}"))
    kind = chance.randrange(6)
    if kind < 3:
        place = chance.choice([message, message["headers"], message["properties"]])
        name = chance.choice([*place, "compression", "shadow", "redelivered", "stamps"])
        place[name] = odd
        if chance.random() < 0.3:
            del place[name]
    elif kind == 3:
        body = json.loads(base64.b64decode(message["body"]))
        body[chance.randrange(3)] = odd
        message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    raw = bytearray(json.dumps(message).encode())
    if kind >= 4:
        for _ in range(chance.randrange(1, 4)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        if kind == 5:
            raw = raw[: chance.randrange(len(raw))]
    return bytes(raw)


def refused(raw: bytes) -> bool:
    """Whether an element is set aside."""
    try:
        validate_message(raw, "queue")
    except InvalidMessageError:
        return True
    return False


def test_mutants_of_a_message_do_not_end_the_worker(new_deployment: NewDeployment) -> None:
    """Three hundred of them, from a fixed seed; those set aside are counted exactly.

    The dead letters are capped: a stranger who floods the queue does not fill the memory.
    """
    deployment = new_deployment(**ROOMY)
    worker = deployment.worker()
    chance = random.Random(20_261_122)
    elements = [mutated(chance) for _ in range(300)]
    deployment.redis.lpush(deployment.prefix, *elements)
    serves(deployment)
    expected = sum(map(refused, elements))
    assert 100 < expected < 250, "too few of one kind to mean anything"
    assert len(letters(deployment)) == expected
    deployment.redis.rpush(f"{deployment.prefix}:dead", *["{}"] * 1_500)
    deployment.redis.lpush(deployment.prefix, "hello")
    until(lambda: deployment.redis.llen(f"{deployment.prefix}:dead") == 1_000, "the cap")
    assert letters(deployment)[0]["why"] == "not JSON"
    assert worker.process.poll() is None
    assert worker.terminate() == 0
    assert "Connection to broker lost" not in worker.log


def test_copies_send_once_and_also_after_their_record_is_gone(
    new_deployment: NewDeployment,
) -> None:
    """Fifty copies of a wake, and a raw message again when its record has expired."""
    deployment = new_deployment(result_ttl_s=1.0, log_level="DEBUG", **ROOMY)
    worker = deployment.worker("-l", "DEBUG")
    person = deployment.person().open().hold()
    code = person.wrong()
    body = [[], {"account_id": person.id, "provider": person.provider, "code": code}, {}]
    copy = element(body, id="poison")
    deployment.redis.lpush(deployment.prefix, *[copy] * 50)
    person.typed.append(("poison", code))
    person.received()
    until(lambda: deployment.queue_length() == 0, "the copies to be taken")
    person.release()
    assert deployment.outcome("poison").status == 401
    until(lambda: deployment.client.result("poison") is None, "the record to expire")
    again = [[], {**body[1], "code": person.right()}, {}]
    deployment.redis.lpush(deployment.prefix, copy, element(again, id="poison"))
    until(lambda: deployment.queue_length() == 0, "the late copies to be taken")
    serves(deployment)
    assert person.sends(code) == 1
    assert len(person.account.sends) == 1
    assert worker.terminate() == 0
    assert f"'{code}'" not in worker.log
    deployment.persons.remove(person)  # Its record is gone, so there is nothing to compare.


def test_a_warm_stop_loses_no_message(new_deployment: NewDeployment) -> None:
    """Each message that comes meanwhile is answered or still waits in the queue."""
    deployment = new_deployment(**ROOMY)
    names = [f"stop-{number}" for number in range(400)]
    worker = deployment.worker()
    deployment.redis.lpush(deployment.prefix, *[element(id=name) for name in names[:200]])
    until(lambda: deployment.client.result(names[20]), "a part of them")
    stop = threading.Thread(target=worker.terminate)
    stop.start()
    for name in names[200:]:
        deployment.redis.lpush(deployment.prefix, element(id=name))
    stop.join()
    left = {
        json.loads(text)["headers"]["id"]
        for text in deployment.redis.lrange(deployment.prefix, 0, -1)
    }
    answered = {name for name in names if deployment.client.result(name)}
    assert left | answered == set(names)
    assert not deployment.redis.exists(TASK)


# What Celery makes of it ---------------------------------------------------------------


@pytest.fixture(scope="module")
def receive() -> Callable[[dict[str, Any]], Any]:
    """Give a message to our strategy over Celery's own; return the request it makes."""
    given = Settings(secret_keys=make_key())  # type: ignore[arg-type]
    app = Celery("checkpoint", set_as_current=False)
    app.conf.update(worker_config(given))
    requests: list[Any] = []
    consumer = SimpleNamespace(
        hostname="h", connection_errors=(), event_dispatcher=None, disable_rate_limits=True,
        timer=SimpleNamespace(call_at=None), apply_eta_task=None, task_buckets={TASK: None},
        on_task_request=requests.append, _limit_task=None, _limit_post_eta=None,
        pool=SimpleNamespace(apply_async=None),
        controller=SimpleNamespace(state=SimpleNamespace(revoked=set())),
    )  # fmt: skip
    strategy = sanitizing_strategy(app.tasks[TASK], app, consumer)
    channel = Channel.__new__(Channel)  # Only decodes here.

    def call(fitted: dict[str, Any]) -> Any:
        requests.clear()
        message = Message(fitted, channel=channel, accept={"application/json"})
        strategy(message, None, lambda *_: None, lambda *_: None, ())
        (request,) = requests
        return request

    return call


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
HEADERS = st.sampled_from(
    ["lang", "root_id", "parent_id", "group", "retries", "timelimit", "eta", "expires", "shadow",
     "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamps", "meth", "redelivered", "args",
     "replaced_task_nesting", "stamped_headers", "properties", "body", "id", "task"],
)  # fmt: skip
PROPERTIES = st.sampled_from(
    ["correlation_id", "reply_to", "delivery_mode", "priority", "delivery_info", "delivery_tag"]
)


@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    args=st.lists(VALUES, max_size=5) | VALUES,
    kwargs=st.dictionaries(
        st.sampled_from(["account_id", "provider", "code", "sealed", "args"]) | st.text(max_size=5),
        VALUES,
        max_size=4,
    ),
    embed=VALUES,
    headers=st.dictionaries(HEADERS, VALUES, max_size=4),
    props=st.dictionaries(PROPERTIES, VALUES, max_size=3),
    top=st.dictionaries(st.sampled_from(["content-type", "content-encoding"]), VALUES, max_size=2),
)
def test_whatever_fits_becomes_a_request(
    receive: Callable[[dict[str, Any]], Any],
    args: object,
    kwargs: dict[str, Any],
    embed: object,
    headers: dict[str, Any],
    props: dict[str, Any],
    top: dict[str, Any],
) -> None:
    """Celery's strategy and request take it without raising, and only what we read is in it."""
    try:
        fitted = validate_message(
            element([args, kwargs, embed], top=top, props=props, **headers), "the-queue"
        )
    except InvalidMessageError:
        assert {"id", "task"} & set(headers)
        return
    request = receive(fitted)
    assert request.id == fitted["headers"]["id"]
    assert set(request.kwargs) <= {"account_id", "provider", "sealed", "refused", "send_by_ms"}
    assert request.args == []
    assert (request.eta, request.expires, request.time_limits) == (None, None, [None, None])
    assert request.delivery_info["routing_key"] == "the-queue"
    assert CANARY not in f"{request.argsrepr}{request.kwargsrepr}"


@given(raw=st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_fit_raises_nothing_but_its_own_error(raw: bytes) -> None:
    """And what is random is never a task of ours."""
    with pytest.raises(InvalidMessageError) as told:
        validate_message(raw, "queue")
    assert told.value.__cause__ is None


@pytest.mark.parametrize("name", sorted(UNFIT))
def test_strangers_do_not_fit(name: str) -> None:
    """The reason is one of ours and quotes nothing."""
    with pytest.raises(InvalidMessageError) as told:
        validate_message(UNFIT[name], "queue")
    assert CANARY not in f"{told.value}{told.value.told}"


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_what_cannot_be_read_goes_on_without_its_body(name: str) -> None:
    """Its producer hears of it by the outcome, and nothing of the body is quoted."""
    found = validate_message(UNREADABLE[name], "queue")
    assert found.unfit in REFUSALS
    assert found.body == [[], {}, {}]
    assert CANARY not in f"{found}{REFUSALS[found.unfit]}"


def test_copies_are_counted_apart() -> None:
    """Celery counts what is in flight by the delivery tag; equal ones would count as one."""
    first, second = (
        validate_message(WHOLE, "queue")["properties"]["delivery_tag"] for _ in range(2)
    )
    assert first != second


# Where the broker is -------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["unix", "redis+socket", "socket"])
def test_a_unix_socket_is_refused_with_a_way_out(scheme: str) -> None:
    """Otherwise kombu would take its own transport, and a stranger's message end the worker."""
    with pytest.raises(ValueError, match="CHECKPOINT_BROKER_URL"):
        parse_broker(f"{scheme}:///run/redis.sock")
    given = Settings(redis_url="unix:///run/redis.sock", secret_keys=make_key())  # type: ignore[arg-type]
    for make in (worker_config, make_producer):
        with pytest.raises(AddressError, match="CHECKPOINT_BROKER_URL"):
            make(given)


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("amqp://127.0.0.1//", None),
        ("redis://127.0.0.1", "checkpoint_worker.worker.runtime.broker:RedisTransport"),
        (
            "sentinel://127.0.0.1:26379/main",
            "checkpoint_worker.worker.runtime.broker:SentinelTransport",
        ),
        (
            "rediss+cluster://127.0.0.1,h:7",
            "checkpoint_worker.worker.runtime.broker:ClusterTransport",
        ),
    ],
)
def test_a_worker_s_transport_is_ours_wherever_it_is_a_redis(
    url: str, transport: str | None
) -> None:
    """RabbitMQ is left to kombu."""
    given = Settings(broker_url=url, prefix="{checkpoint}", secret_keys=make_key())  # type: ignore[arg-type]
    assert worker_config(given)["broker_transport"] == transport


def test_tls_means_tls() -> None:
    """``rediss://`` with our transport begins with a TLS handshake, and its peer must prove itself.

    kombu switches TLS on by the transport's name, which is not ``rediss`` here: without care the
    password would go out in clear.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        given = Settings(redis_url=f"rediss://:secret@127.0.0.1:{port}/0", secret_keys=make_key())  # type: ignore[arg-type]
        heard: list[bytes] = []

        def hear() -> None:
            peer, _ = server.accept()
            server.close()  # A second try is refused at once.
            with peer:
                heard.append(peer.recv(2))

        thread = threading.Thread(target=hear)
        thread.start()
        app = Celery("checkpoint", set_as_current=False)
        app.conf.update(worker_config(given))
        connection = app.connection_for_read()
        with contextlib.suppress(redis.RedisError, OSError):
            connection.connect()
        thread.join(10)
        assert heard == [b"\x16\x03"]
        assert connection.ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
        assert make_producer(given).connection_for_write().ssl == connection.ssl


# A broker that goes away ---------------------------------------------------------------


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that is the broker and nothing else; the ledger stays when it goes."""
    directory = tmp_path / "broker"
    directory.mkdir()
    with RedisProcess(directory) as server:
        yield server


def taken_after_s(url: str, deployment: Deployment, *, since: float) -> float:
    """Push a stranger and return how long after an instant it was set aside, in seconds."""
    with redis.Redis.from_url(url) as client:
        until(lambda: _pushed(client, deployment.prefix), "the broker to take a message")
        until(lambda: client.llen(deployment.prefix) == 0, "the worker to take it")
    return time.monotonic() - since


def _pushed(client: redis.Redis, name: str) -> bool:
    try:
        return bool(client.lpush(name, "marker"))
    except redis.RedisError:
        return False


def connect_errors(signs: HealthProbe) -> float:
    """Return how often it could not connect; the log has the first of these tries alone."""
    return signs.scrape().sum("checkpoint_broker_errors_total", operation="connection")


def test_the_broker_restarts_while_a_code_is_out(
    broker: RedisProcess, new_deployment: NewDeployment
) -> None:
    """The attempt settles without its broker, and the worker consumes again soon after it is back.

    Away for six tries; Celery's own pauses would have grown to twelve seconds by then.
    """
    deployment = new_deployment(broker_url=broker.url, **ROOMY)
    signs = HealthProbe(deployment).wait()
    worker = signs.worker
    held, other = deployment.person().open(), deployment.person().open()
    for person in (held, other):
        person.hold()
    first, second = held.submit(held.right()), other.submit(other.wrong())
    held.received()
    other.received()
    broker.kill()
    until(lambda: connect_errors(signs) >= 3, "the loss and tries to connect")
    held.release()
    assert deployment.outcome(first).status == 201
    until(lambda: connect_errors(signs) >= 7, "tries to connect")
    assert worker.log.count("Cannot connect to") == 1
    broker.start()
    took_s = taken_after_s(broker.url, deployment, since=time.monotonic())
    log.info("recovered after %.2f s", took_s)
    assert in_time(took_s, RECOVERED_MAX_S)
    other.release()
    assert deployment.outcome(second).status == 401
    serves(deployment)
    assert worker.terminate() == 0


def test_a_broker_that_refuses_writes_for_a_while(
    broker: RedisProcess, new_deployment: NewDeployment
) -> None:
    """READONLY and OOM replies end a stock consumer; here they cost as long as they last."""
    deployment = new_deployment(broker_url=broker.url, **ROOMY)
    worker = deployment.worker()
    with redis.Redis.from_url(broker.url) as client:

        def turn_read_only() -> None:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
            until(lambda: "Connection to broker lost" in worker.log, "the refusal")

        def fill() -> None:
            client.config_set("maxmemory", 1)
            client.client_kill_filter(_type="normal", skipme=True)
            until(lambda: "OutOfMemoryError" in worker.log, "the refusal")

        for name, start, end in (
            ("read-only", turn_read_only, lambda: client.execute_command("REPLICAOF NO ONE")),
            ("full", fill, lambda: client.config_set("maxmemory", 0)),
        ):
            person = deployment.person().open().hold()
            submission = person.submit(person.right())
            person.received()
            ids = [f"{name}-{number}" for number in range(20)]
            client.lpush(deployment.prefix, *[element(id=one) for one in ids])
            # What is on its way over a connection that ends is lost, as Redis has handed it over.
            until(lambda: client.llen(deployment.prefix) == 0, "the worker to take them")
            start()
            person.release()
            assert deployment.outcome(submission).status == 201
            end()
            took_s = taken_after_s(broker.url, deployment, since=time.monotonic())
            log.info("%s: recovered after %.2f s", name, took_s)
            assert in_time(took_s, RECOVERED_MAX_S)
            for one in ids:
                until(lambda: deployment.client.result(one), "a record")  # noqa: B023
    serves(deployment)
    assert worker.terminate() == 0


def test_a_broker_that_refuses_to_be_consumed_makes_it_unready_and_quiet(
    broker: RedisProcess, new_deployment: NewDeployment
) -> None:
    """It is reached each time, and refuses the first BRPOP: no code would ever be taken.

    Celery connects again at once, 5 times a second and with 20 lines of log.
    """
    deployment = new_deployment(broker_url=broker.url)
    signs = HealthProbe(deployment).wait()
    worker, since = signs.worker, len(signs.worker.log)
    with redis.Redis.from_url(broker.url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-brpop")
        client.client_kill_filter(_type="normal", skipme=True)
        until(lambda: worker.log[since:].count("Connected to") >= 4, "tries to consume")
        assert (
            "lost as soon as it is reached; this user may not"
            in signs.checks("/readyz")[1]["broker"]
        )
        shown, began_s = set(), time.monotonic()
        while time.monotonic() - began_s < 3.0:
            shown.add(signs.checks("/readyz")[0])
            assert signs.checks("/livez")[0] == 200
            time.sleep(0.05)
        assert shown == {503}
        said = worker.log[since:]
        assert said.count("Connection to broker lost") <= 2
        assert "Frequent restarts" not in said
        assert "PendingDeprecation" not in said
        client.execute_command("ACL", "SETUSER", "default", "+@all")
        until(lambda: signs.checks("/readyz")[0] == 200, "a ready worker")
    serves(deployment)
    assert worker.terminate() == 0


class Relay:
    """Stands between worker and broker; can let the connections it has go silent."""

    def __init__(self, loops: LoopThread, port: int) -> None:
        self._loops, self._port = loops, port
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._silent: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The broker's address by this way."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def __enter__(self) -> Self:
        self._server = self._loops.run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._loops.run(self._stop())

    def swallow(self) -> None:
        """Forward nothing more on the connections there are; new ones work."""
        self._loops.do(self._silent.update, self._talks)

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            talk = asyncio.create_task(self._pump(source, sink))
            self._talks.add(talk)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        try:
            while data := await reader.read(65_536):
                if me not in self._silent:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def test_a_connection_that_goes_silent_is_given_up(
    broker: RedisProcess, new_deployment: NewDeployment
) -> None:
    """A firewall forgets a connection: nothing is refused, nothing arrives; TCP takes hours."""
    with LoopThread() as loops, Relay(loops, broker.port) as relay:
        deployment = new_deployment(broker_url=relay.url, **ROOMY)
        worker = deployment.worker()
        serves(deployment)
        relay.swallow()
        silent = time.monotonic()
        # The popped reply to the first is lost on the way; the one after it is not.
        with redis.Redis.from_url(broker.url) as client:
            client.lpush(deployment.prefix, "lost")
            until(lambda: client.llen(deployment.prefix) == 0, "the silent pop")
        took_s = taken_after_s(broker.url, deployment, since=silent)
        log.info("recovered after %.2f s", took_s)
        assert in_time(took_s, HALF_OPEN_MAX_S)
        assert worker.process.poll() is None
        assert worker.terminate() == 0
