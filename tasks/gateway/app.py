"""The application of the gateway: its endpoints, its middleware and its OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from checkpoint_worker.tasks.client import AsyncCheckpointClient, make_vault
from checkpoint_worker.tasks.gateway.http import ApiError, ClientDisconnectedError
from checkpoint_worker.tasks.gateway.keys import ApiKeys
from checkpoint_worker.tasks.gateway.middleware import (
    PUBLIC,
    GatewayMiddleware,
    unrouted_response,
)
from checkpoint_worker.tasks.gateway.openapi import make_openapi
from checkpoint_worker.tasks.gateway.routes import Gateway, Handler
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.tracebacks import no_values


class NoKeysError(ValueError):
    """The gateway has no API keys outside the embedded mode; the message names the remedy."""


def make_gateway(
    settings: Settings | None = None, *, client: AsyncCheckpointClient | None = None
) -> Application:
    """Return the endpoint as an application.

    An application that runs on its own opens and closes its client in its lifespan. A mounted
    application gets no lifespan: its first request makes the client, and the backend awaits
    `close_gateway` when it ends.

    Args:
        settings: The settings; by default those of ``client`` or, without a client, those read
            from ``CHECKPOINT_*`` in the environment.
        client: A client that the gateway shares with the rest of a backend, which also closes it.

    Raises:
        NoKeysError: `Settings.api_keys` is empty and this is not the embedded mode.
        BadKeyError: There is no usable secret key.
    """
    settings = settings or (client.settings if client else Settings())
    if not settings.api_keys and not settings.embedded:
        msg = (
            "CHECKPOINT_API_KEYS: the gateway needs a key, and none is set; make one with"
            " `openssl rand -hex 32` (several, separated by commas)"
        )
        raise NoKeysError(msg)
    gateway = Gateway(settings, client)
    if client is None:
        make_vault(settings)  # An unusable key fails at start-up, not at the first request.
    app = Application(
        routes=[_route(*each) for each in gateway.routes],
        middleware=[Middleware(GatewayMiddleware, ring=ApiKeys(settings))],
        exception_handlers={HTTPException: unrouted_response},
        lifespan=gateway.lifespan,
    )
    app.router.redirect_slashes = False
    app.state.gateway = gateway
    return app


class Application(Starlette):
    """The gateway as an application, with its OpenAPI document."""

    _document: dict[str, Any] | None = None

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; the first call makes it."""
        if self._document is None:
            self._document = make_openapi(self.state.gateway.settings)
        return self._document


async def close_gateway(app: Application) -> None:
    """Answer all waiting callers, and close the connections of a mounted gateway."""
    gateway: Gateway = app.state.gateway
    await gateway.close()


class _Endpoint:
    """One endpoint as an ASGI application instead of a handler function of Starlette.

    An error reporter may wrap handler functions and read the body before them. The body would then
    be missing here, and the report would contain a code in clear.
    """

    def __init__(self, path: str, handler: Handler) -> None:
        self.path, self._handler = path, handler
        self._names = re.findall(r"{(\w+)}", path)  # An outer mount may add path parameters.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        with no_values(ApiError, CheckpointError, ClientDisconnectedError):
            found = {name: scope["path_params"][name] for name in self._names}
            answer = await self._handler(Request(scope, receive, send), **found)
        await answer(scope, receive, send)


def _route(method: str, path: str, handler: Handler) -> Route:
    route = Route(path, _Endpoint(path, handler), methods=[method])
    if path not in PUBLIC:
        route.methods = {method}  # Starlette adds HEAD to GET.
    return route
