"""INSTAGRAM's wire: the login under way, and the forms its answers take.

The simulator (`instagram`) decides what is said; this is how it is written.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from checkpoint_worker.providers.sandbox.accounts import Account, Source

APP_USER_AGENT = (
    "Instagram 385.0.0.47.74 Android (34/14; 480dpi; 1080x2400; samsung; SM-S911B; dm1q; qcom; "
    "en_US; 378906843)"
)
WEB_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
BLOKS_VERSION = "5f56efad68e1edec7801f630b5c122704ec5378adbee6609a448f105f34a9c73"

VERIFY_ACTION = "com.bloks.www.two_step_verification.verify_code.async"
CODE_ENTRY_ACTION = "com.bloks.www.ap.two_step_verification.code_entry_async"

CHECKPOINT_ROUTES = frozenset({"challenge", "challenge_web"})
STEPS = {"EMAIL": "verify_email", "SMS": "verify_sms_code"}
FORMS = {"EMAIL": "VerifyEmailCodeForm", "SMS": "VerifySMSCodeForm"}
_BLOKS_METHODS = {"sms": "SMS", "backup_codes": "BACKUP", "totp": "APP"}


@dataclass(slots=True, kw_only=True)
class LoginState:
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
    is_whatsapp: bool = False
    """Whether its code comes by WhatsApp; the inbox here is that of text messages."""

    @property
    def method(self) -> str:
        """The method of a second factor, by the source of its code."""
        return "WHATSAPP" if self.is_whatsapp else self.source

    @property
    def path(self) -> str:
        """The checkpoint's path."""
        return f"/challenge/{self.account.user_id}/{self.key}/"

    @property
    def is_bloks(self) -> bool:
        """Whether the app's newer screens are used."""
        return self.route in {"bloks_two_factor", "bloks_auth_platform"}

    @property
    def is_web(self) -> bool:
        """Whether a browser logs in."""
        return self.route in {"web", "challenge_web"}

    def info(self) -> dict[str, object]:
        """Return ``two_factor_info``."""
        return {
            "pk": int(self.account.user_id),
            "username": self.account.handle,
            "two_factor_identifier": self.key,
            "totp_two_factor_on": self.method == "APP",
            "sms_two_factor_on": self.method == "SMS",
            "whatsapp_two_factor_on": self.method == "WHATSAPP",
            "obfuscated_phone_number": "0109",
            "show_messenger_code_option": False,
            "show_new_login_screen": True,
            "show_trusted_device_option": True,
            "pending_trusted_notification": False,
            "is_trusted_device": False,
            "should_opt_in_trusted_device_option": False,
            "eligible_for_multiple_totp": False,
            "elligible_for_multiple_totp": False,
            "sms_not_allowed_reason": None,
            "device_id": self.device.get("device_id", ""),
        }


CHECK = "Please check the code we sent you and try again."
IDS = ("guid", "device_id", "phone_id")
CODE_FIELDS = ("verification_code", "security_code", "verificationCode")
SCREEN_ERROR = {
    False: '(bk.action.caa.SetState "BLOKS_TWO_STEP_VERIFICATION_ENTER_CODE:error_message" '
    '"{error}")',
    True: '(bk.action.caa.SetState "BLOKS_AUTH_PLATFORM_ENTER_CODE:error_message" "{error}")',
}
CALL = (
    '(bk.action.bloks.AsyncActionWithDataManifestV2 "{app}" (f4i (dkc "server_params") '
    '(dkc (f4i (dkc "device_id" "{key}") (dkc (bk.action.string.DeviceId) "{value}")))))'
)


def context_of(login: LoginState) -> dict[str, object]:
    """Write what a login service would have kept of the first step."""
    context: dict[str, object] = {
        "route": login.route,
        "user_agent": WEB_USER_AGENT if login.is_web else APP_USER_AGENT,
        "cookies": [
            {"name": name, "value": value, "domain": ".instagram.com", "path": "/"}
            for name, value in (
                ("csrftoken", login.token),
                ("mid", secrets.token_urlsafe(20)),
                ("ig_did", new_uuid().upper()),
            )
        ],
    }
    if not login.is_web:
        context |= {"device": dict(login.device), "app": {"bloks_version_id": BLOKS_VERSION}}
    if login.route in CHECKPOINT_ROUTES:
        steps = STEPS if login.route == "challenge" else FORMS
        context |= {"api_path": login.path, "step_name": steps[login.source]}
        if login.account.kind == "long_path":
            context["api_path"] = f"/api/v1{login.path}"
        if login.account.kind == "native":
            context["native_flow"] = True
    elif login.route == "bloks_two_factor":
        context |= {"two_step_verification_context": login.key}
    elif login.route == "bloks_auth_platform":
        context |= {"context_data": login.key, "aac": secrets.token_urlsafe(16)}
    else:
        context |= {"username": login.account.handle, "two_factor_identifier": login.key}
    if login.route == "two_factor":
        flags = login.info()
        context |= {name: flags[name] for name in flags if name.endswith("_two_factor_on")}
    if login.account.kind == "web_api":
        context["two_factor_path"] = "/api/v1/web/accounts/login/ajax/two_factor/"
    return context


def two_factor_required(login: LoginState) -> dict[str, object]:
    """Write the answer that asks for a second factor.

    For backup codes it has the newer screens' context, too: public clients send them there alone.
    """
    newer = {"two_step_verification_context": login.key} if login.source == "BACKUP" else {}
    return {
        **newer,
        "message": "",
        "two_factor_required": True,
        "two_factor_info": login.info(),
        "error_type": "two_factor_required",
        "phone_verification_settings": {
            "max_sms_count": 2,
            "resend_sms_delay_sec": 60,
            "robocall_count_down_time_sec": 30,
            "robocall_after_max_sms": True,
        },
    }


def challenge_required(request: web.Request, login: LoginState) -> dict[str, object]:
    """Write the answer that asks for a checkpoint."""
    challenge = {
        "url": f"{request.scheme}://{request.host}{login.path}",
        "api_path": login.path,
        "hide_webview_header": True,
        "lock": True,
        "logout": False,
        "native_flow": False,
    }
    return {"message": "challenge_required", "challenge": challenge, "error_type": "checkpoint"}


def step_of(login: LoginState) -> dict[str, object]:
    """The state of a checkpoint: waiting for its code."""
    if login.route == "challenge_web":
        form = {"challengeType": FORMS[login.source], "errors": [], "fields": {}}
        return {**form, "challenge": form, "status": "ok"}
    point = "p****n@e******.test" if login.source == "EMAIL" else "+00 *** ** 09"
    return {
        "step_name": STEPS[login.source],
        "step_data": {"security_code": "None", "contact_point": point, "resend_delay": 60},
        "nonce_code": login.key,
        "user_id": int(login.account.user_id),
        "status": "ok",
    }


def is_method(login: LoginState, server: Mapping[str, object]) -> bool:
    """Whether the method that is named is one of the login's."""
    return _BLOKS_METHODS.get(str(server.get("challenge"))) in {login.source, "BACKUP"}


def same_device(login: LoginState, fields: Mapping[str, str]) -> bool:
    """Whether the ids are those of the first step."""
    return all(fields.get(name) == login.device.get(name) for name in ("guid", "device_id"))


def same_token(login: LoginState, given: str | None, request: web.Request) -> bool:
    """Compare field and cookie. Clients that send no token exist, and some that hold two."""
    if given is None:
        return True
    held = [part.strip() for part in request.headers.get("Cookie", "").split(";")]
    return given == login.token and f"csrftoken={given}" in held


def no_longer_valid() -> web.Response:
    """Refuse an identifier that is dead."""
    said = {"message": "This code is no longer valid. Please request a new one."}
    return json_answer(400, {**said, "error_type": "invalid_nonce"})


def session_of(
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


def welcome(login: LoginState, user: Mapping[str, object], kind: str) -> dict[str, object]:
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


def packed_login(
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


def bloks_answer(action: str, data: Sequence[Mapping[str, object]] = ()) -> web.Response:
    """Answer with a program, and with values for the client to keep."""
    payload = {"action": action, "data": list(data)}
    return json_answer(200, {"layout": {"bloks_payload": payload}, "status": "ok"})


def json_answer(
    status: int, body: Mapping[str, object], *, retry_after: int | None = None
) -> web.Response:
    """Answer with JSON, which says ``fail`` unless it says otherwise."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response({"status": "fail", **body}, status=status, headers=headers)


def first_visit(request: web.Request, response: web.Response) -> web.Response:
    """Give a new client the cookies of a first visit."""
    held = cookies_of(request)
    for name in ("csrftoken", "mid", "ig_did"):
        if not held.get(name):
            set_cookie(response, name, secrets.token_urlsafe(20))
    return response


def with_token(login: LoginState, response: web.Response) -> web.Response:
    """Set the login's token."""
    set_cookie(response, "csrftoken", login.token)
    return response


def set_cookie(response: web.Response, name: str, value: str, *, more: str = "") -> None:
    """Add a cookie; its value stays as it is."""
    response.headers.add("Set-Cookie", f"{name}={value}; Path=/{more}")


def cookies_of(request: web.Request) -> dict[str, str]:
    """Return the cookies of a request."""
    pairs = (part.strip().partition("=") for part in request.headers.get("Cookie", "").split(";"))
    return {name: value for name, _, value in pairs if name}


def session_id_of(request: web.Request) -> str:
    """Return the session's id from its header or its cookie."""
    packed = request.headers.get("Authorization", "").rpartition(":")[2]
    try:
        token = json.loads(base64.b64decode(packed))
        return str(token["sessionid"])
    except (ValueError, LookupError, TypeError):
        return cookies_of(request).get("sessionid", "")


def fields_of(body: bytes) -> dict[str, str]:
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


def params_of(fields: Mapping[str, str]) -> tuple[dict[str, object], dict[str, object]]:
    """Return ``client_input_params`` and ``server_params`` of a Bloks request."""
    try:
        params = json.loads(fields.get("params", ""))
    except ValueError:
        params = {}
    params = params if isinstance(params, dict) else {}
    client, server = params.get("client_input_params"), params.get("server_params")
    return client if isinstance(client, dict) else {}, server if isinstance(server, dict) else {}


def new_uuid() -> str:
    """Make up an id of a device."""
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
