"""LINKEDIN in the sandbox after the login: the session, and the pages clients ask for with it."""

from __future__ import annotations

import json
import secrets
from html import escape
from typing import TYPE_CHECKING

from aiohttp import web

from checkpoint_worker.providers.sandbox.linkedin_wire import (
    cookies_of,
    new_session,
    page,
    see_other,
    set_cookie,
)
from checkpoint_worker.providers.sandbox.simulator import Simulator

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts


class Pages(Simulator):
    """The requests after the code."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._sessions: dict[str, tuple[Account, str]] = {}  # By li_at; with its JSESSIONID.

    def _new_login(self, account: Account, session: str) -> str:
        li_at = "AQEDAR" + secrets.token_urlsafe(48)
        self._sessions[li_at] = (account, session)
        return li_at

    def begin_session(
        self, request: web.Request, response: web.Response, account: Account
    ) -> web.Response:
        """See `Simulator.begin_session`."""
        session = new_session()
        li_at = self._new_login(account, session)
        set_cookie(request, response, "li_at", li_at, more="; Max-Age=31536000; HttpOnly")
        set_cookie(request, response, "JSESSIONID", f'"{session}"', more="; Max-Age=7776000")
        set_cookie(request, response, "chp_token", "", more="; Max-Age=0")
        return response

    def session_owner(self, request: web.Request) -> Account | None:
        """See `Simulator.session_owner`."""
        return self._session(request)[0]

    def _session(self, request: web.Request) -> tuple[Account | None, bool]:
        """Return whose session a request has, and whether its token is the session's."""
        cookies = cookies_of(request)
        account, session = self._sessions.get(cookies.get("li_at", ""), (None, ""))
        token = request.headers.get("csrf-token") or request.query.get("csrfToken")
        return account, token == session == cookies.get("JSESSIONID", "").strip('"')

    async def _feed(self, request: web.Request) -> web.Response:
        if self._session(request)[0] is None:
            return see_other("/uas/login")
        return page("<h1>Feed</h1>")

    async def _home(self, _request: web.Request) -> web.Response:
        """Answer the start page, whose head names the application to its scripts."""
        instance = json.dumps(
            {"applicationUrn": "urn:li:application:(voyager,web)", "version": "1"}
        )
        names = {"applicationInstance": instance, "clientPageInstanceId": secrets.token_hex(8)}
        metas = "".join(
            f'<meta name="{name}" content="{escape(value)}">' for name, value in names.items()
        )
        return page(f"{metas}<h1>Welcome</h1>")

    async def _logout(self, request: web.Request) -> web.Response:
        if self._session(request)[1]:
            self._sessions.pop(cookies_of(request).get("li_at", ""), None)
        return see_other("/")

    async def _voyager(self, request: web.Request) -> web.Response:
        """Answer any other request of the site's interface: the owner, and lists that are empty."""
        account, fits = self._session(request)
        if account is None:
            return web.Response(status=401)
        if not fits:
            return web.Response(status=403, text="CSRF check failed.")
        mini = profile_of(account)
        empty = {"elements": [], "paging": {"start": 0, "count": 0, "links": []}}
        views = ("position", "education", "language", "publication", "certification", "skill")
        more = ("volunteerExperience", "honor", "project")
        view = {f"{name}View": empty for name in (*views, *more)}
        profile = {
            "miniProfile": mini,
            "entityUrn": f"urn:li:fs_profile:ACoAA{account.user_id}",
            "firstName": "Person",
            "lastName": "-",
            "headline": "-",
            "defaultLocale": {"country": "US", "language": "en"},
            "supportedLocales": [],
            "versionTag": "1",
            "showEducationOnProfileTopCard": False,
        }
        return web.json_response({**empty, **view, "profile": profile, "metadata": {}})


def profile_of(account: Account) -> dict[str, object]:
    """Return the short profile of an account's owner."""
    return {
        "firstName": "Person",
        "lastName": "-",
        "occupation": "-",
        "trackingId": secrets.token_urlsafe(12),
        "publicIdentifier": account.handle,
        "entityUrn": f"urn:li:fs_miniProfile:ACoAA{account.user_id}",
        "dashEntityUrn": f"urn:li:fsd_profile:ACoAA{account.user_id}",
        "objectUrn": f"urn:li:member:{account.user_id}",
    }
