"""INSTAGRAM: the finished login in an answer, completed for the clients that continue it.

A session is the token of ``ig-set-authorization`` or the cookie ``sessionid``, or both. An app's
login sets the first, a browser's the second; the values that the other kind of client needs can be
derived from either, so the session for the backend serves both kinds.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from pydantic import Field

from checkpoint_worker.providers.answers import read_json
from checkpoint_worker.providers.contract import Cookie, ProviderBrokenError, Reply
from checkpoint_worker.providers.http.html import cookie_value, has_session, merge_cookies
from checkpoint_worker.providers.http.jar import bounded, settled
from checkpoint_worker.providers.instagram.contexts import InstagramContext
from checkpoint_worker.providers.sessions import Session, of_context

SESSION_COOKIE: Final = "sessionid"
NEEDED: Final = ("sessionid", "ds_user_id", "csrftoken", "mid", "ig_did", "rur", "datr")
"""Cookies that later requests need. They stay when a jar exceeds its limits."""
DOMAIN: Final = ".instagram.com"

_TOKEN_CHARS: Final = 32
_ROUTING: Final = {  # Header of the answer, with the clients' name for it and their header.
    "ig-set-ig-u-rur": ("rur", "IG-U-RUR"),
    "ig-set-ig-u-shbid": ("shbid", "IG-U-SHBID"),
    "ig-set-ig-u-shbts": ("shbts", "IG-U-SHBTS"),
    "ig-set-ig-u-ig-direct-region-hint": ("region_hint", "IG-U-IG-DIRECT-REGION-HINT"),
}
_VALUE_MAX: Final = 8192
_ITS_OWN: Final = frozenset({"sessionid", "ds_user_id"})
"""Cookies of the session itself, which replace those of the context."""


class InstagramSession(Session):
    """A finished login at INSTAGRAM.

    ``cookies`` have ``sessionid``, ``ds_user_id`` and ``csrftoken`` always, and ``mid`` and
    ``ig_did`` if the provider, the context or the device's ``guid`` gives them. ``headers`` are
    those of the app's requests: ``Authorization``, ``X-MID``, ``X-IG-WWW-Claim``,
    ``IG-U-DS-USER-ID``, ``IG-U-RUR`` and the context's own.
    """

    provider: str = "INSTAGRAM"
    sessionid: str = Field(repr=False, description="As in the cookie of that name.")
    authorization: str | None = Field(
        repr=False, description="`Bearer IGT:2:…`; null where the web's login gave cookies alone."
    )
    mid: str | None = Field(repr=False, description="The machine id.")
    rur: str | None = Field(repr=False, description="Routing, as clients keep it.")
    www_claim: str | None = Field(repr=False, description="For `X-IG-WWW-Claim`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A session in an answer.

    Attributes:
        session_id: The one authenticating value.
        authorization: The header's value, empty if there was none.
        token: The content of that value.
        owners: Every account id that the session itself names.
    """

    session_id: str = field(repr=False)
    authorization: str = field(default="", repr=False)
    token: Mapping[str, object] = field(default_factory=dict, repr=False)
    owners: frozenset[str] = frozenset()

    @property
    def owner_by_session_id(self) -> str:
        """The account at the beginning of the session's id: ``<user id>:<secret>:…``, encoded."""
        first = unquote(self.session_id).partition(":")
        return first[0] if first[1] and _is_id(first[0]) else ""


def find(headers: Mapping[str, str], cookies: tuple[Cookie, ...]) -> Found | None:
    """Return the session in an answer, ``None`` for none and for one that the answer revokes."""
    cookies = settled(cookies)
    authorization = headers.get("ig-set-authorization", "").strip()
    if authorization.endswith(":"):  # The value after a failed login or a logout.
        authorization = ""
    token = _decode(authorization) if authorization else {}
    session_id = text(token.get("sessionid"))
    if has_session(cookies, SESSION_COOKIE):
        session_id = cookie_value(cookies, SESSION_COOKIE) or session_id
    if not session_id:
        return None
    named = (
        token.get("ds_user_id"),
        headers.get("ig-set-ig-u-ds-user-id"),
        cookie_value(cookies, "ds_user_id"),
    )
    owners = frozenset({text(each) for each in named} - {""})
    usable = authorization if token else ""
    return Found(session_id=session_id, authorization=usable, token=token, owners=owners)


def text(value: object) -> str:
    """Return a text or a whole number as text; an empty text for any other value."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def is_on(value: object) -> bool:
    """Whether a flag of an answer is on; some answers write flags as numbers or texts."""
    return value is True or text(value).strip().lower() in {"1", "true"}


def is_off(value: object) -> bool:
    """Whether a flag of an answer is present and off."""
    return value is False or text(value).strip().lower() in {"0", "false"}


def _is_id(value: str) -> bool:
    return value.isascii() and value.isdigit()


def owner_of(found: Found, *claimed: object) -> str | None:
    """Return the account of a session, ``None`` if neither session nor answer names it.

    Args:
        found: The session.
        claimed: Account ids in the answer's body.

    Raises:
        ValueError: Two accounts are named, or an invalid id.
    """
    ids = found.owners | {text(each) for each in claimed} - {""}
    if not ids:
        return found.owner_by_session_id or None
    if len(ids) > 1 or not all(map(_is_id, ids)):
        raise ValueError
    return next(iter(ids))


def session_of(
    context: InstagramContext, found: Found, headers: Mapping[str, str], *, owner: str, name: str
) -> InstagramSession:
    """Return the session for the backend, usable by either kind of client.

    Args:
        context: The context after the answer, its cookies included.
        found: The session.
        headers: Headers of the answer.
        owner: The user id.
        name: The user name, if the answer or the context has it.
    """
    routing = {
        key: headers.get(header, "")[:_VALUE_MAX] or text(found.token.get(key))
        for header, (key, _) in _ROUTING.items()
    }
    claim = headers.get("x-ig-set-www-claim", "")[:_VALUE_MAX] or context.www_claim
    sent = {
        "Authorization": found.authorization,
        "X-MID": context.machine_id,
        "X-IG-WWW-Claim": claim,
        "IG-U-DS-USER-ID": owner if found.authorization else "",
        **{header: routing[key] for key, header in _ROUTING.values()},
    }
    jar = _completed(context, found, owner, routing["rur"])
    return InstagramSession(
        **of_context(context, jar),
        user_id=owner,
        username=name or None,
        public_identifier=name or None,
        headers=context.with_headers({key: value for key, value in sent.items() if value}),
        sessionid=found.session_id,
        authorization=found.authorization or None,
        mid=context.machine_id or None,
        rur=routing["rur"] or cookie_value(jar, "rur"),
        www_claim=claim or None,
    )


def _completed(context: InstagramContext, found: Found, owner: str, rur: str) -> tuple[Cookie, ...]:
    """Return the jar with the cookies that a client of the web needs.

    The CSRF token is valid if cookie and header agree, so a client may make one, as client
    libraries do. They use the app's ``guid`` in capitals as the web's device id.
    """
    made = {
        "sessionid": found.session_id,
        "ds_user_id": owner,
        "csrftoken": context.token or secrets.token_urlsafe(_TOKEN_CHARS)[:_TOKEN_CHARS],
        "mid": context.machine_id,
        "ig_did": context.ig_did or context.device.get("guid", "").upper(),
        "rur": rur,
    }
    missing = (
        Cookie(
            name=name,
            value=value,
            domain=DOMAIN,
            path="/",
            secure=True,
            http_only=name in {"sessionid", "rur"},
        )
        for name, value in made.items()
        if value and (name in _ITS_OWN or cookie_value(context.cookies, name) is None)
        if value != cookie_value(context.cookies, name)
    )
    return bounded(merge_cookies(context.cookies, missing), NEEDED)


def _decode(authorization: str) -> Mapping[str, object]:
    """Read ``Bearer IGT:2:<base64 JSON>``; return an empty mapping if it cannot be read."""
    packed = authorization.rpartition(":")[2]
    try:
        # Both alphabets occur, and the padding may be missing.
        plain = packed.replace("-", "+").replace("_", "/") + "=" * (-len(packed) % 4)
        token = read_json(Reply(status=200, headers={}, body=base64.b64decode(plain)))
    except (ValueError, ProviderBrokenError):
        return {}
    return token if isinstance(token, Mapping) else {}
