"""LINKEDIN: a server-rendered form that takes the code in its field ``pin``.

The first step ended on a challenge page. The adapter sends the form's hidden inputs back
unchanged, with the code, to the form's ``action``. The answer is a redirect or another page; the
cookie ``li_at`` shows that the login is complete, and a second request reads whose it is.

The adapter solves no captcha and waits for no approval: it reports a step that needs more than a
code. `providers/linkedin/README.md` lists every known answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import unquote, urlencode

from pydantic import field_validator

from checkpoint_worker.providers.answers import hear
from checkpoint_worker.providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Challenge,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    Cookie,
    Exchange,
    Kinds,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    Reply,
    Request,
    SolutionKind,
    UnreadableAnswerError,
    Verdict,
    broken_rule,
    cookie_field,
    header_field,
    normalise,
    secret,
    tell_ways,
    told,
)
from checkpoint_worker.providers.http.cookies import cookie_header
from checkpoint_worker.providers.http.html import cookie_value, is_path, path_on_host, require_path
from checkpoint_worker.providers.http.jar import Jar, settled
from checkpoint_worker.providers.linkedin.meanings import CODE_FORMS, KINDS, kinds_of
from checkpoint_worker.providers.linkedin.pages import (
    CODE_FIELD,
    Onward,
    own_path,
    read_location,
    read_page,
    step_behind,
)
from checkpoint_worker.providers.linkedin.session import LinkedInSession, ask_owner, make_session
from checkpoint_worker.providers.meanings import NO_SESSION
from checkpoint_worker.providers.steps import refuse_source

if TYPE_CHECKING:
    from checkpoint_worker.providers.http.html import Form
    from checkpoint_worker.providers.linkedin.pages import Seen

VERIFY_PATH: Final = "/checkpoint/challenge/verify"
ME_PATH: Final = "/voyager/api/me"
SESSION_COOKIE: Final = "li_at"
CSRF_COOKIE: Final = "JSESSIONID"
LANGUAGE: Final = "en-US"
"""Language to request if the context names none; the words of other languages are known too."""

HOPS_MAX: Final = 2
"""Limit of redirects read after the code; no known login needed more than one."""
PAGE_PAUSES_S: Final = (0.0, 0.2, 0.4)
"""Pause before each try to load a page that the answer leads to. The request has no code."""

_DOCUMENT_HEADERS: Final = frozenset(
    {
        "cache-control", "priority", "sec-fetch-dest", "sec-fetch-mode",
        "sec-fetch-site", "sec-fetch-user", "upgrade-insecure-requests",
    }
)  # fmt: skip
"""Headers that a browser sends to load a page, and not with a request of the page's scripts."""
_SCRIPT_HEADERS: Final = "x-li-"
"""Prefix of headers that the site's scripts send to its API, and that page requests lack."""


def _bare(token: str) -> str:
    """Return a token without the quotes, and the escapes before them, that jars keep or add."""
    return unquote(token).replace("\\", "").strip('"')


class LinkedInContext(Context):
    """The challenge page of the first step."""

    made_headers: ClassVar[frozenset[str]] = frozenset(
        {"accept", "csrf-token", "origin", "referer", "x-restli-protocol-version"}
    )
    paths: ClassVar[tuple[str, ...]] = ("action", "referer")

    route: str = told(
        "The form of the challenge page; may be left out.",
        example="http",
        checkpoint=str(KINDS),
        default="http",
    )
    user_agent: str = secret(
        "Of the browser that began the login.",
        example="Mozilla/5.0 (X11; Linux x86_64) made-up/1.0",
        kept="linkedin-api `Client.REQUEST_HEADERS`; mautrix/linkedin `UserAgent`; Playwright"
        " `userAgent`",
        most=1024,
    )
    cookies: tuple[Cookie, ...] = cookie_field(
        {CSRF_COOKIE: '"ajax:0000000000000000000"', "bcookie": '"v=2&made-up"'},
        what="The whole jar, `JSESSIONID` with its quotes, and `bcookie`, `bscookie`, `lidc`,"
        " `li_gc`, `lang`, `chp_token`, `fid` as far as set. An intent needs `JSESSIONID`.",
        kept="requests `session.cookies`; mautrix/linkedin `StringCookieJar`; Playwright"
        " `context.cookies()`",
    )
    action: str = told(
        "The form's `action`: a path, or an address at the provider's own host.",
        example=VERIFY_PATH,
        rule="is a path, or an address at the provider's host",
        kept="the page `form.action`",
        default=VERIFY_PATH,
        max_length=2048,
        repr=False,
    )
    form_id: str = told(
        "The form's `id`.",
        example="email-pin-challenge",
        kept="the page `form.id`",
        default="",
        max_length=256,
    )
    referer: str = secret(
        "Path or address of the challenge page.",
        example="/checkpoint/challenge/made-up",
        rule="is a path, or an address at the provider's host",
        kept="the page `url`; `/uas/authenticate` `challenge_url`",
        most=4096,
    )
    fields: Mapping[str, str] = told(
        "All hidden inputs of the form, in page order, `csrfToken` among them.",
        example={"csrfToken": "ajax:0000000000000000000", "challengeId": "made-up"},
        rule="must be an object of texts with the form's csrfToken and without pin",
        kept="the page `form input[type=hidden]`",
        max_length=100,
        repr=False,
    )
    recognized_device: bool = told(
        "Whether the form has the input `recognizedDevice`; only then it is sent.",
        example=True,
        kept="the page `form input[name=recognizedDevice]`",
        default=False,
    )
    headers: Mapping[str, str] = header_field(
        {"x-li-lang": "en_US"},
        kept="linkedin-api `x-li-lang`; mautrix/linkedin `X-LI-Track`, `X-LI-Page-Instance`",
    )

    @field_validator("action", "referer")
    @classmethod
    def _is_a_path(cls, address: str) -> str:
        path = own_path(address) or address
        if path and (not path.startswith("/") or path[1:2] in {"/", "\\"}):
            rule = "must be a path on the provider's host, starting with one slash"
            raise broken_rule(rule)
        return path

    @field_validator("fields")
    @classmethod
    def _are_hidden_inputs(cls, fields: Mapping[str, str]) -> Mapping[str, str]:
        if not fields.get("csrfToken"):
            rule = "needs csrfToken, a hidden input of the form"
            raise broken_rule(rule)
        if CODE_FIELD in fields:
            rule = "holds hidden inputs only: leave out pin, which is added when the code is sent"
            raise broken_rule(rule)
        return fields

    def kinds_sent(self) -> Kinds:
        """Return all that a form may ask for."""
        return KINDS

    def kinds_told(self) -> Kinds:
        """Return what the form asks for."""
        return kinds_of(self.form_id, self.fields.get("pageInstance", ""))

    def why_hopeless(self) -> str | None:
        """Return that the form's token is not the cookie with which the provider compares it."""
        if not cookie_value(self.cookies, CSRF_COOKIE):
            return "cookies needs JSESSIONID, which the provider compares with csrfToken"
        tokens = {_bare(each.value) for each in self.cookies if each.name == CSRF_COOKIE}
        if _bare(self.fields["csrfToken"]) in tokens:
            return None
        return (
            "fields.csrfToken must be the cookie JSESSIONID without quotes: take both at one time"
        )


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
    session = LinkedInSession
    prepares = False
    knows_another_way = False

    def ways(self, challenge: Challenge) -> Sequence[str]:
        """Return the form's methods; one form serves text messages and authenticator apps."""
        held = challenge.context
        assert isinstance(held, LinkedInContext), "the caller validates with `contexts`"
        source = challenge.checkpoint.source
        known = next((kind for kind in CODE_FORMS if kind.is_form(held.form_id)), None)
        if known is None:
            return (source,) if source else ()
        return [name for _, name in known.sources]

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Send the form with the code and read the answer. See `Adapter.verify`."""
        held = challenge.context
        assert isinstance(held, LinkedInContext), "the caller validates with `contexts`"
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            raise ActionRequiredError(tell_ways(self.ways(challenge)))
        refuse_source(challenge)
        request = _code_request(held, challenge.base_url)
        answer = _ResponseReader(held=held, base_url=challenge.base_url, exchange=exchange)
        try:
            return await answer.read(await hear(exchange, request, _is_login))
        except ProviderFailure as failure:
            if isinstance(failure, UnreadableAnswerError) and failure.head is not None:
                answer.keep_cookies(failure.head)
            failure.context = failure.context or answer.context
            raise


def _is_login(reply: Reply) -> bool:
    return cookie_value(settled(reply.cookies), SESSION_COOKIE) is not None


# The requests --------------------------------------------------------------------------


def _code_request(context: LinkedInContext, base_url: str) -> CodeRequest:
    path = require_path(context.action)
    fields = {**context.fields}
    fields.setdefault("language", LANGUAGE)
    if context.recognized_device:
        fields["recognizedDevice"] = "on"
    headers = _page_headers(context, Jar(context.cookies), base_url, path)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    headers["Origin"] = base_url
    return CodeRequest(
        url=base_url + path,
        headers=headers,
        body=lambda code: urlencode({**fields, CODE_FIELD: normalise(code)}).encode(),
    )


def _page_headers(context: LinkedInContext, jar: Jar, base_url: str, path: str) -> dict[str, str]:
    """Return the headers of a page request, as the login's browser sends them."""
    own = {n: v for n, v in context.headers.items() if not n.lower().startswith(_SCRIPT_HEADERS)}
    return {**_common_headers(context, jar, base_url, path), "Accept": "text/html", **own}


def _script_headers(
    context: LinkedInContext, jar: Jar, base_url: str, csrf_token: str
) -> dict[str, str]:
    """Return the headers of a request to the provider's API."""
    made = {
        "Accept": "application/json",
        "csrf-token": csrf_token,
        "x-restli-protocol-version": "2.0.0",
    }
    own = {n: v for n, v in context.headers.items() if n.lower() not in _DOCUMENT_HEADERS}
    return {**_common_headers(context, jar, base_url, ME_PATH), **made, **own}


def _common_headers(context: LinkedInContext, jar: Jar, base_url: str, path: str) -> dict[str, str]:
    headers = {"User-Agent": context.user_agent} if context.user_agent else {}
    if "accept-language" not in {name.lower() for name in context.headers}:
        headers["Accept-Language"] = LANGUAGE
    if context.referer:
        headers["Referer"] = base_url + require_path(context.referer)
    if cookies := cookie_header(jar.cookies, path=path):
        headers["Cookie"] = cookies
    return headers


# The answer ----------------------------------------------------------------------------


class _ResponseReader:
    """Reads one answer; the most reliable signs come first.

    Attributes:
        context: The challenge context after the replies read so far.
    """

    def __init__(self, *, held: LinkedInContext, base_url: str, exchange: Exchange) -> None:
        self.held = held
        self.context = held
        self._jar = Jar(held.cookies)
        self._base_url = base_url
        self._exchange = exchange
        self._page = held.action
        """Path of the request that the current reply answers."""

    async def read(self, reply: Reply) -> Verdict:
        """Read the answer to the code: its session cookie, its address, then its page."""
        for _hop in range(HOPS_MAX + 1):
            left = self.keep_cookies(reply)
            meaning = self._interpret(reply)
            if cookie_value(left, SESSION_COOKIE) is not None:
                verdict = await self._finished(
                    names_step=_names_step(meaning),
                    is_restricted=isinstance(meaning, AccountRestrictedError),
                )
                if verdict is not None:
                    return verdict
            if isinstance(meaning, ProviderFailure):
                try:
                    raise meaning
                finally:
                    del meaning  # This breaks the reference cycle of error, traceback and frame.
            if not isinstance(meaning, Onward):
                return meaning
            if meaning.leaves:
                return await self._left()
            reply = await self._fetch(meaning.path)
        msg = "The provider answered with redirects that lead nowhere."
        raise UnreadableAnswerError(msg)

    def keep_cookies(self, reply: Reply) -> tuple[Cookie, ...]:
        """Keep the cookies that an answer sets; return them, the revoked ones included."""
        left = self._jar.keep(reply.cookies)
        fields = dict(self.context.fields)
        if token := cookie_value(left, CSRF_COOKIE):
            fields["csrfToken"] = _bare(token)  # It may come without a form that has it.
        if left:
            # The jar is within the model's bounds already, so the context needs no validation.
            kept = {"cookies": self._jar.for_context, "fields": fields}
            self.context = self.context.model_copy(update=kept)
        return left

    def _interpret(self, reply: Reply) -> Verdict | Onward | ProviderFailure:
        """Return the meaning of an answer apart from its cookies."""
        try:
            if reply.status // 100 == 3:  # noqa: PLR2004  redirects
                return read_location(
                    reply,
                    base_url=self._base_url,
                    page=self._page,
                    failure_path=self.held.fields.get("failureRedirectUri", ""),
                )
            seen = read_page(
                reply,
                form_id=self.held.form_id,
                challenge_id=self.held.fields.get("challengeId", ""),
            )
            return self._verdict(seen)
        except UnreadableAnswerError as failure:
            # A redirect to a step means that step, even if its page cannot be read.
            return failure if self._page == self.held.action else step_behind(self._page)
        except ProviderFailure as failure:
            return failure

    def _verdict(self, seen: Seen) -> Verdict:
        if seen.form is not None:
            try:
                self._keep_form(seen.form)
            except UnreadableAnswerError:
                if not seen.is_shown:
                    raise
        if seen.error is not None:
            raise seen.error.error()
        if seen.checkpoint is None:
            return Rejected(context=self.context)
        return NextCheckpoint(checkpoint=seen.checkpoint, context=self.context)

    def _keep(self, **changes: object) -> None:
        """Change the context within the bounds that a context from a caller has."""
        context = self.context.changed(**changes)
        if context is None:
            msg = "The provider's form is not of a kind that can be answered."
            raise UnreadableAnswerError(msg)
        self.context = context

    def _keep_form(self, form: Form) -> None:
        action = path_on_host(form.action, base_url=self._base_url) or own_path(form.action)
        if not form.action or action is None or not is_path(action):
            action = VERIFY_PATH
        self._keep(
            action=action,
            form_id=form.id,
            fields={name: value for name, value in form.hidden.items() if name != CODE_FIELD},
            recognized_device="recognizedDevice" in form.inputs,
        )

    async def _fetch(self, path: str) -> Reply:
        """Load a page that the answer leads to."""
        self._keep(referer=path)
        self._page = path
        headers = _page_headers(self.context, self._jar, self._base_url, path)
        request = Request(url=self._base_url + path, headers=headers)
        cause: ProviderFailure | None = None
        for pause_s in PAGE_PAUSES_S:
            await asyncio.sleep(pause_s)
            try:
                return await self._exchange.fetch(request)
            except ProviderFailure as failure:
                cause = failure
        raise step_behind(path) from cause

    # The finished login ----------------------------------------------------------------

    async def _left(self) -> Verdict:
        """Read a redirect out of the challenge, which ends the login with or without a session."""
        if self._jar.value(SESSION_COOKIE) is not None:
            verdict = await self._finished(names_step=False)
            if verdict is not None:
                return verdict
        raise NO_SESSION.error()

    async def _finished(self, *, names_step: bool, is_restricted: bool = False) -> Cleared | None:
        """Return the finished login; ``None`` if it has no owner and the answer says why."""
        try:
            owner = await ask_owner(self._exchange, self._me, self._jar, patient=not names_step)
        except ProviderBrokenError:
            if names_step or is_restricted:
                return None
            raise
        session = make_session(self.held, self._jar, owner, self._csrf_token())
        return Cleared(user_id=owner.member_id, session=session.as_json())

    def _me(self) -> Request:
        headers = _script_headers(self.context, self._jar, self._base_url, self._csrf_token())
        return Request(url=self._base_url + ME_PATH, headers=headers)

    def _csrf_token(self) -> str:
        """Return the jar's token; if the jar has none, put the form's token into it first."""
        if self._jar.value(CSRF_COOKIE) is None:
            value = f'"{self.held.fields["csrfToken"]}"'
            self._jar.keep([Cookie(name=CSRF_COOKIE, value=value, domain=".www.linkedin.com")])
        return _bare(self._jar.value(CSRF_COOKIE) or "")


def _names_step(meaning: Verdict | Onward | ProviderFailure) -> bool:
    """Whether an answer asks for a known step, even if it also sets a session."""
    if isinstance(meaning, Onward):
        return not meaning.leaves
    return isinstance(meaning, NextCheckpoint) or type(meaning) is ActionRequiredError
