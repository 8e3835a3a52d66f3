"""One suite for every adapter and route: whatever happens, it ends in the catalogue's pair.

Every case travels over the real transport to a server on the loopback: the sandbox's simulator
behind a tap, canned answers, or peers that misbehave. Each is judged by the same rules: the
pair that `conformance_cases` names, `code_sent` as it really was, one request with the code and no
more, and nothing secret in what an operator could see.

The live session's route is no HTTP and has its own tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
import struct
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from checkpoint_worker import providers
from checkpoint_worker.providers.contract import (
    Challenge,
    Checkpoint,
    ClaimTicket,
    Cleared,
    NextCheckpoint,
    ProviderFailure,
    Rejected,
    Verdict,
)
from checkpoint_worker.providers.http import connect as dialling
from checkpoint_worker.providers.http import exchange as transport
from checkpoint_worker.providers.http.connection import Connection
from checkpoint_worker.providers.http.exchange import HttpExchange
from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.tasks.catalogue import PAIRS, Success
from tests.support.canned_server import answer
from tests.support.conformance_cases import (
    ACTION,
    ADAPTER_ROUTES,
    AWAY,
    BROKEN,
    CASES,
    FURTHER,
    PASSED,
    REFUSED,
    AdapterRoute,
)
from tests.support.hostile import (
    Handler,
    Peer,
    ProxyLog,
    answering,
    http_proxy,
    mute,
    serving,
    silent,
    socks_proxy,
)
from tests.support.hostile import answer as say

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account
    from checkpoint_worker.providers.sandbox.simulator import Login

ATTEMPT_TIMEOUT_S = 20.0  # A net; no test comes near it.
HANDSHAKE_S = 0.2  # For peers that never finish one: only time tells.
PROXY_PASSWORD = "CANARY-proxy-password"
SECRET_CHARS_MIN = 8
"""Shorter strings of a context are words like ``SMS``, no secrets."""
PUBLIC = frozenset(
    {"route", "subtask_id", "action", "form_id", "step_name", "user_agent", "user_id"}
)
"""Keys of a context whose values anybody may read, and error texts may contain."""

TIMED_OUT = "408 request_timeout"
TOO_LARGE = "400 content_too_large"
DOWN = "503 network_down"
PROXY_AUTH, PROXY_BAD = "407 proxy_auth_error", "502 proxy_error"


# What happens on the wire --------------------------------------------------------------


async def reset_at_once(peer: Peer) -> None:
    """Hang up with a reset, nothing read."""
    _reset(peer)


async def reset_after_request(peer: Peer) -> None:
    """Read the request, then hang up with a reset."""
    await peer.request()
    _reset(peer)


async def close_after_request(peer: Peer) -> None:
    """Read the request, then close without a word."""
    await peer.request()


async def plain_speaking(peer: Peer) -> None:
    """Answer in plain HTTP to whatever comes, TLS included."""
    await peer.reader.read(1)
    await peer.say(say(status="400 Bad Request"))
    await peer.end()


def _reset(peer: Peer) -> None:
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.writer.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What lies between the adapter and its provider, and what comes of it.

    Attributes:
        expected: The pair, unless the tested route differs.
        provider: How the provider behaves; ``None``: nobody listens there.
        sent: Whether the code leaves.
        tls: Whether the provider's address is ``https``.
        name: Host name to use for the provider; it does not resolve.
        proxy: How the proxy behaves; ``None`` with a scheme: nobody listens there.
        proxy_scheme: The scheme of a proxy, if there is one.
        patient: Whether the caller waits; else its time is up when the request has arrived.
        claims_late: Whether the claim waits until the peer has hung up.
    """

    expected: str
    provider: Handler | None = mute
    sent: bool = True
    tls: bool = False
    name: str = ""
    proxy: Handler | None = None
    proxy_scheme: str = ""
    patient: bool = True
    claims_late: bool = False


def status(number: int, expected: str, body: str = "", *headers: str) -> Line:
    """Answer with a status."""
    return Line(expected=expected, provider=answering(answer(number, body, *headers)))


def body(content: bytes, kind: str, expected: str = BROKEN) -> Line:
    """Answer 200 with a body."""
    said = answer(200, content, f"Content-Type: {kind}")
    return Line(expected=expected, provider=answering(said))


def unsent(expected: str, **more: Any) -> Line:
    """Lay a line on which no code leaves."""
    return Line(expected=expected, sent=False, **more)


CONNECT_REFUSED = say(status="502 Bad Gateway")
AUTH_REQUIRED = say(status="407 No", headers="Proxy-Authenticate: Basic\r\n")
PAGE = b"<!DOCTYPE html><html><body><h1>Hello</h1></body></html>"

LINES: Mapping[str, Line] = {
    "408": status(408, TIMED_OUT),
    "413": status(413, TOO_LARGE),
    "429": status(429, BROKEN, "", "Retry-After: 60"),
    "500": status(500, BROKEN),
    "502": status(502, BROKEN),
    "502 maintenance": status(502, AWAY, "<h1>Down for maintenance</h1>"),
    "503": status(503, AWAY),
    "504": status(504, TIMED_OUT),
    "hang": Line(expected=TIMED_OUT, provider=silent, patient=False),
    "reset before": unsent(DOWN, provider=reset_at_once, claims_late=True),
    "reset after": Line(expected=TIMED_OUT, provider=reset_after_request),
    "closed after": Line(expected=TIMED_OUT, provider=close_after_request),
    "truncated": Line(
        expected=BROKEN,
        provider=answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<html>"),
    ),
    "oversized": body(b"x" * (transport.Limits().body_bytes + 1), "text/html"),
    "garbage": Line(expected=BROKEN, provider=answering(bytes(range(256)) * 4 + b"\r\n\r\n")),
    "empty": body(b"", "text/html"),
    "invalid JSON": body(b'{"a": ', "application/json"),
    "deep JSON": body(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "application/json"),
    "other JSON": body(b'{"a": 1}', "application/json"),
    "HTML": body(PAGE, "text/html"),
    "302 elsewhere": status(302, BROKEN, "", "Location: {elsewhere}/feed/"),
    "307": status(307, BROKEN, "", "Location: /again"),
    "307 elsewhere": status(307, BROKEN, "", "Location: {elsewhere}/feed/"),
    "refused": unsent(DOWN, provider=None),
    "no such name": unsent(DOWN, name="nowhere.test"),
    "no TLS": unsent(DOWN, provider=plain_speaking, tls=True),
    "connecting hangs": unsent(TIMED_OUT, provider=mute, tls=True),
    "proxy 407 to CONNECT": unsent(
        PROXY_AUTH, tls=True, proxy=http_proxy(ProxyLog(), AUTH_REQUIRED), proxy_scheme="http"
    ),
    "proxy 407 to the request": Line(
        expected=PROXY_AUTH, proxy=answering(AUTH_REQUIRED), proxy_scheme="http"
    ),
    "proxy refused": unsent(PROXY_BAD, proxy_scheme="http"),
    "SOCKS proxy refused": unsent(PROXY_BAD, proxy_scheme="socks5h"),
    "proxy 502": unsent(
        PROXY_BAD, tls=True, proxy=http_proxy(ProxyLog(), CONNECT_REFUSED), proxy_scheme="http"
    ),
    "proxy garbage": unsent(
        PROXY_BAD,
        tls=True,
        proxy=http_proxy(ProxyLog(), bytes(range(128, 256)) + b"\r\n\r\n"),
        proxy_scheme="http",
    ),
    "proxy hangs up": unsent(PROXY_BAD, tls=True, proxy=reset_at_once, proxy_scheme="http"),
    "SOCKS credentials": unsent(
        PROXY_AUTH, proxy=socks_proxy(ProxyLog(), auth=("other", "other")), proxy_scheme="socks5h"
    ),
    "SOCKS refusal": unsent(
        PROXY_BAD, proxy=socks_proxy(ProxyLog(), reply=5), proxy_scheme="socks5h"
    ),
}


# One attempt ---------------------------------------------------------------------------


@dataclass(slots=True)
class Ended:
    """How an attempt ended, and what everybody heard of it."""

    code: str
    secrets: frozenset[str]
    pair: str = ""
    code_sent: bool = False
    heard: list[bytearray] = field(default_factory=list)
    """What each connection of any server brought, byte for byte."""
    seen: list[str] = field(default_factory=list)
    """What an operator could see: exceptions from all sides, and the verdict."""

    @property
    def sends(self) -> int:
        """How many requests carried the code."""
        return sum(self.code.encode() in said for said in self.heard)

    @property
    def copies(self) -> int:
        """How often the code was received, in all."""
        return sum(said.count(self.code.encode()) for said in self.heard)


class Unresolving:
    """Knows no name."""

    async def resolve(self, host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown name")


def listening(ended: Ended, then: Handler) -> Handler:
    """Keep every byte that a connection brings; behave as told."""

    async def handler(peer: Peer) -> None:
        said = bytearray()
        ended.heard.append(said)
        feed = peer.reader.feed_data

        def keep(data: bytes) -> None:
            said.extend(data)
            feed(data)

        peer.reader.feed_data = keep  # type: ignore[method-assign, assignment]
        await then(peer)

    return handler


def tapping(url: str) -> Handler:
    """Carry bytes to a server and back."""
    port = int(url.rpartition(":")[2])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def handler(peer: Peer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))
        finally:
            writer.transport.abort()

    return handler


def begin(tested: AdapterRoute, sandbox: Sandbox, fault: str = "") -> tuple[Account, Login]:
    """Do the first step of a login that takes the tested route."""
    # Kinds that choose the route are the account's; what it says then is a fault.
    account = sandbox.add_account(tested.provider, source=tested.source, kind=tested.kind)  # type: ignore[arg-type]
    if fault not in {"", tested.kind}:
        sandbox.set_faults(account, kind=fault)
    login = sandbox.begin_login(account)
    assert login.context["route"] in tested.routes
    return account, login


def right_code(account: Account, login: Login, sandbox: Sandbox) -> str:
    """Return a code that stands nowhere in the context, so that it can be counted."""
    while account.current_code() in json.dumps(login.context):
        account.deliver()
    return account.current_code()


def secrets_of(value: object, key: str = "") -> Iterator[str]:
    """Yield every text of a context that may be a secret."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from secrets_of(each, str(name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from secrets_of(each, key)
    elif isinstance(value, str) and len(value) >= SECRET_CHARS_MIN and key not in PUBLIC:
        yield value


async def attempt(
    tested: AdapterRoute, login: Login, ended: Ended, url: str, **options: Any
) -> None:
    """Verify one code over the real transport, as the worker would, and note how it ended.

    Options are the exchange's, and two of our own: ``cut`` says whether the peer has hung up,
    which the claim waits for; ``given_up`` ends the caller's time.
    """
    adapter = providers.adapters()[tested.provider]
    context = adapter.contexts[str(login.context["route"])].model_validate(login.context)
    cut: Callable[[], bool] = options.pop("cut", lambda: True)
    given_up: asyncio.Event = options.pop("given_up", asyncio.Event())

    async def claim() -> ClaimTicket:
        while not cut():  # noqa: ASYNC110  the library tells nobody
            await asyncio.sleep(0.005)
        return ClaimTicket(code=ended.code, send_before=time.monotonic() + ATTEMPT_TIMEOUT_S)

    exchange = HttpExchange(
        claim=claim,
        **{"connect_timeout_s": ATTEMPT_TIMEOUT_S, "allow_private_proxies": True, **options},
    )
    challenge = Challenge(checkpoint=Checkpoint(**login.checkpoint), context=context, base_url=url)
    try:
        async with asyncio.timeout(ATTEMPT_TIMEOUT_S) as limit:
            watching = asyncio.create_task(_give_up(given_up, limit))
            try:
                verdict = await adapter.verify(challenge, exchange)
            finally:
                watching.cancel()
        ended.pair = _pair(verdict)
        ended.seen += [repr(verdict), str(verdict)]
    except ProviderFailure as failure:
        ended.pair = f"{failure.status} {failure.type}"
        ended.seen += told(failure)
    except TimeoutError as error:  # As the worker maps it.
        assert given_up.is_set(), "only a caller that gave up"
        ended.pair = TIMED_OUT
        ended.seen += told(error)
    ended.code_sent = exchange.code_sent
    ended.seen += [repr(exchange), repr(challenge)]


async def _give_up(given_up: asyncio.Event, limit: asyncio.Timeout) -> None:
    await given_up.wait()
    limit.reschedule(asyncio.get_running_loop().time())


def _pair(verdict: Verdict) -> str:
    match verdict:
        case Cleared():
            return PASSED
        case Rejected():
            return REFUSED
        case NextCheckpoint():
            return FURTHER


def told(error: BaseException) -> list[str]:
    """Return everything a log or an error tracker could show of an exception.

    Suppressed causes count: ``from None`` hides them from a traceback, not from a tracker.
    """
    seen: list[str] = []
    waiting: list[BaseException | None] = [error]
    known: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in known:
            continue
        known.add(id(each))
        seen += [str(each), repr(each), *map(str, each.args)]
        seen += traceback.format_exception(each, chain=False)
        waiting += [each.__cause__, each.__context__]
    return seen


def check(
    ended: Ended, tested: AdapterRoute, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Judge an attempt by the rules of all of them."""
    assert ended.pair == expected
    status_, _, type_ = ended.pair.partition(" ")
    successes = {(success.status, success.object) for success in Success}
    assert (int(status_), type_) in PAIRS.keys() | successes
    assert ended.sends == ended.code_sent, "code_sent is what really happened"
    assert ended.copies == ended.code_sent * tested.copies, "one request carries the code"
    assert tested.sends or not ended.heard, "a route that never sends does not even connect"
    visible = "\n".join([*ended.seen, caplog.text, *map(repr, caplog.records)])
    shown = [secret for secret in (ended.code, *ended.secrets) if secret in visible]
    assert not shown, "something secret can be seen"


# The suite -----------------------------------------------------------------------------


def found_routes() -> set[tuple[str, frozenset[str]]]:
    """Return every adapter's routes; names of one context model are one route."""
    routes: dict[tuple[str, type], set[str]] = {}
    for provider, adapter in providers.adapters().items():
        for route, model in adapter.contexts.items():
            routes.setdefault((provider, model), set()).add(route)
    return {(provider, frozenset(names)) for (provider, _), names in routes.items()}


def test_every_adapter_and_route_has_a_bench() -> None:
    """A fifth adapter, or a new route, is tested here or the suite says so."""
    laid = [(tested.provider, tested.routes) for tested in ADAPTER_ROUTES]
    assert set(laid) == found_routes()
    assert len(laid) == len(set(laid))


@pytest.mark.parametrize("tested", ADAPTER_ROUTES, ids=str)
def test_every_route_answers_every_case(tested: AdapterRoute) -> None:
    """A case left out is one nobody has thought about; what differs must be a case, too."""
    assert set(CASES) <= tested.said.keys()
    assert tested.differs.keys() <= LINES.keys()


SAYINGS = [(tested, case) for tested in ADAPTER_ROUTES for case in tested.said]


@pytest.mark.parametrize(("tested", "case"), SAYINGS, ids=str)
async def test_what_the_provider_says_has_its_pair(
    tested: AdapterRoute, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each known answer has its pair at the sandbox, over every route."""
    said, expected = tested.said[case]

    async def scenario() -> Ended:
        async with Sandbox() as sandbox, AsyncExitStack() as stack:
            account, login = begin(tested, sandbox, said if isinstance(said, str) else "")
            code = right_code(account, login, sandbox)
            there = sandbox.urls[tested.provider]
            if case.startswith("wrong"):
                code = next(
                    wrong
                    for wrong in iter(account.wrong_code, "")
                    if wrong not in json.dumps(login.context)
                )
            elif case == "expired":
                account.expire_codes()
            elif case == "used":
                first = Ended(code, frozenset())
                await attempt(tested, login, first, there)
                assert first.pair == tested.said["success"][1]
                login = sandbox.begin_login(account)
                assert code not in json.dumps(login.context)
            ended = Ended(code, frozenset(secrets_of(login.context)))
            then = tapping(there) if isinstance(said, str) else answering(said)
            server = await stack.enter_async_context(serving(listening(ended, then)))
            await attempt(tested, login, ended, server.url)
            return ended

    with caplog.at_level(logging.DEBUG):
        ended = await scenario()
    assert ended.code_sent == tested.sends
    check(ended, tested, expected, caplog)


@pytest.mark.parametrize(
    ("tested", "case"), list(itertools.product(ADAPTER_ROUTES, LINES)), ids=str
)
async def test_what_happens_on_the_way_has_its_pair(
    tested: AdapterRoute,
    case: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broken line or peer means the same at every provider, and never a second send."""
    line = LINES[case]
    lines: list[Connection] = []

    class Watched(Connection):
        def __init__(self) -> None:
            super().__init__()
            lines.append(self)

    def is_cut() -> bool:
        return not lines[-1].is_alive

    if line.claims_late:
        monkeypatch.setattr(dialling, "Connection", Watched)

    async def scenario() -> tuple[Ended, Ended]:
        account, login = begin(tested, sandbox := Sandbox())
        code = right_code(account, login, sandbox)
        ended = Ended(code, frozenset({*secrets_of(login.context), PROXY_PASSWORD}))
        strayed = Ended(code, frozenset())
        options: dict[str, Any] = {"cut": is_cut} if line.claims_late else {}
        async with AsyncExitStack() as stack:

            async def serve(then: Handler | None, into: Ended = ended) -> int:
                if then is None:
                    return 1  # No other test can take it.
                return (await stack.enter_async_context(serving(listening(into, then)))).port

            elsewhere = await serve(mute, strayed)
            given_up = options["given_up"] = asyncio.Event()
            port = await serve(_placed(line, elsewhere, given_up))
            scheme = "https" if line.tls else "http"
            if line.name:
                options["resolver"] = Unresolving()
            if line.provider is mute and line.tls and not line.proxy_scheme:
                options["connect_timeout_s"] = HANDSHAKE_S
            if line.proxy_scheme:
                at = f"user:{PROXY_PASSWORD}@127.0.0.1:{await serve(line.proxy)}"
                options["proxy"] = f"{line.proxy_scheme}://{at}"
            url = f"{scheme}://{line.name or '127.0.0.1'}:{port}"
            await attempt(tested, login, ended, url, **options)
        return ended, strayed

    with caplog.at_level(logging.DEBUG):
        ended, strayed = await scenario()
    assert ended.code_sent == (line.sent and tested.sends)
    assert strayed.heard == [], "a redirect was followed"
    expected = tested.differs.get(case, line.expected) if tested.sends else ACTION
    check(ended, tested, expected, caplog)


def _placed(line: Line, elsewhere: int, given_up: asyncio.Event) -> Handler | None:
    """Return the provider's behaviour with addresses filled in, for this run."""
    then = line.provider
    if then is None:
        return None

    async def handler(peer: Peer) -> None:
        say_ = peer.say

        async def placed(data: bytes) -> None:
            await say_(data.replace(b"{elsewhere}", b"http://localhost:%d" % elsewhere))

        peer.say = placed  # type: ignore[method-assign]
        if not line.patient:
            request = peer.request

            async def noticed() -> bytes:
                arrived = await request()
                given_up.set()
                return arrived

            peer.request = noticed  # type: ignore[method-assign]
        await then(peer)

    return handler
