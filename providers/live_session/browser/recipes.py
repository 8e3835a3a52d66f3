"""How the login pages of each provider look: small tables, by which a page is found and read.

The semantics of HTML decide first (``autocomplete=one-time-code``, labels, roles, cookies), the
selectors of a recipe second, and words last. A caller may give a recipe of its own, or change one:
``dataclasses.replace(recipe_for("LINKEDIN"), submit="button.mine")``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from checkpoint_worker.providers import meanings
from checkpoint_worker.providers.instagram import words as instagram
from checkpoint_worker.providers.linkedin import words as linkedin
from checkpoint_worker.providers.messenger import words as messenger
from checkpoint_worker.providers.twitter import words as twitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """How a page shows that it is no page for a code. Any of the three is enough.

    Attributes:
        css: Selector of an element that is seen.
        path: Pattern on the path of the address, lower case.
        words: Patterns on what the page says, lower case.
    """

    css: str = ""
    path: str = ""
    words: tuple[str, ...] = ()

    def is_in(self, path: str, text: str) -> bool:
        """Whether the address or the text shows it; ``css`` is looked for in the browser."""
        if self.path and re.search(self.path, path.lower()):
            return True
        return _any(self.words, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserId:
    """The cookie that names the account of a finished login: its name, and a pattern on it."""

    cookie: str
    pattern: str = r"([0-9]{1,20})"

    def read(self, value: str) -> str | None:
        """Return the id in the cookie's value."""
        found = re.fullmatch(self.pattern, unquote(value))
        return found[1] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the login pages of one provider look.

    Attributes:
        input: Selector of the input for the code, for pages without ``one-time-code``.
        submit: Selector of the button, for a form without a submit button.
        error: Selector of elements that show an error, beside ``role=alert`` and the like.
        signs: What the page is, if not one for a code; the names are those of `STOPS`.
        success: Cookies that together make a finished login; the first is the session's own, and
            has to be new. Without any, no page is ever read as a finished login.
        user_id: The cookie that names the account, ``None`` if none does.
        owner_path: Path that answers whose login it is, for a provider without such a cookie.
        session: Fields of the session that a cookie fills: field name to cookie name.
        refused: Patterns on the text of an error that refuses the code, lower case.
        throttled: Patterns on the text of an error that judges no code, lower case.
        types: The checkpoint's type by the source of its code.
    """

    input: str = ""
    submit: str = ""
    error: str = ""
    signs: Mapping[str, Sign] = field(default_factory=dict)
    success: tuple[str, ...] = ()
    user_id: UserId | None = None
    owner_path: str = ""
    session: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    throttled: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)

    def refuses(self, text: str) -> bool:
        """Whether the text of an error refuses the code."""
        return not self.throttles(text) and (_any(self.refused, text) or twitter.refuses(text))

    def throttles(self, text: str) -> bool:
        """Whether the text of an error asks to wait, or says that the provider itself failed."""
        return _any(self.throttled, text)

    def type_of(self, source: str | None) -> str:
        """Return the type of a checkpoint whose code has this source."""
        return self.types.get(source or "", "2FA" if source in {"APP", "BACKUP"} else "OTP")


def _any(patterns: Sequence[str], text: str) -> bool:
    text = meanings.plain(text)
    return any(re.search(each, text) for each in patterns)


STOPS: Final = (
    "captcha", "consent", "approval", "password", "identity", "restricted", "ended", "locked",
)  # fmt: skip
"""What a page without a field for a code may be, in the order in which the signs are read."""

_CAPTCHA: Final = Sign(
    css=(
        "iframe[src*=captcha i], iframe[src*=arkose i], iframe[src*=turnstile i],"
        " iframe[title*=captcha i], [data-sitekey], [id*=captcha i], .g-recaptcha, .h-captcha"
    ),
    path=r"/captcha",
    words=(*linkedin.CAPTCHA.values(), r"\bcaptcha\b", r"not a robot|(?:are|you're) (?:a )?human"),
)
_CONSENT: Final = Sign(
    css="form#consent, form[action*=consent i]",
    path=r"/(?:legal|consent|agree)",
    words=(
        r"agree to (?:comply|our|the)|(?:accept|review) (?:our|the) (?:terms|cookies)",
        r"nutzungsbedingungen|conditions d'utilisation|términos|termos de|termini|условия",
    ),
)
_APPROVAL: Final = Sign(
    css="[data-test-id=auth-app-approval], form#in-app-challenge",
    path=r"/checkpoint/challengesv2(?:/|$)",
    words=(
        *linkedin.APPROVAL.values(),
        r"check your (?:other device|notifications)|(?:approve|confirm) (?:this|the|your) log-?in",
        r"approve (?:it )?(?:from|on) (?:another|your) (?:device|phone)",
    ),
)
_PASSWORD: Final = Sign(
    css="input[autocomplete=new-password]",
    path=r"/(?:checkpoint/rp|password[-_/]?reset)",
    words=tuple(linkedin.PASSWORD.values()),
)
_IDENTITY: Final = Sign(words=tuple(linkedin.IDENTITY.values()))
_RESTRICTED: Final = Sign(
    words=(
        *linkedin.RESTRICTED.values(),
        *messenger.DISABLED_WORDS.values(),
        instagram.DISABLED.pattern,
        r"account (?:is|has been) (?:suspended|disabled|locked)",
    )
)
_ENDED: Final = Sign(
    css="form input[type=password][autocomplete=current-password]",
    words=(
        *meanings.EXPIRED_WORDS.values(),
        r"(?:log|sign)[ -]?in again|start (?:over|again)",
        r"(?:session|login|request|link) (?:has )?expired",
    ),
)
_LOCKED: Final = Sign(words=(meanings.ASKS_TO_WAIT.pattern,))
_SIGNS: Final[Mapping[str, Sign]] = {
    "captcha": _CAPTCHA,
    "consent": _CONSENT,
    "approval": _APPROVAL,
    "password": _PASSWORD,
    "identity": _IDENTITY,
    "restricted": _RESTRICTED,
    "ended": _ENDED,
    "locked": _LOCKED,
}
_REFUSED: Final = (*linkedin.REFUSED.values(), *messenger.REFUSED_WORDS.values())
_THROTTLED: Final = (
    *messenger.BLOCKED_WORDS.values(),
    meanings.ASKS_TO_WAIT.pattern,
    meanings.REPORTS_PROBLEM.pattern,
)

GENERIC: Final = Recipe(signs=_SIGNS, refused=_REFUSED, throttled=_THROTTLED)
"""Works on any page with a field for a one-time code. It names no cookies of a finished login, so a
caller who uses it gives ``success``, and ``user_id`` or the session's own ``user_id``."""


def _recipe(**rows: object) -> Recipe:
    common = {"signs": _SIGNS, "refused": _REFUSED, "throttled": _THROTTLED}
    return Recipe(**{**common, **rows})  # type: ignore[arg-type]  # rows of one table


RECIPES: Final[Mapping[str, Recipe]] = {
    "LINKEDIN": _recipe(
        input="input[name=pin], #input__phone_verification_pin, #input__email_verification_pin",
        submit="#two-step-submit-button, #email-pin-submit-button, .form__submit",
        error="[id$=pin-error], .form__error, .body__banner--error, .artdeco-toast-item",
        success=("li_at", "JSESSIONID"),
        owner_path="/voyager/api/me",
        session={"csrf_token": "JSESSIONID"},
        types={"SMS": "2FA"},
    ),
    "INSTAGRAM": _recipe(
        input="input[name=verificationCode], input[name=security_code], input[name=email]"
        "[maxlength]",
        submit="form button[type=button], [role=button][tabindex='0']",
        error="#twoFactorErrorAlert, #slfErrorAlert, [id$=ErrorAlert]",
        success=("sessionid", "ds_user_id", "csrftoken"),
        user_id=UserId(cookie="ds_user_id"),
        session={"sessionid": "sessionid", "mid": "mid", "rur": "rur"},
        refused=(*_REFUSED, r"check the (?:security )?code (?:we sent you )?and try again"),
        types={"SMS": "2FA"},
    ),
    "TWITTER": _recipe(
        input="input[data-testid=ocfEnterTextTextInput], input[name=text]",
        submit="[data-testid=ocfEnterTextNextButton], [data-testid=LoginForm_Login_Button]",
        error="[data-testid=toast]",
        success=("auth_token", "ct0", "twid"),
        user_id=UserId(cookie="twid", pattern=r'"?u=([0-9]{1,20})"?'),
        session={"csrf_token": "ct0"},
        types={"SMS": "2FA"},
    ),
    "MESSENGER": _recipe(
        input="input[name=approvals_code], #approvals_code",
        submit="#checkpointSubmitButton, button[name='submit[Continue]']",
        error="#approvals_code_error, ._5633, [id$=error]",
        success=("xs", "c_user"),
        user_id=UserId(cookie="c_user"),
        types={"SMS": "2FA"},
    ),
}
"""The recipes by provider."""


def recipe_for(provider: str) -> Recipe:
    """Return the recipe of a provider, the generic one for a provider that has none."""
    return RECIPES.get(provider, GENERIC)


_NAME_OF_TWO_STEPS: Final = re.compile(
    r"(?:two|2)[- ](?:factor|step) (?:authentication|verification)"
)
"""A heading that names the method, whatever the source; "authentication" alone reads as an app."""
_BACKUP: Final = re.compile(
    r"enter (?:an? |one of )?(?:your )?(?:\d-digit )?(?:backup|recovery) codes?\b"
)
"""Words that ask for a backup code; others offer one as another way."""
_OFFERED: Final = re.compile(r"\b(?:back-?up|recovery) codes?\b")
_NUMBER: Final = re.compile(r"\bnumber ending\b")


def source_in(text: str) -> str | None:
    """Return where a page's text says that its code comes from, ``None`` if it does not."""
    text = _NAME_OF_TWO_STEPS.sub(" ", meanings.plain(text))
    return twitter.source_in(text) or ("SMS" if _NUMBER.search(text) else None)


def source_around(text: str) -> str | None:
    """Return the source that the text around a form names: backup codes are mostly an offer."""
    text = meanings.plain(text)
    return "BACKUP" if _BACKUP.search(text) else source_in(_OFFERED.sub(" ", text))
