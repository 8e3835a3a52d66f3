"""One attempt's way to the provider over HTTP: `HttpExchange`.

Every request gets a connection of its own, and nothing is shared between two exchanges but
the TLS context and the resolver. The request that carries the code connects first (name,
TCP, proxy tunnel, TLS), then claims, and only then has a body: before the claim there is no
code here that could leave.

    connecting ── connect_timeout_s ──▶ connected ── claim, body, clock ──▶ sent ──▶ answered
     `dialling`                                          `sending`              `receiving`

A library parses the answers, all else of HTTP is spoken here (D-17): so the claim is a line of
`_claim_and_build` and not a hook inside somebody's client.

What it refuses to do: follow a redirect, send anything twice, reuse a connection, read
proxies or passwords from the environment, keep cookies, believe a peer about sizes. There is
no overall time limit in here: the caller wraps a call in `asyncio.timeout`, and a cancelled
call cuts its connection at once, without a farewell to the peer.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httptools

from checkpoint_worker.providers.answers import read_json, refuse_common
from checkpoint_worker.providers.contract import (
    ClaimTicket,
    CodeRequest,
    ExchangeRefusedError,
    MalformedRequestError,
    NetworkDownError,
    ProviderFailure,
    ProviderTimeoutError,
    ProxyAuthError,
    ProxyFailedError,
    Reply,
    Request,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.http.connect import PROXY_AUTH_REQUIRED, BehindProxyError, connect
from checkpoint_worker.providers.http.connection import Connection
from checkpoint_worker.providers.http.cookies import cookie_header
from checkpoint_worker.providers.http.proxy import CheckedProxy, Resolver, check_proxy
from checkpoint_worker.providers.http.request import (
    PendingRequest,
    check_size,
    checked_headers,
    checked_method,
    checked_target,
)
from checkpoint_worker.providers.http.resolver import PROVIDER_NAMES, PROXY_NAMES
from checkpoint_worker.providers.http.response import Limits, ResponseParser

__all__ = [
    "ClaimTicket",
    "HttpExchange",
    "Limits",
    "cookie_header",
    "read_json",
    "refuse_common",
]

_LIBRARY_ERRORS = (
    httptools.HttpParserError,
    httptools.HttpParserUpgrade,
    OSError,  # Time-outs and TLS included.
    ValueError,  # Unicode errors included.
    zlib.error,
)
"""What may come out of the libraries. Anything else is a bug and crashes as one."""

_T = TypeVar("_T")


class _Stage(enum.IntEnum):
    """How far a request got; decides what an error means."""

    CONNECTING = 0
    CONNECTED = 1
    SENT = 2
    ANSWERED = 3


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """Return the context shared by all exchanges; loading the authorities takes a while."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


_LIMITS = Limits()


# The exchange --------------------------------------------------------------------------


class HttpExchange:
    """The `providers.contract.Exchange` over HTTP/1.1.

    Args:
        claim: Awaited once, when the connection of the code request stands and before its
            first byte. Whatever it raises ends the request with nothing sent and reaches the
            caller as it is.
        connect_timeout_s: Name look-up, TCP, proxy and TLS of one request, in seconds. The
            claim is not part of it.
        proxy: ``scheme://[user:password@]host[:port]``; see `providers.http.proxy`. With a
            proxy there is never a direct connection.
        tls: Context for the provider and for an ``https`` proxy; verifies by default.
        limits: Caps on what is sent and read.
        resolver: Where names are looked up; by default providers' and proxies' apart.
        allow_private_proxies: Whether a proxy may live at a private or loopback address.
    """

    def __init__(
        self,
        *,
        claim: Callable[[], Awaitable[ClaimTicket]],
        connect_timeout_s: float,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        resolver: Resolver | None = None,
        allow_private_proxies: bool = False,
    ) -> None:
        self._claim = claim
        self._connect_timeout_s = connect_timeout_s
        self._proxy_url = proxy
        self._tls = tls or _default_tls()
        self._limits = limits or _LIMITS
        self._resolver = resolver or PROVIDER_NAMES
        self._proxy_resolver = resolver or PROXY_NAMES
        self._allow_private_proxies = allow_private_proxies
        self._checked: CheckedProxy | None = None
        self._code_request_made = False
        self._code_sent = False

    @property
    def code_sent(self) -> bool:
        """Whether the code may have reached the provider."""
        return self._code_sent

    async def send_code(self, request: CodeRequest) -> Reply:
        """Connect, claim, send the code, read the answer.

        Raises:
            ProviderFailure: What went wrong on the way; `code_sent` says on which side of
                the first byte.
            ExchangeRefusedError: The claim was refused or its time had run out: not sent.
            RuntimeError: A second call, or ``body`` or ``sign`` failed: bugs, not sent.
        """
        if self._code_request_made:
            msg = "one exchange sends one code request"
            raise RuntimeError(msg)
        self._code_request_made = True
        return await self._converse(request)

    async def fetch(self, request: Request) -> Reply:
        """Send a request without the code and read its answer.

        Raises:
            ProviderFailure: What went wrong on the way.
        """
        return await self._converse(request)

    async def _converse(self, request: Request | CodeRequest) -> Reply:
        """Send one request over a connection of its own and read the whole answer."""
        draft = PendingRequest(
            method=checked_method(request.method),
            target=checked_target(request.url),
            headers=checked_headers(request.headers),
        )
        if isinstance(request, Request):
            check_size(request.body, self._limits)
        line = await self._connected(draft)
        try:
            if isinstance(request, CodeRequest):
                data = await self._claim_and_build(line, request, draft)
            else:
                data = draft.complete(request.body, {})
            return await self._answered(line, draft, data)
        finally:
            line.cut()

    async def _connected(self, draft: PendingRequest) -> Connection:
        """Return a connection of its own, made within its limit."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if self._proxy_url is not None:
                    await self._choose_proxy(self._proxy_url, draft)
                return await connect(
                    draft.target, proxy=self._checked, tls=self._tls, resolver=self._resolver
                )
        except _LIBRARY_ERRORS as caught:
            failure = self._failure_of(caught, _Stage.CONNECTING)
        try:  # Outside the handler: the library's error must not hang on as context either.
            raise failure
        finally:
            del failure  # No circle of it, its traceback and this frame.

    async def _choose_proxy(self, url: str, draft: PendingRequest) -> None:
        """Resolve and check the proxy, once for the whole exchange."""
        if self._checked is None:
            self._checked = await check_proxy(
                url, resolver=self._proxy_resolver, allow_private=self._allow_private_proxies
            )
        proxy = self._checked.proxy
        if not proxy.is_socks and not draft.target.is_secure:
            draft.is_forwarded = True
            draft.proxy_authorization = proxy.authorization  # No CONNECT to carry it.

    async def _claim_and_build(
        self, line: Connection, request: CodeRequest, draft: PendingRequest
    ) -> bytes:
        """Claim, make the body and look at the clock, in this order; return what to send.

        t=0 connected · t=1 claimed, the code is out of the ledger · t=9 the process wakes
        from a stop · its time ended at t=6 → the clock is looked at last, nothing is sent.
        """
        self._check_alive(line)  # A peer that has hung up is not worth a claim.
        ticket = await self._claim()
        body = _built(lambda: request.body(ticket.code))
        check_size(body, self._limits)
        sign = request.sign
        signed = {} if sign is None else checked_headers(_built(lambda: sign(body)))
        data = draft.complete(body, signed)
        self._check_alive(line)
        if time.monotonic() > ticket.send_before:
            msg = "the time to send had run out"
            raise ExchangeRefusedError(msg)
        self._code_sent = True
        return data

    def _check_alive(self, line: Connection) -> None:
        if not line.is_alive:
            raise self._failure_of(ConnectionResetError(), _Stage.CONNECTED)

    async def _answered(self, line: Connection, draft: PendingRequest, data: bytes) -> Reply:
        """Write the whole request at once and wait for the whole answer."""
        answer = ResponseParser(
            path=draft.target.path,
            limits=self._limits,
            ends_with_head=draft.method == "HEAD",
            refusal=PROXY_AUTH_REQUIRED if draft.is_forwarded else None,
        )
        try:
            await line.ask(data, answer)
            reply = answer.result()
        except UnreadableAnswerError as caught:
            caught.head = answer.head()
            raise
        except _LIBRARY_ERRORS as caught:
            stage = _Stage.ANSWERED if answer.is_begun else _Stage.SENT
            failure = self._failure_of(caught, stage)
            if isinstance(failure, UnreadableAnswerError):
                failure.head = answer.head()
        else:
            if draft.is_forwarded and reply.status == PROXY_AUTH_REQUIRED:
                msg = "The proxy refuses our credentials."
                raise ProxyAuthError(msg)
            return reply
        try:  # Outside the handler: the library's error must not hang on as context either.
            raise failure
        finally:
            del failure  # No circle of it, its traceback and this frame.

    def _failure_of(self, error: Exception, stage: _Stage) -> ProviderFailure:
        is_proxied = self._proxy_url is not None
        failure = _failure_of(error, stage, is_proxied=is_proxied, code_sent=self._code_sent)
        failure.__cause__ = _cause(error)
        return failure


def _built(build: Callable[[], _T]) -> _T:
    """Run a callback that has seen the code; what it raises may quote it."""
    try:
        return build()
    except (ProviderFailure, ExchangeRefusedError):
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, its text must not get out
        kind = type(error).__name__
    msg = f"building the code request failed with {kind}"
    raise RuntimeError(msg)


# What an error means -------------------------------------------------------------------


def _failure_of(
    error: Exception, stage: _Stage, *, is_proxied: bool, code_sent: bool
) -> ProviderFailure:
    """Say in the contract's words what a library's error means at this stage."""
    used = "the code may have been used" if code_sent else "the code was not sent"
    if stage is _Stage.ANSWERED:
        return UnreadableAnswerError("The provider's answer is cut short or unreadable.")
    if stage is _Stage.SENT:
        if isinstance(error, OSError):  # The connection ended before the answer began.
            return ProviderTimeoutError(f"The provider did not answer; {used}.")
        return UnreadableAnswerError("The provider's answer is not HTTP.")
    return _proxy_failure(error, used) if is_proxied else _direct_failure(error, used)


def _direct_failure(error: Exception, used: str) -> ProviderFailure:
    if isinstance(error, TimeoutError):
        return ProviderTimeoutError(f"The provider could not be reached in time; {used}.")
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        # A name that no name can be. A certificate's error is both.
        return MalformedRequestError("The request cannot be sent as it is.")
    return NetworkDownError(f"The provider cannot be reached from here; {used}.")


def _proxy_failure(error: Exception, used: str) -> ProviderFailure:
    if isinstance(error, BehindProxyError):
        return NetworkDownError(f"The provider cannot be reached from here; {used}.")
    if isinstance(error, TimeoutError):
        return ProxyFailedError(f"The proxy did not connect in time; {used}.")
    return ProxyFailedError(f"The proxy did not let us through; {used}.")


def _cause(error: BaseException | None) -> BaseException | None:
    """Return an error whose text is an address and the system's own words, else ``None``.

    Those of the system and of OpenSSL have a number. All others may quote a name, a header or
    what the peer wrote, and are not chained.
    """
    if isinstance(error, BehindProxyError):
        return _cause(error.__cause__)
    return error if isinstance(error, OSError) and error.errno is not None else None
