"""RabbitMQ as the broker, Redis as the ledger: a private server, and everything that may go wrong.

RabbitMQ keeps what is not acknowledged and gives it again, so here a wake comes twice where
with Redis it would be lost. Neither changes an outcome.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest
from kombu.connection import Connection

from checkpoint_worker.tasks.operations.wake import TASK
from checkpoint_worker.worker.local.embedded_redis import free_port
from tests.support.deployment import BOUND_S, PATIENT, Deployment, until
from tests.support.fixtures import NewDeployment
from tests.support.measuring import in_time

log = logging.getLogger(__name__)

SERVERS: Final = (Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), shutil.which("rabbitmq-server"))
"""The first is what a distribution's own script on PATH runs as another user."""
SERVER: Final = next((str(path) for path in SERVERS if path and Path(path).exists()), None)
EPMD: Final = shutil.which("epmd")
ROOMY: Final = PATIENT | {"provider_timeout_s": 8.0}
RECOVERED_MAX_S: Final = 5.0
START_S: Final = 90.0
"""Erlang takes its time, and more of it on a busy machine."""
CANARY: Final = "847362"

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        SERVER is None or EPMD is None, reason="no rabbitmq-server is installed here"
    ),
]


class RabbitServer:
    """A RabbitMQ of one's own, with its name server, on loopback; ended with the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port, distribution, self._names_port = (free_port() for _ in range(3))
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console.level = warning\n"
        )
        (directory / "plugins").write_text("[].\n")
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self._environ = kept | {
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"checkpoint{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }
        self._names: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def __enter__(self) -> Self:
        assert EPMD is not None
        self._names = subprocess.Popen(
            [EPMD, "-address", "127.0.0.1", "-port", str(self._names_port)],
            env=self._environ,
        )
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._names is not None:
            self._names.kill()
            self._names.wait(BOUND_S)

    def start(self) -> Self:
        """Start it with what it kept; return when it talks."""
        assert SERVER is not None
        with (self._directory / "out.log").open("ab") as output:
            self._server = subprocess.Popen(
                [SERVER],
                env=self._environ,
                cwd=self._directory,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        end_s = time.monotonic() + START_S
        while not self._talks():
            assert self._server.poll() is None, (self._directory / "out.log").read_text()[-4000:]
            assert time.monotonic() < end_s, "RabbitMQ does not come up"
            time.sleep(0.05)
        return self

    def _talks(self) -> bool:
        with contextlib.suppress(OSError), Connection(self.url, connect_timeout=5) as connection:
            connection.connect()
            return True
        return False

    def kill(self) -> None:
        """End it without a word, and every process of it."""
        if self._server is not None and self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(BOUND_S)

    def depth(self, queue: str) -> int:
        """Return how many messages wait, those not given to anybody."""
        with Connection(self.url) as connection:
            declared = connection.default_channel.queue_declare(queue, passive=True)
            return int(declared.message_count)


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One server for all of these tests; a queue of its own for each."""
    with RabbitServer(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


def serves(deployment: Deployment) -> None:
    """Clear a login."""
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.right())).status == 201


def test_right_wrong_and_superseded(rabbit: RabbitServer, new_deployment: NewDeployment) -> None:
    """The whole life of codes: nothing of it is Redis' own."""
    deployment = new_deployment(broker_url=rabbit.url, **ROOMY)
    worker = deployment.worker()
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.wrong())).status == 401
    person.hold()
    older, newer = person.submit(person.wrong()), person.submit(person.right())
    record = deployment.outcome(older)
    assert record.status == 409
    person.release()
    assert deployment.outcome(newer).status == 201
    assert worker.terminate() == 0
    assert rabbit.depth(deployment.prefix) == 0, "everything is acknowledged"


def test_a_wake_given_again_after_a_kill_sends_nothing_twice(
    rabbit: RabbitServer, new_deployment: NewDeployment
) -> None:
    """SIGKILL after the send: the message comes back at once, to the next worker."""
    deployment = new_deployment(broker_url=rabbit.url, **ROOMY)
    first = deployment.worker()
    sent, other = deployment.person().open(), deployment.person()
    sent.hold()
    code = sent.right()
    submission = sent.submit(code)
    sent.received()
    with deployment.gate() as gate:
        other.open(proxy=gate.url)
        unsent = other.right()
        connecting = other.submit(unsent)
        gate.wait_for(1)
        first.kill()
        deployment.worker()
        gate.wait_for(2)
        gate.open()
        assert deployment.outcome(connecting).status == 201
    record = deployment.outcome(submission)
    assert (record.status, record.code_sent) == (504, True)
    sent.release()
    serves(deployment)
    until(lambda: rabbit.depth(deployment.prefix) == 0, "every message to be taken")
    assert (sent.sends(code), other.sends(unsent)) == (1, 1)


def test_the_broker_restarts(rabbit: RabbitServer, new_deployment: NewDeployment) -> None:
    """Codes under way settle without it; what waited in it is there again; nothing twice."""
    deployment = new_deployment(broker_url=rabbit.url, **ROOMY | {"provider_timeout_s": 30.0})
    worker = deployment.worker()
    held, waiting = deployment.person().open(), deployment.person().open()
    held.hold()
    first = held.submit(held.right())
    held.received()
    rabbit.kill()
    held.release()
    assert deployment.outcome(first).status == 201
    second = waiting.submit(waiting.right())
    record = deployment.client.result(second)
    assert record is not None, "accepted by the ledger, whatever the broker does"
    rabbit.start()
    back_s = time.monotonic()
    assert deployment.outcome(second).status == 201
    took_s = time.monotonic() - back_s
    log.info("served %.2f s after the broker was back", took_s)
    assert in_time(took_s, RECOVERED_MAX_S)
    serves(deployment)
    assert worker.terminate() == 0


GOOD: Final = [[], {"account_id": "acc_odd", "provider": "LINKEDIN", "code": CANARY}, {}]
OURS: Final[dict[str, Any]] = {"task": TASK, "id": "odd", "lang": "py"}


def odd(value: object = GOOD, /, **properties: Any) -> dict[str, Any]:
    """Return a message that is not as it should be."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    fit = {"content_type": "application/json", "content_encoding": "utf-8", "headers": OURS}
    return {"body": raw, **fit, **properties}


STRANGE: Final = {
    "empty": odd(b"", content_type=None, content_encoding=None, headers={}),
    "no type": odd(content_type=None),
    "pickled": odd(b"\x80\x04\x95847362", content_type="application/x-python-serialize"),
    "not JSON": odd(b"847362{"),
    "invalid UTF-8": odd(b'[[], {"code": "\xff847362"}, {}]'),
    "an encoding nobody knows": odd(content_encoding="klingon"),
    "no headers": odd(headers={}),
    "another task": odd(headers=OURS | {"task": "their.own"}),
    "no id": odd(headers={"task": TASK}),
    "id a number": odd(headers=OURS | {"id": 847362}),
    "body null": odd(None),
    "body a number": odd(847362),
    "body too short": odd([[], {}]),
    "arguments a number": odd([847362, {}, {}]),
    "named arguments a list": odd([[], ["code", CANARY], {}]),
    "nested too deep": odd(b"[" * 100_000),
    "callbacks that are none": odd([[], GOOD[1], {"callbacks": 5, "chain": 7, "errbacks": "x"}]),
    "times that are none": odd(headers=OURS | {"eta": "847362", "expires": [], "timelimit": "x"}),
    "a broken compression": odd(b"847362", headers=OURS | {"compression": "application/x-gzip"}),
    "a compression nobody knows": odd(b"847362", headers=OURS | {"compression": "klingon"}),
    "a type nobody knows": odd(b'[[], {"code": {"__type__": "x", "__value__": "847362"}}, {}]'),
}


def test_strange_messages_do_not_end_the_worker(
    rabbit: RabbitServer, new_deployment: NewDeployment
) -> None:
    """Each alone, a good one after it, and in the end none comes back."""
    deployment = new_deployment(broker_url=rabbit.url, log_level="DEBUG", **ROOMY)
    worker = deployment.worker()
    serves(deployment)
    with Connection(rabbit.url) as connection:
        channel = connection.default_channel
        for name, given in STRANGE.items():
            message = channel.prepare_message(**given)
            channel.basic_publish(message, exchange="", routing_key=deployment.prefix)
            serves(deployment)
            assert worker.process.poll() is None, (name, worker.log[-4000:])
            assert CANARY not in worker.log, name
    assert worker.terminate() == 0
    assert rabbit.depth(deployment.prefix) == 0, "what is not acknowledged would come back for ever"
