"""What INSTAGRAM says instead of a plain success or refusal, by the sandbox's kind.

`AFTER_RIGHT` is said to a right code, `AFTER_WRONG` to a wrong one; `SUCCESSES` change how a
finished login is written. Programs are for logins over Bloks; other routes get the same kind in
their own form where they have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

WAIT: Final = "Please wait a few minutes before you try again."
CROWD: Final = 110
"""Cookies that a login's answer empties beside its own; clients that read 100 lines fail."""
ROUTED: Final = r'"RVA\054700000001\0541800000000:01f7"'
"""A value with quotes and escapes, as the cookie ``rur`` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One answer.

    Attributes:
        status: HTTP status.
        body: Its JSON; ``status: fail`` is added where it has none.
        text: A body that is no JSON.
        location: Target of a redirect.
        program: A Bloks program.
    """

    status: int = 400
    body: Mapping[str, object] = field(default_factory=dict)
    text: str = ""
    location: str = ""
    program: str = ""


def _step(step: str, **more: object) -> Spoken:
    return Spoken(status=200, body={"step_name": step, "status": "ok", **more})


def _fail(message: str, **more: object) -> Spoken:
    return Spoken(body={"message": message, **more})


def _challenge(**challenge: object) -> Spoken:
    held = {"url": "https://i.instagram.com/challenge/", "lock": True, "logout": False}
    return Spoken(body={"message": "challenge_required", "challenge": {**held, **challenge}})


def _program(text: str) -> Spoken:
    return Spoken(status=200, program=text)


def _screen(name: str) -> str:
    return f'(bk.action.cds.PushScreen (bk.action.tree.Make 13799 35 "{name}") (bk.action.Noop))'


_CODE_ERROR = "BLOKS_TWO_STEP_VERIFICATION_ENTER_CODE:error_message"
_EMPTIED = f'(bk.action.bloks.WriteGlobalConsistencyStore "{_CODE_ERROR}" "")'

AFTER_RIGHT: Final[Mapping[str, Spoken]] = {
    "restricted": _fail("Your account has been disabled.", error_type="inactive_user"),
    "disabled": _fail("Your account has been disabled for violating our terms."),
    "suspended": _challenge(url="https://i.instagram.com/accounts/suspended/?next=/"),
    "suspended_web": _fail(
        "checkpoint_required", checkpoint_url="https://www.instagram.com/accounts/suspended/"
    ),
    "approval": _challenge(api_path="/challenge/1/n/", native_flow=True),
    "auth_platform_challenge": _challenge(api_path="/auth_platform/?apc=x"),
    "old_version": _challenge(
        url="https://i.instagram.com/web/unsupported_version/", api_path="/challenge/"
    ),
    "logged_out_checkpoint": _fail(
        "checkpoint_required",
        checkpoint_url="https://i.instagram.com/integrity/checkpoint/?next=x",
        error_type="checkpoint_logged_out",
    ),
    "captcha": _step("selfie_captcha"),
    "submit_phone": _step("submit_phone", step_data={"show_whatsapp_otp_choice": True}),
    "password": _step("change_password", challenge_type_enum_str="PASSWORD_RESET"),
    "unusable_password": _fail("Please reset your password.", error_type="unusable_password"),
    "consent": _fail("consent_required"),
    "consent_redirect": Spoken(status=302, location="/privacy/consent/?flow=user_cookie_choice"),
    "unknown": _step("tell_us_more"),
    "unknown_redirect": Spoken(status=302, location="/tell/us/more/"),
    "login_redirect": Spoken(status=302, location="/accounts/login/?next=%2F"),
    "throttled": Spoken(status=429, body={"message": WAIT}),
    "rate_limited": _fail("Sorry, too many.", error_type="rate_limit_error"),
    "problem": _fail("Sorry, there was a problem with your request."),
    "spam": _fail("feedback_required", spam=True, feedback_title="Try Again"),
    "blocked": _fail("Sorry, blocked.", error_type="sentry_block"),
    "ip_block": _fail("Sorry.", error_type="ip_block"),
    "address": _fail(
        "The username you entered doesn't appear to belong to an account. "
        "Please check your username and try again.",
        error_type="invalid_user",
    ),
    "upgrade": _fail("Please update.", error_type="needs_upgrade"),
    "logged_out": Spoken(status=403, body={"message": "login_required", "logout_reason": 2}),
    "masked": Spoken(status=404, text="Not Found"),
    "emptied": _program(f"(bk.x {_EMPTIED} {_screen('com.bloks.www.two_step_verification.new')})"),
    "passkey": _program(_screen("com.bloks.www.ap.passkey_auth")),
    "account_suggestion": _program(_screen("com.bloks.www.caa.login.password_as_id_confirmation")),
    "new_screen": _program(_screen("com.bloks.www.somewhere.new")),
    "new_program": _program("(bk.action.core.Noop)"),
}

AFTER_WRONG: Final[Mapping[str, Spoken]] = {
    "german": Spoken(body={"message": "Überprüfe den Code, den wir dir gesendet haben."}),
    "toast": _program('(bk.action.io.Toast "Please re-enter the code.")'),
    "dialog": _program(
        '(bk.action.dialog.OpenDialog (bk.action.tree.Make 1 35 "Gib den Code erneut ein."))'
    ),
}

SUCCESSES: Final = frozenset(
    {
        "sessionless", "mismatch", "nobody",  # Broken ones.
        "crowded", "bare", "guarded", "header_only", "routed", "home_redirect",
    }
)  # fmt: skip
"""``crowded``: beside it, `CROWD` cookies are emptied. ``bare``: cookies and ``ok`` alone.
``guarded``: behind a guard against inclusion. ``header_only``: no cookies. ``routed``: a cookie
that must stay as it was sent. ``home_redirect``: a redirect to the start page."""
