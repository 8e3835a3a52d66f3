"""Switchovers as managed Redis does them: the name moves, the old master stays as a replica.

It keeps its connections. So their owner is answered by a Redis that refuses writes, serves
old reads and, once it is cut off from the new master, never says anything on a channel again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Self

import pytest
import redis

from checkpoint_worker.providers.sandbox.listeners import relay
from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient, CheckpointError
from tests.support.deployment import (
    BOUND_S,
    LINKEDIN,
    Deployment,
    LoopThread,
    Person,
    RedisProcess,
    until,
)
from tests.support.flowers import FlowerProcess
from tests.support.gateways import GatewayProcess
from tests.support.live_logins import CLEARED, Held, Login
from tests.support.measuring import in_time
from tests.support.shown import _shown

WITHIN_S: Final = 5.0
SIGNALS_WITHIN_S: Final = 10.0
"""Signals are hints: a late one costs a second. A worker gives up after twice 4 s of silence."""
OUTCOME_S: Final = 20.0
"""A held code's deadline, and the sweep."""
NOWHERE: Final = ("127.0.0.1", "1")


class Name:
    """An address that leads to one Redis or another; who is connected stays where it is."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._loops = LoopThread()
        self._talks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._server = self._loops.run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}/0"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._loops.do(self._server.close)
        self._loops.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio tells of each that is cancelled at the end.
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        # One that is cancelled before it begins closes nothing itself.
        talk.add_done_callback(lambda _: writer.close())

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            there = await asyncio.open_connection("127.0.0.1", self.target)
            await relay(reader, writer, *there)


class Pair:
    """A master, its replica, and the name by which they are known."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.servers = []
        for word in ("old", "new"):
            (directory / word).mkdir()
            self.servers.append(RedisProcess(directory / word))
        self._options = options

    def __enter__(self) -> Self:
        for server in self.servers:
            server.launch(*self._options)
        self.old, self.new = (redis.Redis.from_url(each.url) for each in self.servers)
        for client in (self.old, self.new):
            until(lambda: _answers(client), "Redis")  # noqa: B023
        self.new.replicaof("127.0.0.1", str(self.servers[0].port))
        until(lambda: _link(self.new) == "up", "the replica")
        self.name = Name(self.servers[0].port)
        self.name.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.name.__exit__()
        for client, server in zip((self.old, self.new), self.servers, strict=True):
            client.close()
            server.kill()

    def in_step(self) -> None:
        """Return when the replica has all that was written until now."""
        with self.old.client() as one:  # WAIT is about what its own connection has written.
            one.set("in-step", 1)
            assert one.wait(1, 10_000) == 1

    def switch(self, *, attached: bool) -> float:
        """Let the replica be the master, and the name lead to it; return when that was so.

        Args:
            attached: Whether the old master follows the new one; else it is cut off from it.
        """
        there = ("127.0.0.1", str(self.servers[1].port)) if attached else NOWHERE
        self.old.replicaof(*there)
        self.new.replicaof("NO", "ONE")
        self.name.target = self.servers[1].port
        return time.monotonic()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _link(replica: redis.Redis) -> str:
    told: Any = replica.info("replication")
    return str(told["master_link_status"])


@pytest.fixture(
    params=[(True, ()), (False, ("--appendonly", "yes"))], ids=["attached", "cut-off-with-aof"]
)
def switched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Pair, bool]]:
    """A pair; and whether the old master follows the new one after the switchover."""
    attached, options = request.param
    with Pair(tmp_path, *options) as pair:
        yield pair, attached


def _soon(began_s: float, act: Callable[[], Any], what: str) -> Any:
    """Try until it works, which it must within the time."""

    def done() -> Any:
        with contextlib.suppress(CheckpointError):  # A 503, as long as it does not last.
            return act()
        assert _in_time(began_s), f"{what} is still refused"
        return None

    found = until(done, what)
    assert _in_time(began_s), f"{what} came late"
    return found


def _in_time(began_s: float) -> bool:
    return in_time(time.monotonic() - began_s, WITHIN_S)


def test_every_client_comes_back_after_a_switchover(
    switched: tuple[Pair, bool], tmp_path: Path
) -> None:
    """Blocking, awaited, gateway, worker and monitor; what was sent has one outcome, sent once."""
    pair, attached = switched
    with Deployment(pair.name.url, "switch", tmp_path) as deployment:
        with (
            FlowerProcess(deployment, tmp_path) as flower,
            GatewayProcess(deployment) as gateway,
            CheckpointClient(deployment.settings) as waits,
            LoopThread() as loops,
        ):
            worker = deployment.worker()
            awaited = loops.run(_opened(deployment))
            before, sent, other = (deployment.person().open() for _ in range(3))
            # Every pool has connections to the old master, and every subscription stands there.
            assert deployment.outcome(before.submit(before.right())).status == 201
            assert gateway.person(other, other.right()).status == 201
            assert loops.run(awaited.intent(before.id, before.provider)).state == "completed"
            assert waits.intent(before.id, before.provider).state == "completed"  # type: ignore[union-attr]
            sent.hold()
            held = sent.submit(sent.right())
            sent.received()

            pair.in_step()
            began_s = pair.switch(attached=attached)
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
            assert _in_time(began_s), "the gateway's code came late"

            _soon(began_s, lambda: _shown(deployment, flower), "what Flower shows")
            _one_outcome(deployment, sent, held)
            loops.run(awaited.close())
        for person in deployment.persons:
            assert person.account.max_open_exchanges <= 1
            assert all(person.sends(code) <= 1 for _, code in person.typed)


def test_every_subscription_comes_back_after_a_switchover(tmp_path: Path) -> None:
    """Signals, a client session's questions and the replies to them, each by its own bound.

    The old master is cut off and keeps the connections: it answers every look whether they live,
    and says nothing on a channel any more.
    """
    patient = {"provider_timeout_s": 30.0, "deadline_s": 40.0}
    with (
        Pair(tmp_path) as pair,
        Deployment(pair.name.url, "hears", tmp_path, **patient) as deployment,
    ):
        deployment.worker()
        login = Login(deployment, "live")
        keys = deployment.client._core.store.keys
        replies = keys.live_replies("*").encode()
        bounds = {
            keys.live_requests(LINKEDIN, "live").encode(): WITHIN_S,
            replies: SIGNALS_WITHIN_S,
            keys.signals.encode(): SIGNALS_WITHIN_S,
        }
        with Held(deployment, "live") as held:
            submission = login.submit("1")
            held.wait_asked()
            pair.in_step()
            began_s = pair.switch(attached=False)
            back: dict[bytes, float] = {}

            def all_back() -> bool:
                channels: Any = pair.new.pubsub_channels()
                for name in bounds:
                    if any(fnmatch(each.decode(), name.decode()) for each in channels):
                        back.setdefault(name, time.monotonic() - began_s)
                return len(back) == len(bounds)

            until(all_back, "all subscriptions")
            assert all(in_time(back[name], bound) for name, bound in bounds.items()), back
            held.answer(CLEARED)
            assert deployment.outcome(submission).status == 201
            assert [question.code for question in held.asked] == ["1"]


async def _opened(deployment: Deployment) -> AsyncCheckpointClient:
    return AsyncCheckpointClient(deployment.settings)


def _cleared(deployment: Deployment, began_s: float) -> bool:
    person = deployment.person().open()
    submission = person.submit(person.right())
    record = deployment.client.wait(submission, BOUND_S)
    assert record is not None
    assert _in_time(began_s)
    return record.status == 201


def _one_outcome(deployment: Deployment, sent: Person, held: str) -> None:
    """A code that was on its way is sent once, and has one outcome where its record is there.

    That is so with `Pair.in_step`. A master that lacks the record, as asynchronous copying allows,
    does not know the submission.
    """
    record = deployment.client.wait(held, OUTCOME_S)
    assert record is not None, "the new master had all of it"
    assert record.is_final
    assert record.code_sent is not False
    assert sent.sends(sent.typed[0][1]) == 1
    sent.release()
    told = [each for each in deployment.client.outcomes() if each.submission_id == held]
    assert told == [record]


async def _awaited_code(client: AsyncCheckpointClient, deployment: Deployment) -> bool:
    person = await asyncio.to_thread(deployment.person)
    await asyncio.to_thread(person.open)
    code = await asyncio.to_thread(person.right)
    submitted = await client.submit(account_id=person.id, provider=person.provider, code=code)
    person.typed.append((submitted.id, code))
    record = await client.wait(submitted.id, BOUND_S)
    assert record is not None
    return record.status == 201


__all__ = ["Person"]


def test_a_master_that_was_replaced_for_a_while_sends_nothing_twice(tmp_path: Path) -> None:
    """Back in its place it is the same process, but the claim that it had is gone.

    A code is accepted and replicated, the replica is promoted, and the worker that still reaches
    the old master claims and sends there. The old master then follows the new one, which undoes the
    claim, and is promoted again.
    """
    with Pair(tmp_path, "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0") as pair:
        url = pair.servers[0].url
        times = {"deadline_s": 20.0, "provider_timeout_s": 8.0, "intent_ttl_s": 100.0}
        with Deployment(url, "back", tmp_path, **times) as deployment:
            first, second = deployment.worker(), deployment.worker()
            first.stop()
            second.stop()
            person = deployment.person().open().hold()
            code = person.right()
            submission_id = person.submit(code)
            pair.in_step()
            pair.new.replicaof("NO", "ONE")
            first.go_on()
            person.received()
            first.stop()
            pair.old.replicaof("127.0.0.1", str(pair.servers[1].port))
            until(lambda: _link(pair.old) == "up", "the old master to follow the new one")
            pair.old.replicaof("NO", "ONE")
            second.go_on()
            record = deployment.outcome(submission_id)
            assert (record.status, record.code_sent) == (504, True)
            assert person.sends(code) == 1
            assert person.account.max_open_exchanges == 1
            first.go_on()
            person.release()
            deployment.check()
