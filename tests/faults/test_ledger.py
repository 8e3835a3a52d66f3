"""The one Redis of ledger and broker is in trouble, and real workers live on it.

Whatever it is: the worker needs no supervisor, a producer is told 503 and can ask what became
of its submission, what was sent keeps its verdict, and soon after the end codes are served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import pytest
import redis

from checkpoint_worker.tasks.execution.attempt import FIRST_BYTE_S
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.storage.executor import LedgerError
from tests.support.deployment import BOUND_S, PATIENT, Deployment, LoopThread, RedisProcess, until
from tests.support.fixtures import NewDeployment
from tests.support.measuring import in_time

log = logging.getLogger(__name__)

ROOMY: Final = PATIENT | {"provider_timeout_s": 40.0}
RECOVERED_MAX_S: Final = 5.0
HALF_OPEN_MAX_S: Final = 15.0
ANSWER_S: Final = 15.0
"""A producer's request does not hang: three tries, each within the ledger's own limit."""
LOST_MIN: Final = 4
ROUNDS_MAX: Final = 8

pytestmark = pytest.mark.fault


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis for this test alone."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with RedisProcess(directory) as process:
        yield process


def served_after_s(deployment: Deployment, since: float) -> float:
    """Clear a login as soon as Redis allows; return how long after an instant it was cleared."""
    person = deployment.person()
    until(lambda: _worked(person.open), "the ledger")
    code, name = person.right(), f"sub_{person.id}"
    until(lambda: _worked(lambda: person.submit(code, name)), "the submission")
    assert deployment.outcome(name).status == 201
    return time.monotonic() - since


def _worked(call: Callable[[], object]) -> bool:
    try:
        call()
    except (CheckpointError, redis.RedisError, LedgerError):
        return False
    return True


def refused(deployment: Deployment, why: str = "read this submission id") -> None:
    """Assert that a producer is told 503 in bounded time, and how to learn more."""
    person = deployment.persons[0]
    begin_s = time.monotonic()
    with pytest.raises(CheckpointError, match=why) as told:
        person.submit("123456", "sub_refused")
    assert (told.value.status, told.value.body["type"]) == (503, "errors/service_unavailable")
    assert time.monotonic() - begin_s < ANSWER_S


# Refusing ------------------------------------------------------------------------------


def turn_read_only(client: redis.Redis) -> None:
    """It becomes a replica, whose master is nowhere."""
    client.execute_command("REPLICAOF", "127.0.0.1", "1")


def turn_back(client: redis.Redis) -> None:
    """It is its own master again."""
    client.execute_command("REPLICAOF", "NO", "ONE")


def test_a_ledger_that_refuses_writes_for_a_while(
    server: RedisProcess, new_deployment: NewDeployment
) -> None:
    """No claim is acknowledged, so nothing new is sent; the verdict on the way is settled later."""
    deployment = new_deployment(server.url, **ROOMY)
    worker = deployment.worker()
    held, waiting = deployment.person().open(), deployment.person()
    held.hold()
    submission = held.submit(held.right())
    held.received()
    with deployment.gate() as gate, redis.Redis.from_url(server.url) as client:
        waiting.open(proxy=gate.url)
        unclaimed = waiting.submit(waiting.right())
        gate.wait_for(1)
        turn_read_only(client)
        refused(deployment)
        held.release()
        gate.open()
        until(lambda: "attempt.ledger_away" in worker.log, "the verdict to find no ledger")
        until(lambda: "attempt.claim_unanswered" in worker.log, "the claim to be refused")
        assert not waiting.account.sends
        turn_back(client)
        ended_s = time.monotonic()
        took_s = served_after_s(deployment, ended_s)
        log.info("served %.2f s after the end", took_s)
        assert in_time(took_s, RECOVERED_MAX_S)
        assert deployment.client.result("sub_refused") is None, "so its backend knows"
        assert deployment.outcome(submission).status == 201
        assert deployment.outcome(unclaimed).status == 201
    assert len(waiting.account.sends) == 1
    assert worker.terminate() == 0


def test_a_full_ledger_takes_nothing_in_and_ends_what_it_has(
    server: RedisProcess, new_deployment: NewDeployment
) -> None:
    """What is under way needs no more memory: it goes on while the next one is told to wait."""
    deployment = new_deployment(server.url, **ROOMY)
    worker = deployment.worker()
    held, waiting = deployment.person().open(), deployment.person()
    held.hold()
    submission = held.submit(held.right())
    held.received()
    with deployment.gate() as gate, redis.Redis.from_url(server.url) as client:
        waiting.open(proxy=gate.url)
        unclaimed = waiting.submit(waiting.right())
        gate.wait_for(1)
        client.config_set("maxmemory", 1)
        refused(deployment, "memory is nearly full; nothing was stored")
        assert deployment.client.result("sub_refused") is None
        held.release()
        gate.open()
        assert deployment.outcome(submission).status == 201
        assert deployment.outcome(unclaimed).status == 201
        client.config_set("maxmemory", 0)
        assert in_time(served_after_s(deployment, time.monotonic()), RECOVERED_MAX_S)
    assert len(waiting.account.sends) == 1
    assert worker.terminate() == 0


# Loading -------------------------------------------------------------------------------

KEYS, KEY_BYTES, KEY_LOAD_US = 60_000, 2_000, 300
"""Redis looks up from loading every two megabytes, three times a second, and then says LOADING: for
18 s, unless it is started once more without the delay."""


def test_a_ledger_that_loads_a_large_file(
    server: RedisProcess, new_deployment: NewDeployment
) -> None:
    """It came back with everything and says LOADING for seconds: as good as away.

    It is another process, and who knows what its file has missed: what the old one had queued
    is answered 504; a verdict on the way is settled.
    """
    deployment = new_deployment(server.url, **ROOMY)
    worker = deployment.worker()
    held = deployment.person().open().hold()
    submission = held.submit(held.right())
    held.received()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("rdbcompression", "no")
        client.execute_command("DEBUG", "POPULATE", KEYS, "key", KEY_BYTES)
        client.save()
        server.kill()
        server.launch("--key-load-delay", str(KEY_LOAD_US))
        until(lambda: _loads(server.port), "the loading")
        held.release()
        until(lambda: "attempt.ledger_away" in worker.log, "the verdict to find no ledger")
        refused(deployment)
        server.kill()
        server.launch()
        until(lambda: _worked(client.ping), "the end of it")
        took_s = served_after_s(deployment, time.monotonic())
    log.info("served %.2f s after the end", took_s)
    assert in_time(took_s, RECOVERED_MAX_S)
    assert deployment.outcome(submission).status == 201
    assert len(held.account.sends) == 1
    assert worker.terminate() == 0
    deployment.persons.clear()  # The listener of publications went with the old process.


def _loads(port: int) -> bool:
    """Ask by hand: a client greets at length first, and each word takes as long as an answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=BOUND_S) as there:
            there.sendall(b"PING\r\n")
            return there.recv(8) == b"-LOADING"
    except OSError:
        return False


# The way to it -------------------------------------------------------------------------


class Way:
    """Stands between a worker and its Redis: slows, forgets connections, loses replies."""

    def __init__(self, port: int) -> None:
        self._loops, self._port = LoopThread(), port
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._silent: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        """Before each piece that goes back."""
        self.lose_every = 0
        """Of the pieces with scripts to run, each one with such a number gets no answer."""
        self.scripts = self.lost = 0

    @property
    def url(self) -> str:
        """Redis by this way."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def __enter__(self) -> Self:
        self._server = self._loops.run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._loops.run(self._stop())
        self._loops.close()

    def swallow(self) -> None:
        """Forward nothing more on the connections there are; new ones work."""
        self._loops.do(self._silent.update, self._talks)

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        talks = [*self._talks]
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._talks.add(me)
        there = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(self._back(there[0], writer))
        self._talks.add(back)
        # A cancelled talk just ends: asyncio's own callback trips over one that says so.
        with contextlib.suppress(asyncio.CancelledError):
            await self._forth(reader, there[1], back)
        back.cancel()
        for end in (writer, there[1]):
            end.close()
        self._talks -= {me, back}

    async def _forth(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.Task[None],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if asyncio.current_task() in self._silent:
                    continue
                loses = self._loses(data)
                if loses:
                    back.cancel()  # The effect comes, the reply does not.
                writer.write(data)
                await writer.drain()
                if loses:
                    await asyncio.sleep(0.05)
                    return

    def _loses(self, data: bytes) -> bool:
        if b"EVAL" not in data:
            return False
        self.scripts += 1
        if self.lose_every == 0 or self.scripts % self.lose_every:
            return False
        self.lost += 1
        return True

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay_s)
                if me not in self._silent:
                    writer.write(data)
                    await writer.drain()


@pytest.fixture
def way(server: RedisProcess) -> Iterator[Way]:
    """A way to that Redis; tests themselves go past it."""
    with Way(server.port) as way:
        yield way


def test_replies_that_are_lost_after_their_effect(
    server: RedisProcess, way: Way, new_deployment: NewDeployment
) -> None:
    """Scripts take effect and nobody is told, again and again: repeated, they change nothing.

    Many scripts share a piece, so how often that is depends on who was quick: it is played until
    it was often enough.
    """
    deployment = new_deployment(server.url, **ROOMY)
    worker = deployment.worker(redis_url=way.url, broker_url=server.url)
    way.lose_every = 4
    for _ in range(ROUNDS_MAX):
        persons = [deployment.person().open() for _ in range(30)]
        wrong = persons[::3]
        codes = [person.wrong() if person in wrong else person.right() for person in persons]
        submissions = [person.submit(code) for person, code in zip(persons, codes, strict=True)]
        for person, code, submission in zip(persons, codes, submissions, strict=True):
            record = deployment.outcome(submission)
            promised = 401 if person in wrong else 201
            assert record.status == promised or not record.code_sent, record
            assert person.sends(code) == int(record.code_sent or False)
        log.info("%d of %d replies were lost", way.lost, way.scripts)
        if way.lost >= LOST_MIN:
            break
    assert way.lost >= LOST_MIN
    way.lose_every = 0
    assert in_time(served_after_s(deployment, time.monotonic()), RECOVERED_MAX_S)
    assert worker.terminate() == 0


def test_a_slow_ledger_delays_and_harms_nobody(
    server: RedisProcess, way: Way, new_deployment: NewDeployment
) -> None:
    """At 0.2 s for each reply codes take longer; at 1.2 s a claim comes too late to send on it.

    t=0 the claim's command · t=0 the code is gone from Redis · t=1.2 the worker hears of it,
    later than anybody may count on: 504, unsent.
    """
    deployment = new_deployment(server.url, **ROOMY | {"lost_after_s": 10.0, "heartbeat_s": 2.0})
    worker = deployment.worker(redis_url=way.url)
    way.delay_s = 0.2
    persons = [deployment.person().open() for _ in range(10)]
    for submission in [person.submit(person.right()) for person in persons]:
        assert deployment.outcome(submission).status == 201
    way.delay_s = 0.0
    assert worker.terminate() == 0
    worker = deployment.worker(patient=False, redis_url=way.url)  # With the bound as it is.
    person = deployment.person()
    with deployment.gate() as gate:
        person.open(proxy=gate.url)
        late = person.submit(person.right())
        gate.wait_for(1)
        way.delay_s = FIRST_BYTE_S + 0.2
        gate.open()
        record = deployment.outcome(late)
        assert (record.status, record.code_sent) == (504, False)
        assert not person.account.sends
        way.delay_s = 0.0
        assert in_time(served_after_s(deployment, time.monotonic()), RECOVERED_MAX_S)
    assert worker.terminate() == 0


def test_connections_that_go_silent_are_given_up(
    server: RedisProcess, way: Way, new_deployment: NewDeployment
) -> None:
    """All of them, ledger and broker, with a code under way: it is settled, the next is served."""
    deployment = new_deployment(server.url, **ROOMY)
    worker = deployment.worker(redis_url=way.url)
    served_after_s(deployment, time.monotonic())
    held = deployment.person().open().hold()
    submission = held.submit(held.right())
    held.received()
    way.swallow()
    silent_s = time.monotonic()
    held.release()
    took_s = served_after_s(deployment, silent_s)
    log.info("served %.2f s after the last byte", took_s)
    assert in_time(took_s, HALF_OPEN_MAX_S)
    record = deployment.outcome(submission)
    assert record.code_sent is True
    assert record.status in (201, 504), "alone it may be judged by nobody but time"
    assert worker.terminate() == 0
