"""The gateway as a process of its own: uvicorn, with an end that answers who still waits.

What uvicorn itself would answer or write is put right here: its one refusal gets the contract's
envelope, nothing of a request or an answer may dribble for ever, connections are bounded, and no
address goes into a log.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ipaddress
import math
import resource
import signal
import socket
import weakref
from collections.abc import Callable
from typing import Any, Final, cast

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.gateway import Gateway, make_gateway
from checkpoint_worker.tasks.gateway.http import JSON, to_json
from checkpoint_worker.tasks.gateway.middleware import CONNECTION
from checkpoint_worker.tasks.operations.validation import new_id
from checkpoint_worker.tasks.settings import Settings

GRACE_S: Final = 10.0
"""How long those who wait may go on waiting once the process is asked to end."""
LEAVE_S: Final = 5.0
"""Beyond it, for writing the last answers."""
HEAD_S: Final = 10.0
"""How long the head of a request may take to arrive."""
LEFTOVER_S: Final = 2.0
"""How long the rest of a request may take that was answered already."""
UNREAD_S: Final = 30.0
"""How long an answer may lie here that its caller does not take, or takes slowly."""
LOOK_S: Final = 1.0
"""Between two looks at all connections: each of these times may last so much longer."""
HEAD_BYTES_MAX: Final = 16_384
"""Longest head of a request: reading costs time for each line."""
CHUNKS_MAX: Final = 4_096
"""Chunks of one body."""
STRANGERS_MAX: Final = 1_024
"""Connections over which no key has come. One more, and the eldest is closed: who has a key shows
it at once."""
CONNECTIONS_MAX: Final = 20_000
"""Connections in all. One more, and one between two requests is closed, or the new one."""
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
        timeout_keep_alive=math.ceil(gateway.state.gateway.settings.keep_alive_s),
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


class Phase(enum.Enum):
    """What a connection is at, as far as it may not last; seconds."""

    HEAD = "the head of a request is awaited"
    LEFTOVER = "what is left of a request that was answered"
    UNREAD = "an answer lies here that the caller does not take"
    FREE = "a caller that waits, or a connection between two requests"

    @property
    def longest_s(self) -> float:
        """How long it may last."""
        return {
            Phase.HEAD: HEAD_S,
            Phase.LEFTOVER: LEFTOVER_S,
            Phase.UNREAD: UNREAD_S,
            Phase.FREE: math.inf,
        }[self]


class Watch:
    """Looks at all connections of a server once in a while, and keeps their number bounded.

    One timer for all: each look costs a microsecond for each connection (measured).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connections: dict[Protocol, None] = {}
        self._strangers: dict[Protocol, None] = {}
        """Those over which no key has come, the eldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def admit(self, connection: Protocol) -> None:
        """Have a new connection looked after; the eldest stranger makes room for it."""
        self._connections[connection] = self._strangers[connection] = None
        if len(self._strangers) > STRANGERS_MAX:
            next(iter(self._strangers)).end()
        elif len(self._connections) > CONNECTIONS_MAX:
            idle = (one for one in self._connections if one.is_between_requests)
            next(idle, connection).end()
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def know(self, connection: Protocol) -> None:
        """A request with a key came over it."""
        self._strangers.pop(connection, None)

    def forget(self, connection: Protocol) -> None:
        """It is gone."""
        self._connections.pop(connection, None)
        self._strangers.pop(connection, None)

    def _look(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        for connection in list(self._connections):
            connection.look(now_s)
        if self._connections:
            self._timer = self._loop.call_later(LOOK_S, self._look)


_WATCHES: Final = weakref.WeakKeyDictionary[ServerState, Watch]()


class Connection(h11.Connection):
    """HTTP/1.1, with a bound on the chunks of a body: each costs more than a thousand bytes do."""

    _chunks = 0

    def next_event(self) -> Any:  # noqa: ANN401  as in the library
        """Return the next event.

        Raises:
            RemoteProtocolError: It is no HTTP/1.1, or has too many chunks.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._chunks += 1
            if self._chunks > CHUNKS_MAX:
                msg = "too many chunks"
                raise h11.RemoteProtocolError(msg)
        return event


class Lingering:
    """A transport that is not closed while its caller still sends what was refused.

    To close a socket with unread data in it resets the connection, and the caller would not see
    why it was refused: so what comes is dropped until `LEFTOVER_S` is over or the caller is done.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._transport, self._protocol = transport, protocol
        self._lingers = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  as the transport's own
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more is to be read or written."""
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        """Close it, now or when the caller is done."""
        if self.is_closing():
            return
        if self._protocol.awaits_body and self._transport.can_write_eof():
            self._lingers = True
            self._transport.write_eof()
            self._protocol.flow.resume_reading()
        else:
            self._transport.close()

    def close_now(self) -> None:
        """Close it, whatever the caller does."""
        self._transport.close()


class Protocol(H11Protocol):
    """Uvicorn's protocol, with the contract's envelope for what is no HTTP, and bounds."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # None before the first

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = Connection(h11.SERVER, HEAD_BYTES_MAX)
        self.app_state = {**self.app_state, CONNECTION: self}
        self._phase: tuple[Phase, object] = (Phase.FREE, None)
        self._since_s = 0.0
        watch = _WATCHES.get(self.server_state)
        if watch is None:
            watch = _WATCHES[self.server_state] = Watch(self.loop)
        self._watch = watch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", Lingering(transport, self))
        self._since_s = self.loop.time()
        self._phase = self._seen()
        self._watch.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        super().connection_lost(exc)
        self._watch.forget(self)

    def data_received(self, data: bytes) -> None:
        """Take in data; what comes after the last answer is dropped."""
        if not self.transport.is_closing():
            super().data_received(data)

    @property
    def awaits_body(self) -> bool:
        """Whether the caller has not sent all of its request."""
        return self.conn.their_state is h11.SEND_BODY

    def know(self) -> None:
        """A request with a key came over it."""
        self._watch.know(self)

    def end(self) -> None:
        """Close it at once, whatever was not taken."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            cast("Lingering", self.transport).close_now()

    @property
    def is_between_requests(self) -> bool:
        """Whether nobody waits for an answer over it."""
        return self.cycle is None or self.cycle.response_complete

    def look(self, now_s: float) -> None:
        """Close the connection if it has been at something for too long."""
        seen = self._seen()
        if seen != self._phase:
            self._phase, self._since_s = seen, now_s
        elif now_s - self._since_s >= seen[0].longest_s:
            self.end()

    def _seen(self) -> tuple[Phase, object]:
        """Return what it is at, and with which request: the next one has its own time."""
        ended = self.is_between_requests
        if self.transport.get_write_buffer_size() and (ended or self.flow.write_paused):
            phase = Phase.UNREAD
        elif self.transport.is_closing() or (ended and self.awaits_body):
            phase = Phase.LEFTOVER
        elif ended and self.timeout_keep_alive_task is None:
            phase = Phase.HEAD
        else:  # Between two requests until the next byte by uvicorn's own timer.
            phase = Phase.FREE
        return phase, self.cycle

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
