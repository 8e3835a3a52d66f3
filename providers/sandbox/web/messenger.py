"""MESSENGER's login in a browser, on Facebook's site: forms that the browser posts."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, ClassVar

from checkpoint_worker.providers.sandbox.messenger_web import WRONG
from checkpoint_worker.providers.sandbox.web.dialect import Dialect, Words
from checkpoint_worker.providers.sandbox.web.templates import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.accounts import Source
    from checkpoint_worker.providers.sandbox.web.login import WebLogin

_LEADS = {
    "SMS": "Enter the 6-digit code that we sent to your phone by text message.",
    "APP": "Enter the 6-digit code from your authentication app.",
    "BACKUP": "Enter one of your recovery codes.",
}


class MessengerDialect(Dialect):
    """The provider MESSENGER."""

    provider: ClassVar[str] = "MESSENGER"
    credentials: ClassVar[tuple[str, str]] = ("email", "pass")
    code_fields: ClassVar[tuple[str, ...]] = ("approvals_code",)
    cookie: ClassVar[str] = "checkpoint"
    token_field: ClassVar[str] = "nh"  # noqa: S105  a field's name
    words: ClassVar[Words] = Words(
        brand="Facebook",
        title="Two-factor authentication required",
        wrong=WRONG,
        expired="This login code has expired. Please request a new one.",
        said={
            "captcha": ("Security check", "Enter the characters you see below."),
            "consent": ("Allow the use of cookies?", "Choose whether this browser keeps cookies."),
            "approval": (
                "Check your notifications on another device",
                "Waiting for approval: approve this login on your phone.",
            ),
            "ended": ("Log in again", "Your session expired. Please log in again."),
            "locked": ("You're temporarily blocked", "You tried too often. Try again later."),
            "help": ("Help Center", "How can we help you?"),
        },
        buttons={"consent": "Allow all cookies", "approval": "I approved it"},
    )

    def cookies(self, login: WebLogin) -> Mapping[str, str]:
        """See `Dialect.cookies`."""
        return {
            "datr": secrets.token_urlsafe(18),
            "sb": secrets.token_urlsafe(18),
            "checkpoint": login.token,
        }

    def fields(self, login: WebLogin, now: float) -> Mapping[str, str]:
        """See `Dialect.fields`."""
        del now
        return {
            "fb_dtsg": secrets.token_urlsafe(18),
            "nh": login.token,
            "codes_submitted": str(login.tries),
        }

    def field(self, login: WebLogin) -> Field:
        """See `Dialect.field`."""
        del login
        more: dict[str, str | bool] = {
            "type": "text",
            "maxlength": "8",
            "placeholder": "Login code",
        }
        return Field(id="approvals_code", name="approvals_code", label="Login code", more=more)

    def parts(self, login: WebLogin, error: str) -> Mapping[str, str]:
        """See `Dialect.parts`."""
        return {"lead": _LEADS[login.source], "error": error}

    def judge(self, login: WebLogin, code: str) -> str:
        """See `Dialect.judge`: one field takes codes of the prompt's source and recovery codes."""
        judgements = [login.account.judge(code, source) for source in (login.source, "BACKUP")]
        return "right" if "right" in judgements else judgements[0]

    def following(self, source: Source) -> Source:
        """See `Dialect.following`."""
        return "BACKUP" if source == "SMS" else "SMS"


DIALECT = MessengerDialect()
