"""MESSENGER: every answer that is known, what it becomes and where it is known from."""

from __future__ import annotations

from typing import Final

from tests.support.known import (
    ACTION,
    AWAY,
    BLOCKED,
    BROKEN,
    DEAD,
    FORBIDDEN,
    LOCKED,
    MALFORMED,
    MISMATCH,
    PASSED,
    REFUSED,
    Row,
)


def _row(scene: str, says: str, told_by: str, known: str, becomes: str, **more: object) -> Row:
    return Row(scene=scene, says=says, told_by=told_by, known=known, becomes=becomes, **more)  # type: ignore[arg-type]


def _wrong(scene: str, says: str, told_by: str, known: str, becomes: str = REFUSED) -> Row:
    return _row(scene, says, told_by, known, becomes, wrong=True)


def _doubt(scene: str, says: str, told_by: str, known: str, becomes: str) -> Row:
    return _row(scene, says, told_by, known, becomes, in_doubt=True)


ROWS: Final = (
    # A finished login.
    _row("plain", "200 JSON with `access_token` and `session_cookies`", "session", "client",
         PASSED),
    _row("cookies emptied", "the same behind 150 `Set-Cookie` lines that empty cookies", "session",
         "guess", PASSED),
    _row("session beside an error", "the same under 500", "session", "guess", PASSED),
    _row("session beside a refusal", "the same with error 401 beside it", "session", "guess",
         PASSED),
    _row("session beside an empty error", "the same with `error` and `errors` that say nothing",
         "session", "client", PASSED),
    _row("session behind a guard", "the same behind `for (;;);`", "session", "client", PASSED),
    _row("session in cookies", "302 to `/home.php`, `c_user` and `xs` in `Set-Cookie`", "session",
         "client", PASSED),
    _row("session and another host", "302 elsewhere, `c_user` and `xs` in `Set-Cookie`", "session",
         "guess", PASSED),
    _row("session without a token", "`session_cookies` and an emptied `access_token`", "session",
         "guess", PASSED),
    _row("cookies as text", "`session_cookies` as a text of JSON", "session", "guess", PASSED),
    _row("cookies of the newest app", "`httponly` null, `expires_timestamp`, `samesite`",
         "session", "client", PASSED),
    _row("old domain cleared", "`session_cookies`, and `xs=deleted` for another domain", "session",
         "guess", PASSED),
    _row("token alone", "`access_token`, no cookies: the token is turned into cookies", "session",
         "client", PASSED),
    _row("token alone, away at first", "the same; the request for cookies: 503, then cookies",
         "session", "guess", PASSED),
    _doubt("token alone, refused", "the same; the request for cookies: error 190", "session",
         "client", BROKEN),
    _doubt("no_session", "the same; no cookies are to be had", "session", "client", BROKEN),
    _doubt("revoked", "`xs` with a date in the past, and a token that brings none", "session",
           "client", BROKEN),
    _row("contradiction", "`uid` and `c_user` are two accounts", "owner", "guess", BROKEN),
    _row("somebody_else", "a session of another account", "owner", "guess",
         "403 account_mismatch", note="by the rule of every provider"),
    # A refused code.
    _wrong("plain", "error 401", "refused", "report"),
    _wrong("refused behind many headers", "error 401 behind 150 `Set-Cookie` lines", "refused",
           "guess"),
    _wrong("rotating", "error 406 with a new first factor", "refused, asked anew", "client"),
    _wrong("security check with a factor", "error 405/1348023 with a first factor",
           "refused, asked anew", "client"),
    _wrong("factor under other names", "error 406/1348199, the factor as `first_factor_id`",
           "refused, asked anew", "client"),
    _wrong("factor of another number", "error 1/1348162, `error_data` as a text",
           "refused, asked anew", "client"),
    _wrong("refused with a strange factor", "error 406, the factor too long to keep",
           "refused, asked anew", "guess"),
    _wrong("refused in a list", "a list `errors`, 401 as text", "refused", "client"),
    _wrong("refused in a dialog", "an unknown number; title and sentence in `error_data`",
           "refused in words", "report"),
    _wrong("refused in Vietnamese", "error 100 with a title", "refused in words", "guess"),
    _wrong("refused in German", "error 1 with a message", "refused in words", "guess"),
    _wrong("refused in Arabic", "an unknown number with a message", "refused in words", "guess"),
    # Steps that clients know.
    _row("approval", "error 406 without a first factor", "approval", "client", ACTION),
    _row("emptied factor", "error 406/1348162, the first factor empty", "approval", "guess",
         ACTION),
    _row("verify", "error 405", "verify on site", "report", ACTION),
    _row("security check, other number", "error 405/1348023, Vietnamese", "verify on site",
         "report", ACTION),
    _row("security check", "error 368 that asks for a security check", "security check", "report",
         ACTION),
    _row("security check in Vietnamese", "the same, Vietnamese", "security check", "guess",
         ACTION),
    _row("security check by its address", "error 368, an address of the checkpoint in `error_data`",
         "checkpoint address", "guess", ACTION),
    _row("confirmation in French", "an unknown number that asks to confirm the identity",
         "security check", "guess", ACTION),
    _row("checkpoint_words", "an unknown number whose title names a checkpoint", "security check",
         "client", ACTION),
    _row("checkpoint", "subcode 459", "stopped", "client", ACTION),
    _row("unconfirmed", "subcode 490", "stopped", "client", ACTION),
    _row("email not confirmed", "subcode 464", "stopped", "client", ACTION),
    _row("stopped", "subcode 1348131 (or 1348077), at which clients give up", "stopped", "client",
         ACTION),
    _row("integrity", "`x-fb-integrity-required: checkpoint`", "integrity", "client", ACTION),
    _row("integrity of another word", "the same header with another word", "integrity", "guess",
         ACTION),
    _row("checkpoint address", "302 to `/login/checkpoint_interstitial/`", "checkpoint", "report",
         ACTION),
    _row("consent address", "302 to `/privacy/consent/…`", "consent", "client", ACTION),
    _row("second step on the site", "302 to `/two_step_verification/…`", "checkpoint", "client",
         ACTION),
    _row("session before a checkpoint", "302 to `/checkpoint/` with `c_user` and `xs`",
         "checkpoint", "client", ACTION, note="a named step holds"),
    # Unknown steps and unreadable answers.
    _doubt("unknown", "an unknown number with a message for the person", "unknown step", "client",
           ACTION),
    _doubt("unknown in German", "the same, German", "unknown step", "guess", ACTION),
    _doubt("unknown number", "an unknown number without one", "unreadable", "guess", BROKEN),
    _doubt("home without a session", "302 to `/home.php`, no cookies", "unreadable", "guess",
           BROKEN),
    _doubt("unknown host", "302 elsewhere", "unreadable", "guess", BROKEN),
    _doubt("page", "200, a page", "unreadable", "guess", BROKEN),
    _doubt("forbidden page", "403, a page", "unreadable", "guess", BROKEN),
    _doubt("unauthorised", "401, empty", "unreadable", "guess", BROKEN),
    _doubt("list", "200, a JSON list", "unreadable", "guess", BROKEN),
    _row("failing", "error 2 under 500", "transient", "guess", BROKEN),
    _row("legacy error of its own", "legacy error 1", "transient", "guess", BROKEN),
    _row("unavailable", "503, a page", "status", "guess", AWAY),
    # The login has ended.
    _row("expired_factor", "subcode 463", "factor over", "guess", DEAD),
    _row("password_changed", "subcode 460", "new password", "guess", DEAD),
    _row("unknown_identifier", "error 400", "unknown login", "client", DEAD),
    _row("session expired in Vietnamese", "a message that the session has expired",
         "session expired", "guess", DEAD),
    _row("disabled", "a title that the account is disabled", "disabled", "client", LOCKED),
    _row("disabled in German", "the same, German", "disabled", "guess", LOCKED),
    _row("locked", "a message that the account is locked", "disabled", "client", LOCKED),
    _row("blocked", "error 368, temporarily blocked", "blocked for a while", "report", LOCKED),
    _row("blocked in Vietnamese", "the same, Vietnamese", "blocked for a while", "guess", LOCKED),
    _row("suspended", "302 to `/accounts/suspended/`", "suspended", "client", LOCKED),
    _row("disabled address", "302 to `/disabled/`", "suspended", "guess", LOCKED),
    # What the operator has to mend.
    _row("abuse", "error 368, anything else", "abuse", "client", BROKEN),
    _row("throttled", "error 613 (or 4, 17, 32, 341, 3252001), or 429", "throttling", "client",
         BROKEN, note="the detail says how long to wait"),
    _row("busy", "error 4", "throttling", "client", BROKEN),
    _row("old app", "a message to update the app", "old app", "guess", BROKEN,
         note="the detail names the app"),
    _row("old interface", "error 2635", "old app", "guess", BROKEN),
    _row("old app, address", "302 to an address for unsupported apps", "old app", "guess", BROKEN),
    _row("bad_token", "error 190", "app token", "client", MISMATCH),
    _row("bad session key", "error 102", "session key", "client", MISMATCH),
    _row("bad network", "error 5", "network address", "client", BLOCKED),
    _row("too many codes", "error 401 or an unknown one with a sentence that asks to wait",
         "too many wrong codes", "guess", BROKEN),
    _row("too many codes, a factor", "the same with error 406 and a new first factor",
         "too many wrong codes", "guess", BROKEN, note="the factor is kept"),
    _row("problem in place of a refusal", "error 401 with a sentence about a problem there",
         "problem", "guess", BROKEN),
    _row("bad signature", "error 104", "form or signature", "report", MALFORMED),
    _row("bad key", "error 101", "form or signature", "guess", MALFORMED),
    _row("no permission", "error 10 (or 200 to 299)", "permission", "guess", FORBIDDEN),
    _doubt("feature off", "a message that a feature is disabled", "unreadable", "guess", BROKEN),
)  # fmt: skip

RULES: Final = frozenset(
    {"session", "owner", "integrity", "unknown step", "unreadable", "transient", "throttling",
     "status"}
)  # fmt: skip
"""Answers that a rule of the adapter recognises, not a row of its tables."""
