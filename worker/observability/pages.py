"""Serves health pages over HTTP and reports a state: to a heartbeat file and to systemd.

The worker and the supervisor of several workers share this module; it knows neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from checkpoint_worker.worker.observability.liveness import TICK_S

OK: Final = "ok"
WRITE_EVERY_S: Final = 1.0
"""Interval between two heartbeat files; `worker.cli.probe.FRESH_S` is a multiple of it."""
PAGES_SHUTDOWN_TIMEOUT_S: Final = 1.0
"""Time for open HTTP requests to end when the service stops."""
IDLE_S: Final = 86_400
"""Time for which a connection that was handed over may be idle, seconds: the supervisor sends a
request over it each second."""
EXCHANGE_S: Final = 10.0
"""Longest time for a request at the health address and its answer, until the caller has read it.
Metrics wait up to 3 s for a child."""
CONNECTIONS_MAX: Final = 256
"""Connections at the health address. One more closes the oldest: probes and scrapers have one each,
for less than a second."""
JSON: Final = "application/json; charset=utf-8"
SCRAPE_HEADER_MAX: Final = 1024

Page = Callable[[Request], Awaitable[Response]]
Checks = Mapping[str, str]
"""Maps the name of a check to ``ok``, or to a description of the fault."""

log = structlog.get_logger("checkpoint.health")
_ERRORS: Final = logging.getLogger("uvicorn.error.pages")
"""uvicorn warns of each request that is no HTTP/1.1, and anyone may send one: a probe that speaks
TLS does with every look."""
_ERRORS.setLevel(logging.ERROR)


class AddressError(RuntimeError):
    """The health address cannot be bound; the message names the remedy."""


def fine(checks: Checks) -> bool:
    """Whether all checks pass."""
    return all(text == OK for text in checks.values())


def failing(checks: Checks) -> list[str]:
    """Return the checks that do not pass, each with its description."""
    return [f"{name}: {text}" for name, text in checks.items() if text != OK]


def checks_page(word: str, checks: Checks) -> Response:
    """Return the answer of ``/livez`` or ``/readyz``: 200 or 503, and JSON with every check."""
    good = fine(checks)
    body = json.dumps({word: good, "checks": dict(checks)})
    return Response(body, 200 if good else 503, media_type=JSON)


async def metrics_page(request: Request, expose: Callable[[str], tuple[bytes, str]]) -> Response:
    """Return the metrics in the format that the scraper accepts; encode them on a thread."""
    accept = request.headers.get("Accept", "")[:SCRAPE_HEADER_MAX]
    body, content_type = await asyncio.to_thread(expose, accept)
    return Response(body, headers={"Content-Type": content_type})


class _Bounded(H11Protocol):
    """A connection of an unknown caller, which is bounded in time and number.

    The time begins anew with each answer. Between two requests uvicorn's own limit is shorter, but
    ends with the first byte of the next one.

    Args:
        config: uvicorn's configuration.
        state: uvicorn's state of the server.
        others: The open connections of this kind, the oldest first.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, others: dict[_Bounded, None]
    ) -> None:
        super().__init__(config, state, {})
        self.logger = _ERRORS
        self._others = others
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; close the oldest connection if there are too many."""
        super().connection_made(transport)
        if len(self._others) >= CONNECTIONS_MAX:
            oldest = next(iter(self._others))
            del self._others[oldest]  # `connection_lost` follows later.
            oldest.transport.abort()
        self._others[self] = None
        self._begin_exchange()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._others.pop(self, None)
        if self._limit is not None:
            self._limit.cancel()

    def on_response_complete(self) -> None:
        """Begin to wait until the caller has read the answer and sends the next request."""
        super().on_response_complete()
        self._begin_exchange()

    def _begin_exchange(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self.loop.call_later(EXCHANGE_S, self.transport.abort)


class Pages:
    """A server of a few pages.

    Args:
        pages: Maps a path to its handler.

    Attributes:
        address: The bound address, once the server listens.
    """

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.address: str | None = None
        self._router = Router(
            [Route(path, page) for path, page in pages.items()], redirect_slashes=False
        )
        self._server: asyncio.Server | None = None
        self._served = ServerState()
        self._open: dict[_Bounded, None] = {}

    async def listen(self, address: str) -> None:
        """Serve the pages at ``host:port``; port 0 takes any free one.

        Raises:
            AddressError: The address is in use or does not belong to this machine.
        """
        host, _, port = address.rpartition(":")
        config = self._config()
        # Not `uvicorn.Server`: it ends the process where the address cannot be bound.
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Bounded(config, self._served, self._open), host.strip("[]"), int(port)
            )
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or "not a port"
            msg = (
                f"cannot listen on CHECKPOINT_HEALTH_ADDRESS={address} ({why}); each worker of a"
                " machine needs its own, or port 0"
            )
            raise AddressError(msg) from None
        bound = self._server.sockets[0].getsockname()
        self.address = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
        log.info("health.listening", address=self.address)

    async def answer(self, connection: socket.socket) -> None:
        """Serve the pages over a connection that is open already, until its other end closes.

        Its other end is the supervisor, which is known and may be late: it has no limits.
        """
        connection.setblocking(False)  # noqa: FBT003  as the library has it
        config = self._config(timeout_keep_alive=IDLE_S)
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: H11Protocol(config, self._served, {}), connection
        )

    async def leave(self) -> None:
        """Accept no more connections, and let the open requests end."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._served.connections):
            connection.shutdown()
        if self._served.tasks:
            await asyncio.wait(self._served.tasks, timeout=PAGES_SHUTDOWN_TIMEOUT_S)

    def _config(self, **options: Any) -> uvicorn.Config:  # noqa: ANN401  the library's
        config = uvicorn.Config(
            self._router,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            workers=1,
            **options,
        )
        config.load()
        return config


@dataclass(slots=True, kw_only=True)
class Reports:
    """Reports a state about once a second: to a heartbeat file and to the service manager.

    Attributes:
        heartbeat_file: Path of the file, or ``None`` for none.
    """

    heartbeat_file: str | None
    _written_s: float = -math.inf
    _write_failed: bool = False
    _writing: asyncio.Task[None] | None = None
    _manager: Manager = field(default_factory=lambda: Manager(os.environ.get("NOTIFY_SOCKET")))

    def is_due(self) -> bool:
        """Return whether a report is due, and regard it as made."""
        now_s = time.monotonic()
        if now_s - self._written_s < WRITE_EVERY_S - TICK_S / 2:
            return False
        self._written_s = now_s
        return True

    def make(
        self, *, worker: str, live: bool, why: list[str], draining: bool, address: str | None
    ) -> None:
        """Report a state.

        Args:
            worker: The name of the worker in the ledger.
            live: Whether it is alive.
            why: The checks that keep it from being ready; empty if it is.
            draining: Whether it was asked to stop.
            address: The health address that it listens on.
        """
        self._manager.tell(live=live, why=why, draining=draining)
        if self.heartbeat_file and (self._writing is None or self._writing.done()):
            state = {
                "pid": os.getpid(),
                "worker": worker,
                "monotonic_s": self._written_s,
                "live": live,
                "ready": not why,
                "why": why,
                "address": address,
            }
            # On a thread, so that a blocked disk does not block attempts; the file becomes stale.
            self._writing = asyncio.create_task(self._write(self.heartbeat_file, json.dumps(state)))

    async def close(self) -> None:
        """Report the end and remove the heartbeat file."""
        self._manager.tell(live=True, why=["has stopped"], draining=True)
        if self._writing is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        if self.heartbeat_file:
            with contextlib.suppress(OSError, RuntimeError):
                await asyncio.to_thread(os.unlink, self.heartbeat_file)

    async def _write(self, path: str, text: str) -> None:
        try:
            await asyncio.to_thread(write_atomically, Path(path), text)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started.
            if not self._write_failed:
                log.warning(
                    "heartbeat_file.not_written",
                    error=getattr(error, "strerror", str(error)),
                    path=path,
                    remedy="make its folder writable, or set another CHECKPOINT_HEARTBEAT_FILE",
                )
            self._write_failed = True
        else:
            self._write_failed = False


def write_atomically(path: Path, text: str) -> None:
    """Replace a file, so that a reader finds either the old text or the new one.

    Raises:
        OSError: The file could not be written; the old file is unchanged.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


class Manager:
    """Notifies the service manager, if ``NOTIFY_SOCKET`` names its socket (sd_notify(3)).

    The manager receives the end of the start, a watchdog message each second while the worker is
    alive, the status text, and the stop. A worker that is not ready counts as started, because
    Redis may be unreachable.

    Args:
        path: Path of the manager's socket; ``None`` if there is no manager.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path.replace("@", "\0", 1) if path and path[0] in "/@" else None
        self._sent: set[str] = set()

    def tell(self, *, live: bool, why: Sequence[str], draining: bool) -> None:
        """Send the state that has changed; ``why`` lists the failed checks."""
        if self._path is None:
            return
        lasting = {"READY=1", f"STATUS={'not ready: ' + ', '.join(why) if why else 'ready'}"}
        if draining:
            lasting.add("STOPPING=1")
        words = [*(["WATCHDOG=1"] if live else []), *sorted(lasting - self._sent)]
        self._sent = lasting
        if words:
            self._send("\n".join(words))

    def _send(self, text: str) -> None:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection,
        ):
            connection.settimeout(0)
            connection.sendto(text.encode(), self._path or "")
