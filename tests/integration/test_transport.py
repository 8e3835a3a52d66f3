"""The way to the provider, against real servers and proxies that behave badly."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import gc
import gzip
import inspect
import socket
import ssl
import time
import traceback
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httptools
import httptools.parser.errors
import pytest

from checkpoint_worker.providers.answers import hear
from checkpoint_worker.providers.contract import (
    CodeRequest,
    ContentTooLargeError,
    Exchange,
    ExchangeRefusedError,
    MalformedRequestError,
    NetworkDownError,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    ProxyAuthError,
    ProxyFailedError,
    Reply,
    Request,
    UnescapedCharactersError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.http import connect as dialling
from checkpoint_worker.providers.http import exchange as transport
from checkpoint_worker.providers.http.connection import Connection
from checkpoint_worker.providers.http.exchange import ClaimTicket, HttpExchange, Limits
from checkpoint_worker.providers.http.html import has_session
from checkpoint_worker.providers.http.request import PendingRequest
from checkpoint_worker.providers.http.response import ResponseParser
from tests.support.exchanges import CODE, CONNECT_TIMEOUT_S, exchange, granting, in_loop
from tests.support.hostile import (
    WAIT_S,
    Certificates,
    Peer,
    ProxyLog,
    Server,
    answer,
    answering,
    http_proxy,
    make_certificates,
    mute,
    serving,
    silent,
    socks_proxy,
)

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "CANARY p@ss:w%rd"
BASIC = b"Basic " + base64.b64encode(f"user:{PASSWORD}".encode())
PASSWORD_QUOTED = "CANARY%20p%40ss%3Aw%25rd"


async def refusing() -> ClaimTicket:
    """Refuse the claim."""
    raise ExchangeRefusedError


def code_request(url: str, **changes: Any) -> CodeRequest:
    """Make a code request with a form for its body."""
    return CodeRequest(
        **{"method": "POST", "url": url, "body": lambda code: f"pin={code}".encode(), **changes}
    )


class Book:
    """A phone book: names to addresses, and who was asked for."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown name")
        return self.addresses[host]


def told(failure: BaseException) -> str:
    """Return everything a log could show of a failure."""
    return "".join(traceback.format_exception(failure)) + repr(failure)


async def arrived(server: Server) -> Peer:
    """Wait for the first connection."""
    await asyncio.wait_for(server.connected.wait(), WAIT_S)
    return server.peers[0]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return one set for all tests."""
    folder: Path = tmp_path_factory.mktemp("tls")
    return make_certificates(folder)


# The claim -----------------------------------------------------------------------------


@in_loop
async def test_claim_comes_after_the_connection_and_before_the_first_byte() -> None:
    """The claim burns the code: not before a session listens, and not after anything left."""
    order: list[str] = []

    async def handler(peer: Peer) -> None:
        await peer.reader.readexactly(1)
        order.append("first byte")
        await peer.say(answer())

    async with serving(handler) as server:

        async def claim() -> ClaimTicket:
            await arrived(server)
            order.append("connected")
            await asyncio.sleep(0.05)  # Time for bytes that were on their way: there are none.
            order.append("claimed")
            return await granting()()

        sender = exchange(claim=claim)
        assert isinstance(sender, Exchange)
        assert not sender.code_sent
        await sender.send_code(code_request(server.url + "/verify"))
        assert order == ["connected", "claimed", "first byte"]
        assert sender.code_sent


@in_loop
async def test_the_code_request_arrives_whole_and_once() -> None:
    """Right length, no chunking, one connection, the code where the adapter put it."""
    async with serving(answering(answer(b"welcome", headers="X-A: 1\r\nX-a: 2\r\n"))) as server:
        sender = exchange()
        reply = await sender.send_code(code_request(server.url + "/verify?a=%2F"))
        assert sender.code_sent
        assert (reply.status, reply.body, reply.headers["x-a"]) == (200, b"welcome", "1, 2")
        assert len(server.peers) == 1
        peer = server.peers[0]
        assert peer.body == f"pin={CODE}".encode()
        assert peer.head.startswith(b"POST /verify?a=%2F HTTP/1.1\r\n")
        assert f"Content-Length: {len(peer.body)}\r\n".encode() in peer.head
        assert b"chunked" not in peer.head.lower()


@pytest.mark.parametrize("error", [ExchangeRefusedError("no"), KeyError("ledger"), OSError(5, "x")])
@in_loop
async def test_a_claim_that_fails_sends_nothing_and_passes_through(error: Exception) -> None:
    """A refused claim belongs to somebody else; its error is the caller's, not the network's."""
    async with serving(mute) as server:

        async def claim() -> ClaimTicket:
            raise error

        sender = exchange(claim=claim)
        with pytest.raises(type(error)) as caught:
            await sender.send_code(code_request(server.url + "/"))
        assert caught.value is error
        assert not sender.code_sent
        peer = await arrived(server)
        await asyncio.wait_for(peer.ended.wait(), WAIT_S)
        assert peer.body == b""


@in_loop
async def test_nothing_is_sent_when_the_ticket_has_run_out() -> None:
    """A process stopped between claim and first byte wakes up too late to send."""
    async with serving(mute) as server:
        sender = exchange(claim=granting(for_s=-0.001))
        with pytest.raises(ExchangeRefusedError):
            await sender.send_code(code_request(server.url + "/"))
        assert not sender.code_sent
        peer = await arrived(server)
        await asyncio.wait_for(peer.ended.wait(), WAIT_S)
        assert peer.body == b""


@in_loop
async def test_the_clock_is_looked_at_after_the_body_is_made() -> None:
    """Signing takes time too: the check is the very last thing."""
    async with serving(mute) as server:
        deadline = time.monotonic() + 0.05

        async def claim() -> ClaimTicket:
            return ClaimTicket(code=CODE, send_before=deadline)

        def body(code: str) -> bytes:
            while time.monotonic() <= deadline:
                time.sleep(0.01)
            return code.encode()

        sender = exchange(claim=claim)
        with pytest.raises(ExchangeRefusedError):
            await sender.send_code(code_request(server.url + "/", body=body))
        peer = await arrived(server)
        await asyncio.wait_for(peer.ended.wait(), WAIT_S)
        assert peer.body == b""
        assert not sender.code_sent


@in_loop
async def test_a_second_code_request_is_a_bug_and_sends_nothing() -> None:
    """At most one send per submission, even if an adapter loses its way."""
    async with serving(answering(answer())) as server:
        sender = exchange()
        await sender.send_code(code_request(server.url + "/"))
        with pytest.raises(RuntimeError):
            await sender.send_code(code_request(server.url + "/"))
        assert len(server.peers) == 1


@in_loop
async def test_a_code_is_not_sent_when_the_peer_hung_up_during_the_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody was there to read it, so the person is told that it was not used."""
    lines: list[Connection] = []

    class Watched(Connection):
        def __init__(self) -> None:
            super().__init__()
            lines.append(self)

    monkeypatch.setattr(dialling, "Connection", Watched)
    async with serving(mute) as server:

        async def claim() -> ClaimTicket:
            peer = await arrived(server)
            peer.writer.transport.abort()
            while lines[0].is_alive:  # noqa: ASYNC110  the line tells nobody
                await asyncio.sleep(0.01)
            return await granting()()

        sender = exchange(claim=claim)
        with pytest.raises(NetworkDownError):
            await sender.send_code(code_request(server.url + "/"))
        assert not sender.code_sent


@in_loop
async def test_a_peer_that_has_hung_up_is_not_worth_a_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The claim burns the code; here it is already known that nobody would read it."""
    dial = dialling.connect

    async def slowly(*args: Any, **kwargs: Any) -> Connection:
        line = await dial(*args, **kwargs)
        while line.is_alive:  # noqa: ASYNC110  the line tells nobody
            await asyncio.sleep(0.01)
        return line

    async def hangs_up(peer: Peer) -> None:
        peer.writer.transport.abort()

    async def claim() -> ClaimTicket:
        pytest.fail("claimed for nobody")

    monkeypatch.setattr(transport, "connect", slowly)
    async with serving(hangs_up) as server:
        sender = exchange(claim=claim)
        with pytest.raises(NetworkDownError):
            await sender.send_code(code_request(server.url + "/"))
        assert not sender.code_sent


@pytest.mark.parametrize("when", ["before the claim", "during the claim"])
@in_loop
async def test_who_speaks_before_being_asked_gets_no_code(when: str) -> None:
    """It cannot be the answer to a code that nobody sent, nor may it be taken for one later."""
    said = asyncio.Event()

    async def handler(peer: Peer) -> None:
        if when == "during the claim":
            await said.wait()
        await peer.say(answer(b"signed in"))
        await peer.end()

    async with serving(handler) as server:

        async def claim() -> ClaimTicket:
            said.set()
            peer = await arrived(server)
            await asyncio.wait_for(peer.ended.wait(), WAIT_S)
            return await granting()()

        sender = exchange(claim=claim)
        with pytest.raises(NetworkDownError):
            await sender.send_code(code_request(server.url + "/"))
        assert not sender.code_sent


@pytest.mark.parametrize("where", ["body", "sign"])
@in_loop
async def test_an_error_of_the_adapter_does_not_quote_the_code(where: str) -> None:
    """A callback sees the code in clear, so what it raises is not shown."""

    def fail(_: object) -> bytes:
        raise ValueError(CODE)

    async with serving(mute) as server:
        sender = exchange()
        with pytest.raises(RuntimeError) as caught:
            await sender.send_code(code_request(server.url + "/", **{where: fail}))
        assert CODE not in told(caught.value)
        assert not sender.code_sent


@in_loop
async def test_signatures_are_made_over_the_finished_body() -> None:
    """Some providers sign what is sent; the code is in it."""
    async with serving(answering(answer())) as server:
        request = code_request(
            server.url + "/",
            headers={"X-First": "1"},
            sign=lambda body: {"X-Signature": str(zlib.crc32(body))},
        )
        await exchange().send_code(request)
        expected = f"X-Signature: {zlib.crc32(f'pin={CODE}'.encode())}\r\n"
        assert expected.encode() in server.peers[0].head


# What is sent --------------------------------------------------------------------------


@in_loop
async def test_headers_keep_order_and_spelling_and_nothing_is_added() -> None:
    """Providers recognise clients by their headers; ours adds no name of its own."""
    headers = {
        "x-ig-App-ID": "1",
        "COOKIE": 'JSESSIONID="ajax:1"',
        "aCcept": "a",
        "user-agent": "u",
    }
    async with serving(answering(answer())) as server:
        await exchange().fetch(Request(method="GET", url=server.url + "/", headers=headers))
        names = [line.partition(b":")[0] for line in server.peers[0].head.split(b"\r\n")[1:-2]]
        assert names == [b"Host", *(name.encode() for name in headers), b"Connection"]
        assert b'COOKIE: JSESSIONID="ajax:1"\r\n' in server.peers[0].head


@in_loop
async def test_a_bare_request_has_only_framing_headers() -> None:
    """No user agent, type or encoding that nobody asked for."""
    async with serving(answering(answer())) as server:
        await exchange().send_code(code_request(server.url + "/"))
        names = {line.partition(b":")[0] for line in server.peers[0].head.split(b"\r\n")[1:-2]}
        assert names == {b"Host", b"Content-Length", b"Connection"}


SPOKEN = {
    "code": (
        code_request("{}/x?y=%2f", headers={"x-A": "1"}, sign=lambda _: {"X-Sig": "é", "X-a": "2"}),
        (
            "POST /x?y=%2f HTTP/1.1\r\nHost: {}\r\nX-a: 2\r\nContent-Length: 17\r\nX-Sig: é\r\n"
            "Connection: close\r\n\r\npin=CANARY-842913"
        ),
    ),
    "empty code request": (
        code_request("{}?q=/", method="put", body=lambda _: b""),
        "PUT /?q=/ HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ),
    "page": (
        Request(method="GET", url="{}", headers={"X-E": "", "connection": "keep-alive"}),
        "GET / HTTP/1.1\r\nHost: {}\r\nX-E: \r\nconnection: keep-alive\r\n\r\n",
    ),
    "page with a body": (
        Request(method="DELETE", url="{}/a/../b//c", body=b"\xff"),
        (
            "DELETE /a/../b//c HTTP/1.1\r\nHost: {}\r\nContent-Length: 1\r\nConnection: close\r\n"
            "\r\n\xff"
        ),
    ),
}


@pytest.mark.parametrize("name", SPOKEN)
@in_loop
async def test_every_byte_of_a_request_is_as_written_here(name: str) -> None:
    """What a provider saw of us yesterday it sees tomorrow (taken down from the wire)."""
    request, expected = SPOKEN[name]
    async with serving(answering(answer())) as server:
        there = dataclasses.replace(request, url=request.url.format(server.url))
        if isinstance(there, CodeRequest):
            await exchange().send_code(there)
        else:
            await exchange().fetch(there)
        (peer,) = server.peers
        head, _, body = expected.format(server.url.removeprefix("http://")).partition("\r\n\r\n")
        assert peer.head == head.encode() + b"\r\n\r\n"
        assert peer.body == body.encode("latin-1")


@in_loop
async def test_environment_proxies_and_netrc_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker's environment must not reroute or sign one account's login."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password CANARY\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(answering(answer())) as server:
        await exchange().fetch(Request(method="GET", url=server.url + "/"))
        assert b"authorization" not in server.peers[0].head.lower()


@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
@in_loop
async def test_redirects_are_answers_not_orders(status: str) -> None:
    """A followed 307 would carry the code to another host."""
    location = "Location: http://127.0.0.1:1/elsewhere\r\n"
    async with serving(answering(answer(b"", status, location))) as server:
        reply = await exchange().send_code(code_request(server.url + "/"))
        assert reply.status == int(status[:3])
        assert reply.headers["location"].endswith("/elsewhere")
        assert len(server.peers) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@in_loop
async def test_a_dropped_connection_is_not_tried_again(method: str) -> None:
    """The library repeats idempotent methods on its own; here it may not."""

    async def handler(peer: Peer) -> None:
        await peer.request()

    async with serving(handler) as server:
        with pytest.raises(ProviderTimeoutError):
            await exchange().fetch(Request(method=method, url=server.url + "/"))
        sender = exchange()
        with pytest.raises(ProviderTimeoutError):
            await sender.send_code(code_request(server.url + "/", method=method))
        assert sender.code_sent
        assert len(server.peers) == 2


@in_loop
async def test_each_request_has_its_own_connection_and_no_cookies_stay() -> None:
    """A reused connection could give one account another account's answer."""
    async with serving(answering(answer(b"", headers="Set-Cookie: a=CANARY\r\n"))) as server:
        sender = exchange()
        for _ in range(3):
            await sender.fetch(Request(method="GET", url=server.url + "/"))
        assert len(server.peers) == 3
        assert all(b"CANARY" not in peer.head for peer in server.peers)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1/a b", UnescapedCharactersError),
        ("http://127.0.0.1/é", UnescapedCharactersError),
        ("http://127.0.0.1/a\r\nX: y", UnescapedCharactersError),
        ("http://127.0.0.1/%zz", UnescapedCharactersError),
        ("http://u:CANARY@127.0.0.1/", MalformedRequestError),
        ("http://127.0.0.1:CANARY/", MalformedRequestError),
        ("http://127.0.0.1:99999/", MalformedRequestError),
        ("file:///etc/passwd", MalformedRequestError),
        ("http://", UnescapedCharactersError),
        ("/path", MalformedRequestError),
        ("http://@127.0.0.1/", MalformedRequestError),
        ("http://[::CANARY]/", MalformedRequestError),
        ("http://[1:2]/", MalformedRequestError),
        ("http://127.0.0.1:+1/", MalformedRequestError),
        ("http://127.0.0.1:0/", MalformedRequestError),
        ("http://./", MalformedRequestError),
        ("http://a,b/", MalformedRequestError),
        ("http://" + "a" * 64 + ".test/", MalformedRequestError),
    ],
)
@in_loop
async def test_bad_addresses_are_refused_before_connecting(
    url: str, error: type[ProviderFailure]
) -> None:
    """A path of a context must not choose host, credentials or lines."""
    with pytest.raises(ProviderFailure) as caught:
        await exchange().fetch(Request(method="GET", url=url))
    assert type(caught.value) is error
    assert "CANARY" not in told(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nX-B: b"),
        ("X-A", "a\x00"),
        ("X-A", "\ud800"),
        ("X A", "a"),
        ("", "a"),
        ("Content-Length", "3"),
        ("transfer-encoding", "chunked"),
        ("Host", "other"),
    ],
)
@in_loop
async def test_headers_cannot_break_the_framing(name: str, value: str) -> None:
    """Header values come from contexts: no second request, no other host."""
    with pytest.raises(MalformedRequestError):
        await exchange().fetch(
            Request(method="GET", url="http://127.0.0.1:1/", headers={name: value})
        )
    async with serving(mute) as server:
        sender = exchange()
        with pytest.raises(MalformedRequestError):
            await sender.send_code(code_request(server.url + "/", sign=lambda _: {name: value}))
        assert not sender.code_sent


@pytest.mark.parametrize("method", ["", "PO ST", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET", "GÉT"])
@in_loop
async def test_a_method_is_a_word(method: str) -> None:
    """It stands in front of everything else."""
    async with serving(mute) as server:
        with pytest.raises(MalformedRequestError):
            await exchange().fetch(Request(method=method, url=server.url + "/"))
        assert not server.peers


@in_loop
async def test_a_request_that_is_too_large_is_not_sent() -> None:
    """400 `content_too_large`, from us before the provider has to say it."""
    async with serving(mute) as server:
        sender = exchange(limits=Limits(request_bytes=10))
        with pytest.raises(ContentTooLargeError):
            await sender.send_code(code_request(server.url + "/"))
        assert not sender.code_sent
        with pytest.raises(ContentTooLargeError):
            await sender.fetch(Request(method="POST", url=server.url + "/", body=b"x" * 11))


# What is read --------------------------------------------------------------------------


def raw_deflate(data: bytes) -> bytes:
    """Compress without zlib's frame, as some servers do."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
    ],
)
@in_loop
async def test_known_encodings_are_undone(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Servers compress unasked; the adapter reads the text either way."""
    text = b"the quick brown fox " * 500
    packed = answer(pack(text), headers=f"Content-Encoding: {encoding}\r\n")
    async with serving(answering(packed)) as server:
        reply = await exchange().fetch(Request(method="GET", url=server.url + "/"))
        assert reply.body == text


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b"\0" * (8 * 1024 * 1024))
BAD_ANSWERS = {
    "gzip bomb": answer(BOMB, headers="Content-Encoding: gzip\r\n"),
    "bad gzip sum": answer(
        gzip.compress(b"x")[:-8] + b"12345678", headers="Content-Encoding: gzip\r\n"
    ),
    "broken brotli": answer(b"\xff" * 64, headers="Content-Encoding: br\r\n"),
    "broken brotli in gzip": answer(b"\xff" * 64, headers="Content-Encoding: br, gzip\r\n"),
    "broken zstd": answer(b"\x28\xb5\x2f\xfd" + b"\xff" * 64, headers="Content-Encoding: zstd\r\n"),
    "unasked": answer(b"x", headers="Content-Encoding: compress\r\n"),
    "packed too often": answer(
        b"x", headers="Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip\r\n"
    ),
    "a bomb in a second part": answer(
        gzip.compress(b"x") + BOMB, headers="Content-Encoding: gzip\r\n"
    ),
    "parts without end": answer(gzip.compress(b"") * 2_000, headers="Content-Encoding: gzip\r\n"),
    "cut body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nCANARY-842913\r\n",
    "large body": answer(b"x" * (3 * 1024 * 1024)),
    "endless body": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (3 * 1024 * 1024),
    "long header": answer(headers=f"X-A: {'x' * 300_000}\r\n"),
    "many headers": answer(headers="X-A: x\r\n" * 1_200),
    "large headers": answer(headers=f"X-A: {'x' * 9_000}\r\n" * 40),
    "not http": b"CANARY-842913 hello\r\n\r\n",
    "bad status": b"HTTP/1.1 CANARY-842913\r\n\r\n",
    "one endless header": b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 300_000,
    "endless reason": b"HTTP/1.1 200 " + b"x" * 300_000,
    "hints without end": b"HTTP/1.1 103 Early\r\n\r\n" * 15_000,
    "many hints": b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 1_001 + answer(b"ok"),
    "endless extension": CHUNKED + b"1;" + b"x" * 300_000,
    "cut gzip without a length": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    + gzip.compress(b"x" * 99)[:-9],
    "chunked, then gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nx",
    "cut behind a size": CHUNKED + b"2\r\nok\r\n5\r\n",
    "cut in a size": CHUNKED + b"2\r\nok\r\n5",
    "cut before a chunk": CHUNKED,
    "cut between a chunk and its end": CHUNKED + b"2\r\nok",
    "a lone size that looks like the last": CHUNKED + b"8\r\n\r\n0\r\n\r\n",
    "extensions without end": CHUNKED + (b"1;" + b"x" * 60_000 + b"\r\nx\r\n") * 80,
    "no status": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "switching": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nCANARY-842913",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
@in_loop
async def test_unreadable_answers_are_the_providers_fault(name: str) -> None:
    """Oversized, cut, mangled: 500 `provider_error`, and nothing of it is quoted."""
    async with serving(answering(BAD_ANSWERS[name])) as server:
        sender = exchange()
        with pytest.raises(ProviderBrokenError) as caught:
            await sender.send_code(code_request(server.url + "/"))
        assert sender.code_sent
        assert "CANARY" not in told(caught.value)
        assert caught.value.__context__ is None


@in_loop
async def test_the_body_is_capped_as_it_travels_too() -> None:
    """Packing can make a body larger; what is read off the line has its own limit."""
    for body, fits in ((b"x" * 10, True), (b"x" * 11, False)):
        async with serving(answering(answer(body))) as server:
            sender = exchange(limits=Limits(wire_bytes=10))
            request = Request(method="GET", url=server.url + "/")
            if fits:
                assert (await sender.fetch(request)).body == body
            else:
                with pytest.raises(ProviderBrokenError):
                    await sender.fetch(request)


@in_loop
async def test_set_cookie_arrives_raw_and_in_order() -> None:
    """LinkedIn's session cookie needs its quotes; revocations are told as well."""
    lines = (
        'Set-Cookie: JSESSIONID="ajax:123"; Path=/; Domain=.Example.com; Secure\r\n'
        "Set-Cookie: li_at=x=y; Max-Age=60\r\n"
        "set-cookie: gone=; Max-Age=0\r\n"
        "Set-Cookie: nonsense\r\n"
    )
    async with serving(answering(answer(headers=lines))) as server:
        reply = await exchange().fetch(Request(method="GET", url=server.url + "/a/b?c=/d/"))
    first, second, third = reply.cookies
    assert (first.name, first.value, first.domain) == ("JSESSIONID", '"ajax:123"', ".example.com")
    assert first.expires_at is None
    assert (second.value, second.path) == ("x=y", "/a")
    assert second.expires_at is not None
    assert 0 < second.expires_at - time.time() <= 60
    assert (third.name, third.expires_at) == ("gone", 0.0)


def packed(body: bytes, encoding: str = "gzip") -> bytes:
    """Return an answer with a body packed as it says."""
    return answer(body, headers=f"Content-Encoding: {encoding}\r\n")


OK_GZIP = gzip.compress(b"ok")
SMALL_BYTES = 4_000
"""An answer so short is sent a byte at a time; a longer one in pieces that fit no line."""
LEGIBLE = {
    "hints before it": b"HTTP/1.1 100 Go on\r\nX-A: 1\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"
    + answer(b"ok"),
    "without a length": b"HTTP/1.1 200 OK\r\n\r\nok",
    "of an old server": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok",
    "in chunks": CHUNKED + b"1;a=b\r\no\r\n1\r\nk\r\n0\r\nX-A: 1\r\n\r\n",
    "padded sizes": CHUNKED + b"2  \r\nok\r\n0  \r\n\r\n",
    "folded header": answer(b"ok", headers="X-B: a\r\n b\r\n"),
    "folded before any header": b"HTTP/1.1 200 OK\r\n x\r\nContent-Length: 2\r\n\r\nok",
    "control characters": answer(b"ok", headers="X-B: a\x01b\r\n"),
    "lines without CR": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "with something behind it": answer(b"ok") + b"CANARY" + answer(b"second"),
    "that offers another language": answer(
        b"ok", headers="Connection: upgrade\r\nUpgrade: h2c\r\n"
    ),
    "empty lines before it": b"\r\n\n" + answer(b"ok"),
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "an odd reason": "HTTP/1.1  200   Tout est prêt; ça va\r\nContent-Length: 2\r\n\r\nok".encode(),
    "another version": b"HTTP/2 200 \r\nContent-Length: 2\r\n\r\nok",
    "many headers": answer(b"ok", headers="X-B: x\r\n" * 900),
    "large headers": answer(b"ok", headers=f"Set-Cookie: x={'x' * 9_000}\r\n" * 20),
    "one long header": answer(b"ok", headers=f"Content-Security-Policy: {'x' * 100_000}\r\n"),
    "bytes of no charset": b"HTTP/1.1 200 OK\r\nX-B: \xff\xfe\r\nContent-Length: 2\r\n\r\nok",
    "space before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nokCANARY",
    "a header without a name": answer(b"ok", headers=": x\r\nX-B: y\r\n"),
    "a line without a colon": answer(b"ok", headers="nonsense\r\nX-B: y\r\n"),
    "a name with odd characters": answer(b"ok", headers="X B(\xe9): y\r\n"),
    "two equal lengths": answer(b"okCANARY", headers="Content-Length: 2\r\n").replace(
        b"Content-Length: 8", b"Content-Length: 2"
    ),
    "equal lengths in one": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nokCANARY",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
    "an empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n"
    b"\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks said twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks of an old server": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "no transfer encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n"
    b"Content-Length: 2\r\n\r\nok",
    "chunks without a last one": CHUNKED + b"2\r\nok\r\n",
    "chunks that end with the last size": CHUNKED + b"2\r\nok\r\n0\r\n",
    "many trailers": CHUNKED + b"2\r\nok\r\n0\r\n" + b"X-A: x\r\n" * 2_000 + b"\r\n",
    "broken trailers": CHUNKED + b"2\r\nok\r\n0\r\n\x00()\r\n\r\n",
    "gzip below the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    + f"{len(OK_GZIP):x}\r\n".encode()
    + OK_GZIP
    + b"\r\n0\r\n\r\n",
    "gzip in parts": packed(gzip.compress(b"o") + gzip.compress(b"") + gzip.compress(b"k")),
    "gzip with padding": packed(OK_GZIP + b"\0" * 2_000),
    "gzip with a byte behind it": packed(OK_GZIP + b"\x1f"),
    "gzip with half a head behind it": packed(OK_GZIP + OK_GZIP[:5]),
    "gzip with a broken part behind it": packed(OK_GZIP + OK_GZIP[:2] + b"\xff" * 30),
    "gzip with text behind it": packed(OK_GZIP + b"CANARY"),
    "gzip without its sum": packed(OK_GZIP[:-8]),
    "gzip twice": packed(gzip.compress(OK_GZIP), "gzip, gzip"),
    "gzip said twice": packed(OK_GZIP, "gzip\r\nContent-Encoding: gzip"),
    "gzip then nothing": packed(OK_GZIP, "gzip, identity"),
    "gzip that is none": packed(b"ok"),
    "gzip that says deflate": packed(OK_GZIP, "deflate"),
    "deflate without its sum": packed(zlib.compress(b"ok")[:-4], "deflate"),
    "a charset for an encoding": packed(b"ok", "utf-8"),
    "no encoding": packed(b"ok", "none"),
    "an empty encoding": packed(b"ok", ""),
    "gzip without a length": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + OK_GZIP,
}


@pytest.mark.parametrize("name", LEGIBLE)
@pytest.mark.parametrize("slowly", [False, True])
@in_loop
async def test_legible_answers_are_read_in_any_pieces(name: str, slowly: bool) -> None:
    """However a server frames it, and wherever the network cuts it."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        said = LEGIBLE[name]
        size = (1 if len(said) < SMALL_BYTES else 1_499) if slowly else len(said)
        for piece in (said[at : at + size] for at in range(0, len(said), size)):
            await peer.say(piece)
            await asyncio.sleep(0)
        peer.writer.close()

    async with serving(handler) as server:
        reply = await exchange().send_code(code_request(server.url + "/"))
        assert (reply.status, reply.body) == (200, b"ok")
        assert "x-a" not in reply.headers, "hints and trailers are no headers of the answer"


@in_loop
async def test_an_answer_without_a_body_is_over_with_its_head() -> None:
    """To HEAD, and 204 and 304, whatever length they tell."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        status = "200 OK" if peer.head.startswith(b"HEAD") else "204 No"
        head = f"HTTP/1.1 {status}\r\nX-A: \t1 \r\nX-B:\r\nContent-Length: 9\r\n\r\n"
        await peer.say(f"{head}CANARY".encode())  # One piece, and short of what it tells.
        await peer.end()

    async with serving(handler) as server:
        for method in ("HEAD", "GET"):
            request = Request(method=method, url=server.url + "/")
            reply = await asyncio.wait_for(exchange().fetch(request), WAIT_S)
            assert reply.body == b""
            assert (reply.headers["x-a"], reply.headers["x-b"]) == ("1", "")


EMPTY = {
    f"{encoding} {status}": (status, encoding)
    for encoding in ("br", "gzip", "deflate", "zstd", "gzip, br")
    for status in ("200 OK", "204 No", "302 Found", "304 Not Modified")
}


@pytest.mark.parametrize("name", EMPTY)
@in_loop
async def test_an_empty_body_is_in_any_encoding(name: str) -> None:
    """Content networks label what they would have packed; there is nothing to unpack."""
    status, encoding = EMPTY[name]
    said = f"HTTP/1.1 {status}\r\nContent-Encoding: {encoding}\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(said.encode())) as server:
        reply = await exchange().send_code(code_request(server.url + "/"))
        assert (reply.status, reply.body) == (int(status[:3]), b"")


HEADS = {
    "broken brotli": (b"Content-Encoding: br\r\nContent-Length: 3\r\n", b"\xff\xff\xff"),
    "cut body": (b"Content-Length: 10\r\n", b"abc"),
    "cut chunk": (b"Transfer-Encoding: chunked\r\n", b"9\r\nabc"),
    "bad gzip sum": (b"Content-Encoding: gzip\r\n", OK_GZIP[:-8] + b"12345678"),
    "large body": (b"", b"x" * 3 * 1024 * 1024),
}


@pytest.mark.parametrize("name", HEADS)
@in_loop
async def test_a_login_in_the_head_of_an_unreadable_answer_is_heard(name: str) -> None:
    """The code is used up: what the head says is all there will ever be."""
    headers, content = HEADS[name]
    cookies = b"".join(b"Set-Cookie: x%d=; Max-Age=0\r\n" % number for number in range(150))
    said = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=CANARY\r\n" + cookies + headers
    async with serving(answering(said + b"\r\n" + content)) as server:
        request = code_request(server.url + "/")

        def is_login(head: Reply) -> bool:
            return has_session(head.cookies, "session")

        reply = await hear(exchange(), request, is_login)
        assert (reply.status, reply.body, len(reply.cookies)) == (200, b"", 151)
        with pytest.raises(UnreadableAnswerError) as caught:
            await hear(exchange(), request, lambda _: False)
        assert "CANARY" not in "".join(traceback.format_exception(caught.value))


REDIRECTS = {
    "broken brotli": (b"Content-Encoding: br\r\nContent-Length: 3\r\n", b"\xff\xff\xff"),
    "cut body": (b"Content-Length: 10\r\n", b"abc"),
    "cut chunk": (b"Transfer-Encoding: chunked\r\n", b"9\r\nabc"),
    "bad chunk": (b"Transfer-Encoding: chunked\r\n", b"CANARY\r\n"),
    "two lengths": (b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"),
    "bad gzip sum": (b"Content-Encoding: gzip\r\n", OK_GZIP[:-8] + b"12345678"),
    "large body": (b"", b"x" * 3 * 1024 * 1024),
}


@pytest.mark.parametrize("name", REDIRECTS)
@in_loop
async def test_a_redirect_says_all_in_its_head(name: str) -> None:
    """A browser follows it before its page has come; whether that can be read is no matter.

    It carries the session, and the code is used: nothing would bring it back.
    """
    lines, body = REDIRECTS[name]
    head = b"HTTP/1.1 302 Found\r\nLocation: /in\r\nLocation: /in\r\nSet-Cookie: li_at=1\r\n"
    async with serving(answering(head + lines + b"\r\n" + body)) as server:
        reply = await exchange().send_code(code_request(server.url + "/"))
        assert (reply.status, reply.headers["location"]) == (302, "/in")
        assert [(cookie.name, cookie.value) for cookie in reply.cookies] == [("li_at", "1")]


@in_loop
async def test_a_body_without_a_length_that_ends_in_a_reset_is_cut_short() -> None:
    """Only a good-bye says that it is whole."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await asyncio.sleep(0.05)
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with serving(handler) as server:
        with pytest.raises(ProviderBrokenError):
            await exchange().send_code(code_request(server.url + "/"))


@in_loop
async def test_a_bug_in_reading_an_answer_crashes_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser swallows what its callbacks raise; a mistake of ours must not look like HTTP."""

    def fail(*_: object, **__: object) -> None:
        raise KeyError

    monkeypatch.setattr("checkpoint_worker.providers.http.response.parse_set_cookie", fail)
    async with serving(answering(answer(headers="Set-Cookie: a=b\r\n"))) as server:
        with pytest.raises(KeyError):
            await exchange().fetch(Request(method="GET", url=server.url + "/"))


# Time and cancelling -------------------------------------------------------------------


@in_loop
async def test_a_drip_of_header_bytes_cannot_hold_the_callers_limit() -> None:
    """A byte every 50 ms held a 0.5 s time-out for 205 s; the caller's clock ends it."""
    dripping = asyncio.Event()

    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.say(b"X")
            dripping.set()
            await asyncio.sleep(0.05)

    async with serving(drip) as server:
        sender = exchange()
        sending = asyncio.create_task(sender.send_code(code_request(server.url + "/")))
        await asyncio.wait_for(dripping.wait(), WAIT_S)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sending, 0.5)
        assert time.monotonic() - began < WAIT_S
        assert sender.code_sent


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("when", ["claiming", "waiting", "reading"])
@in_loop
async def test_cancelling_cuts_the_connection(
    when: str, secure: bool, certificates: Certificates
) -> None:
    """A superseded exchange ends now: the peer sees it although it never says good-bye."""
    reached = asyncio.Event()

    async def handler(peer: Peer) -> None:
        if when != "claiming":
            await peer.request()
            if when == "reading":
                await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
            reached.set()
        peer.body = await peer.end()

    async def claim() -> ClaimTicket:
        if when == "claiming":
            reached.set()
            await asyncio.Event().wait()
        return await granting()()

    async with serving(handler, certificates.server if secure else None) as server:
        sender = exchange(claim=claim, tls=certificates.trusting)
        url = server.url.replace("http:", "https:") if secure else server.url
        task = asyncio.create_task(sender.send_code(code_request(url + "/")))
        await asyncio.wait_for(reached.wait(), WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, WAIT_S)
        peer = await arrived(server)
        await asyncio.wait_for(peer.ended.wait(), WAIT_S)
        assert sender.code_sent == (when != "claiming")


@pytest.mark.parametrize(
    "kind",
    ["direct", "tls", "http proxy", "https proxy", "tls in tunnel", "socks", "socks tls"],
)
@in_loop
async def test_cancelling_while_connecting_cuts_the_connection(
    kind: str, certificates: Certificates
) -> None:
    """A peer that accepts and then stalls the set-up is left at once, through proxies too."""
    log = ProxyLog()
    async with (
        serving(mute) as target,
        serving(socks_proxy(log)) as socks,
        serving(http_proxy(log)) as tunnels,
    ):
        options: dict[str, Any] = {"tls": certificates.trusting}
        if kind == "https proxy":
            options["proxy"] = target.url.replace("http:", "https:")
        if kind == "tls in tunnel":
            options["proxy"] = tunnels.url
        if kind == "http proxy":
            options["proxy"] = target.url
        if kind == "socks":
            options["proxy"] = target.url.replace("http:", "socks5h:")
        if kind == "socks tls":
            options["proxy"] = socks.url.replace("http:", "socks5h:")
        url = target.url if kind == "direct" else target.url.replace("http:", "https:")
        if kind == "direct":

            async def stall() -> ClaimTicket:
                return await asyncio.Future()

            options["claim"] = stall
        sender = exchange(**options)
        task = asyncio.create_task(sender.send_code(code_request(url + "/")))
        peer = await arrived(target)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, WAIT_S)
        await asyncio.wait_for(peer.ended.wait(), WAIT_S)
        assert not sender.code_sent


@in_loop
async def test_a_peer_that_reads_nothing_cannot_hold_the_closing() -> None:
    """A polite close would wait until the peer has read what is still to be written."""
    reached = asyncio.Event()

    async def handler(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        reached.set()
        await asyncio.Event().wait()

    async with serving(handler) as server:
        sender = exchange(limits=Limits(request_bytes=2**23))
        request = Request(method="POST", url=server.url + "/", body=b"x" * (2**20 - 1))
        task = asyncio.create_task(sender.fetch(request))
        await asyncio.wait_for(reached.wait(), WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, WAIT_S)


@in_loop
async def test_connecting_has_its_own_limit(certificates: Certificates) -> None:
    """Connect time-out: 408 without a proxy, 502 with one, never sent."""
    async with serving(mute) as server:
        url = server.url.replace("http:", "https:") + "/"
        direct = exchange(connect_timeout_s=0.2, tls=certificates.trusting)
        with pytest.raises(ProviderTimeoutError) as caught:
            await direct.send_code(code_request(url))
        assert not direct.code_sent
        assert "not sent" in (caught.value.detail or "")
        for scheme in ("http", "socks5h"):
            proxy = server.url.replace("http:", scheme + ":")
            through = exchange(connect_timeout_s=0.2, proxy=proxy)
            with pytest.raises(ProxyFailedError):
                await through.send_code(code_request(url))
            assert not through.code_sent


@in_loop
async def test_the_connect_limit_does_not_count_claim_or_answer() -> None:
    """A slow ledger or provider is somebody else's limit."""

    async def slowly(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.4)
        await peer.say(answer(b"late"))

    async def claim() -> ClaimTicket:
        await asyncio.sleep(0.4)
        return await granting()()

    async with serving(slowly) as server:
        sender = exchange(connect_timeout_s=0.3, claim=claim)
        reply = await sender.send_code(code_request(server.url + "/"))
        assert reply.body == b"late"


# TLS -----------------------------------------------------------------------------------


@in_loop
async def test_certificates_are_verified(certificates: Certificates) -> None:
    """An unknown authority or another name gets no code; a given context may know better."""
    async with serving(answering(answer(b"ok")), certificates.server) as server:
        url = f"https://localhost:{server.port}/"
        stranger = exchange()
        with pytest.raises(NetworkDownError):
            await stranger.send_code(code_request(url))
        assert not stranger.code_sent
        book = Book(wrong_test=["127.0.0.1"])
        misnamed = exchange(tls=certificates.trusting, resolver=book)
        with pytest.raises(NetworkDownError):
            await misnamed.send_code(code_request(f"https://wrong.test:{server.port}/"))
        assert not misnamed.code_sent
        knowing = exchange(tls=certificates.trusting)
        assert (await knowing.send_code(code_request(url))).body == b"ok"
        book.addresses["provider.test."] = ["127.0.0.1"]
        rooted = exchange(tls=certificates.trusting, resolver=book)
        request = code_request(f"https://provider.test.:{server.port}/")
        assert (await rooted.send_code(request)).body == b"ok", "the dot is no part of the name"
        assert f"Host: provider.test:{server.port}\r\n".encode() in server.peers[-1].head


def test_the_default_context_verifies_names_and_certificates() -> None:
    """Shared by all exchanges, made once."""
    context = transport.default_tls()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert transport.default_tls() is context


@in_loop
async def test_a_tls_peer_that_never_says_goodbye_costs_no_time(
    certificates: Certificates,
) -> None:
    """The library would wait up to 30 s for the peer's farewell."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer(b"ok"))
        await peer.end()

    async with serving(handler, certificates.server) as server:
        sender = exchange(tls=certificates.trusting)
        reply = await sender.send_code(code_request(f"https://localhost:{server.port}/"))
        assert reply.body == b"ok"
        peer = server.peers[0]
        await asyncio.wait_for(peer.ended.wait(), WAIT_S)


# Failures on the way -------------------------------------------------------------------


@in_loop
async def test_refused_and_unresolved_are_our_network() -> None:
    """503 `network_down`, not sent."""
    for url, resolver in (
        ("http://127.0.0.1:1/", None),
        ("http://nowhere.test/", Book()),
    ):
        sender = exchange(resolver=resolver)
        with pytest.raises(NetworkDownError) as caught:
            await sender.send_code(code_request(url))
        assert not sender.code_sent
        assert "not sent" in (caught.value.detail or "")


@pytest.mark.parametrize("how", ["eof", "reset", "half a header"])
@in_loop
async def test_a_connection_lost_after_sending_is_a_timeout(how: str) -> None:
    """The provider may act on the code: 408, and the detail says so."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        if how == "half a header":
            await peer.say(b"HTTP/1.1 200 OK\r\nX-Half")
        if how == "reset":
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            peer.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )

    async with serving(handler) as server:
        sender = exchange()
        with pytest.raises(ProviderTimeoutError) as caught:
            await sender.send_code(code_request(server.url + "/"))
        assert sender.code_sent
        assert "may have been used" in (caught.value.detail or "")


# Proxies -------------------------------------------------------------------------------


def with_credentials(server: Server, scheme: str) -> str:
    """Return the proxy's URL with percent-encoded credentials."""
    return f"{scheme}://us%65r:{PASSWORD_QUOTED}@127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("scheme", "secure"),
    [
        ("http", True),  # Plain requests are forwarded: the next test.
        ("https", True),
        ("socks5", True),
        ("socks5", False),
        ("socks5h", True),
        ("socks5h", False),
    ],
)
@in_loop
async def test_every_proxy_carries_the_code_after_the_claim(
    scheme: str, secure: bool, certificates: Certificates
) -> None:
    """Tunnel, TLS inside it, then the claim, then the first byte; credentials decoded right."""
    log = ProxyLog()
    handler = (
        http_proxy(log) if scheme.startswith("http") else socks_proxy(log, auth=("user", PASSWORD))
    )
    order: list[str] = []

    async def provider(peer: Peer) -> None:
        await peer.request()
        order.append("bytes")
        await peer.say(answer(b"through"))

    async def claim() -> ClaimTicket:
        order.append("claim")
        assert log.targets
        await asyncio.sleep(0.05)
        return await granting()()

    book = Book(provider_test=["127.0.0.1"])
    async with (
        serving(provider, certificates.server if secure else None) as target,
        serving(handler, certificates.server if scheme == "https" else None) as proxy,
    ):
        sender = exchange(
            claim=claim,
            proxy=with_credentials(proxy, scheme),
            tls=certificates.trusting,
            resolver=book,
        )
        name = "https" if secure else "http"
        reply = await sender.send_code(code_request(f"{name}://provider.test:{target.port}/"))
        assert reply.body == b"through"
        assert order == ["claim", "bytes"]
        assert target.peers[0].body == f"pin={CODE}".encode()
        assert b"proxy-authorization" not in target.peers[0].head.lower()
        if scheme.startswith("socks"):
            assert log.credentials == [("user", PASSWORD)]
        else:
            expected = BASIC
            assert b"Proxy-Authorization: " + expected in log.heads[0]
        asked = ["provider.test"] if scheme == "socks5" else []
        assert book.asked == asked, "the provider's name is looked up where the scheme says"


@in_loop
async def test_a_plain_request_is_forwarded_after_the_claim() -> None:
    """Without CONNECT the proxy is the first to get the bytes: it may not get them unclaimed."""
    async with serving(answering(answer(b"forwarded"))) as proxy:
        url = "http://provider.test/x?y=1"
        refused = exchange(claim=refusing, proxy=with_credentials(proxy, "http"))
        with pytest.raises(ExchangeRefusedError):
            await refused.send_code(code_request(url))
        sender = exchange(proxy=with_credentials(proxy, "http"))
        reply = await sender.send_code(code_request(url))
        assert reply.body == b"forwarded"
        untold, peer = proxy.peers
        assert (untold.head, untold.body) == (b"", b"")
        assert peer.head.startswith(b"POST http://provider.test/x?y=1 HTTP/1.1\r\n")
        expected = BASIC
        assert b"Proxy-Authorization: " + expected in peer.head


REFUSALS = {
    "407": (b"HTTP/1.1 407 CANARY-842913\r\nContent-Length: 0\r\n\r\n", ProxyAuthError),
    "403": (b"HTTP/1.1 403 CANARY-842913\r\nContent-Length: 0\r\n\r\n", ProxyFailedError),
    "502": (b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", ProxyFailedError),
    "garbage": (b"CANARY-842913\r\n\r\n", ProxyFailedError),
    "long": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", ProxyFailedError),
    "no tls": (b"HTTP/1.1 200 OK\r\n\r\nCANARY-842913 is not TLS", ProxyFailedError),
    "endless": (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 20_000, ProxyFailedError),
    "hint": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\n\r\n", ProxyFailedError),
    "hint, 407": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\r\n\r\n", ProxyAuthError),
    "hint, garbage": (b"HTTP/1.1 100 Continue\r\n\r\nCANARY-842913\r\n\r\n", ProxyFailedError),
    "407 without CR": (b"HTTP/1.0 407 No\nX-A: 1\n\n", ProxyAuthError),
}


@pytest.mark.parametrize("name", REFUSALS)
@in_loop
async def test_a_proxy_that_refuses_the_tunnel(name: str) -> None:
    """407 is a matter of credentials, everything else a broken proxy; nothing was sent."""
    said, error = REFUSALS[name]
    async with serving(http_proxy(ProxyLog(), refuse=said)) as proxy:
        sender = exchange(proxy=with_credentials(proxy, "http"))
        with pytest.raises(error) as caught:
            await asyncio.wait_for(
                sender.send_code(code_request("https://provider.test/")), CONNECT_TIMEOUT_S / 2
            )
        assert not sender.code_sent
        assert "CANARY" not in told(caught.value)


@in_loop
async def test_a_proxy_that_refuses_a_forwarded_request() -> None:
    """407 to the request itself, which the proxy has read."""
    refusal = answer(b"", "407 No", "Proxy-Authenticate: Basic\r\n")
    async with serving(answering(refusal)) as proxy:
        sender = exchange(proxy=proxy.url)
        with pytest.raises(ProxyAuthError):
            await sender.send_code(code_request("http://provider.test/"))
    async with serving(answering(refusal)) as server:
        reply = await exchange().send_code(code_request(server.url + "/"))
        assert reply.status == 407, "without a proxy it is the provider's own"


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
@in_loop
async def test_a_proxy_that_cannot_be_reached(scheme: str) -> None:
    """Refused, or its name unknown: 502, never a direct connection."""
    async with serving(answering(answer())) as target:
        for proxy in (f"{scheme}://127.0.0.1:1", f"{scheme}://nowhere.test:1"):
            sender = exchange(proxy=proxy, resolver=Book())
            with pytest.raises(ProxyFailedError):
                await sender.send_code(code_request(target.url + "/"))
            assert not sender.code_sent
        assert target.peers == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"auth": ("user", "other")}, ProxyAuthError),
        ({"reply": 2}, ProxyFailedError),
        ({"reply": 5}, ProxyFailedError),
        ({"reply": 99}, ProxyFailedError),
    ],
)
@in_loop
async def test_a_socks_proxy_that_refuses(
    options: dict[str, Any], error: type[ProviderFailure]
) -> None:
    """Credentials are told apart from everything else, though the library has no code for it."""
    async with serving(socks_proxy(ProxyLog(), **options)) as proxy:
        sender = exchange(proxy=with_credentials(proxy, "socks5h"))
        with pytest.raises(error) as caught:
            await sender.send_code(code_request("https://provider.test/"))
        assert not sender.code_sent
        assert "CANARY" not in told(caught.value)


@in_loop
async def test_a_socks_proxy_that_wants_credentials_nobody_gave() -> None:
    """The same answer as for wrong ones: an operator has to act."""
    async with serving(socks_proxy(ProxyLog(), auth=("a", "b"))) as proxy:
        with pytest.raises(ProxyAuthError):
            await exchange(proxy=proxy.url.replace("http:", "socks5h:")).fetch(
                Request(method="GET", url="https://provider.test/")
            )


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@in_loop
async def test_a_proxy_that_hangs_up(scheme: str) -> None:
    """A reset while setting up is the proxy's fault."""

    async def handler(peer: Peer) -> None:
        await peer.reader.read(1)

    async with serving(handler) as proxy:
        sender = exchange(proxy=proxy.url.replace("http:", scheme + ":"))
        with pytest.raises(ProxyFailedError):
            await sender.send_code(code_request("https://provider.test/"))
        assert not sender.code_sent


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@in_loop
async def test_an_untrusted_provider_behind_a_proxy(
    scheme: str, certificates: Certificates
) -> None:
    """The tunnel stood: not the proxy's fault."""
    log = ProxyLog()
    handler = http_proxy(log) if scheme == "http" else socks_proxy(log)
    async with (
        serving(answering(answer()), certificates.server) as target,
        serving(handler) as proxy,
    ):
        sender = exchange(proxy=proxy.url.replace("http:", scheme + ":"))
        with pytest.raises(NetworkDownError):
            await sender.send_code(code_request(f"https://provider.test:{target.port}/"))
        assert not sender.code_sent


@in_loop
async def test_an_untrusted_https_proxy_gets_no_credentials(certificates: Certificates) -> None:
    """Its own certificate is its own fault."""
    async with serving(mute, certificates.server) as proxy:
        sender = exchange(proxy=with_credentials(proxy, "https"))
        with pytest.raises(ProxyFailedError):
            await sender.send_code(code_request("https://provider.test/"))


@in_loop
async def test_a_proxy_name_is_resolved_once_per_exchange() -> None:
    """The connection goes to the address that was checked: a second answer may differ."""
    async with serving(answering(answer(b"ok"))) as proxy:
        book = Book(proxy_test=["127.0.0.1"])
        sender = exchange(proxy=f"http://proxy.test:{proxy.port}", resolver=book)
        await sender.fetch(Request(method="GET", url="http://provider.test/"))
        book.addresses["proxy.test"] = ["169.254.169.254"]
        await sender.send_code(code_request("http://provider.test/"))
        assert book.asked == ["proxy.test"]


# Every error of the libraries ----------------------------------------------------------

CANARY = f"{CODE} http://u:{PASSWORD}@proxy"


def library_errors() -> list[Exception]:
    """Make one of every exception the libraries define, each quoting what it should not."""
    made: list[Exception] = [
        OSError(5, "input/output"),
        ConnectionResetError(104, "reset"),
        ConnectionResetError(CANARY),
        ConnectionAbortedError(CANARY),
        socket.gaierror(-2, "unknown"),
        ssl.SSLError(1, "handshake"),
        ssl.SSLCertVerificationError(1, "certificate"),
        TimeoutError(),
        TimeoutError(CANARY),
        ValueError(CANARY),
        UnicodeEncodeError("ascii", CANARY, 0, 1, CANARY),
        UnicodeDecodeError("ascii", CANARY.encode(), 0, 1, CANARY),
        zlib.error(CANARY),
    ]
    for module in (httptools, httptools.parser, httptools.parser.errors, dialling, ssl, socket):
        for name, kind in inspect.getmembers(module, inspect.isclass):
            ours = not kind.__module__.startswith(
                ("builtins", "checkpoint_worker.providers.contract")
            )
            public = ours and not name.startswith("_")
            if issubclass(kind, Exception) and public and kind not in {type(e) for e in made}:
                made.append(instance(kind))
    return made


def instance(kind: type[Exception]) -> Exception:
    """Make one that quotes whatever it can; what stands behind a proxy's error does as well."""
    error = kind(CANARY)
    if kind is dialling.BehindProxyError:
        error.__cause__ = ConnectionResetError(CANARY)
    return error


@pytest.mark.parametrize("error", library_errors(), ids=lambda error: type(error).__name__)
def test_every_library_error_becomes_a_failure_in_our_words(error: Exception) -> None:
    """`str(exc)` of a library in a record is how a proxy password gets out."""
    assert isinstance(error, transport._LIBRARY_ERRORS)
    for deployment in transport._Stage:
        for is_proxied in (False, True):
            failure = transport._failure_of(
                error, deployment, is_proxied=is_proxied, code_sent=True
            )
            failure.__cause__ = transport._cause(error)
            assert isinstance(failure, ProviderFailure)
            assert failure.detail
            assert "CANARY" not in told(failure)
            assert str(error) == "" or str(error) not in failure.detail


def test_the_walk_finds_the_libraries_errors() -> None:
    """A release that moves them must not leave the walk with nothing to look at."""
    kinds = {type(error) for error in library_errors()}
    assert {
        httptools.HttpParserError,
        httptools.HttpParserCallbackError,
        httptools.HttpParserInvalidStatusError,
        httptools.HttpParserUpgrade,
        dialling.BehindProxyError,
        ssl.SSLEOFError,
    } <= kinds


@in_loop
async def test_a_claim_ticket_and_a_request_hide_the_code() -> None:
    """Representations end up in logs."""
    ticket = await granting()()
    assert CODE not in repr(ticket)
    assert "CANARY" not in repr(Reply(status=200, headers={"a": CODE}, body=CODE.encode()))


@in_loop
async def test_exchanges_share_nothing_and_run_side_by_side() -> None:
    """A hundred at once, each with its own code and its own answer."""

    async def echo(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer(peer.body))

    async with serving(echo) as server:

        async def one(number: int) -> None:
            sender = exchange(claim=granting(f"code-{number}"))
            reply = await sender.send_code(code_request(server.url + "/"))
            assert reply.body == f"pin=code-{number}".encode()

        await asyncio.gather(*(one(number) for number in range(100)))
        assert len(server.peers) == 100


@in_loop
async def test_a_silent_provider_is_bounded_by_the_caller_alone() -> None:
    """There is no limit in here that would turn waiting into a retry."""
    async with serving(silent) as server:
        sending = asyncio.create_task(exchange().send_code(code_request(server.url + "/")))
        peer = await arrived(server)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sending, 0.2)
        await asyncio.wait_for(peer.ended.wait(), WAIT_S)


@pytest.mark.parametrize("said", [answer(b"ok"), b"CANARY\r\n\r\n", BAD_ANSWERS["cut body"], b""])
@in_loop
async def test_nothing_of_an_exchange_waits_for_the_collector(said: bytes) -> None:
    """The worker collects seldom: what a circle held would be headers and a code, thousandfold."""
    kinds = (ResponseParser, PendingRequest, HttpExchange, Connection)
    async with serving(answering(said)) as server:
        gc.collect()
        before = [each for each in gc.get_objects() if isinstance(each, kinds)]  # Other tests'.
        gc.disable()
        try:
            for _ in range(3):
                with contextlib.suppress(ProviderFailure):
                    await exchange().send_code(code_request(server.url + "/"))
            await asyncio.sleep(0.05)  # The loop lets go of a cut connection a little later.
            left = [each for each in gc.get_objects() if isinstance(each, kinds)]
        finally:
            gc.enable()
        assert [each for each in left if each not in before] == []
