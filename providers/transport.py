"""One attempt's way to the provider over HTTP: `HttpExchange`.

Every request gets a connection of its own, and nothing is shared between two exchanges but
the TLS context and the resolver. The request that carries the code connects first (name,
TCP, proxy tunnel, TLS), then claims, and only then has a body: before the claim there is no
code here that could leave.

    connecting ── connect_timeout_s ──▶ connected ── claim, body, clock ──▶ sent ──▶ answered

What it refuses to do: follow a redirect, send anything twice, reuse a connection, read
proxies or passwords from the environment, keep cookies, believe a peer about sizes. There is
no overall time limit in here: the caller wraps a call in `asyncio.timeout`, and a cancelled
call cuts its connection at once, without a farewell to the peer.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import re
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import aiohttp
import aiohttp.http_exceptions
import aiohttp_socks
import python_socks
import python_socks._errors
import yarl
from aiohttp.abc import AbstractResolver

from providers.addresses import CheckedProxy, PinnedResolver, check_proxy
from providers.answers import read_json, refuse_common
from providers.connectors import CuttableConnector, SocksConnector
from providers.contract import (
    ClaimTicket,
    CodeRequest,
    ContentTooLargeError,
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
)
from providers.cookies import cookie_header
from providers.receiving import Limits, read_reply

__all__ = [
    "ClaimTicket",
    "HttpExchange",
    "Limits",
    "cookie_header",
    "read_json",
    "refuse_common",
]

PROXY_AUTH_REQUIRED = 407

# The URL characters of RFC 3986, percent signs only before two hex digits.
_URL = re.compile(r"https?://(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
# Framing and addressing are the transport's: a context that could set these could smuggle a
# second request behind the first or choose the host.
_OUR_HEADERS = frozenset(
    {
        "content-length", "expect", "host", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

# How the SOCKS library says that credentials were refused; it has no code for it.
_SOCKS_AUTH = (
    "Username and password authentication failure",
    "No acceptable authentication methods",
    "Unexpected SOCKS authentication method",
)

_LIBRARY_ERRORS = (
    aiohttp.ClientError,
    aiohttp.WSMessageTypeError,
    aiohttp.http_exceptions.HttpProcessingError,
    aiohttp_socks.ProxyConnectionError,
    aiohttp_socks.ProxyError,
    aiohttp_socks.ProxyTimeoutError,
    python_socks._errors.IncompleteReadError,  # noqa: SLF001  not public, but raised
    python_socks._errors.ProxyException,  # noqa: SLF001
    python_socks.ProxyError,
    EOFError,
    OSError,  # Time-outs and TLS included.
    ValueError,  # Unicode errors included.
    zlib.error,
)
"""What may come out of the libraries. Anything else is a bug and crashes as one."""

_LOST = (aiohttp.ClientConnectionError, aiohttp_socks.ProxyTimeoutError, EOFError, OSError)
"""A connection that ended before its answer began."""

_BEHIND_PROXY = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorDNSError)

_TELLING = (aiohttp.ClientConnectorError, ssl.SSLError)
"""Errors whose text is an address and the system's own words. All others may quote a URL, a
header or what the peer wrote, and are not chained."""

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


async def _connected(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateEndParams,
) -> None:
    hook: Callable[[], Awaitable[None]] = context.trace_request_ctx
    await hook()


_CONNECTED = aiohttp.TraceConfig()
"""Calls the hook of the request whose connection stands; one for all, since making one is slow."""
_CONNECTED.on_connection_create_end.append(_connected)
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
        proxy: ``scheme://[user:password@]host[:port]``; see `providers.addresses`. With a
            proxy there is never a direct connection.
        tls: Context for the provider and for an ``https`` proxy; verifies by default.
        limits: Caps on what is sent and read.
        resolver: Where names are looked up; the system's by default.
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
        resolver: AbstractResolver | None = None,
        allow_private_proxies: bool = False,
    ) -> None:
        self._claim = claim
        self._connect_timeout_s = connect_timeout_s
        self._proxy_url = proxy
        self._tls = tls or _default_tls()
        self._limits = limits or _LIMITS
        self._resolver = resolver
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
        url = _checked_url(request.url)
        headers = _checked_headers(request.headers)
        if isinstance(request, Request):
            _check_size(request.body, self._limits)
        talk = _Talk(is_proxied=self._proxy_url is not None, host=url.raw_host or "")
        try:
            async with asyncio.timeout(self._connect_timeout_s) as talk.connecting:
                return await self._talk(talk, request, url, headers)
        except _FinalError as final:
            error: Exception = final.error
        except _LIBRARY_ERRORS as caught:
            error = caught
        if talk.ours is not None:
            raise talk.ours
        # Outside the handlers: the library's error must not hang on as context either.
        raise _failure_of(error, talk, code_sent=self._code_sent) from _cause(error)

    async def _talk(
        self,
        talk: _Talk,
        request: Request | CodeRequest,
        url: yarl.URL,
        headers: dict[str, str],
    ) -> Reply:
        """Send one request over a connection of its own and read the whole answer."""
        resolver = self._resolver or aiohttp.ThreadedResolver()
        proxy = await self._checked_proxy(resolver)
        connector = self._connector(proxy, resolver)
        through = proxy.proxy if proxy and not proxy.proxy.is_socks else None
        if through and url.scheme == "http":
            talk.is_forwarded = True
            if through.authorization:  # No CONNECT to carry it.
                headers = {**headers, "Proxy-Authorization": through.authorization}
        try:
            async with aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                skip_auto_headers=_NOT_ADDED,
                auto_decompress=False,  # `read_reply` does it, under caps.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s),
                middlewares=(talk.keep_request,),
                trace_configs=[_CONNECTED],
                max_line_size=self._limits.header_line_bytes,
                max_field_size=self._limits.header_line_bytes,
                max_headers=self._limits.headers_count,
            ) as session:
                try:
                    response = await session.request(
                        request.method,
                        url,
                        headers=headers,
                        data=(request.body or None) if isinstance(request, Request) else None,
                        allow_redirects=False,
                        proxy=through.url if through else None,
                        proxy_headers=_proxy_headers(through.authorization if through else None),
                        trace_request_ctx=self._hook(talk, connector, request),
                    )
                    talk.stage = _Stage.ANSWERED
                    try:
                        return await read_reply(response, url.raw_path, self._limits)
                    finally:
                        response.close()
                finally:
                    # Before the session closes: it would wait for what cannot be flushed.
                    connector.cut()
        finally:
            talk.request = None

    async def _checked_proxy(self, resolver: AbstractResolver) -> CheckedProxy | None:
        """Return the proxy, resolved and checked once for the whole exchange."""
        if self._proxy_url is not None and self._checked is None:
            self._checked = await check_proxy(
                self._proxy_url, resolver=resolver, allow_private=self._allow_private_proxies
            )
        return self._checked

    def _connector(
        self, checked: CheckedProxy | None, resolver: AbstractResolver
    ) -> CuttableConnector:
        """Return a connector for one connection."""
        options: dict[str, Any] = {
            "ssl": self._tls,
            "force_close": True,
            "limit": 1,
            "use_dns_cache": False,
        }
        if checked is None:
            return CuttableConnector(resolver=resolver, **options)
        if checked.proxy.is_socks:
            return SocksConnector(checked, resolver, **options)
        return CuttableConnector(resolver=PinnedResolver(checked), **options)

    def _hook(
        self, talk: _Talk, connector: CuttableConnector, request: Request | CodeRequest
    ) -> Callable[[], Awaitable[None]]:
        """Return the hook that runs between connection and first byte (FACTS 20)."""

        async def connected() -> None:
            assert talk.connecting is not None
            if talk.connecting.expired():
                raise TimeoutError
            talk.connecting.reschedule(None)  # What follows has the caller's time.
            talk.stage = _Stage.CONNECTED
            if isinstance(request, CodeRequest):
                await self._hand_over(talk, connector, request)
            talk.stage = _Stage.SENT

        return connected

    async def _hand_over(
        self, talk: _Talk, connector: CuttableConnector, request: CodeRequest
    ) -> None:
        """Claim, give the request its body and look at the clock, in this order.

        t=0 connected · t=1 claimed, the code is out of the ledger · t=9 the process wakes
        from a stop · its time ended at t=6 → the clock is looked at last, nothing is sent.
        """
        _check_alive(connector)  # A peer that has hung up is not worth a claim.
        try:
            ticket = await self._claim()
            assert talk.request is not None
            body = _built(lambda: request.body(ticket.code))
            _check_size(body, self._limits)
            await talk.request.update_body(body or None)
            if request.sign is not None:
                sign = request.sign
                for name, value in _checked_headers(_built(lambda: sign(body))).items():
                    talk.request.headers[name] = value
        except Exception as error:
            talk.ours = error
            raise
        _check_alive(connector)
        if time.monotonic() > ticket.send_before:
            msg = "the time to send had run out"
            talk.ours = ExchangeRefusedError(msg)
            raise talk.ours
        self._code_sent = True


@dataclass(slots=True, kw_only=True)
class _Talk:
    """What is known about one request while it is under way."""

    is_proxied: bool
    host: str
    is_forwarded: bool = False  # A plain request that the proxy itself reads.
    stage: _Stage = _Stage.CONNECTING
    connecting: asyncio.Timeout | None = None
    request: aiohttp.ClientRequest | None = field(default=None, repr=False)
    ours: Exception | None = None  # Raised by us inside the library: passes as it is.

    async def keep_request(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Keep the request for the hook, and its error from the library's retry.

        aiohttp sends an idempotent request again when a connection drops, but only after
        errors of its own kinds.
        """
        assert self.request is None, "nothing is sent twice"
        self.request = request
        try:
            response = await handler(request)
        except _LIBRARY_ERRORS as error:
            raise _FinalError(error) from None
        if self.is_forwarded and response.status == PROXY_AUTH_REQUIRED:
            response.close()
            msg = "The proxy refuses our credentials."
            raise ProxyAuthError(msg)
        return response


class _FinalError(Exception):
    """Carries an error past the library's handlers."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _check_alive(connector: CuttableConnector) -> None:
    if connector.transport is None or connector.transport.is_closing():
        raise ConnectionResetError


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


def _proxy_headers(authorization: str | None) -> Mapping[str, str] | None:
    return {"Proxy-Authorization": authorization} if authorization else None


# Before sending ------------------------------------------------------------------------


def _checked_url(url: str) -> yarl.URL:
    """Return the URL exactly as it was given.

    Raises:
        UnescapedCharactersError: It has characters that a URL cannot have.
        MalformedRequestError: It has no host, carries credentials or is no HTTP URL.
    """
    if not url.startswith(("http://", "https://")):
        msg = "The request has no usable address."
        raise MalformedRequestError(msg)
    if not _URL.fullmatch(url):
        msg = "The request's address has unescaped characters."
        raise UnescapedCharactersError(msg)
    parsed = _parsed(url)
    if parsed is None or not parsed.raw_host or parsed.raw_user or parsed.raw_password:
        msg = "The request has no usable address."
        raise MalformedRequestError(msg)
    return parsed


def _parsed(url: str) -> yarl.URL | None:
    """Return the URL or ``None``; the parser's own error would quote it."""
    try:
        parsed = yarl.URL(url, encoded=True)
        usable = parsed.port is not None  # Read only now, and wrong only now.
    except ValueError:
        return None
    return parsed if usable else None


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers; they often carry what a context gave.

    Raises:
        MalformedRequestError: One would break out of its line or change the framing.
    """
    for name, value in headers.items():
        known = _HEADER_NAME.fullmatch(name) and name.lower() not in _OUR_HEADERS
        if not known or not _HEADER_VALUE.fullmatch(value) or not _is_text(value):
            msg = "A header of the request cannot be sent as it is."
            raise MalformedRequestError(msg)
    return dict(headers)


def _is_text(value: str) -> bool:
    """Whether UTF-8 can carry it; half a surrogate pair cannot be sent."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_size(body: bytes, limits: Limits) -> None:
    if len(body) > limits.request_bytes:
        msg = "The request is too large to be sent."
        raise ContentTooLargeError(msg)


# What an error means -------------------------------------------------------------------


def _failure_of(error: Exception, talk: _Talk, *, code_sent: bool) -> ProviderFailure:
    """Say in the contract's words what a library's error means at this stage."""
    used = "the code may have been used" if code_sent else "the code was not sent"
    if talk.stage is _Stage.ANSWERED:
        return ProviderBrokenError("The provider's answer is cut short or unreadable.")
    if talk.stage is _Stage.SENT:
        if isinstance(error, _LOST):
            return ProviderTimeoutError(f"The provider did not answer; {used}.")
        return ProviderBrokenError("The provider's answer is not HTTP.")
    return _proxy_failure(error, talk, used) if talk.is_proxied else _direct_failure(error, used)


def _direct_failure(error: Exception, used: str) -> ProviderFailure:
    if isinstance(error, TimeoutError):
        return ProviderTimeoutError(f"The provider could not be reached in time; {used}.")
    unsendable = isinstance(error, ValueError | aiohttp.NonHttpUrlClientError)
    if unsendable and not isinstance(error, OSError):  # A certificate's error is both.
        return MalformedRequestError("The request cannot be sent as it is.")
    return NetworkDownError(f"The provider cannot be reached from here; {used}.")


def _proxy_failure(error: Exception, talk: _Talk, used: str) -> ProviderFailure:
    refused = isinstance(error, aiohttp.ClientHttpProxyError) and error.status == 407  # noqa: PLR2004
    if refused or str(error).startswith(_SOCKS_AUTH):
        return ProxyAuthError("The proxy refuses our credentials.")
    if isinstance(error, _BEHIND_PROXY) and error.host == talk.host:
        # The tunnel stood (or, for a name, was not needed): not the proxy's fault.
        return NetworkDownError(f"The provider cannot be reached from here; {used}.")
    if isinstance(error, TimeoutError | aiohttp_socks.ProxyTimeoutError):
        return ProxyFailedError(f"The proxy did not connect in time; {used}.")
    return ProxyFailedError(f"The proxy did not let us through; {used}.")


def _cause(error: Exception) -> Exception | None:
    return error if isinstance(error, _TELLING) else None
