"""Runs the gateway in a process of its own, on uvicorn, with a bounded and orderly stop.

This module replaces or bounds parts of uvicorn: its only refusal has the body of the API's errors,
receiving a request and sending a response have time limits, the number of connections is bounded,
and no client address is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ipaddress
import logging
import math
import re
import resource
import signal
import socket
import weakref
from collections.abc import Callable
from typing import Any, Final, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.gateway import Application, Gateway, make_gateway
from checkpoint_worker.tasks.gateway.http import JSON, to_json
from checkpoint_worker.tasks.gateway.middleware import CONNECTION
from checkpoint_worker.tasks.operations.validation import new_id
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.worker.runtime.loop import loop_error_handler
from checkpoint_worker.worker.runtime.stop_signals import unblock

GRACE_S: Final = 10.0
"""Time for which waiting callers may continue to wait after a stop was requested."""
GATEWAY_SHUTDOWN_TIMEOUT_S: Final = 5.0
"""Further time to write the last responses."""
HEAD_S: Final = 10.0
"""Longest time for the head of a request to arrive."""
LEFTOVER_S: Final = 2.0
"""Longest time for the rest of a request whose response is complete."""
UNREAD_S: Final = 30.0
"""Longest time for a caller to read a complete response, or to accept more of a paused one."""
LOOK_S: Final = 1.0
"""Interval between two checks of all connections; each limit may be exceeded by this much."""
HEAD_BYTES_MAX: Final = 16_384
"""Longest head of a request, in bytes: parsing costs time for each line."""
CHUNKS_MAX: Final = 4_096
"""Largest number of chunks in one body."""
ORIGIN: Final = re.compile(rb"(?i)https?://[^/?#]*")
"""Begin of a request's target that is a URL, as callers send it that take the gateway for their
proxy."""
LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})
STRANGERS_MAX: Final = 1_024
"""Connections that have sent no valid API key yet. One more closes the oldest of them: a caller
with a key sends it at once."""
CONNECTIONS_MAX: Final = 20_000
"""All connections. One more closes an idle one, or the new one if none is idle."""
FILES_KEPT: Final = 64
"""Descriptors that connections leave for Redis, the broker and the log."""
BACKLOG: Final = 2_048
STOPS: Final = (signal.SIGTERM, signal.SIGINT)
FAILED: Final = 1
"""Exit status of a gateway that could not start."""
NO_HTTP: Final = (
    "This is no HTTP/1.1 request, its head is too long, or its body has two lengths or too many"
    " chunks."
)

log = logging.getLogger("checkpoint.gateway")


class ExposedError(ValueError):
    """Without API keys the gateway would be reachable from other machines."""


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
        settings: Settings of this deployment.
        host: The address on which to listen.
        port: The port on which to listen; 0 takes any free one.
        announce: Called with the URL once the gateway answers.
        grace_s: Seconds for which waiting callers may continue to wait after a stop was requested.
            Then they are answered 503, and their submissions continue.

    Raises:
        OSError: The address or the port cannot be used.
        NoKeysError: There are no API keys outside the embedded mode.
        ExposedError: There are no API keys, and ``host`` is no loopback address.
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
    gateway: Application,
    listener: socket.socket,
    *,
    grace_s: float,
    leave_s: float = GATEWAY_SHUTDOWN_TIMEOUT_S,
    ready: Callable[[], object],
) -> None:
    """Serve an application that contains a gateway until SIGTERM or SIGINT.

    Args:
        app: The application.
        gateway: The gateway in it, or the same object.
        listener: The listening socket.
        grace_s: Seconds for which waiting callers may continue to wait after a stop was requested.
        leave_s: Further seconds for the last responses.
        ready: Called once the application answers.
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
        workers=1,  # Else WEB_CONCURRENCY is read, which may be anything.
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(gateway.state.gateway.settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(grace_s + leave_s),
    )
    server = Server(config, gateway, grace_s=grace_s, ready=ready)
    # They handle signals before uvicorn installs its own handlers, and those that it raises again
    # after it has stopped.
    before = {number: signal.signal(number, server.stop) for number in STOPS}
    unblock()
    try:
        server.run([listener])
    # uvicorn exits with statuses of its own, after it has logged the cause.
    except SystemExit as error:
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
    """Raise the limit of open files to its maximum: each waiting caller needs a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Server(uvicorn.Server):
    """A uvicorn server that reports when it is ready and answers waiting callers before it ends."""

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Application,
        *,
        grace_s: float,
        ready: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._gateway: Gateway = gateway.state.gateway
        self._grace_s, self._ready = grace_s, ready

    def stop(self, _number: int, _frame: object) -> None:
        """Request a stop; valid before the server runs, too."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report that the server is ready."""
        asyncio.get_running_loop().set_exception_handler(loop_error_handler(log))
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no new connections; after the grace period answer all callers that still wait."""
        leaving = asyncio.get_running_loop().call_later(self._grace_s, self._gateway.leave)
        try:
            await super().shutdown(sockets)
        finally:
            leaving.cancel()


class Phase(enum.Enum):
    """State of a connection with regard to its time limit."""

    HEAD = "the head of a request is awaited"
    LEFTOVER = "what is left of a request that was answered"
    UNREAD = "an answer lies here that the caller does not take"
    FREE = "a caller that waits, or a connection between two requests"

    @property
    def longest_s(self) -> float:
        """Longest duration of the state, in seconds."""
        return {
            Phase.HEAD: HEAD_S,
            Phase.LEFTOVER: LEFTOVER_S,
            Phase.UNREAD: UNREAD_S,
            Phase.FREE: math.inf,
        }[self]


class Watch:
    """Checks all connections of a server periodically, and bounds their number.

    One timer serves all connections: a check costs a microsecond per connection (measured).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connections: dict[Protocol, None] = {}
        self._strangers: dict[Protocol, None] = {}
        """Connections without a valid API key so far, the oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        # Without a free descriptor the loop would close each new connection, with a key or without.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = max(files // 2, files - FILES_KEPT)
        self._room = CONNECTIONS_MAX if files == resource.RLIM_INFINITY else room

    def admit(self, connection: Protocol) -> None:
        """Watch a new connection; close the oldest one without a key if there are too many."""
        self._connections[connection] = self._strangers[connection] = None
        if len(self._strangers) > min(STRANGERS_MAX, self._room // 2):
            next(iter(self._strangers)).end()
        elif len(self._connections) > min(CONNECTIONS_MAX, self._room):
            idle = (one for one in self._connections if one.is_between_requests)
            next(idle, connection).end()
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def know(self, connection: Protocol) -> None:
        """Record that a request with a valid key arrived on the connection."""
        self._strangers.pop(connection, None)

    def forget(self, connection: Protocol) -> None:
        """Stop watching a closed connection."""
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
    """HTTP/1.1 with one length for each body, and a bound on its chunks.

    Where a body has two lengths, a proxy may have used the other one: what it took for the end of
    the body would be the next request here. A chunk costs more than a thousand bytes.
    """

    _chunks = 0

    def next_event(self) -> Any:  # noqa: ANN401  as in the library
        """Return the next event.

        Raises:
            RemoteProtocolError: The data is no HTTP/1.1, or the body has two lengths or too many
                chunks.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
            if {name for name, _ in event.headers} >= LENGTHS:
                msg = "two lengths"
                raise h11.RemoteProtocolError(msg)
            if found := ORIGIN.match(event.target):
                return _without_origin(event, event.target[found.end() :])
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._chunks += 1
            if self._chunks > CHUNKS_MAX:
                msg = "too many chunks"
                raise h11.RemoteProtocolError(msg)
        return event


def _without_origin(request: h11.Request, target: bytes) -> h11.Request:
    """Return a request for a whole URL as the same request for the path of the URL.

    A server must take both (RFC 9112, section 3.2.2); uvicorn's parser takes a URL for a path.
    """
    return h11.Request(
        method=request.method,
        headers=list(request.headers),
        target=target if target.startswith(b"/") else b"/" + target,
        http_version=request.http_version,
    )


class Lingering:
    """A transport that stays open while its caller still sends a request that was refused.

    Closing a socket with unread data resets the connection, and the caller would not receive the
    refusal. So the transport drops incoming data until `LEFTOVER_S` has passed or the caller has
    sent its request.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._transport, self._protocol = transport, protocol
        self._lingers = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  as the transport's own
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Return whether the transport reads and writes no more data."""
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        """Close the transport at once, or when the caller has sent its request."""
        if self.is_closing():
            return
        if self._protocol.awaits_body and self._transport.can_write_eof():
            self._lingers = True
            self._transport.write_eof()
            self._protocol.flow.resume_reading()
        else:
            self._transport.close()

    def close_now(self) -> None:
        """Close the transport without waiting for the caller."""
        self._transport.close()


class Protocol(H11Protocol):
    """uvicorn's protocol with time limits, and the API's error body for malformed requests."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # None before the first request

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
        self._phase = self._current_phase()
        self._watch.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching the connection."""
        super().connection_lost(exc)
        self._watch.forget(self)

    def data_received(self, data: bytes) -> None:
        """Process data; drop data that arrives after the last response."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._keep_alive()

    def _keep_alive(self) -> None:
        """Start uvicorn's timer where a request ended after its response.

        uvicorn starts it with the response, and the rest of the request has stopped it.
        """
        ended = self.cycle is not None and self.cycle.response_complete
        idle = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        if ended and idle and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    @property
    def awaits_body(self) -> bool:
        """Whether the caller has not yet sent all of its request."""
        return self.conn.their_state is h11.SEND_BODY

    def know(self) -> None:
        """Record that a request with a valid key arrived."""
        self._watch.know(self)

    def end(self) -> None:
        """Close the connection at once; abort it if data is unsent."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            cast("Lingering", self.transport).close_now()

    @property
    def is_between_requests(self) -> bool:
        """Whether no request waits for a response on this connection."""
        return self.cycle is None or self.cycle.response_complete

    def look(self, now_s: float) -> None:
        """Close the connection if its state has lasted too long."""
        seen = self._current_phase()
        if seen != self._phase:
            self._phase, self._since_s = seen, now_s
        elif now_s - self._since_s >= seen[0].longest_s:
            self.end()

    def _current_phase(self) -> tuple[Phase, object]:
        """Return the state and the current request: a new request restarts the time limit."""
        ended = self.is_between_requests
        if self.transport.get_write_buffer_size() and (ended or self.flow.write_paused):
            phase = Phase.UNREAD
        elif self.transport.is_closing() or (ended and self.awaits_body):
            phase = Phase.LEFTOVER
        elif ended and self.timeout_keep_alive_task is None:
            phase = Phase.HEAD
        else:  # uvicorn's own timer limits the time until the next byte.
            phase = Phase.FREE
        return phase, self.cycle

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the answer in HTTP/1.1 suits a caller that offers HTTP/2, as Java does."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own words
        """Send the API's error for data that is no HTTP."""
        body = catalogue.error_body(catalogue.INVALID_PARAMETERS, new_id("req"), NO_HTTP)
        content = to_json(body)
        headers: list[tuple[Any, Any]] = [
            (b"content-type", JSON.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):  # A response has begun already.
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=content),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
