"""What an adapter promises, and the words it promises it in.

A leaf: it imports nothing of this project. An adapter gets a `Challenge` and an
`Exchange`, sends the person's code exactly once through it, reads the answer and returns
a `Verdict`. It never sees Redis, Celery, an intent or, outside one callback, the code.

Answers are values (`Verdict`); operating failures are exceptions of one tree. Whatever else
`Adapter.verify` ends with, or what of these cannot be stored, is 500 ``unexpected_error``:

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
    ├── ResourceRestrictedError          403 resource_access_restricted         yes
    ├── ProxyAuthError                   407 proxy_auth_error                   maybe
    ├── ProviderTimeoutError             408 request_timeout                    maybe
    ├── DeadIntentError                  500 authentication_intent_error        yes
    ├── ProviderBrokenError              500 provider_error                     maybe
    ├── ProxyFailedError                 502 proxy_error                        maybe
    ├── NoClientSessionError             503 no_client_session                  no
    ├── NoChannelError                   503 no_channel                         no
    ├── NoHandlerError                   503 no_handler                         no
    ├── NetworkDownError                 503 network_down                       no
    └── ServiceUnavailableError          503 service_unavailable                maybe

Whether the code really left is known by the exchange alone (`Exchange.code_sent`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from types import MappingProxyType

TRY_ANOTHER_WAY = "TRY_ANOTHER_WAY"
"""The literal a person sends instead of a code to be asked in another way."""

TOLD_RULE = "told_rule"
"""Type of a pydantic error whose message a refusal repeats: field's rule and mend, no value."""


class Cookie(BaseModel):
    """One cookie of the login's first step.

    ``expires_at`` is seconds since the epoch, ``None`` for a session cookie; 0 or a past
    instant means that the provider revokes it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=256)
    value: str = Field(max_length=8192, repr=False)
    domain: str = Field(default="", max_length=256)
    path: str = Field(default="/", max_length=1024)
    expires_at: float | None = None


class Context(BaseModel):
    """The challenge context: everything from the first step that the second step needs.

    Each adapter subclasses it, one model per route (CONTRACT §1b). Values are secrets: a
    context rests sealed, and validation errors hide their input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    route: str = "http"
    user_agent: str = Field(default="", max_length=1024, repr=False)
    cookies: tuple[Cookie, ...] = Field(default=(), max_length=200, repr=False)
    device: Mapping[str, str] = Field(default_factory=dict, repr=False)
    app: Mapping[str, str] = Field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What the provider asks for. Unknown types and sources pass through untouched.

    ``type`` is ``2FA`` or ``OTP``; ``source`` is ``EMAIL``, ``SMS``, ``APP`` or ``BACKUP``.
    """

    type: str
    source: str | None = None

    def as_wire(self) -> dict[str, str | None]:
        """Return the shape of CONTRACT §2: ``{"type": …, "source": …}``."""
        return {"type": self.type, "source": self.source}


class SolutionKind(enum.Enum):
    """What the person sent, as far as anyone may know before the claim."""

    CODE = "code"
    ANOTHER_WAY = "another_way"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What to clear, and everything needed to continue that login.

    Attributes:
        checkpoint: What the provider asked for.
        context: The adapter's own model, already validated.
        base_url: Where the provider is (``https://host[:port]``, no trailing slash). Ours:
            a context gives paths only.
        solution: Whether a code or ``TRY_ANOTHER_WAY`` is to be sent.
    """

    checkpoint: Checkpoint
    context: Context = field(repr=False)
    base_url: str
    solution: SolutionKind = SolutionKind.CODE


# Requests and replies ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that carries no code: preparation or follow-up. May be retried.

    ``url`` is absolute. ``headers`` are sent as they are, in their order, and nothing but
    ``Host``, ``Content-Length`` and the connection's own headers is added.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRequest:
    """The one request that carries the code.

    ``body`` is called with the code in clear, after the claim and before the first byte;
    what it returns is sent and forgotten. ``headers`` must not depend on the code unless
    given by ``sign``, which is called with the finished body (for signatures over it).
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Callable[[str], bytes]
    sign: Callable[[bytes], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer, complete and within the caps of the transport.

    Attributes:
        status: HTTP status.
        headers: Lower-case names; a repeated header's values are joined by ``", "``.
        cookies: What ``Set-Cookie`` says, in order, revocations included.
        body: Decoded (gzip, deflate) and capped.
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
    """What a granted claim hands over.

    Attributes:
        code: The code in clear.
        send_before: Instant on ``time.monotonic()``, in seconds, after which not one byte of
            the code request may leave.
    """

    code: str = field(repr=False)
    send_before: float


@runtime_checkable
class Exchange(Protocol):
    """One attempt's way to the provider: one code request, any number of others.

    Every call maps what goes wrong on the way to a `ProviderFailure`, never follows a
    redirect and never sends anything twice.
    """

    @property
    def code_sent(self) -> bool:
        """Whether the code may have reached the provider."""
        ...

    async def send_code(self, request: CodeRequest) -> Reply:
        """Connect, claim, send the code, read the answer. At most once per exchange.

        Raises:
            ProviderFailure: What went wrong on the way.
            ExchangeRefusedError: The claim was refused; nothing was sent.
        """
        ...

    async def fetch(self, request: Request) -> Reply:
        """Send a request without the code and read its answer.

        Raises:
            ProviderFailure: What went wrong on the way.
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
    """Something other than an answer to the code.

    Args:
        detail: A sentence in our own words for the caller. Never a code, cookie, phone
            number, proxy address or anything the provider wrote.
        context: The challenge context after this answer, if it changed.
    """

    status: ClassVar[int]
    type: ClassVar[str]

    def __init__(self, detail: str | None = None, *, context: Context | None = None) -> None:
        """Keep the sentence and the context; neither is part of ``args``' repr."""
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
    """The provider says the account lacks permissions."""

    status, type = 403, "insufficient_permissions"


class SessionMismatchError(ProviderFailure):
    """CSRF token, cookies and device ids do not belong together. Kills the intent."""

    status, type = 403, "session_mismatch"


class SubscriptionRequiredError(ProviderFailure):
    """The chosen method needs a paid plan at the provider."""

    status, type = 403, "subscription_required"


class UnknownContextError(ProviderFailure):
    """The answer leads to a step nobody knows. Kills the intent."""

    status, type = 403, "unknown_authentication_context"


class ActionRequiredError(ProviderFailure):
    """A known step the person must take in the provider's own app or site."""

    status, type = 403, "action_required"


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
    """5xx, throttling, an unreadable or contradictory answer."""

    status, type = 500, "provider_error"


class ProxyFailedError(ProviderFailure):
    """The proxy refused, reset or answered nonsense."""

    status, type = 502, "proxy_error"


class NoClientSessionError(ProviderFailure):
    """Live session route: no session has registered."""

    status, type = 503, "no_client_session"


class NoChannelError(ProviderFailure):
    """Live session route: nobody listens on the session's channel."""

    status, type = 503, "no_channel"


class NoHandlerError(ProviderFailure):
    """Nothing here can handle this provider or checkpoint."""

    status, type = 503, "no_handler"


class NetworkDownError(ProviderFailure):
    """The network is down on our side: DNS, route, refused or TLS, without a proxy."""

    status, type = 503, "network_down"


class ServiceUnavailableError(ProviderFailure):
    """The provider is temporarily unavailable (503, maintenance page)."""

    status, type = 503, "service_unavailable"


# Adapters ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFormat:
    """What a code of one source may look like; checked before anything is stored or sent.

    Attributes:
        max_length: Longest code after normalisation, in characters.
        alphabet: ``digits`` or ``alphanumeric`` (ASCII).
    """

    max_length: int
    alphabet: Literal["digits", "alphanumeric"] = "digits"


@runtime_checkable
class Adapter(Protocol):
    """One provider over one route.

    Attributes:
        provider: ``LINKEDIN``, ``INSTAGRAM``, ``TWITTER``, ``MESSENGER`` or a plug-in's name.
        default_url: The provider's own address, used unless the deployment sets another.
        contexts: Route name to the model its challenge context must fit.
        code_formats: Source (``SMS`` …) to the form its code must have; a source that is
            absent is not checked.
        prepares: Whether `verify` sends requests before the one that carries the code. If
            so the wire is taken before they start.
        knows_another_way: Whether `verify` can send ``TRY_ANOTHER_WAY``.
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
            challenge: What to clear. Its context is validated and belongs to this step.
            exchange: The way to the provider. It holds the code and gives it to
                `CodeRequest.body` alone.

        Returns:
            The provider's answer: cleared, rejected, or a further checkpoint.

        Raises:
            ProviderFailure: Anything else.
        """
        ...


def normalise(code: str) -> str:
    """Return the code as providers want it: no white space, no dashes, zeros kept.

    A space inside makes a good code fail at providers that compare strings (providers.md
    §0.3). A phone number or another solution that is no code is left to its adapter.
    """
    return "".join(code.split()).replace("-", "")


def check_code(code: str, code_format: CodeFormat | None) -> None:
    """Refuse a code that cannot be right, before anything is stored or sent.

    Too strict a check blocks a valid code, too loose a one costs a single try, so only
    length and alphabet are looked at.

    Raises:
        TooManyCharactersError: Longer than the format allows.
        InvalidRequestError: Not of the format's alphabet.
    """
    if code == TRY_ANOTHER_WAY or code_format is None:
        return
    bare = normalise(code)
    digits = code_format.alphabet == "digits"
    if not bare.isascii() or not (bare.isdigit() if digits else bare.isalnum()):
        kind = "digits" if digits else "letters and digits"
        msg = f"The checkpoint asks for a code of {kind} only."
        raise InvalidRequestError(msg)
    if len(bare) > code_format.max_length:
        msg = f"A code for this checkpoint has at most {code_format.max_length} characters."
        raise TooManyCharactersError(msg)
