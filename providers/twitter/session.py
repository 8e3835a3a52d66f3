"""The finished login of TWITTER: the state that one attempt's answers add up to, and its session.

A session is a cookie ``auth_token`` with the CSRF token ``ct0``, or an app's pair of OAuth tokens.
If the provider sets no ``ct0``, this module makes one as the provider's site does in a browser: the
request that asks for the account carries it, and the provider answers with a longer one.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from pydantic import Field

from checkpoint_worker.providers import sessions
from checkpoint_worker.providers.answers import read_json, refuse_common
from checkpoint_worker.providers.contract import (
    Cleared,
    NetworkDownError,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    ProxyFailedError,
    Reply,
    Request,
    ServiceUnavailableError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.http.html import cookie_value, has_session, merge_cookies
from checkpoint_worker.providers.http.jar import bounded, settled
from checkpoint_worker.providers.twitter.meanings import OK, part
from checkpoint_worker.providers.twitter.protocol import OcfContext, headers_of, standing_headers

if TYPE_CHECKING:
    from checkpoint_worker.providers.contract import Exchange

ME_PATH: Final = "/1.1/account/verify_credentials.json"
AUTH: Final = "auth_token"
TOKEN: Final = "ct0"  # noqa: S105  a name
TOKEN_BYTES: Final = 16
"""Bytes of a token made here: 32 hexadecimal digits, as the site's script makes them."""
OAUTH: Final = ("oauth_token", "oauth_token_secret", "known_device_token")

ASKED_MAX: Final = 3  # Tries of a request without a code before its failure counts.
ME_ASKED_MAX: Final = 6  # Tries of the request that a login cannot be handed over without.
ASKED_PAUSE_S: Final = 0.2  # Pause before the second try; multiplied before each further one.
COURTESY_S: Final = 3.0
"""Timeout for a request that the session does not depend on."""
_NEEDED: Final = frozenset({AUTH, TOKEN, "twid", "kdt", "att", "guest_id", "_twitter_sess"})

HICCUPS = (NetworkDownError, ProviderBrokenError, ProxyFailedError, ServiceUnavailableError)
"""Failures on the way to an answer that a retry may avoid."""

_TWID = re.compile(r'"?u=([0-9]{1,20})(?:&[^"]*)?"?')
_ID = re.compile(r"[0-9]{1,20}")
_TOKEN_OWNER = re.compile(r"([0-9]{1,20})-.+")


def is_login(reply: Reply) -> bool:
    """Whether an answer sets the session's cookie, whatever else it has."""
    return has_session(settled(reply.cookies), AUTH)


class TwitterSession(sessions.Session):
    """A finished login at TWITTER: its cookies, or the tokens of an app."""

    csrf_token: str | None = Field(
        repr=False,
        description="The cookie `ct0`, which each request repeats as `x-csrf-token`.",
    )
    screen_name: str | None = Field(description="The account's name, without `@`, if told.")
    oauth_token: str | None = Field(None, repr=False, description="Apps only: OAuth 1.0a.")
    oauth_token_secret: str | None = Field(None, repr=False, description="Signs with it.")
    known_device_token: str | None = Field(
        None, repr=False, description="Apps only: shown at the next login of this device."
    )


class LoginState:
    """The state that the answers of one attempt have added up to.

    Args:
        held: The context of the attempt.
        exchange: The connection to the provider.
        api_url: Address of the API that names the login's account.

    Attributes:
        context: The challenge context after the replies read so far.
    """

    def __init__(self, *, held: OcfContext, exchange: Exchange, api_url: str) -> None:
        self.context = held
        self._exchange = exchange
        self._api_url = api_url
        self._ids: dict[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._screen_name: str | None = None
        self._has_cookies = False

    @property
    def is_signed_in(self) -> bool:
        """Whether the answers have set a session and not revoked it."""
        return self._has_cookies or "oauth_token_secret" in self._tokens

    def keep(self, **changes: object) -> None:
        """Change the context within the bounds that a context from a caller has."""
        context = self.context.changed(**changes)
        if context is None:
            msg = "The provider's answer is not of a kind that can be answered."
            raise UnreadableAnswerError(msg)
        self.context = context

    def keep_cookies(self, reply: Reply) -> None:
        """Merge the cookies of an answer; ``auth_token`` decides whether there is a session."""
        fresh = settled(reply.cookies, self.context.cookies)
        if not fresh:
            return
        self.keep(cookies=bounded(merge_cookies(self.context.cookies, fresh), _NEEDED))
        if any(cookie.name == AUTH for cookie in fresh):
            self._has_cookies = has_session(fresh, AUTH)
        if twid := _TWID.fullmatch(unquote(cookie_value(fresh, "twid") or "")):
            self._ids["twid"] = twid[1]

    def keep_account(self, account: Mapping[str, Any]) -> None:
        """Keep the account of ``open_account``; apps get tokens there instead of cookies."""
        self._keep_user(part(account, "user") or {}, "open_account")
        told = {name: account[name] for name in OAUTH if isinstance(account.get(name), str)}
        self._tokens |= {name: value for name, value in told.items() if value}
        owner = _TOKEN_OWNER.fullmatch(self._tokens.get("oauth_token", ""))
        if owner and "open_account" not in self._ids:
            self._ids["oauth_token"] = owner[1]

    def keep_id(self, user_id: object) -> None:
        """Keep an id from an arbitrary place of an answer, used only if there is no better one."""
        if _ID.fullmatch(str(user_id)):
            self._ids.setdefault("somewhere", str(user_id))

    def _keep_user(self, user: Mapping[str, Any], where: str) -> None:
        user_id = str(user.get("id_str") or user.get("id"))
        if _ID.fullmatch(user_id):
            self._ids[where] = user_id
        if isinstance(user.get("screen_name"), str):
            self._screen_name = user["screen_name"] or self._screen_name

    async def cleared(self) -> Cleared:
        """Return the finished login with the id of its account and a usable session.

        Raises:
            UnreadableAnswerError: It has no id or two, or the session was revoked.
        """
        somewhere = self._ids.pop("somewhere", None)
        lacks_token = self._has_cookies and cookie_value(self.context.cookies, TOKEN) is None
        if lacks_token:
            self._make_token()
        if not self._ids and somewhere is None:
            await self._ask_me()
        elif lacks_token:
            await self._show_token()
        found = set(self._ids.values()) or {somewhere or ""}
        if len(found) != 1:
            msg = "The provider's answer contradicts itself: one login of two accounts."
            raise UnreadableAnswerError(msg)
        if not self.is_signed_in:
            msg = "The provider revoked the finished login at once."
            raise UnreadableAnswerError(msg)
        user_id = found.pop()
        if not user_id:
            msg = "The provider accepted the code but did not say whose account it is."
            raise UnreadableAnswerError(msg)
        return Cleared(user_id=user_id, session=self._session(user_id).as_json())

    def _session(self, user_id: str) -> TwitterSession:
        context = self.context
        tokens: dict[str, Any] = dict(self._tokens)
        return TwitterSession(
            provider="TWITTER",
            user_id=user_id,
            username=self._screen_name,
            screen_name=self._screen_name,
            csrf_token=cookie_value(context.cookies, TOKEN),
            headers=standing_headers(context),
            **sessions.of_context(context, context.cookies),
            **tokens,
        )

    def _make_token(self) -> None:
        """Make the CSRF token, for the hosts of the session's cookie."""
        held = next(each for each in self.context.cookies if each.name == AUTH)
        made = held.model_copy(
            update={
                "name": TOKEN,
                "value": secrets.token_hex(TOKEN_BYTES),
                "path": "/",
                "expires_at": None,
                "http_only": False,
                "same_site": "Lax",
            }
        )
        self.keep(cookies=merge_cookies(self.context.cookies, (made,)))

    async def ask(self, request: Request) -> Reply:
        """Send a request without a code, with a limited number of retries.

        A timeout is not retried, because the flow may have moved on from this step.
        """
        return await self._fetch_with_retries(request, asked_max=ASKED_MAX, again=HICCUPS)

    async def _fetch_with_retries(
        self, request: Request, *, asked_max: int, again: tuple[type[ProviderFailure], ...]
    ) -> Reply:
        asked = 1
        while True:
            try:
                reply = await self._exchange.fetch(request)
                refuse_common(reply)
            except again:
                if asked == asked_max:
                    raise
                await asyncio.sleep(ASKED_PAUSE_S * asked)
                asked += 1
            else:
                return reply

    async def _ask_me(self) -> None:
        """Ask whose login it is; the request has no code, so it is retried.

        The first answer may only set the token that it requires.

        Raises:
            UnreadableAnswerError: The answers do not name the account.
        """
        cause: ProviderFailure | None = None
        again = (*HICCUPS, ProviderTimeoutError)
        for asked in range(ASKED_MAX):
            await asyncio.sleep(ASKED_PAUSE_S * asked)
            try:
                reply = await self._fetch_with_retries(
                    self._me(), asked_max=ME_ASKED_MAX, again=again
                )
                if self._apply_account(reply):
                    return
            except UnreadableAnswerError as failure:  # A page: the next answer may be another.
                cause = failure
            except ProviderFailure as failure:
                cause = failure
                break
        msg = "The provider accepted the code but did not say whose account it is."
        raise UnreadableAnswerError(msg) from cause

    async def _show_token(self) -> None:
        """Send the made token to the provider, which may replace it; a failure changes nothing."""
        try:
            async with asyncio.timeout(COURTESY_S):
                self._apply_account(await self._exchange.fetch(self._me()))
        except (ProviderFailure, TimeoutError):
            pass

    def _apply_account(self, reply: Reply) -> bool:
        """Keep the content of an answer about the account; return whether it names the account.

        Raises:
            UnreadableAnswerError: The answer cannot be read.
        """
        self.keep_cookies(reply)
        if self._has_cookies and cookie_value(self.context.cookies, TOKEN) is None:
            self._make_token()
        me = read_json(reply)
        if reply.status == OK and isinstance(me, Mapping):
            self._keep_user(me, "me")
        return "me" in self._ids

    def _me(self) -> Request:
        headers = headers_of(self.context, ME_PATH) | {"x-twitter-auth-type": "OAuth2Session"}
        return Request(url=self._api_url + ME_PATH, headers=self.context.with_headers(headers))
