"""The look-up of a name of Redis, where it takes longer than an attempt to connect."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as SilentError

from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.tasks.storage import names
from checkpoint_worker.tasks.storage.cluster import Nodes
from checkpoint_worker.tasks.storage.connections import AwaitedSentinels
from checkpoint_worker.tasks.storage.executor import (
    LedgerError,
    connect,
    connect_async,
    pipe_to,
)
from checkpoint_worker.tasks.storage.names import LedgerNames
from checkpoint_worker.tasks.storage.subscription import Subscription
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.ledger_fixture import settings_for

BOUND_S: Final = 30.0
ATTEMPT_S: Final = 0.1
NAME: Final = "redis.example"
LOST: Final = (RedisError, OSError, LedgerError)

Ask = Callable[[], Awaitable[object]]


def _url(server: EmbeddedRedis, attempt_s: float) -> str:
    parts = urlsplit(server.url)
    login = f":{parts.password}@" if parts.password else ""
    given = f"socket_timeout={attempt_s}&socket_connect_timeout={attempt_s}"
    return f"redis://{login}{NAME}:{parts.port}/0?{given}"


@asynccontextmanager
async def _pipe(server: EmbeddedRedis, attempt_s: float = ATTEMPT_S) -> AsyncIterator[Ask]:
    pipe = pipe_to(_url(server, attempt_s))
    yield lambda: pipe.call("PING")
    pipe.close()


@asynccontextmanager
async def _pool(server: EmbeddedRedis, attempt_s: float = ATTEMPT_S) -> AsyncIterator[Ask]:
    async with connect_async(_url(server, attempt_s)) as client:
        yield client.ping


@asynccontextmanager
async def _subscription(server: EmbeddedRedis, attempt_s: float = ATTEMPT_S) -> AsyncIterator[Ask]:
    """Yield the subscribing that a worker needs for its signals, a client for its outcomes."""

    async def publish(_: str, __: str) -> None:
        pass

    async with connect_async(_url(server, attempt_s)) as client:

        async def ask() -> object:
            async with Subscription(client, publish, "news", quiet_s=2 * attempt_s):
                return True

        yield ask


@asynccontextmanager
async def _sentinel(server: EmbeddedRedis, attempt_s: float = ATTEMPT_S) -> AsyncIterator[Ask]:
    """Yield a question to a Sentinel; what answers here is none, and is reached all the same."""
    parts = urlsplit(server.url)
    given = {"socket_connect_timeout": attempt_s, "password": parts.password}
    found = AwaitedSentinels([(NAME, parts.port or 0)], given)
    yield found.sentinels[0].ping
    await found.sentinels[0].aclose()


@asynccontextmanager
async def _cluster(server: EmbeddedRedis, attempt_s: float = ATTEMPT_S) -> AsyncIterator[Ask]:
    """Yield a question to a node; this one is in no cluster, and says so where it is reached."""
    parts = urlsplit(server.url)
    given = {"socket_connect_timeout": attempt_s, "password": parts.password}
    nodes = Nodes([(NAME, parts.port or 0)], 0, given)

    async def ask() -> object:
        try:
            return await nodes.find_awaited()
        except RedisError as error:
            if "cluster support disabled" in str(error):
                return True
            raise

    yield ask


async def _answered(ask: Ask) -> None:
    """Repeat a question until it is answered: an attempt is short for a busy machine."""
    async with asyncio.timeout(BOUND_S):
        while True:
            with suppress(*LOST):
                if await ask():
                    return
            await asyncio.sleep(0.01)


class Resolver:
    """The system's look-up: that of one name lasts until it is told to go on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        self._real = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, *more: Any, **options: Any) -> Any:
        if not host.endswith(".example"):
            return self._real(host, *more, **options)
        self.asked.append(host)
        self.answers.wait(BOUND_S)
        return self._real("127.0.0.1", *more, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Every look-up counts as a slow one, whose answer is kept."""
    monkeypatch.setattr(names, "SLOW_S", 0.0)
    return Resolver(monkeypatch)


@pytest.mark.parametrize("kind", [_pipe, _pool, _subscription, _sentinel, _cluster])
async def test_a_look_up_longer_than_an_attempt_serves_a_later_one(
    redis_server: EmbeddedRedis, resolver: Resolver, kind: Any
) -> None:
    """Where the first name server is down the system asks the next after 5 s, each time.

    An attempt to connect is shorter than that, and none would ever succeed.
    """
    async with kind(redis_server) as ask:
        for _ in range(3):
            with pytest.raises((SilentError, TimeoutError)):
                await ask()
        resolver.answers.set()
        await _answered(ask)
    assert len(resolver.asked) == 1, "all attempts share one look-up"


def test_blocking_connections_share_what_a_slow_look_up_found(
    redis_server: EmbeddedRedis, resolver: Resolver
) -> None:
    """A worker makes half a dozen to its broker; each waited for the dead name server anew."""
    resolver.answers.set()
    url = _url(redis_server, 10.0)
    names._kept.clear()
    with closing(connect(url)) as client, closing(make_producer(settings_for(url))) as app:
        assert client.ping()
        client.connection_pool.disconnect()
        assert client.ping()
        with app.connection_for_write() as connection:
            assert connection.default_channel.client.ping()
    names._kept.clear()
    assert resolver.asked == [NAME]


def test_a_quick_answer_is_not_kept(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A switchover behind a name: the next connection goes where the name leads by then."""
    monkeypatch.setattr(names, "SLOW_S", 60.0)
    resolver = Resolver(monkeypatch)
    resolver.answers.set()
    with closing(connect(_url(redis_server, 10.0))) as client:
        assert client.ping()
        client.connection_pool.disconnect()
        assert client.ping()
    assert resolver.asked == [NAME] * 2


async def test_the_answers_of_several_names_are_kept(resolver: Resolver) -> None:
    """Three Sentinels are asked in turn: the answer of one must not push out another's."""
    found, hosts = LedgerNames(), ("a.example", "b.example", "c.example")
    asked = [asyncio.create_task(found.resolve(host, 26379)) for host in hosts]
    resolver.answers.set()
    assert await asyncio.gather(*asked) == [("127.0.0.1",)] * 3
    assert [await found.resolve(host, 26379) for host in hosts] == [("127.0.0.1",)] * 3
    assert sorted(resolver.asked) == list(hosts)


@pytest.mark.parametrize("kind", [_pipe, _pool, _subscription, _sentinel, _cluster])
async def test_a_name_has_several_addresses(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """The first one refuses, as `::1` does where only IPv4 is listened on."""
    port = urlsplit(redis_server.url).port or 0

    def several(_host: str, *_: object, **__: object) -> Any:
        places = (("127.0.0.2", port), ("127.0.0.1", port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    async with kind(redis_server, 10.0) as ask:
        monkeypatch.setattr(socket, "getaddrinfo", several)
        assert await ask()


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (("127.0.0.2", "127.0.0.1"), ""),
        (("127.0.0.2",), f"Error {errno.ECONNREFUSED}"),
        ((), "connecting to redis.example"),
    ],
    ids=["the second answers", "none answers", "no address"],
)
async def test_addresses_are_tried_one_after_the_other(
    redis_server: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
    addresses: tuple[str, ...],
    told: str,
) -> None:
    """By blocking and by awaited connections."""
    port, real = urlsplit(redis_server.url).port or 0, socket.getaddrinfo

    def found(host: str, *more: Any, **options: Any) -> Any:
        if host != NAME:
            return real(host, *more, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    url = _url(redis_server, 10.0)
    with closing(connect(url)) as client, _told(told):
        assert client.ping()
    async with connect_async(url) as awaited:
        with _told(told):
            assert await awaited.ping()


@contextmanager
def _told(words: str) -> Iterator[None]:
    if not words:
        yield
        return
    with pytest.raises(RedisError, match=words):
        yield


async def test_a_silent_address_does_not_fail_every_attempt(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with the address of a machine that is down beside that of one that serves."""
    loop, port = asyncio.get_running_loop(), urlsplit(redis_server.url).port or 0
    silent, tried = "127.0.0.2", list[str]()
    real = loop.create_connection

    def both(_host: str, *_: object, **__: object) -> Any:
        places = ((silent, port), ("127.0.0.1", port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    async def connection(protocol: Any, host: str, *more: Any, **options: Any) -> Any:
        tried.append(host)
        if host == silent:
            await asyncio.Event().wait()
        return await real(protocol, host, *more, **options)

    async with _pipe(redis_server) as ask, _subscription(redis_server) as subscribe:
        monkeypatch.setattr(socket, "getaddrinfo", both)
        monkeypatch.setattr(loop, "create_connection", connection)
        for each in (ask, subscribe):
            tried.clear()
            with pytest.raises((SilentError, TimeoutError)):
                await each()
            await _answered(each)
            assert tried[:2] == [silent, "127.0.0.1"]


async def test_an_address_that_failed_is_tried_first_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the master that was away; what answers meanwhile is its replica, and refuses."""
    found, tried = LedgerNames(), list[str]()
    away = {"127.0.0.1"}

    async def both(*_: object) -> tuple[str, ...]:
        return "127.0.0.1", "127.0.0.2"

    async def to(address: str) -> None:
        tried.append(address)
        if address in away:
            raise ConnectionRefusedError

    monkeypatch.setattr(found, "resolve", both)
    for _ in range(2):
        await found.connect("redis.example", 1, to)
    assert tried == ["127.0.0.1", "127.0.0.2", "127.0.0.2"]
    away.clear()
    monkeypatch.setattr(names, "FAILED_S", 0.0)
    await found.connect("redis.example", 1, to)
    assert tried[3:] == ["127.0.0.1"]


async def test_failures_of_addresses_are_bounded() -> None:
    """A name may lead to new addresses for ever."""
    found = LedgerNames()

    async def refuses(_: str) -> None:
        raise ConnectionRefusedError

    for number in range(2 * names.FAILED_MOST):
        with pytest.raises(ConnectionRefusedError):
            await found.connect(f"127.0.{number // 100}.{number % 100}", 1, refuses)
    assert len(found._failed) == names.FAILED_MOST
