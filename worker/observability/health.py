"""Reports whether this worker is alive and ready: over HTTP, by a heartbeat file, to systemd.

*Alive* means that both loops of the process run. *Ready* means that the worker takes codes: the
broker is connected, messages are consumed, the ledger answers heartbeats, and no stop was
requested. An unreachable broker or Redis makes the worker unready but not dead, because a restart
would not help.

This module runs on the loop that runs the attempts. If that loop is blocked, no HTTP answer and no
heartbeat file is written, which correctly reports the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn
from celery.worker import state as celery_state
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from checkpoint_worker.tasks.execution.sweeper import Heartbeat
from checkpoint_worker.worker.observability.access import OK, Access
from checkpoint_worker.worker.observability.ledger_gauges import LedgerGauges
from checkpoint_worker.worker.observability.liveness import (
    HUB_STALE_S,
    LIVENESS,
    LOOP_STALE_S,
    TICK_S,
)
from checkpoint_worker.worker.observability.logs import lines_lost
from checkpoint_worker.worker.observability.metrics import METRICS

WRITE_EVERY_S: Final = 1.0
"""Interval between two heartbeat files; `worker.cli.probe.FRESH_S` is a multiple of it."""
LEAVE_S: Final = 1.0
"""Time for open HTTP requests to end when the worker stops."""
JSON: Final = "application/json; charset=utf-8"
SCRAPE_HEADER_MAX: Final = 1024

log = structlog.get_logger("checkpoint.health")

Checks = Mapping[str, str]
"""Maps the name of a check to ``ok``, or to a description of the fault."""


class AddressError(RuntimeError):
    """The health address cannot be bound; the message names the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChecks:
    """Evaluates the state of the parts of a worker.

    Attributes:
        worker: Celery's worker.
        heart: The heartbeat in the ledger.
        access: The permission check of the ledger's user.
    """

    worker: Any
    heart: Heartbeat
    access: Access

    def live(self) -> Checks:
        """Return the checks whose failure a restart can mend."""
        loop_s, hub_s = LIVENESS.loop_age_s, LIVENESS.hub_age_s
        return {
            "loop": OK if loop_s < LOOP_STALE_S else f"blocked for {loop_s:.0f} s",
            "hub": OK if hub_s < HUB_STALE_S else f"Celery's thread blocked for {hub_s:.0f} s",
        }

    def ready(self) -> Checks:
        """Return the checks whose failure keeps codes away from this worker."""
        consumer = getattr(self.worker, "consumer", None)
        reached = getattr(consumer, "connection", None) is not None
        lost = getattr(consumer, "lost_by", "")
        return {
            **self.live(),
            "broker": OK if reached else "not reached",
            "consuming": OK
            if LIVENESS.consuming
            else f"no messages are taken{lost and f'; {lost}'}",
            "ledger": self._ledger(),
            "redis": self.access.said,
            "draining": "was asked to stop" if draining() else OK,
        }

    def _ledger(self) -> str:
        answered_s = self.heart.answered_s
        why = f"; {self.heart.refused}" if self.heart.refused else ""
        if answered_s is None:
            return f"no heartbeat was answered yet{why}"
        age_s = time.monotonic() - answered_s
        if age_s < self.heart.attempts.settings.lost_after_s:
            return OK
        return f"no heartbeat answered for {age_s:.0f} s{why}"


def draining() -> bool:
    """Whether a warm or cold stop was requested."""
    return any(
        asked is not None and asked is not False
        for asked in (celery_state.should_stop, celery_state.should_terminate)
    )


def fine(checks: Checks) -> bool:
    """Whether all checks pass."""
    return all(text == OK for text in checks.values())


@dataclass(slots=True, kw_only=True)
class Health:
    """Publishes the health of one worker while its pool runs.

    Attributes:
        ask_hub: Makes the hub's thread call a function; returns false before the hub is known.
        capacity: Returns the number of jobs that the pool runs at once.
        checkup: The checks to publish.
        view: Gauges that are refreshed before each scrape.
        heartbeat_file: Path of the heartbeat file, or ``None`` for none.
        address: The bound address, once the server listens.
    """

    ask_hub: Callable[[Callable[[], None]], bool]
    capacity: Callable[[], int]
    checkup: HealthChecks
    view: LedgerGauges
    heartbeat_file: str | None
    address: str | None = None
    _server: asyncio.Server | None = None
    _served: ServerState = field(default_factory=ServerState)
    _writing: asyncio.Task[None] | None = None
    _written_s: float = 0.0
    _write_failed: bool = False
    _hub_asked: bool = False
    _manager: Manager = field(default_factory=lambda: Manager(os.environ.get("NOTIFY_SOCKET")))

    async def listen(self, address: str) -> None:
        """Serve ``/livez``, ``/readyz`` and ``/metrics``.

        Raises:
            AddressError: The address is in use or does not belong to this machine.
        """
        host, _, port = address.rpartition(":")
        pages = {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}
        config = uvicorn.Config(
            Router([Route(path, page) for path, page in pages.items()], redirect_slashes=False),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            workers=1,
        )
        config.load()
        # Not `uvicorn.Server`: it ends the process where the address cannot be bound.
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: H11Protocol(config, self._served, {}), host.strip("[]"), int(port)
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

    async def run(self) -> None:
        """Measure both loops and publish the health until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                asked_s = loop.time()
                await asyncio.sleep(TICK_S)
                LIVENESS.loop_turned(loop.time() - asked_s - TICK_S)
                self._ask_hub()
                self._publish()
        finally:
            await self._close()

    def _ask_hub(self) -> None:
        if not self._hub_asked:
            # Before the call: the hub's thread may answer at once.
            self._hub_asked = True
            if not self.ask_hub(self._hub_answers):
                self._hub_asked = False

    def _hub_answers(self) -> None:
        self._hub_asked = False
        LIVENESS.hub_turned()

    def _publish(self) -> None:
        """Write the heartbeat file and notify the service manager, about once a second."""
        now_s = time.monotonic()
        if now_s - self._written_s < WRITE_EVERY_S - TICK_S / 2:
            return
        self._written_s = now_s
        live, ready = fine(self.checkup.live()), self.checkup.ready()
        why = [f"{name}: {text}" for name, text in ready.items() if text != OK]
        self._manager.tell(live=live, why=why, draining=draining())
        if self.heartbeat_file and (self._writing is None or self._writing.done()):
            state = {
                "pid": os.getpid(),
                "worker": self.checkup.heart.attempts.worker,
                "monotonic_s": now_s,
                "live": live,
                "ready": not why,
                "why": why,
                "address": self.address,
            }
            # On a thread, so that a blocked disk does not block attempts; the file becomes stale.
            self._writing = asyncio.create_task(self._write(json.dumps(state)))

    async def _write(self, text: str) -> None:
        assert self.heartbeat_file is not None
        try:
            await asyncio.to_thread(write_atomically, Path(self.heartbeat_file), text)
        except OSError as error:
            if not self._write_failed:
                log.warning("heartbeat_file.not_written", error=error.strerror)
            self._write_failed = True
        else:
            self._write_failed = False

    async def _close(self) -> None:
        self._manager.tell(live=True, why=["has stopped"], draining=True)
        if self._writing is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        if self.heartbeat_file:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.unlink, self.heartbeat_file)
        if self._server is not None:
            await self._leave(self._server)

    async def _leave(self, server: asyncio.Server) -> None:
        """Accept no more connections, and let the open requests end."""
        server.close()
        for connection in list(self._served.connections):
            connection.shutdown()
        if self._served.tasks:
            await asyncio.wait(self._served.tasks, timeout=LEAVE_S)

    # HTTP handlers

    async def _livez(self, _request: Request) -> Response:
        return _answer("live", self.checkup.live())

    async def _readyz(self, _request: Request) -> Response:
        return _answer("ready", self.checkup.ready())

    async def _metrics(self, request: Request) -> Response:
        await self.view.refresh()
        attempts = self.checkup.heart.attempts
        METRICS.in_flight.set(len(attempts.running))
        METRICS.capacity.set(self.capacity())  # `--concurrency` overrides the setting.
        METRICS.loop_lag.set(LIVENESS.lag_s)
        METRICS.ready.set(fine(self.checkup.ready()))
        METRICS.draining.set(draining())
        METRICS.log_lines_lost.inc(lines_lost())
        accept = request.headers.get("Accept", "")[:SCRAPE_HEADER_MAX]
        body, content_type = await asyncio.to_thread(METRICS.expose, accept)
        return Response(body, headers={"Content-Type": content_type})


def _answer(word: str, checks: Checks) -> Response:
    good = fine(checks)
    body = json.dumps({word: good, "checks": dict(checks)})
    return Response(body, 200 if good else 503, media_type=JSON)


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
