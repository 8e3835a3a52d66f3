"""LINKEDIN: the owner of a finished login, and the session for the backend.

The answer to the code names no account, so a second request asks for it. That request carries no
code, so it is repeated before an accepted code is given up. The caller's limit on the whole
exchange ends the repetitions from outside.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pydantic import Field

from checkpoint_worker.providers.answers import read_json
from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    ProviderBrokenError,
    ProviderFailure,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.http.html import is_live
from checkpoint_worker.providers.linkedin.meanings import CHALLENGE_PAGE, CLIENT
from checkpoint_worker.providers.sessions import Session, of_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from checkpoint_worker.providers.contract import Context, Exchange, Reply, Request
    from checkpoint_worker.providers.http.jar import Jar

ME_PAUSES_S: Final = (0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0)
"""Pause before each try; together about as long as the default limit of an exchange."""
ME_REFUSALS_MAX: Final = 3
"""Refusals after which the session counts as invalid; a new one may reach servers late."""

_HELD: Final = "The provider accepted the code and asks for a further step on its site."
_OK: Final = 200
_REFUSALS: Final = frozenset({301, 302, 303, 307, 308, 401, 403})
_MEMBER_URN: Final = re.compile(r"urn:li:(?:fs_)?member:(\d{1,20})")
_PROFILE_URN: Final = re.compile(r"urn:li:fsd?_(?:mini)?profile:([A-Za-z0-9_-]{39})", re.IGNORECASE)
_PROFILE_BYTES: Final = 29
_PROFILE_HEAD: Final = bytes.fromhex("002a0000")
"""Beginning of a member's profile id, before the member id in four bytes."""


class LinkedInSession(Session):
    """The finished login at LINKEDIN."""

    csrf_token: str = Field(
        repr=False, description="Value of the header csrf-token: JSESSIONID without its quotes."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The account of a finished login."""

    member_id: str
    public_identifier: str | None = field(default=None)


async def ask_owner(
    exchange: Exchange, request: Callable[[], Request], jar: Jar, *, patient: bool
) -> Owner:
    """Ask whose login it is, and retry if a retry may help.

    Args:
        exchange: The connection to the provider.
        request: Returns the request with the jar's cookies, for each try; it carries no code.
        jar: Receives the cookies of each answer. The provider may send a request back to itself
            until it has them, and compares the token with the newest.
        patient: Whether to retry a request that fails.

    Raises:
        ActionRequiredError: The provider leads to a further challenge, again and again.
        ProviderBrokenError: The answers name no account, or the provider revoked the login.
    """
    cause: ProviderFailure | None = None
    refusals = 0
    for pause_s in ME_PAUSES_S if patient else ME_PAUSES_S[:1]:
        await asyncio.sleep(pause_s)
        try:
            reply = await exchange.fetch(request())
        except ProviderFailure as failure:
            cause = failure
            continue
        if any(each.name == "li_at" and not is_live(each) for each in jar.keep(reply.cookies)):
            msg = f"The provider revoked the finished login at once. {CLIENT.detail}"
            raise ProviderBrokenError(msg)
        owner, cause = _read_owner(reply)
        if owner is not None:
            return owner
        refusals += reply.status in _REFUSALS
        if refusals >= ME_REFUSALS_MAX:
            if re.search(CHALLENGE_PAGE, reply.headers.get("location", "").lower()):
                raise ActionRequiredError(_HELD)
            break
    msg = "The provider accepted the code but did not say whose account it is."
    raise ProviderBrokenError(msg) from cause


def _read_owner(reply: Reply) -> tuple[Owner | None, ProviderFailure | None]:
    """Return the account of the login, or the failure of an answer that does not name it.

    Raises:
        ProviderBrokenError: The answer names no member, or two.
    """
    if reply.status != _OK:
        return None, None
    try:
        body = read_json(reply)
    except ProviderBrokenError as failure:
        return None, failure
    if not isinstance(body, Mapping):
        return None, UnreadableAnswerError("The provider's answer is of another shape.")
    data = body.get("data")
    me = data if isinstance(data, Mapping) else body
    profile = _profile(me, body.get("included"))
    found = set(_member_ids(me, profile)) or set(_decoded(profile))
    if len(found) != 1:
        msg = "The provider accepted the code but named no account, or more than one."
        raise ProviderBrokenError(msg)
    name = profile.get("publicIdentifier")
    public = name if isinstance(name, str) and name and name != "UNKNOWN" else None
    return Owner(member_id=found.pop(), public_identifier=public), None


def _profile(me: Mapping[str, object], included: object) -> Mapping[str, object]:
    """Return the member's profile, which a normalised answer lists separately."""
    inside = me.get("miniProfile")
    if isinstance(inside, Mapping):
        return inside
    beside = included if isinstance(included, list) else []
    profiles = [each for each in beside if isinstance(each, Mapping)]
    urn = me.get("*miniProfile")
    named = (each for each in profiles if urn and each.get("entityUrn") == urn)
    return next(named, profiles[0] if len(profiles) == 1 else {})


def _member_ids(me: Mapping[str, object], profile: Mapping[str, object]) -> Iterator[str]:
    plain = me.get("plainId")
    text = str(plain) if isinstance(plain, int | str) else ""
    if text.isascii() and text.isdigit() and text.strip("0"):
        yield text
    urn = _MEMBER_URN.fullmatch(str(profile.get("objectUrn")))
    if urn is not None:
        yield urn[1]


def _decoded(profile: Mapping[str, object]) -> Iterator[str]:
    """Yield the member id inside a profile's id, for an answer without a plain one."""
    for name in ("entityUrn", "dashEntityUrn"):
        urn = _PROFILE_URN.fullmatch(str(profile.get(name)))
        if urn is None:
            continue
        raw = base64.urlsafe_b64decode(urn[1] + "=")
        if len(raw) == _PROFILE_BYTES and raw.startswith(_PROFILE_HEAD):
            head = len(_PROFILE_HEAD)
            yield str(int.from_bytes(raw[head : head + 4], "big"))


def make_session(context: Context, jar: Jar, owner: Owner, csrf_token: str) -> LinkedInSession:
    """Return the session for the backend."""
    return LinkedInSession(
        provider="LINKEDIN",
        user_id=owner.member_id,
        public_identifier=owner.public_identifier,
        headers={"csrf-token": csrf_token, "x-restli-protocol-version": "2.0.0", **context.headers},
        csrf_token=csrf_token,
        **of_context(context, jar.cookies),
    )
