"""A Redis in cluster mode as ledger and broker: one shard and three, and a master that goes.

Real servers on loopback. All clients of the product have the one address, and the queue lies in
the cluster as well.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.operations.wake import make_producer
from tests.faults.test_switchover import (
    OUTCOME_S,
    WITHIN_S,
    _awaited_code,
    _cleared,
    _one_outcome,
    _opened,
    _soon,
)
from tests.support.clusters import Cluster
from tests.support.command_line import run
from tests.support.deployment import Deployment, LoopThread, until
from tests.support.flowers import FlowerProcess
from tests.support.gateways import GatewayProcess
from tests.support.live_logins import CLEARED, Held, Login
from tests.support.measuring import in_time
from tests.support.shown import _shown

log = logging.getLogger(__name__)

PREFIX: Final = "{switch}"
FLOWER_S: Final = 10.0
"""After the new master is there; see the bound of signals after a switchover."""

pytestmark = pytest.mark.fault


@pytest.fixture(
    params=[(1, "killed"), (3, "killed"), (3, "handed over")],
    ids=["one-shard-killed", "three-shards-killed", "three-shards-handed-over"],
)
def clustered(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Cluster, Callable[[int], int]]]:
    """A cluster, and what becomes of the master that has the keys."""
    shards, what = request.param
    with Cluster(tmp_path / "nodes", shards) as cluster:
        yield cluster, cluster.fail_over if what == "killed" else cluster.hand_over


def test_every_client_comes_back_after_a_failover(
    clustered: tuple[Cluster, Callable[[int], int]], tmp_path: Path
) -> None:
    """Blocking, awaited, gateway, worker and monitor; what was sent has one outcome, sent once."""
    cluster, goes = clustered
    with Deployment(cluster.url, PREFIX, tmp_path) as deployment:
        with (
            FlowerProcess(deployment, tmp_path) as flower,
            GatewayProcess(deployment) as gateway,
            CheckpointClient(deployment.settings) as waits,
        ):
            worker = deployment.worker()
            loops = LoopThread()
            awaited = loops.run(_opened(deployment))
            before, sent, other = (deployment.person().open() for _ in range(3))
            # Every pool has connections to the old master, and every subscription stands there.
            assert deployment.outcome(before.submit(before.right())).status == 201
            assert gateway.person(other, other.right()).status == 201
            assert loops.run(awaited.intent(before.id, before.provider)).state == "completed"
            assert waits.intent(before.id, before.provider).state == "completed"  # type: ignore[union-attr]
            assert _looks_healthy(deployment), "status and doctor take it for what it is"
            assert _answers_celery(deployment), "questions of Celery's, whose answers have queues"
            until(lambda: _shown(deployment, flower), "what Flower shows")
            sent.hold()
            held = sent.submit(sent.right())
            sent.received()

            old = cluster.owner(PREFIX)
            cluster.caught_up(old)
            new = goes(old)
            began_s = time.monotonic()
            assert worker.process.poll() is None
            look = lambda: waits.result(held) or True  # noqa: E731
            _soon(began_s, look, "the blocking client's look")
            _soon(began_s, lambda: loops.run(awaited.result(held)) or True, "the awaited look")
            _soon(began_s, lambda: _cleared(deployment, began_s), "a blocking client's code")
            _soon(
                began_s,
                lambda: loops.run(_awaited_code(awaited, deployment)),
                "an awaited client's code",
            )
            third = _soon(began_s, lambda: deployment.person().open(), "the third intent")
            answer = gateway.person(third, third.right())
            assert answer.status == 201, answer.raw
            served_s = time.monotonic() - began_s
            assert in_time(served_s, WITHIN_S), "the gateway's code came late"
            until(lambda: _shown(deployment, flower), "what Flower shows")
            flower_s = time.monotonic() - began_s
            assert flower_s < FLOWER_S, "Flower came late"
            log.info("served after %.2f s, shown after %.2f s", served_s, flower_s)
            assert cluster.owner(PREFIX, asked=new) == new
            until(lambda: _answers_celery(deployment), "Celery's answers")

            _one_outcome(deployment, sent, held)
            loops.run(awaited.close())
            loops.close()
            assert worker.terminate() == 0
        for person in deployment.persons:
            assert person.account.max_open_exchanges <= 1
            assert all(person.sends(code) <= 1 for _, code in person.typed)
        # A name without the hash tag would lie anywhere, and be refused there as often as not.
        for port in cluster.living:
            for name in _names(cluster, port):
                assert PREFIX in name, name


def _names(cluster: Cluster, port: int) -> list[str]:
    names: Any = cluster.clients[port].keys("*")
    return list(names)


def _looks_healthy(deployment: Deployment) -> bool:
    done = run("status", "--json", env=deployment.environ())
    assert done.returncode == 0, done.stdout + done.stderr
    done = run("doctor", "--json", "--offline", env=deployment.environ())
    found = {each["check"]: each for each in json.loads(done.stdout)["checks"]}
    for check in ("Redis", "permissions", "writes", "role and replicas", "queue", "workers"):
        assert found[check]["result"] in ("ok", "warning"), found[check]
    assert found["cluster"]["result"] in ("ok", "warning"), found["cluster"]
    return True


def _answers_celery(deployment: Deployment) -> bool:
    producer = make_producer(deployment.settings)
    try:
        return len(producer.control.inspect(timeout=3).ping() or {}) == 1
    except redis.ConnectionError:  # One that Celery had kept from before; it takes the next.
        return False
    finally:
        producer.close()


def test_a_live_session_goes_on_after_a_failover(tmp_path: Path) -> None:
    """A question that was asked before is answered after; the code is asked for once."""
    patient = {"provider_timeout_s": 30.0, "deadline_s": 40.0}
    with (
        Cluster(tmp_path / "nodes", 3) as cluster,
        Deployment(cluster.url, PREFIX, tmp_path, **patient) as deployment,
    ):
        deployment.worker()
        login, second = Login(deployment, "live"), Login(deployment, "later")
        replies = f"{PREFIX}:session:replies:"
        with Held(deployment, "live") as held:
            submission = login.submit("1")
            held.wait_asked()
            old = cluster.owner(PREFIX)
            cluster.caught_up(old)
            new = cluster.fail_over(old)

            def heard() -> bool:
                channels: Any = cluster.clients[new].pubsub_channels()
                return any(str(each).startswith(replies) for each in channels)

            until(heard, "the worker to hear replies again")
            held.answer(CLEARED)
            assert deployment.outcome(submission).status == 201
            assert [question.code for question in held.asked] == ["1"]
        with Held(deployment, "later") as held:
            again = second.submit("2")
            held.wait_asked()
            held.answer({**CLEARED, "user_id": "u2"})
            assert deployment.outcome(again).status == 201


def test_a_slot_that_moves_to_another_shard_is_a_failover(tmp_path: Path) -> None:
    """While it moves nothing is half done; afterwards all is served there, and nothing sent twice.

    What was queued is answered 504, unsent: another Redis had accepted it.
    """
    with (
        Cluster(tmp_path / "nodes", 3) as cluster,
        Deployment(cluster.url, PREFIX, tmp_path) as deployment,
    ):
        worker = deployment.worker()
        sent = deployment.person().open().hold()
        held = sent.submit(sent.right())
        sent.received()
        source = cluster.owner(PREFIX)
        target = next(port for port in cluster.masters if port != source)
        cluster.move(PREFIX, target)
        began_s = time.monotonic()
        _soon(began_s, lambda: _cleared(deployment, began_s), "a code after the move")
        record = deployment.client.wait(held, OUTCOME_S)
        assert record is not None
        assert record.is_final
        assert record.code_sent is not False
        assert sent.sends(sent.typed[0][1]) == 1
        sent.release()
        assert worker.process.poll() is None
        assert not [name for name in _names(cluster, source) if PREFIX in name]
