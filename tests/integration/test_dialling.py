"""The way to a connection: several addresses, and what proxies may say."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest

from checkpoint_worker.providers.contract import (
    ClaimTicket,
    NetworkDownError,
    ProviderTimeoutError,
    ProxyAuthError,
    ProxyFailedError,
    Request,
)
from checkpoint_worker.providers.http import connect as dialling
from checkpoint_worker.providers.http.connection import Connection
from tests.integration.test_transport import Book, code_request
from tests.support.exchanges import exchange, granting, in_loop
from tests.support.hostile import WAIT_S, Peer, answer, answering, mute, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.hostile import Handler

# Several addresses ---------------------------------------------------------------------


class Ways:
    """Stands in for connecting to one address: each has its own way to fail."""

    def __init__(self, real: Callable[[str, int], Awaitable[Connection]], **ways: str) -> None:
        self.real = real
        self.ways = ways
        self.tried: list[str] = []
        self.given_up: list[str] = []
        self.lines: list[Connection] = []

    async def __call__(self, address: str, port: int) -> Connection:
        self.tried.append(address)
        way = self.ways.get(address, "stands")
        if way == "refuses":
            raise ConnectionRefusedError(111, address)
        if way == "hangs":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up.append(address)
                raise
        line = await self.real("127.0.0.1", port)
        self.lines.append(line)
        return line


def ways(monkeypatch: pytest.MonkeyPatch, said: dict[str, str]) -> Ways:
    """Put the stand-in where `dialling` connects."""
    monkeypatch.setattr(dialling, "HEAD_START_S", 0.02)
    real = getattr(dialling._open_one, "real", dialling._open_one)
    there = Ways(real, **said)
    monkeypatch.setattr(dialling, "_open_one", there)
    return there


@pytest.mark.parametrize(
    ("said", "tried"),
    [
        ({}, ["a"]),
        ({"a": "refuses"}, ["a", ":b"]),
        ({"a": "hangs"}, ["a", ":b"]),
        ({"a": "hangs", ":b": "refuses"}, ["a", ":b", "c"]),
    ],
)
@in_loop
async def test_the_first_address_that_answers_is_taken(
    said: dict[str, str], tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dead address, or a family without a route, costs its head start and not the login."""
    there = ways(monkeypatch, said)
    book = Book(provider_test=["a", "c", ":b"])
    async with serving(answering(answer(b"ok"))) as server:
        url = f"http://provider.test:{server.port}/"
        reply = await exchange(resolver=book).send_code(code_request(url))
        assert reply.body == b"ok"
        assert there.tried == tried
        assert len(server.peers) == 1
        await asyncio.sleep(0)
        assert there.given_up == [name for name in tried if said.get(name) == "hangs"]


@in_loop
async def test_when_no_address_answers_the_first_one_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The resolver's best is the one that was meant."""
    there = ways(monkeypatch, {"a": "refuses", "c": "refuses"})
    sender = exchange(resolver=Book(provider_test=["a", "c"]))
    with pytest.raises(NetworkDownError) as caught:
        await sender.send_code(code_request("http://provider.test/"))
    assert there.tried == ["a", "c"]
    assert "a" in str(caught.value.__cause__)


@in_loop
async def test_who_gives_up_leaves_no_attempt_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A superseded exchange lets go of every address at once."""
    there = ways(monkeypatch, {"a": "hangs", "c": "hangs"})
    sender = exchange(resolver=Book(provider_test=["a", "c"]))
    sending = asyncio.create_task(sender.send_code(code_request("http://provider.test/")))
    async with asyncio.timeout(WAIT_S):
        while there.tried != ["a", "c"]:  # noqa: ASYNC110  the stand-in's word
            await asyncio.sleep(0.001)
    sending.cancel()
    await asyncio.wait([sending])
    assert sending.cancelled()
    assert there.given_up == ["a", "c"]


@in_loop
async def test_who_comes_second_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stand at once: one connection stays."""
    there = ways(monkeypatch, {})
    async with serving(mute) as server:
        both = [asyncio.create_task(there("a", server.port)) for _ in range(2)]
        await asyncio.wait(both)
        for task in both[1:]:
            dialling._drop(task)
        first, second = (task.result() for task in both)
        assert first.is_alive
        assert not second.is_alive
        first.cut()


@in_loop
async def test_a_name_without_addresses_is_unknown() -> None:
    """An empty answer is an answer; a list without end is read up to its bound."""
    with pytest.raises(NetworkDownError):
        await exchange(resolver=Book(provider_test=[])).fetch(
            Request(method="GET", url="http://provider.test/")
        )
    many = Book(provider_test=[f"10.0.0.{number}" for number in range(200)])
    found = await dialling.look_up("provider.test", 80, many)
    assert len(found) == dialling.ADDRESSES_MAX


@pytest.mark.parametrize("proxy", [None, "socks5://127.0.0.1:1", "http://proxy.test"])
@in_loop
async def test_a_look_up_that_hangs_has_the_limits_of_connecting(proxy: str | None) -> None:
    """Names are part of connecting: our limit, and the caller's at once."""

    class Hangs:
        async def resolve(self, host: str, port: int) -> list[str]:
            return await asyncio.Future()

    url = "http://provider.test/"
    limited = exchange(resolver=Hangs(), proxy=proxy, connect_timeout_s=0.05)
    with pytest.raises(ProxyFailedError if proxy else ProviderTimeoutError):
        await limited.send_code(code_request(url))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await exchange(resolver=Hangs(), proxy=proxy).send_code(code_request(url))
    assert not limited.code_sent


@in_loop
async def test_a_proxy_s_second_address_was_checked_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing but the addresses that were checked is ever connected to, the name not again."""
    there = ways(monkeypatch, {"127.0.0.2": "refuses"})
    book = Book(proxy_test=["127.0.0.2", "127.0.0.1"])
    async with serving(answering(answer(b"ok"))) as proxy:
        sender = exchange(proxy=f"http://proxy.test:{proxy.port}", resolver=book)
        reply = await sender.send_code(code_request("http://provider.test/"))
        assert reply.body == b"ok"
        assert there.tried == ["127.0.0.2", "127.0.0.1"]
        assert book.asked == ["proxy.test"]


@in_loop
async def test_a_line_that_is_gone_is_not_secured_or_spoken_to() -> None:
    """Writing into a dead connection would count as sent."""
    line = Connection()
    with pytest.raises(ConnectionResetError):
        line.check_alive()
    async with serving(answering(answer())) as server:
        line = await dialling._open_one("127.0.0.1", server.port)
        line.cut()
        await asyncio.sleep(0.01)
        assert line.transport is None, "nothing keeps the closed transport"
        line.cut()


# What a SOCKS proxy may say ------------------------------------------------------------

GREETED = b"\x05\x00"
BOUND = b"\x00\x00\x00\x00\x00\x00"


def saying(*answers: bytes, apart: bool = False) -> Handler:
    """Answer each message of a SOCKS client with the next of these."""

    async def handler(peer: Peer) -> None:
        for said in answers:
            await peer.reader.read(1024)
            for piece in (said[at : at + 1] for at in range(len(said))) if apart else (said,):
                await peer.say(piece)
                await asyncio.sleep(0.001)
        await peer.request()
        await peer.say(answer(b"through"))
        await peer.end()

    return handler


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "bound", [b"\x01" + BOUND, b"\x04" + bytes(18), b"\x03\x04host\x00\x50", b"\x03\x00\x00\x00"]
)
@in_loop
async def test_a_socks_proxy_may_connect_from_anywhere(bound: bytes, apart: bool) -> None:
    """Its own address may have any form, and the network may cut it anywhere."""
    async with serving(saying(GREETED, b"\x05\x00\x00" + bound, apart=apart)) as proxy:
        sender = exchange(proxy=f"socks5h://127.0.0.1:{proxy.port}")
        reply = await sender.send_code(code_request("http://provider.test/"))
        assert reply.body == b"through"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((b"\x04\x00",), ProxyFailedError),
        ((b"\x05\x02",), ProxyAuthError),
        ((b"\x05\x01",), ProxyAuthError),
        ((b"\x05\xff",), ProxyAuthError),
        ((GREETED + b"x" * 1000,), ProxyFailedError),
        ((GREETED, b"\x04\x00\x00\x01" + BOUND), ProxyFailedError),
        ((GREETED, b"\x05\x01\x00\x01" + BOUND), ProxyFailedError),
        ((GREETED, b"\x05\x00\x00\x07" + BOUND), ProxyFailedError),
        ((GREETED, b"\x05\x00\x00\x01" + BOUND + b"HTTP/1.1 200 OK\r\n"), ProxyFailedError),
        ((GREETED, b"\x05\x00\x00\x03\xff" + b"x" * 300), ProxyFailedError),
    ],
)
@in_loop
async def test_a_socks_proxy_that_says_anything_else_is_not_used(
    answers: tuple[bytes, ...], error: type[Exception]
) -> None:
    """Nothing of what it says may end up as the provider's answer."""
    async with serving(saying(*answers)) as proxy:
        sender = exchange(proxy=f"socks5h://127.0.0.1:{proxy.port}")
        with pytest.raises(error):
            await asyncio.wait_for(sender.send_code(code_request("http://provider.test/")), WAIT_S)
        assert not sender.code_sent


@in_loop
async def test_who_speaks_through_a_proxy_before_being_asked_gets_no_code() -> None:
    """The proxy has had its say: what comes during the claim is neither swallowed nor kept."""
    claiming = asyncio.Event()

    async def handler(peer: Peer) -> None:
        for said in (GREETED, b"\x05\x00\x00\x01" + BOUND):
            await peer.reader.read(1024)
            await peer.say(said)
        await claiming.wait()
        await peer.say(answer(b"signed in"))
        await peer.end()

    async with serving(handler) as proxy:

        async def claim() -> ClaimTicket:
            claiming.set()
            await asyncio.wait_for(proxy.peers[0].ended.wait(), WAIT_S)
            return await granting()()

        sender = exchange(claim=claim, proxy=f"socks5h://127.0.0.1:{proxy.port}")
        with pytest.raises(ProxyFailedError):
            await sender.send_code(code_request("http://provider.test/"))
        assert not sender.code_sent


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((b"\x05\x02", b"\x01\x01"), ProxyAuthError),
        ((b"\x05\x02", b"\x05\x00"), ProxyFailedError),
        ((b"\x05\x02", b"\x01"), ProxyFailedError),
    ],
)
@in_loop
async def test_a_socks_proxy_answers_credentials(
    answers: tuple[bytes, ...], error: type[Exception]
) -> None:
    """Refused ones are an operator's matter; what is no answer is the proxy's."""

    async def handler(peer: Peer) -> None:
        for said in answers:
            await peer.reader.read(1024)
            await peer.say(said)

    async with serving(handler) as proxy:
        sender = exchange(proxy=f"socks5://u:p@127.0.0.1:{proxy.port}")
        with pytest.raises(error):
            await sender.send_code(code_request("http://127.0.0.1/"))
        assert not sender.code_sent


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("provider.test", b"\x03\x0dprovider.test"),
        ("127.0.0.1", b"\x01\x7f\x00\x00\x01"),
        ("[::1]", b"\x04" + bytes(15) + b"\x01"),
    ],
)
@in_loop
async def test_a_socks_proxy_is_told_names_and_addresses(host: str, place: bytes) -> None:
    """In the form of RFC 1928, with the port behind."""
    heard: list[bytes] = []

    async def handler(peer: Peer) -> None:
        for said in (GREETED, b"\x05\x05\x00\x01"):
            heard.append(await peer.reader.read(1024))
            await peer.say(said)

    async with serving(handler) as proxy:
        with pytest.raises(ProxyFailedError):
            await exchange(proxy=f"socks5h://127.0.0.1:{proxy.port}").fetch(
                Request(method="GET", url=f"http://{host}:8080/")
            )
        assert heard == [b"\x05\x01\x00", b"\x05\x01\x00" + place + struct.pack(">H", 8080)]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@in_loop
async def test_a_name_too_long_for_a_proxy_reaches_nobody(scheme: str) -> None:
    """DNS has 253 characters and SOCKS 255."""
    name = ".".join(["a" * 60] * 5)
    async with serving(mute) as proxy:
        sender = exchange(proxy=f"{scheme}://127.0.0.1:{proxy.port}", resolver=Book())
        with pytest.raises((ProxyFailedError, NetworkDownError)):
            await sender.send_code(code_request(f"http://{name}/"))
        assert not sender.code_sent


@in_loop
async def test_a_tunnel_is_asked_for_in_two_lines() -> None:
    """Host and port, in brackets where the address has colons; nothing about who we are."""
    heads: list[bytes] = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        heads.append(peer.head)

    async with serving(handler) as proxy:
        for host in ("provider.test", "[2606:4700::1]:8443"):
            with pytest.raises(ProxyFailedError):
                await exchange(proxy=proxy.url).fetch(Request(method="GET", url=f"https://{host}/"))
    assert heads == [
        b"CONNECT provider.test:443 HTTP/1.1\r\nHost: provider.test:443\r\n\r\n",
        b"CONNECT [2606:4700::1]:8443 HTTP/1.1\r\nHost: [2606:4700::1]:8443\r\n\r\n",
    ]


@in_loop
async def test_a_refused_forwarded_request_is_not_read_to_its_end() -> None:
    """407 says it all; its page may never come."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 407 No\r\nContent-Length: 100\r\n\r\n")
        await peer.end()

    async with serving(handler) as proxy:
        sender = exchange(proxy=proxy.url)
        with pytest.raises(ProxyAuthError):
            await asyncio.wait_for(sender.send_code(code_request("http://provider.test/")), WAIT_S)


@in_loop
async def test_a_refused_connection_is_told_with_its_cause() -> None:
    """The system's own words and an address help to mend it; nothing else is chained."""
    with pytest.raises(NetworkDownError) as caught:
        await exchange().fetch(Request(method="GET", url="http://127.0.0.1:1/"))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


TUNNELS = {
    "usual": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n",
    "without CR": b"HTTP/1.0 200 Connection established\n\n",
    "without a reason": b"HTTP/1.1 200\r\n\r\n",
    "after a hint": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "after an empty line": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("name", TUNNELS)
@in_loop
async def test_a_tunnel_stands_after_any_head_that_says_so(name: str) -> None:
    """Old proxies leave out CR, others begin with a hint; whatever pieces it comes in."""
    first: list[bytes] = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        for byte in TUNNELS[name]:
            await peer.say(bytes([byte]))
            await asyncio.sleep(0)
        first.append(await peer.reader.read(1))
        peer.writer.transport.abort()  # Seen is enough: nobody waits for the rest of a handshake.

    async with serving(handler) as proxy:
        with pytest.raises(ProxyFailedError):
            await exchange(proxy=proxy.url).fetch(
                Request(method="GET", url="https://provider.test/")
            )
    assert first == [b"\x16"], "a TLS handshake"


@in_loop
async def test_no_more_addresses_of_a_proxy_s_name_are_tried_than_of_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An intent names the proxy: its name must not make a worker connect to thousands of ports."""
    tried: list[str] = []

    async def refused(address: str, _port: int) -> Connection:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(dialling, "_open_one", refused)
    many = Book(proxy_test=[f"8.8.{high}.{low}" for high in range(10) for low in range(100)])
    with pytest.raises(ProxyFailedError):
        await exchange(proxy="http://proxy.test", resolver=many).fetch(
            Request(method="GET", url="https://provider.test/")
        )
    assert len(tried) == dialling.ADDRESSES_MAX
