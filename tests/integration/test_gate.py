"""The demo's two proxies and its TLS front: connections end with either side, and with them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest

from checkpoint_worker.providers.sandbox.front import Front
from checkpoint_worker.providers.sandbox.server import Sandbox
from checkpoint_worker.worker.local.auth_proxy import (
    GRANTED,
    NOT_HERE,
    REFUSED,
    AuthProxy,
    TlsTerminator,
)
from checkpoint_worker.worker.local.holding_proxy import (
    CONNECT_IPV4,
    HoldingProxy,
    LocalServer,
    relay,
)

BOUND_S = 30.0
HOST = "127.0.0.1"


class Far:
    """A server that greets and then says and closes nothing.

    Attributes:
        port: Where it listens.
        left: Set when the other side has closed.
        writers: Of its connections.
    """

    def __init__(self) -> None:
        self.port = 0
        self.left = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greet one, and wait until it goes."""
        self.writers.append(writer)
        writer.write(b"hello")
        with contextlib.suppress(OSError):
            await reader.read()
        self.left.set()


@contextlib.asynccontextmanager
async def far_side() -> AsyncIterator[Far]:
    """Run a `Far`."""
    far = Far()
    async with LocalServer(far.serve) as server:
        far.port = server.port
        yield far


@pytest.fixture(autouse=True)
async def quiet() -> AsyncIterator[None]:
    """The event loop must have nothing to complain of."""
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: said.append(about))
    async with asyncio.timeout(BOUND_S):
        yield
    await asyncio.sleep(0)  # For callbacks of what was cancelled.
    assert said == []


async def through_gate(
    gate: HoldingProxy, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Go through the gate to a port of this machine, up to the far side's greeting."""
    reader, writer = await asyncio.open_connection(HOST, int(gate.url.rpartition(":")[2]))
    writer.write(b"\x05\x01\x00" + CONNECT_IPV4 + bytes([127, 0, 0, 1]) + port.to_bytes(2, "big"))
    assert (await reader.readexactly(12))[3] == 0
    assert await reader.readexactly(5) == b"hello"
    return reader, writer


async def through_toll(url: str, request: str) -> tuple[bytes, asyncio.StreamWriter]:
    """Send a request's head to the toll; return the head of the answer."""
    reader, writer = await asyncio.open_connection(HOST, int(url.rpartition(":")[2]))
    writer.write(f"{request}\r\n\r\n".encode())
    return await reader.readuntil(b"\r\n\r\n"), writer


async def test_a_relay_ends_when_the_near_side_does() -> None:
    """A far side that keeps its connection must not keep the demo: it once stood for 55 s."""
    async with far_side() as far, HoldingProxy() as gate:
        gate.open()
        _, writer = await through_gate(gate, far.port)
        writer.close()
        await far.left.wait()


async def test_a_relay_ends_when_the_far_side_does() -> None:
    """And passes on what was said before."""
    async with far_side() as far, HoldingProxy() as gate:
        gate.open()
        reader, writer = await through_gate(gate, far.port)
        far.writers[0].write(b"bye")
        far.writers[0].close()
        assert await reader.read() == b"bye"
        writer.close()


async def test_a_gate_is_left_while_one_waits_and_one_is_relayed() -> None:
    """Both are cut off at once, without a word: the demo ends when its scenarios have."""
    async with far_side() as far:
        async with HoldingProxy() as closed, HoldingProxy() as gate:
            _, waiting = await asyncio.open_connection(HOST, int(closed.url.rpartition(":")[2]))
            await closed.arrived()
            gate.open()
            reader, writer = await through_gate(gate, far.port)
        assert await reader.read() == b""
        await far.left.wait()
        waiting.close()
        writer.close()


async def test_a_toll_is_left_while_one_is_relayed() -> None:
    """As the gate."""
    async with far_side() as far:
        async with AuthProxy("secret") as toll:
            paid = "Proxy-Authorization: Basic ZGVtbzpzZWNyZXQ="
            answer, writer = await through_toll(
                toll.url(""), f"CONNECT {HOST}:{far.port} HTTP/1.1\r\n{paid}"
            )
            assert answer == GRANTED
        await far.left.wait()
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "paid", "answer"),
    [
        ("CONNECT 127.0.0.1:1 HTTP/1.1", "", REFUSED),
        ("CONNECT 127.0.0.1:1 HTTP/1.1", "Basic é", REFUSED),
        ("CONNECT 127.0.0.1:x HTTP/1.1", "Basic ZGVtbzpzZWNyZXQ=", NOT_HERE),
        ("CONNECT 127.0.0.2:1 HTTP/1.1", "Basic ZGVtbzpzZWNyZXQ=", NOT_HERE),
        ("GET / HTTP/1.1", "Basic ZGVtbzpzZWNyZXQ=", NOT_HERE),
    ],
)
async def test_a_toll_answers_what_it_does_not_pass(
    request_line: str, paid: str, answer: bytes
) -> None:
    """Whatever is asked, there is an answer and no traceback."""
    async with AuthProxy("secret") as toll:
        request = f"{request_line}\r\nProxy-Authorization: {paid}"
        given, writer = await through_toll(toll.url(""), request)
        assert answer.startswith(given)
        writer.close()


async def test_a_tls_front_is_left_while_one_is_relayed(tmp_path: Path) -> None:
    """TLS would wait for the peer's farewell, for 30 s: it is not asked for."""
    async with far_side() as far:
        async with TlsTerminator(f"http://{HOST}:{far.port}", tmp_path) as front:
            trust = ssl.create_default_context(cafile=front.authority)
            reader, writer = await asyncio.open_connection(
                HOST, int(front.url.rpartition(":")[2]), ssl=trust
            )
            assert await reader.readexactly(5) == b"hello"
        await far.left.wait()
        writer.close()


async def test_one_that_breaks_off_leaves_no_traceback() -> None:
    """Half a request, or nothing at all, is the end of that connection alone."""
    async with HoldingProxy() as gate, AuthProxy("secret") as toll:
        gate.open()
        for url in (gate.url, toll.url("")):
            _, writer = await asyncio.open_connection(HOST, int(url.rpartition(":")[2]))
            writer.write(b"\x05")
            writer.close()
            await writer.wait_closed()


async def test_a_relay_that_is_cancelled_leaves_no_copier() -> None:
    """What it started ends with it."""
    async with far_side() as far:
        near = await asyncio.open_connection(HOST, far.port)
        other = await asyncio.open_connection(HOST, far.port)
        task = asyncio.create_task(relay(*near, *other))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        near[1].close()
        assert not [each for each in asyncio.all_tasks() if "_copy" in repr(each)]


async def test_a_connection_whose_task_never_began_is_closed_all_the_same() -> None:
    """It was accepted in the instant in which the server ends."""

    async def serve(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        pytest.fail("the task began")

    writer = Mock()
    async with LocalServer(serve) as server:
        server._accept(asyncio.StreamReader(), writer)
        for task in server._running:
            task.cancel()
    writer.close.assert_called()


@contextlib.asynccontextmanager
async def sandbox() -> AsyncIterator[int]:
    """Run a sandbox; give the port of a simulator."""
    async with Sandbox() as started:
        yield urlsplit(started.urls["LINKEDIN"]).port or 0


@contextlib.asynccontextmanager
async def front() -> AsyncIterator[int]:
    """Run the front of a sandbox."""
    started = Front({})
    yield await started.start(0)
    await started.stop()


@contextlib.asynccontextmanager
async def local_server() -> AsyncIterator[int]:
    """Run a server that answers nobody."""
    async with LocalServer(lambda *_: asyncio.sleep(BOUND_S)) as server:
        yield server.port


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("run", [local_server, front, sandbox])
async def test_a_connection_is_closed_in_whichever_turn_it_was_accepted(
    run: Callable[[], contextlib.AbstractAsyncContextManager[int]], turns: int
) -> None:
    """The kernel had it, the loop had it, the protocol had it: nothing is left or told."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        async with run() as port:
            await loop.sock_connect(client, (HOST, port))
            for _ in range(turns):
                await asyncio.sleep(0)
        async with asyncio.timeout(BOUND_S):
            with contextlib.suppress(ConnectionError):  # Where it was never accepted.
                assert await loop.sock_recv(client, 1) == b""
    gc.collect()  # An unclosed socket would be told here.
