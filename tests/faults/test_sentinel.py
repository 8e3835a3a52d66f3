"""A Redis under Sentinel fails over and loses what it had acknowledged last.

Real servers on loopback: a master, a replica and three sentinels, and one address for ledger
and broker. What the new master forgot may have been sent already, so nothing that the old one
had accepted is sent any more.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest
import redis
from kombu.connection import Connection

from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.operations.wake import celery_config
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.worker.local import embedded_redis as embedded
from tests.support import servers
from tests.support.deployment import BOUND_S, PATIENT, Deployment, until
from tests.support.fixtures import NewDeployment
from tests.support.ledger_fixture import settings_for
from tests.support.measuring import in_time

log = logging.getLogger(__name__)

ROOMY: Final = PATIENT | {
    "provider_timeout_s": 40.0,
    "connect_timeout_s": 40.0,
    "lost_after_s": 5.0,
}
RECOVERED_MAX_S: Final = 5.0
"""From the new master's first word to the first code cleared by it."""
DOWN_AFTER_MS: Final = 500
SENTINELS: Final = 3

pytestmark = pytest.mark.fault


class Sentinels:
    """A master, its replica and the sentinels that watch them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._program = servers.program().path
        self._children: list[subprocess.Popen[bytes]] = []
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.kill()
            child.wait(BOUND_S)

    @property
    def url(self) -> str:
        """The one address of it all."""
        places = ",".join(f"127.0.0.1:{port}" for port in self.ports[2:])
        return f"sentinel://{places}/checkpoints"

    def _start(self) -> Self:
        self.ports = [embedded.free_port() for _ in range(2 + SENTINELS)]
        master, replica, *sentinels = self.ports
        self._serve(master)
        self._serve(replica, f"replicaof 127.0.0.1 {master}")
        until(lambda: self.told(1)["master_link_status"] == "up", "the replica")
        for port in sentinels:
            self._serve(
                port,
                f"sentinel monitor checkpoints 127.0.0.1 {master} 2",
                f"sentinel down-after-milliseconds checkpoints {DOWN_AFTER_MS}",
                "sentinel failover-timeout checkpoints 20000",
                sentinel=True,
            )
        for place in range(2, len(self.ports)):
            until(lambda: self._knows_all(place), "the sentinels to meet")  # noqa: B023
        return self

    def _serve(self, port: int, *lines: str, sentinel: bool = False) -> None:
        folder = self._directory / str(port)
        folder.mkdir()
        settings = ["bind 127.0.0.1", f"port {port}", f"dir {folder}", *lines]
        if not sentinel:
            settings += ['save ""', "repl-diskless-sync yes", "repl-diskless-sync-delay 0"]
        config = folder / "redis.conf"
        config.write_text("\n".join(settings) + "\n")
        command = [self._program, str(config), *(["--sentinel"] if sentinel else [])]
        with (folder / "log").open("wb") as output:
            self._children.append(subprocess.Popen(command, stdout=output, stderr=output))
        until(lambda: self._answers(port), "a server")

    def _answers(self, port: int) -> bool:
        try:
            with redis.Redis(port=port, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _knows_all(self, place: int) -> bool:
        with redis.Redis(port=self.ports[place], decode_responses=True) as client:
            told: Any = client.sentinel_master("checkpoints")
        return (told["num-other-sentinels"], told["num-slaves"]) == (SENTINELS - 1, 1)

    def told(self, place: int) -> dict[str, Any]:
        """Return what a server says of its replication."""
        with redis.Redis(port=self.ports[place], decode_responses=True) as client:
            told: dict[str, Any] = client.info("replication")
        return told

    def part(self) -> None:
        """Cut the replica off: the master still acknowledges, and nobody else hears of it."""
        with redis.Redis(port=self.ports[1]) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
        until(lambda: self.told(0)["connected_slaves"] == 0, "the replica to be gone")

    def caught_up(self) -> None:
        """Wait until the replica has everything."""
        with redis.Redis(port=self.ports[0]) as client:
            assert client.wait(1, 10_000) == 1

    def kill_master(self) -> None:
        """End the master without a word."""
        self._children[0].kill()
        self._children[0].wait(BOUND_S)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    """A set of servers for this test alone."""
    directory = tmp_path / "redis"
    directory.mkdir()
    with Sentinels(directory) as servers:
        yield servers


def accepted(deployment: Deployment, submission_id: str, code: str, account_id: str) -> None:
    """Submit as a backend should: after a 503 it asks by id, then submits the same again."""
    refusals: list[tuple[int, str]] = []

    def taken() -> bool:
        try:
            deployment.client.submit(
                account_id=account_id, provider="LINKEDIN", code=code, submission_id=submission_id
            )
        except CheckpointError as error:
            refusals.append((error.status, str(error.body["type"])))
            return known(deployment, submission_id) is not None
        return True

    until(taken, "the submission to be taken")
    assert set(refusals) <= {(503, "errors/service_unavailable")}


def known(deployment: Deployment, submission_id: str) -> Outcome | None:
    """Return a record, ``None`` if there is none or nobody can say."""
    try:
        return deployment.client.result(submission_id)
    except CheckpointError:
        return None


def test_a_failover_that_loses_the_last_writes_sends_nothing_twice(
    sentinels: Sentinels, new_deployment: NewDeployment
) -> None:
    """t=0 queued, replicated · t=1 claimed and sent, not replicated · t=2 master and worker die.

    The new master still has the sealed code and calls it queued. It is answered 504, maybe used,
    because another Redis had accepted it. What was claimed before the cut gets its verdict, and
    what the new master never heard of is unknown there, so its backend can tell.
    """
    deployment = new_deployment(sentinels.url, **ROOMY)
    first = deployment.worker()
    forgotten = deployment.person()
    kept, lost, after = [deployment.person().open() for _ in range(3)]
    kept.hold()
    forgotten.hold()
    with deployment.gate() as gate:
        forgotten.open(proxy=gate.url)
        codes = {person.id: person.right() for person in deployment.persons}
        unclaimed = forgotten.submit(codes[forgotten.id])
        gate.wait_for(1)
        second = deployment.worker()
        first.stop()
        replicated = kept.submit(codes[kept.id])
        kept.received()
        first.go_on()
        sentinels.caught_up()
        sentinels.part()
        gate.open()
        forgotten.received()
        vanished = lost.submit(codes[lost.id])
        assert deployment.outcome(vanished).status == 201
        first.kill()

    begun_s = time.monotonic()
    sentinels.kill_master()
    with pytest.raises(CheckpointError, match="read this submission id") as refused:
        after.submit(codes[after.id], "sub_after_it")
    assert refused.value.status == 503
    until(lambda: sentinels.told(1)["role"] == "master", "the failover")
    elected_s = time.monotonic()
    accepted(deployment, "sub_after_it", codes[after.id], after.id)
    assert deployment.outcome("sub_after_it").status == 201
    served_s = time.monotonic()
    log.info("elected in %.2f s, served %.2f s later", elected_s - begun_s, served_s - elected_s)
    assert in_time(served_s - elected_s, RECOVERED_MAX_S)

    told = deployment.outcome(unclaimed)
    assert (told.status, told.code_sent) == (504, True)
    kept.release()
    told = deployment.outcome(replicated)
    assert (told.status, told.code_sent) == (201, True)
    assert deployment.client.result(vanished) is None, "so its backend knows"
    for person in (kept, forgotten, lost, after):
        assert person.sends(codes[person.id]) == 1
    deployment.redis.lpush(deployment.prefix, "no task")
    until(
        lambda: deployment.redis.llen(f"{deployment.prefix}:dead"), "the stranger to be set aside"
    )
    assert second.terminate() == 0, "no supervisor is needed"
    deployment.persons.clear()  # Subscribers of the old master heard nothing of the new one.


# The address ---------------------------------------------------------------------------


def test_one_sentinel_address_serves_ledger_and_broker() -> None:
    """In kombu it is written another way; nobody has to know."""
    settings = settings_for("sentinel://us%40er:p%3Aw%2F@h1:26380,h2/my-master/2")
    config = celery_config(settings)
    options = config["broker_transport_options"]
    assert options["master_name"] == "my-master"
    assert options["sentinel_kwargs"]["password"] == "p:w/"
    with Connection(config["broker_url"], transport_options=options) as connection:
        assert options["sentinels"] == (("h1", 26380), ("h2", 26379))
        assert not connection.alt, "with one kombu would change over to its own transport"
        assert (connection.hostname, connection.port) == ("h1", 26380)
        assert (connection.userid, connection.password) == ("us@er", "p:w/")
        assert connection.virtual_host == "2"


@pytest.mark.parametrize("url", ["sentinel://h1:26379", "sentinel://h1/;sentinel://h2/"])
def test_a_sentinel_address_without_a_service_says_how_it_is_written(url: str) -> None:
    """At the start, not at the first code."""
    with pytest.raises(ValueError, match="host:port,host:port/service"):
        celery_config(settings_for(url))
