"""The health address has no authentication: what its callers do costs a bounded amount."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import Response

from checkpoint_worker.worker.observability import pages
from checkpoint_worker.worker.observability.pages import Pages, checks_page
from tests.support.deployment import BOUND_S

GET = b"GET /livez HTTP/1.1\r\nHost: worker\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _live(_: Request) -> Response:
    return checks_page("live", {})


async def _large(_: Request) -> Response:
    return Response(b"x" * 32 * 1024 * 1024)


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Pages, int]]:
    """Serve a small page and one that no socket buffer holds; yield the server and its port."""
    served = Pages({"/livez": _live, "/large": _large})
    await served.listen("127.0.0.1:0")
    try:
        yield served, int((served.address or "").rpartition(":")[2])
    finally:
        await served.leave()
        for connection in list(served._served.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


async def connect(port: int, sent: bytes) -> Streams:
    """Connect and send the beginning of something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    return reader, writer


async def ended(streams: Streams) -> None:
    """Read until the other end has closed the connection."""
    async with asyncio.timeout(BOUND_S):
        try:
            while await streams[0].read(65_536):
                pass
        except ConnectionResetError:
            pass
        finally:
            streams[1].transport.abort()


async def asked(streams: Streams) -> bytes:
    """Ask for the page and return the first line of the answer."""
    reader, writer = streams
    writer.write(GET)
    async with asyncio.timeout(BOUND_S):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b'{"live": true, "checks": {}}'))
    return head.splitlines()[0]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HT",
        GET + b"GET /livez HT",
        b"POST /livez HTTP/1.1\r\nHost: w\r\nContent-Length: 9\r\n\r\nx",
        b"GET /large HTTP/1.1\r\nHost: w\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a second head", "half a body", "unread answer"],
)
async def test_a_caller_that_does_not_go_on_is_cut(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Each connection costs a descriptor, which the connections to providers and Redis need."""
    monkeypatch.setattr(pages, "EXCHANGE_S", 0.1)
    cut, lost = asyncio.Event(), pages._Bounded.connection_lost

    def note(connection: pages._Bounded, error: Exception | None) -> None:
        lost(connection, error)
        cut.set()

    monkeypatch.setattr(pages._Bounded, "connection_lost", note)
    async with listening() as (served, port):
        streams = await connect(port, sent)
        async with asyncio.timeout(BOUND_S):
            await cut.wait()  # Without reading: the caller takes nothing.
        assert not served._open
        await ended(streams)


async def test_a_connection_too_many_closes_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that hold connections keep no probe out."""
    monkeypatch.setattr(pages, "CONNECTIONS_MAX", 3)
    async with listening() as (served, port):
        held = [await connect(port, b"GET /livez HT") for _ in range(8)]
        probe = await connect(port, b"")
        assert await asked(probe) == b"HTTP/1.1 200 OK"
        for streams in held[:6]:
            await ended(streams)
        assert len(served._open) == 3
        for _, writer in [*held, probe]:
            writer.transport.abort()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01 a greeting of TLS\r\n\r\n",
        GET[:-2] + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["tls", "websocket"],
)
async def test_a_strange_request_writes_no_line(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise any client of the address fills the log, 1,200 lines a second."""
    async with listening() as (_, port):
        reader, writer = await connect(port, sent)
        async with asyncio.timeout(BOUND_S):
            answer = await reader.readline()
        assert answer.startswith(b"HTTP/1.1 ")
        await ended((reader, writer)) if b"400" in answer else writer.transport.abort()
    assert not caplog.records


async def test_the_supervisor_s_channel_has_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy for a minute must not cut it: the worker would end with it."""
    monkeypatch.setattr(pages, "EXCHANGE_S", 0.05)
    monkeypatch.setattr(pages, "CONNECTIONS_MAX", 1)
    ours, theirs = socket.socketpair()
    async with listening() as (served, port):
        await served.answer(theirs)
        supervisor = await asyncio.open_connection(sock=ours)
        assert await asked(supervisor) == b"HTTP/1.1 200 OK"
        for _ in range(2):
            await ended(await connect(port, b"GET /livez HT"))  # Cut after the same time.
        assert await asked(supervisor) == b"HTTP/1.1 200 OK"
        supervisor[1].transport.abort()
