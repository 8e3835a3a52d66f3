"""A connection leaves a Redis that is not the one to ask, whatever words it says so in."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from kombu.exceptions import OperationalError
from redis.exceptions import ResponseError

from checkpoint_worker.tasks.client import CheckpointClient, CheckpointError
from checkpoint_worker.tasks.operations.wake import make_producer, send_wake
from checkpoint_worker.tasks.storage.connections import AwaitedConnection, is_elsewhere
from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    LedgerUnavailableError,
    ScriptCall,
    SyncExecutor,
    connect,
    connect_async,
)
from tests.support.deployment import RedisProcess
from tests.support.ledger_fixture import settings_for

SAID: Final = (
    "READONLY You can't write against a read only replica.",
    "ERR Error running script (call to f_0): @user_script:7: @user_script: 7: -READONLY You can't",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Redis is configured to save RDB snapshots",
    "CLUSTERDOWN The cluster is down",
)
"""As Redis 6.2 and 7 have them."""
OTHERS: Final = ("OOM command not allowed", "NOSCRIPT No matching script.", "ERR a -READONLYX")


@contextmanager
def _refusing(said: str) -> Iterator[tuple[str, list[int]]]:
    """A server that says the same to every command; its address, and who has connected."""
    came: list[int] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            came.append(1)
            while line := self.rfile.readline():
                words = [self._word() for _ in range(int(line[1:]))]
                own = {b"CLIENT": b"+OK\r\n", b"PING": b"+PONG\r\n"}
                self.wfile.write(own.get(words[0].upper(), f"-{said}\r\n".encode()))

        def _word(self) -> bytes:
            size = int(self.rfile.readline()[1:])
            return self.rfile.read(size + 2)[:-2]

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{server.server_address[1]}/0?protocol=2", came
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("said", SAID)
def test_a_blocking_client_leaves(said: str) -> None:
    """It stayed with the demoted master for ever: every call was a 503 until its restart."""
    with _refusing(said) as (url, came), closing(connect(url)) as client:
        for number in range(1, 4):
            with pytest.raises(redis.RedisError) as refused:
                client.set("a", "b")
            assert is_elsewhere(refused.value)
            assert len(came) == number


@pytest.mark.parametrize("said", SAID)
async def test_an_awaited_client_leaves(said: str) -> None:
    """Its pool as well as the pipe."""

    async def story(url: str) -> None:
        client = connect_async(url)
        for _ in range(3):
            with pytest.raises(redis.RedisError):
                await client.set("a", "b")
        await client.aclose()

    with _refusing(said) as (url, came):
        await story(url)
        assert len(came) == 3


@pytest.mark.parametrize("said", OTHERS)
def test_other_refusals_keep_the_connection(said: str) -> None:
    """A full Redis is the right one, and a connection costs it memory."""
    with _refusing(said) as (url, came), closing(connect(url)) as client:
        for _ in range(3):
            with pytest.raises(redis.RedisError) as refused:
                client.set("a", "b")
            assert not is_elsewhere(refused.value)
        assert len(came) == 1


def _lead() -> Any:
    return (yield ScriptCall("lead", ("leader",), ("w", 1_000)))


async def test_a_door_leaves_with_all_its_connections(tmp_path: Path) -> None:
    """The others of the pool lead to the same place; each would cost a call its answer."""
    with RedisProcess(tmp_path) as server, closing(connect(server.url)) as client:
        pool = client.connection_pool
        several = [pool.get_connection() for _ in range(3)]
        for each in several:
            pool.release(each)
        with redis.Redis.from_url(server.url) as admin:
            admin.replicaof("127.0.0.1", "1")
            with pytest.raises(LedgerUnavailableError):
                SyncExecutor(client).run(_lead())
            assert not any(each._sock for each in several)  # type: ignore[attr-defined]

            async def story() -> None:
                awaited = connect_async(server.url)
                await awaited.ping()
                with pytest.raises(LedgerUnavailableError):
                    await AsyncExecutor(awaited).run(_lead())
                held = awaited.connection_pool._available_connections
                assert not any(each.is_connected for each in held)
                await awaited.aclose()

            await story()


def test_a_producer_s_wake_finds_the_new_master(tmp_path: Path) -> None:
    """Kombu's pool repeats a wake over the connection that was refused."""
    with RedisProcess(tmp_path) as server, redis.Redis.from_url(server.url) as admin:
        producer = make_producer(settings_for(server.url))
        send_wake(producer, "s1", "a", "LINKEDIN")
        admin.replicaof("127.0.0.1", "1")
        with pytest.raises((ResponseError, OperationalError)):
            send_wake(producer, "s2", "a", "LINKEDIN")
        before: Any = admin.client_list()
        admin.replicaof("NO", "ONE")
        send_wake(producer, "s3", "a", "LINKEDIN")
        after: Any = admin.client_list()
        assert {each["id"] for each in after} - {each["id"] for each in before}
        assert admin.llen("checkpoint") == 2
        producer.close()


LOOKS: dict[str, Callable[[CheckpointClient], Any]] = {
    "record": lambda client: client.result("s1"),
    "wait": lambda client: client.wait("s1", 0.1),
    "intent": lambda client: client.intent("acc_1", "LINKEDIN"),
    "kill": lambda client: client.kill_intent("acc_1", "LINKEDIN"),
    "cancel": lambda client: client.cancel("s1"),
    "session": lambda client: client.take_session("acc_1", "LINKEDIN"),
    "outcomes": lambda client: list(client.outcomes()) or None,
    "group": lambda client: list(client.outcomes(group="books")) or None,
}


REFUSED: Final = {
    "full": (lambda admin: admin.config_set("maxmemory", 1), "memory is nearly full"),
    "replica": (lambda admin: admin.replicaof("127.0.0.1", "1"), "Cause: it is a read-only"),
    "rights": (
        lambda admin: admin.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval"),
        "Cause: this user may not do",
    ),
    "disk": (lambda admin: admin.config_set("min-replicas-to-write", 1), "Cause: too few replicas"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_client_says_why_the_ledger_refuses(tmp_path: Path, name: str) -> None:
    """In words of ours: a refusal of Redis quotes names of users, commands and keys."""
    spoil, said = REFUSED[name]
    with (
        RedisProcess(tmp_path) as server,
        CheckpointClient(settings_for(server.url)) as client,
        redis.Redis.from_url(server.url) as admin,
    ):
        spoil(admin)
        with pytest.raises(CheckpointError, match=said) as refused:
            client.submit(account_id="acc_1", provider="LINKEDIN", code="123456")
        assert refused.value.pair.key == (503, "service_unavailable")


async def test_a_cancel_is_not_lost_while_a_command_is_sent(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncio.wait_for` of Python 3.11 forgot one that came just as the sending was done."""
    client = connect_async(redis_url)
    assert await client.ping()
    waits = asyncio.get_running_loop().create_future()

    async def forever() -> None:
        await client.publish("nowhere", "")
        await waits

    task = asyncio.create_task(forever())
    send = AwaitedConnection._send_packed_command

    async def sent(connection: AwaitedConnection, command: Any) -> None:
        await send(connection, command)
        task.cancel()

    monkeypatch.setattr(AwaitedConnection, "_send_packed_command", sent)
    await asyncio.wait({task}, timeout=10)
    assert task.cancelled()
    monkeypatch.undo()
    assert await client.ping(), "a new connection: nothing reads the reply of the cancelled"
    await client.aclose()


def test_no_replica_tells_what_a_record_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be cut off from the new master: a record would never be final there.

    Nor what else a client asks for that needs no write: it would be told the same for ever.
    """
    monkeypatch.setattr("checkpoint_worker.tasks.storage.executor.PAUSES_S", (0.01, 0.02))
    with (
        RedisProcess(tmp_path) as server,
        CheckpointClient(settings_for(server.url)) as client,
        redis.Redis.from_url(server.url) as admin,
    ):
        for name, look in LOOKS.items():
            assert look(client) is None, name
            admin.replicaof("127.0.0.1", "1")
            with pytest.raises(CheckpointError) as refused:
                look(client)
            assert refused.value.status == 503, name
            admin.replicaof("NO", "ONE")
            assert look(client) is None, name
