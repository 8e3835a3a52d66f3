"""MESSENGER: the context of a login and the requests built from it.

The form is signed with an MD5 over its sorted pairs and the app's secret. The context brings the
app's constants; this module holds none of them.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

from pydantic import field_validator, model_validator

from checkpoint_worker.providers.answers import read_json
from checkpoint_worker.providers.contract import (
    CodeRequest,
    Context,
    Cookie,
    Kinds,
    ProviderBrokenError,
    Reply,
    Request,
    broken_rule,
    cookie_field,
    header_field,
    normalise,
    secret,
    told,
)

LOGIN_PATH: Final = "/auth/login"
SESSION_PATH: Final = "/auth/create_session_for_app"
TRIES_MAX: Final = 99
"""Limit of ``try_num``, far above any limit of failures, so that a context stays bounded."""

SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "uid": ("userid", "user_id"),
    "login_first_factor": ("first_factor", "first_factor_id"),
    "machine_id": (),
    "auth_token": (),
}
"""Fields of ``error_data`` for the second step, with the other names that the apps use."""


def parsed(data: object) -> Mapping[str, object]:
    """Return an ``error_data``, which may be a JSON text; empty if it is neither."""
    if isinstance(data, str):
        with contextlib.suppress(ProviderBrokenError, UnicodeError):
            data = read_json(Reply(status=200, headers={}, body=data.encode()))
    return data if isinstance(data, Mapping) else {}


def parsed_list(listed: object) -> list[object]:
    """Return a list, which may be a JSON text; empty if it is neither."""
    if isinstance(listed, str):
        with contextlib.suppress(ProviderBrokenError, UnicodeError):
            listed = read_json(Reply(status=200, headers={}, body=listed.encode()))
    return listed if isinstance(listed, list) else []


def brought(data: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of an ``error_data`` under the context's names, without empty ones."""
    found: dict[str, object] = {}
    for name, others in SPELLINGS.items():
        value = next((data[each] for each in (name, *others) if data.get(each)), None)
        if value is not None:
            found[name] = value
    return found


KINDS: Final = Kinds(by_type={"2FA": ("SMS", "APP", "BACKUP")})


class MessengerContext(Context):
    """The values of the first step's error 406, and those that the step itself used.

    ``device`` has ``device_id`` and, as far as the first step sent them, ``adid``,
    ``family_device_id``, ``secure_family_device_id``, ``locale`` (``en_US``), ``country``
    (``US``), ``connection_type``, ``sim_hni``, ``net_hni`` and ``device_group``.

    ``app`` has ``app_id`` and ``client_token``, the two halves of the form's ``access_token``;
    ``client_secret``, which signs (the client token, if left out); ``api_key`` (the app id, if
    left out); ``caller_class`` (that of the Messenger app, if left out).
    """

    made_headers: ClassVar[frozenset[str]] = frozenset(
        {"authorization", "x-fb-friendly-name", "x-tigon-is-retry"}
    )

    route: str = told(
        "The app's `auth/login`; also `http`, or left out.",
        example="http",
        checkpoint=str(KINDS),
        default="http",
    )
    user_agent: str = secret(
        "Of the app, as the first step sent it.",
        example="Dalvik/2.1.0 [FBAN/made-up;FBAV/1.0;]",
        kept="maufbapi `state.user_agent`",
        most=1024,
    )
    cookies: tuple[Cookie, ...] = cookie_field(
        {"datr": "made-up"}, what="Of the first step; not sent."
    )
    device: Mapping[str, str] = told(
        "`device_id`; as far as they were sent `adid`, `family_device_id`,"
        " `secure_family_device_id`, `locale`, `country`, `connection_type`, `sim_hni`, `net_hni`,"
        " `device_group`.",
        example={"device_id": "00000000-0000-4000-8000-000000000001", "locale": "en_US"},
        rule="must be an object of texts with device_id",
        kept="maufbapi `state.device.uuid`, `state.device.adid`, `state.device.fdid`,"
        " `state.carrier.hni`",
        default_factory=dict,
        validate_default=True,
        repr=False,
    )
    app: Mapping[str, str] = told(
        "`app_id`, `client_token`; `client_secret` (the token, if left out), `api_key` (the id, if"
        " left out), `caller_class`.",
        example={"app_id": "1000000000", "client_token": "made-up"},
        rule="must be an object of texts with app_id and client_token",
        kept="maufbapi `state.application.client_id`, `state.application.client_secret`",
        default_factory=dict,
        validate_default=True,
        repr=False,
    )
    headers: Mapping[str, str] = header_field(
        {"x-fb-connection-quality": "EXCELLENT"}, kept="the first step's request"
    )
    uid: str = told(
        "`error_data.uid`, a number or its text; also as `userid`, `user_id`.",
        example="1000000001",
        rule="has 1 to 20 digits",
        kept="maufbapi `state.session.uid`",
        pattern=r"^[0-9]{1,20}$",
        coerce_numbers_to_str=True,
        repr=False,
    )
    login_first_factor: str = secret(
        "`error_data.login_first_factor`; also as `first_factor`, `first_factor_id`.",
        example="made-up-factor",
        kept="maufbapi `state.session.login_first_factor`; bitlbee `login_first_factor`",
        most=4096,
        least=1,
    )
    machine_id: str = secret(
        "`error_data.machine_id`, or the first step's if there was none.",
        example="made-up-machine",
        kept="maufbapi `state.session.machine_id`",
        most=1024,
        least=1,
    )
    auth_token: str = secret(
        "`error_data.auth_token`, for an approval in the app; never sent here.",
        example="made-up-token",
        kept="maufbapi `state.session.transient_auth_token`",
        most=4096,
    )
    email: str = secret(
        "The login identifier as the person typed it.",
        example="person@example.com",
        kept="the first step's form `email`",
        most=320,
        least=1,
    )
    try_num: int = told(
        "Which try at this login the next code is; the password was the first.",
        example=2,
        kept="fbchat-v2 `try_num`",
        default=2,
        ge=1,
        le=TRIES_MAX,
    )

    @model_validator(mode="before")
    @classmethod
    def _takes_error_data(cls, said: object) -> object:
        """Accept ``error_data`` as an object or a text, beside fields with the same values."""
        if not isinstance(said, Mapping):
            return said
        kept = {key: value for key, value in said.items() if key != "error_data"}
        inside = brought(parsed(said.get("error_data")))
        for name, others in SPELLINGS.items():
            given = [kept.pop(each) for each in others if each in kept]
            if not kept.get(name) and (found := [*given, *filter(None, [inside.get(name)])]):
                kept[name] = found[0]
        return kept

    def kinds_sent(self) -> Kinds:
        """Return the second factors; codes by email belong to another route of the provider."""
        return KINDS

    @field_validator("device")
    @classmethod
    def _has_id(cls, device: Mapping[str, str]) -> Mapping[str, str]:
        if not device.get("device_id"):
            rule = "needs device_id of the first step"
            raise broken_rule(rule)
        return device

    @field_validator("app")
    @classmethod
    def _has_token(cls, app: Mapping[str, str]) -> Mapping[str, str]:
        if not (app.get("app_id") and app.get("client_token")):
            rule = "needs app_id and client_token, the two halves of the form's access_token"
            raise broken_rule(rule)
        return app


# The request with the code -------------------------------------------------------------

_CONSTANTS: Final[Mapping[str, str]] = {
    "community_id": "",
    "cpl": "true",
    "credentials_type": "two_factor",
    "currently_logged_in_userid": "0",
    "encrypted_msisdn": "",
    "enroll_misauth": "false",
    "fb_api_req_friendly_name": "authenticate",
    "format": "json",
    "generate_analytics_claim": "1",
    "generate_machine_id": "1",
    "generate_session_cookies": "1",
    "meta_inf_fbmeta": "NO_FILE",
    "source": "login",
}
_CALLER_CLASS: Final = "AuthOperations$PasswordAuthOperation"
"""Caller class of the Messenger app."""

_USUAL_HEADERS: Final[Mapping[str, str]] = {
    "x-fb-http-engine": "Liger",
    "x-fb-client-ip": "True",
    "x-fb-server-cluster": "True",
}
"""Headers of the Messenger app; the context's own replace them."""
_DEVICE_HEADERS: Final[Mapping[str, str]] = {
    "x-fb-connection-type": "connection_type",
    "x-fb-sim-hni": "sim_hni",
    "x-fb-net-hni": "net_hni",
    "x-fb-device-group": "device_group",
}
_FORM: Final = "application/x-www-form-urlencoded"


def code_request(context: MessengerContext, base_url: str) -> CodeRequest:
    """Return the request with the form, which is signed when the code is known."""
    app, fields = context.app, _fields(context)
    secret = app.get("client_secret") or app["client_token"]

    def body(code: str) -> bytes:
        code = normalise(code)
        # The context has no password; the provider accepts the code in its place.
        form = {**fields, "twofactor_code": code, "password": code}
        form["sig"] = _signature(form, secret)
        form["access_token"] = f"{app['app_id']}|{app['client_token']}"
        return "&".join(f"{quote(key)}={quote(form[key])}" for key in sorted(form)).encode()

    return CodeRequest(url=base_url + LOGIN_PATH, headers=_headers(context), body=body)


def _signature(form: Mapping[str, str], secret: str) -> str:
    pairs = "".join(f"{key}={form[key]}" for key in sorted(form))
    return hashlib.md5((pairs + secret).encode(), usedforsecurity=False).hexdigest()


def _fields(context: MessengerContext) -> dict[str, str]:
    device, app = context.device, context.app
    device_id = device["device_id"]
    fields = {
        **_CONSTANTS,
        "adid": device.get("adid", ""),
        "api_key": app.get("api_key") or app["app_id"],
        "client_country_code": device.get("country", "US"),
        "device_id": device_id,
        "email": context.email,
        "fb_api_caller_class": app.get("caller_class") or _CALLER_CLASS,
        "first_factor": context.login_first_factor,
        "jazoest": f"2{sum(map(ord, device_id))}",
        "locale": device.get("locale", "en_US"),
        "machine_id": context.machine_id,
        "secure_family_device_id": device.get("secure_family_device_id", ""),
        "try_num": str(context.try_num),
        "userid": context.uid,
    }
    if family := device.get("family_device_id"):
        fields["family_device_id"] = family
    return fields


def _headers(context: MessengerContext) -> dict[str, str]:
    headers = {"User-Agent": context.user_agent} if context.user_agent else {}
    headers |= {
        "Authorization": "OAuth null",
        "Content-Type": _FORM,
        "x-fb-friendly-name": "authenticate",
        "x-tigon-is-retry": "False",
    }
    given = {name.lower() for name in context.headers}
    usual = dict(_USUAL_HEADERS)
    usual |= {name: context.device.get(key, "") for name, key in _DEVICE_HEADERS.items()}
    headers |= {name: value for name, value in usual.items() if value and name not in given}
    return context.with_headers(headers)


# The request for cookies ---------------------------------------------------------------


def session_request(
    context: MessengerContext, base_url: str, *, access_token: str, machine_id: str
) -> Request:
    """Return the request by which an app exchanges its access token for cookies.

    Args:
        context: The context of the login.
        base_url: The provider's address.
        access_token: Token of the finished login.
        machine_id: Machine id of that login's answer.
    """
    form = {
        "access_token": access_token,
        "device_id": context.device["device_id"],
        "format": "json",
        "generate_analytics_claim": "1",
        "generate_session_cookies": "1",
        "machine_id": machine_id or context.machine_id,
        "new_app_id": context.app["app_id"],
    }
    made: dict[str, Any] = {"User-Agent": context.user_agent} if context.user_agent else {}
    made |= {"Content-Type": _FORM, "x-fb-friendly-name": "create_session_for_app"}
    return Request(
        method="POST",
        url=base_url + SESSION_PATH,
        headers=context.with_headers(made),
        body=urlencode(form).encode(),
    )
