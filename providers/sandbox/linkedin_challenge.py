"""LINKEDIN: one challenge of a login, and the form that asks for its code."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from checkpoint_worker.providers.sandbox.accounts import Account, Source

FAILED = "/checkpoint/lg/login?errorKey=challenge_global_internal_error"

# Form id, id of the code's input and id of the error block, by source.
_EMAIL_FORM = ("email-pin-challenge", "input__email_verification_pin", "email-pin-error")
PHONE_FORM = ("two-step-challenge", "input__phone_verification_pin", "phone-pin-error")
LEADS = {
    "EMAIL": "Enter the code we sent to your email address.",
    "SMS": "Enter the code we sent to your phone by text message.",
    "APP": "Enter the code you see in your authenticator app.",
}
ERRORS = {
    "wrong": "The verification code you entered isn't valid. Please check the code and try again.",
    "expired": "The verification code you entered has expired. Please request a new one.",
}


@dataclass(slots=True, kw_only=True)
class Challenge:
    """One challenge page: what it last told the client, and what it must hear back."""

    account: Account
    source: Source
    session: str
    """Value of ``JSESSIONID`` without its quotes; the form's ``csrfToken``."""
    born: float
    id: str = field(default_factory=lambda: "Ag" + secrets.token_urlsafe(24))
    token: str = field(default_factory=lambda: "AQ" + secrets.token_urlsafe(18))
    submission: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    tries: int = 0
    step: int = 1
    over: bool = False

    @property
    def form(self) -> tuple[str, str, str]:
        """Ids of the form, of its input and of its error block."""
        return _EMAIL_FORM if self.source == "EMAIL" else PHONE_FORM

    @property
    def path(self) -> str:
        """Where its page is."""
        return f"/checkpoint/challenge/{self.token}?ut=0{self.token[2:8]}"

    def turn(self) -> None:
        """Make the next page: what belonged to the last one is stale."""
        self.submission = secrets.token_urlsafe(24)
        self.cookie = secrets.token_urlsafe(12)

    def fields(self, now: float) -> dict[str, str]:
        """The twelve hidden inputs, in page order."""
        return {
            "csrfToken": self.session,
            "pageInstance": f"urn:li:page:d_checkpoint_ch_{self.form[0]};{self.submission[:16]}==",
            "resendUrl": "/checkpoint/challenge/resend",
            "challengeId": self.id,
            "displayTime": str(int(now * 1000)),
            "challengeSource": "CONSUMER_LOGIN",
            "requestSubmissionId": self.submission,
            "challengeType": f"AQ{self.form[0]}&co.",
            "challengeData": f"data+{self.token}/=",
            "challengeDetails": f"details {self.token}",
            "failureRedirectUri": FAILED,
            "flowTreeId": secrets.token_urlsafe(12),
        }


def form_of(now: float, challenge: Challenge, error: str = "") -> str:
    """Return a challenge's form as the next page has it."""
    form_id, input_id, error_id = challenge.form
    remember = '<input type="checkbox" name="recognizedDevice" checked>'
    return (
        f'<form id="{form_id}" action="/checkpoint/challenge/verify" method="post">\n'
        f"{hidden(challenge.fields(now))}\n"
        f'<input id="{input_id}" name="pin" maxlength="6" pattern="[0-9]*">'
        f'<div id="{error_id}" class="form__error{"" if error else " hidden__imp"}" '
        f'role="alert">{escape(error or ERRORS["wrong"])}</div>'
        f"{remember if challenge.form is PHONE_FORM else ''}"
        "<button>Submit</button></form>"
    )


def hidden(fields: dict[str, str]) -> str:
    """Return hidden inputs as a page has them."""
    return "\n".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in fields.items()
    )
