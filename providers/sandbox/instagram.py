"""INSTAGRAM as it answers: the app's signed forms, Bloks programs, the web's AJAX.

One host for all of it, unlike in life. Which route a login takes is the account's kind, or
else its source: a code by email is a checkpoint, every other one a second factor. Strict
where a real client must be right: identifiers, device ids, user name and token are those of
the first step.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

from aiohttp import web

from providers.sandbox.instagram_password import PasswordKey
from providers.sandbox.simulator import Login, Seen, Simulator
from providers.sandbox.world import Delivered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from providers.sandbox.world import Account, Source, World

TRIES_MAX = 4  # Wrong codes until the login is throttled and its challenge dead.
LOGIN_TTL_S = 900.0
APP_USER_AGENT = (
    "Instagram 385.0.0.47.74 Android (34/14; 480dpi; 1080x2400; samsung; SM-S911B; dm1q; qcom; "
    "en_US; 378906843)"
)
WEB_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
BLOKS_VERSION = "5f56efad68e1edec7801f630b5c122704ec5378adbee6609a448f105f34a9c73"
WAIT = "Please wait a few minutes before you try again."

VERIFY_ACTION = "com.bloks.www.two_step_verification.verify_code.async"
CODE_ENTRY_ACTION = "com.bloks.www.ap.two_step_verification.code_entry_async"

# Kinds that choose the route; the right code is success there.
_ROUTES = {
    "checkpoint": "challenge",
    "checkpoint_web": "challenge_web",
    "bloks": "bloks_two_factor",
    "auth_platform": "bloks_auth_platform",
    "web": "web",
}
_METHODS = {"1": "SMS", "2": "BACKUP", "3": "APP"}
_BLOKS_METHODS = {"sms": "SMS", "backup_codes": "BACKUP", "totp": "APP"}
_CHECKPOINT_ROUTES = frozenset({"challenge", "challenge_web"})
_STEPS = {"EMAIL": "verify_email", "SMS": "verify_sms_code"}
_FORMS = {"EMAIL": "VerifyEmailCodeForm", "SMS": "VerifySMSCodeForm"}

# What the provider says after the right code, instead of a session: status and body.
_CHALLENGE = {"url": "https://i.instagram.com/challenge/", "lock": True, "logout": False}
_ANSWERS: Mapping[str, tuple[int, dict[str, object]]] = {
    "restricted": (
        400,
        {"message": "Your account has been disabled.", "error_type": "inactive_user"},
    ),
    "disabled": (
        400,
        {"message": "Your account has been disabled for violating our terms."},
    ),
    "suspended": (
        400,
        {
            "message": "challenge_required",
            "challenge": {"url": "https://i.instagram.com/accounts/suspended/?next=/"},
        },
    ),
    "approval": (
        400,
        {
            "message": "challenge_required",
            "challenge": {**_CHALLENGE, "api_path": "/challenge/1/n/", "native_flow": True},
        },
    ),
    "auth_platform_challenge": (
        400,
        {
            "message": "challenge_required",
            "challenge": {**_CHALLENGE, "api_path": "/auth_platform/?apc=x"},
        },
    ),
    "captcha": (200, {"step_name": "selfie_captcha", "status": "ok"}),
    "password": (
        200,
        {
            "step_name": "change_password",
            "challenge_type_enum_str": "PASSWORD_RESET",
            "status": "ok",
        },
    ),
    "unusable_password": (
        400,
        {"message": "Please reset your password.", "error_type": "unusable_password"},
    ),
    "consent": (400, {"message": "consent_required"}),
    "unknown": (200, {"step_name": "tell_us_more", "status": "ok"}),
    "throttled": (429, {"message": WAIT}),
    "rate_limited": (400, {"message": "Sorry, too many.", "error_type": "rate_limit_error"}),
    "spam": (400, {"message": "feedback_required", "spam": True, "feedback_title": "Try Again"}),
    "blocked": (400, {"message": "Sorry, blocked.", "error_type": "sentry_block"}),
    "address": (
        400,
        {
            "message": "The username you entered doesn't appear to belong to an account. "
            "Please check your username and try again.",
            "error_type": "invalid_user",
        },
    ),
    "upgrade": (400, {"message": "Please update.", "error_type": "needs_upgrade"}),
    "logged_out": (403, {"message": "login_required", "logout_reason": 2}),
}
_MASKED = "masked"  # 404 with bare text instead of an answer.
_SUCCESSES = frozenset({"sessionless", "mismatch", "nobody"})  # Broken ones.


@dataclass(slots=True, kw_only=True)
class _Login:
    """A login under way: what the client was told, and must say again."""

    account: Account
    source: Source
    route: str
    device: Mapping[str, str]
    born: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Value of the cookie ``csrftoken``."""
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """``two_factor_identifier``, nonce or Bloks context, as the route has it."""
    tries: int = 0
    step: int = 1
    over: bool = False

    @property
    def path(self) -> str:
        return f"/challenge/{self.account.user_id}/{self.key}/"

    @property
    def is_bloks(self) -> bool:
        return self.route in {"bloks_two_factor", "bloks_auth_platform"}

    @property
    def is_web(self) -> bool:
        return self.route in {"web", "challenge_web"}

    def info(self) -> dict[str, object]:
        return {
            "pk": int(self.account.user_id),
            "username": self.account.handle,
            "two_factor_identifier": self.key,
            "totp_two_factor_on": self.source == "APP",
            "sms_two_factor_on": self.source == "SMS",
            "obfuscated_phone_number": "0109",
            "show_messenger_code_option": False,
        }


class InstagramSimulator(Simulator):
    """The provider INSTAGRAM."""

    provider: ClassVar[str] = "INSTAGRAM"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"plain", "chained", "renewing", "challenge_expired", _MASKED, *_SUCCESSES}
        | _ROUTES.keys()
        | _ANSWERS.keys()
    )
    sources: ClassVar[frozenset[Source]] = frozenset({"EMAIL", "SMS", "APP", "BACKUP"})

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._logins: dict[str, _Login] = {}  # By key; a rotated key is forgotten.
        self._sessions: dict[str, Account] = {}  # By sessionid.
        self._password_key = PasswordKey()

    def begin_login(self, account: Account) -> Login:
        """See `Simulator.begin_login`."""
        device = {
            "guid": _uuid(),
            "phone_id": _uuid(),
            "device_id": f"android-{secrets.token_hex(8)}",
        }
        login = self._login(account, device=device)
        return Login(
            account=account.id,
            provider=self.provider,
            checkpoint={
                "type": "OTP" if login.route in _CHECKPOINT_ROUTES else "2FA",
                "source": login.source,
            },
            context=_context(login),
            user_id=account.user_id,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        """See `Simulator.routes`."""
        api = "/api/v1"
        checkpoint = "/challenge/{user_id}/{nonce}/"
        return (
            web.get("/", self._home),
            web.get("/api/v1/qe/sync/", self._sync),
            web.post("/api/v1/qe/sync/", self._sync),
            web.post("/api/v1/launcher/sync/", self._sync),
            web.post("/api/v1/accounts/login/", self._app_login),
            web.post("/api/v1/accounts/two_factor_login/", self._two_factor),
            web.post("/api/v1/web/accounts/login/ajax/", self._web_login),
            web.post("/accounts/login/ajax/", self._web_login),
            web.post("/accounts/login/ajax/two_factor/", self._web_two_factor),
            *(web.get(prefix + checkpoint, self._state) for prefix in (api, "/api", "")),
            *(web.post(prefix + checkpoint, self._checkpoint) for prefix in (api, "/api")),
            web.post(checkpoint, self._web_checkpoint),
            web.post(api + "/bloks/async_action/{action}/", self._bloks),
            web.post(api + "/bloks/apps/{action}/", self._bloks),
            web.get(api + "/{rest:.*}", self._signed_in),
            web.post(api + "/{rest:.*}", self._signed_in),
        )

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        fields = _fields(body)
        if "/bloks/" in request.path:
            client, server = _params(fields)
            code = client.get("code")
            key = server.get("two_step_verification_context") or server.get("context_data")
        else:
            found = (fields.get(name) for name in _CODE_FIELDS)
            code = next((value for value in found if value is not None), None)
            key = (
                request.path.rstrip("/").rpartition("/")[2]
                if "/challenge/" in request.path
                else fields.get("two_factor_identifier") or fields.get("identifier")
            )
        login = self._logins.get(str(key))
        if code is not None:
            return Seen(account=login.account if login else None, code=str(code))
        account = login.account if login else self._sessions.get(_session_id(request))
        return Seen(account=account) if account is not None else None

    # The first step --------------------------------------------------------------------

    def _login(
        self,
        account: Account,
        *,
        device: Mapping[str, str],
        token: str = "",
        route: str = "",
        source: Source | None = None,
        step: int = 1,
    ) -> _Login:
        source = source or account.source
        usual = "challenge" if source == "EMAIL" else "two_factor"
        route = route or _ROUTES.get(account.kind, usual)
        if route in _CHECKPOINT_ROUTES and source not in _STEPS:
            source = "EMAIL"  # Checkpoints know no app, second factors no email.
        elif route not in {*_CHECKPOINT_ROUTES, "bloks_auth_platform"} and source == "EMAIL":
            source = "SMS"
        login = _Login(
            account=account,
            source=source,
            route=route,
            device={name: device[name] for name in _IDS if name in device},
            born=self.world.now(),
            step=step,
        )
        login.token = token or login.token
        self._logins[login.key] = login
        self._deliver(account, source)
        return login

    def _deliver(self, account: Account, source: Source) -> None:
        if source != "BACKUP":
            account.deliver(source)
            return
        now = self.world.now()  # A backup code has two digits more and no haste.
        code = f"{self.world.fresh_code()}{secrets.randbelow(100):02}"
        account.inbox.append(
            Delivered(code=code, source=source, sent_at=now, expires_at=now + LOGIN_TTL_S)
        )

    async def _home(self, request: web.Request) -> web.Response:
        return _first(request, web.Response(text="<html></html>", content_type="text/html"))

    async def _sync(self, request: web.Request) -> web.Response:
        response = _first(request, _json(200, {"status": "ok"}))
        response.headers["ig-set-password-encryption-key-id"] = str(self._password_key.id)
        response.headers["ig-set-password-encryption-pub-key"] = self._password_key.public
        response.headers["ig-set-x-mid"] = secrets.token_urlsafe(20)
        return response

    def _sign_in(self, fields: Mapping[str, str]) -> Account | None:
        name = fields.get("username", "")
        account = self.world.find(self.provider, name)
        if account is None:
            named = (each for each in self.world.accounts.values() if each.handle == name)
            account = next((each for each in named if each.provider == self.provider), None)
        given = self._password_key.open(fields.get("enc_password", ""))
        if account is None or not secrets.compare_digest(given, account.password.encode()):
            return None
        return account

    async def _app_login(self, request: web.Request) -> web.Response:
        fields = _fields(await request.read())
        account = self._sign_in(fields)
        if account is None:
            said = {
                "message": "The password you entered is incorrect.",
                "invalid_credentials": True,
            }
            return _json(400, {**said, "error_type": "bad_password"})
        login = self._login(account, device=fields, token=_cookies(request).get("csrftoken", ""))
        answers: dict[str, dict[str, object]] = {
            "challenge": _challenge_required(request, login),
            "challenge_web": _challenge_required(request, login),
            "bloks_two_factor": {
                "message": "The password you entered is incorrect.",
                "error_type": "bad_password",
                "two_step_verification_context": login.key,
                "totp_two_factor_on": login.source == "APP",
                "sms_two_factor_on": login.source == "SMS",
            },
        }
        return _with_token(login, _json(400, answers.get(login.route, _two_factor_required(login))))

    async def _web_login(self, request: web.Request) -> web.Response:
        account = self._sign_in(_fields(await request.read()))
        if account is None:
            return _json(200, {"authenticated": False, "user": True, "status": "ok"})
        route = "challenge_web" if account.kind == "checkpoint_web" else "web"
        token = _cookies(request).get("csrftoken", "")
        login = self._login(account, device={}, token=token, route=route)
        if route == "web":
            return _with_token(login, _json(400, _two_factor_required(login)))
        said = {"message": "checkpoint_required", "checkpoint_url": login.path, "lock": False}
        return _with_token(login, _json(400, said))

    # The second step -------------------------------------------------------------------

    async def _two_factor(self, request: web.Request) -> web.Response:
        fields = _fields(await request.read())
        login = self._logins.get(fields.get("two_factor_identifier", ""))
        if login is None or self._is_dead(login) or not _same_device(login, fields):
            return _no_longer_valid()
        if not _same_token(login, fields.get("_csrftoken"), request):
            return web.Response(status=403, text="CSRF token missing or incorrect.")
        source = _METHODS.get(fields.get("verification_method", ""))
        names = {login.account.handle, login.account.username}
        if source != login.source or fields.get("username") not in names:
            said = {"message": "Invalid Parameters", "error_type": "invalid_parameters"}
            return _json(400, said)
        code = fields.get("verification_code", "")
        if any(each.code == code and each.used for each in login.account.inbox):
            return _no_longer_valid()
        return self._judge(request, login, code)

    async def _web_two_factor(self, request: web.Request) -> web.Response:
        fields = _fields(await request.read())
        login = self._logins.get(fields.get("identifier", ""))
        if login is None or self._is_dead(login):
            return _no_longer_valid()
        if not _same_token(login, request.headers.get("X-CSRFToken", ""), request):
            return web.Response(status=403, text="<html>CSRF</html>", content_type="text/html")
        return self._judge(request, login, fields.get("verificationCode", ""))

    async def _state(self, request: web.Request) -> web.Response:
        login = self._logins.get(request.match_info["nonce"])
        if login is None or self._is_dead(login):
            return web.Response(status=404, text="Not Found")
        if login.route == "challenge_web" and request.path.startswith("/api/"):
            return _json(400, _challenge_required(request, login))  # As to clients that ask.
        return _with_token(login, _json(200, _step(login)))

    async def _checkpoint(self, request: web.Request) -> web.Response:
        fields = _fields(await request.read())
        login = self._logins.get(request.match_info["nonce"])
        if login is None or self._is_dead(login):
            return web.Response(status=404, text="Not Found")
        if not _same_token(login, fields.get("_csrftoken"), request):
            return web.Response(status=403, text="CSRF token missing or incorrect.")
        if not _same_device(login, {**login.device, **fields}):  # Some clients send no ids here.
            return web.Response(status=404, text="Not Found")
        return self._answer_form(request, login, fields)

    async def _web_checkpoint(self, request: web.Request) -> web.Response:
        fields = _fields(await request.read())
        login = self._logins.get(request.match_info["nonce"])
        if login is None or self._is_dead(login):
            return web.Response(status=404, text="Not Found")
        if not _same_token(login, request.headers.get("X-CSRFToken", ""), request):
            return web.Response(status=403, text="<html>CSRF</html>", content_type="text/html")
        return self._answer_form(request, login, fields)

    def _answer_form(
        self, request: web.Request, login: _Login, fields: Mapping[str, str]
    ) -> web.Response:
        if "choice" in fields:
            self._deliver(login.account, login.source)
            return _json(200, _step(login))
        if not fields.get("security_code"):
            return _json(400, {"message": "This field is required."})
        return self._judge(request, login, fields["security_code"])

    async def _bloks(self, request: web.Request) -> web.Response:
        fields = _fields(await request.read())
        action = request.match_info["action"]
        client, server = _params(fields)
        if action not in {VERIFY_ACTION, CODE_ENTRY_ACTION}:
            return _bloks("(bk.action.core.Noop)")
        is_profile = action == CODE_ENTRY_ACTION
        key = server.get("context_data" if is_profile else "two_step_verification_context")
        login = self._logins.get(str(key))
        if login is None or self._is_dead(login):
            return _bloks(_SCREEN_ERROR[is_profile].format(error="This code has expired."))
        ids = (client.get("device_id"), client.get("family_device_id"), fields.get("_uuid"))
        own = tuple(login.device.get(name) for name in ("device_id", "phone_id", "guid"))
        if ids != own or not (is_profile or _is_method(login, server)):
            return _json(400, {"message": "Invalid Parameters", "error_type": "invalid_parameters"})
        return self._judge(request, login, str(client.get("code", "")))

    def _is_dead(self, login: _Login) -> bool:
        return login.over or self.world.now() > login.born + LOGIN_TTL_S

    def _judge(self, request: web.Request, login: _Login, code: str) -> web.Response:
        if login.account.disposition == "challenge_expired":
            login.over = True
            if login.route in _CHECKPOINT_ROUTES:
                return web.Response(status=404, text="Not Found")
            return _no_longer_valid()
        judgement = login.account.judge(code, login.source)
        if judgement == "right":
            return self._pass(request, login)
        login.tries += 1
        if login.tries >= TRIES_MAX:
            login.over = True
            return _json(429, {"message": WAIT})
        return self._refuse(login, judgement)

    def _refuse(self, login: _Login, judgement: str) -> web.Response:
        if not login.is_web:  # Public web clients keep theirs and try again with it.
            login.token = secrets.token_urlsafe(24)
        if login.is_bloks:
            return self._refuse_bloks(login)
        if login.route == "challenge_web":
            challenge = {"challengeType": _FORMS[login.source], "errors": [_CHECK], "fields": {}}
            return _with_token(login, _json(400, {"message": "", "challenge": challenge}))
        if login.route == "challenge":
            expired = "This code has expired. Go back to request a new one."
            said = {"message": expired if judgement == "expired" else _CHECK}
            return _with_token(login, _json(400, said))
        if judgement == "expired":
            return _no_longer_valid()
        if login.account.disposition == "renewing":
            self._turn(login)
            return _with_token(login, _json(400, _two_factor_required(login)))
        said = {
            "message": "Please check the security code and try again.",
            "error_type": "sms_code_validation_code_invalid",
        }
        return _with_token(login, _json(400, said))

    def _refuse_bloks(self, login: _Login) -> web.Response:
        """Answer with the screen again, its error set and a context of its own."""
        is_profile = login.route == "bloks_auth_platform"
        if is_profile:
            self._turn(login)
        call = _CALL.format(app=CODE_ENTRY_ACTION, key="context_data", value=login.key)
        error = _SCREEN_ERROR[is_profile].format(error=_CHECK)
        return _bloks(f"(bk.action.core.TakeLast {error} {call if is_profile else ''})")

    def _turn(self, login: _Login) -> None:
        del self._logins[login.key]
        login.key = secrets.token_urlsafe(24)
        self._logins[login.key] = login

    def _pass(self, request: web.Request, login: _Login) -> web.Response:
        login.over = True
        kind = login.account.disposition
        if kind == _MASKED:
            return web.Response(status=404, text="Not Found")
        if kind == "chained" and login.step == 1:
            return self._next_step(request, login)
        if kind in _ANSWERS:
            status, body = _ANSWERS[kind]
            return _json(status, body, retry_after=60 if status == 429 else None)  # noqa: PLR2004
        return self._let_in(login, kind)

    def _next_step(self, request: web.Request, login: _Login) -> web.Response:
        """Ask once more: by text message after a code by email, by email after all others."""
        source: Source = "SMS" if login.source == "EMAIL" else "EMAIL"
        if login.route in _CHECKPOINT_ROUTES:
            login.over = False
            login.source = source
            login.step += 1
            self._deliver(login.account, source)
            return _with_token(login, _json(200, _step(login)))
        following = self._login(
            login.account,
            device=login.device,
            token=login.token,
            route="challenge",
            source=source,
            step=login.step + 1,
        )
        return _with_token(following, _json(400, _challenge_required(request, following)))

    def _let_in(self, login: _Login, kind: str) -> web.Response:
        account = login.account
        session_id = f"{account.user_id}%3A{secrets.token_urlsafe(14)}%3A12"
        self._sessions[session_id] = account
        user: dict[str, object] = {"username": account.handle, "full_name": "Person"}
        headers, cookies = _session(account, session_id, login.token)
        if kind == "nobody":
            headers, cookies = {}, {"sessionid": session_id}
        else:
            number = int(account.user_id) + (1 if kind == "mismatch" else 0)
            user |= {"pk": number, "pk_id": account.user_id}
        if kind == "sessionless":
            headers, cookies = {"ig-set-authorization": "Bearer IGT:2:"}, {}
        if login.is_bloks:
            return _bloks(_packed_login(user, headers, cookies))
        if login.is_web:
            headers = {}
        response = _json(200, _welcome(login, user, kind))
        response.headers.update(headers)
        for name, value in cookies.items():
            _set_cookie(response, name, value)
        return response

    # Afterwards ------------------------------------------------------------------------

    async def _signed_in(self, request: web.Request) -> web.Response:
        account = self._sessions.get(_session_id(request))
        if account is None:
            return _json(403, {"message": "login_required", "logout_reason": 2})
        user = {"pk": int(account.user_id), "username": account.handle}
        return _json(200, {"status": "ok", "user": user, "tray": [], "feed_items": []})


SIMULATOR = InstagramSimulator


# The wire's small change ---------------------------------------------------------------

_CHECK = "Please check the code we sent you and try again."
_IDS = ("guid", "device_id", "phone_id")
_CODE_FIELDS = ("verification_code", "security_code", "verificationCode")
_SCREEN_ERROR = {
    False: '(bk.action.caa.SetState "BLOKS_TWO_STEP_VERIFICATION_ENTER_CODE:error_message" '
    '"{error}")',
    True: '(bk.action.caa.SetState "BLOKS_AUTH_PLATFORM_ENTER_CODE:error_message" "{error}")',
}
_CALL = (
    '(bk.action.bloks.AsyncActionWithDataManifestV2 "{app}" (f4i (dkc "server_params") '
    '(dkc (f4i (dkc "device_id" "{key}") (dkc (bk.action.string.DeviceId) "{value}")))))'
)


def _context(login: _Login) -> dict[str, object]:
    """Write what a login service would have kept of the first step."""
    context: dict[str, object] = {
        "route": login.route,
        "user_agent": WEB_USER_AGENT if login.is_web else APP_USER_AGENT,
        "cookies": [
            {"name": name, "value": value, "domain": ".instagram.com", "path": "/"}
            for name, value in (
                ("csrftoken", login.token),
                ("mid", secrets.token_urlsafe(20)),
                ("ig_did", _uuid().upper()),
            )
        ],
    }
    if not login.is_web:
        context |= {"device": dict(login.device), "app": {"bloks_version_id": BLOKS_VERSION}}
    if login.route in _CHECKPOINT_ROUTES:
        steps = _STEPS if login.route == "challenge" else _FORMS
        context |= {"api_path": login.path, "step_name": steps[login.source]}
    elif login.route == "bloks_two_factor":
        context |= {"two_step_verification_context": login.key}
    elif login.route == "bloks_auth_platform":
        context |= {"context_data": login.key, "aac": secrets.token_urlsafe(16)}
    else:
        context |= {"username": login.account.handle, "two_factor_identifier": login.key}
    return context


def _two_factor_required(login: _Login) -> dict[str, object]:
    return {
        "message": "",
        "two_factor_required": True,
        "two_factor_info": login.info(),
        "error_type": "two_factor_required",
        "phone_verification_settings": {"max_sms_count": 2, "resend_sms_delay_sec": 60},
    }


def _challenge_required(request: web.Request, login: _Login) -> dict[str, object]:
    challenge = {
        "url": f"{request.scheme}://{request.host}{login.path}",
        "api_path": login.path,
        "hide_webview_header": True,
        "lock": True,
        "logout": False,
        "native_flow": False,
    }
    return {"message": "challenge_required", "challenge": challenge, "error_type": "checkpoint"}


def _step(login: _Login) -> dict[str, object]:
    """The state of a checkpoint: waiting for its code."""
    if login.route == "challenge_web":
        form = {"challengeType": _FORMS[login.source], "errors": [], "fields": {}}
        return {**form, "challenge": form, "status": "ok"}
    point = "p****n@e******.test" if login.source == "EMAIL" else "+00 *** ** 09"
    return {
        "step_name": _STEPS[login.source],
        "step_data": {"security_code": "None", "contact_point": point, "resend_delay": 60},
        "nonce_code": login.key,
        "user_id": int(login.account.user_id),
        "status": "ok",
    }


def _is_method(login: _Login, server: Mapping[str, object]) -> bool:
    return _BLOKS_METHODS.get(str(server.get("challenge"))) == login.source


def _same_device(login: _Login, fields: Mapping[str, str]) -> bool:
    return all(fields.get(name) == login.device.get(name) for name in ("guid", "device_id"))


def _same_token(login: _Login, given: str | None, request: web.Request) -> bool:
    """Compare field and cookie. Clients that send no token exist, and some that hold two."""
    if given is None:
        return True
    held = [part.strip() for part in request.headers.get("Cookie", "").split(";")]
    return given == login.token and f"csrftoken={given}" in held


def _no_longer_valid() -> web.Response:
    said = {"message": "This code is no longer valid. Please request a new one."}
    return _json(400, {**said, "error_type": "invalid_nonce"})


def _session(
    account: Account, session_id: str, token: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return headers and cookies of a finished login."""
    authorization = {"ds_user_id": account.user_id, "sessionid": session_id}
    packed = base64.b64encode(json.dumps(authorization).encode()).decode()
    headers = {
        "ig-set-authorization": f"Bearer IGT:2:{packed}",
        "ig-set-ig-u-ds-user-id": account.user_id,
        "ig-set-ig-u-rur": f"RVA,{account.user_id},1800000000:01f7",
        "x-ig-set-www-claim": f"hmac.{secrets.token_urlsafe(24)}",
    }
    cookies = {"sessionid": session_id, "ds_user_id": account.user_id, "csrftoken": token}
    return headers, cookies


def _welcome(login: _Login, user: Mapping[str, object], kind: str) -> dict[str, object]:
    """Return the body of a finished login, each route in its own words."""
    said: dict[str, object] = {"status": "ok"}
    if login.route == "challenge_web":
        return {**said, "type": "CHALLENGE_REDIRECTION", "location": "instagram://dismiss"}
    if login.route == "web":
        owner = {} if kind == "nobody" else {"userId": str(user["pk"])}
        return {**said, "authenticated": True, "user": True, **owner}
    if login.route == "challenge":
        said["action"] = "close"
        if kind == "sessionless":
            return said
    return {**said, "logged_in_user": user}


def _packed_login(
    user: Mapping[str, object], headers: Mapping[str, str], cookies: Mapping[str, str]
) -> str:
    """Write a Bloks program that logs the app in, texts within texts as they are in life."""
    lines = "\r\n".join(f"Set-Cookie: {name}={value}; path=/" for name, value in cookies.items())
    packed = {
        "login_response": json.dumps({"logged_in_user": user, "status": "ok"}),
        "headers": json.dumps({_title(name): value for name, value in headers.items()}),
        "cookies": lines,
    }
    literal = json.dumps(json.dumps(packed))
    return f"(bk.action.caa.HandleLoginResponse (bk.action.tree.Make {literal}))"


def _title(name: str) -> str:
    return "IG-Set-Authorization" if name == "ig-set-authorization" else name


def _bloks(action: str) -> web.Response:
    return _json(200, {"layout": {"bloks_payload": {"action": action, "data": []}}, "status": "ok"})


def _json(
    status: int, body: Mapping[str, object], *, retry_after: int | None = None
) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response({"status": "fail", **body}, status=status, headers=headers)


def _first(request: web.Request, response: web.Response) -> web.Response:
    """Give a new client the cookies of a first visit."""
    held = _cookies(request)
    for name in ("csrftoken", "mid", "ig_did"):
        if not held.get(name):
            _set_cookie(response, name, secrets.token_urlsafe(20))
    return response


def _with_token(login: _Login, response: web.Response) -> web.Response:
    _set_cookie(response, "csrftoken", login.token)
    return response


def _set_cookie(response: web.Response, name: str, value: str) -> None:
    response.headers.add("Set-Cookie", f"{name}={value}; Path=/")


def _cookies(request: web.Request) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in request.headers.get("Cookie", "").split(";"))
    return {name: value for name, _, value in pairs if name}


def _session_id(request: web.Request) -> str:
    """Return the session's id from its header or its cookie."""
    packed = request.headers.get("Authorization", "").rpartition(":")[2]
    try:
        token = json.loads(base64.b64decode(packed))
        return str(token["sessionid"])
    except (ValueError, LookupError, TypeError):
        return _cookies(request).get("sessionid", "")


def _fields(body: bytes) -> dict[str, str]:
    """Read a form, or the JSON after the first dot of ``signed_body``."""
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    plain = {name: values[-1] for name, values in form.items()}
    if "signed_body" in plain:
        return {name: str(value) for name, value in _object(plain["signed_body"]).items()}
    return plain


def _object(signed: str) -> dict[str, object]:
    try:
        value = json.loads(signed.partition(".")[2])
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _params(fields: Mapping[str, str]) -> tuple[dict[str, object], dict[str, object]]:
    """Return ``client_input_params`` and ``server_params`` of a Bloks request."""
    try:
        params = json.loads(fields.get("params", ""))
    except ValueError:
        params = {}
    params = params if isinstance(params, dict) else {}
    client, server = params.get("client_input_params"), params.get("server_params")
    return client if isinstance(client, dict) else {}, server if isinstance(server, dict) else {}


def _uuid() -> str:
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
