"""The requests to TWITTER: contexts, forms of codes, headers.

`providers.twitter.adapter` has the flow and imports this module; this module never imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from pydantic import ValidationInfo, field_validator

from checkpoint_worker.providers.contract import (
    CodeFormat,
    Context,
    Cookie,
    Kinds,
    broken_rule,
    check_code,
    cookie_field,
    header_field,
    secret,
    told,
)
from checkpoint_worker.providers.http.cookies import cookie_header
from checkpoint_worker.providers.http.html import cookie_value
from checkpoint_worker.providers.twitter.words import asks_for_address

if TYPE_CHECKING:
    from collections.abc import Sequence

API_URL = "https://api.x.com"
WEB_URL = "https://x.com"
"""Origin that a browser names."""

TWO_FACTOR: Final = "LoginTwoFactorAuthChallenge"
ACID: Final = "LoginAcid"
STEPS: Final[Mapping[str, Kinds]] = {
    TWO_FACTOR: Kinds(by_type={"2FA": ("APP", "SMS", "BACKUP")}, field="subtask_id"),
    ACID: Kinds(by_type={"OTP": ("EMAIL", "SMS")}, field="subtask_id"),
}
"""Subtasks that ask for a code."""
ADDRESS: Final[Mapping[str, Kinds]] = {
    name: Kinds(by_type={"OTP": ("ADDRESS",)}, field=name)
    for name in ("keyboard_type", "hint_text")
}
"""Step that asks for the account's address instead, by the field that says so. Sources that are no
sources of codes pass, whatever their word."""

DEFAULTS: Final = {
    # Headers of the provider's site in a browser; a context may replace them.
    "x-twitter-active-user": "yes",
    "x-twitter-client-language": "en",
    "Accept-Language": "en-US",  # Errors are localised, and their texts are read last.
}

ADDRESS_KEYBOARDS: Final = frozenset({"email", "email_address", "telephone", "phone"})
CODE_KEYBOARDS: Final = frozenset({"number", "numeric"})
"""Values of ``enter_text.keyboard_type`` that reveal the wanted input in any language."""


class OcfContext(Context):
    """The subtask on which the first step ended, and its flow.

    ``app`` holds ``bearer_token``, the provider's public web app token, with or without
    ``Bearer``. ``cookies`` are the whole jar: ``guest_id``, ``att``, ``gt``, ``_twitter_sess``,
    ``__cf_bm``, and ``ct0`` only if the provider or the site's script has set it.
    """

    made_headers: ClassVar[frozenset[str]] = frozenset(
        {
            "authorization", "origin", "referer", "x-client-transaction-id", "x-csrf-token",
            "x-guest-token", "x-twitter-auth-type",
        }
    )  # fmt: skip

    route: Literal["http", "ocf"] = told(
        "The flow of subtasks; also `http`, or left out.",
        example="ocf",
        checkpoint="; ".join(f"`{name}` is {kinds}" for name, kinds in STEPS.items()),
        default="ocf",
    )
    user_agent: str = secret(
        "Of the first step.",
        example="Mozilla/5.0 (X11; Linux x86_64) made-up/1.0",
        kept="twikit `client._user_agent`; twscrape `acc.user_agent`",
        most=1024,
    )
    cookies: tuple[Cookie, ...] = cookie_field(
        {"guest_id": "v1%3Amade-up", "att": "1-made-up"},
        what="The whole jar: `guest_id`, `att`, `gt`, `_twitter_sess`, `__cf_bm`, and `ct0` only if"
        " it is set.",
        kept="twikit and twscrape `client.cookies`; twitter-scraper `jar`",
    )
    app: Mapping[str, str] = told(
        "`bearer_token`: the site's public token, with or without `Bearer` before it.",
        example={"bearer_token": "made-up-public-token"},
        rule="must be an object of texts with bearer_token",
        kept='twikit `client._token`; twscrape `client.headers["authorization"]`',
        default_factory=dict,
        validate_default=True,
        repr=False,
    )
    headers: Mapping[str, str] = header_field(
        {"Accept-Language": "en-US"}, kept="twikit and twscrape `client.headers`"
    )
    flow_token: str = secret(
        "`flow_token` of the last answer; all earlier ones are stale.",
        example="g;000000000000000000:-0000000000000:made-up:1",
        kept='twikit `flow.token`; twscrape `ctx.prev["flow_token"]`; tweety'
        ' `_last_json["flow_token"]`; mautrix `WebLoginSession.flowToken`',
        most=1024,
        least=1,
    )
    subtask_id: Literal["LoginTwoFactorAuthChallenge", "LoginAcid"] = told(
        "`subtask_id` of the subtask that asks, the first of the answer.",
        example=ACID,
        kept="twikit `flow.task_id`; tweety `_login_flow_state`; the answer"
        " `subtasks[0].subtask_id`",
        default=TWO_FACTOR,
    )
    hint_text: str = secret(
        (
            "`enter_text.hint_text` of that subtask, as it was, in any language. One that plainly"
            " asks for an address, a phone number or a user name takes no code."
        ),
        example="Confirmation code",
        kept="the answer `subtasks[0].enter_text.hint_text`",
        most=1024,
    )
    keyboard_type: str = told(
        "`enter_text.keyboard_type` of that subtask: `email` and `telephone` take no code, `number`"
        " does.",
        example="number",
        kept="the answer `subtasks[0].enter_text.keyboard_type`",
        default="",
        max_length=64,
    )
    methods: tuple[str, ...] = told(
        (
            "What the login's answer offers instead: the texts of `choice_selection.choices` of"
            " `LoginTwoFactorAuthChooseMethod`, or `APP`, `SMS`, `EMAIL`, `BACKUP`."
        ),
        example=["APP", "BACKUP"],
        kept="the answer `choices[].text.text`",
        default=(),
        max_length=20,
        repr=False,
    )
    link_id: str = told(
        "`enter_text.next_link.link_id` of that subtask.",
        example="next_link",
        kept="the answer `subtasks[0].enter_text.next_link.link_id`",
        default="next_link",
        min_length=1,
        max_length=256,
    )
    guest_token: str = secret(
        "`x-guest-token`, of `guest/activate.json`; the cookie `gt` if empty.",
        example="1000000000000000000",
        rule="must be a text, or the cookie gt must be among the cookies",
        kept='twikit `flow.guest_token`; twscrape `client.headers["x-guest-token"]`;'
        " twitter-scraper `guestToken`",
        validate_default=True,
        most=256,
    )
    transaction_id: str = secret(
        "`x-client-transaction-id` of the code request; left out if empty.",
        example="made-up-transaction",
        kept='twikit `client_transaction.generate_transaction_id("POST", path)`',
        most=1024,
    )
    castle_token: str = secret(
        (
            "One that the login's client had left, if any. It works once and is dropped then;"
            " none is made here."
        ),
        example="made-up-castle",
        kept="a browser's script; mautrix asks the person for one",
        most=65_536,
    )
    user_id: str = secret(
        (
            "Whose login it is, as the challenge says (`enter_text.header.user.id_str`). Give it"
            " to the intent as its expected user, too: that is where the comparison is made."
        ),
        example="1000000001",
        kept="the answer `subtasks[0].enter_text.header.user.id_str`",
        most=32,
    )

    @field_validator("app")
    @classmethod
    def _has_token(cls, app: Mapping[str, str]) -> Mapping[str, str]:
        words = app.get("bearer_token", "").split()
        if not words or [word.lower() for word in words] == ["bearer"]:
            rule = "needs bearer_token, the site's public token, with or without `Bearer` before it"
            raise broken_rule(rule)
        return app

    @field_validator("guest_token")
    @classmethod
    def _is_somewhere(cls, token: str, info: ValidationInfo) -> str:
        if not (token or cookie_value(info.data.get("cookies", ()), "gt")):
            rule = "is needed: by itself (x-guest-token of the first step) or as the cookie gt"
            raise broken_rule(rule)
        return token

    def kinds_sent(self) -> Kinds:
        """Return those of the subtask."""
        return STEPS[self.subtask_id]

    def kinds_told(self) -> Kinds:
        """Return none of the sources of codes if the subtask asks for the account's address."""
        field = "keyboard_type" if self.keyboard_type in ADDRESS_KEYBOARDS else "hint_text"
        return ADDRESS[field] if self.asks_for_address else self.kinds_sent()

    @property
    def asks_for_address(self) -> bool:
        """Whether the provider plainly asks for an address, so that a code would be wrong."""
        if self.subtask_id != ACID or self.keyboard_type in CODE_KEYBOARDS:
            return False
        return self.keyboard_type in ADDRESS_KEYBOARDS or asks_for_address(self.hint_text)

    @property
    def bearer_token(self) -> str:
        """The app's token without ``Bearer``."""
        words = self.app["bearer_token"].split()
        return words[-1] if words[0].lower() == "bearer" else self.app["bearer_token"].strip()


class JetfuelContext(Context):
    """The state of the provider's newer login, "Jetfuel", which the adapter never continues.

    Each of its forms needs a ``$castle_token`` that only the browser in which the login began can
    make. The adapter reads none of these fields, and the caller may omit any of them; the model
    exists so that such an intent receives its answer.
    """

    route: Literal["jetfuel"] = told(
        "The newer login; never continued.",
        example="jetfuel",
        checkpoint="any; the code is never sent",
        default="jetfuel",
    )
    session_token: str = secret("Of the login's screens; not read.", example="made-up", most=256)
    prelude_dispatch_id: str = secret("Of the first screen; not read.", example="made-up", most=256)
    action: str = secret("Path of the last form; not read.", example="/i/jfapi/made-up", most=1024)
    fields: tuple[str, ...] = told(
        "Names in the last form; not read.",
        example=["code"],
        default=(),
        max_length=20,
        repr=False,
    )
    user_id: str = secret("Whose login it is; not read.", example="1000000001", most=32)
    guest_token: str = secret("`x-guest-token`; not read.", example="1000000000000000000", most=256)
    transaction_id: str = secret(
        "`x-client-transaction-id`; not read.", example="made-up", most=1024
    )
    castle_token: str = secret("`$castle_token`; not read.", example="made-up", most=65_536)


# A backup code has twelve characters; a shorter one at another prompt is a mistyped code.
_BACKUP: Final = {"BACKUP": CodeFormat(max_length=12, alphabet="alphanumeric", min_length=12)}

FORMATS: Mapping[str, CodeFormat] = {
    # The lengths of emailed and backup codes are not certain, so their forms are loose. A backup
    # code goes into the same field of the same subtask as the other codes.
    "SMS": CodeFormat(max_length=6, alternatives=_BACKUP),
    "EMAIL": CodeFormat(max_length=12, alphabet="alphanumeric"),
    "APP": CodeFormat(max_length=6, alternatives=_BACKUP),
    "BACKUP": CodeFormat(max_length=12, alphabet="alphanumeric"),
}
_LOOSEST = FORMATS["BACKUP"]


def code_of(solution: str, source: str | None) -> str:
    """Return the code as it is sent.

    Raises:
        ProviderFailure: The code does not fit its source, and is not sent.
    """
    return check_code(solution, FORMATS.get(source or "", _LOOSEST))


def headers_of(context: OcfContext, path: str) -> dict[str, str]:
    """Return the headers of every request; the session's token only if the jar has one.

    The provider answers an invented ``ct0`` before the end of the login with error 399.
    """
    headers = {
        "Authorization": f"Bearer {context.bearer_token}",
        "User-Agent": context.user_agent,
        "Cookie": cookie_header(context.cookies, path=path),
        "x-csrf-token": cookie_value(context.cookies, "ct0") or "",
    }
    return {name: value for name, value in headers.items() if value} | _defaults(
        context, ("Accept-Language", "x-twitter-active-user")
    )


def task_headers(context: OcfContext, path: str) -> dict[str, str]:
    """Return the headers of a request of the flow, including the context's own."""
    headers = headers_of(context, path) | {
        "x-guest-token": context.guest_token or cookie_value(context.cookies, "gt") or "",
        "x-client-transaction-id": context.transaction_id,
    }
    if "x-csrf-token" in headers:
        headers["x-twitter-auth-type"] = "OAuth2Session"
    made = {name: value for name, value in headers.items() if value}
    of_page = {"Content-Type": "application/json", "Origin": WEB_URL, "Referer": WEB_URL + "/"}
    return context.with_headers(made | _defaults(context, tuple(DEFAULTS)) | of_page)


def standing_headers(context: OcfContext) -> dict[str, str]:
    """Return the headers for every later request of the finished login, without cookies."""
    made = {
        "authorization": f"Bearer {context.bearer_token}",
        "x-csrf-token": cookie_value(context.cookies, "ct0") or "",
        "x-twitter-auth-type": "OAuth2Session",
    }
    kept = {name: value for name, value in made.items() if value} if made["x-csrf-token"] else {}
    return context.with_headers(kept | _defaults(context, tuple(DEFAULTS)))


def _defaults(context: OcfContext, names: Sequence[str]) -> dict[str, str]:
    given = {name.lower() for name in context.headers}
    return {name: DEFAULTS[name] for name in names if name.lower() not in given}
