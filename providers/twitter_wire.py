"""The words of TWITTER: contexts, headers, what errors mean, the finished login.

`providers.twitter` tells the flow in them. It imports this module, never the other way round.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import unquote

from pydantic import Field, ValidationError, model_validator

from providers.answers import read_json, refuse_common, wait_asked
from providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Cleared,
    CodeFormat,
    Context,
    DeadIntentError,
    MalformedRequestError,
    NetworkDownError,
    ProviderBrokenError,
    ProviderFailure,
    ProxyFailedError,
    Reply,
    Request,
    ResourceRestrictedError,
    ServiceUnavailableError,
    SessionMismatchError,
    SubscriptionRequiredError,
    check_code,
    normalise,
)
from providers.cookies import cookie_header
from providers.reading import cookie_value, merge_cookies

if TYPE_CHECKING:
    from providers.contract import Exchange

API_URL = "https://api.x.com"
WEB_URL = "https://x.com"
"""What a browser names as its origin."""

ME_PATH = "/1.1/account/verify_credentials.json"
TWO_FACTOR: Final = "LoginTwoFactorAuthChallenge"
ACID: Final = "LoginAcid"
CODE_HINT = "confirmation code"
"""The one hint of ``LoginAcid`` that asks for a code; any other asks for an address."""

LANGUAGE = "en-US"  # Errors are localised; reading their words is the last resort.

ASKED_MAX = 3  # Times a request without a code is sent before its failure counts.
ASKED_PAUSE_S = 0.2  # Before the second time; twice that before the third.

OK, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 400, 401, 403, 404
THROTTLED = 429

_TWID = re.compile(r'"?u=([0-9]{1,20})"?')
_ID = re.compile(r"[0-9]{1,20}")
ERRORS_MAX = 20  # Looked at in one answer,
MESSAGE_MAX = 2000  # and characters of each; some patterns are quadratic.
# Messages end with the token of their flow, which says nothing about the error.
_TOKEN_TAIL = re.compile(r"\s*\bg;\S*\s*$")


class OcfContext(Context):
    """The subtask on which the first step ended, and its flow.

    ``link_id`` is ``enter_text.next_link.link_id`` of that subtask, ``hint_text`` its
    ``enter_text.hint_text``. ``app`` holds ``bearer_token``, the provider's public web app
    token, without ``Bearer``. ``cookies`` are the whole jar: ``guest_id``, ``att``, ``gt``,
    ``_twitter_sess``, ``__cf_bm``, and ``ct0`` only if the provider has set it.
    """

    route: Literal["http", "ocf"] = "ocf"
    flow_token: str = Field(min_length=1, max_length=1024, repr=False)
    """The last one received; all others are stale."""
    subtask_id: Literal["LoginTwoFactorAuthChallenge", "LoginAcid"] = TWO_FACTOR
    hint_text: str = Field(default="", max_length=1024, repr=False)
    link_id: str = Field(default="next_link", min_length=1, max_length=256)
    guest_token: str = Field(default="", max_length=256, repr=False)
    """``x-guest-token``, from ``guest/activate.json``; the cookie ``gt`` if empty."""
    transaction_id: str = Field(default="", max_length=1024, repr=False)
    """``x-client-transaction-id`` for the code request; the header is left out if empty."""
    castle_token: str = Field(default="", max_length=65_536, repr=False)
    """One that the client of the first step had left, if any. It works once and is dropped
    then; none is made here."""
    user_id: str = Field(default="", max_length=32, repr=False)
    """Whose login it is, as the challenge says (``header.user.id_str``). Give it to the
    intent as its expected user, too: that is where the comparison is made."""

    @property
    def asks_for_address(self) -> bool:
        """Whether a code would be the wrong answer."""
        return self.subtask_id == ACID and self.hint_text.strip().lower() != CODE_HINT

    @model_validator(mode="after")
    def _can_speak(self) -> Self:
        if not self.app.get("bearer_token"):
            msg = "app needs bearer_token, the provider's public web app token"
            raise ValueError(msg)
        if not (self.guest_token or cookie_value(self.cookies, "gt")):
            msg = "a guest_token is needed, or the cookie gt"
            raise ValueError(msg)
        return self


class JetfuelContext(Context):
    """What the provider's newer login, "Jetfuel", leaves behind: recognised, never continued.

    Each of its forms needs a ``$castle_token`` that only the browser can make in which the
    login began. So nothing of this is read, and whatever the first step knows may be left
    out; the context is there so that such an intent gets its answer (providers.md §3.5).
    """

    route: Literal["jetfuel"] = "jetfuel"
    session_token: str = Field(default="", max_length=256, repr=False)
    prelude_dispatch_id: str = Field(default="", max_length=256, repr=False)
    action: str = Field(default="", max_length=1024, repr=False)
    fields: tuple[str, ...] = Field(default=(), max_length=20, repr=False)
    user_id: str = Field(default="", max_length=32, repr=False)
    guest_token: str = Field(default="", max_length=256, repr=False)
    transaction_id: str = Field(default="", max_length=1024, repr=False)
    castle_token: str = Field(default="", max_length=65_536, repr=False)


FORMATS: Mapping[str, CodeFormat] = {
    # Lengths of emailed and backup codes are not known for certain, so they stay loose.
    "SMS": CodeFormat(max_length=6),
    "EMAIL": CodeFormat(max_length=12, alphabet="alphanumeric"),
    "APP": CodeFormat(max_length=6),
    "BACKUP": CodeFormat(max_length=12, alphabet="alphanumeric"),
}
_LOOSEST = FORMATS["BACKUP"]


# What is sent --------------------------------------------------------------------------


def code_of(solution: str, source: str | None) -> str:
    """Return the code as it is sent.

    Raises:
        ProviderFailure: It is none for that source, whoever let it through; nothing is sent.
    """
    check_code(solution, FORMATS.get(source or "", _LOOSEST))
    return normalise(solution)


def headers_of(context: OcfContext, path: str) -> dict[str, str]:
    """Return the headers of every request; the token of the session only if there is one.

    Inventing a ``ct0`` is answered with error 399.
    """
    headers = {
        "Authorization": f"Bearer {context.app['bearer_token']}",
        "User-Agent": context.user_agent,
        "Accept-Language": LANGUAGE,
        "x-twitter-active-user": "yes",
        "Cookie": cookie_header(context.cookies, path=path),
        "x-csrf-token": cookie_value(context.cookies, "ct0") or "",
    }
    return {name: value for name, value in headers.items() if value}


def guest_headers(context: OcfContext) -> dict[str, str]:
    """Return the headers that only a login under way has."""
    headers = {
        "x-guest-token": context.guest_token or cookie_value(context.cookies, "gt") or "",
        "x-client-transaction-id": context.transaction_id,
    }
    return {name: value for name, value in headers.items() if value}


# What errors mean ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """Numbers or words of an error, either will do; ``None`` means that the code was refused."""

    failure: type[ProviderFailure] | None
    detail: str = ""
    codes: frozenset[int] = frozenset()
    words: str = r"(?!)"  # By default it matches nothing.
    source: str | None = None  # Means this for one source of codes only.
    status: int | None = None  # Means this under one status only.


_ENDED = "The provider has ended this login flow; the login must start again."
_BUSY = "The provider is throttling requests."
_RESTRICTED = "The provider has suspended or locked this account."
_INTERNAL = "The provider reports an error of its own."

# The first that fits counts. The provider uses 399 for anything, so its words go first. Numbers
# are those of its public list of errors.
_SIGNS = (
    _Sign(
        failure=SubscriptionRequiredError,
        detail="Codes by text message need a paid plan at the provider.",
        words=r"\bpremium\b|twitter blue|\bsubscri",
        source="SMS",
    ),
    _Sign(
        failure=AccountRestrictedError,
        detail=_RESTRICTED,
        codes=frozenset({37, 63, 64, 141, 242, 326}),
        words=r"\b(?:suspended|locked)\b",
    ),
    _Sign(failure=DeadIntentError, detail=_ENDED, codes=frozenset({237, 241, 246})),
    _Sign(
        failure=ProviderBrokenError,
        detail=_BUSY,
        codes=frozenset({88, 243, 245, 295}),
        words=r"too many attempts|try again in a few minutes|temporarily limited",
    ),
    _Sign(
        failure=None,
        codes=frozenset({173, 174, 235, 236, 294}),
        words=r"^\W*incorrect\b|\b(?:wrong|incorrect|invalid)\s+(?:\w+\s+){0,2}code\b",
    ),
    _Sign(
        failure=MalformedRequestError,
        detail="The provider waits for another step of the login than this one.",
        words=r"required input\b.*\bnot provided",
    ),
    _Sign(failure=DeadIntentError, detail=_ENDED, codes=frozenset({366})),
    _Sign(
        failure=ResourceRestrictedError,
        detail="The provider lets only its own site and apps log in here.",
        words=r"\bofficial x apps?\b|\bplease use x\.com\b",
    ),
    _Sign(
        failure=ProviderBrokenError,
        detail="The provider refused the login without a reason.",
        codes=frozenset({399}),
        words=r"could not log you in",
    ),
    _Sign(
        failure=ActionRequiredError,
        detail="The provider asks the person to choose a new password on its site.",
        codes=frozenset({244, 255}),
    ),
    _Sign(
        failure=SessionMismatchError,
        detail="The provider does not take the token for this session.",
        codes=frozenset({353}),
    ),
    _Sign(
        failure=DeadIntentError,
        detail="The guest token has expired; the login must start again.",
        codes=frozenset({89, 99, 239}),
    ),
    _Sign(failure=DeadIntentError, detail=_ENDED, codes=frozenset({32}), status=UNAUTHORIZED),
    _Sign(
        failure=SessionMismatchError,
        detail="The provider does not take these cookies and tokens together.",
        codes=frozenset({32}),
    ),
    _Sign(
        failure=ResourceRestrictedError,
        detail="The provider refuses this address.",
        codes=frozenset({249}),
    ),
    _Sign(failure=ProviderBrokenError, detail=_INTERNAL, codes=frozenset({67, 130, 131})),
)

_STATUSES: Mapping[int, tuple[type[ProviderFailure], str]] = {
    BAD_REQUEST: (MalformedRequestError, "The provider refused the request's form."),
    UNAUTHORIZED: (DeadIntentError, "The guest token has expired; the login must start again."),
    FORBIDDEN: (SessionMismatchError, "The provider does not take the token for this session."),
    NOT_FOUND: (DeadIntentError, _ENDED),
}


def refuses_code(reply: Reply, body: object, *, source: str | None) -> bool:
    """Read the errors of an answer; they come under any status, 200 included.

    Returns:
        Whether the code was refused; ``False`` if the answer is for the caller to read.

    Raises:
        ProviderFailure: Any other error.
    """
    errors = errors_of(body)
    sign = _sign_of(errors, source=source, status=reply.status)
    if sign is None:
        _refuse_status(reply, errors)
        return False
    if sign.failure is None:
        return True
    if sign.failure is ProviderBrokenError:
        refuse_common(reply)  # Where the number says no more than the status, that speaks.
        raise ProviderBrokenError(sign.detail + wait_asked(reply))
    raise sign.failure(sign.detail)


def refuse_contradiction(reply: Reply, body: object) -> None:
    """Refuse an answer that set a session and says anything but well done.

    Raises:
        ProviderBrokenError: Believing either half could be wrong.
    """
    if reply.status >= BAD_REQUEST or errors_of(body):
        msg = "The provider's answer contradicts itself: a login and a refusal in one."
        raise ProviderBrokenError(msg)


def refuse_words(text: str, *, source: str | None) -> None:
    """Raise what a text for the person means; return if it is no error that is known here.

    Raises:
        ProviderFailure: As `refuses_code`; a refused code is not among them.
    """
    sign = _sign_of([(0, text)], source=source, status=OK)
    if sign is not None and sign.failure is not None:
        raise sign.failure(sign.detail)


def errors_of(body: object) -> list[tuple[int, str]]:
    """Return number and message of each error, messages without the token at their end."""
    errors = body.get("errors") if isinstance(body, Mapping) else None
    return [
        (_number(error.get("code")), _bare(error.get("message")))
        for error in (errors[:ERRORS_MAX] if isinstance(errors, list) else [])
        if isinstance(error, Mapping)
    ]


def _number(code: object) -> int:
    return int(str(code)) if _ID.fullmatch(str(code)) else 0


def _bare(message: object) -> str:
    return _TOKEN_TAIL.sub("", message[:MESSAGE_MAX]) if isinstance(message, str) else ""


def _sign_of(errors: Iterable[tuple[int, str]], *, source: str | None, status: int) -> _Sign | None:
    for sign in _SIGNS:
        if sign.source not in {None, source} or sign.status not in {None, status}:
            continue
        for code, message in errors:
            if code in sign.codes or re.search(sign.words, message, re.IGNORECASE):
                return sign
    return None


def _refuse_status(reply: Reply, errors: list[tuple[int, str]]) -> None:
    is_page = reply.body.lstrip().startswith(b"<")
    if is_page and reply.status in {FORBIDDEN, THROTTLED}:
        msg = "The provider's gate refuses this client or its address."
        raise ResourceRestrictedError(msg)
    refuse_common(reply)
    if errors and reply.status in {OK, BAD_REQUEST}:
        msg = f"The provider reports error {errors[0][0]}, which is not known here."
        raise ProviderBrokenError(msg)
    if reply.status in _STATUSES:
        failure, detail = _STATUSES[reply.status]
        raise failure(detail)
    if reply.status != OK:
        msg = "The provider's answer cannot be read."
        raise ProviderBrokenError(msg)


# The finished login --------------------------------------------------------------------

HICCUPS = (NetworkDownError, ProviderBrokenError, ProxyFailedError, ServiceUnavailableError)
"""What may go wrong on the way to an answer and be better the next time."""


class Hearing:
    """What the answers of one attempt have said so far.

    Args:
        held: The context of the attempt.
        exchange: The way to the provider.
        api_url: Where it says whose login it is.

    Attributes:
        context: The challenge context after the replies heard so far.
        is_signed_in: Whether one of them set a session.
    """

    def __init__(self, *, held: OcfContext, exchange: Exchange, api_url: str) -> None:
        self.context = held
        self.is_signed_in = False
        self._exchange = exchange
        self._api_url = api_url
        self._ids: dict[str, str] = {}
        self._session: dict[str, str] = {}

    def keep(self, **changes: object) -> None:
        """Change the context, within the bounds a context has when it comes from outside."""
        fields = dict(self.context)
        try:
            self.context = type(self.context).model_validate({**fields, **changes})
        except ValidationError:
            msg = "The provider's answer is not of a kind that can be answered."
            raise ProviderBrokenError(msg) from None

    def keep_cookies(self, reply: Reply) -> None:
        """Merge the cookies of an answer; ``auth_token`` among them is the decisive sign."""
        if not reply.cookies:
            return
        self.keep(cookies=merge_cookies(self.context.cookies, reply.cookies))
        if any(cookie.name == "auth_token" for cookie in reply.cookies):
            self.is_signed_in = cookie_value(reply.cookies, "auth_token") is not None
        if twid := _TWID.fullmatch(unquote(cookie_value(reply.cookies, "twid") or "")):
            self._ids["twid"] = twid[1]

    def keep_account(self, account: Mapping[str, Any]) -> None:
        """Note what ``open_account`` says; apps get tokens there instead of cookies."""
        user = account.get("user")
        if isinstance(user, Mapping):
            if _ID.fullmatch(str(user.get("id_str"))):
                self._ids["open_account"] = str(user["id_str"])
            if isinstance(user.get("screen_name"), str):
                self._session["screen_name"] = user["screen_name"]
        tokens = {
            name: account[name]
            for name in ("oauth_token", "oauth_token_secret", "known_device_token")
            if isinstance(account.get(name), str) and account[name]
        }
        self._session |= tokens
        self.is_signed_in = self.is_signed_in or "oauth_token_secret" in tokens

    def keep_id(self, user_id: object) -> None:
        """Note an id that stands somewhere in an answer; believed if nothing better is told."""
        if _ID.fullmatch(str(user_id)):
            self._ids.setdefault("somewhere", str(user_id))

    async def cleared(self) -> Cleared:
        """Return the finished login with the id of its account.

        Raises:
            ProviderBrokenError: It has none, or two.
        """
        somewhere = self._ids.pop("somewhere", None)
        found = set(self._ids.values()) or {somewhere or await self._ask_me()}
        if len(found) != 1:
            msg = "The provider's answer contradicts itself: one login of two accounts."
            raise ProviderBrokenError(msg)
        if not self.is_signed_in:
            msg = "The provider revoked the finished login at once."
            raise ProviderBrokenError(msg)
        session = {
            "cookies": [cookie.model_dump() for cookie in self.context.cookies],
            "csrf_token": cookie_value(self.context.cookies, "ct0"),
            **self._session,
        }
        return Cleared(user_id=found.pop(), session=session)

    async def ask(self, request: Request) -> Reply:
        """Send a request without a code, a bounded number of times while it fails on the way.

        Silence is not asked again: the flow may have moved on and forgotten this step.
        """
        asked = 1
        while True:
            try:
                reply = await self._exchange.fetch(request)
                refuse_common(reply)
            except HICCUPS:
                if asked == ASKED_MAX:
                    raise
                await asyncio.sleep(ASKED_PAUSE_S * asked)
                asked += 1
            else:
                return reply

    async def _ask_me(self) -> str:
        headers = headers_of(self.context, ME_PATH) | {"x-twitter-auth-type": "OAuth2Session"}
        request = Request(method="GET", url=self._api_url + ME_PATH, headers=headers)
        cause: ProviderFailure | None = None
        try:
            reply = await self.ask(request)
            self.keep_cookies(reply)
            me = read_json(reply)
            if (
                reply.status == OK
                and isinstance(me, Mapping)
                and _ID.fullmatch(str(me.get("id_str")))
            ):
                return str(me["id_str"])
        except ProviderFailure as failure:
            cause = failure
        msg = "The provider accepted the code but did not say whose account it is."
        raise ProviderBrokenError(msg) from cause
