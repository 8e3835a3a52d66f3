"""The HTTP exchange of one attempt with the provider: `HttpExchange`.

Every request gets its own connection; two exchanges share only the TLS context and the resolver.
The request that carries the code connects first (name, TCP, proxy tunnel, TLS), then claims, and
only then gets a body: before the claim the exchange holds no code that it could send.

    connecting ── connect_timeout_s ──▶ connected ── claim, body, clock ──▶ sent ──▶ answered
      `connect`                                         `request`              `response`

A library parses chunked bodies; this package implements the rest of HTTP/1.1 (D-17), so the claim
is a line of `_claim_and_build` and not a hook inside a client library.

The exchange never follows a redirect, sends a request twice, reuses a connection, reads proxies or
passwords from the environment, keeps cookies, or trusts a size that a peer announces. It sets no
overall timeout: the caller wraps a call in `asyncio.timeout`, and a cancelled call aborts its
connection at once.
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
from checkpoint_worker.providers.http.tls import client_context

_LIBRARY_ERRORS = (
    httptools.HttpParserError,
    httptools.HttpParserUpgrade,
    OSError,  # Timeouts and TLS included.
    ValueError,  # Unicode errors included.
    zlib.error,
)
"""Exceptions that the libraries may raise. Any other exception is a bug and is not caught."""

_T = TypeVar("_T")


class _Stage(enum.IntEnum):
    """The progress of a request, which decides the meaning of an error."""

    CONNECTING = 0
    CONNECTED = 1
    SENT = 2
    ANSWERED = 3


@functools.cache
def default_tls() -> ssl.SSLContext:
    """Return the TLS context that all exchanges share, because loading the CAs takes time.

    Raises:
        OSError: OpenSSL refuses its set-up. A worker calls this when it starts, not at a code.
    """
    context = client_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


_LIMITS = Limits()


# The exchange --------------------------------------------------------------------------


class HttpExchange:
    """The `providers.contract.Exchange` over HTTP/1.1.

    Args:
        claim: Awaited once, after the connection of the code request is open and before its
            first byte. An exception of it ends the request with nothing sent and reaches the
            caller unchanged.
        connect_timeout_s: Timeout of name look-up, TCP, proxy and TLS of one request, in seconds.
            It does not include the claim.
        proxy: ``scheme://[user:password@]host[:port]``; see `providers.http.proxy`. With a
            proxy there is never a direct connection.
        tls: TLS context for the provider and for an ``https`` proxy; verifies by default.
        limits: Size limits of requests and answers.
        resolver: Resolver of all names; by default providers and proxies have separate ones.
        allow_private_proxies: Whether a proxy may have a private or loopback address.
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
        self._tls = tls or default_tls()
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
            ProviderFailure: The exchange failed; `code_sent` says whether the failure came before
                or after the first byte.
            ExchangeRefusedError: The claim was refused or its time had passed; nothing was sent.
            RuntimeError: A second call, or an error in ``body`` or ``sign``; nothing was sent.
        """
        if self._code_request_made:
            msg = "one exchange sends one code request"
            raise RuntimeError(msg)
        self._code_request_made = True
        return await self._converse(request)

    async def fetch(self, request: Request) -> Reply:
        """Send a request without the code and read its answer.

        Raises:
            ProviderFailure: The exchange failed.
        """
        return await self._converse(request)

    async def _converse(self, request: Request | CodeRequest) -> Reply:
        """Send one request over its own connection and read the whole answer."""
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
        """Return a new connection, made within the timeout."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if self._proxy_url is not None:
                    await self._choose_proxy(self._proxy_url, draft)
                return await connect(
                    draft.target, proxy=self._checked, tls=self._tls, resolver=self._resolver
                )
        except _LIBRARY_ERRORS as caught:
            failure = self._failure_of(caught, _Stage.CONNECTING)
        try:  # Outside the handler, so that `__context__` does not keep the library's error.
            raise failure
        finally:
            del failure  # Breaks the cycle of exception, traceback and frame.

    async def _choose_proxy(self, url: str, draft: PendingRequest) -> None:
        """Resolve and check the proxy, once for the whole exchange."""
        if self._checked is None:
            self._checked = await check_proxy(
                url, resolver=self._proxy_resolver, allow_private=self._allow_private_proxies
            )
        proxy = self._checked.proxy
        if not proxy.is_socks and not draft.target.is_secure:
            draft.is_forwarded = True
            draft.proxy_authorization = proxy.authorization  # There is no CONNECT to carry it.

    async def _claim_and_build(
        self, line: Connection, request: CodeRequest, draft: PendingRequest
    ) -> bytes:
        """Claim, build the body and check the clock, in this order; return the bytes to send.

        t=0 connected · t=1 claimed, the code is out of the ledger · t=9 the process resumes after
        a stop · the time to send ended at t=6 → the clock is checked last, nothing is sent.
        """
        self._check_alive(line)  # Without a connection the claim would be wasted.
        ticket = await self._claim()
        body = _run_callback(lambda: request.body(ticket.code))
        check_size(body, self._limits)
        sign = request.sign
        signed = {} if sign is None else checked_headers(_run_callback(lambda: sign(body)))
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
        try:  # Outside the handler, so that `__context__` does not keep the library's error.
            raise failure
        finally:
            del failure  # Breaks the cycle of exception, traceback and frame.

    def _failure_of(self, error: Exception, stage: _Stage) -> ProviderFailure:
        is_proxied = self._proxy_url is not None
        failure = _failure_of(error, stage, is_proxied=is_proxied, code_sent=self._code_sent)
        failure.__cause__ = _cause(error)
        return failure


def _run_callback(build: Callable[[], _T]) -> _T:
    """Run a callback that has the code; an unexpected exception of it may quote the code."""
    try:
        return build()
    except (ProviderFailure, ExchangeRefusedError):
        raise
    except Exception as error:  # noqa: BLE001  no message of any error may leave
        kind = type(error).__name__
    msg = f"building the code request failed with {kind}"
    raise RuntimeError(msg)


# What an error means -------------------------------------------------------------------


def _failure_of(
    error: Exception, stage: _Stage, *, is_proxied: bool, code_sent: bool
) -> ProviderFailure:
    """Return the failure of `providers.contract` for a library's error at this stage."""
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
        # The host name is invalid. A certificate's error is both ValueError and OSError.
        return MalformedRequestError("The request cannot be sent as it is.")
    return NetworkDownError(f"The provider cannot be reached from here; {used}.")


def _proxy_failure(error: Exception, used: str) -> ProviderFailure:
    if isinstance(error, BehindProxyError):
        return NetworkDownError(f"The provider cannot be reached from here; {used}.")
    if isinstance(error, TimeoutError):
        return ProxyFailedError(f"The proxy did not connect in time; {used}.")
    return ProxyFailedError(f"The proxy did not let us through; {used}.")


def _cause(error: BaseException | None) -> BaseException | None:
    """Return the error if its message contains only an address and text of the system.

    Errors of the system and of OpenSSL have a number. The message of any other error may quote a
    name, a header or bytes of the peer, so ``None`` is returned and no cause is chained.
    """
    if isinstance(error, BehindProxyError):
        return _cause(error.__cause__)
    return error if isinstance(error, OSError) and error.errno is not None else None
