"""MESSENGER as it answers: signed forms in, JSON with numbered errors out.

Strict where a real client must be right: the app's token and signature, the first factor, the
user and the ids of device and machine that belong to it. Form and constants are otherwise
the client's own affair.
"""

from __future__ import annotations

import base64
import json
import secrets
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from checkpoint_worker.providers.sandbox.messenger_app import APP, Apps
from checkpoint_worker.providers.sandbox.messenger_scenes import SCENES
from checkpoint_worker.providers.sandbox.messenger_session import Challenge, is_right
from checkpoint_worker.providers.sandbox.messenger_web import WebStep
from checkpoint_worker.providers.sandbox.password_key import password_key, public_pem
from checkpoint_worker.providers.sandbox.scenes import SceneQueue
from checkpoint_worker.providers.sandbox.simulator import Login, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from checkpoint_worker.providers.sandbox.accounts import Account, Accounts, Source

TRIES_MAX = 4  # Wrong codes until the first factor ends.
CHALLENGE_TTL_S = 900.0
KEY_ID = 7  # Of the key for passwords.
USER_AGENT = "Dalvik/2.1.0 (Linux) [FBAN/Orca-Android;FBAV/1.0.0;FBPN/sandbox;FBLC/en_US;]"

_REQUIRED = frozenset({"credentials_type", "email", "password", "device_id", "api_key", "sig"})
_REQUIRED_SECOND = frozenset(
    {"twofactor_code", "userid", "first_factor", "machine_id", "jazoest"},
)

_WRONG = 401
_TWO_FACTOR = 406


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """One error as the provider says it, whichever form it then takes."""

    code: int
    message: str
    subcode: int = 0
    title: str = ""
    user_message: str = ""
    status: int = 400
    headers: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)


_EXPIRED = _Refusal(code=190, subcode=463, message="Session has expired")
_UNKNOWN = _Refusal(code=400, message="Invalid username or email address")
_INVALID = _Refusal(code=100, message="Invalid parameter")

# Whatever the code; a client is told so before its code is looked at.
_UNSEEN = {
    "throttled": _Refusal(
        code=613, message="Calls to this api have exceeded the limit", headers={"Retry-After": "60"}
    ),
    "busy": _Refusal(code=4, message="Application request limit reached"),
    "abuse": _Refusal(code=368, message="The action attempted has been deemed abusive"),
    "blocked": _Refusal(
        code=368, message="Blocked", title="You're temporarily blocked from logging in"
    ),
    "unknown_identifier": _UNKNOWN,
    "bad_token": _Refusal(code=190, message="Invalid OAuth access token", status=401),
    "expired_factor": _EXPIRED,
    "failing": _Refusal(code=2, message="An unexpected error has occurred", status=500),
}
# After the right code, instead of a session.
_AFTER = {
    "disabled": _Refusal(code=1, message="An error occurred", title="Your account is disabled"),
    "locked": _Refusal(code=10, message="Your account has been locked", status=403),
    "checkpoint": _Refusal(code=190, subcode=459, message="The user has been checkpointed"),
    "unconfirmed": _Refusal(code=190, subcode=490, message="The user is enrolled in a blocking"),
    "checkpoint_words": _Refusal(code=10, message="x", title="You must clear a checkpoint"),
    "integrity": _Refusal(
        code=10, message="Not permitted", headers={"x-fb-integrity-required": "checkpoint"}
    ),
    "verify": _Refusal(
        code=405, message="User must verify their account on www.facebook.com (405)"
    ),
    "password_changed": _Refusal(code=190, subcode=460, message="The password has been changed"),
    "unknown": _Refusal(code=3912, message="x", user_message="Tell us one more thing about you"),
}
_KINDS = frozenset(
    {
        "plain", "rotating", "approval", "suspended", "unavailable",
        "somebody_else", "contradiction", "no_session", "revoked",
    }
)  # fmt: skip


class MessengerSimulator(WebStep):
    """The provider MESSENGER.

    Attributes:
        is_strict: Refuse a form whose ``password`` is not the code, as for clients that do
            not hold the password.
        is_legacy: Answer errors as the legacy host does: HTTP 200 and ``error_code``. Its own
            path ``/method/auth.login`` always does.
        writes_data_as_text: Write ``error_data`` as a string of JSON.
        apps: Apps whose forms are taken.
    """

    provider: ClassVar[str] = "MESSENGER"
    kinds: ClassVar[frozenset[str]] = _KINDS | _UNSEEN.keys() | _AFTER.keys() | SCENES.keys()
    sources: ClassVar[frozenset[Source]] = frozenset({"SMS", "APP", "BACKUP"})
    domains: ClassVar[tuple[str, ...]] = ("facebook.com", "messenger.com")

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts)
        self.is_strict = False
        self.is_legacy = False
        self.writes_data_as_text = False
        self._challenges: dict[str, Challenge] = {}  # By first factor, dead ones included.
        self.apps = Apps(self.app_secrets)
        self._scenes = SceneQueue()

    def begin_login(self, account: Account) -> Login:
        """See `Simulator.begin_login`."""
        challenge = self._challenge(account, _uuid())
        return Login(
            account=account.id,
            provider=self.provider,
            checkpoint={"type": "2FA", "source": account.source},
            context=_context(challenge),
            user_id=account.user_id,
        )

    def approve(self, account: Account) -> None:
        """Let the person approve the account's logins on another device."""
        for challenge in self._challenges.values():
            if challenge.account is account:
                challenge.approved = True

    def routes(self) -> Iterable[web.RouteDef]:
        """See `Simulator.routes`."""
        return (
            web.post("/pwd_key_fetch", _password_key),
            web.post("//pwd_key_fetch", _password_key),  # As a well known client writes it.
            web.post("/mobileconfigsessionless", _mobile_config),
            web.post("/auth/login", self._login),
            web.post("/method/auth.login", self._login),
            web.post("/check_approved_machine", self._check_approved),
            web.post("/auth/create_session_for_app", self._session_for_app),
            *self._token_routes(),
            *self._web_routes(),
        )

    def look(self, request: web.Request, body: bytes) -> Seen | None:
        """See `Simulator.look`."""
        form = _parse(body)
        if "approvals_code" in form:
            return Seen(account=self._web_owner(form), code=form["approvals_code"])
        is_second = form.get("credentials_type") == "two_factor"
        code = form.get("twofactor_code") or (form.get("password") if is_second else None)
        if code is None:
            held = request.headers.get("Authorization", "").removeprefix("OAuth ")
            account = self._tokens.get(form.get("access_token", held))
            return Seen(account=account) if account is not None else None
        challenge = self._challenges.get(form.get("first_factor", ""))
        return Seen(account=challenge.account if challenge else None, code=code)

    # The first step --------------------------------------------------------------------

    def _challenge(self, account: Account, device_id: str) -> Challenge:
        challenge = Challenge(account=account, device_id=device_id, born=self.accounts.now())
        self._challenges[challenge.first_factor] = challenge
        account.deliver()
        return challenge

    async def _login(self, request: web.Request) -> web.Response:
        """Answer a form of any kind of credentials."""
        form = _parse(await request.read())
        refusal = _refuse_form(form, self.apps)
        if refusal is not None:
            return self._refuse(request, refusal)
        if form["credentials_type"] == "two_factor":
            return self._second_step(request, form)
        if form["credentials_type"] == "transient_token":
            return self._approved(request, form)
        return self._first_step(request, form)

    def _first_step(self, request: web.Request, form: Mapping[str, str]) -> web.Response:
        account = self.accounts.find(self.provider, form["email"])
        if account is None:
            return self._refuse(request, _UNKNOWN)
        if not secrets.compare_digest(
            account.password.encode(), _password(form["password"]).encode()
        ):
            return self._refuse(request, _wrong("Invalid username or password"))
        if not account.has_second_factor:
            challenge = Challenge(account=account, device_id=form["device_id"], born=0.0)
            return web.json_response(self._session(challenge, account.disposition))
        return self._ask_code(request, self._challenge(account, form["device_id"]))

    def _ask_code(self, request: web.Request, challenge: Challenge) -> web.Response:
        refusal = _Refusal(
            code=_TWO_FACTOR,
            subcode=1348162,
            message="User must provide a second factor",
            title="Login code required",
            data=challenge.error_data,
        )
        return self._refuse(request, refusal)

    # The second step -------------------------------------------------------------------

    def _second_step(self, request: web.Request, form: Mapping[str, str]) -> web.Response:
        challenge = self._challenges.get(form["first_factor"])
        if challenge is None or challenge.over or self._is_expired(challenge):
            return self._refuse(request, _EXPIRED)
        belongs = {
            "userid": challenge.account.user_id,
            "machine_id": challenge.machine_id,
            "device_id": challenge.device_id,
        }
        if any(form[name] != value for name, value in belongs.items()):
            return self._refuse(request, _INVALID)
        if form["email"] not in {challenge.account.username, challenge.account.user_id}:
            return self._refuse(request, _UNKNOWN)
        return self._judge(request, challenge, form)

    def _judge(
        self, request: web.Request, challenge: Challenge, form: Mapping[str, str]
    ) -> web.Response:
        account, code = challenge.account, form["twofactor_code"]
        if account.disposition in _UNSEEN:
            return self._refuse(request, _UNSEEN[account.disposition])
        if account.disposition == "unavailable":
            return web.Response(status=503, text="<h1>Sorry</h1>", content_type="text/html")
        fits = not self.is_strict or form["password"] == code
        if fits and is_right(account, code):
            return self._pass(request, challenge)
        challenge.tries += 1
        challenge.over = challenge.tries >= TRIES_MAX
        scene = SCENES.get(account.disposition)
        if scene is not None and scene.to == "wrong":
            return self._play(challenge)
        if account.disposition == "rotating" and not challenge.over:
            return self._ask_code(request, self._turn(challenge))
        return self._refuse(request, _wrong("The login code you entered doesn't match"))

    def _turn(self, challenge: Challenge, *, keeps_machine: bool = False) -> Challenge:
        """Hand out another first factor for the same code; the last one is stale."""
        challenge.over = True
        following = Challenge(
            account=challenge.account,
            device_id=challenge.device_id,
            born=challenge.born,
            tries=challenge.tries,
        )
        if keeps_machine:
            following.machine_id = challenge.machine_id
        self._challenges[following.first_factor] = following
        return following

    def _is_expired(self, challenge: Challenge) -> bool:
        return self.accounts.now() > challenge.born + CHALLENGE_TTL_S

    def _pass(self, request: web.Request, challenge: Challenge) -> web.Response:
        kind = challenge.account.disposition
        challenge.over = True
        if kind in _AFTER:
            return self._refuse(request, _AFTER[kind])
        if kind in SCENES and SCENES[kind].to == "right":
            return self._play(challenge)
        if kind == "suspended":
            location = "https://www.facebook.com/accounts/suspended/?next=x"
            return web.Response(status=302, headers={"Location": location})
        if kind == "approval":
            data = {key: challenge.error_data[key] for key in ("uid", "machine_id", "auth_token")}
            message = "Approve this login on another device"
            return self._refuse(request, _Refusal(code=_TWO_FACTOR, message=message, data=data))
        return web.json_response(self._session(challenge, kind))

    def _play(self, challenge: Challenge) -> web.Response:
        """Give the account's scene, and keep what follows it."""
        account, words = challenge.account, self._words(challenge)
        return self._scenes.begin(account.id, SCENES[account.disposition], words)

    def _words(self, challenge: Challenge) -> dict[str, Callable[[], str]]:
        """Return the words that a scene may name; each is made when it is named."""
        whole = self._session(challenge, "plain")
        bare = {name: value for name, value in whole.items() if name != "session_cookies"}
        return {
            "session": lambda: json.dumps(whole),
            "open session": lambda: json.dumps(whole)[:-1],
            "token": lambda: json.dumps({**bare, "session_cookies": []}),
            "token open": lambda: json.dumps(bare)[:-1],
            "cookies as text": lambda: json.dumps(json.dumps(whole["session_cookies"])),
            "factor": lambda: self._turn(challenge, keeps_machine=True).first_factor,
            "machine": lambda: challenge.machine_id,
            "member": lambda: challenge.account.user_id,
        }

    async def _session_for_app(self, request: web.Request) -> web.Response:
        account = self._tokens.get(_parse(await request.read()).get("access_token", ""))
        if account is None or not self._scenes.has_more(account.id):
            return self._refuse(request, _UNSEEN["bad_token"])
        return self._scenes.next(account.id)

    def _session(self, challenge: Challenge, kind: str) -> dict[str, object]:
        owner = int(challenge.account.user_id)
        uid = owner + 1 if kind in {"somebody_else", "contradiction"} else owner
        values = challenge.cookies(self.accounts.now())
        if kind == "somebody_else":
            values["c_user"] = str(uid)
        cookies = [
            {
                "name": name,
                "value": value,
                "domain": ".facebook.com",
                "path": "/",
                "expires": "Thu, 01 Jan 1970 00:00:00 GMT"
                if kind == "revoked" and name == "xs"
                else "Tue, 31 Dec 2097 23:59:59 GMT",
                "secure": True,
                "httponly": name != "c_user",
            }
            for name, value in values.items()
        ]
        token = "EAAG" + secrets.token_urlsafe(48)
        self._tokens[token] = challenge.account
        return {
            "session_key": f"5.{secrets.token_urlsafe(9)}.{int(self.accounts.now())}.0-{uid}",
            "uid": uid,
            "secret": secrets.token_hex(16),
            "access_token": token,
            "machine_id": challenge.machine_id,
            "session_cookies": [] if kind == "no_session" else cookies,
            "analytics_claim": f"hmac.{secrets.token_urlsafe(12)}",
            "identifier": challenge.account.username,
            "user_storage_key": secrets.token_hex(16),
        }

    # An approval on another device -----------------------------------------------------

    async def _check_approved(self, request: web.Request) -> web.Response:
        form = _parse(await request.read())
        if not self.apps.knows(form):
            return self._refuse(request, _UNSEEN["bad_token"])
        approved = any(
            challenge.approved
            for challenge in self._challenges.values()
            if challenge.account.user_id == form.get("u") and challenge.machine_id == form.get("m")
        )
        return web.json_response({"data": [{"approved": approved}]})

    def _approved(self, request: web.Request, form: Mapping[str, str]) -> web.Response:
        for challenge in self._challenges.values():
            asked = (form["email"], form["password"])
            if asked == (challenge.account.user_id, challenge.auth_token) and challenge.approved:
                challenge.over = True
                return web.json_response(self._session(challenge, "plain"))
        return self._refuse(request, _wrong("The login was not approved"))

    # Errors ----------------------------------------------------------------------------

    def _refuse(self, request: web.Request, refusal: _Refusal) -> web.Response:
        data: object = refusal.data
        if self.writes_data_as_text:
            data = json.dumps(data)
        if self.is_legacy or request.path == "/method/auth.login":
            return web.json_response(
                {
                    "error_code": refusal.code,
                    "error_subcode": refusal.subcode,
                    "error_msg": f"{refusal.message} {refusal.title} {refusal.user_message}",
                    "error_data": data,
                    "request_args": [],
                },
                headers=refusal.headers,
            )
        error = {
            "message": refusal.message,
            "type": "OAuthException",
            "code": refusal.code,
            "error_subcode": refusal.subcode,
            "error_user_title": refusal.title,
            "error_user_msg": refusal.user_message,
            "error_data": data,
            "fbtrace_id": secrets.token_urlsafe(8),
        }
        return web.json_response({"error": error}, status=refusal.status, headers=refusal.headers)


SIMULATOR = MessengerSimulator


# Helpers -------------------------------------------------------------------------------


async def _password_key(_request: web.Request) -> web.Response:
    """Hand out the key that clients encrypt the password with."""
    said = {"public_key": public_pem().decode(), "key_id": KEY_ID, "seconds_to_live": 3600}
    return web.json_response(said)


async def _mobile_config(_request: web.Request) -> web.Response:
    """Hand out the same key among the app's settings."""
    fields = [{"k": 1, "i64": KEY_ID}, {"k": 2, "str": public_pem().decode()}]
    said = {
        "configs": {"15712": {"fields": fields, "hash": ""}},
        "query_hash": "",
        "one_query_hash": "",
        "ts": int(time.time()),
        "ep_hash": "",
    }
    return web.json_response(said)


def _refuse_form(form: Mapping[str, str], apps: Apps) -> _Refusal | None:
    """Return the refusal of a form that no client of the app may send, ``None`` if it is valid."""
    if not apps.knows(form):
        return _UNSEEN["bad_token"]
    required = _REQUIRED
    if form.get("credentials_type") == "two_factor":
        required |= _REQUIRED_SECOND
    if not form.keys() >= required:
        return _INVALID
    if not apps.key_fits(form):
        return _Refusal(code=101, message="Invalid API key")
    if not apps.is_signed(form):
        return _Refusal(code=104, message="Incorrect signature")
    jazoest = f"2{sum(map(ord, form['device_id']))}"
    return None if form.get("jazoest", jazoest) == jazoest else _INVALID


def _context(challenge: Challenge) -> dict[str, object]:
    """Return what a login service keeps of the first step."""
    return {
        "route": "http",
        "user_agent": USER_AGENT,
        "device": {
            "device_id": challenge.device_id,
            "adid": _uuid(),
            "family_device_id": _uuid(),
            "locale": "en_US",
            "country": "US",
            "connection_type": "WIFI",
            "sim_hni": "310260",
            "net_hni": "310260",
            "device_group": "5120",
        },
        "app": dict(APP),
        "email": challenge.account.username,
        **challenge.error_data,
    }


def _wrong(message: str) -> _Refusal:
    return _Refusal(code=_WRONG, message=message)


def _uuid() -> str:
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _password(sent: str) -> str:
    """Return the password in clear; apps send it as ``#PWD_MSGR:1:<time>:<sealed>``."""
    if not sent.startswith("#PWD_"):
        return sent
    try:
        _app, _version, time, sealed = sent.split(":", 3)
        raw = base64.b64decode(sealed)
        (length,) = struct.unpack_from("<h", raw, 14)  # After two bytes and the nonce.
        key_end = 16 + length
        key = password_key().decrypt(raw[16:key_end], padding.PKCS1v15())
        tag, text = raw[key_end : key_end + 16], raw[key_end + 16 :]
        return AESGCM(key).decrypt(raw[2:14], text + tag, time.encode()).decode()
    except (ValueError, struct.error, InvalidTag):
        return ""


def _parse(body: bytes) -> dict[str, str]:
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in form.items()}
