"""The finished login of a browser, as a session for the backend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from checkpoint_worker.providers.contract import (
    Cookie,
    ProviderFailure,
    ProviderTimeoutError,
    Reply,
    Request,
)
from checkpoint_worker.providers.http.html import cookie_value
from checkpoint_worker.providers.http.jar import Jar, bounded
from checkpoint_worker.providers.linkedin.session import ask_owner
from checkpoint_worker.providers.live_session.browser import answers
from checkpoint_worker.providers.live_session.browser.calls import (
    PageBusyError,
    PageLostError,
    read,
)
from checkpoint_worker.providers.live_session.browser.judging import read_cookies
from checkpoint_worker.providers.sessions import Session, SessionCookie

if TYPE_CHECKING:
    from playwright.async_api import Page

    from checkpoint_worker.providers.live_session.browser.recipes import Recipe

REST_S: Final = 2.0
"""Timeout for the page to come to rest, so that late cookies are in the session."""
STILL_S: Final = 0.3
"""Interval in which the cookies stay as they are, at rest."""
OWNER_S: Final = 5.0
"""Timeout for asking whose login it is."""
SESSION_MAX: Final = 150_000
"""Maximum number of characters of a session, so that its message is not too large."""

_ABOUT: Final = """() => ({
  agent: navigator.userAgent, origin: location.origin,
  stored: Object.entries(localStorage).map(([name, value]) => ({name, value})),
})"""

_OWNER: Final = """() => [...document.querySelectorAll("code[id^=bpr-guid]")]
  .map((each) => each.textContent.slice(0, 100000)).find((text) => /"plainId":/.test(text))"""
"""Finds the answer about the login's owner that LINKEDIN writes into its pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A finished login.

    Attributes:
        user_id: The account's id at the provider, ``None`` if it is unknown.
        session: The session for a client: a storage state of Playwright with the fields of
            `providers.sessions.Session`.
    """

    user_id: str | None
    session: Mapping[str, Any] = field(repr=False)

    def answer(self) -> Mapping[str, object]:
        """Return the verdict; a login without a known account is in doubt."""
        if self.user_id is None:
            return answers.UNREADABLE
        return {"verdict": "cleared", "user_id": self.user_id, "session": dict(self.session)}


class _Asking:
    """The exchange of `ask_owner`, over the browser's own connections and cookies."""

    code_sent = True

    def __init__(self, page: Page) -> None:
        self._page = page

    async def send_code(self, request: object) -> Reply:
        """Raise, because the page has sent the code already."""
        raise NotImplementedError(request)

    async def fetch(self, request: Request) -> Reply:
        """Read the owner from the page's scripts, or else request it with the page's cookies."""
        try:
            written = await read(self._page.evaluate(_OWNER))
            if isinstance(written, str):
                return Reply(status=200, headers={}, body=written.encode())
            answer = await read(
                self._page.context.request.get(
                    request.url, headers=dict(request.headers), max_redirects=0
                )
            )
            body = await read(answer.body())
        except (PageBusyError, PageLostError):
            raise ProviderTimeoutError from None
        return Reply(status=answer.status, headers={}, body=body)


async def collect(
    page: Page, recipe: Recipe, provider: str, site: str, *, user_id: str | None
) -> Login:
    """Return the finished login of a page, which stays as it is.

    Args:
        page: The page.
        recipe: The patterns of the provider's logins.
        provider: The provider.
        site: The login's site; cookies of other sites are not part of the session.
        user_id: The account's id if the caller knows it; a cookie's outweighs it.

    Raises:
        PageLostError: The page is gone, and the login with it.
    """
    cookies = await _at_rest(page, site)
    about: Mapping[str, Any] = {}
    with suppress(PageBusyError):
        about = await read(page.evaluate(_ABOUT))
    owner = await _owner(page, recipe, cookies) or user_id
    session = Session(
        provider=provider,
        user_id=owner or "",
        user_agent=str(about.get("agent", "")),
        device={},
        app={},
        headers={},
        cookies=tuple(map(SessionCookie.of, cookies)),
    ).as_json()
    session |= {
        name: (cookie_value(cookies, cookie) or "").strip('"')
        for name, cookie in recipe.session.items()
    }
    stored = {"origin": about.get("origin", ""), "localStorage": about.get("stored", [])}
    session["origins"] = [stored] if stored["localStorage"] else []
    if _is_large(session):
        session["origins"] = []
    if _is_large(session):
        few = bounded(cookies, frozenset({*recipe.success, *recipe.session.values()}))
        session["cookies"] = [SessionCookie.of(each).model_dump(by_alias=True) for each in few]
    return Login(user_id=owner, session=session)


def _is_large(session: Mapping[str, Any]) -> bool:
    return len(json.dumps(session)) > SESSION_MAX


async def _at_rest(page: Page, site: str) -> Sequence[Cookie]:
    """Return the site's cookies once they stay as they are, or after `REST_S`."""
    clock = asyncio.get_running_loop().time
    until_s = clock() + REST_S
    last: Sequence[Cookie] = ()
    while True:
        with suppress(PageBusyError):
            found = read_cookies(await read(page.context.cookies()), site)
            if found == last or clock() >= until_s:
                return found
            last = found
        await asyncio.sleep(STILL_S)


async def _owner(page: Page, recipe: Recipe, cookies: Sequence[Cookie]) -> str | None:
    """Return the account's id: from its cookie, or by the provider's own answer."""
    if (named := recipe.user_id) is not None:
        return named.read(cookie_value(cookies, named.cookie) or "")
    if not recipe.owner_path:
        return None
    here = urlsplit(page.url)
    token = (cookie_value(cookies, "JSESSIONID") or "").strip('"')
    request = Request(
        url=f"{here.scheme}://{here.netloc}{recipe.owner_path}",
        headers={"csrf-token": token, "x-restli-protocol-version": "2.0.0"},
    )
    with suppress(ProviderFailure, TimeoutError):
        async with asyncio.timeout(OWNER_S):
            asking: Any = _Asking(page)
            owner = await ask_owner(asking, lambda: request, Jar(cookies), patient=True)
            return owner.member_id
    return None
