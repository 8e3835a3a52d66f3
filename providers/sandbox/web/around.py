"""Pages around a login in a browser: the form before it, how it can end, the account's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from aiohttp import web

from checkpoint_worker.providers.sandbox.web.templates import Html, fill, page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from checkpoint_worker.providers.sandbox.simulator import Simulator
    from checkpoint_worker.providers.sandbox.web.dialect import Dialect

INTERSTITIAL_MS: Final = 700


class Around:
    """Pages that take no code.

    Args:
        dialect: Words and forms of the pages.
        simulator: The simulator whose sessions the account's page accepts.

    Attributes:
        root: Path that the addresses are below.
    """

    def __init__(self, dialect: Dialect, simulator: Simulator) -> None:
        self.dialect = dialect
        self.words = dialect.words
        self.provider = dialect.provider
        self.domains: tuple[str, ...] = ()  # No cookie is for a host with a name.
        self.simulator = simulator
        self.accounts = simulator.accounts
        self.root = dialect.root

    def _routes_around(self) -> Iterable[web.RouteDef]:
        return (
            web.get("/{end:ended|locked|help}", self._end),
            web.get("/away", self._away),
            web.get("/interstitial", self._interstitial),
            web.get("/puzzle", self._puzzle),
            web.get("/home", self._home),
        )

    def _sign_in_page(
        self, request: web.Request, error: str = "", *, status: int = 200
    ) -> web.Response:
        name, password = self.dialect.credentials
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
            "home",
            handle=account.handle,
            username=account.username,
            more=self.dialect.home(account),
        )
        return page("Home", self.words.brand, main)


def see_other(address: str) -> web.Response:
    """Answer with a redirect."""
    return web.Response(status=303, headers={"Location": address})
