"""INSTAGRAM: the meanings of its answers, constant by constant.

Tables only, in the order of reliability: a constant in ``message`` or ``error_type``, the address
of a redirect, a step or a screen by its id, and texts last (`providers.instagram.words`).
``providers/instagram/README.md`` gives the source of each row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NoReturn
from urllib.parse import urlsplit

from checkpoint_worker.providers import meanings
from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    DeadIntentError,
    MalformedRequestError,
    ProviderBrokenError,
    ResourceRestrictedError,
    UnknownStepError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.instagram import words
from checkpoint_worker.providers.meanings import Meaning

WRONG, FORM, THROTTLED = meanings.WRONG, meanings.FORM, meanings.THROTTLED
TOKEN, UNREADABLE, NO_SESSION = meanings.TOKEN, meanings.UNREADABLE, meanings.NO_SESSION
DEAD = Meaning(DeadIntentError, "The provider has ended this login; it must start again.")
DISABLED = Meaning(AccountRestrictedError, "The provider has disabled this account.")
SUSPENDED = Meaning(AccountRestrictedError, "The provider has suspended this account.")
PROBLEM = Meaning(ProviderBrokenError, "The provider had a problem with the request.")
SUSPECTED = Meaning(ResourceRestrictedError, "The provider takes this client for a bot.")
CLIENT = Meaning(ResourceRestrictedError, "The provider does not take this client's user agent.")
ADDRESS = Meaning(ResourceRestrictedError, "The provider refuses this network address.")
METHOD = Meaning(MalformedRequestError, "The provider takes no code for the named method.")
CONSENT = Meaning(ActionRequiredError, "The provider asks the person for consent in its app.")
PASSWORD = Meaning(ActionRequiredError, "The provider asks the person for a new password.")
IN_APP = Meaning(ActionRequiredError, "The provider asks for a further check in its own app.")
STEP = Meaning(
    UnknownStepError,
    "The provider asks for a step that is not known here; its own app or site shows it.",
)
UNSENT = Meaning(ActionRequiredError, "The provider cannot send a code now; use another method.")
OLD_APP = Meaning(ProviderBrokenError, "The provider no longer serves this version of the app.")
AGAIN = Meaning(UnreadableAnswerError, "The provider asks for the code again; it is sent once.")
ELSEWHERE = Meaning(UnreadableAnswerError, "The provider's answer leads to another host.")
CONTRADICTION = Meaning(UnreadableAnswerError, "The provider's answer contradicts itself.")
NO_OWNER = Meaning(UnreadableAnswerError, "The provider gave a session without saying whose it is.")
OVER = Meaning(
    DeadIntentError, "The checkpoint is cleared, but without a session; the login must be redone."
)

CONSTANTS: Mapping[str, Meaning] = {  # `ParsedResponse.constants`, lower case.
    "account_hit_rate_limit": THROTTLED,
    "bad_password": UNREADABLE,  # The first step's; never observed as an answer to a code.
    "block_eu_user_login_in_old_app": OLD_APP,
    "consent_required": CONSENT,
    "feedback_required": SUSPECTED,
    "generic_request_error": PROBLEM,
    "geoblock_required": ADDRESS,
    "inactive user": DISABLED,
    "inactive_user": DISABLED,
    "invalid_identifier": DEAD,
    "invalid_nonce": DEAD,
    "invalid_parameters": FORM,
    "invalid_trusted_notification": METHOD,
    "invalid_user": ADDRESS,
    "invalid_verficaition_code": WRONG,  # The provider's spelling.
    "invalid_verification_code": WRONG,
    "ip_block": ADDRESS,
    "login_required": DEAD,
    "needs_upgrade": OLD_APP,
    "rate_limit_error": THROTTLED,
    "rle_login_blocked": ADDRESS,
    "sentry_block": SUSPECTED,
    "sms_code_validation_code_invalid": WRONG,
    "sms_code_validation_code_missing": FORM,
    "sms_code_validation_failed": WRONG,
    "unsupported_version": OLD_APP,
    "unusable_password": PASSWORD,
    "user_has_logged_out": DEAD,
    "useragent mismatch": CLIENT,
}
CHECKPOINT_CONSTANTS = frozenset(
    {
        "challenge_required",
        "checkpoint_challenge_required",
        "checkpoint_logged_out",
        "checkpoint_required",
    }
)

_FORGED = re.compile(r"csrf\b.{0,40}\b(?:missing|incorrect|invalid|fail)|(?:missing|invalid) csrf")
"""A sentence about the token; a page's form or script that has a token does not match."""
_OTHER_NEWS = re.compile(
    r"\bsent (?:you )?(?:a |the |another )?(?:new )?code|\bcode (?:was |has been )?sent\b"
    r"|internet connection|\boffline\b|login (?:was )?approved|welcome back"
)
"""A notice about something other than this code."""
_PASSWORD_NEWS = re.compile(
    r"\b(?:password|credentials)\b[^.!?]{0,40}\b(?:incorrect|invalid|wrong)\b"
    r"|\b(?:incorrect|invalid|wrong) (?:\w+ ){0,3}(?:password|credentials)\b"
)
"""A sentence about the first step, which the provider also says in answer to later ones."""
WORDS = (  # Pattern on the message's text, folded; the first match counts.
    (
        re.compile(
            r"username you entered doesn't appear to belong"
            r"|couldn't find an account with the username"
        ),
        ADDRESS,
    ),
    (_FORGED, TOKEN),
    (re.compile(r"code is no longer valid"), DEAD),
    (re.compile(r"session (?:has )?expired"), DEAD),
    (re.compile(r"(?:can't|cannot|couldn't) send (?:a |the |you )*(?:\w+ )?code"), UNSENT),
    (re.compile(r"invalid parameters"), FORM),
    (
        re.compile(
            r"version of instagram is out of date|(?:update|upgrade) (?:your app|instagram\b)"
        ),
        OLD_APP,
    ),
    (re.compile(r"been logged out|log back in"), DEAD),
    (re.compile(r"request signature|\binvalid request|missing param"), FORM),
    (re.compile(r"suspicious login|automated behaviou?r|action (?:was )?blocked"), SUSPECTED),
    (re.compile(r"suspended your account|account has been deactivated"), SUSPENDED),
    (re.compile(r"requested to delete|scheduled (?:for deletion|to be deleted)"), IN_APP),
    (
        re.compile(
            r"transient error|temporarily unavailable|error with your request|\bserver error"
            r"|counter get error"
        ),
        PROBLEM,
    ),
    (_OTHER_NEWS, UNREADABLE),
    (_PASSWORD_NEWS, UNREADABLE),
    (words.DISABLED, DISABLED),
    (words.NEW_PASSWORD, PASSWORD),
    (words.FIELD, FORM),
    (meanings.ASKS_TO_WAIT, THROTTLED),
    (meanings.REPORTS_PROBLEM, PROBLEM),
    (re.compile(r"check the (?:security )?code|re-?enter|code has expired|incorrect code"), WRONG),
)
PAGES = (  # Status and pattern for a body that is no JSON.
    (403, _FORGED, TOKEN),
    (None, meanings.ASKS_TO_WAIT, THROTTLED),
    (400, words.FIELD, FORM),
    (None, re.compile(r"oops, an error occurred"), PROBLEM),
)
NOT_FOUND = re.compile(r"\A\s*not found\s*\Z")
"""A bare text under 404. At a checkpoint's own path it means that the checkpoint is gone."""

ADDRESSES = (  # Pattern on the path of an address that an answer leads to.
    (re.compile(r"/accounts/suspended(?:/|\Z)"), SUSPENDED),
    (re.compile(r"/accounts/disabled(?:/|\Z)"), DISABLED),
    (re.compile(r"/unsupported_version(?:/|\Z)"), OLD_APP),
    (re.compile(r"/(?:consent|terms|user_agreement)(?:/|\Z)"), CONSENT),
    (re.compile(r"/accounts/(?:password|reset_password)(?:/|\Z)"), PASSWORD),
    (re.compile(r"/(?:challenge|checkpoint|auth_platform|integrity)(?:/|\Z)"), IN_APP),
    (re.compile(r"/two_factor/remember_browser(?:/|\Z)"), NO_SESSION),
    (re.compile(r"/two_(?:factor|step_verification)(?:/|\Z)"), IN_APP),
    (re.compile(r"\A(?:/api/v1)?/(?:accounts/)?login(?:\.php)?/?\Z"), DEAD),
    (re.compile(r"\A/(?:accounts/(?:onetap|edit)/?|direct/inbox/?)?\Z"), NO_SESSION),
)
HOSTS = ("instagram.com", "facebook.com")
"""Hosts of the provider's pages. Accounts Center and consent may be on the second."""

CODE_STEPS: Mapping[str, str | None] = {  # Steps that take a code, with the code's source.
    "verify_code": None,  # ``step_data.form_type`` names the source.
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
FORM_TYPES: Mapping[str, str] = {"email": "EMAIL", "phone_number": "SMS"}

CODE_ERRORS = (  # Variables of a Bloks screen whose text refuses the code.
    "BLOKS_TWO_STEP_VERIFICATION_ENTER_CODE:error_message",
    "BLOKS_AUTH_PLATFORM_ENTER_CODE:error_message",
)
SCREENS = (  # Prefixes of the Bloks ids of steps that the person has to pass.
    "com.bloks.www.ig.challenge.",
    "com.bloks.www.ap.two_step_verification.",
    "com.bloks.www.two_step_verification.",
    "com.bloks.www.two_factor_login.",
    "com.bloks.www.ap.passkey_auth",
    "com.bloks.www.approve_from_another_device.",
    "com.bloks.www.caa.ar.",
    "com.bloks.www.caa.login.",
    "com.bloks.www.checkpoint.",
)


_CONSTANT = re.compile(r"[a-z]+(?:_[a-z]+)+")
_REFUSING = re.compile(r"code.*(?:invalid|incorrect|wrong|expired|fail)|(?:invalid|wrong).*code")


def refuse(meaning: Meaning) -> NoReturn:
    """Raise the failure of a meaning.

    Raises:
        ProviderFailure: Always.
    """
    raise meaning.error()


def of_constants(*texts: str) -> Meaning | None:
    """Return the meaning of the first known constant among some texts."""
    known = (CONSTANTS.get(text.strip().lower()) for text in texts)
    return next((meaning for meaning in known if meaning is not None), None)


def names_other_cause(*texts: str) -> bool:
    """Whether a constant that is not known says something other than that the code is wrong."""
    folded = (text.strip().lower() for text in texts)
    return any(_CONSTANT.fullmatch(each) and not _REFUSING.search(each) for each in folded)


def of_words(*texts: str) -> Meaning | None:
    """Return the meaning of texts for the person, if it is known."""
    return next(_readings(*texts), None)


def _readings(*texts: str) -> Iterator[Meaning]:
    folded = "\n".join(meanings.plain(text) for text in texts if text)
    yield from (meaning for pattern, meaning in WORDS if pattern.search(folded))


def of_page(status: int, text: str) -> Meaning | None:
    """Return the meaning of a body that is no JSON."""
    folded = meanings.plain(text)
    fits = (
        meaning
        for of_status, pattern, meaning in PAGES
        if of_status in {None, status} and pattern.search(folded)
    )
    return next(fits, None)


def of_address(address: str, *, home: str) -> Meaning | None:
    """Return the meaning of an address that an answer leads to.

    Args:
        address: Absolute, or a path.
        home: The provider's address; its own pages are there, or at `HOSTS`.

    Returns:
        ``None`` for an unknown page of the provider; `ELSEWHERE` for a page on another host,
        `UNREADABLE` for an invalid address.
    """
    try:
        target, own = urlsplit(address), urlsplit(home).hostname
        host = (target.hostname or own or "").rstrip(".").lower()
    except ValueError:
        return UNREADABLE
    if host != own and not any(host == each or host.endswith("." + each) for each in HOSTS):
        return ELSEWHERE
    path = target.path or "/"
    return next((meaning for pattern, meaning in ADDRESSES if pattern.search(path)), None)
