"""The executors: what it repeats, how long, and what it tells when Redis does not answer."""

import asyncio
import dataclasses
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

import pytest
import redis
import redis.asyncio

from checkpoint_worker.tasks.events import Kill, Tick
from checkpoint_worker.tasks.operations.acceptance import FULL_AGAIN_S
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.storage import executor
from checkpoint_worker.tasks.storage.base import Room
from checkpoint_worker.tasks.storage.connections import Connection
from checkpoint_worker.tasks.storage.executor import (
    TRIES,
    AsyncExecutor,
    ForeignLedgerError,
    LedgerError,
    LedgerUnavailableError,
    ScriptCall,
    SyncExecutor,
    answered,
    connect,
    connect_async,
)
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import until
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture, settings_for

CANARY = "canary-argument"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(executor, "PAUSES_S", (0.0, 0.0))


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedRedis]:
    """Run a Redis that may be misconfigured."""
    with EmbeddedRedis() as server:
        assert server.kind != "fakeredis"
        yield server


class Scripted:
    """A server that gives one fixed reply to every command but the first handshakes."""

    def __init__(self, reply: bytes | None) -> None:
        outer = self
        self.commands = 0

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while (command := outer._read(self.rfile)) is not None:
                    if command[0].upper() in {b"HELLO", b"CLIENT", b"AUTH", b"SELECT", b"PING"}:
                        self.wfile.write(b"-ERR unknown command\r\n")
                        continue
                    outer.commands += 1
                    if reply is None:
                        return  # Hang up instead of answering.
                    self.wfile.write(reply)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.url = f"redis://127.0.0.1:{self.server.server_address[1]}/0?protocol=2"

    @staticmethod
    def _read(stream: Any) -> list[bytes] | None:
        try:
            line = stream.readline()
            if not line.startswith(b"*"):
                return None
            parts = []
            for _ in range(int(line[1:])):
                size = int(stream.readline()[1:])
                parts.append(stream.read(size + 2)[:-2])
        except OSError:
            return None
        return parts

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


def ask(url: str, *, awaited: bool) -> Any:
    """Run one step through an executor."""
    call = ScriptCall("lead", ("leader",), (CANARY, 1_000))

    def steps() -> Any:
        return (yield call)

    if not awaited:
        client = connect(url)
        try:
            return SyncExecutor(client).run(steps())
        finally:
            client.close()

    async def run() -> Any:
        other = connect_async(url)
        try:
            return await AsyncExecutor(other).run(steps())
        finally:
            await other.aclose()

    return asyncio.run(run())


BOTH = pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])


@BOTH
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-READONLY You can't write against a read only replica.\r\n", "ReadOnlyError"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OutOfMemoryError"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "BusyLoadingError"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "MasterDownError|ResponseError"),
        (b"-NOPERM this user has no permissions canary-argument\r\n", "NoPermissionError"),
        (b"-ERR canary-argument\r\n", "ResponseError"),
        (b"-MISCONF Redis is configured to save\r\n", "ResponseError"),
        (b"?nonsense canary-argument\r\n", "InvalidResponse|ConnectionError"),
        (None, "ConnectionError"),
    ],
)
def test_whatever_goes_wrong_the_ledger_is_unavailable(
    impatient: None, awaited: bool, reply: bytes | None, kind: str
) -> None:
    """One kind of error for callers; its text holds no argument, not even a quoted one."""
    with Scripted(reply) as server, pytest.raises(LedgerUnavailableError, match=kind) as caught:
        ask(server.url, awaited=awaited)
    assert CANARY not in f"{caught.value} {caught.value!r}"
    assert caught.value.__suppress_context__


@BOTH
def test_a_command_is_tried_a_bounded_number_of_times(
    impatient: None, awaited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor repeats and nothing else does: the library's own retries are off."""
    tries: list[str] = []

    class Counting(SyncExecutor):
        def _eval(self, call: ScriptCall) -> list[Any]:
            tries.append(call.script)
            return super()._eval(call)

    class CountingToo(AsyncExecutor):
        async def _eval(self, call: ScriptCall) -> list[Any]:
            tries.append(call.script)
            return await super()._eval(call)

    monkeypatch.setattr("tests.integration.test_executor.SyncExecutor", Counting)
    monkeypatch.setattr("tests.integration.test_executor.AsyncExecutor", CountingToo)
    with Scripted(None) as server:
        with pytest.raises(LedgerUnavailableError):
            ask(server.url, awaited=awaited)
        assert server.commands <= len(tries) == TRIES


@BOTH
def test_a_refused_connection_is_told_soon(awaited: bool) -> None:
    """A backend's request must not hang for a Redis that is not there."""
    start_s = time.monotonic()
    with pytest.raises(LedgerUnavailableError, match="ConnectionError"):
        ask("redis://127.0.0.1:1/0", awaited=awaited)
    pauses_s = sum(executor.PAUSES_S)
    assert pauses_s <= time.monotonic() - start_s < 10


@BOTH
async def test_scripts_are_loaded_again_after_they_were_flushed(
    redis_url: str, awaited: bool
) -> None:
    """A restarted Redis knows no script; nobody notices."""
    call = ScriptCall("lead", ("leader",), ("w1", 1_000))
    with redis.Redis.from_url(redis_url) as other:
        if not awaited:
            client = connect(redis_url)
            executor = SyncExecutor(client)
            for _ in range(3):
                assert str(executor._eval(call)) == "1"
                other.script_flush()
            client.close()
            return

        async def run() -> None:
            client = connect_async(redis_url)
            executor = AsyncExecutor(client)
            for _ in range(3):
                assert str(await executor._eval(call)) == "1"
                other.script_flush()
            await client.aclose()

        await run()


def test_a_full_redis_refuses_and_nothing_is_half_done(
    impatient: None, own_server: EmbeddedRedis
) -> None:
    """OOM: what is new is refused, also where the memory was filled after the look at it."""
    ledger = LedgerFixture.at(own_server.url)
    # It sees no danger.
    ledger.store = dataclasses.replace(ledger.store, room=Room(filled_max=10**12))
    ledger.redis.flushall()
    ledger.accepted("s1")
    before = ledger.dump()
    ledger.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(LedgerUnavailableError):
            ledger.submit("s2")
        with pytest.raises(LedgerUnavailableError):
            ledger.open("acc_other")
        assert ledger.dump() == before
        assert ledger.outcome("s1").state == "queued"
    finally:
        ledger.redis.config_set("maxmemory", 0)
    assert ledger.submit("s2").accepted
    ledger.redis.close()


def test_in_a_full_redis_what_is_under_way_goes_on_to_its_outcome(
    impatient: None, own_server: EmbeddedRedis
) -> None:
    """However it was filled, and however full: a code that was sent has its outcome written.

    Workers must also be heard, or they would be judged lost with what they hold.
    """
    ledger = LedgerFixture.at(own_server.url)
    ledger.redis.flushall()
    for number in (1, 2, 3):
        ledger.open(f"acc_{number}")
        ledger.submit(f"s{number}", account=f"acc_{number}")
    ledger.redis.config_set("maxmemory", 1)
    try:
        ledger.claim("s1", account="acc_1")
        ledger.clear("s1", account="acc_1")
        ledger.bring(lambda _: Kill(), account="acc_2")
        ledger.ago(-60).bring(lambda one: Tick(run_id=one.run_id), account="acc_3")
        beat = ledger.executor.run(ledger.store.send_heartbeat("w1", 1))
        assert ledger.executor.run(ledger.store.lead("w1", 5_000))
        ledger.executor.run(ledger.store.mark_woken([(PROVIDER, "acc_1")]))
    finally:
        ledger.redis.config_set("maxmemory", 0)
    assert [ledger.outcome(f"s{number}").status for number in (1, 2, 3)] == [201, 500, 504]
    assert ledger.executor.run(ledger.store.sweep_snapshot(most=1)).acked == {"w1": 1}
    assert beat.now_ms
    ledger.redis.close()


def test_how_full_redis_is_is_told_where_it_has_a_limit(own_server: EmbeddedRedis) -> None:
    """As intake counts it, so that an operator sees why nothing new is taken."""
    ledger = LedgerFixture.at(own_server.url)
    assert ledger.executor.run(ledger.store.status_snapshot()).filled is None
    ledger.redis.config_set("maxmemory", 2 * int(ledger.redis.info("memory")["used_memory"]))
    try:
        filled = ledger.executor.run(ledger.store.status_snapshot()).filled
        assert filled is not None
        assert 250 < filled < 900
        read = ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT, queue_age_ms=1))
        assert abs(read.filled - filled) < 50
    finally:
        ledger.redis.config_set("maxmemory", 0)
    ledger.redis.close()


def test_a_nearly_full_redis_takes_nothing_new_in(
    impatient: None, own_server: EmbeddedRedis
) -> None:
    """The memory that is left belongs to those under way; a known id is answered as ever."""
    ledger = LedgerFixture.at(own_server.url)
    ledger.redis.flushall()
    ledger.accepted("s1")
    used = int(ledger.redis.info("memory")["used_memory"])
    try:
        ledger.redis.config_set("maxmemory", used * 10 // 8)  # 80 %
        ledger.open("acc_more")
        ledger.redis.config_set("maxmemory", used * 10 // 9)
        before = ledger.dump()
        with pytest.raises(CheckpointError) as opening:
            ledger.open("acc_other")
        with pytest.raises(CheckpointError) as submitting:
            ledger.submit("s2")
        assert ledger.dump() == before
        assert not ledger.submit("s1").accepted
    finally:
        ledger.redis.config_set("maxmemory", 0)
    for refused in (opening.value, submitting.value):
        assert refused.pair.key == (503, "service_unavailable")
        assert refused.retry_after_s == FULL_AGAIN_S
        assert "memory" in refused.body["detail"]
    ledger.redis.close()


def test_a_read_only_replica_refuses_and_publishes_nothing(
    impatient: None, own_server: EmbeddedRedis
) -> None:
    """After a failover the old master may answer for a while; PUBLISH is allowed there."""
    from tests.support.ledger_fixture import RESULTS, Subscriber  # noqa: PLC0415  beside its only use

    ledger = LedgerFixture.at(own_server.url)
    ledger.redis.flushall()
    ledger.accepted("s1")
    ledger.redis.replicaof("127.0.0.1", 1)
    try:
        ear = Subscriber(ledger.redis, RESULTS)
        with pytest.raises(LedgerUnavailableError, match=r"ReadOnlyError|ResponseError"):
            ledger.submit("s2")
        assert ear.heard() == []
        ear.close()
    finally:
        ledger.redis.replicaof("NO", "ONE")
    assert ledger.outcome("s1").state == "queued"
    ledger.redis.close()


def test_commands_past_the_door_fail_alike() -> None:
    """Acknowledging an entry is no script; its failure looks the same."""
    with pytest.raises(LedgerUnavailableError, match="ResponseError") as caught, answered():
        raise redis.ResponseError(CANARY)
    assert CANARY not in str(caught.value)
    with pytest.raises(KeyError), answered():
        raise KeyError


def test_errors_of_the_ledger_are_one_tree() -> None:
    """Callers catch the base."""
    assert issubclass(LedgerUnavailableError, LedgerError)
    assert issubclass(ForeignLedgerError, LedgerError)


def test_closing_a_client_closes_its_connections(redis_url: str) -> None:
    """A pool that outlives its client leaks a socket for each."""
    client = connect(redis_url)
    assert client.ping()
    pool: Any = client.connection_pool
    [connection] = pool._connections
    client.close()
    assert connection._sock is None


async def test_closing_an_awaited_client_closes_its_connections(redis_url: str) -> None:
    """The same; asyncio would warn of it at exit."""
    client = connect_async(redis_url)
    await client.ping()
    connection = await client.connection_pool.get_connection()
    await client.connection_pool.release(connection)
    assert connection.is_connected
    await client.aclose()
    assert bool(connection.is_connected) is False


# Addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [connect, connect_async])
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/3", "unix:///tmp/none.sock?db=3"])
def test_every_kind_of_address_makes_connections(make: Any, url: str) -> None:
    """A socket file has no keep-alive; options of the one must not break the other."""
    connection = make(url).connection_pool.make_connection()
    assert connection.db == 3
    assert connection.socket_timeout == executor.SOCKET_TIMEOUT_S


def test_a_ledger_behind_a_socket_file_works(redis_url: str, tmp_path: Any) -> None:
    """The address form that the documentation promises, for real."""
    target = redis.Redis.from_url(redis_url).connection_pool.connection_kwargs
    path = tmp_path / "redis.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        relay = threading.Thread(target=_relay, args=(listener, target["port"]), daemon=True)
        relay.start()
        client = connect(f"unix://:{target['password']}@{path}")
        assert client.ping()
        client.close()
        relay.join(10)


def _relay(listener: socket.socket, port: int) -> None:
    """Carry one connection's bytes to a TCP port and back."""
    near, _ = listener.accept()
    with near, socket.create_connection(("127.0.0.1", port)) as far:
        back = threading.Thread(target=_pump, args=(far, near), daemon=True)
        back.start()
        _pump(near, far)
        back.join(10)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The other end hung up.


SENTINEL = "sentinel://us%40er:p%3Aw%2F@h1:26380,h2/my-master/2"


@pytest.mark.parametrize("make", [connect, connect_async])
def test_a_sentinel_address_is_taken_apart(make: Any) -> None:
    """Hosts with and without port, service, database, percent-encoded credentials."""
    client = make(SENTINEL)
    pool = client.connection_pool
    assert pool.service_name == "my-master"
    login = {"username": "us@er", "password": "p:w/"}
    told = pool.connection_kwargs
    assert {name: told[name] for name in ("db", "username", "password")} == {"db": 2, **login}
    assert told["socket_timeout"] == executor.SOCKET_TIMEOUT_S
    sentinels = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in sentinels] == [("h1", 26380), ("h2", 26379)]
    for one in sentinels:
        assert one.get("db", 0) == 0, "a sentinel has no databases"
        assert one["socket_connect_timeout"] == executor.SOCKET_TIMEOUT_S / 2, "its share"
        assert {name: one[name] for name in login} == login
    assert pool.max_connections >= executor.SENTINEL_CONNECTIONS_MAX


class _HostsLimit(BaseException):
    """What a time limit of the host raises, from a signal handler."""


def test_an_interrupted_call_costs_its_connection_and_no_answer(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was sent and not yet read: the next call got its reply, another account's record."""
    client = connect(redis_server.url)
    parse = client.parse_response

    def interrupted(*_: object, **__: object) -> None:
        monkeypatch.setattr(client, "parse_response", parse)
        raise _HostsLimit

    client.set("limit:b", "b")
    for _ in range(2):
        monkeypatch.setattr(client, "parse_response", interrupted)
        with pytest.raises(_HostsLimit):
            client.blpop("limit:none", 1)  # Its reply comes after the next call has begun.
        assert client.get("limit:b") == "b"
    with client.pubsub() as channel:
        channel.subscribe("limit")
        assert channel.get_message(timeout=30.0)
        client.publish("limit", "x")
        assert channel.get_message(timeout=30.0)["data"] == "x"
    client.close()


@pytest.mark.parametrize("step", ["parser", "AUTH", "SELECT"])
def test_a_connection_whose_set_up_was_interrupted_is_made_again(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It had a socket and no parser, no login or database 0, where no worker reads."""
    client = connect(f"{redis_server.url.removesuffix('/0')}/3")
    send, method = Connection.send_command, "send_command"
    if step == "parser":
        method = "on_connect_check_health"

    def interrupted(connection: Connection, *words: Any, **options: Any) -> None:
        if method == "send_command" and step not in words:
            send(connection, *words, **options)
            return
        monkeypatch.undo()
        raise _HostsLimit

    monkeypatch.setattr(Connection, method, interrupted)
    with pytest.raises(_HostsLimit):
        client.get("limit:a")
    assert client.client_info()["db"] == 3
    client.close()


def test_a_subscriber_of_a_blocking_client_subscribes_again(redis_url: str) -> None:
    """It does so while its connection is set up, which is no interrupted set-up."""
    client = connect(redis_url)
    with client.pubsub(ignore_subscribe_messages=True) as channel, connect(redis_url) as other:
        channel.subscribe("one")
        until(lambda: other.pubsub_numsub("one") == [("one", 1)], "the subscription")
        other.client_kill_filter(_type="pubsub")

        def heard() -> Any:
            other.publish("one", "again")
            with suppress(redis.RedisError):  # The loss itself.
                return channel.get_message(timeout=0.05)

        assert until(heard, "the message")["data"] == "again"
    client.close()


# The embedded mode -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fake() -> Iterator[EmbeddedRedis]:
    """Run the simulated Redis, which has no identity."""
    with EmbeddedRedis(kind="fakeredis") as server:
        yield server


def test_a_redis_without_identity_is_refused(fake: EmbeddedRedis) -> None:
    """Who it is decides whether a code is sent: a foreign one may have lost a claim."""
    ledger = LedgerFixture.at(fake.url)
    for act in (ledger.open, lambda: ledger.submit("s1"), lambda: ledger.claim("s1")):
        with pytest.raises(ForeignLedgerError, match="does not tell its identity"):
            act()
    assert ledger.redis.dbsize() == 0
    with pytest.raises(ForeignLedgerError, match="does not tell its identity"):
        ledger.executor.run(ledger.store.send_heartbeat("w1", 0))
    ledger.redis.close()


def test_the_embedded_mode_works_on_a_simulated_redis(fake: EmbeddedRedis) -> None:
    """Open, submit, supersede, claim, clear, read, take: the whole life on fakeredis."""
    ledger = LedgerFixture.at(fake.url, embedded=True)
    ledger.accepted("s1")
    ledger.submit("s2", "654321")
    assert ledger.outcome("s1").superseded_by == "s2"
    ledger.claim("s2")
    assert ledger.redis.exists(ledger.store.keys.solution("s2")) == 0
    ledger.clear("s2")
    assert ledger.outcome("s2").status == 201
    assert [record["submission_id"] for record in ledger.stream()] == ["s1", "s2"]
    assert ledger.executor.run(ledger.store.take_session(PROVIDER, ACCOUNT, "me")) is not None
    assert ledger.executor.run(ledger.store.send_heartbeat("w1", 1)).run_id == "embedded"
    snapshot = ledger.executor.run(ledger.store.sweep_snapshot(most=10, lost_after_ms=10_000))
    assert (snapshot.waiting, snapshot.acked, snapshot.lost) == (0, {"w1": 1}, ())
    recent = ledger.executor.run(ledger.store.recent(None, 1))
    assert [record.submission_id for record in recent] == ["s2"]
    given = ledger.executor.run(ledger.store.next_undelivered("g", "me", most=10, left_ms=0))
    assert [record.submission_id for _, record in given] == ["s1", "s2"]
    ledger.redis.close()


def test_a_client_of_the_embedded_mode_reads_unknown_ids_as_unknown(fake: EmbeddedRedis) -> None:
    """A simulated Redis cuts trailing nils off its replies."""
    from checkpoint_worker.tasks.client import CheckpointClient  # noqa: PLC0415  beside its only use

    with CheckpointClient(settings_for(fake.url, embedded=True, prefix="other")) as client:
        assert client.result("unknown") is None
        assert client.intent("acc_9", PROVIDER) is None
