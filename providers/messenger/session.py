"""MESSENGER: the finished login in an answer, and the session for the backend.

The cookies make the login, in the answer's JSON or in its head. An access token alone is exchanged
for cookies, as the provider's apps do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pydantic import Field

from checkpoint_worker.providers.answers import read_json, refuse_common
from checkpoint_worker.providers.contract import (
    Cookie,
    ProviderBrokenError,
    ProviderFailure,
)
from checkpoint_worker.providers.http.cookies import parse_set_cookie
from checkpoint_worker.providers.http.html import has_session
from checkpoint_worker.providers.http.jar import Jar, settled
from checkpoint_worker.providers.messenger.errors import error_in, number
from checkpoint_worker.providers.messenger.meanings import NO_SESSION, THROTTLING, TRANSIENT
from checkpoint_worker.providers.messenger.requests import parsed_list
from checkpoint_worker.providers.sessions import Session, of_context

if TYPE_CHECKING:
    from collections.abc import Iterable

    from checkpoint_worker.providers.contract import Exchange, Reply, Request
    from checkpoint_worker.providers.messenger.requests import MessengerContext

EXCHANGE_PAUSES_S: Final = (0.0, 0.3, 0.6, 1.2)
"""Pause before each try to exchange a token for cookies. The request carries no code."""
AUTHENTICATING: Final = ("c_user", "xs")

_NAMED_NOBODY: Final = "The provider accepted the code but named no account, or more than one."
_DELETED: Final = frozenset({"", "deleted", "null", "none", "0"})
_OWN: Final = (
    "access_token", "session_key", "secret", "machine_id", "analytics_claim", "user_storage_key",
    "identifier",
)  # fmt: skip


class MessengerSession(Session):
    """The finished login at MESSENGER."""

    access_token: str = Field(
        default="", repr=False, description="Empty where the provider gave cookies alone."
    )
    session_key: str = Field(default="", repr=False)
    secret: str = Field(default="", repr=False, description="Signs requests of this session.")
    machine_id: str = Field(default="", repr=False, description="As the answer has it.")
    analytics_claim: str = Field(default="", repr=False)
    user_storage_key: str = Field(default="", repr=False)
    identifier: str = Field(default="", repr=False, description="The login name it knows.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The parts of a finished login in an answer."""

    access_token: str = field(default="", repr=False)
    cookies: tuple[Cookie, ...] = field(default=(), repr=False)
    body: Mapping[str, object] = field(repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether the login's cookies are present and not deleted."""
        return has_session(self.cookies, *AUTHENTICATING)


def login_in(reply: Reply, body: Mapping[str, object]) -> Login:
    """Return the parts of a login in an answer, whatever else the answer has."""
    listed = [_cookie(each) for each in parsed_list(body.get("session_cookies"))]
    cookies = settled([*reply.cookies, *(each for each in listed if each is not None)])
    token = body.get("access_token")
    is_token = isinstance(token, str) and token.strip().lower() not in _DELETED
    return Login(access_token=str(token) if is_token else "", cookies=cookies, body=body)


async def exchanged(login: Login, exchange: Exchange, request: Request) -> Login:
    """Exchange an access token for cookies; the first answer's other values stay.

    Raises:
        UnreadableAnswerError: The provider sets no session.
    """
    cause: ProviderFailure | None = None
    for pause_s in EXCHANGE_PAUSES_S:
        await asyncio.sleep(pause_s)
        try:
            reply = await exchange.fetch(request)
            refuse_common(reply)
            body = read_json(reply)
        except ProviderFailure as failure:
            cause = failure
            continue
        found = login_in(reply, body if isinstance(body, Mapping) else {})
        if found.is_whole:
            return Login(
                access_token=login.access_token,
                cookies=found.cookies,
                body={**found.body, **login.body},
            )
        error = error_in(found.body)
        if error is not None and error.code not in {0, *TRANSIENT, *THROTTLING}:
            break  # The next answer would be the same.
    raise NO_SESSION.error() from cause


def make_session(login: Login, held: MessengerContext) -> MessengerSession:
    """Return the session for the backend.

    Raises:
        ProviderBrokenError: The answer names no account, or more than one.
    """
    jar = Jar(())
    jar.keep(login.cookies)
    owner = jar.value(AUTHENTICATING[0]) or ""
    named = login.body.get("uid") or login.body.get("user_id") or owner
    if not number(owner) or number(named) != number(owner):
        raise ProviderBrokenError(_NAMED_NOBODY)
    said = {name: value for name in _OWN if isinstance(value := login.body.get(name), str)}
    bearer = {"Authorization": f"OAuth {login.access_token}"} if login.access_token else {}
    return MessengerSession.model_validate(
        {
            **of_context(held, jar.cookies),
            "machine_id": held.machine_id,
            **said,
            "provider": "MESSENGER",
            "user_id": owner,
            "headers": {**held.headers, **bearer},
            "access_token": login.access_token,
        }
    )


def _cookie(listed: object) -> Cookie | None:
    """Read a cookie of the JSON list; its dates are written as in ``Set-Cookie``, or as numbers."""
    if not isinstance(listed, Mapping) or not isinstance(listed.get("value"), str | int):
        return None
    said = [f"{listed.get('name')}={listed['value']}"]
    said += [f"{name}={listed.get(name)}" for name in ("domain", "path", "expires", "max-age")]
    said += [f"samesite={listed.get('samesite') or listed.get('sameSite') or ''}"]
    said += [name for name in ("secure", "httponly") if listed.get(name) is True]
    cookie = parse_set_cookie("; ".join(said))
    moments: Iterable[object] = (listed.get("expires"), listed.get("expires_timestamp"))
    at = next((float(each) for each in moments if isinstance(each, int | float)), None)
    if cookie is None or at is None:
        return cookie
    return cookie.model_copy(update={"expires_at": at})
