"""A Redis in cluster mode: one slot holds all; its node is found, and found again."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import weakref
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
import redis
from redis.crc import key_slot

from checkpoint_worker.tasks.events import Begin
from checkpoint_worker.tasks.live_session import LiveReplies, RedisSessionChannel
from checkpoint_worker.tasks.storage.address_parser import parse_redis
from checkpoint_worker.tasks.storage.cluster import Nodes, slot_of
from checkpoint_worker.tasks.storage.connections import MOVING, NO_CLUSTER, why
from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    LedgerUnavailableError,
    ScriptCall,
    SyncExecutor,
    connect,
    connect_async,
    nodes_of,
    pipe_to,
)
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.subscription import Subscription
from tests.support.clusters import Cluster
from tests.support.deployment import until
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture, settings_for

PREFIX: Final = "{checkpoint}"
NOWHERE: Final = ("127.0.0.1", 1)
ODD: Final = "a{b}:{}c"
"""An account may have braces in its name: the first ones of a key count."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three shards of a master and a replica each."""
    with Cluster(tmp_path_factory.mktemp("cluster"), 3) as made:
        yield made


# One slot ------------------------------------------------------------------------------


def names_of(keys: Keys) -> list[str]:
    """Return every name that `Keys` makes, and those that kombu makes of them."""
    made = []
    for name, member in inspect.getmembers(Keys):
        if isinstance(member, property):
            made.append(str(getattr(keys, name)))
        elif inspect.isfunction(member) and name[0] != "_" and "member" not in name:
            words = list(inspect.signature(member).parameters)[1:]
            made.append(getattr(keys, name)(*[ODD for _ in words]))
    exchanges = (keys.queue, f"{keys.control}.pidbox", f"reply.{keys.control}.pidbox", keys.events)
    made += [f"_kombu.binding.{each}" for each in exchanges]
    made += [f"_kombu.binding_permanent.{each}" for each in exchanges]
    made += [f"{keys.queue}\x06\x16{priority}" for priority in (3, 6, 9)]
    return [*made, f"0a1b.reply.{keys.control}.pidbox", f"{keys.events}.0a1b"]


@pytest.mark.parametrize("prefix", [PREFIX, "prod.{a}", "{eu-1}.x", "a{b}c"])
def test_every_name_is_in_one_slot(prefix: str) -> None:
    """A script may touch the keys of one slot alone, and one node is all a client looks for."""
    names = names_of(Keys(prefix))
    assert len(names) > 30
    assert {key_slot(name.encode()) for name in names} == {slot_of(prefix)}


def test_a_prefix_without_a_hash_tag_spreads_its_keys() -> None:
    """The test above can fail."""
    names = names_of(Keys("checkpoint"))
    assert len({key_slot(name.encode()) for name in names}) > 1


@pytest.mark.parametrize("variable", ["redis_url", "broker_url"])
def test_an_address_in_cluster_mode_wants_a_hash_tag(variable: str) -> None:
    """At the start, with what to set; for the ledger and for the broker."""
    given = {"redis_url": "redis://h", variable: "redis+cluster://h1,h2:7"}
    with pytest.raises(ValueError, match=r"CHECKPOINT_PREFIX=\{checkpoint\}"):
        settings_for(given.pop("redis_url"), **given)
    given = {"redis_url": "redis://h", variable: "redis+cluster://h1,h2:7"}
    assert settings_for(given.pop("redis_url"), prefix=PREFIX, **given).prefix == PREFIX


@pytest.mark.parametrize("prefix", ["{}", "a{", "}a{", "{a}{b}", "{{a}}", "", "x" * 65])
def test_half_a_hash_tag_is_no_prefix(prefix: str) -> None:
    """Such a name has no tag, or another one than it looks like."""
    with pytest.raises(ValueError, match="prefix"):
        settings_for("redis://h", prefix=prefix)


def test_a_cluster_has_no_databases() -> None:
    """A number would be refused by every node at every connection."""
    assert parse_redis("redis+cluster://u:p@h1,[::1]:7/").places == (("h1", 6379), ("::1", 7))
    assert parse_redis("redis+cluster://h/0").db == 0
    with pytest.raises(ValueError, match="no databases"):
        parse_redis("redis+cluster://h/1")


# Who has it ----------------------------------------------------------------------------


class Asked(Nodes):
    """Notes who is asked."""

    def __init__(self, *places: tuple[str, int]) -> None:
        super().__init__(places, slot_of(PREFIX), {"socket_timeout": 2, "db": 0})
        self.asked: list[int] = []

    def _to(self, place: tuple[str, int]) -> dict[str, Any]:
        self.asked.append(place[1])
        return super()._to(place)


def at(cluster: Cluster) -> list[tuple[str, int]]:
    """Return the places of a cluster's nodes."""
    return [("127.0.0.1", port) for port in cluster.ports]


def test_each_node_is_asked_in_turn_and_a_silent_one_last(cluster: Cluster) -> None:
    """One that was cut off tells what it knew; one that is down costs a connection no time."""
    nodes = Asked(NOWHERE, *at(cluster)[:2])
    found = {nodes.find() for _ in range(len(cluster.ports) * 2)}
    assert found == {("127.0.0.1", cluster.owner(PREFIX))}
    assert nodes.asked.count(1) == 1, "the silent one is asked once"
    assert set(nodes.asked[1:]) == set(cluster.ports), "nodes that the address does not name too"
    assert nodes.asked[1:3] != nodes.asked[1:2] * 2, "not the same one again"


async def test_awaited_clients_ask_alike(cluster: Cluster) -> None:
    """The pipe and the pool."""
    nodes = Asked(NOWHERE, *at(cluster)[:1])
    assert await nodes.find_awaited() == ("127.0.0.1", cluster.owner(PREFIX))
    assert nodes.asked == [1, cluster.ports[0]]


async def test_nobody_there_is_said(cluster: Cluster) -> None:
    """As a lost connection, which all callers know."""
    with pytest.raises(redis.ConnectionError):
        Asked(NOWHERE).find()
    with pytest.raises(redis.ConnectionError):
        await Asked(NOWHERE).find_awaited()
    assert Asked(NOWHERE, *at(cluster)).find()[1] in cluster.ports


async def test_a_node_that_is_silent_costs_a_client_one_wait(cluster: Cluster) -> None:
    """It takes the connection and says nothing; the next try asks another one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        wait = "?socket_timeout=0.3&socket_connect_timeout=0.3"
        url = f"redis+cluster://127.0.0.1:{port},127.0.0.1:{cluster.ports[0]}{wait}"

        async def piped() -> None:
            executor = AsyncExecutor(connect_async(url, PREFIX), pipe_to(url, PREFIX))
            assert await executor.run(_look()), "the pipe"
            assert await executor.client.ping(), "the pool"
            await executor.aclose()

        await piped()
        with closing(connect(url, PREFIX)) as client:
            assert SyncExecutor(client).run(_look())


async def test_a_question_without_an_answer_leaves_no_garbage() -> None:
    """An error and the frames it went through would keep each other, and a job that met it."""

    def blocking() -> weakref.ref[Exception]:
        try:
            Asked(NOWHERE, NOWHERE).find()
        except redis.ConnectionError as error:
            return weakref.ref(error)
        raise AssertionError

    async def awaited() -> weakref.ref[Exception]:
        try:
            await Asked(NOWHERE).find_awaited()
        except redis.ConnectionError as error:
            return weakref.ref(error)
        raise AssertionError

    gc.disable()
    try:
        assert blocking()() is None
        assert (await awaited())() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("host", [None, "", "?"])
def test_a_node_that_does_not_know_its_own_name_is_where_it_was_asked(host: str | None) -> None:
    """Hosted ones tell no address of the node that answers, or an empty one."""
    told = [[0, 16383, [host, 7, "id"], ["other", 8, "id"]]]
    nodes = Asked(("h", 6379))
    assert nodes._heard(("h", 6379), told) == ("h", 7)
    assert nodes._order == (("h", 6379), ("h", 7), ("other", 8))


def test_a_node_that_knows_no_master_of_the_slot_is_not_the_last_word(cluster: Cluster) -> None:
    """One that has just been added; the next is asked."""
    nodes = Asked(*at(cluster)[:2])
    heard, told = nodes._heard, iter([[[0, 1, ["127.0.0.1", 9, "id"]]]])
    nodes._heard = lambda asked, rows: heard(asked, next(told, rows))  # type: ignore[method-assign]
    assert nodes.find()[1] == cluster.owner(PREFIX)


async def test_a_redis_that_is_no_cluster_is_named(redis_url: str) -> None:
    """By its own refusal, which every client passes on."""
    url = f"redis+cluster://{redis_url.removeprefix('redis://').rpartition('/')[0]}"
    with closing(connect(url, PREFIX)) as client, pytest.raises(redis.ConnectionError) as raised:
        client.ping()
    assert why(raised.value) == NO_CLUSTER
    executor = AsyncExecutor(connect_async(url, PREFIX), pipe_to(url, PREFIX))
    for look in (executor.run(_look()), executor.client.ping()):
        with pytest.raises((redis.ConnectionError, LedgerUnavailableError)) as refused:
            await look
        assert NO_CLUSTER in (why(refused.value), getattr(refused.value, "meaning", ""))
    await executor.aclose()


def _look() -> Iterator[Any]:
    return (yield ScriptCall("read", (f"{PREFIX}:result:none",), ("", 0, 1)))  # type: ignore[misc]


# When it moves -------------------------------------------------------------------------


async def test_every_client_follows_a_planned_failover(cluster: Cluster) -> None:
    """The old master lives on as a replica and keeps its connections, as a hosted one does.

    Blocking, awaited and piped; none of them may stay with it for ever.
    """
    executor = AsyncExecutor(connect_async(cluster.url, PREFIX), pipe_to(cluster.url, PREFIX))
    with closing(connect(cluster.url, PREFIX)) as client:
        blocking = SyncExecutor(client)
        for _ in range(2):
            assert client.set(f"{PREFIX}:a", 1)
            assert await executor.client.set(f"{PREFIX}:b", 1)
            assert await executor.run(_look())
            old = cluster.owner(PREFIX)
            new = cluster.replica_of(old)
            await asyncio.to_thread(cluster.hand_over, old)
            assert blocking.run(_look())
            assert await executor.run(_look())
            with pytest.raises(redis.RedisError, match=str(new)):
                cluster.clients[old].set(f"{PREFIX}:a", 1)
            assert client.set(f"{PREFIX}:a", 2), "the pool's other connections too"
        until(lambda: cluster.info(old)["role"] == "slave", "the old master to follow")
    await executor.aclose()


async def test_a_session_is_not_unheard_because_a_node_counts_nobody(cluster: Cluster) -> None:
    """t=0 it subscribes · t=1 its node is a replica and keeps it · t=2 a code is published.

    The cluster tells it, but the new master counts its own subscribers: "nobody heard it" would be
    a 503 of a code that is typed. And the subscription notices where it is.
    """
    keys = Keys(PREFIX)
    executor = AsyncExecutor(connect_async(cluster.url, PREFIX), pipe_to(cluster.url, PREFIX))
    name = keys.live_requests("LINKEDIN", "a")
    async with Subscription(executor.client, executor.client.publish, name, quiet_s=1.0) as there:
        old = cluster.owner(PREFIX)
        await asyncio.to_thread(cluster.hand_over, old)
        await asyncio.to_thread(cluster.until_agreed, PREFIX, heard_at=old)
        there._silence.end()  # Nothing read it meanwhile, which took seconds.
        assert await executor.run(_look()), "the pipe is at the new master"
        await executor.client.connection_pool.disconnect(inuse_connections=False)
        channel = RedisSessionChannel(
            executor, keys, "LINKEDIN", "a", LiveReplies(executor.client, "r")
        )
        assert await channel.publish("a code") == 1
        assert await _next_message(there) == "a code"
        refusal = await _refusal(there)
        if refusal is None:  # Its node closed the connection, and redis-py made the next one.
            assert cluster.subscribers(cluster.owner(PREFIX), name) == 1
        else:
            assert "not where the keys are" in str(refusal)
    await executor.aclose()


async def _next_message(there: Subscription) -> str | None:
    """Return the next message; a connection's own exchanges may end one wait early."""
    for _ in range(10):
        if (text := await there.next(1)) is not None:
            return text
    return None


async def _refusal(there: Subscription) -> redis.ConnectionError | None:
    try:
        for _ in range(10):
            assert await there.next(0.3) is None
    except redis.ConnectionError as error:
        return error
    return None


def test_while_a_slot_moves_a_commit_is_refused_as_a_whole(cluster: Cluster) -> None:
    """Keys go to the next node one by one: what is not here any more, or not yet, is elsewhere.

    A script that the node does not know to touch such a key fails at it, after its first writes:
    an intent with an attempt that no list of the worker's holds. With all keys declared it never
    begins.
    """
    ledger = LedgerFixture.at(cluster.url, prefix="{moves}")
    target = next(port for port in cluster.masters if port != cluster.owner("{moves}"))
    ledger.accepted("s1")
    ledger.submit("s2")
    steps = ledger.store.transact(
        PROVIDER,
        ACCOUNT,
        lambda seen: Begin(submission_id="s2", claim="c1", worker="w1", run_id=seen.run_id),
    )
    call = next(steps)
    while call.script != "commit":
        call = steps.send(ledger.executor._call(call))
    assert ledger.redis.exists(ledger.store.keys.holds("w1")) == 0
    before = ledger.redis.get(ledger.store.keys.intent(PROVIDER, ACCOUNT))

    cluster.begin_move("{moves}", target)
    with pytest.raises(LedgerUnavailableError) as refused:
        ledger.executor._call(call)
    assert refused.value.meaning == MOVING
    assert ledger.redis.get(ledger.store.keys.intent(PROVIDER, ACCOUNT)) == before

    cluster.move("{moves}", target)
    assert ledger.intent().current is not None, "it is found where it is now"
    assert ledger.redis.get(ledger.store.keys.intent(PROVIDER, ACCOUNT)) == before
    assert cluster.owner("{moves}") == target
    ledger.redis.close()


def test_nodes_are_asked_as_the_address_says() -> None:
    """Login, TLS and times of the address are those of the question as well."""
    address = parse_redis(
        "rediss+cluster://me:word@h1,h2?socket_timeout=1.5&ssl_check_hostname=false"
    )
    options = nodes_of(address, PREFIX)._options
    assert (options["username"], options["password"], options["ssl"]) == ("me", "word", True)
    assert options["socket_timeout"] == 1.5
    assert options["ssl_check_hostname"] is False
