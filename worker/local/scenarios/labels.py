"""Names of providers, sources and outcomes, as the scenarios use them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from checkpoint_worker.tasks.catalogue import pair

LINKEDIN: Final = "LINKEDIN"
INSTAGRAM: Final = "INSTAGRAM"
TWITTER: Final = "TWITTER"
MESSENGER: Final = "MESSENGER"
SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    LINKEDIN: ("EMAIL", "SMS", "APP"),
    INSTAGRAM: ("SMS", "APP", "BACKUP", "EMAIL"),
    TWITTER: ("EMAIL", "SMS", "APP", "BACKUP"),
    MESSENGER: ("SMS", "APP", "BACKUP"),
}
"""The sources of each provider's codes; a scenario uses the first one by default."""

CREATED: Final = "201 AccountCreated"
RECONNECTED: Final = "201 AccountReconnected"
NEXT: Final = "202 Checkpoint"


def error(status: int, type_: str) -> str:
    """Return the label of an error in the catalogue; any other error is a bug in a scenario."""
    return f"{status} {pair(status, type_).type}"


REJECTED: Final = error(401, "invalid_checkpoint_solution")
CANCELED: Final = error(409, "operation_canceled")
KILLED: Final = error(500, "authentication_intent_error")
UNKNOWN: Final = error(403, "unknown_authentication_context")
PROVIDER_SILENT: Final = error(408, "request_timeout")
OUT_OF_TIME: Final = error(504, "request_timeout")
INVALID: Final = error(400, "invalid_parameters")
TOO_LONG: Final = error(400, "too_many_characters")
MISMATCH: Final = error(403, "account_mismatch")
ACTION: Final = error(403, "action_required")
EXISTS: Final = error(409, "already_exists")
PROXY_AUTH: Final = error(407, "proxy_auth_error")
NO_SESSION: Final = error(503, "no_client_session")
