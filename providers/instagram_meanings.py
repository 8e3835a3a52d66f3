"""INSTAGRAM: what its answers mean, word by word.

Tables only, in the order in which the words may be trusted: a message that is a constant,
then ``error_type``, then patterns on what the person would read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    DeadIntentError,
    MalformedRequestError,
    ProviderBrokenError,
    ProviderFailure,
    ResourceRestrictedError,
    SessionMismatchError,
    UnknownContextError,
)
from providers.instagram_contexts import REDIRECT_ACTION

WORDS_MAX = 1000  # Messages are a sentence or two; patterns never see more.


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a word of the provider means; without a failure it is a refused code."""

    failure: type[ProviderFailure] | None
    detail: str = ""


WRONG = Meaning(None)
DEAD = Meaning(DeadIntentError, "The provider has ended this login; it must start again.")
DISABLED = Meaning(AccountRestrictedError, "The provider has disabled this account.")
SUSPENDED = Meaning(AccountRestrictedError, "The provider has suspended this account.")
THROTTLED = Meaning(ProviderBrokenError, "The provider asks to wait before the next try.")
SUSPECTED = Meaning(ResourceRestrictedError, "The provider takes this client for a bot.")
ADDRESS = Meaning(ResourceRestrictedError, "The provider refuses this network address.")
FORM = Meaning(MalformedRequestError, "The provider refused the request's form.")
CONSENT = Meaning(ActionRequiredError, "The provider asks the person for consent in its app.")
PASSWORD = Meaning(ActionRequiredError, "The provider asks the person for a new password.")
IN_APP = Meaning(ActionRequiredError, "The provider asks for a further check in its own app.")
OLD_APP = Meaning(ProviderBrokenError, "The provider no longer serves this version of the app.")
TOKEN = Meaning(SessionMismatchError, "The provider does not take the token for this session.")
UNKNOWN = Meaning(UnknownContextError, "The provider leads to a step that is not known here.")
AGAIN = Meaning(ProviderBrokenError, "The provider asks for the code again; it is sent once.")
UNREADABLE = Meaning(ProviderBrokenError, "The provider's answer cannot be read.")
CONTRADICTION = Meaning(ProviderBrokenError, "The provider's answer contradicts itself.")
NO_SESSION = Meaning(ProviderBrokenError, "The provider let the login pass but gave no session.")
OVER = Meaning(
    DeadIntentError, "The checkpoint is cleared, but without a session; the login must be redone."
)

MESSAGES = {
    "consent_required": CONSENT,
    "feedback_required": SUSPECTED,
    "inactive user": DISABLED,
    "login_required": DEAD,
    "user_has_logged_out": DEAD,
}
ERROR_TYPES = {
    "inactive user": DISABLED,
    "inactive_user": DISABLED,
    "invalid_nonce": DEAD,
    "invalid_parameters": FORM,
    "needs_upgrade": OLD_APP,
    "rate_limit_error": THROTTLED,
    "sentry_block": SUSPECTED,
    "sms_code_validation_code_invalid": WRONG,
    "unusable_password": PASSWORD,
}
WORDS = (  # Pattern on the message's text, lower case; the last resort.
    (r"please check the (?:security )?code", WRONG),
    (r"code has expired", WRONG),
    (r"code is no longer valid", DEAD),
    (r"please wait a few minutes", THROTTLED),
    (r"this field is required", FORM),
    (r"invalid parameters", FORM),
    (r"username you entered doesn.t appear to belong", ADDRESS),
    (r"account\b.{0,200}\bdisabled\b.{0,200}\bviolating", DISABLED),
    (r"reset\b.{0,100}\bpassword", PASSWORD),
    (r"csrf token", TOKEN),
)
PAGES = (  # The same for a body that is no JSON: its status, and words in it.
    (None, r"please wait a few minutes", THROTTLED),
    (None, r"csrf token", TOKEN),
    (400, r"this field is required", FORM),
    (403, r"", TOKEN),
    (404, r"\A\s*not found\s*\Z", DEAD),
)
ADDRESSES = (  # Pattern on the path of a redirect.
    (r"^/accounts/suspended(?:/|$)", SUSPENDED),
    (r"^/accounts/disabled(?:/|$)", DISABLED),
    (r"^/accounts/login(?:/|$)", DEAD),
    (r"^/(?:challenge|auth_platform|checkpoint)(?:/|$)", IN_APP),
    (r"^/(?:consent|terms)(?:/|$)", CONSENT),
)
CODE_STEPS = {  # Steps of a checkpoint that take a code, and where it comes from.
    "verify_email": "EMAIL",
    "verify_email_code": "EMAIL",
    "verify_phone": "SMS",
    "verify_phone_code": "SMS",
    "verify_sms": "SMS",
    "verify_sms_code": "SMS",
    "VerifyEmailCodeForm": "EMAIL",
    "VerifySMSCodeForm": "SMS",
    "VerifySMSCodeFormForSMSCaptcha": "SMS",
}
REFUSED_CODE = ("TWO_STEP_VERIFICATION_ENTER_CODE", "AUTH_PLATFORM_ENTER_CODE")
BLOKS_STEPS = (  # Screens that a Bloks answer may open; none of them takes this code.
    REDIRECT_ACTION,
    "com.bloks.www.ap.two_step_verification.",
    "com.bloks.www.two_step_verification.",
)


def refuse(meaning: Meaning) -> NoReturn:
    """Raise what a meaning says.

    Raises:
        ProviderFailure: Always.
    """
    assert meaning.failure is not None, "a refused code is a verdict"
    raise meaning.failure(meaning.detail)


def meanings(*, message: str, error_type: str, words: str) -> Iterator[Meaning]:
    """Yield what the provider's words mean, the most exact first.

    Args:
        message: The answer's ``message``.
        error_type: Its ``error_type``.
        words: What the person would read, lower case and bounded.
    """
    if found := MESSAGES.get(message.lower()):
        yield found
    if found := ERROR_TYPES.get(error_type.lower()):
        yield found
    yield from (meaning for pattern, meaning in WORDS if re.search(pattern, words))
