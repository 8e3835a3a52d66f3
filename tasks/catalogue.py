"""The 32 errors and 3 successes of the public contract, in one table.

Validation, adapters, rules, records, metrics, the gateway and the Celery states all read this
table; no other module spells the public words of an outcome.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Actor(enum.Enum):
    """The party that can act on an error; it decides alerting and the Celery state."""

    CALLER = "caller"
    PERSON = "person"
    OPERATOR = "operator"
    NOBODY = "nobody"


class CeleryState(enum.Enum):
    """State of a settled submission in Celery and Flower."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One error of the contract; its key is ``(status, type)``.

    Attributes:
        status: HTTP status.
        type: Public type without ``errors/``.
        title: A few words for a heading.
        detail: The sentence used where the component that fails gives no better one.
        who: The party that can act.
        counts: Whether it counts as a failure of the intent.
        kills: Whether it ends the intent when a provider's answer means it.
    """

    status: int
    type: str
    title: str
    detail: str
    who: Actor
    counts: bool = False
    kills: bool = False

    @property
    def key(self) -> tuple[int, str]:
        """The key of the table, ``(status, type)``."""
        return (self.status, self.type)

    @property
    def celery_state(self) -> CeleryState:
        """The state Celery and Flower show for a submission with this outcome."""
        if self.type == "operation_canceled":
            return CeleryState.REVOKED
        if self.who is Actor.OPERATOR or self.type == "request_timeout":
            return CeleryState.FAILURE
        return CeleryState.SUCCESS


def _rows() -> tuple[Pair, ...]:
    caller, person, operator, nobody = Actor.CALLER, Actor.PERSON, Actor.OPERATOR, Actor.NOBODY
    rows: tuple[tuple[int, str, str, str, Actor, str], ...] = (
        (400, "invalid_parameters", "Invalid parameters",
         "A parameter is invalid or missing.", caller, ""),
        (400, "missing_parameters", "Missing parameters",
         "A required parameter is missing.", caller, ""),
        (400, "invalid_request", "Invalid request",
         "The request does not fit the checkpoint.", caller, ""),
        (400, "malformed_request", "Malformed request",
         "The provider refused the form of the request.", caller, ""),
        (400, "content_too_large", "Content too large",
         "The request is larger than allowed.", caller, ""),
        (400, "too_many_characters", "Too many characters",
         "The code is longer than allowed.", caller, ""),
        (400, "unescaped_characters", "Unescaped characters",
         "A path holds characters that cannot go into a URL.", caller, ""),
        (400, "limit_too_high", "Limit too high",
         "The limit of the listing is over its maximum.", caller, ""),
        (401, "invalid_checkpoint_solution", "Invalid checkpoint solution",
         "The provider refused this code.", person, "counts"),
        (403, "account_restricted", "Account restricted",
         "The provider has restricted this account.", person, "kills"),
        (403, "account_mismatch", "Account mismatch",
         "The code was accepted for another account than the expected one.", caller, "kills"),
        (403, "insufficient_permissions", "Insufficient permissions",
         "The account lacks the permission for this.", operator, ""),
        (403, "session_mismatch", "Session mismatch",
         "The carried login session does not belong to this checkpoint.", caller, "kills"),
        (403, "feature_not_subscribed", "Feature not subscribed",
         "This provider is not enabled for this deployment.", operator, ""),
        (403, "subscription_required", "Subscription required",
         "The provider asks for a paid plan for this method.", person, ""),
        (403, "unknown_authentication_context", "Unknown authentication context",
         "There is no open checkpoint for this account.", caller, "kills"),
        (403, "action_required", "Action required",
         "The provider wants the person to act in its own app or site.", person, ""),
        (403, "resource_access_restricted", "Resource access restricted",
         "The provider refuses this client, region or address.", operator, ""),
        (407, "proxy_auth_error", "Proxy authentication error",
         "The proxy refuses our credentials.", operator, ""),
        (408, "request_timeout", "Request timeout",
         "The provider did not answer in time.", caller, ""),
        (409, "operation_canceled", "Operation canceled",
         "A later operation canceled this one.", nobody, ""),
        (409, "already_exists", "Already exists",
         "This account is already connected.", caller, ""),
        (500, "unexpected_error", "Unexpected error",
         "Something went wrong on our side.", operator, ""),
        (500, "provider_error", "Provider error",
         "The provider has problems.", operator, ""),
        (500, "authentication_intent_error", "Authentication intent error",
         "The login has failed for good; start it again.", caller, "kills"),
        (502, "proxy_error", "Proxy error",
         "The proxy refused the connection or gave an invalid answer.", operator, ""),
        (503, "no_client_session", "No client session",
         "No client session is running for this account.", operator, ""),
        (503, "no_channel", "No channel",
         "No program is subscribed to the channel of the client session.", operator, ""),
        (503, "no_handler", "No handler",
         "Nothing here handles this provider or checkpoint.", operator, ""),
        (503, "network_down", "Network down",
         "The network is down on our side.", operator, ""),
        (503, "service_unavailable", "Service unavailable",
         "The service is temporarily unavailable.", operator, ""),
        (504, "request_timeout", "Request timeout",
         "The request timed out on our side.", caller, ""),
    )  # fmt: skip
    return tuple(
        Pair(
            status=status,
            type=type_,
            title=title,
            detail=detail,
            who=who,
            counts=effect == "counts",
            kills=effect == "kills",
        )
        for status, type_, title, detail, who, effect in rows
    )


PAIRS: Final[Mapping[tuple[int, str], Pair]] = {row.key: row for row in _rows()}
"""Every error, by ``(status, type)``, in the contract's order."""


def pair(status: int, type_: str) -> Pair:
    """Return the row of the table with this key; an unknown key is a bug of the caller.

    Raises:
        KeyError: There is no such pair.
    """
    return PAIRS[status, type_]


INVALID_PARAMETERS = pair(400, "invalid_parameters")
MISSING_PARAMETERS = pair(400, "missing_parameters")
INVALID_REQUEST = pair(400, "invalid_request")
CONTENT_TOO_LARGE = pair(400, "content_too_large")
TOO_MANY_CHARACTERS = pair(400, "too_many_characters")
UNESCAPED_CHARACTERS = pair(400, "unescaped_characters")
LIMIT_TOO_HIGH = pair(400, "limit_too_high")
REJECTED = pair(401, "invalid_checkpoint_solution")
ACCOUNT_MISMATCH = pair(403, "account_mismatch")
FEATURE_NOT_SUBSCRIBED = pair(403, "feature_not_subscribed")
UNKNOWN_CONTEXT = pair(403, "unknown_authentication_context")
ACTION_REQUIRED = pair(403, "action_required")
PROVIDER_TIMED_OUT = pair(408, "request_timeout")
CANCELED = pair(409, "operation_canceled")
ALREADY_EXISTS = pair(409, "already_exists")
UNEXPECTED = pair(500, "unexpected_error")
KILLED = pair(500, "authentication_intent_error")
NO_HANDLER = pair(503, "no_handler")
UNAVAILABLE = pair(503, "service_unavailable")
TIMED_OUT = pair(504, "request_timeout")


class Success(enum.Enum):
    """The three successes: ``object`` of the body and its HTTP status."""

    CREATED = ("AccountCreated", 201)
    RECONNECTED = ("AccountReconnected", 201)
    CHECKPOINT = ("Checkpoint", 202)

    @property
    def object(self) -> str:
        """The ``object`` of the body."""
        return self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]


ERRORS: Final = "errors/"
"""Prefix of every error type in a record's body."""


def kind_of(body: Mapping[str, object]) -> str:
    """Return the kind of an outcome in one word, such as ``Checkpoint``, from its body.

    Of an error it is the type without ``errors/``, such as ``operation_canceled``.
    """
    return str(body.get("type", body.get("object", ""))).removeprefix(ERRORS)


def error_body(row: Pair, instance: str, detail: str | None = None) -> dict[str, object]:
    """Return the envelope that every error has.

    Args:
        row: The error.
        instance: The submission id, or the request's id where there is no submission yet.
        detail: A sentence that replaces the table's. It quotes no provider.
    """
    return {
        "object": "Error",
        "type": f"{ERRORS}{row.type}",
        "title": row.title,
        "status": row.status,
        "detail": detail or row.detail,
        "instance": instance,
        "req_id": instance,
    }


def success_body(
    success: Success, account_id: str, checkpoint: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return the body of a success; only ``CHECKPOINT`` carries ``checkpoint``."""
    body: dict[str, object] = {"object": success.object, "account_id": account_id}
    if success is Success.CHECKPOINT:
        body["checkpoint"] = dict(checkpoint or {})
    return body
