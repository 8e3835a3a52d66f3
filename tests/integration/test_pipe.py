"""One connection that many commands share: who gets which reply, and what a loss does to whom."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as SilentError

from checkpoint_worker.tasks.storage.address_parser import parse_redis
from checkpoint_worker.tasks.storage.executor import pipe_to
from checkpoint_worker.tasks.storage.pipelining import Address, PipelinedConnection
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.ledger_fixture import LedgerFixture

BOUND_S = 30.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(serve: Serve, silence_s: float = BOUND_S) -> AsyncIterator[PipelinedConnection]:
    """Yield a pipe to a made-up Redis."""
    ended: list[asyncio.Task[None]] = []

    def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: one that has not begun at the end would leave its connection open.
        ended.append(asyncio.create_task(talk(reader, writer)))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(kept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pipe = PipelinedConnection(Address(port=port), silence_s=silence_s)
    try:
        yield pipe
    finally:
        pipe.close()
        server.close()
        await asyncio.gather(*ended, return_exceptions=True)


async def connections(ledger: LedgerFixture, pipe: PipelinedConnection) -> int:
    """Return how many clients Redis has beside the ledger's own."""
    known = {client["id"] for client in ledger.redis.client_list()}
    await pipe.call("PING")
    return len({client["id"] for client in ledger.redis.client_list()} - known)


async def test_a_thousand_at_once_get_each_its_own_reply_over_one_connection(
    ledger: LedgerFixture, redis_url: str
) -> None:
    """Replies come in the order of the commands; a pool would have made as many connections."""
    pipe = pipe_to(redis_url)
    assert await connections(ledger, pipe) == 1
    replies = await asyncio.gather(*(pipe.call("ECHO", f"word {n}") for n in range(1_000)))
    assert replies == [f"word {n}" for n in range(1_000)]
    assert await connections(ledger, pipe) == 0
    pipe.close()


async def test_a_refusal_is_its_own_command_s_and_nobody_else_s(redis_url: str) -> None:
    """The commands before and after it go on."""
    pipe = pipe_to(redis_url)
    before, refused, unknown, after = await asyncio.gather(
        pipe.call("ECHO", "before"),
        pipe.call("NOSUCHCOMMAND"),
        pipe.evalsha("0" * 40, 0),
        pipe.call("ECHO", "after"),
        return_exceptions=True,
    )
    assert (before, after) == ("before", "after")
    assert isinstance(refused, ResponseError)
    assert isinstance(unknown, NoScriptError)
    pipe.close()


async def test_a_script_runs_by_its_text_and_by_its_name(redis_url: str) -> None:
    """What the executor asks for."""
    pipe = pipe_to(redis_url)
    text = "return {KEYS[1], ARGV[1], 7}"
    assert await pipe.eval(text, 1, "k", "v") == ["k", "v", 7]
    sha = await pipe.call("SCRIPT", "LOAD", text)
    assert await pipe.evalsha(sha, 1, "k", "v") == ["k", "v", 7]
    pipe.close()


async def test_a_caller_that_gives_up_does_not_shift_the_replies_of_the_others(
    redis_url: str,
) -> None:
    """Its reply still comes and belongs to nobody: handed to the next it would be a wrong fact."""
    pipe = pipe_to(redis_url)
    await pipe.call("PING")
    first = asyncio.ensure_future(pipe.call("ECHO", "first"))
    second = asyncio.ensure_future(pipe.call("ECHO", "second"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "second"
    assert await pipe.call("ECHO", "third") == "third"
    pipe.close()


async def test_a_lost_connection_fails_all_under_way_and_the_next_command_makes_a_new_one(
    ledger: LedgerFixture, redis_url: str
) -> None:
    """Nothing is repeated here: whether it took effect, this end cannot know."""
    pipe = pipe_to(redis_url)
    number = await pipe.call("CLIENT", "ID")
    waiting = [asyncio.ensure_future(pipe.call("BLPOP", f"none{n}", 0)) for n in range(3)]
    while "blpop" not in str(ledger.redis.client_list()):  # noqa: ASYNC110  bounded by the suite
        await asyncio.sleep(0.01)
    ledger.redis.client_kill_filter(_id=number)
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, LostError)
    assert await pipe.call("ECHO", "again") == "again"
    pipe.close()


async def test_a_silent_redis_is_given_up(redis_url: str) -> None:
    """Half-open: the peer takes what is sent and never answers."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with peer(mute, silence_s=0.2) as pipe:
        with pytest.raises(SilentError):
            await pipe.call("PING")


async def test_a_connection_at_rest_is_not_given_up(redis_url: str) -> None:
    """Silence counts only while replies are owed."""
    given = parse_redis(redis_url)
    address = Address(port=given.port, login=given.login.words())
    pipe = PipelinedConnection(address, silence_s=0.2)
    number = await pipe.call("CLIENT", "ID")
    await asyncio.sleep(0.5)
    assert await pipe.call("CLIENT", "ID") == number
    pipe.close()


@pytest.mark.parametrize(
    "word",
    [
        "READONLY You can't",
        "LOADING Redis is",
        "MASTERDOWN Link",
        "ERR Error running script (call to f_1): @user_script:7: -READONLY You can't write",
    ],
)
async def test_a_redis_that_is_not_the_one_to_ask_is_looked_for_anew(word: str) -> None:
    """After a failover the old address may lead to a replica for ever."""
    reached: list[int] = []

    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(1)
        await reader.read(1)
        writer.write(f"-{word}\r\n".encode())
        await reader.read()

    async with peer(replica) as pipe:
        for _ in range(2):
            with pytest.raises(ResponseError):
                await pipe.call("SET", "a", "b")
    assert len(reached) == 2


@pytest.mark.parametrize("answer", [b"!nonsense\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_peer_that_is_no_redis_is_a_lost_connection(answer: bytes) -> None:
    """No reply may be made of what it says."""

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await reader.read()

    async with peer(stranger) as pipe:
        with pytest.raises(LostError):
            await pipe.call("PING")


async def test_an_answer_nobody_asked_for_ends_the_connection() -> None:
    """Taken for the next command's, it would be one reply behind for ever."""

    async def talker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"+PONG\r\n+FORGED\r\n")
        await reader.read()

    async with peer(talker) as pipe:
        assert await pipe.call("PING") == "PONG"
        await asyncio.sleep(0.05)
        assert await pipe.call("PING") == "PONG"


async def test_nobody_there_is_a_lost_connection_for_all_who_wait() -> None:
    """One try for all of them, and none is left waiting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        pipe = PipelinedConnection(Address(port=taken.getsockname()[1]), silence_s=BOUND_S)
        errors = await asyncio.gather(
            *(pipe.call("PING") for _ in range(5)), return_exceptions=True
        )
        assert [type(error) for error in errors] == [LostError] * 5


async def test_login_and_database_come_with_the_connection(tmp_path: Path) -> None:
    """A wrong password is refused before any command is."""
    with EmbeddedRedis() as server:
        pipe = pipe_to(server.url.rpartition("/")[0] + "/3")
        await pipe.call("SET", "here", "x")
        assert "db=3" in await pipe.call("CLIENT", "INFO")
        pipe.close()
        login = ("not the password",)
        wrong = PipelinedConnection(Address(port=server.port, login=login), silence_s=BOUND_S)
        with pytest.raises(RedisError):
            await wrong.call("PING")


def test_an_address_shows_no_password() -> None:
    """It may end up in a traceback or a debugger's list."""
    address = Address(login=("user", "tellno1"))
    assert "tellno1" not in repr(address)


def test_each_event_loop_gets_its_own_connection(redis_url: str) -> None:
    """A connection belongs to the loop that made it; a second `asyncio.run` must not hang on it."""
    pipe = pipe_to(redis_url)

    async def story() -> None:
        assert await pipe.call("ECHO", "here") == "here"
        pipe.close()

    asyncio.run(story())
    asyncio.run(story())


async def test_text_that_cannot_be_sent_leaves_the_others_alone(redis_url: str) -> None:
    """Half a surrogate pair has no bytes: refused before it is in line."""
    pipe = pipe_to(redis_url)
    with pytest.raises(UnicodeEncodeError):
        await pipe.call("ECHO", "\ud800")
    assert await pipe.call("ECHO", "after") == "after"
    pipe.close()
