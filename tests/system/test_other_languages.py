"""Backends that know nothing of ours: Celery's message, three Redis names, and HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from pydantic import SecretStr

from checkpoint_worker.tasks.gateway import make_gateway
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support import servers
from tests.support.deployment import BOUND_S, PATIENT, Deployment, Person, until
from tests.support.examples import Backend, defined_by, example
from tests.support.gateways import KEY, served

NODE: Final = Path(__file__).parent / "node"
INSTALL_S: Final = 110.0
FROM_NODE = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not installed"
)


@pytest.fixture(scope="module")
def house(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A deployment under the prefix that the examples name: an empty Redis and a worker."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    logs = tmp_path_factory.mktemp("languages")
    with Deployment(redis_server.url, "checkpoint", logs, **PATIENT) as deployment:
        worker = deployment.worker()
        yield deployment
        assert worker.terminate() == 0, worker.log[-4000:]


@pytest.fixture
def deployment(house: Deployment) -> Iterator[Deployment]:
    """The deployment; afterwards what holds of every play is checked."""
    yield house
    house.check()


# Node.js -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node(house: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Run the Node.js backend with the packages its lock names."""
    directory = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NODE / name, directory)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=directory,
        check=True,
        capture_output=True,
        timeout=INSTALL_S,
    )
    (directory / "backend.mjs").write_text(example("node.mjs"))
    env = house.environ(port=0) | {"PORT": "0"}
    with Backend(["node", "backend.mjs"], env, directory) as running:
        yield running


@FROM_NODE
def test_a_node_backend_answers_right_and_wrong_codes(
    deployment: Deployment, node: Backend
) -> None:
    """Enqueued by a public Celery client, heard by subscription, read from the key."""
    person = deployment.person().open()
    status, body = node.post(person, person.wrong())
    assert (status, body["type"]) == (401, "errors/invalid_checkpoint_solution")
    status, body = node.post(person, person.right())
    assert (status, body) == (201, {"object": "AccountCreated", "account_id": person.id})


@FROM_NODE
def test_a_node_backend_answers_the_older_of_two_409(deployment: Deployment, node: Backend) -> None:
    """Superseding is the worker's: no backend has to know of the other."""
    person = deployment.person().open().hold()
    older = node.post_aside(person, person.wrong())
    person.received()
    newer = node.post_aside(person, person.right())
    status, body = older.get()
    assert (status, body["type"]) == (409, "errors/operation_canceled")
    person.release()
    assert newer.get()[0] == 201


# A shell -----------------------------------------------------------------------------------


class Shell:
    """Runs the commands of the examples, with `redis-cli` pointed at the deployment's Redis."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        program = servers.command_line_client()
        place = urlsplit(deployment.url)
        wrapper = directory / "redis-cli"
        wrapper.write_text(f'#!/bin/sh\nexec {program} -h 127.0.0.1 -p {place.port} "$@"\n')
        wrapper.chmod(0o700)
        self._env = {
            "PATH": f"{directory}{os.pathsep}{os.defpath}",
            "REDISCLI_AUTH": place.password or "",
        }

    def start(self, command: str, **variables: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            ["/bin/sh", "-euc", command],
            env=self._env | variables,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str, **variables: str) -> str:
        """Run a command; return what it printed."""
        process = self.start(command, **variables)
        out, _ = process.communicate(timeout=BOUND_S)
        assert process.returncode == 0
        return out.strip()


@pytest.fixture
def shell(house: Deployment, tmp_path: Path) -> Shell:
    """Return a shell."""
    return Shell(house, tmp_path)


def lines_with(word: str) -> str:
    """Return the one command of the example with a word in it."""
    lines = [line for line in example("read.sh").splitlines() if not line.startswith("#")]
    [line] = [line for line in lines if word in line]
    return line


def solve(shell: Shell, person: Person, code: str, submission_id: str) -> dict[str, Any]:
    """Enqueue, subscribe and poll, as the examples say."""
    ids = {"account_id": person.id, "submission_id": submission_id}
    person.typed.append((submission_id, code))
    listening = shell.start(lines_with("results:$account_id"), **ids)
    channel = f"checkpoint:results:{person.id}"
    until(lambda: dict(person.deployment.redis.pubsub_numsub(channel))[channel] == 1)
    try:
        length = shell.run(example("submit.sh"), **ids, code=code)
        assert int(length) >= 1
        assert listening.stdout is not None
        while not (line := listening.stdout.readline()).startswith("{"):
            assert line, "the subscription ended"
        heard: dict[str, Any] = json.loads(line)
    finally:
        os.killpg(listening.pid, signal.SIGTERM)  # The shell and what it runs.
        listening.communicate(timeout=BOUND_S)
    assert json.loads(shell.run(lines_with("GET"), **ids)) == heard
    return heard


def test_redis_cli_alone_submits_hears_and_polls(deployment: Deployment, shell: Shell) -> None:
    """The very commands of the examples; what is heard is what is stored."""
    person = deployment.person().open()
    record = solve(shell, person, person.wrong(), "sub_cli_wrong")
    assert (record["submission_id"], record["status"]) == ("sub_cli_wrong", 401)
    record = solve(shell, person, person.right(), "sub_cli_right")
    assert (record["status"], record["body"]["object"]) == (201, "AccountCreated")
    assert "sub_cli_right" in shell.run(lines_with("XREAD"))


def test_an_unknown_id_is_no_key(deployment: Deployment, shell: Shell) -> None:
    """Nothing is printed: that is the answer."""
    assert shell.run(lines_with("GET"), submission_id="sub_unknown") == ""


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_alone_submits_and_gets_the_outcome(deployment: Deployment, shell: Shell) -> None:
    """The code goes through stdin, the id makes a retry safe."""
    person = deployment.person().open()
    code = person.right()
    person.typed.append(("sub_curl", code))
    given = {"account_id": person.id, "code": code, "submission_id": "sub_curl"}
    settings = deployment.settings.model_copy(update={"api_keys": (SecretStr(KEY),)})
    with served(make_gateway(settings)) as caller:
        variables = {**given, "address": caller.address, "CHECKPOINT_API_KEYS": KEY}
        bodies = [json.loads(shell.run(example("gateway.sh"), **variables)) for _ in range(2)]
    assert bodies == [{"object": "AccountCreated", "account_id": person.id}] * 2
    assert person.sends(code) == 1


# Celery ------------------------------------------------------------------------------------


def test_a_plain_celery_producer_submits(deployment: Deployment) -> None:
    """The task's name, the queue and the arguments are all that it knows of the worker."""
    person = deployment.person().open()
    code = person.right()
    person.typed.append(("sub_celery", code))
    with Celery("producer", broker=deployment.url, set_as_current=False) as app:
        defined_by("celery_producer.py").submit(app, person.id, code, "sub_celery")
    outcome = until(lambda: deployment.client.wait("sub_celery"), "the outcome")
    assert (outcome.status, person.sends(code)) == (201, 1)
