"""LINKEDIN as it answers: HTML forms, quoted session cookies, redirects as errors.

Strict where a real client must be right: the token fits the cookie, the hidden inputs are
those of the last page, the challenge cookie is the last one set.
"""

from __future__ import annotations

import secrets
from html import escape
from typing import TYPE_CHECKING, ClassVar

from aiohttp import web

from checkpoint_worker.providers.sandbox.linkedin_challenge import (
    ERRORS,
    FAILED,
    LEADS,
    PHONE_FORM,
    Challenge,
    form_of,
    hidden,
)
from checkpoint_worker.providers.sandbox.linkedin_scenes import SCENES
from checkpoint_worker.providers.sandbox.linkedin_session import Pages, profile_of
from checkpoint_worker.providers.sandbox.linkedin_wire import (
    cookies_of,
    first_cookies,
    new_session,
    page,
    parse,
    see_other,
    session_of,
    set_cookie,
)
from checkpoint_worker.providers.sandbox.scenes import SceneQueue
from checkpoint_worker.providers.sandbox.simulator import Login, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts, Source

TRIES_MAX = 4  # Wrong codes until the challenge ends.
CHALLENGE_TTL_S = 900.0
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

_REQUIRED = frozenset(
    {"csrfToken", "challengeId", "requestSubmissionId", "challengeType", "challengeData", "pin"},
)

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


class LinkedInSimulator(Pages):
    """The provider LINKEDIN."""

    provider: ClassVar[str] = "LINKEDIN"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"plain", "chained", "nobody", "revoked", *_PAGES, *_ADDRESSES, *_STATUSES, *SCENES},
    )
    sources: ClassVar[frozenset[Source]] = frozenset({"EMAIL", "SMS", "APP"})
    domains: ClassVar[tuple[str, ...]] = ("linkedin.com",)

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self._challenges: dict[str, Challenge] = {}  # By challengeId.
        self._scenes = SceneQueue()

    def begin_login(self, account: Account) -> Login:
        """See `Simulator.begin_login`."""
        challenge = self._challenge(account, new_session())
        cookies = {**first_cookies(challenge.session), "chp_token": challenge.cookie}
        return Login(
            account=account.id,
            provider=self.provider,
            checkpoint={
                "type": "OTP" if challenge.source == "EMAIL" else "2FA",
                "source": challenge.source,
            },
            context=_context(challenge, cookies, self.accounts.now()),
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
            web.get("/", self._home),
            web.get("/uas/logout", self._logout),
            web.route("*", "/voyager/api/{rest:.*}", self._voyager),
            web.get("/{page:.*}", self._other_page),
        )

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        if request.path == "/checkpoint/challenge/verify":
            form = parse(body)
            challenge = self._challenges.get(form.get("challengeId", ""))
            if "pin" in form:
                return Seen(account=challenge.account if challenge else None, code=form["pin"])
        account = self._owner(request)
        return Seen(account=account) if account is not None else None

    def _owner(self, request: web.Request) -> Account | None:
        """Return whose request it is, by the session or by the challenge's cookie."""
        cookies = cookies_of(request)
        held = self._sessions.get(cookies.get("li_at", ""))
        if held is not None:
            return held[0]
        chp_token = cookies.get("chp_token", "")
        owners = (each.account for each in self._challenges.values() if each.cookie == chp_token)
        return next(owners, None)

    # The first step --------------------------------------------------------------------

    def _challenge(self, account: Account, session: str) -> Challenge:
        challenge = Challenge(
            account=account, source=account.source, session=session, born=self.accounts.now()
        )
        self._challenges[challenge.id] = challenge
        account.deliver()
        return challenge

    async def _login_page(self, request: web.Request) -> web.Response:
        session = new_session()
        response = page(
            '<h1>Sign in</h1><form class="login__form" action="/checkpoint/lg/login-submit" '
            f'method="post"><input type="hidden" name="csrfToken" value="{escape(session)}">'
            f'<input type="hidden" name="loginCsrfParam" value="{secrets.token_hex(16)}">'
            '<input name="session_key"><input type="password" name="session_password"></form>',
        )
        for name, value in first_cookies(session).items():
            set_cookie(request, response, name, value)
        return response

    def _sign_in(self, form: dict[str, str]) -> tuple[Account | None, str]:
        account = self.accounts.find(self.provider, form.get("session_key", ""))
        if account is None:
            return None, "BAD_EMAIL"
        if not secrets.compare_digest(
            account.password.encode(), form.get("session_password", "").encode()
        ):
            return None, "BAD_PASSWORD"
        return account, "CHALLENGE"

    async def _login(self, request: web.Request) -> web.Response:
        account, _result = self._sign_in(parse(await request.read()))
        if account is None:
            return page('<div role="alert">Wrong email or password. Try again.</div>')
        if not account.has_second_factor:
            return self.begin_session(request, see_other("/feed/"), account)
        challenge = self._challenge(account, session_of(request))
        response = see_other(challenge.path)
        set_cookie(request, response, "chp_token", challenge.cookie)
        return response

    async def _authenticate(self, request: web.Request) -> web.Response:
        account, result = self._sign_in(parse(await request.read()))
        if account is None:
            return web.json_response({"login_result": result}, status=401)
        if not account.has_second_factor:
            response = web.json_response({"login_result": "PASS", "challenge_url": ""})
            return self.begin_session(request, response, account)
        challenge = self._challenge(account, session_of(request))
        address = f"{request.scheme}://{request.host}{challenge.path}"
        response = web.json_response({"login_result": result, "challenge_url": address})
        set_cookie(request, response, "chp_token", challenge.cookie)
        return response

    async def _challenge_page(self, request: web.Request) -> web.Response:
        if (response := self._played(request)) is not None:
            return response
        token = request.match_info["token"]
        for challenge in self._challenges.values():
            if challenge.token == token and not challenge.over:
                return self._render(request, challenge)
        return see_other("/uas/login")

    # The second step -------------------------------------------------------------------

    async def _verify(self, request: web.Request) -> web.Response:
        form, cookies = parse(await request.read()), cookies_of(request)
        if not form.keys() >= _REQUIRED:
            return web.Response(status=400, text="Bad Request")
        if form["csrfToken"] != cookies.get("JSESSIONID", "").strip('"'):
            return web.Response(status=403, text="CSRF check failed.")
        challenge = self._challenges.get(form["challengeId"])
        if challenge is None or challenge.over or self._is_expired(challenge):
            return see_other("/uas/login")
        last_page = (challenge.submission, challenge.cookie)
        if (form["requestSubmissionId"], cookies.get("chp_token")) != last_page:
            return see_other(FAILED)
        return self._judge(request, challenge, form["pin"])

    def _judge(self, request: web.Request, challenge: Challenge, pin: str) -> web.Response:
        account = challenge.account
        if account.disposition in _STATUSES:
            status = _STATUSES[account.disposition]
            return web.Response(status=status, headers={"Retry-After": "60"})
        judgement = account.judge(pin, challenge.source)
        if judgement == "right":
            return self._pass(request, challenge)
        scene = SCENES.get(account.disposition)
        if scene is not None and scene.to == "wrong":
            return self._play(request, challenge)
        challenge.tries += 1
        challenge.turn()
        if challenge.tries >= TRIES_MAX:
            challenge.over = True
            return see_other(FAILED)
        return self._render(request, challenge, error=ERRORS[judgement])

    def _is_expired(self, challenge: Challenge) -> bool:
        return self.accounts.now() > challenge.born + CHALLENGE_TTL_S

    def _pass(self, request: web.Request, challenge: Challenge) -> web.Response:
        kind = challenge.account.disposition
        if kind == "chained" and challenge.step == 1:
            return self._render(request, self._following(challenge))
        challenge.over = True
        if challenge.step == 1 and kind in SCENES and SCENES[kind].to == "right":
            return self._play(request, challenge)
        if kind in _PAGES:
            return page(_PAGES[kind])
        if kind in _ADDRESSES:
            return see_other(_ADDRESSES[kind])
        response = see_other("/feed/")
        if kind == "revoked":
            set_cookie(request, response, "li_at", '"delete me"', more="; Max-Age=0")
            return response
        return self.begin_session(request, response, challenge.account)

    def _following(self, challenge: Challenge) -> Challenge:
        """Return one more challenge: by phone after one by email, by email after any other."""
        challenge.over = True
        source: Source = "SMS" if challenge.source == "EMAIL" else "EMAIL"
        following = Challenge(
            account=challenge.account,
            source=source,
            session=challenge.session,
            born=self.accounts.now(),
            step=challenge.step + 1,
        )
        self._challenges[following.id] = following
        challenge.account.deliver(source)
        return following

    # Scenes ----------------------------------------------------------------------------

    def _play(self, request: web.Request, challenge: Challenge) -> web.Response:
        """Give the first answer of the account's scene."""
        account, words = challenge.account, self._words(challenge)
        response = self._scenes.begin(account.id, SCENES[account.disposition], words)
        return self._with_cookie(request, response, account)

    def _played(self, request: web.Request) -> web.Response | None:
        """Return what a scene says to a request without a code, if there is more of it."""
        account = self._owner(request)
        if account is None or not self._scenes.has_more(account.id):
            return None
        return self._with_cookie(request, self._scenes.next(account.id), account)

    def _with_cookie(
        self, request: web.Request, response: web.Response, account: Account
    ) -> web.Response:
        """Set the cookie of the account's newest challenge."""
        mine = [each for each in self._challenges.values() if each.account is account]
        set_cookie(request, response, "chp_token", mine[-1].cookie)
        return response

    def _words(self, challenge: Challenge) -> dict[str, Callable[[], str]]:
        """Return the words that a scene may name; each is made when it is named."""
        now = self.accounts.now

        def inputs(other: Challenge) -> str:
            return hidden(other.fields(now()))

        def turned() -> Challenge:
            challenge.turn()
            return challenge

        def rotated() -> Challenge:
            challenge.turn()
            challenge.id = "Ag" + secrets.token_urlsafe(24)
            self._challenges[challenge.id] = challenge
            return challenge

        return {
            "form": lambda: form_of(self.accounts.now(), turned()),
            "form inputs": lambda: inputs(turned()),
            "form id": lambda: challenge.form[0],
            "rotated": lambda: form_of(self.accounts.now(), rotated()),
            "rotated inputs": lambda: inputs(rotated()),
            "next": lambda: form_of(self.accounts.now(), self._following(challenge)),
            "next inputs": lambda: inputs(self._following(challenge)),
            "token": lambda: challenge.token,
            "member": lambda: challenge.account.user_id,
            "li_at": lambda: self._new_login(challenge.account, challenge.session),
        }

    def _render(
        self, request: web.Request, challenge: Challenge, *, error: str = ""
    ) -> web.Response:
        response = page(
            f"<h1>Let's do a quick verification</h1><p>{LEADS[challenge.source]}</p>"
            + form_of(self.accounts.now(), challenge, error)
        )
        set_cookie(request, response, "lidc", f'"b=VB{secrets.randbelow(99)}:s=V"')
        set_cookie(request, response, "chp_token", challenge.cookie)
        return response

    # Afterwards ------------------------------------------------------------------------

    async def _other_page(self, request: web.Request) -> web.Response:
        return self._played(request) or web.Response(status=404)

    async def _me(self, request: web.Request) -> web.Response:
        if (response := self._played(request)) is not None:
            return response
        account, fits = self._session(request)
        if account is None:
            return web.Response(status=401)
        if not fits:
            return web.Response(status=403, text="CSRF check failed.")
        profile = profile_of(account)
        if account.disposition == "nobody":
            del profile["objectUrn"]
            return web.json_response({"miniProfile": profile})
        return web.json_response({"plainId": int(account.user_id), "miniProfile": profile})


SIMULATOR = LinkedInSimulator


# Helpers -------------------------------------------------------------------------------


def _context(challenge: Challenge, cookies: dict[str, str], now: float) -> dict[str, object]:
    """Return what a login service keeps of the challenge page."""
    return {
        "route": "http",
        "user_agent": USER_AGENT,
        "cookies": [
            {"name": name, "value": value, "domain": "www.linkedin.com", "path": "/"}
            for name, value in cookies.items()
        ],
        "action": "/checkpoint/challenge/verify",
        "form_id": challenge.form[0],
        "referer": challenge.path,
        "fields": challenge.fields(now),
        "recognized_device": challenge.form is PHONE_FORM,
    }
