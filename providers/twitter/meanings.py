"""The meanings of TWITTER's answers: errors, statuses, addresses and subtasks, as tables.

Structure is read first: numbers, statuses, ids of subtasks, names of their parts. Texts come last
(`providers.twitter.words`). An answer that matches no table is in doubt and ends no login:
`UnreadableAnswerError` or `UnknownStepError`. ``providers/twitter/README.md`` gives the source of
each row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from checkpoint_worker.providers.answers import refuse_common, wait_asked
from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    DeadIntentError,
    MalformedRequestError,
    ProviderBrokenError,
    ProviderFailure,
    ResourceRestrictedError,
    SessionMismatchError,
    SubscriptionRequiredError,
    UnknownStepError,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.meanings import (
    CAPTCHA,
    CONSENT,
    FORM,
    INTERNAL,
    NEW_PASSWORD,
    NO_SESSION,
    THROTTLED,
    WAIT_WORDS,
    WRONG,
    Meaning,
    asks_to_wait,
    reports_problem,
)
from checkpoint_worker.providers.meanings import TOKEN as TOKEN_REFUSED
from checkpoint_worker.providers.twitter.words import refuses

if TYPE_CHECKING:
    from checkpoint_worker.providers.contract import Reply

OK, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, TOO_MANY_REQUESTS = 200, 400, 401, 403, 429
SUCCESSES, REDIRECTS = range(200, 300), range(300, 400)
RETRIABLE: Final = 399
"""``OnboardingFlowRetriableFailure``: any failure within a flow; its text says which."""

ERRORS_MAX = 20  # Errors that are read in one answer.
MESSAGE_MAX = 2_000  # Characters that are read of each message; some patterns are quadratic.
TEXTS_MAX = 4_096  # Characters that are read of a subtask's texts.

_NUMBER = re.compile(r"[0-9]{1,20}")
# A message ends with the token of its flow, which is not part of the error.
_TOKEN_TAIL = re.compile(r"\s*\bg;\S*\s*$")

_ENDED = Meaning(
    DeadIntentError, "The provider has ended this login flow; the login must start again."
)
_LOCKED = Meaning(AccountRestrictedError, "The provider has suspended or locked this account.")
_THROTTLING = Meaning(ProviderBrokenError, "The provider is throttling requests.")
_OWN_CLIENTS = Meaning(
    ResourceRestrictedError, "The provider lets only its own site and apps log in here."
)
_CHOICE = "The provider asks which method to use, which the person must choose on its site."
_PASSWORD = "The provider asks for the password or a new one, on its site."  # noqa: S105  a sentence
ADDRESS_ASKED = "The provider asks for the account's address or name, on its site."
_SECURITY_KEY = "The provider asks for a security key, which works on its site only."
_SCREEN = "The provider shows a screen that the person must answer on its site or in its app."
_SCRIPT = "The provider wants to look at the login's browser; the login must go on there."
_DENIED = Meaning(
    ActionRequiredError, "The provider denies this login until the person has acted on its site."
)


# Errors ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sign:
    """Numbers or a text pattern of an error, with the meaning if either matches.

    With ``number`` the pattern counts for errors of that number alone.
    """

    meaning: Meaning
    _: KW_ONLY
    codes: frozenset[int] = frozenset()
    words: str = r"(?!)"  # The default matches no text.
    number: int | None = None
    source: str | None = None  # The only source of codes for which the sign counts.
    status: int | None = None  # The only status with which the sign counts.


# The first match counts. Numbers are those of the provider's public list of errors. A number with
# two meanings has a row for its texts first; its row without a text has the milder meaning.
_SIGNS = (
    _Sign(
        Meaning(
            SubscriptionRequiredError, "Codes by text message need a paid plan at the provider."
        ),
        words=r"\bpremium\b|twitter blue|\bsubscri",
        source="SMS",
    ),
    _Sign(_LOCKED, codes=frozenset({27, 63, 64, 141, 159, 242, 326})),
    # A lock after too many tries opens by itself, within about an hour.
    _Sign(_THROTTLING, words=rf"(?s)^(?=.*\blocked\b)(?!.*\bsuspended\b).*?(?:{WAIT_WORDS['en']})"),
    _Sign(_LOCKED, words=r"\b(?:suspended|TwitterUserNotSuspended|locked(?! out))\b"),
    _Sign(_ENDED, codes=frozenset({237, 241, 246})),
    _Sign(
        _THROTTLING,
        codes=frozenset({33, 88, 129, 205, 243, 245, 295, 299, 344, 395}),
        words=WAIT_WORDS["en"],
    ),
    _Sign(
        WRONG,
        codes=frozenset({173, 174, 235, 236, 289, 294, 310}),
        words=(
            r"^\W*incorrect\b|(?<!went )\b(?:wrong|incorrect|invalid)\s+"
            r"(?:\w+\s+){0,2}(?<!error )code\b"
        ),
    ),
    _Sign(
        Meaning(
            MalformedRequestError, "The provider waits for another step of the login than this one."
        ),
        words=r"required input\b.*\bnot provided",
    ),
    _Sign(_ENDED, words=r"\bflow\b", number=366),
    _Sign(
        Meaning(MalformedRequestError, "The provider finds a value of the request invalid."),
        codes=frozenset({38, 366}),
    ),
    _Sign(
        Meaning(
            MalformedRequestError,
            "The provider does not take the app's bearer token of the context.",
        ),
        codes=frozenset({215}),
    ),
    _Sign(
        _OWN_CLIENTS,
        codes=frozenset({61, 87, 348, 416}),
        words=r"\bofficial x apps?\b|\bplease use x\.com\b",
    ),
    _Sign(
        _OWN_CLIENTS,
        words=r"(?<![\w.])x\.com\b",  # A name is the same in every language.
        number=RETRIABLE,
    ),
    _Sign(
        Meaning(ProviderBrokenError, "The provider refused the login without a reason."),
        codes=frozenset({398}),
        words=r"could not log you in",
    ),
    _Sign(NEW_PASSWORD, codes=frozenset({244, 255, 410})),
    _Sign(CAPTCHA, codes=frozenset({263, 315})),
    _Sign(
        Meaning(
            ActionRequiredError,
            "The provider asks the person to approve the login or confirm the account.",
        ),
        codes=frozenset({231, 253, 262, 313, 400, 409}),
    ),
    _Sign(_DENIED, codes=frozenset({37})),
    _Sign(TOKEN_REFUSED, codes=frozenset({353})),
    _Sign(
        Meaning(DeadIntentError, "The guest token has expired; the login must start again."),
        codes=frozenset({89, 99, 239}),
    ),
    _Sign(_ENDED, codes=frozenset({32}), status=UNAUTHORIZED),
    _Sign(
        Meaning(
            SessionMismatchError, "The provider does not take these cookies and tokens together."
        ),
        codes=frozenset({32}),
    ),
    _Sign(
        Meaning(ResourceRestrictedError, "The provider refuses this address."),
        codes=frozenset({249}),
    ),
    _Sign(
        Meaning(ResourceRestrictedError, "The provider takes this client for a bot."),
        codes=frozenset({226}),
    ),
    _Sign(INTERNAL, codes=frozenset({29, 67, 130, 131})),
)

_STATUSES: Mapping[int, str] = {
    # Statuses of answers without a known error.
    UNAUTHORIZED: "The provider does not accept the request and gives no reason.",
    FORBIDDEN: "The provider refuses the request and gives no reason.",
    404: (
        "The provider does not know the request. It answers so where a client leaves out headers"
        " of its site: give the context what the login's client sends."
    ),
}

_HOSTS: Final = re.compile(r"(?:.+\.)?(?:x|twitter)\.com")
_PLACES: Final = (
    # Path of a redirect, and its meaning.
    (
        re.compile(r"/account/.+"),
        Meaning(ActionRequiredError, "The provider leads to a page about the account's access."),
    ),
    (re.compile(r"(?:/i/flow)?/consent.*"), CONSENT),
    (re.compile(r"(?:/i/flow)?/login/?"), _ENDED),
)


def read_refusal(reply: Reply, body: object, *, source: str | None) -> bool:
    """Read the errors of an answer; they come under any status, 200 included.

    Returns:
        Whether the code was refused; ``False`` if the caller has to read the answer.

    Raises:
        ProviderFailure: The meaning of any other error.
    """
    errors = errors_of(body)
    sign = _sign_of(errors, source=source, status=reply.status)
    if sign is None:
        retriable = [message for code, message in errors if code in {0, RETRIABLE}]
        if any(map(refuses, retriable)):
            return True
        if any(map(asks_to_wait, retriable)):
            raise THROTTLED.error()
        _refuse_status(reply, errors)
        return False
    if sign.meaning is WRONG:
        return True
    if sign.meaning.failure is ProviderBrokenError:
        refuse_common(reply)  # The status may be more specific than the number.
        raise ProviderBrokenError(sign.meaning.detail + wait_asked(reply))
    raise sign.meaning.error()


def errors_of(body: object) -> list[tuple[int, str]]:
    """Return number and message of each error, messages without the token at their end.

    Empty entries are left out, because the provider sends empty lists and empty entries. An error
    without a number has the number 0.
    """
    found = (
        (_number(_code(each)), _bare(each.get("message") if isinstance(each, Mapping) else each))
        for each in entries_of(body)
    )
    return [(code, message) for code, message in found if code or message]


def entries_of(body: object) -> list[object]:
    """Return the entries of an answer that report errors: objects or texts, several or one.

    They are in ``errors``, in ``error``, or are the answer itself if it is no state of a flow.
    """
    found = body
    if isinstance(body, Mapping):
        found = body.get("errors") or body.get("error")
        if not found and "subtasks" not in body and "message" in body:
            found = body
    if isinstance(found, Mapping | str):
        return [found]
    return found[:ERRORS_MAX] if isinstance(found, list) else []


def _code(entry: object) -> object:
    if not isinstance(entry, Mapping):
        return None
    return entry.get("code") or (part(entry, "extensions") or {}).get("code")


def _number(code: object) -> int:
    return int(str(code)) if _NUMBER.fullmatch(str(code)) else 0


def _bare(message: object) -> str:
    return _TOKEN_TAIL.sub("", message[:MESSAGE_MAX]) if isinstance(message, str) else ""


def _sign_of(errors: Iterable[tuple[int, str]], *, source: str | None, status: int) -> _Sign | None:
    for sign in _SIGNS:
        if sign.source not in {None, source} or sign.status not in {None, status}:
            continue
        for code, message in errors:
            said = sign.number in {None, code} and re.search(sign.words, message, re.IGNORECASE)
            if code in sign.codes or said:
                return sign
    return None


def _refuse_status(reply: Reply, errors: Sequence[tuple[int, str]]) -> None:
    """Raise the meaning of an answer without a known error; return if it is a flow to read."""
    is_page = reply.body.lstrip().startswith(b"<")
    if "cf-mitigated" in reply.headers or (
        is_page and reply.status in {FORBIDDEN, TOO_MANY_REQUESTS}
    ):
        msg = "The provider's gate refuses this client or its address."
        raise ResourceRestrictedError(msg)
    refuse_common(reply)
    if reply.status in REDIRECTS:
        _refuse_place(reply.headers.get("location", ""))
    if errors:
        number = f" {errors[0][0]}" if errors[0][0] else ""
        msg = f"The provider reports error{number}, which is not known here."
        raise UnreadableAnswerError(msg)
    if reply.status == BAD_REQUEST:
        raise FORM.error()
    if reply.status not in SUCCESSES:
        raise UnreadableAnswerError(_STATUSES.get(reply.status, "The answer cannot be read."))


def _refuse_place(address: str) -> None:
    try:
        parts = urlsplit(address.strip())
        host = parts.hostname
    except ValueError:
        return
    if host and not _HOSTS.fullmatch(host):
        return
    for path, meaning in _PLACES:
        if path.fullmatch(parts.path):
            raise meaning.error()


# Subtasks --------------------------------------------------------------------------------

ENDINGS: Final = frozenset({"LoginSuccessSubtask", "SuccessExit", "LoginOpenHomeTimeline"})
DUPLICATION_CHECK: Final = "AccountDuplicationCheck"
"""Subtask that asks, after a code, whether another account of this browser has the same owner."""
ENDING_PARTS: Final = ("open_account", "open_home_timeline", "end_flow")
"""Parts of a subtask that show a complete login, like the session's cookie."""

DENIED: Final = "DenyLoginSubtask"
STARTS_AGAIN: Final = frozenset({"StartNewLoginFlowSubtask"})
NOTICES: Final = ("in_app_notification", "alert_dialog", "wait_spinner", "update_users")
"""Parts of subtasks that are shown before another one: toasts, dialogs."""

_BY_ID: Mapping[str, str] = {
    "ArkoseLogin": CAPTCHA.detail,
    "LoginEnterAlternateIdentifierSubtask": ADDRESS_ASKED,
    "LoginEnterUserIdentifier": ADDRESS_ASKED,
    "LoginEnterUserIdentifierSSO": ADDRESS_ASKED,
    "LoginEnterPassword": _PASSWORD,
    "LoginJsInstrumentationSubtask": _SCRIPT,
    "LoginPrivacyWarningRecaptchaSubtask": CAPTCHA.detail,
    "LoginThrowRecaptchaSubtask": CAPTCHA.detail,
    "LoginTwoFactorAuthChooseMethod": _CHOICE,
    "PasswordResetBegin": _PASSWORD,
    "PasswordResetChooseChallenge": _PASSWORD,
    "PasswordResetConfirmChallenge": _PASSWORD,
    "PasswordResetNewPassword": _PASSWORD,
    "PwrJsInstrumentationSubtask": _PASSWORD,
    "PwrKnowledgeChallenge": _PASSWORD,
    "RedirectToPasswordReset": _PASSWORD,
    "login_security_key_not_supported_cta": _SECURITY_KEY,
}
_BY_PART: Mapping[str, str] = {
    # The first part that is present counts.
    "web_modal": CAPTCHA.detail,
    "enter_recaptcha": CAPTCHA.detail,
    "recaptcha": CAPTCHA.detail,
    "security_key": _SECURITY_KEY,
    "enter_password": _PASSWORD,
    "js_instrumentation": _SCRIPT,
    "choice_selection": _CHOICE,
    "enter_email": ADDRESS_ASKED,
    "enter_phone": ADDRESS_ASKED,
    "enter_username": ADDRESS_ASKED,
    "email_verification": ADDRESS_ASKED,
    "phone_verification": ADDRESS_ASKED,
} | dict.fromkeys(
    # Names that every client of the site lists when it starts a flow (``subtask_versions``).
    (
        "app_download_cta", "contacts_live_sync_permission_prompt", "enter_date", "generic_urt",
        "interest_picker", "menu_dialog", "notifications_permission_prompt", "privacy_options",
        "select_avatar", "select_banner", "settings_list", "show_code", "sign_up",
        "sign_up_review", "single_sign_on", "tweet_selection_urt", "upload_media",
        "user_recommendations_list", "user_recommendations_urt",
    ),
    _SCREEN,
)  # fmt: skip


def part(subtask: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return a part of a subtask that is an object; absent parts may come as null."""
    found = subtask.get(name)
    return found if isinstance(found, Mapping) else None


def has_part(subtask: Mapping[str, Any], name: str) -> bool:
    """Whether a subtask has a part whose value is an object."""
    return part(subtask, name) is not None


def name_of(subtask: Mapping[str, Any]) -> str:
    """Return the id of a subtask, an empty text if it has none."""
    name = subtask.get("subtask_id")
    return name if isinstance(name, str) else ""


def is_ending(subtask: Mapping[str, Any]) -> bool:
    """Whether a subtask shows that the login is complete."""
    return name_of(subtask) in ENDINGS or any(has_part(subtask, name) for name in ENDING_PARTS)


def known_step(subtask: Mapping[str, Any]) -> str | None:
    """Return the action that a known step needs, ``None`` for an unknown step."""
    if name := _BY_ID.get(name_of(subtask)):
        return name
    return next((detail for name, detail in _BY_PART.items() if has_part(subtask, name)), None)


def is_notice(subtask: Mapping[str, Any]) -> bool:
    """Whether a subtask is only a message before another subtask; a denial is none."""
    return name_of(subtask) != DENIED and any(has_part(subtask, name) for name in NOTICES)


def refuse_notice(text: str) -> None:
    """Raise what a notice says instead of a judgement on the code.

    Raises:
        ProviderBrokenError: It asks to wait, or reports a fault of the provider.
    """
    if asks_to_wait(text):
        raise THROTTLED.error()
    if not refuses(text) and reports_problem(text):
        raise INTERNAL.error()


def denial_of(subtask: Mapping[str, Any], *, source: str | None) -> ProviderFailure:
    """Return the reason why the provider denies the login; an unknown one needs the person."""
    text = text_of([subtask.get("cta"), subtask.get("alert_dialog")])
    sign = _sign_of([(0, text)], source=source, status=OK)
    denials = {AccountRestrictedError, SubscriptionRequiredError}
    known = sign is not None and sign.meaning.failure in denials
    return (sign.meaning if sign and known else _DENIED).error()


def failure_of(subtask: Mapping[str, Any], *, source: str | None) -> ProviderFailure:
    """Return the failure for a subtask that neither made a session nor takes a code."""
    name = name_of(subtask)
    if name == DENIED:
        return denial_of(subtask, source=source)
    if name in STARTS_AGAIN:
        return _ENDED.error()
    if detail := known_step(subtask):
        return ActionRequiredError(detail)
    if is_ending(subtask) or name == DUPLICATION_CHECK or not subtask:
        return NO_SESSION.error()
    msg = "The provider leads to a step that is not known here; the person must look at its site."
    return UnknownStepError(msg)


def text_of(value: object) -> str:
    """Return every text in a part of a subtask, in order, up to a limit."""
    return " ".join(_texts_of(value))[:TEXTS_MAX]


def _texts_of(value: object) -> list[str]:
    if isinstance(value, Mapping):
        value = [
            each for name, each in value.items() if name != "user"
        ]  # A user wrote these texts.
    if isinstance(value, list):
        return [text for each in value for text in _texts_of(each)]
    return [value] if isinstance(value, str) else []
