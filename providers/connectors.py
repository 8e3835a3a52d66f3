"""aiohttp's connectors, made to let go at once: a connection for `providers.transport`.

The only place that overrides what aiohttp keeps private. If a release changes these two
methods the tests of cancelling fail; the claim does not depend on them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import aiohttp_socks
import python_socks

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.tracing import Trace

    from providers.addresses import CheckedProxy


class CuttableConnector(aiohttp.TCPConnector):
    """A connector that remembers its connection, to cut it.

    The library closes politely: it flushes what the peer does not read, waits up to 30 s for
    the peer's TLS farewell, and forgets a connection whose trace hook raised. None of that
    may keep a refused or superseded exchange open.
    """

    transport: asyncio.BaseTransport | None = None

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  the library's signature
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        self.transport = protocol.transport
        return protocol

    def cut(self) -> None:
        """Abort the connection, now and without a farewell."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()


class SocksConnector(CuttableConnector, aiohttp_socks.ProxyConnector):
    """SOCKS with TLS by aiohttp: one way to check certificates and to cut a handshake.

    The SOCKS library's own TLS waits for its stream to close when it is cancelled, and a
    peer that stalls the handshake would keep it waiting.
    """

    def __init__(
        self,
        checked: CheckedProxy,
        resolver: AbstractResolver,
        **options: Any,  # noqa: ANN401  the library's own, passed on
    ) -> None:
        proxy = checked.proxy
        super().__init__(
            host=checked.addresses[0],
            port=proxy.port,
            proxy_type=python_socks.ProxyType.SOCKS5,
            username=proxy.username,
            password=proxy.password,
            **options,
        )
        if proxy.scheme == "socks5":  # The name is resolved here, not at the proxy.
            self._resolver = resolver

    async def _wrap_create_connection(
        self,
        *args: Any,  # noqa: ANN401  the library's signature, here and below
        addr_infos: list[aiohttp.AddrInfoType],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        **kwargs: Any,  # noqa: ANN401
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        tls = kwargs.pop("ssl", None)
        tunnel, protocol = await super()._wrap_create_connection(
            *args,
            addr_infos=addr_infos,
            req=req,
            timeout=timeout,
            client_error=client_error,
            ssl=None,
            **kwargs,
        )
        if tls is None:
            return tunnel, protocol
        # The first protocol holds the stream whose collection would close the tunnel.
        self._tunnel_protocol = protocol
        secured, secured_protocol = await self._start_tls_connection(
            tunnel, req=req, timeout=timeout
        )
        assert isinstance(secured, asyncio.Transport)
        return secured, secured_protocol
