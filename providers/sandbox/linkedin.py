"""LINKEDIN as it answers: HTML forms, quoted session cookies, redirects as errors.

Strict where a real client must be right: the token fits the cookie, the hidden inputs are
those of the last page, the challenge cookie is the last one set.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

from aiohttp import web

from providers.sandbox.simulator import Login, Seen, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from providers.sandbox.world import Account, Source, World

TRIES_MAX = 4  # Wrong codes until the challenge ends.
CHALLENGE_TTL_S = 900.0
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

_FAILED = "/checkpoint/lg/login?errorKey=challenge_global_internal_error"
_REQUIRED = frozenset(
    {"csrfToken", "challengeId", "requestSubmissionId", "challengeType", "challengeData", "pin"},
)

# Form id, id of the code's input and id of the error block, by source.
_EMAIL_FORM = ("email-pin-challenge", "input__email_verification_pin", "email-pin-error")
_PHONE_FORM = ("two-step-challenge", "input__phone_verification_pin", "phone-pin-error")
_LEADS = {
    "EMAIL": "Enter the code we sent to your email address.",
    "SMS": "Enter the code we sent to your phone by text message.",
    "APP": "Enter the code you see in your authenticator app.",
}
_ERRORS = {
    "wrong": "The verification code you entered isn't valid. Please check the code and try again.",
    "expired": "The verification code you entered has expired. Please request a new one.",
}

# What the provider says after the right code, instead of a session: status, page or address.
_PAGES = {
    "restricted": '<main id="pagekey-uas-account-restricted"><h1>Your account is restricted</h1>',
    "captcha": '<h1>Let\'s do a quick security check</h1><form id="captcha-challenge" '
    'action="/checkpoint/challenge/verify"><input type="hidden" name="captchaSiteKey" value="k">'
    '<input type="hidden" name="captchaUserResponseToken" value=""></form>',
    "approval": '<h1 data-test-id="auth-app-approval">Check your LinkedIn app</h1>',
    "password": "<h1>Please choose a more secure password</h1>",
    "identity": '<h1>Verify your identity</h1><form name="ATOPinChallengeForm">'
    '<input type="hidden" name="csrfToken" value="t"><input name="pin"></form>',
    "unknown": '<h1>One more thing</h1><form id="tell-us-more"><input name="answer"></form>',
}
_ADDRESSES = {
    "challenge_expired": "/uas/login",
    "failing": "/checkpoint/lg/login?errorKey=unexpected_error",
    "approval_redirect": "/checkpoint/challengesV2/AQFapproval",
}
_STATUSES = {"throttled": 429, "blocked": 999}


@dataclass(slots=True, kw_only=True)
class _Challenge:
    """One challenge page: what it last told the client, and what it must hear back."""

    account: Account
    source: Source
    session: str
    """Value of ``JSESSIONID`` without its quotes; the form's ``csrfToken``."""
    born: float
    id: str = field(default_factory=lambda: "Ag" + secrets.token_urlsafe(24))
    token: str = field(default_factory=lambda: "AQ" + secrets.token_urlsafe(18))
    submission: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    tries: int = 0
    step: int = 1
    over: bool = False

    @property
    def form(self) -> tuple[str, str, str]:
        return _EMAIL_FORM if self.source == "EMAIL" else _PHONE_FORM

    @property
    def path(self) -> str:
        return f"/checkpoint/challenge/{self.token}?ut=0{self.token[2:8]}"

    def turn(self) -> None:
        """Make the next page: what belonged to the last one is stale."""
        self.submission = secrets.token_urlsafe(24)
        self.cookie = secrets.token_urlsafe(12)

    def fields(self, now: float) -> dict[str, str]:
        """The twelve hidden inputs, in page order."""
        return {
            "csrfToken": self.session,
            "pageInstance": f"urn:li:page:d_checkpoint_ch_{self.form[0]};{self.submission[:16]}==",
            "resendUrl": "/checkpoint/challenge/resend",
            "challengeId": self.id,
            "displayTime": str(int(now * 1000)),
            "challengeSource": "CONSUMER_LOGIN",
            "requestSubmissionId": self.submission,
            "challengeType": f"AQ{self.form[0]}&co.",
            "challengeData": f"data+{self.token}/=",
            "challengeDetails": f"details {self.token}",
            "failureRedirectUri": _FAILED,
            "flowTreeId": secrets.token_urlsafe(12),
        }


class LinkedInSimulator(Simulator):
    """The provider LINKEDIN."""

    provider: ClassVar[str] = "LINKEDIN"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"plain", "chained", "nobody", "revoked", *_PAGES, *_ADDRESSES, *_STATUSES},
    )
    sources: ClassVar[frozenset[Source]] = frozenset({"EMAIL", "SMS", "APP"})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._challenges: dict[str, _Challenge] = {}  # By challengeId.
        self._sessions: dict[str, tuple[Account, str]] = {}  # By li_at; with its JSESSIONID.

    def begin_login(self, account: Account) -> Login:
        """See `Simulator.begin_login`."""
        challenge = self._challenge(account, _new_session())
        cookies = {**_first_cookies(challenge.session), "chp_token": challenge.cookie}
        return Login(
            account=account.id,
            provider=self.provider,
            checkpoint={
                "type": "OTP" if challenge.source == "EMAIL" else "2FA",
                "source": challenge.source,
            },
            context={
                "route": "http",
                "user_agent": USER_AGENT,
                "cookies": [
                    {"name": name, "value": value, "domain": "www.linkedin.com", "path": "/"}
                    for name, value in cookies.items()
                ],
                "action": "/checkpoint/challenge/verify",
                "form_id": challenge.form[0],
                "referer": challenge.path,
                "fields": challenge.fields(self.world.now()),
                "recognized_device": challenge.form is _PHONE_FORM,
            },
            user_id=account.user_id,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        """See `Simulator.routes`."""
        return (
            web.get("/login", self._login_page),
            web.get("/uas/login", self._login_page),
            web.get("/checkpoint/lg/login", self._login_page),
            web.post("/checkpoint/lg/login-submit", self._login),
            web.get("/uas/authenticate", self._login_page),
            web.post("/uas/authenticate", self._authenticate),
            web.get("/checkpoint/challenge/{token}", self._challenge_page),
            web.post("/checkpoint/challenge/verify", self._verify),
            web.get("/feed/", self._feed),
            web.get("/voyager/api/me", self._me),
        )

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        if request.path == "/checkpoint/challenge/verify":
            form = _parse(body)
            challenge = self._challenges.get(form.get("challengeId", ""))
            if "pin" in form:
                return Seen(account=challenge.account if challenge else None, code=form["pin"])
        held = self._sessions.get(_cookies(request).get("li_at", ""))
        return Seen(account=held[0]) if held is not None else None

    # The first step --------------------------------------------------------------------

    def _challenge(self, account: Account, session: str) -> _Challenge:
        challenge = _Challenge(
            account=account, source=account.source, session=session, born=self.world.now()
        )
        self._challenges[challenge.id] = challenge
        account.deliver()
        return challenge

    async def _login_page(self, request: web.Request) -> web.Response:
        session = _new_session()
        response = _page(
            '<h1>Sign in</h1><form class="login__form" action="/checkpoint/lg/login-submit" '
            f'method="post"><input type="hidden" name="csrfToken" value="{escape(session)}">'
            f'<input type="hidden" name="loginCsrfParam" value="{secrets.token_hex(16)}">'
            '<input name="session_key"><input type="password" name="session_password"></form>',
        )
        for name, value in _first_cookies(session).items():
            _set_cookie(request, response, name, value)
        return response

    def _sign_in(self, form: dict[str, str]) -> tuple[Account | None, str]:
        account = self.world.find(self.provider, form.get("session_key", ""))
        if account is None:
            return None, "BAD_EMAIL"
        if not secrets.compare_digest(
            account.password.encode(), form.get("session_password", "").encode()
        ):
            return None, "BAD_PASSWORD"
        return account, "CHALLENGE"

    async def _login(self, request: web.Request) -> web.Response:
        account, _result = self._sign_in(_parse(await request.read()))
        if account is None:
            return _page('<div role="alert">Wrong email or password. Try again.</div>')
        challenge = self._challenge(account, _session_of(request))
        response = _see_other(challenge.path)
        _set_cookie(request, response, "chp_token", challenge.cookie)
        return response

    async def _authenticate(self, request: web.Request) -> web.Response:
        account, result = self._sign_in(_parse(await request.read()))
        if account is None:
            return web.json_response({"login_result": result}, status=401)
        challenge = self._challenge(account, _session_of(request))
        address = f"{request.scheme}://{request.host}{challenge.path}"
        response = web.json_response({"login_result": result, "challenge_url": address})
        _set_cookie(request, response, "chp_token", challenge.cookie)
        return response

    async def _challenge_page(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        for challenge in self._challenges.values():
            if challenge.token == token and not challenge.over:
                return self._render(request, challenge)
        return _see_other("/uas/login")

    # The second step -------------------------------------------------------------------

    async def _verify(self, request: web.Request) -> web.Response:
        form, cookies = _parse(await request.read()), _cookies(request)
        if not form.keys() >= _REQUIRED:
            return web.Response(status=400, text="Bad Request")
        if form["csrfToken"] != cookies.get("JSESSIONID", "").strip('"'):
            return web.Response(status=403, text="CSRF check failed.")
        challenge = self._challenges.get(form["challengeId"])
        if challenge is None or challenge.over or self._is_expired(challenge):
            return _see_other("/uas/login")
        last_page = (challenge.submission, challenge.cookie)
        if (form["requestSubmissionId"], cookies.get("chp_token")) != last_page:
            return _see_other(_FAILED)
        return self._judge(request, challenge, form["pin"])

    def _judge(self, request: web.Request, challenge: _Challenge, pin: str) -> web.Response:
        account = challenge.account
        if account.disposition in _STATUSES:
            status = _STATUSES[account.disposition]
            return web.Response(status=status, headers={"Retry-After": "60"})
        judgement = account.judge(pin, challenge.source)
        if judgement == "right":
            return self._pass(request, challenge)
        challenge.tries += 1
        challenge.turn()
        if challenge.tries >= TRIES_MAX:
            challenge.over = True
            return _see_other(_FAILED)
        return self._render(request, challenge, error=_ERRORS[judgement])

    def _is_expired(self, challenge: _Challenge) -> bool:
        return self.world.now() > challenge.born + CHALLENGE_TTL_S

    def _pass(self, request: web.Request, challenge: _Challenge) -> web.Response:
        kind = challenge.account.disposition
        if kind == "chained" and challenge.step == 1:
            return self._next_step(request, challenge)
        challenge.over = True
        if kind in _PAGES:
            return _page(_PAGES[kind])
        if kind in _ADDRESSES:
            return _see_other(_ADDRESSES[kind])
        response = _see_other("/feed/")
        if kind == "revoked":
            _set_cookie(request, response, "li_at", '"delete me"', more="; Max-Age=0")
            return response
        li_at, session = "AQEDAR" + secrets.token_urlsafe(48), _new_session()
        self._sessions[li_at] = (challenge.account, session)
        _set_cookie(request, response, "li_at", li_at, more="; Max-Age=31536000; HttpOnly")
        _set_cookie(request, response, "JSESSIONID", f'"{session}"')
        _set_cookie(request, response, "chp_token", "", more="; Max-Age=0")
        return response

    def _next_step(self, request: web.Request, challenge: _Challenge) -> web.Response:
        """Ask for one more code: by phone after one by email, by email after any other."""
        challenge.over = True
        source: Source = "SMS" if challenge.source == "EMAIL" else "EMAIL"
        following = _Challenge(
            account=challenge.account,
            source=source,
            session=challenge.session,
            born=self.world.now(),
            step=challenge.step + 1,
        )
        self._challenges[following.id] = following
        challenge.account.deliver(source)
        return self._render(request, following)

    def _render(
        self, request: web.Request, challenge: _Challenge, *, error: str = ""
    ) -> web.Response:
        form_id, input_id, error_id = challenge.form
        hidden = "\n".join(
            f'<input type="hidden" name="{name}" value="{escape(value)}">'
            for name, value in challenge.fields(self.world.now()).items()
        )
        remember = '<input type="checkbox" name="recognizedDevice" checked>'
        response = _page(
            f"<h1>Let's do a quick verification</h1><p>{_LEADS[challenge.source]}</p>"
            f'<form id="{form_id}" action="/checkpoint/challenge/verify" method="post">\n{hidden}\n'
            f'<input id="{input_id}" name="pin" maxlength="6" pattern="[0-9]*">'
            f'<div id="{error_id}" class="form__error{"" if error else " hidden__imp"}" '
            f'role="alert">{escape(error or _ERRORS["wrong"])}</div>'
            f"{remember if challenge.form is _PHONE_FORM else ''}"
            "<button>Submit</button></form>",
        )
        _set_cookie(request, response, "lidc", f'"b=VB{secrets.randbelow(99)}:s=V"')
        _set_cookie(request, response, "chp_token", challenge.cookie)
        return response

    # Afterwards ------------------------------------------------------------------------

    async def _feed(self, request: web.Request) -> web.Response:
        if _cookies(request).get("li_at") in self._sessions:
            return _page("<h1>Feed</h1>")
        return _see_other("/uas/login")

    async def _me(self, request: web.Request) -> web.Response:
        cookies = _cookies(request)
        account, session = self._sessions.get(cookies.get("li_at", ""), (None, ""))
        if account is None:
            return web.Response(status=401)
        token = request.headers.get("csrf-token")
        if not token == session == cookies.get("JSESSIONID", "").strip('"'):
            return web.Response(status=403, text="CSRF check failed.")
        profile = {
            "firstName": "Person",
            "publicIdentifier": account.handle,
            "entityUrn": f"urn:li:fs_miniProfile:ACoAA{account.user_id}",
        }
        if account.disposition == "nobody":
            return web.json_response({"miniProfile": profile})
        profile["objectUrn"] = f"urn:li:member:{account.user_id}"
        return web.json_response({"plainId": int(account.user_id), "miniProfile": profile})


SIMULATOR = LinkedInSimulator


# The wire's small change ---------------------------------------------------------------


def _new_session() -> str:
    return f"ajax:{secrets.randbelow(10**19):019}"


def _first_cookies(session: str) -> dict[str, str]:
    return {
        "JSESSIONID": f'"{session}"',
        "bcookie": f'"v=2&{secrets.token_hex(16)}"',
        "bscookie": f'"v=1&{secrets.token_hex(16)}"',
        "lidc": '"b=VB01:s=V:r=V"',
        "li_gc": secrets.token_urlsafe(24),
        "lang": "v=2&lang=en-us",
    }


def _session_of(request: web.Request) -> str:
    return _cookies(request).get("JSESSIONID", "").strip('"') or _new_session()


def _parse(body: bytes) -> dict[str, str]:
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in form.items()}


def _cookies(request: web.Request) -> dict[str, str]:
    """Cookies as they stand: libraries take the quotes off, which belong to the value."""
    pairs = (part.strip().partition("=") for part in request.headers.get("Cookie", "").split(";"))
    return {name: value for name, _, value in pairs if name}


def _set_cookie(
    request: web.Request, response: web.Response, name: str, value: str, *, more: str = ""
) -> None:
    """Set a cookie, quotes kept. The real domain only where a client would accept it."""
    host = request.host.partition(":")[0]
    domain = "; Domain=.www.linkedin.com" if host.endswith("linkedin.com") else ""
    secure = "; Secure" if request.secure else ""
    response.headers.add("Set-Cookie", f"{name}={value}; Path=/{domain}{secure}{more}")


def _page(body: str) -> web.Response:
    text = f'<!DOCTYPE html><html lang="en"><head><title>-</title></head><body>{body}</body></html>'
    return web.Response(text=text, content_type="text/html")


def _see_other(address: str) -> web.Response:
    return web.Response(status=303, headers={"Location": address})
