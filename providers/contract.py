"""The contract of an adapter and the types that it uses.

This module imports nothing of the project. An adapter receives a `Challenge` and an `Exchange`,
sends the person's code exactly once through the exchange, reads the answer and returns a
`Verdict`. It never sees Redis, Celery, an intent or, outside one callback, the code.

Answers are values (`Verdict`); operating failures are exceptions of one tree. Any other end of
`Adapter.verify`, and a result that cannot be stored, is 500 ``unexpected_error``:

    ProviderFailure                      status type                            after the code?
    ├── MalformedRequestError            400 malformed_request                  maybe
    ├── InvalidRequestError              400 invalid_request                    no
    ├── ContentTooLargeError             400 content_too_large                  maybe
    ├── TooManyCharactersError           400 too_many_characters                maybe
    ├── UnescapedCharactersError         400 unescaped_characters               no
    ├── AccountRestrictedError           403 account_restricted                 yes
    ├── InsufficientPermissionsError     403 insufficient_permissions           yes
    ├── SessionMismatchError             403 session_mismatch                   yes
    ├── SubscriptionRequiredError        403 subscription_required              yes
    ├── UnknownContextError              403 unknown_authentication_context     yes
    ├── ActionRequiredError              403 action_required                    maybe
    │   └── UnknownStepError             403 action_required, in doubt          yes
    ├── ResourceRestrictedError          403 resource_access_restricted         yes
    ├── ProxyAuthError                   407 proxy_auth_error                   maybe
    ├── ProviderTimeoutError             408 request_timeout                    maybe
    ├── DeadIntentError                  500 authentication_intent_error        yes
    ├── ProviderBrokenError              500 provider_error                     maybe
    │   └── UnreadableAnswerError        500 provider_error, in doubt           yes
    ├── ProxyFailedError                 502 proxy_error                        maybe
    ├── NoClientSessionError             503 no_client_session                  no
    ├── NoChannelError                   503 no_channel                         no
    ├── NoHandlerError                   503 no_handler                         no
    ├── NetworkDownError                 503 network_down                       no
    └── ServiceUnavailableError          503 service_unavailable                maybe

Only the exchange knows whether the code left (`Exchange.code_sent`).

**In doubt** is a code that the provider answered and, as far as the answer can be read, did not
refuse. It may have been right, so the intent stays open and no failure is counted; it may have
been wrong, so it counts against the number of codes that one login may send
(`ProviderFailure.in_doubt`). Silence, an error of the provider's own (5xx), throttling and a known
step are not in doubt: each of them means that the code was not judged, or that it was not refused,
and each has its own bounds.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from types import MappingProxyType

TRY_ANOTHER_WAY = "TRY_ANOTHER_WAY"
"""The literal that a person sends instead of a code to ask for another method."""

TOLD_RULE = "told_rule"
"""Type of a pydantic error whose message a refusal may repeat: it states a rule and no value."""


RULE_KEY = "x-rule"
KEPT_KEY = "x-kept-by"
CHECKPOINT_KEY = "x-checkpoint"
"""Keys of a context's JSON Schema beside the standard's; `told` has their meaning."""


def broken_rule(rule: str) -> PydanticCustomError:
    """Return the error of a context that breaks a rule; ``rule`` quotes no value."""
    return PydanticCustomError(TOLD_RULE, "{rule}", {"rule": rule})


def told(
    description: str,
    *,
    example: object = None,
    rule: str = "",
    kept: str = "",
    checkpoint: str = "",
    **more: Any,  # noqa: ANN401  as Field
) -> Any:  # noqa: ANN401  as Field
    """Return a field of a context that explains itself in the schema and in refusals.

    Args:
        description: What it is.
        example: A made-up value that fits.
        rule: What the schema cannot state, as what follows the field's name in a refusal.
        kept: Where client libraries keep it: ``library `place`; library `place```.
        checkpoint: For a route: the types and sources of the checkpoints that it takes.
        more: Further arguments of `pydantic.Field`.
    """
    extra = {RULE_KEY: rule, KEPT_KEY: kept, CHECKPOINT_KEY: checkpoint}
    return Field(
        description=description,
        examples=None if example is None else [example],
        json_schema_extra={key: text for key, text in extra.items() if text} or None,
        **more,
    )


def secret(description: str, *, most: int, least: int | None = None, **more: Any) -> Any:  # noqa: ANN401  as Field
    """Return the field of a secret text of a context.

    Args:
        description: For the context's schema.
        most: Maximum length.
        least: Minimum length; with it the field is required, without it empty by default.
        more: Further arguments of `told`.
    """
    default: Any = "" if least is None else ...
    return told(description, default=default, min_length=least, max_length=most, repr=False, **more)


class Cookie(BaseModel):
    """One cookie of the login's first step.

    ``expires_at`` is seconds since the epoch, ``None`` for a session cookie; 0 or a past
    instant means that the provider revokes it. ``secure``, ``http_only`` and ``same_site``
    (``Strict``, ``Lax``, ``None`` or empty) are kept for the finished login; adapters do not use
    them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: str = told(
        "Name, as the provider spells it.", example="lang", min_length=1, max_length=256
    )
    value: str = told(
        "Value, unchanged: quotes are part of it.", example="v=2", max_length=8192, repr=False
    )
    domain: str = told(
        "Host that it is for; empty: the provider's.",
        example=".example.com",
        default="",
        max_length=256,
    )
    path: str = told("Path that it is for.", example="/", default="/", max_length=1024)
    expires_at: float | None = told(
        "Seconds since the epoch; null for a session's cookie. A past instant revokes it.",
        example=1893456000.0,
        default=None,
    )
    secure: bool = told(
        "Kept for the session.", example=True, rule="must be true or false", default=False
    )
    http_only: bool = told(
        "Kept for the session; also as `httpOnly`.",
        example=True,
        rule="must be true or false",
        default=False,
    )
    same_site: Literal["", "Strict", "Lax", "None"] = told(
        "Kept for the session; also as `sameSite`.", example="Lax", default=""
    )

    @model_validator(mode="before")
    @classmethod
    def _reads_other_spellings(cls, said: object) -> object:
        """Accept the spellings of browsers too; treat an invalid attribute as empty."""
        if not isinstance(said, Mapping):
            return said
        flags = {
            name: str(said.get(name, said.get(other, ""))).lower() in _TRUE
            for name, other in (("secure", "secure"), ("http_only", "httpOnly"))
        }
        word = str(said.get("same_site", said.get("sameSite")) or "").capitalize()
        return {**said, **flags, "same_site": word if word in _SAME_SITE else ""}


_TRUE = frozenset({"true", "1"})
_SAME_SITE = frozenset({"Strict", "Lax", "None"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """The checkpoints that a step may be; `providers.steps` compares them with the intent's.

    Attributes:
        by_type: Maps a checkpoint type to the sources of its codes; empty: any source.
        field: The field of the context that decides the checkpoint.
        no_source: The alternative that the error offers if the step needs one of these sources;
            empty if it needs none.
    """

    by_type: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    field: str = "route"
    no_source: str = ""

    def __str__(self) -> str:
        """Return the table as a sentence of the context's schema: ```2FA`: `SMS`, `APP```."""
        rows = (
            f"`{type_}`: {', '.join(f'`{source}`' for source in sources)}"
            for type_, sources in self.by_type.items()
        )
        return "; ".join(rows)


# Headers of the login's client -----------------------------------------------------------

HEADERS_MAX = 50
HEADER_NAME_MAX = 128
HEADER_VALUE_MAX = 4_096
ENCODINGS = frozenset({"gzip", "deflate", "br", "zstd", "identity"})
"""Codings that ``Accept-Encoding`` may name: those that the transport decodes."""
OUR_HEADERS = frozenset(
    {
        "connection", "content-length", "content-type", "cookie", "cookie2", "expect", "host",
        "http2-settings", "keep-alive", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade", "user-agent",
    }
)  # fmt: skip
"""Headers that no context may set, in lower case: those of the transport, the cookies, the body's
form, and the user agent, which has a field of its own."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_CODING = re.compile(r"\s*([A-Za-z]+)\s*(?:;\s*q\s*=\s*(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?")


def _header_rule(name: str, value: str, made: frozenset[str]) -> str | None:
    """Return the rule that a header of a context breaks, ``None`` if it may be sent."""
    key = name.lower()
    if not _HEADER_NAME.fullmatch(name) or len(name) > HEADER_NAME_MAX:
        return "must have names of HTTP headers"
    if key in OUR_HEADERS or key in made:
        return f"cannot have {key}, which is made here; leave it out"
    if not _HEADER_VALUE.fullmatch(value) or len(value) > HEADER_VALUE_MAX:
        return f"must have values of at most {HEADER_VALUE_MAX} characters, none of them a control"
    if key == "accept-encoding" and not _are_known(value):
        return "can have gzip, deflate, br and zstd in accept-encoding, and no other"
    return None


def _are_known(value: str) -> bool:
    found = [_CODING.fullmatch(word) for word in value.split(",")]
    return all(each is not None and each[1].lower() in ENCODINGS for each in found)


def cookie_field(
    example: Mapping[str, str],
    *,
    what: str = "The whole jar after the first step.",
    kept: str = "",
) -> Any:  # noqa: ANN401  as Field
    """Return a context's field of cookies, with these values by name as the example."""
    return told(
        what,
        example=[{"name": name, "value": value} for name, value in example.items()],
        rule=(
            "must be a list of objects with name, value and, if known, domain and path; of a"
            " mapping make one object for each name, of a text parse each cookie first"
        ),
        kept=kept,
        default=(),
        max_length=200,
        repr=False,
    )


def header_field(example: Mapping[str, str], *, kept: str = "") -> Any:  # noqa: ANN401  as Field
    """Return a context's field of headers, with these as the example."""
    return told(
        (
            "Further headers that the login's client sends with each request. None that is made"
            " here: those of the connection, the cookies, the body's form, the user agent, and"
            " those that the adapter makes. `Accept-Encoding` may name gzip, deflate, br and zstd."
        ),
        example=dict(example),
        kept=kept,
        default_factory=dict,
        max_length=HEADERS_MAX,
        repr=False,
    )


class Context(BaseModel):
    """The challenge context: everything from the first step that the second step needs.

    Each adapter subclasses it, one model per route. Values are secrets: a context is stored sealed,
    and validation errors hide their input.

    The adapter names the headers that it makes itself in ``made_headers``; a context cannot give
    them. A header for which the adapter only has a default (``Accept-Language``) is sent as given.
    Every value of a context is sent, or refused when the intent is opened, and never ignored.
    """

    made_headers: ClassVar[frozenset[str]] = frozenset()
    """Headers, in lower case, that only the adapter sets, in addition to `OUR_HEADERS`."""
    paths: ClassVar[tuple[str, ...]] = ()
    """Fields whose value becomes the path of a request."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    route: str = told("The only route.", example="http", default="http")
    user_agent: str = told(
        "Of the client that began the login.",
        example="Mozilla/5.0 (X11; Linux x86_64) made-up/1.0",
        default="",
        max_length=1024,
        repr=False,
    )
    cookies: tuple[Cookie, ...] = cookie_field({"lang": "v=2"})
    device: Mapping[str, str] = told(
        "Ids of the device, kept for the session; not sent.",
        example={"device_id": "made-up-1"},
        default_factory=dict,
        repr=False,
    )
    app: Mapping[str, str] = told(
        "Constants of the app, kept for the session; not sent.",
        example={"version": "1"},
        default_factory=dict,
        repr=False,
    )
    headers: Mapping[str, str] = header_field({"Accept-Language": "en-US"})

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        rules = [_header_rule(*each, cls.made_headers) for each in headers.items()]
        if len({name.lower() for name in headers}) < len(headers):
            rules.append("must have each header once")
        if broken := next(filter(None, rules), None):
            raise broken_rule(broken)
        return headers

    def why_hopeless(self) -> str | None:
        """Return why no code can succeed with this context, ``None`` if one may.

        Asked when an intent is opened, and not of contexts that are stored. The sentence begins
        with the field's name and quotes no value.
        """
        return None

    def kinds_sent(self) -> Kinds:
        """Return the checkpoints whose codes the adapter sends; it refuses other sources, unsent.

        Asked when an intent is opened and before each code.
        """
        return Kinds()

    def kinds_told(self) -> Kinds:
        """Return the checkpoints that the page or answer of the first step can be.

        Asked when an intent is opened, and not of contexts that are stored: a provider that
        refuses a code may show the step of another code with it.
        """
        return self.kinds_sent()

    def with_headers(self, made: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request: the adapter's, then the context's own.

        The adapter's header wins, which matters for a name that `made_headers` leaves out.
        """
        names = {name.lower() for name in made}
        own = {name: value for name, value in self.headers.items() if name.lower() not in names}
        return {**made, **own}

    def changed(self, **changes: object) -> Self | None:
        """Return the context with changes; ``None`` if they break the bounds of its model."""
        try:
            return type(self).model_validate({**dict(self), **changes})
        except ValidationError:
            return None

    def as_json(self) -> dict[str, Any]:
        """Return the form in which the context is sealed: fields with default values are left out.

        A process of the previous version forbids unknown fields; it can read a context that uses
        none of the new ones.
        """
        said = self.model_dump(mode="json", exclude_defaults=True, warnings=False)
        return {"route": self.route, **said}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The step that a provider asks for. Unknown types and sources pass through unchanged.

    ``type`` is ``2FA`` or ``OTP``; ``source`` is ``EMAIL``, ``SMS``, ``WHATSAPP``,
    ``APP`` or ``BACKUP``.
    """

    type: str
    source: str | None = None

    def as_wire(self) -> dict[str, str | None]:
        """Return the public form: ``{"type": …, "source": …}``."""
        return {"type": self.type, "source": self.source}


class SolutionKind(enum.Enum):
    """Kind of a solution, which is known before the claim."""

    CODE = "code"
    ANOTHER_WAY = "another_way"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One checkpoint to clear, with everything needed to continue its login.

    Attributes:
        checkpoint: What the provider asks for.
        context: The adapter's own model, already validated.
        base_url: The provider's address (``https://host[:port]``, no trailing slash). The
            deployment sets it: a context gives paths only.
        solution: Whether to send a code or ``TRY_ANOTHER_WAY``.
    """

    checkpoint: Checkpoint
    context: Context = field(repr=False)
    base_url: str
    solution: SolutionKind = SolutionKind.CODE


# Requests and replies ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that carries no code: preparation or follow-up. It may be retried.

    ``url`` is absolute. ``headers`` are sent unchanged and in their order; the transport adds
    only ``Host``, ``Content-Length`` and the connection's own headers.
    """

    method: str = "GET"
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRequest:
    """The one request that carries the code.

    The exchange calls ``body`` with the code in clear, after the claim and before the first
    byte; it sends the returned bytes and does not keep them. ``headers`` must not depend on the
    code, except through ``sign``, which is called with the finished body (for signatures over it).
    """

    method: str = "POST"
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Callable[[str], bytes]
    sign: Callable[[bytes], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer, complete and within the transport's limits.

    Attributes:
        status: HTTP status.
        headers: Lower-case names; a repeated header's values are joined by ``", "``.
        cookies: The cookies of ``Set-Cookie``, in order, revocations included.
        body: Decoded (gzip, deflate, br, zstd) and limited in size.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    cookies: tuple[Cookie, ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def text(self) -> str:
        """The body as text; undecodable bytes become U+FFFD."""
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTicket:
    """The result of a granted claim.

    Attributes:
        code: The code in clear.
        send_before: Instant on ``time.monotonic()``, in seconds, after which not one byte of
            the code request may leave.
    """

    code: str = field(repr=False)
    send_before: float


@runtime_checkable
class Exchange(Protocol):
    """The connection of one attempt to the provider: one code request, any number of others.

    Every call turns a transport error into a `ProviderFailure`. No call follows a redirect or
    sends a request twice.
    """

    @property
    def code_sent(self) -> bool:
        """Whether the code may have reached the provider."""
        ...

    async def send_code(self, request: CodeRequest) -> Reply:
        """Connect, claim, send the code and read the answer. At most once per exchange.

        Raises:
            ProviderFailure: The transport or the provider failed.
            ExchangeRefusedError: The claim was refused; nothing was sent.
        """
        ...

    async def fetch(self, request: Request) -> Reply:
        """Send a request without the code and read its answer.

        Raises:
            ProviderFailure: The transport or the provider failed.
        """
        ...


class ExchangeRefusedError(Exception):
    """The claim was not granted: nothing was sent. Adapters let it pass through."""


# Verdicts ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """The provider accepted the code; the login is complete.

    Attributes:
        user_id: The provider's own id of the account, as text; never ``None``: a success
            without an id is `ProviderBrokenError`.
        session: Cookies and tokens of the finished login, JSON-able, for the backend.
    """

    user_id: str
    session: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The provider evaluated the code and refused it: wrong, expired or used.

    ``context`` is the challenge context after this answer, ``None`` if it did not change.
    """

    context: Context | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCheckpoint:
    """The provider accepted the code and asks for another step, which takes a code."""

    checkpoint: Checkpoint
    context: Context = field(repr=False)


Verdict = Cleared | Rejected | NextCheckpoint


# Failures ------------------------------------------------------------------------------


class ProviderFailure(Exception):  # noqa: N818  the tree's root; its leaves end in Error
    """The root of all results other than an answer to the code.

    Args:
        detail: A sentence of this project for the caller. It never holds a code, cookie, phone
            number, proxy address or any text of the provider's.
        context: The challenge context after this answer, if it changed.
    """

    status: ClassVar[int]
    type: ClassVar[str]
    in_doubt: ClassVar[bool] = False
    """Whether a sent code with this end may have been right or wrong; the module defines it."""

    def __init__(self, detail: str | None = None, *, context: Context | None = None) -> None:
        """Store the sentence and the context; the context is not part of ``args``."""
        super().__init__(detail or "")
        self.detail = detail
        self.context = context


class MalformedRequestError(ProviderFailure):
    """The provider refused the request's form, or the context cannot be used."""

    status, type = 400, "malformed_request"


class InvalidRequestError(ProviderFailure):
    """The code's kind does not fit the checkpoint."""

    status, type = 400, "invalid_request"


class ContentTooLargeError(ProviderFailure):
    """The provider finds the request too large."""

    status, type = 400, "content_too_large"


class TooManyCharactersError(ProviderFailure):
    """The code is longer than its limit."""

    status, type = 400, "too_many_characters"


class UnescapedCharactersError(ProviderFailure):
    """A path of the context cannot go into a URL."""

    status, type = 400, "unescaped_characters"


class AccountRestrictedError(ProviderFailure):
    """The account is disabled, suspended or locked. Kills the intent."""

    status, type = 403, "account_restricted"


class InsufficientPermissionsError(ProviderFailure):
    """The provider reports that the account lacks permissions."""

    status, type = 403, "insufficient_permissions"


class SessionMismatchError(ProviderFailure):
    """CSRF token, cookies and device ids do not belong together. Kills the intent."""

    status, type = 403, "session_mismatch"


class SubscriptionRequiredError(ProviderFailure):
    """The chosen method needs a paid plan at the provider."""

    status, type = 403, "subscription_required"


class UnknownContextError(ProviderFailure):
    """The provider has plainly left this login for something unknown. Kills the intent.

    For an unknown screen after a code that was not refused: `UnknownStepError`.
    """

    status, type = 403, "unknown_authentication_context"


class ActionRequiredError(ProviderFailure):
    """A known step the person must take in the provider's own app or site."""

    status, type = 403, "action_required"


class UnknownStepError(ActionRequiredError):
    """An unknown step, after a code that was not refused. In doubt."""

    in_doubt = True


class ResourceRestrictedError(ProviderFailure):
    """The provider blocks this client, region or address rather than the account."""

    status, type = 403, "resource_access_restricted"


class ProxyAuthError(ProviderFailure):
    """The proxy refuses our credentials."""

    status, type = 407, "proxy_auth_error"


class ProviderTimeoutError(ProviderFailure):
    """No complete answer in time; the provider may act on the code later."""

    status, type = 408, "request_timeout"


class DeadIntentError(ProviderFailure):
    """The challenge is dead at the provider. Kills the intent."""

    status, type = 500, "authentication_intent_error"


class ProviderBrokenError(ProviderFailure):
    """The provider reports problems of its own: 5xx or throttling."""

    status, type = 500, "provider_error"


class UnreadableAnswerError(ProviderBrokenError):
    """An answer without a verdict: unreadable, contradictory, of an unknown kind. In doubt.

    Attributes:
        head: Status, headers and cookies of an answer whose body cannot be read, with an empty
            body; ``None`` if the head cannot be read either. See `providers.answers.hear`.
    """

    in_doubt = True
    head: Reply | None = None


class ProxyFailedError(ProviderFailure):
    """The proxy refused or reset the connection, or gave an invalid answer."""

    status, type = 502, "proxy_error"


class NoClientSessionError(ProviderFailure):
    """Live session route: no session has registered."""

    status, type = 503, "no_client_session"


class NoChannelError(ProviderFailure):
    """Live session route: the session's channel has no listener."""

    status, type = 503, "no_channel"


class NoHandlerError(ProviderFailure):
    """No adapter here can handle this provider or checkpoint."""

    status, type = 503, "no_handler"


class NetworkDownError(ProviderFailure):
    """The network is down on our side: DNS, route, refused or TLS, without a proxy."""

    status, type = 503, "network_down"


class ServiceUnavailableError(ProviderFailure):
    """The provider is temporarily unavailable (503, maintenance page)."""

    status, type = 503, "service_unavailable"


# Codes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFormat:
    """The form of one source's codes; it is checked before a code is stored or sent.

    Attributes:
        max_length: Longest code after normalisation, in characters.
        alphabet: ``digits`` or ``alphanumeric`` (ASCII).
        min_length: Shortest whole code. A shorter code is accepted nevertheless, because it
            costs a single try; but a text with two groups of this length holds two codes, and
            a code counts as an alternative's from the alternative's length on. 0: more than
            half of ``max_length``.
        alternatives: Forms of codes that the provider accepts in the same field, by their
            source. The first form that fits decides which source a code is of (`source_of`).
    """

    max_length: int
    alphabet: Literal["digits", "alphanumeric"] = "digits"
    min_length: int = 0
    alternatives: Mapping[str, CodeFormat] = field(default_factory=dict, hash=False)

    @property
    def whole_length(self) -> int:
        """The shortest length of a whole code."""
        return self.min_length or self.max_length // 2 + 1

    def has(self, code: str) -> bool:
        """Whether a bare code is of this alphabet."""
        digits = self.alphabet == "digits"
        return code.isascii() and (code.isdigit() if digits else code.isalnum())


_SELECTORS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""Variation selectors, which `fold` removes; byte order marks are format characters."""
_OTHER_DASHES = frozenset("\u2053\u207b\u208b\u2212")
"""Dashes that Unicode does not class as dash punctuation: swung dash, minus signs."""
_PUNCTUATION = frozenset("$<=>^`|~")
"""ASCII punctuation that Unicode classes as symbols. Plus is left out: it begins phone numbers."""


def fold(text: str) -> str:
    """Return a text without invisible characters and with its decimal digits as ASCII.

    It removes format characters, byte order marks, variation selectors and surrounding space.
    """
    if text.isascii():
        return text.strip()
    kept = (char for char in _SELECTORS.sub("", text) if unicodedata.category(char) != "Cf")
    return "".join(str(unicodedata.decimal(char, char)) for char in kept).strip()


def _is_separator(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) == "Pd" or char in _OTHER_DASHES


def _groups(text: str) -> list[str]:
    """Return the groups of characters between spaces and dashes."""
    return "".join(" " if _is_separator(char) else char for char in text).split()


def normalise(code: str) -> str:
    """Return a code as providers expect it: folded, without spaces and dashes, zeros kept.

    A space inside makes a valid code fail at providers that compare strings. An adapter handles a
    phone number or another solution that is not a code itself.
    """
    return "".join(_groups(fold(code)))


def _is_punctuation(char: str) -> bool:
    return _is_separator(char) or unicodedata.category(char)[0] == "P" or char in _PUNCTUATION


def _trim(text: str) -> str:
    """Return a text without the punctuation around it."""
    start, end = 0, len(text)
    while start < end and _is_punctuation(text[start]):
        start += 1
    while start < end and _is_punctuation(text[end - 1]):
        end -= 1
    return text[start:end]


def check_code(code: str, code_format: CodeFormat | None) -> str:
    """Return a code as it is to be sent; refuse one that cannot be right.

    The check looks at length and alphabet only: too strict a check blocks a valid code, too loose
    a one costs a single try. Without a form the text is only folded (`fold`), because it may be a
    phone number.

    Raises:
        TooManyCharactersError: Longer than the format and its alternatives allow.
        InvalidRequestError: Not of the format's alphabet, empty, or two codes.
    """
    if code_format is None or code == TRY_ANOTHER_WAY:
        return fold(code)
    groups = _groups(_trim(fold(code)))
    bare = "".join(groups)
    forms = (code_format, *code_format.alternatives.values())
    if not any(form.has(bare) for form in forms):
        kinds = {form.alphabet for form in forms}
        kind = "digits" if kinds == {"digits"} else "letters and digits"
        msg = f"The checkpoint asks for a code of {kind} only."
        raise InvalidRequestError(msg)
    found = _form_of(bare, code_format)
    own = [group for group in groups if code_format.has(group)]
    if sum(len(group) == code_format.max_length for group in own) > 1:
        found = None  # Two whole codes, whose joined length fits another form.
    whole = [forms[found].whole_length] if found is not None else [f.whole_length for f in forms]
    if sum(len(group) >= min(whole) for group in groups) > 1:
        msg = "The text holds more than one code; send the newest alone."
        raise InvalidRequestError(msg)
    if found is None:
        longest = max(form.max_length for form in forms)
        msg = f"A code for this checkpoint has at most {longest} characters."
        if len(bare) <= longest:
            msg = "A code for this checkpoint does not have so many characters."
        raise TooManyCharactersError(msg)
    return bare


def _form_of(bare: str, code_format: CodeFormat) -> int | None:
    """Return the form of a bare code: 0 for the format's own, then the number of an alternative."""
    if code_format.has(bare) and len(bare) <= code_format.max_length:
        return 0
    for number, form in enumerate(code_format.alternatives.values(), start=1):
        if form.has(bare) and form.whole_length <= len(bare) <= form.max_length:
            return number
    return None


def source_of(code: str, source: str | None, formats: Mapping[str, CodeFormat]) -> str | None:
    """Return the source that a code is of: the checkpoint's own or an alternative's.

    An adapter calls it inside `CodeRequest.body`, so that a backup code typed at an app's prompt
    is sent as a backup code.

    Args:
        code: As the person typed it, or as `check_code` returned it.
        source: The checkpoint's source.
        formats: The adapter's ``code_formats``.
    """
    code_format = formats.get(source or "")
    if code_format is None:
        return source
    found = _form_of("".join(_groups(_trim(fold(code)))), code_format)
    return list(code_format.alternatives)[found - 1] if found else source


# Adapters ------------------------------------------------------------------------------


@runtime_checkable
class Adapter(Protocol):
    """One provider over one route.

    Attributes:
        provider: ``LINKEDIN``, ``INSTAGRAM``, ``TWITTER``, ``MESSENGER`` or a plug-in's name.
        default_url: The provider's own address, used unless the deployment sets another.
        contexts: Route name to the model that its challenge context must fit.
        code_formats: Source (``SMS`` …) to the form that its code must have; the code of an
            absent source is not checked.
        prepares: Whether `verify` sends requests before the one that carries the code. If so, the
            attempt takes the exchange lease before they start.
        knows_another_way: Whether `verify` can send ``TRY_ANOTHER_WAY``.

    An adapter may have two more attributes: ``ways`` (`NamesWays`), and ``session``, its model of
    the finished login (`providers.sessions.Session`), which the OpenAPI document shows.
    """

    provider: str
    default_url: str
    contexts: MappingProxyType[str, type[Context]]
    code_formats: MappingProxyType[str, CodeFormat]
    prepares: bool
    knows_another_way: bool

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Submit one solution and report the provider's verdict.

        Called at most once per submission; the caller owns time limits, superseding and
        the claim. Exactly one request carries the code.

        Args:
            challenge: The checkpoint to clear. Its context is validated and belongs to this step.
            exchange: The connection to the provider. It holds the code and passes it to
                `CodeRequest.body` alone.

        Returns:
            The provider's answer: cleared, rejected, or a further checkpoint.

        Raises:
            ProviderFailure: Any other result.
        """
        ...


@runtime_checkable
class NamesWays(Protocol):
    """An adapter that can list the methods of a checkpoint without asking its provider.

    It extends `Adapter`; a plug-in may leave it out.
    """

    def ways(self, challenge: Challenge) -> Sequence[str]:
        """Return the methods that the provider offers at this checkpoint, by its context.

        The result holds source words alone (``SMS``, ``EMAIL``, ``APP``, ``BACKUP``,
        ``WHATSAPP`` …), never a masked number or address. The method sends nothing.
        """
        ...


WAY = re.compile(r"[A-Z][A-Z_]{0,31}")


def tell_ways(ways: Sequence[str]) -> str:
    """Return the answer to ``TRY_ANOTHER_WAY`` for a checkpoint that cannot send it.

    It leaves out every text that is not a source word, because the provider may have written it.
    """
    words = list(dict.fromkeys(each for each in ways if WAY.fullmatch(each)))
    if not words:
        return "This checkpoint knows no other way; send the code it asks for."
    return (
        f"Another method cannot be asked for here. The provider offers: {', '.join(words)}. "
        "Choose one while logging in at the provider, or send the code it asks for."
    )
