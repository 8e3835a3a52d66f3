"""The requests to TWITTER: contexts, forms of codes, headers.

`providers.twitter.adapter` has the flow and imports this module; this module never imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from checkpoint_worker.providers.contract import CodeFormat, Context, check_code, secret
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

    route: Literal["http", "ocf"] = Field("ocf", description="The flow of subtasks.")
    flow_token: str = secret(
        "`flow_token` of the last answer; all earlier ones are stale.", most=1024, least=1
    )
    subtask_id: Literal["LoginTwoFactorAuthChallenge", "LoginAcid"] = Field(
        TWO_FACTOR, description="`subtask_id` of the subtask that asks, the first of the answer."
    )
    hint_text: str = secret(
        (
            "`enter_text.hint_text` of that subtask, as it was, in any language. One that plainly"
            " asks for an address, a phone number or a user name takes no code."
        ),
        most=1024,
    )
    keyboard_type: str = Field(
        default="",
        max_length=64,
        description="`enter_text.keyboard_type` of that subtask; says the same in no language.",
    )
    methods: tuple[str, ...] = Field(
        default=(),
        max_length=20,
        repr=False,
        description=(
            "What the login's answer offers instead: the texts of `choice_selection.choices` of"
            " `LoginTwoFactorAuthChooseMethod`, or `APP`, `SMS`, `EMAIL`, `BACKUP`."
        ),
    )
    link_id: str = Field(
        default="next_link",
        min_length=1,
        max_length=256,
        description="`enter_text.next_link.link_id` of that subtask.",
    )
    guest_token: str = secret(
        "`x-guest-token`, of `guest/activate.json`; the cookie `gt` if empty.", most=256
    )
    transaction_id: str = secret(
        "`x-client-transaction-id` of the code request; left out if empty.", most=1024
    )
    castle_token: str = secret(
        (
            "One that the login's client had left, if any. It works once and is dropped then;"
            " none is made here."
        ),
        most=65_536,
    )
    user_id: str = secret(
        (
            "Whose login it is, as the challenge says (`enter_text.header.user.id_str`). Give it"
            " to the intent as its expected user, too: that is where the comparison is made."
        ),
        most=32,
    )

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

    @model_validator(mode="after")
    def _can_speak(self) -> Self:
        if not self.app.get("bearer_token", "").strip():
            msg = "app needs bearer_token, the provider's public web app token"
            raise ValueError(msg)
        if not (self.guest_token or cookie_value(self.cookies, "gt")):
            msg = "a guest_token is needed, or the cookie gt"
            raise ValueError(msg)
        return self


class JetfuelContext(Context):
    """The state of the provider's newer login, "Jetfuel", which the adapter never continues.

    Each of its forms needs a ``$castle_token`` that only the browser in which the login began can
    make. The adapter reads none of these fields, and the caller may omit any of them; the model
    exists so that such an intent receives its answer.
    """

    route: Literal["jetfuel"] = Field("jetfuel", description="The newer login; never continued.")
    session_token: str = secret("Of the login's screens; not read.", most=256)
    prelude_dispatch_id: str = secret("Of the first screen; not read.", most=256)
    action: str = secret("Path of the last form; not read.", most=1024)
    fields: tuple[str, ...] = Field(
        default=(), max_length=20, repr=False, description="Names in the last form; not read."
    )
    user_id: str = secret("Whose login it is; not read.", most=32)
    guest_token: str = secret("`x-guest-token`; not read.", most=256)
    transaction_id: str = secret("`x-client-transaction-id`; not read.", most=1024)
    castle_token: str = secret("`$castle_token`; not read.", most=65_536)


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
