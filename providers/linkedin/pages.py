"""LINKEDIN: reading of the provider's addresses and pages, in the order of reliability.

Only its form decides about a page with a form for the code, because pages also have links, hidden
blocks and texts about other subjects. For other pages the markup decides, then the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from checkpoint_worker.providers.answers import refuse_common
from checkpoint_worker.providers.contract import (
    Checkpoint,
    ProviderFailure,
    UnreadableAnswerError,
)
from checkpoint_worker.providers.http.html import Page, is_path, path_on_host
from checkpoint_worker.providers.linkedin.meanings import (
    APPROVAL,
    CAPTCHA,
    CODE_FORMS,
    DENIED,
    ELSEWHERE,
    ERROR_BLOCKS,
    FAILED_LOGIN,
    IN_ERROR,
    IN_FORM,
    INVALID_INPUT,
    LOGIN_PAGE,
    MARKED,
    OTHER_FORM,
    PIN_ERRORS,
    REFUSED,
    REFUSED_WITHOUT_REASON,
    SENT,
    sign_of_address,
    sign_of_words,
)
from checkpoint_worker.providers.meanings import FORM, TOKEN, UNKNOWN_STEP, UNREADABLE, WRONG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from checkpoint_worker.providers.contract import Reply
    from checkpoint_worker.providers.http.html import Form
    from checkpoint_worker.providers.linkedin.meanings import CodeForm, Sign
    from checkpoint_worker.providers.meanings import Meaning

CODE_FIELD: Final = "pin"
OK, UNAUTHORISED, FORBIDDEN = 200, 401, 403
BLOCKED: Final = 999
"""The provider's own status for clients and addresses that it blocks."""

_DOMAIN: Final = "linkedin.com"
_SEND_AGAIN: Final = frozenset({307, 308})
_STATUSES: Final = {400: FORM, FORBIDDEN: DENIED, 451: DENIED, BLOCKED: DENIED}
_APPROVALS: Final = r"^/checkpoint/challengesv2(?:/|$)"
_OWN_FORM: Final = f"form:has(input[name={CODE_FIELD}])"
_TAKE_OVER: Final = "form[name=ATOPinChallengeForm]"
"""Form that asks whether the account was taken over; its code needs another path and inputs."""


def own_path(address: str) -> str | None:
    """Return the path and query of an address on a host of the provider, else ``None``.

    The hosts are ``www.linkedin.com``, the same without ``www``, and one for each country.
    """
    try:
        target = urlsplit(address.strip())
        host = (target.hostname or "").lower()
    except ValueError:
        return None
    is_own = host == _DOMAIN or host.endswith("." + _DOMAIN)
    if target.scheme not in {"http", "https"} or not is_own:
        return None
    return (target.path or "/") + (f"?{target.query}" if target.query else "")


# Addresses -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """The target of a redirect whose address has no known meaning.

    Attributes:
        path: The page to read, at the provider's own address.
        leaves: Whether it leads out of the challenge, as a finished login does.
    """

    path: str = field(repr=False)
    leaves: bool


def read_location(reply: Reply, *, base_url: str, page: str, failure_path: str) -> Onward:
    """Read the address of a redirect.

    Args:
        reply: A redirect.
        base_url: The provider's address.
        page: Path of the request that it answers.
        failure_path: The form's address for a fatal failure, or an empty string.

    Raises:
        ProviderFailure: The meaning of a known address.
    """
    location = reply.headers.get("location", "").strip()
    if not location:
        msg = "The provider redirects without an address."
        raise UnreadableAnswerError(msg)
    path = path_on_host(location, base_url=base_url, page=page) or own_path(
        _joined(base_url + page, location)
    )
    if path is None:
        raise UNKNOWN_STEP.error()
    if failure_path and path == (own_path(failure_path) or failure_path):
        raise FAILED_LOGIN.meaning.error()
    address, _, query = path.partition("?")
    if (sign := sign_of_address(address, query)) is not None:
        raise sign.meaning.error()
    if reply.status in _SEND_AGAIN:
        msg = "The provider asks for the code a second time; it is sent only once."
        raise UnreadableAnswerError(msg)
    is_step = re.search(r"/(?:checkpoint|uas)/", address.lower()) is not None
    if is_step and not is_path(path):
        raise UNKNOWN_STEP.error()
    return Onward(path=path, leaves=not is_step)


def step_behind(path: str) -> ProviderFailure:
    """Return the meaning of a redirect to a step whose page cannot be read."""
    if re.search(_APPROVALS, path.lower()):
        return APPROVAL.meaning.error()
    return UNKNOWN_STEP.error()


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        return ""


# Pages ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The meaning of a page for the code.

    Attributes:
        form: The form for the next code; ``None``: refused without one.
        is_shown: Whether the page shows the refusal, and does not only ask again.
        error: The meaning of the form's error, if it judges no code.
        checkpoint: The checkpoint of the form, if it is another step's.
    """

    form: Form | None = None
    is_shown: bool
    error: Meaning | None = None
    checkpoint: Checkpoint | None = None


def read_page(reply: Reply, *, form_id: str, challenge_id: str) -> Seen:
    """Read a page.

    Args:
        reply: An answer that is no redirect.
        form_id: Id of the form that took the code.
        challenge_id: That form's ``challengeId``.

    Raises:
        ProviderFailure: The meaning of a page without a form for a code.
    """
    if reply.status != BLOCKED:
        refuse_common(reply)
    page = Page(reply.text)
    forms = page.forms(with_input=CODE_FIELD)
    signs = IN_FORM if forms and not page.has(_TAKE_OVER) else (*MARKED, LOGIN_PAGE)
    if (sign := _marked(page, signs)) is not None:
        raise sign.meaning.error()
    if forms:
        form = next((each for each in forms if each.id == form_id), forms[0])
        return _read_form(page, form, form_id=form_id, challenge_id=challenge_id)
    if (sign := sign_of_words(page.text)) is not None:
        if sign.meaning is WRONG:
            return Seen(is_shown=True)
        raise sign.meaning.error()
    _refuse_status(reply.status, page.text)
    if page.forms():
        raise UNKNOWN_STEP.error()
    raise UNREADABLE.error()


def _marked(page: Page, signs: Iterable[Sign]) -> Sign | None:
    return next((sign for sign in signs if sign.marker and page.has(sign.marker)), None)


def _read_form(page: Page, form: Form, *, form_id: str, challenge_id: str) -> Seen:
    """Distinguish a refused code from the form of a further step."""
    asked = form.hidden.get("challengeId", "")
    is_other_form = bool(form_id and form.id) and form.id != form_id
    is_another = is_other_form or (bool(challenge_id and asked) and asked != challenge_id)
    # The form of another step may begin with a notice, in the same elements as errors.
    said = page.said_in(PIN_ERRORS if is_other_form else ERROR_BLOCKS, outside=ELSEWHERE)
    sign = sign_of_words(said, IN_ERROR)
    if sign is not None and sign.meaning is not WRONG:
        return Seen(form=form, is_shown=True, error=sign.meaning)
    is_notice = sign is None and sign_of_words(said, (SENT,)) is not None
    is_shown = (bool(said) and not is_notice) or page.has(INVALID_INPUT)
    if not is_shown and form.hidden.get("captchaSiteKey"):
        raise CAPTCHA.meaning.error()
    if not is_other_form and not is_shown:  # An error in an element that is not known here.
        is_shown = sign_of_words(page.said_in(_OWN_FORM), (REFUSED,)) is not None
    if is_shown or not is_another:
        return Seen(form=form, is_shown=is_shown)
    return Seen(form=form, is_shown=False, checkpoint=_checkpoint(page, form))


def _checkpoint(page: Page, form: Form) -> Checkpoint:
    kind = _kind(page, form)
    text = page.text.lower()
    source = next((name for words, name in kind.sources if re.search(words, text)), None)
    return Checkpoint(type=kind.type if source != "APP" else "2FA", source=source)


def _kind(page: Page, form: Form) -> CodeForm:
    instance = form.hidden.get("pageInstance", "")
    for kind in CODE_FORMS:
        if page.has(kind.marker):
            return kind
    return next((kind for kind in CODE_FORMS if kind.is_page(instance)), OTHER_FORM)


def _refuse_status(status: int, text: str) -> None:
    """Raise the meaning of a status, for a page that is not known."""
    # The visible text is searched, because the markup of every form has a `csrfToken`.
    if status in {400, UNAUTHORISED, FORBIDDEN} and "csrf" in text.lower():
        raise TOKEN.error()
    if status == UNAUTHORISED:
        raise REFUSED_WITHOUT_REASON.error()
    if status in _STATUSES:
        raise _STATUSES[status].error()
    if status != OK:
        raise UNREADABLE.error()
