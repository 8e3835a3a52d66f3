"""The gateway as a process of its own: uvicorn, with an end that answers who still waits.

What uvicorn itself would answer or write is put right here: its one refusal gets the contract's
envelope, a request's head may not dribble in for ever, and no address goes into a log.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tasks import catalogue
from tasks.gateway import Gateway, make_gateway
from tasks.gateway_http import JSON, to_json
from tasks.intake import new_id
from tasks.settings import Settings

GRACE_S: Final = 10.0
"""How long those who wait may go on waiting once the process is asked to end."""
LEAVE_S: Final = 5.0
"""Beyond it, for writing the last answers."""
HEAD_S: Final = 10.0
"""How long the head of a request may take to arrive."""
BACKLOG: Final = 2_048
STOPS: Final = (signal.SIGTERM, signal.SIGINT)
FAILED: Final = 1
"""Exit status of a gateway that could not start."""
NO_HTTP: Final = "This is no HTTP/1.1 request, or its head is too long."


class ExposedError(ValueError):
    """Without keys it would listen to other machines."""


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    announce: Callable[[str], object],
    grace_s: float = GRACE_S,
) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    Args:
        settings: Of this deployment.
        host: Where to listen.
        port: 0: any free one.
        announce: Is called with the address once it answers.
        grace_s: Seconds that those who wait may go on waiting when it is asked to end; then
            they are answered 503, and their submissions go on.

    Raises:
        OSError: It cannot listen there.
        NoKeysError: There are no API keys outside the embedded mode.
        ExposedError: There are none, and ``host`` is not of this machine alone.
        BadKeyError: There is no usable secret key.
    """
    app = make_gateway(settings)
    if not settings.api_keys and not _is_loopback(host):
        msg = "without CHECKPOINT_API_KEYS the gateway listens on a loopback address alone"
        raise ExposedError(msg)
    _allow_many_connections()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listener:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        run(app, app, listener, grace_s=grace_s, ready=lambda: announce(address))


def run(
    app: ASGIApp,
    gateway: FastAPI,
    listener: socket.socket,
    *,
    grace_s: float,
    leave_s: float = LEAVE_S,
    ready: Callable[[], object],
) -> None:
    """Serve an application with a gateway in it until SIGTERM or SIGINT.

    Args:
        app: What is served.
        gateway: The gateway in it, or the same.
        listener: Where.
        grace_s: Seconds that those who wait may go on waiting.
        leave_s: Seconds beyond it for the last answers.
        ready: Is called once it answers.
    """
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=math.ceil(grace_s + leave_s),
    )
    server = Server(config, gateway, grace_s=grace_s, ready=ready)
    # Until uvicorn takes over, and when it raises again what it has heeded.
    before = {number: signal.signal(number, server.stop) for number in STOPS}
    try:
        server.run([listener])
    except SystemExit as error:  # Uvicorn's own statuses: what it could not start it has logged.
        raise SystemExit(FAILED) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _allow_many_connections() -> None:
    """Let this process have as many files as it may: each caller that waits is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Server(uvicorn.Server):
    """A server that says when it is ready, and ends in the order in which callers need it."""

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: FastAPI,
        *,
        grace_s: float,
        ready: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._gateway: Gateway = gateway.state.gateway
        self._grace_s, self._ready = grace_s, ready

    def stop(self, _number: int, _frame: object) -> None:
        """Ask it to end; before it serves as well."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take in nothing more; after the grace answer everybody who still waits."""
        leaving = asyncio.get_running_loop().call_later(self._grace_s, self._gateway.leave)
        try:
            await super().shutdown(sockets)
        finally:
            leaving.cancel()


class Protocol(H11Protocol):
    """Uvicorn's protocol, with the contract's envelope for what is no HTTP, and a bound."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Take in data, and look whether a head is complete."""
        super().data_received(data)
        self._watch_head()

    def _watch_head(self) -> None:
        """Keep one timer for as long as the head of a request is awaited."""
        awaited = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if awaited and self._head is None:
            self._head = self.loop.call_later(HEAD_S, self._head_is_late)
        elif not awaited and self._head is not None:
            self._head.cancel()
            self._head = None

    def _head_is_late(self) -> None:
        self._head = None
        self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own words
        """Refuse what is no HTTP."""
        body = catalogue.error_body(catalogue.INVALID_PARAMETERS, new_id("req"), NO_HTTP)
        content = to_json(body)
        headers: list[tuple[Any, Any]] = [
            (b"content-type", JSON.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):  # An answer has begun already.
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=content),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
