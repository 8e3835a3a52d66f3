"""TWITTER in the sandbox around the login: the site's pages before it, the account's after it.

Web clients compute the header ``x-client-transaction-id`` from the start page and a script of it: a
key in its head, four drawings, and numbers in the script that say which parts of them count. Here
all of these are drawn by lot. The header is not checked.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from checkpoint_worker.providers.sandbox.simulator import Simulator
from checkpoint_worker.providers.sandbox.twitter_flow import Sessions, id_of

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts

_KEY_BYTES = 48
_FRAMES, _ROWS, _NUMBERS = 4, 16, 11  # Drawings; rows of a drawing; numbers of a row.
_PAGE = (
    '<!DOCTYPE html><html><head><meta name="twitter-site-verification" content="{key}">'
    "</head><body>{frames}<script>window.__CHUNKS__={{'ondemand.s':'{chunk}'}};"
    'names={{0:"main",{number}:"ondemand.s"}};hashes={{0:"0",{number}:"{chunk}"}};'
    'document.cookie="gt={guest}; Max-Age=10800; Path=/; Secure";</script></body></html>'
)
"""The start page; it names its script as the site did at first, and as it does now."""
METRICS = """(function(){
function metrics() {return {'rf':{'a':1},'s':'x'};}
var field=document.getElementsByName('ui_metrics')[0];
if(field){field.value=JSON.stringify(metrics());}
})();
"""
"""The script whose result a browser hands in with the first subtask."""
_FRAME = (
    '<svg id="loading-x-anim-{number}"><g><path d="M 10,30"></path>'
    '<path d="M 10,30 C{rows}"></path></g></svg>'
)


def start_page(guest: str) -> web.Response:
    """Answer the site's start page.

    Args:
        guest: The token that the page's script keeps as a cookie.
    """
    frames = "".join(_FRAME.format(number=n, rows=_drawing()) for n in range(_FRAMES))
    key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    drawn = {"chunk": secrets.token_hex(4), "number": secrets.randbelow(90_000) + 10_000}
    text = _PAGE.format(key=key, frames=frames, guest=guest, **drawn)
    return web.Response(text=text, content_type="text/html")


async def script(_request: web.Request) -> web.Response:
    """Answer a script of the start page."""
    indices = ",".join(f"(a[{secrets.randbelow(_KEY_BYTES)}], 16)" for _ in range(4))
    return web.Response(text=f"e=[{indices}];", content_type="application/javascript")


def _drawing() -> str:
    rows = ([str(secrets.randbelow(256)) for _ in range(_NUMBERS)] for _ in range(_ROWS))
    return "C".join(",".join(row) for row in rows)


class Pages(Simulator):
    """The requests after the code."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._sessions = Sessions()

    def begin_session(
        self, request: web.Request, response: web.Response, account: Account
    ) -> web.Response:
        """See `Simulator.begin_session`."""
        self._sessions.begin(request, response, account)
        return response

    def session_owner(self, request: web.Request) -> Account | None:
        """See `Simulator.session_owner`."""
        return self._sessions.owner(request)

    async def _verify_credentials(self, request: web.Request) -> web.Response:
        return self._sessions.whose(request)

    async def _settings(self, request: web.Request) -> web.Response:
        found = self._sessions.check(request)
        return found if isinstance(found, web.Response) else web.json_response(settings_of(found))

    async def _query(self, request: web.Request) -> web.Response:
        found = self._sessions.check(request)
        if isinstance(found, web.Response):
            return found
        return web.json_response(answer_of(found, id_of(found)))


def settings_of(account: Account) -> dict[str, object]:
    """Return the settings of an account, as the site reads them first."""
    return {"screen_name": account.handle, "language": "en", "protected": False}


def answer_of(account: Account, user_id: str) -> dict[str, object]:
    """Return what any query of the site gets: the owner as a user, and an empty timeline."""
    user = {"result": user_of(account, user_id)}
    end = {"entryType": "TimelineTimelineCursor", "value": "end", "cursorType": "Bottom"}
    entry = {"entryId": "cursor-bottom-0", "sortIndex": "0", "content": end}
    steps = [{"type": "TimelineAddEntries", "entries": [entry]}]
    timeline = {"home_timeline_urt": {"instructions": steps, "metadata": {}}}
    viewer = {"user_results": user, "is_active_creator": False}
    return {"data": {"user": user, "viewer": viewer, "home": timeline}}


def user_of(account: Account, user_id: str) -> dict[str, object]:
    """Return the whole user object of an account; counts are 0, flags are off."""
    flags = (
        "verified",
        "possibly_sensitive",
        "can_dm",
        "can_media_tag",
        "want_retweets",
        "default_profile",
        "default_profile_image",
        "has_custom_timelines",
        "is_translator",
        "protected",
    )
    things = ("followers", "fast_followers", "normal_followers", "friends", "favourites")
    counts = (f"{name}_count" for name in (*things, "listed", "media", "statuses"))
    legacy = {
        "created_at": "Mon Jan 01 00:00:00 +0000 2024",
        "name": "Person",
        "screen_name": account.handle,
        "profile_image_url_https": "https://pbs.twimg.com/person.jpg",
        "location": "",
        "description": "",
        "entities": {"description": {"urls": []}},
        "pinned_tweet_ids_str": [],
        "translator_type": "none",
        "withheld_in_countries": [],
        **dict.fromkeys(flags, False),
        **dict.fromkeys(counts, 0),
    }
    return {
        "__typename": "User",
        "id": base64.b64encode(f"User:{user_id}".encode()).decode(),
        "rest_id": user_id,
        "is_blue_verified": False,
        "legacy": legacy,
    }
