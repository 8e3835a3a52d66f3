"""TWITTER's login in a browser: a dialog whose script sends each answer and shows the next form.

With the look ``bound``, and always for accounts of the kind ``jetfuel``, it is the newer login: the
page comes without a form, and the browser that first hands in a key gets it (`bound`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from checkpoint_worker.providers.sandbox.twitter_answers import CODE_HINT, ERRORS, FACTOR_HINT
from checkpoint_worker.providers.sandbox.twitter_flow import ACID, TWO_FACTOR, guest_cookies
from checkpoint_worker.providers.sandbox.web.dialect import Dialect, Words
from checkpoint_worker.providers.sandbox.web.templates import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Source
    from checkpoint_worker.providers.sandbox.web.login import WebLogin

_WRONG = "Incorrect. Please try again."
_EXPIRED = "Login verification request expired."
_LOCKED = "Too many login verification attempts."
_LEADS = {
    "APP": "Use your code generator app to generate a code and enter it below.",
    "SMS": "Enter the code that we sent to the phone ending in 01.",
    "BACKUP": "Enter one of your backup codes.",
    "EMAIL": "We sent your confirmation code to p*****@e***.***.",
}
_SUBTASKS: Final = {
    "home": "LoginSuccessSubtask",
    "interstitial": "LoginSuccessSubtask",
    "captcha": "ArkoseLogin",
}
_SAID: Final = {
    "wrong": (400, 399, _WRONG),
    "expired": (400, 235, _EXPIRED),
    "locked": (400, 246, _LOCKED),
    "ended": (400, 366, "Invalid flow token."),
    "over": (400, 366, "Invalid flow token."),
    "forged": ERRORS["csrf"],
    "bound": (403, *ERRORS["client_refused"][1:]),
}


class TwitterDialect(Dialect):
    """The provider TWITTER."""

    provider: ClassVar[str] = "TWITTER"
    credentials: ClassVar[tuple[str, str]] = ("text", "password")
    code_fields: ClassVar[tuple[str, ...]] = ("text",)
    cookie: ClassVar[str] = "att"
    token_field: ClassVar[str] = "authenticity_token"  # noqa: S105  a field's name
    turn_field: ClassVar[str] = "flow_token"
    tries_max: ClassVar[int] = 5
    by_script: ClassVar[bool] = True
    in_place: ClassVar[bool] = True
    binds: ClassVar[bool] = True
    words: ClassVar[Words] = Words(
        brand="X",
        title="Enter your verification code",
        wrong=_WRONG,
        expired=_EXPIRED,
        said={
            "captcha": (
                "Authenticate your account",
                "Solve the puzzle so we know you're a real person.",
            ),
            "consent": (
                "Review our terms",
                "Our Terms of Service have changed. Accept them to continue.",
            ),
            "approval": ("Check your phone", "Approve this login in the app on your phone."),
            "ended": ("Log in again", "Your login has expired. Please start again."),
            "locked": ("Try again later", _LOCKED),
            "help": ("Help Center", "How can we help you?"),
        },
        buttons={"consent": "Accept", "approval": "Done"},
    )

    def habits(self, account: Account) -> frozenset[str]:
        """See `Dialect.habits`."""
        return frozenset({"toast", "bound"} if account.kind == "jetfuel" else {"toast"})

    def cookies(self, login: WebLogin) -> Mapping[str, str]:
        """See `Dialect.cookies`."""
        return {**guest_cookies(), "att": login.token}

    def fields(self, login: WebLogin, now: float) -> Mapping[str, str]:
        """See `Dialect.fields`."""
        del now
        subtask = ACID if login.source == "EMAIL" else TWO_FACTOR
        return {
            "authenticity_token": login.token,
            "flow_token": login.turn,
            "subtask_id": subtask,
        }

    def field(self, login: WebLogin) -> Field:
        """See `Dialect.field`."""
        return Field(
            id="ocf-enter-text",
            name="text",
            label=CODE_HINT if login.source == "EMAIL" else FACTOR_HINT,
            more={
                "type": "text",
                "data-testid": "ocfEnterTextTextInput",
                "autocapitalize": "none",
                "autocorrect": "off",
                "spellcheck": "false",
            },
        )

    def parts(self, login: WebLogin, error: str) -> Mapping[str, str]:
        """See `Dialect.parts`."""
        del error
        title = "Check your email" if login.source == "EMAIL" else self.words.title
        return {"title": title, "lead": _LEADS[login.source]}

    def following(self, source: Source) -> Source:
        """See `Dialect.following`."""
        return "SMS" if source == "EMAIL" else "EMAIL"

    def said(self, login: WebLogin, what: str) -> tuple[int, dict[str, Any]]:
        """See `Dialect.said`."""
        if what in _SAID:
            status, number, text = _SAID[what]
            return status, {"errors": [{"code": number, "message": text}]}
        subtask: dict[str, Any] = {"subtask_id": _SUBTASKS.get(what, "LoginTellUsMore")}
        if what == "checkpoint":
            subtask["subtask_id"] = ACID if login.source == "EMAIL" else TWO_FACTOR
        elif subtask["subtask_id"] == "LoginSuccessSubtask":
            user = {"id_str": login.account.user_id, "screen_name": login.account.handle}
            subtask["open_account"] = {"user": user}
        return 200, {"flow_token": login.turn, "status": "success", "subtasks": [subtask]}


DIALECT = TwitterDialect()
