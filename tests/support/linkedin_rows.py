"""LINKEDIN: every answer that is known, what it becomes and where it is known from."""

from __future__ import annotations

from typing import Final

from tests.support.known import (
    ACTION,
    BLOCKED,
    BROKEN,
    DEAD,
    FURTHER,
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
    _row("plain", "303 to `/feed/` with `li_at`", "session", "client", PASSED),
    _row("cookies emptied", "the same behind 150 `Set-Cookie` lines that empty cookies", "session",
         "report", PASSED),
    _row("cookies in plenty", "the same with 250 further cookies", "session", "guess", PASSED),
    _row("session beside an error", "500 with `li_at`", "session", "guess", PASSED),
    _row("session beside a refusal", "the form again, with `li_at`", "session", "guess", PASSED),
    _row("session and a far address", "302 to `https://www.linkedin.com/feed/` with `li_at`",
         "session", "client", PASSED),
    _row("session and another host", "302 to a country's host with `li_at`", "session", "guess",
         PASSED),
    _row("session and a page of ours", "200 page with `li_at`", "session", "client", PASSED),
    _row("old domain cleared", "`li_at`, and `li_at=delete me` for another domain", "session",
         "guess", PASSED),
    _row("session without a token", "`li_at`, and `JSESSIONID` emptied", "session", "guess", PASSED,
         note="the form's `csrfToken` is used"),
    # Whose it is.
    _row("owner away at first", "`me`: 503, 429, a page, then the member", "owner", "client",
         PASSED),
    _row("owner refused at first", "`me`: 401, 403, then the member", "owner", "guess", PASSED),
    _row("owner in two parts", "`me` normalised: `data` and `included`", "owner", "client", PASSED),
    _row("owner without a name", "`me` with `plainId` alone", "owner", "guess", PASSED,
         note="no public identifier"),
    _row("owner revokes", "`me`: 303 with `li_at=delete me`", "owner", "report", BROKEN,
         note="the detail names user agent and cookies"),
    _row("owner never told", "`me`: 403 again and again", "owner", "client", BROKEN),
    _row("nobody", "`me` without a member's number", "owner", "guess", BROKEN),
    _row("revoked", '303 to `/feed/` with `li_at="delete me"`', "session", "client", BROKEN,
         in_doubt=True),
    # A further step that takes a code.
    _row("chained", "the form of another step, its error block hidden", "code form", "client",
         FURTHER),
    _row("session before a step", "303 to a challenge with `li_at`, which `me` does not take",
         "code form", "guess", FURTHER),
    _row("renamed form", "a form without an id; the input's id is known", "code form", "client",
         FURTHER, note="2FA, APP"),
    _row("form told by its page", "a form without ids; `pageInstance` names the page", "code form",
         "client", FURTHER),
    _row("notice above the next form", "a notice in `role=alert` above the form of another step",
         "code form", "guess", FURTHER),
    _row("emptied error", "an error block, a captcha key and an identity link, all empty",
         "code form", "client", FURTHER),
    _row("empty error key", "303 to a challenge with `errorKey=`", "code form", "guess", FURTHER),
    # A refused code.
    _wrong("plain", "the form again, its error shown", "code form", "client"),
    _wrong("refused in a toast", "the form again, the error in a toast", "code form", "client"),
    _wrong("refused in a dialog", "a new `challengeId`, the error in a dialog, German", "code form",
           "guess"),
    _wrong("refused by the input", "a new `challengeId`, the input `aria-invalid`", "code form",
           "guess"),
    _wrong("refused without a form", "the sentence alone", "refused", "client"),
    _wrong("refused in Spanish", "the sentence alone, Spanish", "refused", "guess"),
    _wrong("refused in Japanese", "the sentence alone, Japanese", "refused", "guess"),
    _wrong("refused in JSON", "400 JSON with the sentence as its message", "refused", "guess"),
    _wrong("refused with 400", "400 with the form again, German", "code form", "guess"),
    _wrong("refused beside another way", "the error shown beside a link to prove the identity",
           "code form", "report"),
    _wrong("refused behind a redirect", "303 to the challenge with an `errorKey`", "code form",
           "guess"),
    _wrong("captcha in the form", "the form again with a captcha's key in it", "captcha", "client",
           ACTION),
    # Screens that clients know.
    _row("captcha", "`captchaSiteKey` with a value", "captcha", "client", ACTION),
    _row("captcha frame", "a frame of the captcha's maker", "captcha", "client", ACTION),
    _row("captcha in French", "the heading alone, French", "captcha", "client", ACTION),
    _row("captcha in Russian", "the heading alone, Russian", "captcha", "client", ACTION),
    _row("captcha of old", "303 to `/uas/consumer-captcha-v2` on a country's host", "captcha",
         "client", ACTION),
    _row("approval", "`data-test-id=auth-app-approval`", "approval", "client", ACTION),
    _row("app approval", "the heading's class alone, German", "approval", "client", ACTION),
    _row("approval_redirect", "303 to `/checkpoint/challengesV2/…`", "approval", "client", ACTION),
    _row("password", "the sentence", "password", "client", ACTION),
    _row("new password form", "an input for a new password", "password", "guess", ACTION),
    _row("password in Spanish", "the heading alone, Spanish", "password", "guess", ACTION),
    _row("password address", "303 to `https://www.linkedin.com/checkpoint/rp/…`", "password",
         "client", ACTION),
    _row("identity", "`form[name=ATOPinChallengeForm]`", "identity", "client", ACTION),
    _row("identity link", "`#idverifyUrl` with an address", "identity", "client", ACTION),
    _row("identity in Turkish", "the heading alone, Turkish", "identity", "guess", ACTION),
    _row("email challenge of old", "303 to `/uas/consumer-email-challenge`", "identity", "client",
         ACTION),
    _row("phone number", "`form#register-phone-challenge`", "phone", "client", ACTION),
    _row("terms", "the button to agree", "consent", "client", ACTION),
    _row("terms address", "303 to `/legal/…`", "consent", "guess", ACTION),
    _row("passkey", "a passkey's form", "passkey", "guess", ACTION),
    # Unknown screens.
    _doubt("unknown", "a form without a code", "unknown step", "guess", ACTION),
    _doubt("unknown form", "the same, German", "unknown step", "guess", ACTION),
    _doubt("unknown address", "303 to another page of the checkpoint", "unknown step", "guess",
           ACTION),
    _doubt("unknown host", "303 to a host of others", "unknown step", "guess", ACTION),
    _doubt("unknown JSON", "200 JSON", "unreadable", "guess", BROKEN),
    _doubt("feed without a session", "303 to `/feed/`, no `li_at`", "unreadable", "guess", BROKEN),
    # The login has ended.
    _row("challenge_expired", "303 to `/uas/login`", "login page", "client", DEAD),
    _row("login in French", "303 to `/login/fr`", "login page", "client", DEAD),
    _row("login wall", "302 to `/signup/cold-join`", "login page", "client", DEAD),
    _row("saved accounts", "`#rememberme-div`", "login page", "client", DEAD),
    _row("login of another front end", "303 to `/flagship-web/login/?errorKey=…`", "failed login",
         "client", DEAD),
    _row("restricted", "`#pagekey-uas-account-restricted`", "restricted", "client", LOCKED),
    _row("restricted in German", "the heading alone, German", "restricted", "guess", LOCKED),
    _row("restricted in Portuguese", "the heading alone, Portuguese", "restricted", "guess",
         LOCKED),
    # What the operator has to mend.
    _row("old browser", "303 to `/error_pages/unsupported-browser.html`", "old client", "guess",
         BROKEN, note="the detail names the client"),
    _row("browser in German", "the heading alone, German", "old client", "guess", BROKEN),
    _row("cookies off", "a page that asks for cookies", "old client", "guess", BROKEN),
    _row("access denied", "a page that says so", "access denied", "client", BLOCKED),
    _row("too many", "a page that asks to wait", "too many", "client", BROKEN),
    _row("blocked", "999", "status", "client", BLOCKED),
    _row("throttled", "429", "status", "client", BROKEN, note="the detail says how long to wait"),
    _row("failing", "303 with `errorKey=unexpected_error`", "internal error", "client", BROKEN),
    # Statuses.
    _row("forbidden", "403, empty", "status", "guess", BLOCKED),
    _row("forbidden token", "403 `CSRF check failed.`", "csrf", "guess", MISMATCH),
    _doubt("unauthorised", "401, empty", "status", "guess", BROKEN),
    _row("bad request", "400, a page", "status", "guess", MALFORMED),
    _row("for legal reasons", "451", "status", "guess", BLOCKED),
)  # fmt: skip

RULES: Final = frozenset(
    {"session", "owner", "code form", "unknown step", "unreadable", "status", "csrf"}
)
"""Answers that a rule of the adapter recognises, not a row of its tables."""
