"""The sandbox's page for people and its control API, a small JSON API for other processes.

| request | answer |
|---|---|
| ``GET /`` | the page |
| ``GET /control/state`` | ``{"providers": {name: {"url", "kinds", "sources"}}, "kinds_everywhere", "faults": {name: type}, "accounts": […]}`` |
| ``POST /control/accounts`` ``{"provider", "source"?, "kind"?, "user_id"?}`` | the account |
| ``POST /control/logins`` ``{"account"}`` | ``{"account", "provider", "checkpoint", "context", "user_id"}`` |
| ``POST /control/codes`` ``{"account", "wrong"?, "expire"?}`` | ``{"code"}``, the current or a wrong code |
| ``POST /control/faults`` ``{"account", "faults": {…}}`` | the account; ``{}`` ends all faults and holds |
| ``GET /control/sends?account=&code=&at_least=&wait_s=`` | ``{"total", "sends": […]}``, at once or when ``at_least`` have arrived |

The API listens only on loopback and accepts only JSON, so a foreign web page cannot post to it.
"""  # noqa: E501  a table

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, NoReturn

from aiohttp import web

from checkpoint_worker.providers.sandbox.accounts import NO_SECOND_FACTOR, Faults

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account, Send
    from checkpoint_worker.providers.sandbox.server import Sandbox

WAIT_S_MAX = 60.0


def application(sandbox: Sandbox) -> web.Application:
    """Return the page and the control API of a sandbox."""
    handlers = _Handlers(sandbox)
    app = web.Application()
    app.add_routes(
        [
            web.get("/", handlers.page),
            web.get("/control/state", handlers.state),
            web.post("/control/accounts", handlers.add_account),
            web.post("/control/logins", handlers.begin_login),
            web.post("/control/codes", handlers.code),
            web.post("/control/faults", handlers.set_faults),
            web.get("/control/sends", handlers.sends),
        ],
    )
    return app


class _Handlers:
    """The handlers of the page and of the control API."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def page(self, _request: web.Request) -> web.Response:
        page = importlib.resources.files("checkpoint_worker.providers.sandbox").joinpath(
            "page.html"
        )
        return web.Response(text=page.read_text("utf-8"), content_type="text/html")

    async def state(self, _request: web.Request) -> web.Response:
        sandbox = self._sandbox
        providers = {
            name: {
                "url": sandbox.urls.get(name, ""),
                "kinds": sorted(simulator.kinds),
                "sources": sorted(simulator.sources),
            }
            for name, simulator in sandbox.simulators.items()
        }
        faults = {each.name: type(each.default).__name__ for each in fields(Faults)}
        accounts = [account.as_json() for account in sandbox.accounts.by_id.values()]
        return web.json_response(
            {
                "providers": providers,
                "kinds_everywhere": [NO_SECOND_FACTOR],
                "faults": faults,
                "accounts": accounts,
            }
        )

    async def add_account(self, request: web.Request) -> web.Response:
        asked = await _json(request)
        if not asked.keys() <= {"provider", "source", "kind", "user_id"}:
            _refuse("an account has provider, source, kind and user_id")
        try:
            account = self._sandbox.add_account(asked.pop("provider", ""), **asked)
        except (TypeError, ValueError) as error:
            _refuse(str(error))
        return web.json_response(account.as_json(), status=201)

    async def begin_login(self, request: web.Request) -> web.Response:
        account = self._account(await _json(request))
        try:
            login = self._sandbox.begin_login(account)
        except ValueError as error:
            _refuse(str(error))
        return web.json_response(asdict(login), status=201)

    async def code(self, request: web.Request) -> web.Response:
        asked = await _json(request)
        account = self._account(asked)
        try:
            code = account.wrong_code() if asked.get("wrong") else account.current_code()
        except LookupError as error:
            _refuse(str(error))
        if asked.get("expire"):
            account.expire_codes()
        return web.json_response({"code": code})

    async def set_faults(self, request: web.Request) -> web.Response:
        asked = await _json(request)
        account = self._account(asked)
        faults = asked.get("faults")
        if not isinstance(faults, dict):
            _refuse('"faults" is an object of fault names and values')
        try:
            self._sandbox.set_faults(account, **faults)
        except ValueError as error:
            _refuse(str(error))
        return web.json_response(account.as_json())

    async def sends(self, request: web.Request) -> web.Response:
        query = request.query
        try:
            at_least = int(query.get("at_least", "0"))
            wait_s = min(float(query.get("wait_s", "0")), WAIT_S_MAX)
        except ValueError:
            _refuse("at_least is a whole number, wait_s a number of seconds")
        account = self._account(dict(query)) if "account" in query else None
        if account is not None and at_least:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(account.received(at_least), wait_s)
        sends = [send for send in self._sandbox.sends if _fits(send, account, query.get("code"))]
        return web.json_response({"total": len(sends), "sends": [asdict(send) for send in sends]})

    def _account(self, asked: dict[str, Any]) -> Account:
        account = self._sandbox.accounts.by_id.get(str(asked.get("account")))
        if account is None:
            _refuse("there is no such account")
        return account


def _fits(send: Send, account: Account | None, code: str | None) -> bool:
    return (account is None or send.account == account.id) and code in {None, send.code}


async def _json(request: web.Request) -> dict[str, Any]:
    # A foreign web page may post forms and plain text to this port, but not this content type.
    if request.content_type != "application/json":
        _refuse("send application/json")
    try:
        asked = await request.json()
    except ValueError:
        _refuse("this is not JSON")
    if not isinstance(asked, dict):
        _refuse("send a JSON object")
    return asked


def _refuse(message: str) -> NoReturn:
    body = json.dumps({"error": message})
    raise web.HTTPBadRequest(text=body, content_type="application/json")
