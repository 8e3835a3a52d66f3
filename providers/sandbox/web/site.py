"""What the browser logins of all providers have in common: addresses, looks, scenes, counting.

A provider's module subclasses `Site` and names the class ``SITE``. Addresses below `Site.root`:

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

import abc
import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import parse_qs, urlencode

from aiohttp import web

from checkpoint_worker.providers.sandbox.simulator import Seen
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

    from checkpoint_worker.providers.sandbox.accounts import Account, Source
    from checkpoint_worker.providers.sandbox.simulator import Simulator
    from checkpoint_worker.providers.sandbox.web.login import Scene
    from checkpoint_worker.providers.sandbox.web.templates import Field

LOGIN_TTL_S: Final = 900.0
INTERSTITIAL_MS: Final = 700
_STEPS: Final = frozenset({"captcha", "consent", "approval"})
_FORGED: Final = "This page is out of date. Please reload it and try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the pages of a provider say.

    Attributes:
        title: Heading of the page that asks for the code.
        wrong: Error for a wrong code.
        expired: Error for an expired one.
        said: Heading and text of each further page, by its name.
        buttons: Text of a button, by the name of its page.
    """

    brand: str
    title: str
    wrong: str
    expired: str
    said: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    buttons: Mapping[str, str] = field(default_factory=dict)


class Site(abc.ABC):
    """One provider's login in a browser.

    Attributes:
        provider: As in the contract.
        domains: Names of hosts that its cookies are for; none, as it has no names here.
        words: What its pages say.
        credentials: Names of the fields for name and password.
        code_fields: Names that a code has on the wire.
        cookie: Name of the cookie that a login's token is kept in.
        token_field: Name of the hidden field with the same token.
        turn_field: Name of the hidden field that changes with each answer; empty without one.
        tries_max: Wrong codes until the login ends.
        by_script: Whether its form is sent by the page's script whatever the look.
        in_place: Whether its script puts the next form in the place of the last one.
        binds: Whether its pages can be bound to their browser.
    """

    provider: ClassVar[str]
    domains: ClassVar[tuple[str, ...]] = ()
    words: ClassVar[Words]
    credentials: ClassVar[tuple[str, str]]
    code_fields: ClassVar[tuple[str, ...]]
    cookie: ClassVar[str]
    token_field: ClassVar[str]
    turn_field: ClassVar[str] = ""
    tries_max: ClassVar[int] = 4
    by_script: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    binds: ClassVar[bool] = False

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.world = simulator.world
        self.root = f"/web/{self.provider.lower()}"
        self._logins: dict[str, WebLogin] = {}  # By key.

    # What differs between the providers

    @abc.abstractmethod
    def cookies(self, login: WebLogin) -> Mapping[str, str]:
        """Return the cookies that a browser has before the login is finished."""

    @abc.abstractmethod
    def fields(self, login: WebLogin) -> Mapping[str, str]:
        """Return the hidden fields of the form, the tokens among them."""

    @abc.abstractmethod
    def field(self, login: WebLogin) -> Field:
        """Return the input that takes the code."""

    @abc.abstractmethod
    def following(self, source: Source) -> Source:
        """Return the source of the code of a second step."""

    def parts(self, login: WebLogin, error: str) -> Mapping[str, str]:
        """Return what the form's template names besides, or instead of, the parts that all have."""
        del login, error
        return {}

    def habits(self, account: Account) -> frozenset[str]:
        """Return the looks that an account's pages have in any case."""
        del account
        return frozenset()

    def new_token(self) -> str:
        """Make the token of a login."""
        return secrets.token_urlsafe(24)

    def judge(self, login: WebLogin, code: str) -> str:
        """Return ``right``, ``wrong`` or ``expired``."""
        return login.account.judge(code, login.source)

    def said(self, login: WebLogin, what: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of the provider's own JSON.

        Args:
            login: The login.
            what: Name of the page that follows, or why none does: ``wrong``, ``expired``,
                ``forged``, ``bound``; ``over`` if the login was elsewhere already.
        """
        del login, what
        return 200, {}

    def home(self, account: Account) -> Html:
        """Return what the account's page has besides its name."""
        del account
        return Html("")

    # The sandbox's side

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        if request.method != "POST":
            return None
        form = _form(body)
        code = next((form[name] for name in self.code_fields if form.get(name)), None)
        if code is None or "key" not in request.match_info:
            return None
        login = self._logins.get(request.match_info["key"])
        return Seen(account=login.account if login else None, code=code)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the addresses, below `root`."""
        step, end = "/{step:captcha|consent|approval}/{key}", "/{end:ended|locked|help}"
        return (
            web.get("/login", self._login_page),
            web.post("/login", self._password),
            web.get("/checkpoint/{key}", self._checkpoint),
            web.get("/form/{key}", self._checkpoint),
            web.post("/checkpoint/{key}", self._code),
            web.post("/bind/{key}", self._bind),
            web.get(step, self._step),
            web.post(step, self._step_done),
            web.get(end, self._end),
            web.get("/away", self._away),
            web.get("/interstitial", self._interstitial),
            web.get("/puzzle", self._puzzle),
            web.get("/home", self._home),
        )

    # Beginning

    async def _login_page(self, request: web.Request) -> web.Response:
        if "account" not in request.query:
            return self._sign_in_page(request)
        named = request.query["account"]
        account = self.world.accounts.get(named) or self.world.find(self.provider, named)
        if account is None or account.provider != self.provider:
            return web.Response(status=404, text=f"{self.provider} has no such account")
        return self._begin(request, account)

    async def _password(self, request: web.Request) -> web.Response:
        form = _form(await request.read())
        name, password = (form.get(each, "") for each in self.credentials)
        account = self.world.find(self.provider, name)
        if account is None or not secrets.compare_digest(
            account.password.encode(), password.encode()
        ):
            return self._sign_in_page(request, "Wrong name or password. Try again.")
        return self._begin(request, account)

    def _sign_in_page(
        self, request: web.Request, error: str = "", *, status: int = 200
    ) -> web.Response:
        name, password = self.credentials
        asked = {key: request.query[key] for key in ("look", "scene") if key in request.query}
        main = fill(
            "signin",
            title="Sign in",
            error=error,
            action=f"{self.root}/login?{urlencode(asked)}".rstrip("?"),
            name_field=name,
            password_field=password,
        )
        return page("Sign in", self.words.brand, main, status=status)

    def _begin(self, request: web.Request, account: Account) -> web.Response:
        scene = request.query.get("scene") or "normal"
        try:
            looks = read_looks(request.query.get("look", "")) | self.habits(account)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        if scene not in SCENES:
            text = f"no scene {scene}; there are {', '.join(SCENES)}"
            return web.Response(status=400, text=text)
        if "bound" in looks and not self.binds:
            return web.Response(status=400, text=f"{self.provider} has no look bound")
        if not account.has_second_factor:
            return self.simulator.begin_session(request, _see_other(f"{self.root}/home"), account)
        login = WebLogin(
            account=account,
            source=account.source,
            looks=looks,
            scene=scene,
            born=self.world.now(),
            token=self.new_token(),
            stage=SCENES[scene].first,
            binding=Binding() if "bound" in looks else None,
        )
        self._logins[login.key] = login
        self.simulator.deliver(account, login.source)
        response = _see_other(f"{self.root}/{login.stage}/{login.key}")
        for name, value in self.cookies(login).items():
            response.headers.add("Set-Cookie", f"{name}={value}; Path=/")
        return response

    # The code

    async def _checkpoint(self, request: web.Request) -> web.Response:
        login, elsewhere = self._find(request, "checkpoint")
        if login is None or elsewhere:
            return _see_other(elsewhere)
        if login.binding is not None and not login.binding.admits(request, b""):
            bind = f"{self.root}/bind/{login.key}"
            return self._page(login, fill("bound"), bind=bind)
        if "iframe" in login.looks and not request.path.startswith(f"{self.root}/form/"):
            source = f"{self.root}/form/{login.key}"
            return self._page(login, fill("frame", title=self.words.title, source=source))
        return self._page(login, self._form_of(login))

    def _page(self, login: WebLogin, main: Html, **data: str) -> web.Response:
        told = {"looks": " ".join(sorted(login.looks)), **data}
        if self.in_place:
            told["in-place"] = ""
        return page(self.words.title, self.words.brand, main, told)

    def _form_of(self, login: WebLogin, error: str = "") -> Html:
        """Return the form as a page shows it."""
        taken = self.field(login)
        by_script = self.by_script or login.looks & {"iframe", "toast"}
        form = {
            "action": f"{self.root}/checkpoint/{login.key}",
            "method": "post",
            "data-send": "script" if by_script else "page",
            "data-length": str(taken.length),
        }
        parts: dict[str, str] = {
            "title": self.words.title,
            "form": attributes(form),
            "hidden": hidden(self.fields(login)),
            "field": field_of(taken, login.looks, is_wrong=bool(error)),
            "button": attributes({"disabled": "disabled" in login.looks}),
            "error": error,
        }
        main = fill(self.provider.lower(), **{**parts, **self.parts(login, error)})
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
        if scene.always or (self.turn_field and form.get(self.turn_field) != login.turn):
            return self._end_at(request, login, scene.always or "ended")
        return self._judged(request, login, scene, form)

    def _judged(
        self, request: web.Request, login: WebLogin, scene: Scene, form: Mapping[str, str]
    ) -> web.Response:
        code = next((form[name] for name in self.code_fields if name in form), "")
        judgement = self.judge(login, code)
        if judgement == "right":
            return self._pass(request, login, scene.right)
        login.tries += 1
        if login.tries >= self.tries_max:
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
        return self.world.now() > login.born + LOGIN_TTL_S

    def _fits(self, request: web.Request, login: WebLogin, form: Mapping[str, str]) -> bool:
        """Whether form and cookie have the login's token."""
        held = [part.strip() for part in request.headers.get("Cookie", "").split(";")]
        is_held = f"{self.cookie}={self.cookies(login)[self.cookie]}" in held
        return is_held and form.get(self.token_field) == login.token

    def _pass(self, request: web.Request, login: WebLogin, to: str) -> web.Response:
        """Go on after the right code."""
        if to == "chained" and login.step == 1:
            del self._logins[login.key]
            login.key = secrets.token_urlsafe(18)
            self._logins[login.key] = login
            login.step, login.tries = login.step + 1, 0
            login.source = self.following(login.source)
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
            return _see_other(to)
        status, body = self.said(login, what) if login else (200, {})
        return web.json_response({**body, "page": {"to": to}}, status=status)

    def _refuse(self, request: web.Request, login: WebLogin, judgement: str) -> web.Response:
        login.rotate()
        error = self.words.expired if judgement == "expired" else self.words.wrong
        if not _by_script(request):
            return self._page(login, self._form_of(login, error))
        status, body = self.said(login, judgement)
        told = {"error": error, "fields": dict(self.fields(login))}
        return web.json_response({**body, "page": told}, status=status)

    def _forbid(self, login: WebLogin, what: str) -> web.Response:
        _status, body = self.said(login, what)
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
            return _see_other(elsewhere)
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
            return _see_other(elsewhere)
        if SCENES[login.scene].first == login.stage:
            login.stage = "checkpoint"
            return _see_other(f"{self.root}/checkpoint/{login.key}")
        return self._finish(request, login)

    async def _end(self, request: web.Request) -> web.Response:
        title, text = self.words.said[request.match_info["end"]]
        main = fill("notice", title=title, text=text, again=f"{self.root}/login")
        return page(title, self.words.brand, main)

    async def _away(self, _request: web.Request) -> web.Response:
        return page("Leaving", self.words.brand, Html(""), {"then": "about:blank", "after-ms": "0"})

    async def _interstitial(self, _request: web.Request) -> web.Response:
        main = Html('<p role="status">One moment, please…</p>')
        data = {"then": f"{self.root}/home", "after-ms": str(INTERSTITIAL_MS)}
        return page("One moment", self.words.brand, main, data)

    async def _puzzle(self, _request: web.Request) -> web.Response:
        return page("Puzzle", self.words.brand, fill("puzzle"))

    async def _home(self, request: web.Request) -> web.Response:
        account = self.simulator.session_owner(request)
        if account is None:
            return self._sign_in_page(request, status=401)
        main = fill(
            "home", handle=account.handle, username=account.username, more=self.home(account)
        )
        return page("Home", self.words.brand, main)


def _form(body: bytes) -> dict[str, str]:
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in form.items()}


def _by_script(request: web.Request) -> bool:
    return request.headers.get("Accept") == "application/json"


def _see_other(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address})
