"""Peers that mean harm: whatever they do, one send, in time, in little memory, with a pair.

`test_transport` shows each guard by itself; here the peers are thrown at a whole exchange.
"""

# ruff: noqa: D103  a peer's name says what it does

from __future__ import annotations

import asyncio
import gzip
import struct
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

import pytest

from checkpoint_worker.providers.contract import ProviderFailure, Reply, Request
from checkpoint_worker.tasks import catalogue
from tests.integration.test_transport import code_request, told
from tests.support.exchanges import CODE, exchange, in_loop
from tests.support.hostile import Peer, answer, serving

LIMIT_S: Final = 0.5
"""What the caller gives a whole exchange here."""
END_S: Final = 15.0
"""CPU seconds that an exchange may take; its own limit ends it long before."""
MEMORY_MAX: Final = 16 * 1024 * 1024
"""Eight times what one answer may weigh decoded; a bomb or an endless body would be past it."""
BOMB: Final = gzip.compress(bytes(32 * 1024 * 1024))
"""Made before memory is counted."""
LINES: Final = b"X-Padding: 0123456789\r\n"

Handler = Callable[[Peer], Awaitable[None]]


async def reset(peer: Peer) -> None:
    """Hang up with a reset instead of a farewell."""
    peer.writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


async def stay(peer: Peer) -> None:
    """Keep the connection open until the other side leaves it."""
    await peer.end()


async def leave(_: Peer) -> None:
    """Close it."""


def says(
    *said: bytes,
    for_ever: bytes = b"",
    pause_s: float = 0.0,
    then: Callable[[Peer], Awaitable[None]] = stay,
) -> Handler:
    """Take a request, say this, then that again and again or what ``then`` does."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        for each in said:
            await peer.say(each)
        while for_ever:
            await peer.say(for_ever)
            await asyncio.sleep(pause_s)
        await then(peer)

    return handler


async def resets_at_once(peer: Peer) -> None:
    await reset(peer)


async def resets_in_the_head(peer: Peer) -> None:
    await peer.reader.readexactly(10)
    await reset(peer)


async def answers_before_it_is_asked(peer: Peer) -> None:
    await peer.say(answer(b"{}"))
    await peer.end()


async def answers_before_the_body(peer: Peer) -> None:
    await peer.reader.readuntil(b"\r\n\r\n")
    await peer.say(answer(b"{}", "413 Too Large"))
    await peer.end()


PEERS: Final[dict[str, Handler]] = {
    "resets_at_once": resets_at_once,
    "resets_in_the_head": resets_in_the_head,
    "resets_after_the_request": says(then=reset),
    "resets_in_its_status_line": says(b"HTTP/1.1 2", then=reset),
    "resets_in_its_headers": says(b"HTTP/1.1 200 OK\r\nContent-Le", then=reset),
    "resets_in_its_body": says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", then=reset),
    "drips_headers": says(b"HTTP/1.1 200 OK\r\n", for_ever=b"X", pause_s=0.02),
    "drips_a_body": says(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", for_ever=b" ", pause_s=0.02
    ),
    "drips_early_hints": says(
        for_ever=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", pause_s=0.02
    ),
    "floods_early_hints": says(for_ever=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100),
    "floods_headers": says(b"HTTP/1.1 200 OK\r\n", for_ever=LINES * 1_000),
    "floods_one_header": says(b"HTTP/1.1 200 OK\r\nX-Long: ", for_ever=b"x" * 65_536),
    "floods_a_body": says(b"HTTP/1.1 200 OK\r\n\r\n", for_ever=b"x" * 65_536),
    "floods_chunks": says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", for_ever=b"1\r\nx\r\n" * 10_000
    ),
    "floods_trailers": says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", for_ever=LINES * 1_000
    ),
    "throws_a_bomb": says(answer(BOMB, headers="Content-Encoding: gzip\r\n")),
    "nests_without_end": says(answer(b"[" * 1_000_000)),
    "answers_before_it_is_asked": answers_before_it_is_asked,
    "answers_before_the_body": answers_before_the_body,
    "answers_twice": says(answer(b"first") + answer(b"second")),
    "says_less_than_it_sends": says(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}and the rest of another page"
    ),
    "says_a_negative_length": says(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "says_a_length_beyond_numbers": says(
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n{}"
    ),
    "says_length_and_chunks": says(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0\r\n\r\n"
    ),
    "speaks_http_0_9": says(b"<html>signed in</html>", then=leave),
    "speaks_http_1_0": says(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n{}", then=leave),
    "speaks_http_2": says(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)),
    "speaks_tls": says(b"\x15\x03\x01\x00\x02\x02\x46"),
    "upgrades": says(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
    "sends_elsewhere": says(answer(b"", "307 X", "Location: http://127.0.0.1:1/\r\n")),
    "folds_its_headers": says(
        b"HTTP/1.1 200 OK\r\nX-A: one\r\n two\r\nContent-Length: 2\r\n\r\n{}"
    ),
    "says_nul": says(
        b"HTTP/1.1 200 O\0K\r\nSet-\0Cookie: a=b\r\nX: \0\r\nContent-Length: 0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
@in_loop
async def test_whatever_a_peer_does_it_costs_one_send_and_little_else(peer: Handler) -> None:
    """A reply, a failure with a pair of ours, or the caller's own limit; never a crash."""
    async with serving(peer) as server:
        sender = exchange()
        reply: Reply | None = None
        failure: ProviderFailure | None = None
        tracemalloc.start()
        began_s = (
            time.process_time()
        )  # Its CPU: how much of that it gets is the machine's business.
        try:
            async with asyncio.timeout(LIMIT_S):
                reply = await sender.send_code(code_request(server.url + "/"))
        except ProviderFailure as error:
            failure = error
        except TimeoutError:
            pass  # The caller's own limit: 408.
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert time.process_time() - began_s < END_S
        assert peak < MEMORY_MAX, f"{peak:,} bytes"
        assert len(server.peers) == 1, "nothing is sent a second time"
        if failure is not None:
            assert catalogue.pair(failure.status, failure.type)
            assert CODE not in told(failure)
        if reply is not None:
            assert len(reply.body) <= 2 * 1024 * 1024
            assert b"second" not in reply.body
            assert b"somebody" not in reply.body


@in_loop
async def test_a_connection_that_is_kept_open_is_not_used_again() -> None:
    """What lies in it may be the answer to somebody else's code."""

    async def hoards(peer: Peer) -> None:
        before = b""
        while True:
            now = await peer.request()
            await peer.say(answer((before or now)[-6:]))
            before = now

    async with serving(hoards) as server:
        bodies = []
        for name in ("alice1", "bobby2"):
            sender = exchange()
            request = Request(method="POST", url=server.url + "/", body=name.encode())
            bodies.append((await sender.fetch(request)).body)
        assert bodies == [b"alice1", b"bobby2"]
        assert len(server.peers) == 2
