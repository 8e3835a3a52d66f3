"""TWITTER's newer login, "Jetfuel": a form goes in, a binary screen comes out.

Nobody outside knows the grammar of the screens, so they are searched for printable strings,
as public clients do: paths of further actions, names of fields, sentences for the person.

Every form needs a ``$castle_token`` that a browser makes and that works once. It comes with
the context, or nothing is sent: none is made here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlencode

from pydantic import Field

from providers.answers import read_json
from providers.contract import (
    ActionRequiredError,
    Checkpoint,
    CodeRequest,
    MalformedRequestError,
    NextCheckpoint,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    UnknownContextError,
)
from providers.twitter_wire import (
    API_URL,
    WEB_URL,
    Hearing,
    TwitterContext,
    code_of,
    guest_headers,
    headers_of,
    refuse_contradiction,
    refuse_words,
    refuses_code,
)

if TYPE_CHECKING:
    from providers.contract import Challenge, Exchange, Reply, Verdict

PREFIX = "/i/jfapi"
ACTIONS = "/onboarding/web/actions/"
REFERER = "/i/jf/onboarding/web?mode=login"
FIELDS = ("challenge_response", "verification_code", "two_factor_code", "code", "token")
BACKUP_FIELD = "backup_code"
_OTHER_FIELDS = ("session_token", "prelude_dispatch_id", "user_id")  # Announced, but no code's.

TEXT_MAX = 20_000  # Characters of a screen that are read; real ones have a few thousand.

_ACTION = r"/onboarding/web/actions/[A-Za-z0-9_]{1,64}"
_STRINGS = re.compile(rb"[\x20-\x7e]{3,}")
_PASSED = re.compile(r"(?<![\w/])/home(?![\w/])|open_account")
_FIELD_LIKE = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b|\b(?:code|token)\b")

_STEPS = (
    # Pattern on the action's name, what it asks for; empty: a code. The first that fits counts.
    (r"password", "The provider asks for the password or a new one, on its site."),
    (r"begin_two_factor_auth", "The provider asks which method to use, on its site."),
    (
        r"captcha|arkose",
        "The provider asks for a captcha, which the person must solve on its site.",
    ),
    (r"two_factor|challenge|verification", ""),
)
_SOURCES = (
    (r"backup", "BACKUP"),
    (r"authenticat\w* app|totp", "APP"),
    (r"e-?mail", "EMAIL"),
    (r"text message|\bsms\b|phone", "SMS"),
)


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]


class JetfuelContext(TwitterContext):
    """The last screen of the first step, and its session.

    ``fields`` are the names of inputs that the screen announced, ``action`` the path of the
    action it announced, without the prefix of the API.
    """

    route: Literal["jetfuel"] = "jetfuel"
    session_token: str = Field(min_length=1, max_length=256, repr=False)
    prelude_dispatch_id: str = Field(min_length=1, max_length=256, repr=False)
    action: str = Field(default=ACTIONS + "finish_two_factor_auth", pattern=rf"^{_ACTION}$")
    fields: tuple[_Name, ...] = Field(default=(), max_length=20)
    castle_tokens: tuple[str, ...] = Field(default=(), max_length=20, repr=False)
    """More unused tokens: for the next try after a wrong code, and for a further step."""
    timezone: str = Field(default="UTC", max_length=64)


async def verify(held: JetfuelContext, challenge: Challenge, exchange: Exchange) -> Verdict:
    """Send the form with the code and read the screen; see `Adapter.verify`."""
    web_url = WEB_URL if challenge.base_url == API_URL else challenge.base_url
    request = _code_request(held, challenge.checkpoint.source, web_url)
    answer = _Answer(held, challenge, exchange)
    reply = await exchange.send_code(request)
    try:
        return await answer.read(reply)
    except ProviderFailure as failure:
        failure.context = failure.context or answer.context
        raise


def _code_request(context: JetfuelContext, source: str | None, web_url: str) -> CodeRequest:
    if not context.castle_token:
        msg = "The challenge context has no unused castle token; nothing can be sent without one."
        raise MalformedRequestError(msg)
    rest = {
        "session_token": context.session_token,
        "prelude_dispatch_id": context.prelude_dispatch_id,
        "$castle_token": context.castle_token,
    }
    names = _names(context, source)
    path = PREFIX + context.action
    headers = headers_of(context, path) | guest_headers(context)
    headers |= {
        "x-jf-v": "JP-5",
        "x-jf-client-theme": "dark",
        "timezone": context.timezone,
        "Content-Type": "application/x-www-form-urlencoded",
        "Referer": WEB_URL + REFERER,
    }
    return CodeRequest(
        method="POST",
        url=web_url + path,
        headers=headers,
        body=lambda code: urlencode(dict.fromkeys(names, code_of(code, source)) | rest).encode(),
    )


def _names(context: JetfuelContext, source: str | None) -> list[str]:
    """Return the fields that take the code: those announced, in order of preference, or all."""
    is_backup = source == "BACKUP" or BACKUP_FIELD in context.fields
    known = [BACKUP_FIELD, *FIELDS] if is_backup else [*FIELDS]
    announced = [name for name in known if name in context.fields]
    unknown = [name for name in context.fields if name not in {*known, *_OTHER_FIELDS}]
    return [*announced, *unknown] or known


class _Answer(Hearing[JetfuelContext]):
    """The reading of one screen."""

    def __init__(self, held: JetfuelContext, challenge: Challenge, exchange: Exchange) -> None:
        super().__init__(held=held, exchange=exchange, api_url=challenge.base_url)
        self._held = held
        self._source = challenge.checkpoint.source
        self.keep(
            castle_token=next(iter(held.castle_tokens), ""), castle_tokens=held.castle_tokens[1:]
        )

    async def read(self, reply: Reply) -> Verdict:
        """Read the answer: the cookie, errors, sentences, then where the screen leads."""
        self.keep_cookies(reply)
        body = _json_of(reply)
        if self.is_signed_in:
            refuse_contradiction(reply, body)
            return await self.cleared()
        if refuses_code(reply, body, source=self._source):
            return Rejected(context=self.context)
        strings = [each.decode("ascii") for each in _STRINGS.findall(reply.body)]
        return self._read_screen("\n".join(strings)[:TEXT_MAX])

    def _read_screen(self, text: str) -> Verdict:
        refuse_words(text, source=self._source)
        if _PASSED.search(text):
            msg = "The provider let the login pass but gave no session."
            raise ProviderBrokenError(msg)
        actions = re.findall(_ACTION, text)
        if not actions and _FIELD_LIKE.search(text):
            return Rejected(context=self.context)
        if not actions:
            msg = "The provider's answer cannot be read."
            raise ProviderBrokenError(msg)
        self.keep(fields=[name for name in (BACKUP_FIELD, *FIELDS) if _has_word(text, name)])
        if self._held.action in actions:
            return Rejected(context=self.context)
        return self._read_step(actions, text)

    def _read_step(self, actions: list[str], text: str) -> Verdict:
        if re.search(r"select a method", text, re.IGNORECASE):
            raise ActionRequiredError(_STEPS[1][1])
        for pattern, detail in _STEPS:
            action = next((each for each in actions if re.search(pattern, each)), None)
            if action is not None:
                return self._next(action, detail, text)
        msg = "The provider leads to a step that is not known here."
        raise UnknownContextError(msg)

    def _next(self, action: str, detail: str, text: str) -> Verdict:
        self.keep(action=action)
        if not detail and not self.context.castle_token:
            detail = "The provider asks for another code; the login must go on in a browser."
        if detail:
            raise ActionRequiredError(detail)
        words = f"{action}\n{text}".replace("_", " ")
        source = next(
            (name for word, name in _SOURCES if re.search(word, words, re.IGNORECASE)), None
        )
        type_ = "OTP" if "email" in action else "2FA"
        checkpoint = Checkpoint(type=type_, source=source)
        return NextCheckpoint(checkpoint=checkpoint, context=self.context)


def _json_of(reply: Reply) -> object:
    """Return an error's JSON; a screen is none."""
    if not reply.body.lstrip().startswith(b"{"):
        return None
    try:
        return read_json(reply)
    except ProviderBrokenError:
        return None


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){word}(?!\w)", text) is not None
