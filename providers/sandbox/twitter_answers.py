"""What the simulated TWITTER says in place of a plain refusal or a plain success, as tables.

A kind of account names one of them. ``providers/twitter/README.md`` says where each is known from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Error = tuple[int, int, str]
"""Status, number, message."""

CODE_HINT, ADDRESS_HINT = "Confirmation code", "Phone or email"
FACTOR_HINT: Final = "Enter code"

HINTS: Final[Mapping[str, str]] = {
    # Texts of the subtask that takes an emailed code, by the account's own kind.
    "hint_verification": "Verification code",
    "hint_german": "Bestätigungscode",
    "hint_japanese": "確認コード",
    "hint_empty": "",
    "hint_address": "Email address",
    "hint_address_german": "Telefonnummer oder E-Mail-Adresse",
    "hint_address_japanese": "メールアドレス",
    "hint_user_name": "Phone number or username",
}

ERRORS: Final[Mapping[str, Error]] = {
    # After the right code.
    "suspended": (403, 64, "Your account is suspended and is not permitted to access this."),
    "locked": (403, 326, "To protect our users, this account has been temporarily locked."),
    "throttled": (429, 88, "Rate limit exceeded."),
    "limited": (400, 399, "We've temporarily limited your login. Please try again later."),
    "refused": (400, 399, "Could not log you in now. Please try again later."),
    "retriable": (400, 399, "Hm."),
    "flow_failed": (400, 398, "Can't complete your signup right now."),
    "client_refused": (400, 399, "Please use X.com or official X apps to log in."),
    "client_refused_german": (400, 399, "Bitte nutze X.com, um dich anzumelden."),
    "premium": (400, 399, "Text message codes are for Premium subscribers only."),
    "flow_dead": (400, 366, "flow name LoginFlow is currently not accessible"),
    "wrong_step": (400, 366, "Required input 'LoginEnterAlternateIdentifierSubtask' not provided."),
    "value_invalid": (400, 366, "Invalid value."),
    "reset": (400, 244, "A password reset is required."),
    "access_denied": (403, 37, "Access denied."),
    "captcha_error": (403, 315, "Captcha required."),
    "csrf": (403, 353, "This request requires a matching csrf cookie and header."),
    "guest_expired": (403, 239, "Bad guest token."),
    "over_capacity": (503, 130, "Over capacity"),
    "failing": (500, 131, "Internal error"),
    "unknown_error": (400, 9999, "Something new."),
    "unknown_forbidden": (403, 9999, "Something new."),
}

GOING_ON: Final = frozenset(
    {"retriable", "unknown_error", "unknown_forbidden", "value_invalid", "wrong_step"}
)
"""Errors after which the flow still takes an answer."""

REFUSALS: Final[Mapping[str, Error]] = {
    # After a wrong code.
    "errors_in_200": (200, 399, "Incorrect. Please try again."),
    "refused_german": (400, 399, "Falsch. Bitte versuche es erneut."),
    "refused_japanese": (400, 399, "正しくありません。もう一度お試しください。"),
    "refused_arabic": (400, 399, "الرمز غير صحيح. يُرجى المحاولة مرة أخرى."),
    "refused_pin": (400, 294, "The PIN is invalid."),
    "refused_expired": (400, 310, "The PIN has expired."),
}
NOTICES: Final[Mapping[str, tuple[Mapping[str, object], ...]]] = {
    # After a wrong code, too: subtasks before the step, which may be shown again.
    "refused_by_toast": (
        {"subtask_id": "Toast", "in_app_notification": {"message": {"text": "Oops."}}},
    ),
    "refused_by_dialog": (
        {"subtask_id": "Dialog", "alert_dialog": {"primary_text": {"text": "Incorrect code."}}},
    ),
}
NOTICES_ALONE: Final = frozenset({"refused_by_dialog"})

STATUSES: Final[Mapping[str, tuple[int, str, Mapping[str, str]]]] = {
    # After the right code: status, body, headers.
    "blocked": (
        403,
        "<!DOCTYPE html><html><title>Attention Required! | Cloudflare</title></html>",
        {"Content-Type": "text/html"},
    ),
    "mitigated": (503, "Just a moment", {"cf-mitigated": "challenge"}),
    "bare_401": (401, "", {}),
    "bare_403": (403, "", {}),
    "bare_404": (404, "", {}),
    "teapot": (418, "", {}),
    "redirected": (302, "", {"Location": "https://x.com/home"}),
    "redirected_to_login": (302, "", {"Location": "https://x.com/i/flow/login"}),
    "redirected_to_access": (302, "", {"Location": "https://x.com/account/access"}),
    "page": (200, "<!DOCTYPE html><html></html>", {"Content-Type": "text/html"}),
}

SUBTASKS: Final[Mapping[str, Mapping[str, object]]] = {
    # After the right code: the subtask that is shown.
    "denied": {
        "subtask_id": "DenyLoginSubtask",
        "cta": {
            "primary_text": {"text": "We blocked an attempt to log in"},
            "secondary_text": {"text": "Check your inbox before you try again."},
        },
    },
    "denied_suspended": {
        "subtask_id": "DenyLoginSubtask",
        "cta": {
            "primary_text": {"text": "Your account is suspended"},
            "secondary_text": {"text": "You can appeal."},
        },
    },
    "captcha": {
        "subtask_id": "ArkoseLogin",
        "web_modal": {"url": "https://captcha.example.test/", "complete_link": {"link_id": "x"}},
    },
    "choose_method": {
        "subtask_id": "LoginTwoFactorAuthChooseMethod",
        "choice_selection": {"choices": [{"id": "0", "text": {"text": "Authenticator app"}}]},
    },
    "password": {"subtask_id": "RedirectToPasswordReset", "open_link": {"link": {}}},
    "security_key": {"subtask_id": "LoginSecurityKey", "security_key": {}},
    "birthday": {"subtask_id": "LoginBirthday", "enter_date": {}},
    "script": {"subtask_id": "LoginJsInstrumentationSubtask", "js_instrumentation": {}},
    "starts_again": {"subtask_id": "StartNewLoginFlowSubtask", "open_link": {}},
    "unknown": {"subtask_id": "LoginTellUsMore", "enter_riddle": {}},
    "unknown_null": {"subtask_id": "LoginTellUsMore", "web_modal": None, "enter_riddle": {}},
}

SESSIONS: Final[Mapping[str, str]] = {
    # After the right code: a session in an answer whose other part contradicts it; that part.
    "session_in_redirect": "redirected",
    "session_in_redirect_to_login": "redirected_to_login",
    "session_in_page": "page",
    "session_in_bare_403": "bare_403",
    "session_in_error": "unknown_error",
    "session_in_refusal": "retriable",
    "session_in_failure": "failing",
    "session_in_unknown": "unknown",
    "session_in_denial": "denied",
}
STEPS: Final[Mapping[str, str]] = {
    # A session in an answer that names a further step, which takes precedence; that step.
    "session_and_captcha": "captcha",
}
