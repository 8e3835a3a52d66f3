"""A Redis in cluster mode as an operator meets it: what `doctor` says, and which rights suffice."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.clusters import Cluster
from tests.support.command_line import run
from tests.support.deployment import Deployment, until
from tests.support.flowers import FlowerProcess
from tests.support.guarded import acl_file
from tests.support.shown import _shown
from tests.system.test_doctor import assert_found, examined

PREFIX: Final = "{ops}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One shard with a replica, which is what the smallest hosted one is."""
    with Cluster(tmp_path_factory.mktemp("cluster"), 1) as made:
        yield made


def test_a_cluster_is_looked_at(cluster: Cluster) -> None:
    """Who has the keys, and what the address lacks."""
    _, found = examined(cluster.url, PREFIX=PREFIX)
    assert_found(found, "Redis", "ok")
    assert_found(found, "writes", "ok")
    assert_found(found, "permissions", "ok")
    owner = f"127.0.0.1:{cluster.owner(PREFIX)}"
    assert_found(found, "cluster", "ok", f"{owner} has all keys, with 1 replicas; 1 shards")
    _, found = examined(f"{cluster.url},127.0.0.1:1", PREFIX=PREFIX)
    assert_found(found, "cluster", "warning", "silent: 127.0.0.1:1")
    _, found = examined("redis+cluster://127.0.0.1:1", PREFIX=PREFIX)
    assert_found(found, "Redis", "mend")
    assert_found(found, "cluster", "mend", "no node of the cluster answers")


def test_a_plain_address_of_a_cluster_is_named(cluster: Cluster) -> None:
    """Of one shard it works until the next failover: it must not look well until then."""
    for prefix in (PREFIX, "ops"):
        url = f"redis://127.0.0.1:{cluster.owner(PREFIX)}/0"
        _, found = examined(url, PREFIX=prefix)
        assert_found(found, "Redis", "mend", "cluster mode", "redis+cluster://", "{checkpoint}")


@pytest.mark.parametrize("command", ["worker", "gateway", "status", "doctor"])
def test_a_prefix_without_a_hash_tag_is_refused_at_the_start(
    cluster: Cluster, command: str
) -> None:
    """By each command, with what to set."""
    env = {"CHECKPOINT_REDIS_URL": cluster.url, "CHECKPOINT_PREFIX": "ops"}
    done = run(command, env=env)
    assert done.returncode in (1, 2)
    assert "CHECKPOINT_PREFIX={checkpoint}" in done.stdout + done.stderr


def test_what_is_wrong_with_a_cluster_is_named(tmp_path: Path) -> None:
    """What a loss would cost shows before it happens."""
    with Cluster(tmp_path / "lone", 1, 0) as lone:
        _, found = examined(lone.url, PREFIX=PREFIX)
        assert_found(found, "cluster", "warning", "no replica")
    with Cluster(tmp_path / "hidden", 1, 0, "cluster-announce-port 1") as hidden:
        _, found = examined(hidden.url, PREFIX=PREFIX)
        assert_found(found, "cluster", "mend", "127.0.0.1:1 has all keys", "cluster-announce-ip")
    with Cluster(tmp_path / "three", 3) as three:
        _, found = examined(three.url, PREFIX=PREFIX)
        assert_found(found, "cluster", "warning", "3 shards", "cluster-require-full-coverage no")
        for client in three.clients.values():
            client.config_set("cluster-require-full-coverage", "no")
        _, found = examined(three.url, PREFIX=PREFIX)
        assert_found(found, "cluster", "ok", "3 shards")
        owner = three.owner(PREFIX)
        for port in [three.replica_of(owner), owner]:
            three.kill(port)
        left = next(iter(three.living))
        until(lambda: "fail" in str(three.tell(left, "NODES")), "the loss to be noticed")
        _, found = examined(f"redis+cluster://127.0.0.1:{left}", PREFIX=PREFIX)
        assert found["cluster"]["result"] == "mend" or found["Redis"]["result"] == "mend"


def test_the_rights_of_the_acl_file_suffice_in_cluster_mode(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Each role asks where its keys are; the worker's broker is in the same cluster."""
    words = {role: secrets.token_hex(16) for role in ("worker", "backend", "operator", "flower")}
    text = acl_file(words, CHECKPOINT_PREFIX=PREFIX)
    for client in cluster.clients.values():
        for line in text.splitlines():
            _, user, *rules = line.split()
            if user != "default":
                client.execute_command("ACL", "SETUSER", user, *rules)

    def url(role: str) -> str:
        return cluster.url.replace("://", f"://checkpoint-{role}:{words[role]}@")

    with Deployment(cluster.url, PREFIX, tmp_path) as deployment:
        deployment.worker(redis_url=url("worker"))
        person = deployment.person().open()
        assert deployment.outcome(person.submit(person.right())).status == 201
        for role in ("worker", "backend"):
            _, found = examined(url(role), "--role", role, PREFIX=PREFIX)
            assert_found(found, "permissions", "ok")
            assert_found(found, "cluster", "ok")
        done = run("status", env=deployment.environ(redis_url=url("operator")))
        assert done.returncode == 0, done.stdout + done.stderr
        with FlowerProcess(deployment, tmp_path, CHECKPOINT_REDIS_URL=url("flower")) as flower:
            until(lambda: _shown(deployment, flower), "what Flower shows")
        for client in cluster.clients.values():
            client.execute_command("ACL", "SETUSER", "checkpoint-worker", "-cluster")
        _, found = examined(url("worker"), PREFIX=PREFIX)
        assert_found(found, "Redis", "mend", "ACL")


def test_the_acl_file_follows_a_hash_tag() -> None:
    """Elsewhere nobody needs to ask for slots, and so nobody may."""
    text = acl_file({}, CHECKPOINT_PREFIX="{ops}")
    users = [line for line in text.splitlines() if line.startswith("user checkpoint-")]
    assert len(users) == 7
    assert all(line.endswith(" +cluster|slots") for line in users)
    assert "~{ops}:result:* " in text
    assert "~_kombu.binding_deadlines.{ops} " in text
    assert "&/0.{ops}.celery.pidbox " in text
    assert "cluster" not in acl_file({}, CHECKPOINT_PREFIX="ops")
