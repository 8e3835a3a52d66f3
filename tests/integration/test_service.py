"""What a worker process does around its attempts, with a broker or a ledger that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.concurrency.solo import TaskPool
from celery.exceptions import WorkerShutdown
from structlog.testing import capture_logs

from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.client.wake_sender import WAKES_MAX
from checkpoint_worker.tasks.execution.sweeper import Heartbeat
from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.connections import CLUSTER
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, LedgerUnavailableError
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.observability import broker_queue
from checkpoint_worker.worker.observability.metrics import METRICS
from checkpoint_worker.worker.observability.status import StatusReader
from checkpoint_worker.worker.runtime import bootsteps as service
from checkpoint_worker.worker.runtime.bootsteps import UNKNOWN_LENGTH, Service
from tests.support.stub_amqp import CONNECTION_START_OK, QUEUE_DECLARE, Method, StubAmqp

SILENT_S = 30.0
"""Times the bound of one question, for machines that are slow; without one it takes for ever."""
NOWHERE = "redis://:canary-broker@127.0.0.1:1/0"


@pytest.fixture
def settings(redis_server: EmbeddedRedis) -> Settings:
    """A deployment whose broker is another server, and away."""
    given: dict[str, Any] = {"redis_url": redis_server.url, "secret_keys": make_key()}
    return Settings(**given, broker_url=NOWHERE, prefix="service")


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    """Its Celery."""
    app = make_producer(settings)
    yield app
    app.close()


def events(logs: list[Any]) -> list[str]:
    """Return the names of what was logged; none may quote a password."""
    assert "canary" not in repr(logs)
    return [line["event"] for line in logs]


def test_another_pool_than_ours_is_refused_at_once(app: Celery, settings: Settings) -> None:
    """Celery's pools run no coroutines: every code would wait until its deadline, and be 504."""
    app.conf.checkpoint_settings = settings
    worker = SimpleNamespace(app=app, pool=TaskPool(1, app=app))
    with capture_logs() as logs, pytest.raises(WorkerShutdown, match="1"):
        Service(worker).start(worker)
    assert events(logs) == ["worker.refused"]


async def test_a_wake_that_cannot_be_sent_harms_nobody(app: Celery, settings: Settings) -> None:
    """The sweeper sends it again; here it is counted, and said without the broker's address."""

    async def send() -> None:
        attempts = await service._make_attempts(settings, app)
        try:
            await attempts.send_wake("sub_1", "acc_1", "LINKEDIN")
        finally:
            await attempts.executor.aclose()

    before = _value(METRICS.broker_wake)
    with capture_logs() as logs:
        await send()
    assert _value(METRICS.broker_wake) == before + 1
    assert events(logs) == ["wake.failed"]
    assert logs[0]["submission_id"] == "sub_1"


async def test_a_wake_goes_into_the_ledger_s_own_list_where_that_is_the_broker(
    redis_server: EmbeddedRedis, app: Celery
) -> None:
    """Celery takes ten times as long for the same element."""
    given: dict[str, Any] = {"redis_url": redis_server.url, "secret_keys": make_key()}
    settings = Settings(**given, prefix="service-here")
    attempts = await service._make_attempts(settings, app)
    try:
        await attempts.send_wake("sub_1", "acc_1", "LINKEDIN")
        client: Any = attempts.executor.client
        count, element = await client.llen("service-here"), await client.lpop("service-here")
    finally:
        await attempts.executor.aclose()
    assert count == 1
    assert '"id":"sub_1"' in element


async def test_a_broker_that_does_not_answer_is_taken_for_a_full_one(
    settings: Settings, app: Celery
) -> None:
    """Else the sweeper would flood it with wakes the moment it is back."""
    before = _value(METRICS.broker_length)
    with capture_logs() as logs:
        assert await service._queue_length(app, settings)() == UNKNOWN_LENGTH
    assert _value(METRICS.broker_length) == before + 1
    assert events(logs) == ["queue.unknown"]


async def test_a_queue_that_was_never_written_to_is_empty(
    redis_server: EmbeddedRedis,
) -> None:
    """A list in Redis exists from its first element on."""
    given: dict[str, Any] = {"redis_url": redis_server.url, "secret_keys": make_key()}
    settings = Settings(**given, prefix="service-empty")
    app = make_producer(settings)
    try:
        assert await service._queue_length(app, settings)() == 0
    finally:
        app.close()


@pytest.fixture
async def amqp(silent_at: Method | None) -> AsyncIterator[StubAmqp]:
    """Run a broker that falls silent."""
    async with StubAmqp(silent_at) as broker:
        yield broker


@pytest.fixture
def of_amqp(redis_server: EmbeddedRedis, amqp: StubAmqp) -> Settings:
    """A deployment with that broker."""
    given: dict[str, Any] = {"redis_url": redis_server.url, "secret_keys": make_key()}
    return Settings(**given, broker_url=amqp.url, prefix="service-amqp")


@pytest.mark.parametrize("silent_at", [None])
async def test_a_broker_that_answers_tells_the_length_of_its_queue(of_amqp: Settings) -> None:
    """The stub is one, as long as it speaks."""
    app = make_producer(of_amqp)
    assert await service._queue_length(app, of_amqp)() == 0
    app.close()


@pytest.mark.parametrize("silent_at", [CONNECTION_START_OK, QUEUE_DECLARE])
async def test_a_silent_broker_holds_up_neither_a_sweep_nor_a_submission(
    amqp: StubAmqp, of_amqp: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is overdue is settled by the same sweep, and a backend's request has a deadline."""
    monkeypatch.setattr("checkpoint_worker.tasks.operations.wake.PRODUCER_TIMEOUT_S", 0.3)
    app = make_producer(of_amqp)
    length = service._queue_length(app, of_amqp)
    attempts = await service._make_attempts(of_amqp, app)
    try:
        with capture_logs() as logs:
            async with asyncio.timeout(SILENT_S):
                assert await length() == UNKNOWN_LENGTH
            async with asyncio.timeout(SILENT_S):
                wakes = (attempts.send_wake(f"sub_{n}", "acc_1", "LINKEDIN") for n in range(100))
                await asyncio.gather(*wakes)
        assert {"queue.unknown", "wake.failed"} == set(events(logs))
        tried = amqp.heard.count(CONNECTION_START_OK)
        assert tried <= 3 * WAKES_MAX, "most wakes wait for nothing"
        client = CheckpointClient(of_amqp)
        async with asyncio.timeout(SILENT_S):
            await asyncio.to_thread(client._wake, "sub_1", "acc_1", "LINKEDIN")
        client.close()
    finally:
        await attempts.executor.aclose()
        app.close()


async def test_a_node_of_a_cluster_that_answers_by_chance_does_not_tell_the_queue_s_length(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a single server's address it has the queue until the next failover, or another's."""
    given: dict[str, Any] = {"redis_url": redis_server.url, "secret_keys": make_key()}
    elsewhere = {"broker_url": f"{redis_server.url.rpartition('/')[0]}/1"}
    settings = Settings(**given, **elsewhere, prefix="service-node")
    app = make_producer(settings)
    reader = StatusReader(settings, 1.0)
    try:
        assert await service._queue_length(app, settings)() == 0
        monkeypatch.setattr(broker_queue, "in_cluster_mode", lambda _client: True)
        with capture_logs() as logs:
            assert await service._queue_length(app, settings)() == UNKNOWN_LENGTH
        assert (reader.queue_length(), reader.broker_why) == (None, CLUSTER)
    finally:
        reader.close()
        app.close()
    assert events(logs) == ["queue.unknown"]


@pytest.mark.parametrize("busy", [True, False])
async def test_a_worker_that_ends_leaves_the_ledger_unless_it_still_holds_something(
    settings: Settings, app: Celery, busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten worker is never judged lost; what it still holds must be settled by others.

    Its end may come before the answer to its last heartbeat: a later one than it knows of.
    """
    attempts = await service._make_attempts(settings, app)
    if busy:
        monkeypatch.setitem(attempts.running, "sub_1", object())
    heartbeat = Heartbeat(attempts)
    beating = asyncio.create_task(service._send_heartbeats(heartbeat))
    async with asyncio.timeout(10):
        await attempts.ready.wait()
        unanswered = attempts.store.send_heartbeat(attempts.worker, 0)
        while (await attempts.executor.run(unanswered)).now_ms == heartbeat.answered_ms:
            unanswered = attempts.store.send_heartbeat(attempts.worker, 0)
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    after = await service._make_attempts(settings, app)
    try:
        names: Any = await after.executor.client.zrange("service:beats", 0, -1)
        await after.executor.client.delete("service:beats")
        found = [name for name in names if name == attempts.worker]
    finally:
        await after.executor.aclose()
    assert len(found) == int(busy)


async def test_a_worker_that_ends_without_a_ledger_ends_all_the_same(
    settings: Settings, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken for lost after a while; its connections are closed in any case."""

    async def away(*_: object) -> None:
        msg = "away"
        raise LedgerUnavailableError(msg)

    async def live() -> None:
        attempts = await service._make_attempts(settings, app)
        monkeypatch.setattr(AsyncExecutor, "run", away)
        beating = asyncio.create_task(service._send_heartbeats(Heartbeat(attempts)))
        await asyncio.sleep(0)
        beating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beating

    with capture_logs() as logs:
        await live()
    assert events(logs)[-1] == "worker.not_forgotten"


def _value(counter: Any) -> float:
    return float(counter._value.get())
