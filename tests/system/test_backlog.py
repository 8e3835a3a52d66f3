"""A backlog: taken in bundles, no further than there are places, and told of in bundles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.worker import state as worker_state

from checkpoint_worker.tasks.operations.wake import wake_message
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.app import worker_config
from checkpoint_worker.worker.runtime.consumer import EVENTS_AT_ONCE, PromptConsumer
from tests.support.deployment import BOUND_S, until
from tests.support.fixtures import NewDeployment

QUEUE = "backlog"
PLACES, WAITING = 5, 40


def test_a_worker_takes_no_more_than_it_has_places_for(new_deployment: NewDeployment) -> None:
    """What it has taken nobody else can take: a second worker would stand idle."""
    deployment = new_deployment(
        concurrency=PLACES, deadline_s=100.0, provider_timeout_s=60.0, queue_age_max_s=100.0
    )
    people = [deployment.person().open() for _ in range(WAITING)]
    for person in people:
        person.hold()
        person.submit(person.right())
    deployment.worker()
    until(lambda: sum(len(person.account.sends) for person in people) == PLACES, "five codes")
    assert deployment.redis.llen(deployment.prefix) == WAITING - PLACES
    for person in people:
        person.release()
    for person in people:
        outcome = deployment.client.wait(person.typed[-1][0], timeout_s=BOUND_S)
        assert outcome is not None
        assert (outcome.status, len(person.account.sends)) == (201, 1)


class GaveUpError(Exception):
    """A consumer that gives up over one message."""


@pytest.fixture
def channel(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the worker's own channel to a queue, with ten wakes in it.

    However slow the machine is, what it reads at first was there at once.
    """
    monkeypatch.setattr("checkpoint_worker.worker.runtime.broker.SOON_S", BOUND_S)
    settings = Settings(redis_url=redis_url, secret_keys=make_key(), prefix=QUEUE)
    app = Celery("backlog", set_as_current=False)
    app.conf.update(worker_config(settings))
    with redis.Redis.from_url(redis_url) as client, app.connection_for_read() as connection:
        for number in range(10):
            client.lpush(QUEUE, wake_message(QUEUE, f"s{number}", "acc", "LINKEDIN"))
        made = connection.default_channel
        made.basic_consume(QUEUE, no_ack=False, callback=lambda _: None, consumer_tag="tag")
        made.brpop_timeout = 1
        made.wakes = client
        yield made


def taken_by(channel: Any, monkeypatch: pytest.MonkeyPatch, breaks_at: str = "") -> list[str]:
    """Read once; return the ids that were delivered."""
    taken: list[str] = []

    def deliver(message: dict[str, Any], _queue: str) -> None:
        if message["headers"]["id"] == breaks_at:
            raise GaveUpError
        taken.append(message["headers"]["id"])

    monkeypatch.setattr(channel.connection, "_deliver", deliver)
    channel.client.connection = channel.client.connection_pool.get_connection()
    channel._brpop_start()
    try:
        channel._brpop_read()
    except GaveUpError:
        taken.append("broke")
    return taken


def left(channel: Any) -> list[str]:
    """Return the ids that wait, in the order in which they would be taken."""
    return [
        json.loads(raw)["headers"]["id"] for raw in reversed(channel.wakes.lrange(QUEUE, 0, -1))
    ]


def test_several_that_wait_are_read_at_once_in_their_order(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message a turn is a slow way through a backlog."""
    assert taken_by(channel, monkeypatch) == [f"s{number}" for number in range(10)]
    assert left(channel) == []


def test_no_more_are_read_than_the_prefetch_allows(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count that bounds what is in flight holds for bundles as well."""
    channel.qos.prefetch_count = 4
    assert taken_by(channel, monkeypatch) == ["s0", "s1", "s2", "s3"]
    assert left(channel) == [f"s{number}" for number in range(4, 10)]


def test_what_was_read_and_not_delivered_is_put_back(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain producer's code is nowhere else."""
    assert taken_by(channel, monkeypatch, breaks_at="s2") == ["s0", "s1", "broke"]
    assert left(channel) == [f"s{number}" for number in range(3, 10)]


def test_one_that_came_after_a_while_is_alone(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing waited, asking for more is a trip for nothing."""
    monkeypatch.setattr("checkpoint_worker.worker.runtime.broker.SOON_S", 0.0)
    assert taken_by(channel, monkeypatch) == ["s0"]


# Events ------------------------------------------------------------------------------------


class Hub:
    """Celery's loop, which only notes what it is asked to do."""

    def __init__(self) -> None:
        self.later: list[Any] = []
        self.soon: list[Any] = []

    def call_later(self, _delay_s: float, call: Any) -> None:
        self.later.append(call)

    def call_soon(self, call: Any) -> None:
        self.soon.append(call)


@pytest.fixture
def consumer() -> Any:
    """Return a consumer with nothing around it."""
    made = PromptConsumer.__new__(PromptConsumer)
    made.hub, made.event_dispatcher = Hub(), SimpleNamespace(buffer_limit=24)
    made._flush_events_promise = "now"
    return made


def test_events_of_a_moment_are_sent_together(consumer: Any) -> None:
    """Four events a task, a message for each turn of the loop, were a quarter of its cost."""
    for _ in range(100):
        consumer.on_send_event_buffered()
    assert consumer.hub.later == [consumer._flush_events]
    assert consumer.event_dispatcher.buffer_limit == EVENTS_AT_ONCE


def test_a_lost_timer_does_not_silence_the_events(
    consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost broker connection takes the hub's timers with it."""
    monkeypatch.setattr("checkpoint_worker.worker.runtime.consumer.EVENTS_LATER_S", 0.0)
    consumer.on_send_event_buffered()
    consumer.hub.later.clear()
    consumer.on_send_event_buffered()
    assert len(consumer.hub.later) == 1


@pytest.mark.parametrize("flag", ["should_stop", "should_terminate"])
def test_a_worker_that_ends_sends_its_events_at_once(
    consumer: Any, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """In a moment there is nobody to send them."""
    monkeypatch.setattr(worker_state, flag, 0)
    consumer.on_send_event_buffered()
    assert (consumer.hub.soon, consumer.hub.later) == (["now"], [])
