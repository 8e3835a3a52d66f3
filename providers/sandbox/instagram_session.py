"""INSTAGRAM in the sandbox after the login: the session, and what clients ask for with it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from aiohttp import web

from checkpoint_worker.providers.sandbox.instagram_answers import CROWD, ROUTED
from checkpoint_worker.providers.sandbox.instagram_wire import (
    LoginState,
    bloks_answer,
    json_answer,
    packed_login,
    session_id_of,
    session_of,
    set_cookie,
    welcome,
)
from checkpoint_worker.providers.sandbox.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts

_PICTURE = "https://scontent.cdninstagram.com/v/person.jpg"


class SessionStep(Simulator):
    """The requests after the code."""

    provider: ClassVar[str] = "INSTAGRAM"

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._sessions: dict[str, Account] = {}  # By sessionid.

    def _let_in(self, login: LoginState, kind: str) -> web.Response:
        account = login.account
        session_id = self._new_session(
            account, account.user_id if kind != "nobody" else secrets.token_hex(4) + "x"
        )
        user = person_of(account)
        headers, cookies = session_of(account, session_id, login.token)
        if kind == "nobody":
            headers, cookies = {}, {"sessionid": session_id}
            user = {name: user[name] for name in ("username", "full_name")}
        elif kind == "mismatch":
            user["pk"] = int(account.user_id) + 1
        if kind == "sessionless":
            headers, cookies = {"ig-set-authorization": "Bearer IGT:2:"}, {}
        elif kind == "header_only":
            cookies = {}
        elif kind == "routed":
            cookies["rur"] = ROUTED
        elif kind == "home_redirect" or (login.is_web and kind != "header_only"):
            headers = {}
        if login.is_bloks and kind != "home_redirect":
            return bloks_answer(packed_login(user, headers, cookies))
        response = _welcome(login, user, kind)
        response.headers.update(headers)
        for name, value in cookies.items():
            set_cookie(response, name, value)
        for number in range(CROWD if kind == "crowded" else 0):
            response.headers.add("Set-Cookie", f"seen_{number}=; Path=/; Max-Age=0")
        return response

    def _new_session(self, account: Account, named: str) -> str:
        session_id = f"{named}%3A{secrets.token_urlsafe(14)}%3A12"
        self._sessions[session_id] = account
        return session_id

    def begin_session(
        self, _request: web.Request, response: web.Response, account: Account
    ) -> web.Response:
        """See `Simulator.begin_session`."""
        session_id = self._new_session(account, account.user_id)
        _headers, cookies = session_of(account, session_id, secrets.token_urlsafe(24))
        for name, value in cookies.items():
            set_cookie(response, name, value, more="; HttpOnly" if name == "sessionid" else "")
        return response

    def session_owner(self, request: web.Request) -> Account | None:
        """See `Simulator.session_owner`."""
        return self._sessions.get(session_id_of(request))

    async def _signed_in(self, request: web.Request) -> web.Response:
        """Answer any request of a session: the owner, and lists that are empty."""
        account = self._sessions.get(session_id_of(request))
        if account is None:
            return json_answer(403, {"message": "login_required", "logout_reason": 2})
        user = person_of(account)
        inbox = {"threads": [], "has_older": False, "unseen_count": 0, "unseen_count_ts": 0}
        inbox |= {"blended_inbox_enabled": False}
        lists = ("tray", "feed_items", "items", "users", "broadcasts", "reels", "suggestions")
        said: dict[str, object] = {name: [] for name in lists} | {
            "user": user,
            "logged_in_user": user,
            "viewer": user,
            "form_data": {**user, "first_name": user["full_name"]},
        }
        data = {"user": {**user, "id": account.user_id}, "viewer": user}
        more = {
            "inbox": inbox,
            "more_available": False,
            "num_results": 0,
            "seq_id": 1,
            "data": data,
        }
        return json_answer(
            200,
            {
                "status": "ok",
                **said,
                **more,
                "pending_requests_total": 0,
                "has_pending_top_requests": False,
            },
        )


def person_of(account: Account) -> dict[str, object]:
    """Return the whole user object that the app gets of its owner; counts are 0, lists empty."""
    flags = (
        "is_private",
        "is_verified",
        "is_business",
        "has_anonymous_profile_picture",
        "can_boost_post",
        "can_see_organic_insights",
        "show_insights_terms",
        "allow_contacts_sync",
        "is_using_unified_inbox_for_direct",
        "is_call_to_action_enabled",
    )
    counts = (
        "media_count",
        "follower_count",
        "following_count",
        "account_type",
        "total_igtv_videos",
        "interop_messaging_user_fbid",
    )
    return {
        "pk": int(account.user_id),
        "pk_id": account.user_id,
        "id": account.user_id,
        "username": account.handle,
        "full_name": "Person",
        "email": account.username,
        "phone_number": "",
        "biography": "",
        "external_url": "",
        "profile_pic_id": f"1_{account.user_id}",
        "profile_pic_url": _PICTURE,
        "hd_profile_pic_url_info": {"url": _PICTURE, "width": 320, "height": 320},
        "hd_profile_pic_versions": [],
        "bio_links": [],
        "nametag": {},
        "pinned_channels_info": {"pinned_channels_list": []},
        "gender": 3,
        "reel_auto_archive": "off",
        "allowed_commenter_type": "any",
        **dict.fromkeys(flags, False),
        **dict.fromkeys(counts, 0),
    }


def _welcome(login: LoginState, user: Mapping[str, object], kind: str) -> web.Response:
    """Write the body of a finished login, or what comes in its place."""
    if kind == "home_redirect":
        return web.Response(status=302, headers={"Location": "https://www.instagram.com/"})
    answer = json_answer(200, {"status": "ok"} if kind == "bare" else welcome(login, user, kind))
    if kind == "guarded":
        return web.Response(text=f"for (;;);{answer.text}", content_type="application/json")
    return answer
