"""The page of ``checkpoint up``: a gateway, a page that uses it, and a login service.

The page submits codes and receives outcomes through the gateway's own URLs, as each caller does.
This module adds what a browser cannot do itself: it begins a login at the sandbox and opens its
intent, reads the inbox, and makes the provider slow. It works with simulated providers only,
listens on 127.0.0.1, and is no part of the app that `tasks.gateway.make_gateway` returns.

In a product the browser calls the backend, which holds the API key. Here the page has an API key of
its own, made for this run, and each response forbids scripts, styles and connections from other
origins. So a client that reaches this port can use the sandbox, and nothing else.

| request | answer |
|---|---|
| ``GET /`` | the page |
| ``GET /try/providers`` | ``{"LINKEDIN": ["EMAIL", …], …}`` |
| ``POST /try/login`` ``{"provider", "source"}`` or ``{"account_id"}`` | the intent, ``source`` |
| ``GET /try/inbox?account_id=`` | ``{"code", "source", "received"}``; ``received``: codes so far |
| ``POST /try/wrong`` ``{"account_id"}`` | ``{"code"}``, one that stays wrong |
| ``POST /try/pace`` ``{"account_id", "pace"}`` | ``{"pace"}``: ``prompt``, ``slow``, ``silent`` |
| anything else | the gateway's |

A request that fails is answered with ``{"error": "a sentence"}``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import html
import http.client
import importlib.resources
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from checkpoint_worker.providers.sandbox import SandboxClient, SandboxError
from checkpoint_worker.tasks.gateway import Application, close_gateway, make_gateway
from checkpoint_worker.tasks.gateway.http import ApiError, ClientDisconnectedError, read_fields
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.worker.gateway import run

T = TypeVar("T")

HOST: Final = "127.0.0.1"
NAMES: Final = (HOST, "localhost")
"""Host names that a browser may use: a foreign name that resolves to this machine is refused."""
BODY_BYTES: Final = 4_096
PLAYGROUND_SHUTDOWN_TIMEOUT_S: Final = 3
"""Time for open requests at a stop; shorter than the time for which the parent process waits."""
SLOW_S: Final = 3.0
SOURCES: Final = ("EMAIL", "SMS", "APP", "BACKUP")
"""Sources of codes in order of preference."""
FILES: Final[Mapping[str, str]] = {"try.css": "text/css", "try.js": "text/javascript"}
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class WordsError(Exception):
    """A request of the page is refused; the text is shown to the user."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def make_try_page(settings: Settings, sandbox_url: str) -> tuple[Starlette, Application]:
    """Return the page with its gateway, and that gateway.

    Args:
        settings: Settings of a deployment whose providers are those of the sandbox.
        sandbox_url: The URL of the sandbox's page.

    Raises:
        BadKeyError: There is no usable secret key.
    """
    key = secrets.token_hex(16)
    keys = (*settings.api_keys, SecretStr(key))
    gateway = make_gateway(settings.model_copy(update={"api_keys": keys}))
    api = PlaygroundApi(SandboxClient(sandbox_url), gateway, settings)
    limit = f"{settings.provider_timeout_s:g}"

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await close_gateway(gateway)

    app = Starlette(
        routes=[
            Route("/", _page_of({"key": key, "sandbox": sandbox_url, "limit": limit})),
            Route("/try/{name:str}.{kind:str}", _answer_file),
            Route("/try/providers", api.providers),
            Route("/try/login", api.begin, methods=["POST"]),
            Route("/try/inbox", api.inbox),
            Route("/try/wrong", api.wrong, methods=["POST"]),
            Route("/try/pace", api.response_speed, methods=["POST"]),
            Mount("/", app=gateway),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=NAMES, www_redirect=False)],
        exception_handlers={
            WordsError: _answer_error,
            ApiError: _answer_error,
            CheckpointError: _answer_error,
            ClientDisconnectedError: _answer_disconnected,
        },
        lifespan=lifespan,
    )
    return app, gateway


class PlaygroundApi:
    """Handlers that act as the login service and read the inboxes, by means of the sandbox.

    Args:
        sandbox: The sandbox that holds the accounts.
        gateway: The gateway whose client opens the intents.
        settings: Settings of this deployment; they limit the delay of a slow provider.
    """

    def __init__(self, sandbox: SandboxClient, gateway: Application, settings: Settings) -> None:
        self._sandbox = sandbox
        self._gateway = gateway
        self._paces: Mapping[str, Mapping[str, object]] = {
            "prompt": {},
            "slow": {"slow": min(SLOW_S, settings.provider_timeout_s / 2)},
            "silent": {"hang": True},
        }

    async def providers(self, _request: Request) -> Response:
        """Return the providers and the sources of their codes."""
        return JSONResponse(await self._offers(), headers=HEADERS)

    async def begin(self, request: Request) -> Response:
        """Begin a login for a new or a known account, and open its intent."""
        fields = await read_fields(request, ("provider", "source", "account_id"), BODY_BYTES)
        account_id = fields.get("account_id")
        if account_id is None:
            account_id = (await self._add(fields.get("provider"), fields.get("source")))["id"]
        elif fields.keys() != {"account_id"}:
            raise WordsError(400, "An account has its provider and source already.")
        else:
            await self._account(account_id)
        await self._ask(self._sandbox.set_faults, account_id)
        login = await self._ask(self._sandbox.begin_login, account_id)
        info = await self._gateway.state.gateway.client.open_intent(
            account_id=account_id,
            provider=login["provider"],
            checkpoint=login["checkpoint"],
            context=login["context"],
            user_id=login["user_id"],
        )
        source = login["checkpoint"].get("source")
        return JSONResponse({**info.model_dump(mode="json"), "source": source}, 201, HEADERS)

    async def inbox(self, request: Request) -> Response:
        """Return the code that is valid now."""
        account = await self._account(request.query_params.get("account_id"))
        source = account["inbox"][-1]["source"] if account["inbox"] else account["source"]
        body = {"code": account["current_code"], "source": source, "received": account["sends"]}
        return JSONResponse(body, headers=HEADERS)

    async def wrong(self, request: Request) -> Response:
        """Return a wrong code."""
        fields = await read_fields(request, ("account_id",), BODY_BYTES)
        account = await self._account(fields.get("account_id"))
        code = await self._ask(self._sandbox.wrong_code, account["id"])
        return JSONResponse({"code": code}, headers=HEADERS)

    async def response_speed(self, request: Request) -> Response:
        """Set how fast the provider answers from now on."""
        fields = await read_fields(request, ("account_id", "pace"), BODY_BYTES)
        account = await self._account(fields.get("account_id"))
        pace = str(fields.get("pace"))
        if pace not in self._paces:
            raise WordsError(400, f"There is no such pace; there are {', '.join(self._paces)}.")
        faults = self._paces[pace]
        await self._ask(self._sandbox.set_faults, account["id"], **faults)
        return JSONResponse({"pace": pace}, headers=HEADERS)

    # Calls of the sandbox -------------------------------------------------------------------

    async def _offers(self) -> dict[str, list[str]]:
        there = (await self._ask(self._sandbox.state))["providers"]
        return {name: sorted(each["sources"], key=SOURCES.index) for name, each in there.items()}

    async def _add(self, provider: object, source: object) -> dict[str, Any]:
        offers = await self._offers()
        if not isinstance(provider, str) or provider not in offers:
            raise WordsError(400, f"There is no such provider; there are {', '.join(offers)}.")
        if not isinstance(source, str) or source not in offers[provider]:
            there = ", ".join(offers[provider])
            raise WordsError(400, f"{provider} sends no code that way; there are {there}.")
        return await self._ask(self._sandbox.add_account, provider, source=source)

    async def _account(self, account_id: object) -> dict[str, Any]:
        try:
            return await self._ask(self._sandbox.account, str(account_id))
        except LookupError:
            msg = "The sandbox knows no such account: start a login first."
            raise WordsError(404, msg) from None

    @staticmethod
    async def _ask(call: Callable[..., T], *values: object, **options: object) -> T:
        """Call the sandbox on a thread.

        Raises:
            WordsError: 502, the sandbox does not answer or refuses.
        """
        try:
            return await asyncio.to_thread(call, *values, **options)
        except SandboxError:
            msg = "The sandbox refuses that; its page shows what it has."
            raise WordsError(502, msg) from None
        except (OSError, ValueError, http.client.HTTPException):
            msg = "The sandbox does not answer. Is `checkpoint up` still running?"
            raise WordsError(502, msg) from None


# Responses -----------------------------------------------------------------------------


async def _answer_error(_request: Request, error: Exception) -> Response:
    match error:
        case WordsError(status=status):
            words = str(error)
        case ApiError(pair=pair, detail=detail):
            status, words = pair.status, detail or pair.detail
        case CheckpointError(status=status, body=body):
            words = str(body["detail"])
        case _:
            raise error
    return JSONResponse({"error": words}, status, HEADERS)


async def _answer_disconnected(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


def _page_of(values: Mapping[str, str]) -> Callable[[Request], Awaitable[Response]]:
    text = _read("try.html")
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", html.escape(value))

    async def answer(_request: Request) -> Response:
        return Response(text, headers=HEADERS, media_type="text/html")

    return answer


async def _answer_file(request: Request) -> Response:
    name = "{name}.{kind}".format_map(request.path_params)
    if name not in FILES:
        raise WordsError(404, "There is nothing here under this name.")
    return Response(_read(name), headers=HEADERS, media_type=FILES[name])


def _read(name: str) -> str:
    return (
        importlib.resources.files("checkpoint_worker.worker.local")
        .joinpath("pages", name)
        .read_text("utf-8")
    )


# The program ---------------------------------------------------------------------------


def serve(
    settings: Settings, sandbox_url: str, *, port: int, announce: Callable[[str], object]
) -> None:
    """Run the page until SIGTERM.

    Args:
        settings: Settings of this deployment.
        sandbox_url: The URL of the sandbox's page.
        port: The preferred port; a free one is used if it is taken, or 0.
        announce: Called with the page's URL once it answers.
    """
    app, gateway = make_try_page(settings, sandbox_url)
    with _listen(port) as listener:
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        ready = functools.partial(announce, address)
        run(app, gateway, listener, grace_s=0.0, leave_s=PLAYGROUND_SHUTDOWN_TIMEOUT_S, ready=ready)


def _listen(port: int) -> socket.socket:
    with contextlib.suppress(OSError):
        return socket.create_server((HOST, port))
    return socket.create_server((HOST, 0))


def main(options: list[str]) -> None:
    """Serve the page as a child of ``checkpoint up``; read settings from the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m checkpoint_worker.worker.local.playground", description=__doc__
    )
    parser.add_argument("--until-stdin-closes", action="store_true")
    parser.add_argument("--sandbox", required=True, help="address of the sandbox's page")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args(options)
    if asked.until_stdin_closes:
        from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415

        end_with_stdin()
    from checkpoint_worker.worker.observability import logs  # noqa: PLC0415

    settings = Settings()
    logs.configure(settings)

    def announce(address: str) -> None:
        sys.stdout.write(json.dumps({"try": address}) + "\n")
        sys.stdout.flush()

    serve(settings, asked.sandbox, port=asked.port, announce=announce)


if __name__ == "__main__":
    main(sys.argv[1:])
