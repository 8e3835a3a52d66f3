"""What the browser logins of all providers have in common: addresses, looks, scenes, counting.

Addresses below `Site.root`:

| address | what |
|---|---|
| ``GET /login?account=&look=&scene=`` | begins a login and redirects to its first page |
| ``GET /login``, ``POST /login`` | the form for name and password; it begins a login, too |
| ``GET /checkpoint/{key}``, ``POST`` | the page that asks for the code; takes it |
| ``GET /form/{key}`` | its form alone, for the look ``iframe`` |
| ``GET /{captcha,consent,approval}/{key}``, ``POST`` | what a person must do first; it is done |
| ``POST /bind/{key}`` | the look ``bound``: the browser's public key |
| ``GET /{ended,locked,help,away,interstitial}`` | pages that take nothing |
| ``GET /home`` | the account's page; 401 and the form for name and password without a session |

The script of a page asks with ``Accept: application/json`` and gets the provider's own JSON with
``page`` in it, which says what to do: ``{"to": address}``, or ``{"error": text, "fields": {…}}``.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from aiohttp import web

from checkpoint_worker.providers.sandbox.simulator import Seen
from checkpoint_worker.providers.sandbox.web.around import Around, see_other
from checkpoint_worker.providers.sandbox.web.bound import Binding
from checkpoint_worker.providers.sandbox.web.login import SCENES, WebLogin, read_looks
from checkpoint_worker.providers.sandbox.web.templates import (
    Html,
    attributes,
    field_of,
    fill,
    hidden,
    page,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account
    from checkpoint_worker.providers.sandbox.simulator import Simulator
    from checkpoint_worker.providers.sandbox.web.dialect import Dialect
    from checkpoint_worker.providers.sandbox.web.login import Scene

LOGIN_TTL_S: Final = 900.0
_STEPS: Final = frozenset({"captcha", "consent", "approval"})
_FORGED: Final = "This page is out of date. Please reload it and try again."


class Site(Around):
    """One provider's login in a browser.

    Args:
        dialect: Words and forms of its pages.
        simulator: The simulator that has the accounts and makes the sessions.
    """

    def __init__(self, dialect: Dialect, simulator: Simulator) -> None:
        super().__init__(dialect, simulator)
        self._logins: dict[str, WebLogin] = {}  # By key.

    # The sandbox's side

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        if request.method != "POST":
            return None
        form = _form(body)
        code = next((form[name] for name in self.dialect.code_fields if form.get(name)), None)
        if code is None or "key" not in request.match_info:
            return None
        login = self._logins.get(request.match_info["key"])
        return Seen(account=login.account if login else None, code=code)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the addresses, below `root`."""
        step = "/{step:captcha|consent|approval}/{key}"
        return (
            web.get("/login", self._login_page),
            web.post("/login", self._password),
            web.get("/checkpoint/{key}", self._checkpoint),
            web.get("/form/{key}", self._checkpoint),
            web.post("/checkpoint/{key}", self._code),
            web.post("/bind/{key}", self._bind),
            web.get(step, self._step),
            web.post(step, self._step_done),
            *self._routes_around(),
        )

    # Beginning

    async def _login_page(self, request: web.Request) -> web.Response:
        if "account" not in request.query:
            return self._sign_in_page(request)
        named = request.query["account"]
        account = self.accounts.by_id.get(named) or self.accounts.find(self.provider, named)
        if account is None or account.provider != self.provider:
            return web.Response(status=404, text=f"{self.provider} has no such account")
        return self._begin(request, account)

    async def _password(self, request: web.Request) -> web.Response:
        form = _form(await request.read())
        name, password = (form.get(each, "") for each in self.dialect.credentials)
        account = self.accounts.find(self.provider, name)
        if account is None or not secrets.compare_digest(
            account.password.encode(), password.encode()
        ):
            return self._sign_in_page(request, "Wrong name or password. Try again.")
        return self._begin(request, account)

    def _begin(self, request: web.Request, account: Account) -> web.Response:
        scene = request.query.get("scene") or "normal"
        try:
            looks = read_looks(request.query.get("look", "")) | self.dialect.habits(account)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        if scene not in SCENES:
            text = f"no scene {scene}; there are {', '.join(SCENES)}"
            return web.Response(status=400, text=text)
        if "bound" in looks and not self.dialect.binds:
            return web.Response(status=400, text=f"{self.provider} has no look bound")
        if not account.has_second_factor:
            return self.simulator.begin_session(request, see_other(f"{self.root}/home"), account)
        login = WebLogin(
            account=account,
            source=account.source,
            looks=looks,
            scene=scene,
            born=self.accounts.now(),
            token=self.dialect.new_token(),
            stage=SCENES[scene].first,
            binding=Binding() if "bound" in looks else None,
        )
        self._logins[login.key] = login
        self.simulator.deliver(account, login.source)
        response = see_other(f"{self.root}/{login.stage}/{login.key}")
        for name, value in self.dialect.cookies(login).items():
            response.headers.add("Set-Cookie", f"{name}={value}; Path=/")
        return response

    # The code

    async def _checkpoint(self, request: web.Request) -> web.Response:
        login, elsewhere = self._find(request, "checkpoint")
        if login is None or elsewhere:
            return see_other(elsewhere)
        if login.binding is not None and not login.binding.admits(request, b""):
            bind = f"{self.root}/bind/{login.key}"
            return self._page(login, fill("bound"), bind=bind)
        if "iframe" in login.looks and not request.path.startswith(f"{self.root}/form/"):
            source = f"{self.root}/form/{login.key}"
            return self._page(login, fill("frame", title=self.words.title, source=source))
        return self._page(login, self._form_of(login))

    def _page(self, login: WebLogin, main: Html, **data: str) -> web.Response:
        told = {"looks": " ".join(sorted(login.looks)), **data}
        if self.dialect.in_place:
            told["in-place"] = ""
        return page(self.words.title, self.words.brand, main, told)

    def _form_of(self, login: WebLogin, error: str = "") -> Html:
        """Return the form as a page shows it."""
        taken = self.dialect.field(login)
        by_script = self.dialect.by_script or login.looks & {"iframe", "toast"}
        form = {
            "action": f"{self.root}/checkpoint/{login.key}",
            "method": "post",
            "data-send": "script" if by_script else "page",
            "data-length": str(taken.length),
        }
        parts: dict[str, str] = {
            "title": self.words.title,
            "form": attributes(form),
            "hidden": hidden(self.dialect.fields(login, self.accounts.now())),
            "field": field_of(taken, login.looks, is_wrong=bool(error)),
            "button": attributes({"disabled": "disabled" in login.looks}),
            "error": error,
        }
        main = fill(self.provider.lower(), **{**parts, **self.dialect.parts(login, error)})
        return fill("late", main=main) if "late" in login.looks else main

    async def _code(self, request: web.Request) -> web.Response:
        login, elsewhere = self._find(request, "checkpoint")
        if login is None or elsewhere:
            return self._go(request, login, "over", elsewhere)
        body = await request.read()
        form = _form(body)
        if login.binding is not None and not login.binding.admits(request, body):
            return self._forbid(login, "bound")
        if not self._fits(request, login, form):
            return self._forbid(login, "forged")
        scene = SCENES[login.scene]
        if scene.always == "silent":
            await asyncio.Event().wait()
        if scene.always or (
            self.dialect.turn_field and form.get(self.dialect.turn_field) != login.turn
        ):
            return self._end_at(request, login, scene.always or "ended")
        return self._judged(request, login, scene, form)

    def _judged(
        self, request: web.Request, login: WebLogin, scene: Scene, form: Mapping[str, str]
    ) -> web.Response:
        code = next((form[name] for name in self.dialect.code_fields if name in form), "")
        judgement = self.dialect.judge(login, code)
        if judgement == "right":
            return self._pass(request, login, scene.right)
        login.tries += 1
        if login.tries >= self.dialect.tries_max:
            return self._end_at(request, login, "locked")
        return self._refuse(request, login, judgement)

    def _find(self, request: web.Request, stage: str) -> tuple[WebLogin | None, str]:
        """Return the login of an address, and where it is if it is not at this stage."""
        login = self._logins.get(request.match_info["key"])
        if login is None or login.stage == "over" or self._is_expired(login):
            return login, f"{self.root}/ended"
        at = "" if login.stage == stage else f"{self.root}/{login.stage}/{login.key}"
        return login, at

    def _is_expired(self, login: WebLogin) -> bool:
        return self.accounts.now() > login.born + LOGIN_TTL_S

    def _fits(self, request: web.Request, login: WebLogin, form: Mapping[str, str]) -> bool:
        """Whether form and cookie have the login's token."""
        held = [part.strip() for part in request.headers.get("Cookie", "").split(";")]
        is_held = (
            f"{self.dialect.cookie}={self.dialect.cookies(login)[self.dialect.cookie]}" in held
        )
        return is_held and form.get(self.dialect.token_field) == login.token

    def _pass(self, request: web.Request, login: WebLogin, to: str) -> web.Response:
        """Go on after the right code."""
        if to == "chained" and login.step == 1:
            del self._logins[login.key]
            login.key = secrets.token_urlsafe(18)
            self._logins[login.key] = login
            login.step, login.tries = login.step + 1, 0
            login.source = self.dialect.following(login.source)
            login.rotate()
            self.simulator.deliver(login.account, login.source)
            return self._go(request, login, "checkpoint", f"{self.root}/checkpoint/{login.key}")
        if to in _STEPS:
            login.stage = to
            return self._go(request, login, to, f"{self.root}/{to}/{login.key}")
        if to in {"away", "help"}:
            return self._end_at(request, login, to)
        return self._finish(request, login)

    def _finish(self, request: web.Request, login: WebLogin) -> web.Response:
        login.stage = "over"
        to = "interstitial" if "interstitial" in login.looks else "home"
        response = self._go(request, login, to, f"{self.root}/{to}")
        return self.simulator.begin_session(request, response, login.account)

    def _end_at(self, request: web.Request, login: WebLogin, end: str) -> web.Response:
        login.stage = "over"
        return self._go(request, login, end, f"{self.root}/{end}")

    def _go(self, request: web.Request, login: WebLogin | None, what: str, to: str) -> web.Response:
        """Send the browser to a page."""
        if not _by_script(request):
            return see_other(to)
        status, body = self.dialect.said(login, what) if login else (200, {})
        return web.json_response({**body, "page": {"to": to}}, status=status)

    def _refuse(self, request: web.Request, login: WebLogin, judgement: str) -> web.Response:
        login.rotate()
        error = self.words.expired if judgement == "expired" else self.words.wrong
        if not _by_script(request):
            return self._page(login, self._form_of(login, error))
        status, body = self.dialect.said(login, judgement)
        told = {"error": error, "fields": dict(self.dialect.fields(login, self.accounts.now()))}
        return web.json_response({**body, "page": told}, status=status)

    def _forbid(self, login: WebLogin, what: str) -> web.Response:
        _status, body = self.dialect.said(login, what)
        return web.json_response({**body, "page": {"error": _FORGED}}, status=403)

    async def _bind(self, request: web.Request) -> web.Response:
        login, elsewhere = self._find(request, "checkpoint")
        if login is None or elsewhere or login.binding is None:
            return web.Response(status=404)
        nonce = login.binding.bind(await request.read())
        if not nonce:
            return self._forbid(login, "bound")
        return web.json_response({"nonce": nonce})

    # Other pages

    async def _step(self, request: web.Request) -> web.Response:
        """Show what a person must do before the login goes on."""
        step = request.match_info["step"]
        login, elsewhere = self._find(request, step)
        if login is None or elsewhere:
            return see_other(elsewhere)
        title, text = self.words.said[step]
        main = fill(
            step,
            title=title,
            text=text,
            action=request.path,
            button=self.words.buttons.get(step, "Continue"),
            puzzle=f"{self.root}/puzzle",
        )
        return page(title, self.words.brand, main)

    async def _step_done(self, request: web.Request) -> web.Response:
        login, elsewhere = self._find(request, request.match_info["step"])
        if login is None or elsewhere:
            return see_other(elsewhere)
        if SCENES[login.scene].first == login.stage:
            login.stage = "checkpoint"
            return see_other(f"{self.root}/checkpoint/{login.key}")
        return self._finish(request, login)


def _form(body: bytes) -> dict[str, str]:
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in form.items()}


def _by_script(request: web.Request) -> bool:
    return request.headers.get("Accept") == "application/json"
