"""LINKEDIN's login in a browser: forms that the browser posts, and pages as errors."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, ClassVar

from checkpoint_worker.providers.sandbox.linkedin_challenge import (
    ERRORS,
    LEADS,
    Challenge,
)
from checkpoint_worker.providers.sandbox.linkedin_session import profile_of
from checkpoint_worker.providers.sandbox.linkedin_wire import first_cookies, new_session
from checkpoint_worker.providers.sandbox.web.dialect import Dialect, Words
from checkpoint_worker.providers.sandbox.web.templates import Field, Html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Source
    from checkpoint_worker.providers.sandbox.web.login import WebLogin


class LinkedInDialect(Dialect):
    """The provider LINKEDIN."""

    provider: ClassVar[str] = "LINKEDIN"
    credentials: ClassVar[tuple[str, str]] = ("session_key", "session_password")
    code_fields: ClassVar[tuple[str, ...]] = ("pin",)
    cookie: ClassVar[str] = "JSESSIONID"
    token_field: ClassVar[str] = "csrfToken"  # noqa: S105  a field's name
    turn_field: ClassVar[str] = "requestSubmissionId"
    words: ClassVar[Words] = Words(
        brand="LinkedIn",
        title="Let's do a quick verification",
        wrong=ERRORS["wrong"],
        expired=ERRORS["expired"],
        said={
            "captcha": (
                "Let's do a quick security check",
                "Solve the puzzle so that we know that you are a person.",
            ),
            "consent": (
                "Review our updated terms",
                "Read the User Agreement and agree to it to continue.",
            ),
            "approval": (
                "Check your LinkedIn app",
                "We sent a notification to your signed in devices. Open it and tap Yes.",
            ),
            "ended": ("Sign in again", "Your session has expired. Please sign in again."),
            "locked": ("Please wait", "You have made too many attempts. Please try again later."),
            "help": ("Help Center", "How can we help?"),
        },
        buttons={"consent": "Agree and continue", "approval": "I have approved it"},
    )

    def cookies(self, login: WebLogin) -> Mapping[str, str]:
        """See `Dialect.cookies`."""
        return {**first_cookies(login.token), "chp_token": login.key}

    def new_token(self) -> str:
        """See `Dialect.new_token`."""
        return new_session()

    def fields(self, login: WebLogin, now: float) -> Mapping[str, str]:
        """See `Dialect.fields`."""
        return _challenge(login).fields(now)

    def field(self, login: WebLogin) -> Field:
        """See `Dialect.field`."""
        return Field(
            id=_challenge(login).form[1],
            name="pin",
            label="Please enter the code here",
            more={"type": "tel", "pattern": "[0-9]*", "class": "form__input--text"},
        )

    def parts(self, login: WebLogin, error: str) -> Mapping[str, str]:
        """See `Dialect.parts`; the error is there from the beginning, hidden."""
        form_id, _input_id, error_id = _challenge(login).form
        return {
            "lead": LEADS[login.source],
            "form_id": form_id,
            "error_id": error_id,
            "error": error or ERRORS["wrong"],
            "hide_error": "" if error else " hidden",
        }

    def following(self, source: Source) -> Source:
        """See `Dialect.following`."""
        return "SMS" if source == "EMAIL" else "EMAIL"

    def home(self, account: Account) -> Html:
        """See `Dialect.home`: the owner as the site writes it for its scripts."""
        owner = {"plainId": int(account.user_id), "included": [profile_of(account)]}
        return Html(f'<code id="bpr-guid-1" hidden>{escape(json.dumps(owner))}</code>')


DIALECT = LinkedInDialect()


def _challenge(login: WebLogin) -> Challenge:
    """Return what the simulator of the other ways would have begun."""
    return Challenge(
        account=login.account,
        source=login.source,
        session=login.token,
        born=login.born,
        id=login.key,
        token=login.key,
        submission=login.turn,
    )
