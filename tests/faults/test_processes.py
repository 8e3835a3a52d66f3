"""Worker processes die, stand still, are told to end twice, cannot log, and run out of files.

Whatever happens to a process: at most one send of each code, exactly one outcome, and what
lives goes on serving.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from checkpoint_worker.tasks.execution.attempt import FIRST_BYTE_S
from checkpoint_worker.tasks.records import Outcome
from tests.support.command_line import STREAMS
from tests.support.deployment import BOUND_S, PATIENT, ROOT, Deployment, Worker, until
from tests.support.fixtures import NewDeployment
from tests.support.hostile import Peer, answer, serving
from tests.support.plugins import installed

log = logging.getLogger(__name__)

ROOMY: Final = PATIENT | {"provider_timeout_s": 8.0}
LATE_S: Final = 5.0
"""Time after the deadline from which a submission without a final record is late, seconds."""

pytestmark = pytest.mark.fault


class ShelledWorker(Worker):
    """A worker started by a line of shell, so with odd streams or limits."""

    def __init__(
        self, deployment: Deployment, script: str, output: int | None = None, **env: Any
    ) -> None:
        """Start it.

        Args:
            deployment: Where it plays.
            script: Ends with the command, ``exec "$@"``; ``$0`` is the log.
            output: Its standard output and error, before what the script makes of them.
            env: More settings.
        """
        self._stage = deployment
        number = len(deployment._workers)
        self.log_path = deployment.logs / f"worker-{number}.log"
        self.log_path.touch()
        command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-E"]
        command += ["-n", f"{deployment.prefix}-{number}@test", "--without-mingle", "-l", "INFO"]
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", script, str(self.log_path), *command],
            cwd=ROOT,
            env=deployment.environ(**env),
            stdout=output,
            stderr=output,
        )
        deployment._workers.append(self)


def took_s(record: Outcome) -> float:
    """Return the time from acceptance to outcome by Redis' clock."""
    assert record.queued_at is not None
    assert record.finished_at is not None
    return (record.finished_at - record.queued_at).total_seconds()


def settled(deployment: Deployment, submission: str) -> Outcome:
    """Return a submission's outcome, which came in time."""
    record = deployment.outcome(submission)
    assert took_s(record) < deployment.settings.deadline_s + LATE_S, record
    return record


def serves(deployment: Deployment, count: int = 1) -> None:
    """Clear one login for each of so many persons."""
    persons = [deployment.person().open() for _ in range(count)]
    for submission in [person.submit(person.right()) for person in persons]:
        assert settled(deployment, submission).status == 201


# Killed --------------------------------------------------------------------------------

KILLS, CODES_EACH, SEED = 6, 6, 20


def test_a_worker_killed_at_any_instant_of_a_code_s_way(new_deployment: NewDeployment) -> None:
    """Six kills among thirty-six codes, each at another instant of its way.

    A code comes every few milliseconds, about as long as one takes, and the kill falls among
    them: taken from the broker, looked at, connecting, claimed, sent, answered, settled.
    """
    deployment = new_deployment(**PATIENT | {"provider_timeout_s": 3.0})
    rng = random.Random(SEED)
    workers = [deployment.start_worker(), deployment.start_worker()]
    for worker in workers:
        worker.wait_ready()
    statuses = []
    for number in range(KILLS):
        persons = [deployment.person().open() for _ in range(CODES_EACH)]
        codes = [person.right() for person in persons]
        victim, after = workers[number % 2], rng.randrange(1, CODES_EACH)
        submissions = []
        for place, (person, code) in enumerate(zip(persons, codes, strict=True)):
            if place == after:
                time.sleep(rng.uniform(0.0, 0.02))
                victim.kill()
                workers[number % 2] = deployment.start_worker()
            submissions.append(person.submit(code))
        for person, code, submission in zip(persons, codes, submissions, strict=True):
            record = settled(deployment, submission)
            statuses.append(record.status)
            assert record.status in (201, 504), (SEED, number, record)
            assert person.sends(code) <= 1, (SEED, number, record)
            assert record.status == 504 or person.sends(code) == 1, (SEED, number, record)
        workers[number % 2].wait_ready()
    assert statuses.count(201) > len(statuses) / 2
    serves(deployment)


# Standing still ------------------------------------------------------------------------


def test_a_worker_that_stood_still_while_connecting_sends_nothing_late(
    new_deployment: NewDeployment,
) -> None:
    """t=0 connecting · t=1 it stands still · t=3 another has sent · t=4 it goes on: refused.

    It was taken for lost, and does not know it; only the claim stands between it and the send.
    """
    deployment = new_deployment(**ROOMY, connect_timeout_s=30.0)
    first = deployment.worker()
    person = deployment.person()
    with deployment.gate() as gate:
        person.open(proxy=gate.url)
        code = person.right()
        submission = person.submit(code)
        gate.wait_for(1)
        first.stop()
        second = deployment.worker()
        until(lambda: "worker.lost" in second.log, "the loss to be noticed")
        gate.wait_for(2)
        gate.open()
        assert settled(deployment, submission).status == 201
        first.go_on()
        until(lambda: first.name, "its heartbeat")
        serves(deployment, 5)
    assert person.sends(code) == 1
    for worker in (first, second):
        assert worker.terminate() == 0


# Told to end ---------------------------------------------------------------------------


def test_a_worker_told_to_end_takes_no_longer_than_a_deadline(
    new_deployment: NewDeployment,
) -> None:
    """SIGTERM among codes that hang, codes that wait and codes that come: none is lost.

    It leaves with 0 when the last exchange has run into its own limit, and what it had not
    begun is taken by the next worker.
    """
    deployment = new_deployment(**ROOMY | {"provider_timeout_s": 4.0, "deadline_s": 8.0})
    worker = deployment.worker("-c", "8", "-l", "INFO")
    hanging = [deployment.person().open() for _ in range(8)]
    for person in hanging:
        person.faults(hang=True)
    sent = [person.submit(person.right()) for person in hanging]
    for person in hanging:
        person.received()
    waiting = [deployment.person().open() for _ in range(8)]
    queued = [person.submit(person.right()) for person in waiting]
    begin_s = time.monotonic()
    worker.process.terminate()
    until(lambda: "pool.draining" in worker.log, "the drain")
    late = deployment.person().open()
    queued.append(late.submit(late.right()))
    successor = deployment.start_worker()
    assert worker.process.wait(BOUND_S) == 0, worker.log[-4000:]
    assert time.monotonic() - begin_s < deployment.settings.deadline_s
    # It leaves by itself; on a starved machine its successor's sweep forgets it.
    until(lambda: worker.name is None, "the worker to be forgotten")
    for submission in sent:
        record = settled(deployment, submission)
        assert (record.status, record.code_sent) == (408, True)
    for submission in queued:
        record = settled(deployment, submission)
        assert record.status in (201, 504)
        assert record.status == 201 or record.code_sent is False, record
    successor.wait_ready()
    serves(deployment)


def test_a_second_word_to_end_changes_nothing(new_deployment: NewDeployment) -> None:
    """SIGTERM twice, as of a supervisor and its container: the exchange still has its verdict."""
    deployment = new_deployment(**ROOMY)
    worker = deployment.worker("-l", "INFO")
    person = deployment.person().open().hold()
    submission = person.submit(person.right())
    person.received()
    worker.process.terminate()
    until(lambda: "pool.draining" in worker.log, "the drain")
    worker.process.terminate()
    until(lambda: worker.log.count("Warm shutdown") == 2, "the second word")
    person.release()
    assert settled(deployment, submission).status == 201
    assert worker.process.wait(BOUND_S) == 0


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGQUIT), (signal.SIGQUIT,)],
    ids=lambda signals: "+".join(each.name for each in signals),
)
def test_a_worker_told_to_end_at_once_says_what_it_leaves(
    new_deployment: NewDeployment, signals: tuple[signal.Signals, ...]
) -> None:
    """What was sent is answered 504, maybe used, and never sent again; what was not, goes on.

    Nobody else is there to settle it: the process itself does, on leaving. It is cancelled by
    its request and by the pool, and the second cancel must not cut that short.
    """
    deployment = new_deployment(**ROOMY)
    worker = deployment.worker("-l", "INFO")
    person, other = deployment.person().open(), deployment.person()
    person.hold()
    code = person.right()
    submission = person.submit(code)
    person.received()
    with deployment.gate() as gate:
        other.open(proxy=gate.url)
        unsent = other.right()
        connecting = other.submit(unsent)
        gate.wait_for(1)
        for each in signals[:-1]:
            worker.process.send_signal(each)
            until(lambda: "pool.draining" in worker.log, "the drain")
        worker.process.send_signal(signals[-1])
        worker.process.wait(BOUND_S)
        record = deployment.client.result(submission)
        assert record is not None
        assert (record.status, record.code_sent) == (504, True)
        deployment.worker()
        gate.open()
        assert settled(deployment, connecting).status == 201
    person.release()
    serves(deployment)
    assert (person.sends(code), other.sends(unsent)) == (1, 1)


# Streams and limits --------------------------------------------------------------------


@pytest.mark.parametrize("name", STREAMS)
def test_a_worker_that_cannot_log_serves_all_the_same(
    new_deployment: NewDeployment, name: str
) -> None:
    """Logs are for people; a code does not wait for a disk."""
    deployment = new_deployment(**ROOMY)
    reader, writer = os.pipe()
    os.close(reader)
    worker = ShelledWorker(deployment, STREAMS[name], writer, log_level="DEBUG")
    os.close(writer)
    worker.wait_ready()
    serves(deployment, 20)
    wrong = deployment.person().open()
    assert settled(deployment, wrong.submit(wrong.wrong())).status == 401
    deployment.redis.lpush(deployment.prefix, "no task")
    until(lambda: deployment.queue_length() == 0, "the stranger to be set aside")
    serves(deployment)
    assert worker.terminate() == 0


def test_a_worker_short_of_files_answers_everybody(new_deployment: NewDeployment) -> None:
    """Sixty-four files, two hundred codes: some cannot connect and are told so, unsent."""
    deployment = new_deployment(**ROOMY | {"connect_timeout_s": 5.0})
    worker = ShelledWorker(deployment, 'ulimit -n 64; exec "$@" 2>"$0"')
    worker.wait_ready()
    persons = [deployment.person().open() for _ in range(200)]
    codes = [person.right() for person in persons]
    submissions = [person.submit(code) for person, code in zip(persons, codes, strict=True)]
    told: set[tuple[int | None, bool | None, str]] = set()
    for person, code, submission in zip(persons, codes, submissions, strict=True):
        record = settled(deployment, submission)
        assert record.body is not None
        told.add((record.status, record.code_sent, str(record.body.get("type"))))
        assert person.sends(code) <= 1
        assert record.code_sent or person.sends(code) == 0
    log.info("%s", told)
    assert worker.process.poll() is None, worker.log[-4000:]
    serves(deployment, 3)
    assert worker.terminate() == 0


# A blocked loop ------------------------------------------------------------------------

BLOCKER: Final = """
import time
from pathlib import Path
from types import MappingProxyType

from checkpoint_worker.providers import contract
from checkpoint_worker.providers.answers import read_json


class BlockerContext(contract.Context):
    flag: str
    before_s: float = 0.0
    between_s: float = 0.0


class Blocker:
    provider = "BLOCKER"
    default_url = "http://127.0.0.1:1"
    contexts = MappingProxyType({"http": BlockerContext})
    code_formats = MappingProxyType({"EMAIL": contract.CodeFormat(max_length=6)})
    prepares = False
    knows_another_way = False

    async def verify(self, challenge, exchange):
        context = challenge.context
        first = Path(context.flag).exists()
        Path(context.flag).unlink(missing_ok=True)

        def body(code):
            time.sleep(context.between_s if first else 0)
            return code.encode()

        time.sleep(context.before_s if first else 0)
        reply = await exchange.send_code(
            contract.CodeRequest(method="POST", url=challenge.base_url, headers={}, body=body)
        )
        return contract.Cleared(user_id=read_json(reply)["user_id"], session={})
"""
ENTRY: Final = "[checkpoint.providers]\nBLOCKER = blocker:Blocker\n"


class Server:
    """The provider BLOCKER: hears codes and clears each account."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def handle(self, peer: Peer) -> None:
        await peer.request()
        self.heard.append(peer.body.decode())
        await peer.say(answer(json.dumps({"user_id": peer.body.decode()}).encode()))
        await peer.end()


class Blocking:
    """Submits codes to an adapter that blocks the whole process once."""

    def __init__(self, deployment: Deployment, flag: Path) -> None:
        self.deployment, self.flag = deployment, flag
        flag.touch()

    def submit(self, code: str, **context: Any) -> str:
        """Open an intent and submit its code."""
        who: dict[str, Any] = {"account_id": f"acc_{code}", "provider": "BLOCKER"}
        self.deployment.client.open_intent(
            **who,
            checkpoint={"type": "OTP", "source": "EMAIL"},
            context={"flag": str(self.flag), **context},
        )
        return self.deployment.client.submit(**who, code=code).id

    def blocked(self) -> None:
        """Wait until a process stands in it."""
        until(lambda: not self.flag.exists(), "the block to begin")


@pytest.fixture
def blocker(tmp_path: Path) -> Iterator[None]:
    """The package with the adapter that blocks."""
    folder = tmp_path / "site"
    folder.mkdir()
    with installed(folder, "blocker", BLOCKER, ENTRY):
        yield


def test_a_loop_blocked_after_the_claim_sends_nothing(
    blocker: None, new_deployment: NewDeployment, tmp_path: Path
) -> None:
    """t=0 claimed · the process hangs · t=1.5 the moment to send has passed: 504, unsent."""
    deployment = new_deployment(providers="LINKEDIN,BLOCKER", **ROOMY)
    server, stack = Server(), AsyncExitStack()
    there = deployment.loops.run(stack.enter_async_context(serving(server.handle)))
    try:
        deployment.worker(patient=False, blocker_url=there.url)
        blocking = Blocking(deployment, tmp_path / "flag")
        submission = blocking.submit("111111", between_s=FIRST_BYTE_S + 0.6)
        blocking.blocked()
        persons = [deployment.person().open() for _ in range(10)]
        others = [person.submit(person.right()) for person in persons]
        record = settled(deployment, submission)
        assert (record.status, record.code_sent) == (504, False)
        for other in others:
            assert settled(deployment, other).status in (201, 504)
        assert settled(deployment, blocking.submit("222222")).status == 201
        serves(deployment)
    finally:
        deployment.loops.run(stack.aclose())
    assert server.heard == ["222222"]


def test_a_loop_blocked_for_longer_than_a_loss_sends_nothing_late(
    blocker: None, new_deployment: NewDeployment, tmp_path: Path
) -> None:
    """t=0 one process hangs in an adapter · t=1 taken for lost · t=3 it goes on.

    What it had sent is 504, maybe used; what it had not is sent by the other, once.
    """
    # The provider's time does not end before the second worker has started and noticed the loss.
    times = PATIENT | {"provider_timeout_s": 40.0}
    deployment = new_deployment(providers="LINKEDIN,BLOCKER", **times)
    server, stack = Server(), AsyncExitStack()
    there = deployment.loops.run(stack.enter_async_context(serving(server.handle)))
    try:
        first = deployment.worker(blocker_url=there.url)
        held = deployment.person().open().hold()
        sent = held.submit(held.right())
        held.received()
        second = deployment.start_worker(blocker_url=there.url)
        blocking = Blocking(deployment, tmp_path / "flag")
        second.wait_ready()
        second.stop()
        submission = blocking.submit("111111", before_s=deployment.settings.lost_after_s + 6.0)
        blocking.blocked()
        second.go_on()
        persons = [deployment.person().open() for _ in range(5)]
        others = [person.submit(person.right()) for person in persons]
        record = settled(deployment, submission)
        assert (record.status, record.code_sent) == (201, True)
        until(lambda: "worker.lost" in second.log, "the loss to be noticed")
        lost = settled(deployment, sent)
        assert (lost.status, lost.code_sent) == (504, True)
        for other in others:
            assert settled(deployment, other).status == 201
        held.release()
        until(lambda: first.name, "its heartbeat")
        serves(deployment, 5)
        for worker in (first, second):
            assert worker.terminate() == 0
    finally:
        deployment.loops.run(stack.aclose())
    assert server.heard == ["111111"]
