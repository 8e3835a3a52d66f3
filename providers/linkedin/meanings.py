"""LINKEDIN: the meanings of its addresses, pages and texts. Tables only.

The most reliable sign comes first: the address of a redirect, the markup of a page, the text that
its reader sees. Texts are the provider's own in each of its languages, whatever language was
requested. The text of a page with a form for the code is never used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from checkpoint_worker.providers import meanings
from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    DeadIntentError,
    Kinds,
    ProviderBrokenError,
    ResourceRestrictedError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.linkedin import words
from checkpoint_worker.providers.meanings import Meaning


@dataclass(frozen=True, slots=True)
class Sign:
    """A pattern of an answer, with its meaning.

    Attributes:
        name: A name for readers of the table.
        meaning: Its meaning.
        path: Pattern on the path of an address, lower case.
        query: Pattern on its query.
        marker: CSS selector; the element is often hidden from the reader.
        words: Language to a pattern on the visible text, lower case.
    """

    name: str
    meaning: Meaning
    _: KW_ONLY
    path: str = ""
    query: str = ""
    marker: str = ""
    words: Mapping[str, str] = field(default_factory=dict)

    def is_address(self, path: str, query: str) -> bool:
        """Whether an address matches."""
        if self.query and re.search(self.query, query, re.IGNORECASE):
            return not self.path or re.search(self.path, path) is not None
        return bool(self.path) and not self.query and re.search(self.path, path) is not None

    def is_said(self, text: str) -> bool:
        """Whether a text, in lower case, matches in any language."""
        return any(re.search(pattern, text) for pattern in self.words.values())


ENDED: Final = Meaning(
    DeadIntentError, "The provider has ended this challenge; the login must start again."
)
EXPIRED: Final = Meaning(
    DeadIntentError, "The challenge or its session has expired; the login must start again."
)
CLIENT: Final = Meaning(
    ProviderBrokenError,
    "The provider does not serve the client of this context: user agent, cookies and headers must "
    "be those of the browser that began the login.",
)
REFUSED_WITHOUT_REASON: Final = Meaning(
    UnreadableAnswerError, "The provider refuses the request without saying why."
)
DENIED: Final = Meaning(ResourceRestrictedError, "The provider refuses this client or its address.")
_RESTRICTED: Final = Meaning(AccountRestrictedError, "The provider has restricted this account.")
_IDENTITY: Final = Meaning(
    ActionRequiredError, "The provider asks the person to prove their identity on its site."
)
_PHONE: Final = Meaning(
    ActionRequiredError, "The provider asks the person for a phone number on its site."
)

FAILED_LOGIN: Final = Sign("failed login", ENDED, query=r"(?:^|&)errorkey=[^&]")
CHALLENGE_PAGE: Final = r"/checkpoint/challenge(?:sv2)?/"
"""Pages of the challenge, whose meaning depends on their content."""

ADDRESSES: Final = (
    Sign(
        "internal error",
        Meaning(ProviderBrokenError, "The provider reports an unexpected error of its own."),
        query=r"(?:^|&)errorkey=unexpected_error(?:&|$)",
    ),
    FAILED_LOGIN,
    Sign("old client", CLIENT, path=r"unsupported[-_]?browser|/error_pages/"),
    Sign("restricted", _RESTRICTED, path=r"/(?:uas|checkpoint)/(?:\w+/)*account-?restricted"),
    Sign("captcha", meanings.CAPTCHA, path=r"/(?:checkpoint|uas)/[\w/-]*captcha"),
    Sign("password", meanings.NEW_PASSWORD, path=r"/checkpoint/rp/|/uas/request-password-reset"),
    Sign(
        "identity",
        _IDENTITY,
        path=r"/(?:checkpoint|uas)/(?:[\w-]+/)*(?:id-?verif|identity|ato-pin|consumer-email)",
    ),
    Sign(
        "consent",
        meanings.CONSENT,
        path=r"(?:^|/)(?:legal|consent|connect-services|agree[\w-]*)(?:/|$)",
    ),
    Sign("phone", _PHONE, path=r"(?:add|register|manage)-?phone"),
    Sign(
        "login page",
        EXPIRED,
        path=r"(?:^|/)(?:login|authwall|cold-join|signup|uas/login-submit)(?:/|$)",
    ),
)
"""Signs in order of priority; the ``errorKey`` of a challenge page's address is ignored."""

RESTRICTED: Final = Sign(
    "restricted",
    _RESTRICTED,
    marker="#pagekey-uas-account-restricted, form[name=AccountRestrictedForm]",
    words=words.RESTRICTED,
)
CAPTCHA: Final = Sign(
    "captcha",
    meanings.CAPTCHA,
    marker=(
        'input[name=captchaSiteKey]:not([value=""]), #captcha-internal, code#securedDataExchange, '
        "iframe[src*=captcha], iframe[src*=arkoselabs], [data-sitekey], form#captcha-challenge"
    ),
    words=words.CAPTCHA,
)
APPROVAL: Final = Sign(
    "approval",
    Meaning(ActionRequiredError, "The provider waits for an approval in its own app."),
    marker=(
        "[data-test-id=auth-app-approval], .header__content__heading__inapp, .form__submit__inapp, "
        "form#in-app-challenge"
    ),
    words=words.APPROVAL,
)
PASSWORD: Final = Sign(
    "password",
    meanings.NEW_PASSWORD,
    marker="input[name=new_password], input[name=newPassword], input[autocomplete=new-password]",
    words=words.PASSWORD,
)
IDENTITY: Final = Sign(
    "identity",
    _IDENTITY,
    marker=(
        'a#idverifyUrl:not([href=""]), #idverifyUrl:not(a), '
        'input[name=idverifyUrl]:not([value=""]), form[name=ATOPinChallengeForm]'
    ),
    words=words.IDENTITY,
)
PHONE: Final = Sign("phone", _PHONE, marker="form#register-phone-challenge")
CONSENT: Final = Sign(
    "consent",
    meanings.CONSENT,
    marker="#content__button--primary--muted",
    words={"en": r"agree to comply"},
)
PASSKEY: Final = Sign(
    "passkey",
    Meaning(ActionRequiredError, "The provider asks the person for a passkey on its site."),
    marker="[id*=passkey], [data-test-id*=passkey]",
    words={"en": r"\bpasskey"},
)
OLD_CLIENT: Final = Sign("old client", CLIENT, words=words.OLD_CLIENT)
ACCESS_DENIED: Final = Sign(
    "access denied",
    DENIED,
    words={"en": r"^(?:error )?(?:access|request) (?:is )?denied|unusual traffic"},
)
TOO_MANY: Final = Sign("too many", meanings.THROTTLED, words=meanings.WAIT_WORDS)
PROBLEM: Final = Sign("problem", meanings.INTERNAL, words=meanings.PROBLEM_WORDS)
REFUSED: Final = Sign("refused", meanings.WRONG, words=words.REFUSED)
SENT: Final = Sign("code sent", meanings.WRONG, words=words.SENT)
"""A notice in the place of errors. It has no meaning of its own: the form's identity decides."""
LOGIN_PAGE: Final = Sign(
    "login page", EXPIRED, marker="form input[name=session_password], #rememberme-div"
)

MARKED: Final = (RESTRICTED, CAPTCHA, APPROVAL, PASSWORD, IDENTITY, PHONE, CONSENT, PASSKEY)
"""Signs in the markup of a page without a form for the code."""
IN_FORM: Final = (RESTRICTED,)
"""Signs in the markup of a page with a form for the code."""
SPOKEN: Final = (
    REFUSED, RESTRICTED, CAPTCHA, APPROVAL, PASSWORD, IDENTITY, CONSENT, PASSKEY, OLD_CLIENT,
    ACCESS_DENIED, TOO_MANY,
)  # fmt: skip
"""Signs in the text of a page, if its markup has none."""
IN_ERROR: Final = (
    TOO_MANY, RESTRICTED, REFUSED, PROBLEM, OLD_CLIENT,
    Sign("session expired", meanings.UNREADABLE, words=meanings.EXPIRED_WORDS),
)  # fmt: skip
"""Signs in the text of a form's error; any other text refuses the code."""


# Forms for the code --------------------------------------------------------------------

ERROR_BLOCKS: Final = (
    "#email-pin-error, #phone-pin-error, [id$=pin-error], [role=alert], [role=alertdialog], "
    "[aria-live=assertive], .form__error, .form__error--floating, .alert--error, "
    ".body__banner--error, .artdeco-toast-item, .artdeco-inline-feedback--error"
)
"""Elements that show a refusal: beneath the input, in a banner, a toast or a dialog."""
ELSEWHERE: Final = "#artdeco-global-alert-container, .artdeco-global-alert"
"""Elements for notices of the whole site, such as that of its cookies."""
PIN_ERRORS: Final = "#email-pin-error, #phone-pin-error, [id$=pin-error]"
"""Elements for errors that concern the code alone, on the form of another step too."""
INVALID_INPUT: Final = "input[name=pin][aria-invalid=true]"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeForm:
    """A form that takes a code, recognised by its id, or by the name of its input or page.

    Attributes:
        marker: CSS selector on the page.
        instance: Pattern on the hidden input ``pageInstance``, lower case.
        type: Checkpoint type.
        sources: Patterns on the page's text and the source that each means, in this order.
    """

    marker: str
    instance: str
    type: str
    sources: tuple[tuple[str, str], ...]

    def is_form(self, form_id: str) -> bool:
        """Whether a form with that id is of this kind."""
        return bool(form_id) and f"form#{form_id}," in self.marker

    def is_page(self, instance: str) -> bool:
        """Whether a page of that ``pageInstance`` is of this kind; its end is a random id."""
        return re.search(self.instance, instance.partition(";")[0].lower()) is not None


CODE_FORMS: Final = (
    CodeForm(
        marker="form#email-pin-challenge, #input__email_verification_pin, #email-pin-submit-button",
        instance=r"email_?-?pin",
        type="OTP",
        sources=(("", "EMAIL"),),
    ),
    # Text messages and authenticator apps have the same markup, so the page's text decides.
    CodeForm(
        marker="form#two-step-challenge, #input__phone_verification_pin, #two-step-submit-button",
        instance=r"two_?-?step|phone_?-?pin|sms",
        type="2FA",
        sources=((words.AUTHENTICATOR, "APP"), (words.TEXT_MESSAGE, "SMS")),
    ),
)
OTHER_FORM: Final = CodeForm(
    marker="",
    instance="",
    type="OTP",
    sources=((words.AUTHENTICATOR, "APP"), (words.EMAIL, "EMAIL"), (words.TEXT_MESSAGE, "SMS")),
)


KINDS: Final = Kinds(by_type={"OTP": ("EMAIL", "SMS"), "2FA": ("SMS", "APP")})
"""What a form may ask for; of a text message the provider's pages do not say which type it is."""


def kinds_of(form_id: str, instance: str) -> Kinds:
    """Return what a form asks for, by its id or else by the ``pageInstance`` of its page."""
    by_id = next((kind for kind in CODE_FORMS if kind.is_form(form_id)), None)
    kind = by_id or next((kind for kind in CODE_FORMS if kind.is_page(instance)), None)
    if kind is None:
        return KINDS
    rows = (
        (type_, tuple(each for each in sources if each in dict(kind.sources).values()))
        for type_, sources in KINDS.by_type.items()
    )
    place = "form_id" if by_id else "fields.pageInstance"
    return Kinds(by_type={type_: sources for type_, sources in rows if sources}, field=place)


def sign_of_address(path: str, query: str) -> Sign | None:
    """Return the meaning of a redirect's address; ``None``: the page has to be read."""
    path = path.lower()
    is_page = re.search(CHALLENGE_PAGE, path) is not None
    for sign in ADDRESSES:
        if is_page and sign is FAILED_LOGIN:
            continue
        if sign.is_address(path, query):
            return sign
    return None


def sign_of_words(text: str, signs: Iterable[Sign] = SPOKEN) -> Sign | None:
    """Return the meaning of a text, if it is known.

    A page about too many wrong codes, or about a session that has expired, refuses no code.
    """
    text = meanings.plain(text)
    judges = not TOO_MANY.is_said(text) and not meanings.SESSION_EXPIRED.search(text)
    known = (sign for sign in signs if sign is not REFUSED or judges)
    return next((sign for sign in known if sign.is_said(text)), None)
