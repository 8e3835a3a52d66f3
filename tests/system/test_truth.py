"""Broken set-ups of every kind: `doctor`, `status` and a worker's readiness name the cause.

Each is made for real, with a server of its own. A cause that is not named costs the operator
the night: "Redis does not answer" was said of one that answered every time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from checkpoint_worker.providers.sandbox.certificate import make_tls
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.cli.probe import from_file
from checkpoint_worker.worker.observability import status
from tests.support import clusters
from tests.support.command_line import environment, run
from tests.support.deployment import ROOT, LoopThread, RedisProcess, until
from tests.support.measuring import end

CANARY = "canary-word-5150"


@dataclass(frozen=True)
class Case:
    """One way to be broken.

    Attributes:
        doctor: What the doctor's findings hold.
        status: What `status` says, on stdout or stderr.
        ready: Why a worker is not ready.
        spoil: What is done to a Redis that works.
        url: Its address as an operator wrote it.
        env: Further settings.
        options: Of the server.
    """

    doctor: str
    status: str
    ready: str
    spoil: Callable[[redis.Redis], Any] = lambda _: None
    url: str = "redis://127.0.0.1:{port}/0"
    env: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def _user(*rules: str) -> Callable[[redis.Redis], Any]:
    return lambda client: client.execute_command("ACL", "SETUSER", "me", "on", f">{CANARY}", *rules)


def _take_slots(client: redis.Redis) -> None:
    client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
    until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), "the cluster")


AS_ME = f"redis://me:{CANARY}@127.0.0.1:{{port}}/0"
CASES = {
    "-@dangerous": Case(
        "does not tell its identity|may not do what a worker does: INFO",
        "does not tell its identity",
        "does not tell its identity",
        _user("~*", "&*", "+@all", "-@dangerous"),
        AS_ME,
    ),
    "other prefix": Case(
        "may not do what a worker does",
        "does not allow this user",
        "may not do what",
        _user("~other:*", "&other:*", "+@all"),
        AS_ME,
    ),
    "one command": Case(
        "may not do what a worker does: XADD",
        "healthy|no worker is alive",  # A reader's user cannot know what a worker's may do.
        "may not do what a worker does: XADD",
        _user("~*", "&*", "+@all", "-xadd"),
        AS_ME,
    ),
    "cluster mode": Case(
        "cluster mode",
        "cluster mode",
        "cluster mode",
        _take_slots,
        options=("--cluster-enabled", "yes"),
    ),
    "cluster without slots": Case(
        "cluster mode", "cluster mode", "cluster mode", options=("--cluster-enabled", "yes")
    ),
    "cluster address of a single Redis": Case(
        "does not run in cluster mode",
        "does not run in cluster mode",
        "does not run in cluster mode",
        url="redis+cluster://127.0.0.1:{port}",
        env={"PREFIX": "{{truth}}"},
    ),
    "broker in cluster mode": Case(
        "the broker does not answer.*cluster mode",
        "the broker does not answer.*cluster mode",
        "no messages are taken; it runs in cluster mode",
        _take_slots,
        url="redis+cluster://127.0.0.1:{port}",
        env={"BROKER_URL": "redis://127.0.0.1:{port}/0", "PREFIX": "{{truth}}"},
        options=("--cluster-enabled", "yes"),
    ),
    "full": Case(
        "it is full",
        "it is full",
        "it is full",
        lambda client: client.config_set("maxmemory", 1),
    ),
    "nearly full": Case(
        r"nothing new is taken in .*503|maxmemory: from 30% ",
        r"of its maxmemory: nothing new is taken in \(503\); the limit is 30%",
        "^$",  # A worker stays ready: what was accepted needs it.
        lambda client: client.config_set("maxmemory", 3 * client.info("memory")["used_memory"]),
        env={"MEMORY_SHARE_MAX": "0.3"},
    ),
    "replica": Case(
        "read-only replica",
        "read-only replica",
        "read-only replica",
        lambda client: client.replicaof("127.0.0.1", "1"),
    ),
    "too few replicas": Case(
        "too few replicas",
        "too few replicas",
        "too few replicas",
        lambda client: client.config_set("min-replicas-to-write", 1),
    ),
    "wrong password": Case(
        "refuses this user or password",
        "refuses this user or password",
        "refuses this user or password",
        url="redis://:wrong@127.0.0.1:{port}/0",
        options=("--requirepass", CANARY),
    ),
    "no such database": Case(
        "no database of this number",
        "no database of this number",
        "no database of this number",
        url="redis://127.0.0.1:{port}/99",
    ),
    "TLS where there is none": Case(
        "TLS does not fit",
        "TLS does not fit",
        "TLS does not fit",
        url="rediss://127.0.0.1:{port}/0",
    ),
    "broker elsewhere": Case(
        "the broker does not answer",
        "the broker does not answer",
        "broker: not reached",
        env={"BROKER_URL": "redis://127.0.0.1:1/0"},
    ),
    "broker with another password": Case(
        "the broker does not answer.*refuses this user or password",
        "the broker does not answer.*refuses this user or password",
        "broker: not reached",
        env={"BROKER_URL": "redis://:wrong@127.0.0.1:{port}/0"},
        options=("--requirepass", CANARY),
        url=f"redis://:{CANARY}@127.0.0.1:{{port}}/0",
    ),
}


@pytest.fixture(params=CASES, ids=lambda name: str(name).replace(" ", "-"))
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Case, dict[str, str]]]:
    """A case, and the environment that leads to it."""
    case = CASES[request.param]
    server = RedisProcess(tmp_path, clusters.free_port())  # For those in cluster mode.
    server.launch(*case.options)
    password = CANARY if "--requirepass" in case.options else None
    try:
        with redis.Redis(port=server.port, password=password) as admin:
            until(lambda: _answers(admin), "Redis")
            case.spoil(admin)
            given = {"REDIS_URL": case.url, "LOST_AFTER_S": "2", **case.env}
            made = {name: value.format(port=server.port) for name, value in given.items()}
            yield case, environment(SECRET_KEYS=make_key(), **{"PREFIX": "truth", **made})
    finally:
        server.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_the_cause_is_named(broken: tuple[Case, dict[str, str]], tmp_path: Path) -> None:
    """By each of the three, in words that say what to do; and no password in any of them."""
    case, env = broken
    file, log = tmp_path / "beat", tmp_path / "worker.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHECKPOINT_")}
    own = {**kept, **env, "CHECKPOINT_HEARTBEAT_FILE": str(file)}
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "checkpoint_worker.worker.cli", "worker"],
            cwd=ROOT, env=own, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        done = run("doctor", "--json", "--offline", env=env)
        mends = [each for each in json.loads(done.stdout)["checks"] if each["result"] == "mend"]
        found = "\n".join(each["reason"] for each in mends)
        assert re.search(case.doctor, found), found
        assert done.returncode == 1
        said = run("status", env=env)
        assert re.search(case.status, said.stdout + said.stderr), said.stdout + said.stderr
        assert said.returncode == 1 or "healthy" in case.status

        def told() -> bool:
            assert worker.poll() is None, log.read_text()
            why = from_file(str(file), live=False).why
            return re.search(case.ready, why) is not None

        try:
            until(told, case.ready)
        except AssertionError as error:
            error.add_note(f"{from_file(str(file), live=False)}\n{log.read_text()[-4_000:]}")
            raise
        shown = done.stdout + done.stderr + said.stdout + said.stderr + log.read_text()
        assert CANARY not in shown
    finally:
        end(worker)


def test_redis_over_a_port_that_speaks_tls_is_named(tmp_path: Path) -> None:
    """The other way round: the scheme lacks an s."""
    context, _ = make_tls(tmp_path)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    with LoopThread() as loops:
        front = loops.run(asyncio.start_server(talk, "127.0.0.1", 0, ssl=context))
        port = front.sockets[0].getsockname()[1]
        env = environment(REDIS_URL=f"redis://127.0.0.1:{port}/0", SECRET_KEYS=make_key())
        done = run("doctor", "--json", "--offline", env=env)
        loops.do(front.close)
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    assert found["Redis"]["result"] == "mend"
    assert "TLS" in found["Redis"]["reason"] + found["Redis"]["remedy"]


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({}, ""),
        ({"role": "master", "maxmemory": 10, "used_memory": 9}, ""),
        ({"maxmemory": 10, "used_memory": 10, "maxmemory_policy": "allkeys-lru"}, ""),
        ({"maxmemory": 10, "used_memory": 10, "maxmemory_policy": "noeviction"}, "full"),
        ({"min_slaves_good_slaves": 1}, ""),
    ],
)
def test_info_tells_why_a_redis_refuses(info: dict[str, Any], words: str) -> None:
    """Or that it does not."""
    assert words in status.refusal(info)
    assert bool(words) is bool(status.refusal(info))
