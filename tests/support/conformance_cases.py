"""The routes that the conformance suite tests: each adapter's routes and its provider's answers.

An `AdapterRoute` is one adapter over one route: how a login begins in the sandbox, and a table
from a case to the catalogue pair with which the adapter must settle it. `test_conformance` holds
the cases of the transport, which are the same for every adapter; an `AdapterRoute` has only the
pairs that differ for its provider.

A new adapter is tested by adding its routes to `ADAPTER_ROUTES`; without them the suite fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.support.canned_server import answer

PASSED: Final = "201 AccountCreated"
REFUSED: Final = "401 invalid_checkpoint_solution"
FURTHER: Final = "202 Checkpoint"
ACTION: Final = "403 action_required"
BLOCKED: Final = "403 resource_access_restricted"
BROKEN: Final = "500 provider_error"
DEAD: Final = "500 authentication_intent_error"
LOCKED: Final = "403 account_restricted"
MALFORMED: Final = "400 malformed_request"
MISMATCH: Final = "403 session_mismatch"
PAID: Final = "403 subscription_required"
UNKNOWN: Final = "403 unknown_authentication_context"
AWAY: Final = "503 service_unavailable"

JSON_TYPE: Final = "Content-Type: application/json"

Said = tuple[str | bytes, str]
"""The provider's answer (a kind of the sandbox, or the bytes of an answer), and its pair."""

CASES: Final = (
    "success", "wrong", "expired", "used", "throttled", "restricted", "further step", "action",
    "unknown step", "dead", "malformed", "mismatch", "no user id",
)  # fmt: skip
"""Cases for which every route has an answer; a route may have more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRoute:
    """One adapter over one route.

    Attributes:
        provider: Name of the provider, as ``LINKEDIN``.
        routes: The names of the route, all of one context model.
        source: Source of the login's code.
        kind: The sandbox's kind of account whose login takes this route.
        copies: Number of occurrences of the code in the one request that carries it.
        said: Maps a case to the provider's answer and its pair. ``wrong``, ``expired`` and
            ``used`` are about the code: the kind describes the account.
        differs: Maps the cases of the transport that end otherwise for this provider to their
            pair.
        sends: Whether the route sends any request. If not, no server sees an attempt, and each
            case ends in `ACTION`.
    """

    provider: str
    routes: frozenset[str]
    source: str
    said: Mapping[str, Said] = field(repr=False)
    kind: str = "plain"
    copies: int = 1
    differs: Mapping[str, str] = field(default_factory=dict, repr=False)
    sends: bool = True

    def __str__(self) -> str:
        return f"{self.provider}-{max(self.routes, key=len)}"


def _json(status: int, body: object) -> bytes:
    return answer(status, json.dumps(body), JSON_TYPE)


def _instagram(
    routes: str, kind: str, source: str, said: Mapping[str, Said], **more: object
) -> AdapterRoute:
    """Lay out a tested route of INSTAGRAM: its routes answer in one vocabulary."""
    common: dict[str, Said] = {
        "success": (kind, PASSED),
        "wrong": (kind, REFUSED),
        "expired": (kind, REFUSED),
        "used": (kind, REFUSED),
        "throttled": ("throttled", BROKEN),
        "rate limited": ("rate_limited", BROKEN),
        "restricted": ("restricted", LOCKED),
        "suspended": ("suspended", LOCKED),
        "further step": ("chained", FURTHER),
        "action": ("captcha", ACTION),
        "consent": ("consent", ACTION),
        "unknown step": ("unknown", ACTION),
        "dead": ("challenge_expired", DEAD),
        "logged out": ("logged_out", DEAD),
        "spam": ("spam", BLOCKED),
        "address refused": ("address", BLOCKED),
        "malformed": (
            _json(400, {"message": "Invalid Parameters", "error_type": "invalid_parameters"}),
            MALFORMED,
        ),
        "mismatch": (answer(403, "<html>CSRF token missing or incorrect.</html>"), MISMATCH),
        "no user id": ("nobody", BROKEN),
        "no session": ("sessionless", BROKEN),
        "many cookies": ("crowded", PASSED),
        "start page": ("home_redirect", PASSED),
        "header alone": ("header_only", PASSED),
        "other body": ("guarded", PASSED),
        "bare body": ("bare", PASSED),
        "routing": ("routed", PASSED),
        "consent elsewhere": ("consent_redirect", ACTION),
        "phone": ("submit_phone", ACTION),
        "app's checkpoint": ("auth_platform_challenge", ACTION),
        "logged out there": ("logged_out_checkpoint", ACTION),
        "unknown page": ("unknown_redirect", ACTION),
        "login page": ("login_redirect", DEAD),
        "old app": ("old_version", BROKEN),
        "problem": ("problem", BROKEN),
        "network refused": ("ip_block", BLOCKED),
        "wrong in German": ("german", REFUSED),
    }
    return AdapterRoute(
        provider="INSTAGRAM",
        routes=frozenset(routes.split()),
        kind=kind,
        source=source,
        said={**common, **said},
        **more,  # type: ignore[arg-type]
    )


# A code that was used or has expired ends this login, because its identifier is dead.
_NONCE: Mapping[str, Said] = {"expired": ("", DEAD), "used": ("", DEAD)}
# A checkpoint that is over without a session: the login must start again.
_OVER: Mapping[str, Said] = {"no session": ("sessionless", DEAD)}
# Screens that a program leads to, and a code that is refused by a notice alone.
_PROGRAMS: Mapping[str, Said] = {
    "emptied error": ("emptied", ACTION),
    "passkey": ("passkey", ACTION),
    "which account": ("account_suggestion", ACTION),
    "unknown screen": ("new_screen", ACTION),
    "unknown program": ("new_program", BROKEN),
    "wrong by toast": ("toast", REFUSED),
    "wrong by dialog": ("dialog", REFUSED),
}
# The web's two-factor step takes no further checkpoint of the app, so no code can answer it here.
_NO_FURTHER: Mapping[str, Said] = {"further step": ("chained", ACTION)}

ADAPTER_ROUTES: Final = (
    AdapterRoute(
        provider="LINKEDIN",
        routes=frozenset({"http"}),
        source="EMAIL",
        said={
            "success": ("plain", PASSED),
            "wrong": ("plain", REFUSED),
            "expired": ("plain", REFUSED),
            "used": ("plain", REFUSED),
            "throttled": ("throttled", BROKEN),
            "restricted": ("restricted", LOCKED),
            "further step": ("chained", FURTHER),
            "action": ("captcha", ACTION),
            "approval": ("approval", ACTION),
            "approval elsewhere": ("approval_redirect", ACTION),
            "password": ("password", ACTION),
            "identity": ("identity", ACTION),
            "unknown step": ("unknown", ACTION),
            "dead": ("challenge_expired", DEAD),
            "blocked": ("blocked", BLOCKED),
            "failing": ("failing", BROKEN),
            "malformed": (answer(400, "<h1>Bad request</h1>"), MALFORMED),
            "mismatch": (answer(403, "CSRF check failed."), MISMATCH),
            "no user id": ("nobody", BROKEN),
            "revoked": ("revoked", BROKEN),
        },
        differs={"302 elsewhere": ACTION, "307 elsewhere": ACTION},
    ),
    _instagram("http two_factor", "plain", "SMS", {**_NONCE}),
    _instagram("challenge", "checkpoint", "EMAIL", {**_OVER}),
    _instagram("challenge_web", "checkpoint_web", "EMAIL", {**_OVER}),
    _instagram("bloks_two_factor", "bloks", "SMS", {**_PROGRAMS}),
    _instagram("bloks_auth_platform", "auth_platform", "EMAIL", {**_PROGRAMS}),
    _instagram("web", "web", "SMS", {"expired": ("", DEAD), **_NO_FURTHER}),
    AdapterRoute(
        provider="TWITTER",
        routes=frozenset({"http", "ocf"}),
        source="SMS",
        said={
            "success": ("plain", PASSED),
            "wrong": ("plain", REFUSED),
            "expired": ("plain", REFUSED),
            "used": ("plain", REFUSED),
            "further step": ("chained", FURTHER),
            "throttled": ("throttled", BROKEN),
            "limited": ("limited", BROKEN),
            "refused": ("refused", BROKEN),
            "restricted": ("suspended", LOCKED),
            "locked": ("locked", LOCKED),
            "action": ("captcha", ACTION),
            "choice": ("choose_method", ACTION),
            "unknown step": ("unknown", ACTION),
            "dead": ("flow_dead", DEAD),
            "guest expired": ("guest_expired", DEAD),
            "password reset": ("reset", ACTION),
            "client refused": ("client_refused", BLOCKED),
            "gate": ("blocked", BLOCKED),
            "plan": ("premium", PAID),
            "over capacity": ("over_capacity", AWAY),
            "failing": ("failing", BROKEN),
            "malformed": (
                _json(
                    400, {"errors": [{"code": 366, "message": "Required input 'X' not provided."}]}
                ),
                MALFORMED,
            ),
            "mismatch": ("csrf", MISMATCH),
            "no user id": ("nobody", BROKEN),
            "no session": ("sessionless", BROKEN),
            "wrong, in German": ("refused_german", REFUSED),
            "wrong, in Japanese": ("refused_japanese", REFUSED),
            "wrong, in Arabic": ("refused_arabic", REFUSED),
            "wrong, by a toast": ("refused_by_toast", REFUSED),
            "wrong, by a dialog": ("refused_by_dialog", REFUSED),
            "wrong, expired PIN": ("refused_expired", REFUSED),
            "session in a redirect": ("session_in_redirect", PASSED),
            "session in a redirect to the login": ("session_in_redirect_to_login", PASSED),
            "session in a page": ("session_in_page", PASSED),
            "session under 403": ("session_in_bare_403", PASSED),
            "session in an error": ("session_in_error", PASSED),
            "session in a failure": ("session_in_failure", PASSED),
            "session and a denial": ("session_in_denial", PASSED),
            "session and an unknown step": ("session_in_unknown", PASSED),
            "session and a captcha": ("session_and_captcha", ACTION),
            "session and another code": ("session_and_code", FURTHER),
            "session without a token": ("token_less", PASSED),
            "session with a token on demand": ("token_asked", PASSED),
            "session at the exit": ("exit", PASSED),
            "session before a forbidden question": ("check_forbidden", PASSED),
            "session behind a spinner": ("behind_notice", PASSED),
            "session among many cookies": ("many_cookies", PASSED),
            "session with more in its id": ("twid_with_more", PASSED),
            "session beside empty errors": ("empty_errors", PASSED),
            "403 alone": ("bare_403", BROKEN),
            "401 alone": ("bare_401", BROKEN),
            "404 alone": ("bare_404", BROKEN),
            "another 4xx": ("teapot", BROKEN),
            "new error under 403": ("unknown_forbidden", BROKEN),
            "399 with new words": ("retriable", BROKEN),
            "gate by a header": ("mitigated", BLOCKED),
            "back to the login": ("redirected_to_login", DEAD),
            "to the account's access": ("redirected_to_access", ACTION),
            "birthday": ("birthday", ACTION),
            "security key": ("security_key", ACTION),
            "nulls": ("unknown_null", ACTION),
            "login starts again": ("starts_again", DEAD),
        },
    ),
    AdapterRoute(
        provider="TWITTER",
        routes=frozenset({"jetfuel"}),
        kind="jetfuel",
        source="SMS",
        sends=False,  # Bound to the browser it began in.
        said=dict.fromkeys(CASES, ("jetfuel", ACTION)),
    ),
    AdapterRoute(
        provider="MESSENGER",
        routes=frozenset({"http", "auth_login"}),
        source="SMS",
        copies=2,  # The provider accepts the code in the password's field, too.
        said={
            "success": ("plain", PASSED),
            "wrong": ("plain", REFUSED),
            "wrong, asked anew": ("rotating", REFUSED),
            "expired": ("plain", REFUSED),
            "used": ("plain", REFUSED),
            "throttled": ("throttled", BROKEN),
            "busy": ("busy", BROKEN),
            "abuse": ("abuse", BROKEN),
            "restricted": ("disabled", LOCKED),
            "locked": ("locked", LOCKED),
            "temporarily blocked": ("blocked", LOCKED),
            "suspended": ("suspended", LOCKED),
            "further step": ("approval", ACTION),  # No further step of this route takes a code.
            "action": ("verify", ACTION),
            "checkpoint": ("checkpoint", ACTION),
            "unknown step": ("unknown", ACTION),
            "dead": ("expired_factor", DEAD),
            "password changed": ("password_changed", DEAD),
            "unknown identifier": ("unknown_identifier", DEAD),
            "malformed": (_json(400, {"error": {"code": 104, "message": "x"}}), MALFORMED),
            "mismatch": ("bad_token", MISMATCH),
            "failing": ("failing", BROKEN),
            "unavailable": ("unavailable", AWAY),
            "no user id": (_json(200, {"access_token": "EAAG"}), BROKEN),
            "no session": ("no_session", BROKEN),
            "contradiction": ("contradiction", BROKEN),
        },
    ),
)
