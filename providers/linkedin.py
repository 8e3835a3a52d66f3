"""LINKEDIN: a server-rendered form that takes the code in its field ``pin``.

The first step ended on a challenge page. Its hidden inputs go back as they are, with the
code, to the form's ``action``. The answer is a redirect or another page; whether the login
is complete is told by one cookie, ``li_at``, and whose it is by a second request.

No captcha is solved here and no approval is waited for: what takes more than a code is
reported as such.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from pydantic import Field, ValidationError, model_validator

from providers.answers import read_json, refuse_common
from providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Challenge,
    Checkpoint,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    DeadIntentError,
    Exchange,
    MalformedRequestError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    Reply,
    Request,
    ResourceRestrictedError,
    SessionMismatchError,
    SolutionKind,
    UnknownContextError,
    Verdict,
    normalise,
)
from providers.cookies import cookie_header
from providers.reading import (
    Page,
    cookie_value,
    is_path,
    merge_cookies,
    path_on_host,
    require_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from providers.reading import Form

VERIFY_PATH = "/checkpoint/challenge/verify"
CHALLENGE_PATH = "/checkpoint/challenge/"
ME_PATH = "/voyager/api/me"
CODE_FIELD = "pin"
LANGUAGE = "en-US"  # Answers are localised; reading their words is the last resort.

HOPS_MAX = 2  # Redirects read after the code; a login never needed more than one.
ME_TRIES_MAX = 3
ME_PAUSE_S = 0.2  # Before the second try; twice that before the third.

OK, FORBIDDEN = 200, 403
BLOCKED = 999  # This provider's own status for clients and addresses it does not want.

_SEND_AGAIN = frozenset({307, 308})
_MEMBER_URN = re.compile(r"urn:li:(?:fs_)?member:(\d+)")


class LinkedInContext(Context):
    """The challenge page of the first step.

    ``fields`` are all hidden inputs of the form, in page order; ``cookies`` the whole jar,
    ``JSESSIONID`` with its quotes. ``action`` and ``referer`` are paths: the host is ours.
    """

    action: str = Field(default=VERIFY_PATH, max_length=2048, repr=False)
    form_id: str = Field(default="", max_length=256)
    referer: str = Field(default="", max_length=4096, repr=False)
    fields: Mapping[str, str] = Field(max_length=100, repr=False)
    recognized_device: bool = False
    """Whether the form has the input ``recognizedDevice``; only then it is sent."""

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        for path in (self.action, self.referer or "/"):
            if not path.startswith("/") or path[1:2] in {"/", "\\"}:
                msg = "action and referer are paths on the provider's host, starting with one slash"
                raise ValueError(msg)
        if not self.fields.get("csrfToken"):
            msg = "fields need the form's csrfToken"
            raise ValueError(msg)
        if CODE_FIELD in self.fields:
            msg = "fields hold hidden inputs only; the code is added when it is sent"
            raise ValueError(msg)
        return self


# What answers mean ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """What an address or a page looks like, and what that means."""

    failure: type[ProviderFailure]
    detail: str
    address: str = r"(?!)"  # Pattern on path and query; by default it matches nothing.
    marker: str = ""  # CSS selector; markers are often hidden from the reader.
    words: str = r"(?!)"  # Pattern on what the reader sees.


_ENDED = "The provider has ended this challenge; the login must start again."
_UNKNOWN_STEP = "The provider leads to a step that is not known here."

_SIGNS = (
    _Sign(
        failure=ProviderBrokenError,
        detail="The provider reports an unexpected error of its own.",
        address=r"[?&]errorKey=unexpected_error(?:&|$)",
    ),
    _Sign(
        failure=DeadIntentError,
        detail=_ENDED,
        address=r"[?&]errorKey=",
    ),
    _Sign(
        failure=AccountRestrictedError,
        detail="The provider has restricted this account.",
        marker="#pagekey-uas-account-restricted",
        words=r"your account (?:is|has been) (?:temporarily )?restricted",
    ),
    _Sign(
        failure=ActionRequiredError,
        detail="The provider asks for a captcha, which the person must solve on its site.",
        address=r"^/checkpoint/challenge/\w*captcha",
        marker="input[name=captchaSiteKey], #captcha-internal, code#securedDataExchange",
        words=r"quick security check",
    ),
    _Sign(
        failure=ActionRequiredError,
        detail="The provider waits for an approval in its own app.",
        address=r"^/checkpoint/challengesV2(?:/|$)",
        marker="[data-test-id=auth-app-approval]",
        words=r"check your linkedin app",
    ),
    _Sign(
        failure=ActionRequiredError,
        detail="The provider asks the person to choose a new password on its site.",
        address=r"^/checkpoint/rp/",
        words=r"please choose a more secure password",
    ),
    _Sign(
        failure=ActionRequiredError,
        detail="The provider asks the person to prove their identity on its site.",
        marker="#idverifyUrl, [name=idverifyUrl], form[name=ATOPinChallengeForm]",
        words=r"government[- ](?:issued )?(?:id|document)|identity document|photo of your id\b",
    ),
    _Sign(
        failure=DeadIntentError,
        detail="The challenge or its session has expired; the login must start again.",
        address=r"^/(?:login|uas/login|authwall|checkpoint/lg/login)(?:[/?]|$)",
        marker="form input[name=session_password]",
    ),
)

_STATUSES: Mapping[int, tuple[type[ProviderFailure], str]] = {
    400: (MalformedRequestError, "The provider refused the request's form."),
    401: (SessionMismatchError, "The provider does not take the token for this session."),
    BLOCKED: (ResourceRestrictedError, "The provider refuses this client or its address."),
}

_ERROR_BLOCKS = "#email-pin-error, #phone-pin-error, span[role=alert]"

_FORMS: Mapping[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    # Form id: checkpoint type, then (words on the page, source). The two-step form serves
    # text messages and authenticator apps with one markup, so only its words tell.
    "email-pin-challenge": ("OTP", ((r"", "EMAIL"),)),
    "two-step-challenge": (
        "2FA",
        ((r"authenticat", "APP"), (r"text message|\bsms\b|phone", "SMS")),
    ),
}


class LinkedIn:
    """The LINKEDIN adapter, route ``http``."""

    provider = "LINKEDIN"
    default_url = "https://www.linkedin.com"
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {"http": LinkedInContext},
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType(
        dict.fromkeys(("SMS", "EMAIL", "APP"), CodeFormat(max_length=6)),
    )
    prepares = False
    knows_another_way = False

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Send the form with the code and read the answer; see `Adapter.verify`."""
        held = challenge.context
        assert isinstance(held, LinkedInContext), "the caller validates with `contexts`"
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            msg = "The provider's form offers no other way here."
            raise ActionRequiredError(msg)
        reply = await exchange.send_code(_code_request(held, challenge.base_url))
        answer = _Answer(held=held, base_url=challenge.base_url, exchange=exchange)
        try:
            return await answer.read(reply)
        except ProviderFailure as failure:
            failure.context = failure.context or answer.context
            raise


# The requests --------------------------------------------------------------------------


def _code_request(context: LinkedInContext, base_url: str) -> CodeRequest:
    path = require_path(context.action)
    fields = {**context.fields, "language": LANGUAGE}
    if context.recognized_device:
        fields["recognizedDevice"] = "on"
    headers = _headers(context, base_url, path)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    headers["Origin"] = base_url
    return CodeRequest(
        method="POST",
        url=base_url + path,
        headers=headers,
        body=lambda code: urlencode({**fields, CODE_FIELD: normalise(code)}).encode(),
    )


def _headers(context: LinkedInContext, base_url: str, path: str) -> dict[str, str]:
    headers = {"User-Agent": context.user_agent} if context.user_agent else {}
    headers |= {"Accept": "text/html", "Accept-Language": LANGUAGE}
    if context.referer:
        headers["Referer"] = base_url + require_path(context.referer)
    if cookies := cookie_header(context.cookies, path=path):
        headers["Cookie"] = cookies
    return headers


# The answer ----------------------------------------------------------------------------


class _Answer:
    """The reading of one answer, in the order in which its signs may be trusted.

    Attributes:
        context: The challenge context after the replies read so far.
    """

    def __init__(self, *, held: LinkedInContext, base_url: str, exchange: Exchange) -> None:
        self.held = held
        self.context = held
        self._base_url = base_url
        self._exchange = exchange

    async def read(self, reply: Reply) -> Verdict:
        """Read the answer to the code: the cookie, the address, then the page."""
        for _hop in range(HOPS_MAX + 1):
            self._keep_cookies(reply)
            if cookie_value(reply.cookies, "li_at") is not None:
                return await self._cleared(reply)
            if reply.status != BLOCKED:
                refuse_common(reply)
            if reply.status // 100 != 3:  # noqa: PLR2004  redirects
                return self._read_page(reply)
            reply = await self._fetch(self._read_location(reply))
        msg = "The provider answered with redirects that lead nowhere."
        raise ProviderBrokenError(msg)

    def _keep(self, **changes: object) -> None:
        """Change the context, within the bounds a context has when it comes from outside."""
        fields = dict(self.context)
        try:
            self.context = LinkedInContext.model_validate({**fields, **changes})
        except ValidationError:
            msg = "The provider's form is not of a kind that can be answered."
            raise ProviderBrokenError(msg) from None

    def _keep_cookies(self, reply: Reply) -> None:
        if reply.cookies:
            self._keep(cookies=merge_cookies(self.context.cookies, reply.cookies))

    async def _fetch(self, path: str) -> Reply:
        headers = _headers(self.context, self._base_url, path)
        url = self._base_url + path
        return await self._exchange.fetch(Request(method="GET", url=url, headers=headers))

    def _read_location(self, reply: Reply) -> str:
        """Return the path of a challenge page to be read; every other address fails."""
        location = reply.headers.get("location", "")
        if not location:
            msg = "The provider redirects without an address."
            raise ProviderBrokenError(msg)
        path = path_on_host(location, base_url=self._base_url, page=self.held.action)
        if path is None:
            raise UnknownContextError(_UNKNOWN_STEP)
        for sign in _SIGNS:
            if re.search(sign.address, path, re.IGNORECASE):
                raise sign.failure(sign.detail)
        if path == self.held.fields.get("failureRedirectUri"):
            raise DeadIntentError(_ENDED)
        if reply.status in _SEND_AGAIN:
            msg = "The provider asks for the code a second time; it is sent only once."
            raise ProviderBrokenError(msg)
        if path.startswith(CHALLENGE_PATH) and is_path(path):
            self._keep(referer=path)
            return path
        if path.startswith("/checkpoint/"):
            raise UnknownContextError(_UNKNOWN_STEP)
        msg = "The provider let the login pass but gave no session."
        raise ProviderBrokenError(msg)

    def _read_page(self, reply: Reply) -> Verdict:
        page = Page(reply.text)
        for sign in _SIGNS:
            marked = bool(sign.marker) and page.has(sign.marker)
            if marked or re.search(sign.words, page.text, re.IGNORECASE):
                raise sign.failure(sign.detail)
        _refuse_status(reply)
        forms = page.forms(with_input=CODE_FIELD)
        if forms:
            same_id = (form for form in forms if form.id == self.held.form_id)
            return self._read_form(page, next(same_id, forms[0]))
        if page.forms():
            raise UnknownContextError(_UNKNOWN_STEP)
        msg = "The provider's answer cannot be read."
        raise ProviderBrokenError(msg)

    def _read_form(self, page: Page, form: Form) -> Verdict:
        """Tell a refused code from the form of a further step."""
        self._keep_form(form)
        if page.says_in(_ERROR_BLOCKS) or not self._is_another(form):
            return Rejected(context=self.context)
        type_, sources = _FORMS.get(form.id, ("OTP", ()))
        text = page.text.lower()
        source = next((name for words, name in sources if re.search(words, text)), None)
        checkpoint = Checkpoint(type=type_, source=source)
        return NextCheckpoint(checkpoint=checkpoint, context=self.context)

    def _is_another(self, form: Form) -> bool:
        pairs = (
            (self.held.form_id, form.id),
            (self.held.fields.get("challengeId"), form.hidden.get("challengeId")),
        )
        return any(old and new and old != new for old, new in pairs)

    def _keep_form(self, form: Form) -> None:
        action = path_on_host(form.action, base_url=self._base_url) if form.action else None
        if action is None or not is_path(action):
            action = VERIFY_PATH
        self._keep(
            action=action,
            form_id=form.id,
            fields={name: value for name, value in form.hidden.items() if name != CODE_FIELD},
            recognized_device="recognizedDevice" in form.inputs,
        )

    # The finished login ----------------------------------------------------------------

    async def _cleared(self, reply: Reply) -> Cleared:
        token = cookie_value(self.context.cookies, "JSESSIONID")
        if reply.status // 100 not in {2, 3} or token is None:
            msg = "The provider's answer contradicts itself: a login and a refusal in one."
            raise ProviderBrokenError(msg)
        csrf_token = token.strip('"')
        me = await self._ask_me(csrf_token)
        if cookie_value(self.context.cookies, "li_at") is None:
            msg = "The provider revoked the finished login at once."
            raise ProviderBrokenError(msg)
        profile = me.get("miniProfile")
        profile = profile if isinstance(profile, Mapping) else {}
        session = {
            "cookies": [cookie.model_dump() for cookie in self.context.cookies],
            "csrf_token": csrf_token,
            "public_identifier": profile.get("publicIdentifier"),
        }
        return Cleared(user_id=_member_id(me, profile), session=session)

    async def _ask_me(self, csrf_token: str) -> Mapping[str, object]:
        """Ask whose login it is. Carries no code, so a bounded number of tries is fine."""
        headers = _headers(self.context, self._base_url, ME_PATH) | {
            "Accept": "application/json",
            "csrf-token": csrf_token,
            "x-restli-protocol-version": "2.0.0",
        }
        request = Request(method="GET", url=self._base_url + ME_PATH, headers=headers)
        cause: ProviderFailure | None = None
        for attempt in range(ME_TRIES_MAX):
            await asyncio.sleep(ME_PAUSE_S * attempt)
            try:
                reply = await self._exchange.fetch(request)
                refuse_common(reply)
            except ProviderFailure as failure:
                cause = failure
                continue
            self._keep_cookies(reply)
            body = read_json(reply)
            if reply.status == OK and isinstance(body, Mapping):
                return body
            break
        msg = "The provider accepted the code but did not say whose account it is."
        raise ProviderBrokenError(msg) from cause


def _member_id(me: Mapping[str, object], profile: Mapping[str, object]) -> str:
    """Return the member number; profile URNs hold another kind of id and are no substitute."""
    found = set(_member_ids(me, profile))
    if len(found) != 1:
        msg = "The provider accepted the code but named no account, or more than one."
        raise ProviderBrokenError(msg)
    return found.pop()


def _member_ids(me: Mapping[str, object], profile: Mapping[str, object]) -> Iterator[str]:
    plain = me.get("plainId")
    if isinstance(plain, int | str) and str(plain).isascii() and str(plain).isdigit() and plain:
        yield str(plain)
    urn = _MEMBER_URN.fullmatch(str(profile.get("objectUrn")))
    if urn is not None:
        yield urn[1]


def _refuse_status(reply: Reply) -> None:
    """Refuse what is no page of the challenge, once no known page was found in it."""
    status = reply.status
    if status == FORBIDDEN:
        # Its words may stand in the status line only, which leaves an empty body.
        is_token = not reply.body.strip() or "csrf" in reply.text.lower()
        status = 401 if is_token else BLOCKED
    if status in _STATUSES:
        failure, detail = _STATUSES[status]
        raise failure(detail)
    if status != OK:
        msg = "The provider's answer cannot be read."
        raise ProviderBrokenError(msg)
