"""The gateway's middleware: request id, API key, log line and error envelope of every request.

The middleware turns every exception of a handler into the error envelope of the catalogue. It logs
no address, header or body of a request.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPMethod, HTTPStatus
from typing import Final, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.gateway.http import (
    BODY_IN_SCOPE,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    UNAUTHORIZED,
    ApiError,
    ClientDisconnectedError,
    refusal_response,
)
from checkpoint_worker.tasks.gateway.keys import KEY_IN_SCOPE, REQUESTS_MAX, ApiKey, ApiKeys
from checkpoint_worker.tasks.operations.validation import CheckpointError, new_id
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.tasks.tracebacks import places_of

PUBLIC: Final = frozenset({"/openapi.json"})
"""Paths that are answered without a key."""
METHODS: Final = frozenset(HTTPMethod)
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
ID_IN_SCOPE: Final = "checkpoint.request_id"
CONNECTION: Final = "checkpoint.connection"
"""Name in the scope's state under which the server passes a request's connection."""
CUT_OFF: Final = "The server stops and has ended this request."
HUNG_UP: Final = 499
"""Status of a request whose caller has closed the connection, as nginx logs it."""
RETRY_AFTER_S: Final = 2
"""Value of Retry-After when the ledger did not answer."""

OUTAGE_OVER_S: Final = 60.0
"""Time without a request that the ledger failed after which the next one begins an outage."""
REASONS_MAX: Final = 8
"""Maximum number of reasons that are logged in one outage."""

log = logging.getLogger("checkpoint.gateway")


def read_request_id(headers: Headers, made: str) -> str:
    """Return the caller's request id if it is safe for logs and bodies, else ``made``."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else made


class LedgerOutage:
    """Logs why the ledger does not answer: each reason once in an outage, not once a request.

    Args:
        clock: Monotonic clock, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed_s = -math.inf
        self._told: set[str] = set()

    def check(self, error: BaseException) -> None:
        """Log the reason if the ledger caused a refusal and the reason is new in this outage."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, LedgerError):
            cause = cause.__cause__
        if cause is None:
            return
        now_s = self._clock()
        if now_s - self._failed_s > OUTAGE_OVER_S:
            self._told.clear()
        self._failed_s = now_s
        if (reason := str(cause)) not in self._told and len(self._told) < REASONS_MAX:
            self._told.add(reason)
            log.warning("ledger.unanswered error=%(error)s", {"error": reason})


class Connection(Protocol):
    """The server's object of a connection."""

    def know(self) -> None:
        """Record that a request with a valid key came over the connection."""


class GatewayMiddleware:
    """Handles request id, API key, log line and error envelope of every request.

    Args:
        app: The application behind the middleware.
        ring: The API keys that are accepted.
    """

    def __init__(self, app: ASGIApp, *, ring: ApiKeys) -> None:
        self.app = app
        self.ring = ring
        self._outage = LedgerOutage()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, headers = time.monotonic(), Headers(scope=scope)
        request_id = scope[ID_IN_SCOPE] = read_request_id(headers, new_id("req"))
        status = 0
        key = scope[KEY_IN_SCOPE] = self.ring.owner(headers)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = MutableHeaders(scope=message)
                given["X-Request-ID"] = request_id
                given["Cache-Control"] = "no-store"
                given["X-Content-Type-Options"] = "nosniff"
                if key is None and scope["http_version"].startswith("1."):
                    given["Connection"] = "close"  # Without a valid key no connection is kept.
            await send(message)

        try:
            refusal = await self._run(key, scope, receive, send_with_headers)
            if refusal is not None and not status:
                await refusal_response(refusal, request_id)(scope, receive, send_with_headers)
            elif not status:
                # Nobody reads it, but an outer middleware takes no response at all for an error.
                with suppress(OSError):  # As a server may say that the connection is closed.
                    await Response(status_code=HUNG_UP)(scope, receive, send)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            log.info(
                "request.answered method=%s route=%s status=%s ms=%d request_id=%s key=%s",
                scope["method"] if scope["method"] in METHODS else "-",
                route,  # Never the address itself: a caller may have put a secret into it.
                status or "hung-up",
                round((time.monotonic() - start) * 1000),
                request_id,
                key.name if key is not None else "-",
            )

    async def _run(
        self, key: ApiKey | None, scope: Scope, receive: Receive, send: Send
    ) -> ApiError | None:
        """Run a request; return the error that it must be answered with, if any."""
        try:
            if key is None:
                _check_public(scope)
                await self.app(scope, receive, send)
            else:
                await self._run_with_key(key, scope, receive, send)
        except ClientDisconnectedError:
            return None
        except asyncio.CancelledError:
            # A server cancels what takes longer than its stop, and would answer in its own words.
            read = BODY_IN_SCOPE in scope
            done = "The call may have been carried out." if read else "No code was taken."
            again = {"Retry-After": str(RETRY_AFTER_S)}
            return ApiError(catalogue.UNAVAILABLE, f"{CUT_OFF} {done}", headers=again)
        except ApiError as error:
            self._outage.check(error)
            return error
        except CheckpointError as error:
            self._outage.check(error)
            return refusal_of(error)
        except Exception as error:  # noqa: BLE001  every error gets the catalogue's envelope
            # Log only class and places, because the message may quote a secret. Log outside the
            # handler, because an error reporter would attach the exception to the log line.
            kind, places = type(error).__name__, places_of(error)
        else:
            return None
        log.error("request.crashed request_id=%s error=%s at=%s", scope[ID_IN_SCOPE], kind, places)
        return ApiError(catalogue.UNEXPECTED)

    async def _run_with_key(self, key: ApiKey, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection | None = scope.get("state", {}).get(CONNECTION)
        if connection is not None:
            connection.know()
        if key.under_way >= REQUESTS_MAX:
            msg = f"This key has {REQUESTS_MAX:,} requests under way; nothing was done."
            again = {"Retry-After": str(RETRY_AFTER_S)}
            raise ApiError(catalogue.UNAVAILABLE, msg, headers=again)
        key.under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            key.under_way -= 1


def _check_public(scope: Scope) -> None:
    path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
    if f"/{path.lstrip('/')}" not in PUBLIC:  # A server's root path may end with a slash.
        raise ApiError(UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})


def refusal_of(error: CheckpointError, submission_id: str | None = None) -> ApiError:
    """Return an error of the client as an `ApiError`, with the submission id where there is one."""
    headers = {"X-Submission-ID": submission_id} if submission_id else {}
    if error.pair == catalogue.UNAVAILABLE:
        headers["Retry-After"] = str(error.retry_after_s or RETRY_AFTER_S)
    detail = str(error.body["detail"])
    return ApiError(error.pair, detail, instance=submission_id, headers=headers)


async def unrouted_response(request: Request, error: Exception) -> Response:
    """Answer an unknown path or method, or an error of the outer application."""
    assert isinstance(error, HTTPException)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            refusal = ApiError(NOT_FOUND)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            refusal = ApiError(METHOD_NOT_ALLOWED, headers={"Allow": _allowed(request)})
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            refusal = ApiError(catalogue.CONTENT_TOO_LARGE)
        case _:
            refusal = ApiError(catalogue.INVALID_PARAMETERS)
    return refusal_response(refusal, request.scope[ID_IN_SCOPE])


def _allowed(request: Request) -> str:
    found = (
        getattr(route, "methods", None) or ()
        for route in request.app.routes
        if route.matches(request.scope)[0] is not Match.NONE
    )
    return ", ".join(sorted({method for methods in found for method in methods}))
