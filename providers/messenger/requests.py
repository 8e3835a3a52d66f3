"""MESSENGER: the context of a login and the requests built from it.

The form is signed with an MD5 over its sorted pairs and the app's secret. The context brings the
app's constants; this module holds none of them.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from checkpoint_worker.providers.answers import read_json
from checkpoint_worker.providers.contract import (
    CodeRequest,
    Context,
    ProviderBrokenError,
    Reply,
    Request,
    normalise,
    secret,
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

    uid: str = Field(
        pattern=r"^[0-9]{1,20}$",
        coerce_numbers_to_str=True,
        repr=False,
        description="`error_data.uid`, a number or its text.",
    )
    login_first_factor: str = secret("`error_data.login_first_factor`.", most=4096, least=1)
    machine_id: str = secret(
        "`error_data.machine_id`, or the first step's if there was none.", most=1024, least=1
    )
    auth_token: str = secret(
        "`error_data.auth_token`, for an approval in the app; never sent here.", most=4096
    )
    email: str = secret("The login identifier as the person typed it.", most=320, least=1)
    try_num: int = Field(
        default=2,
        ge=1,
        le=TRIES_MAX,
        description="Which try at this login the next code is; the password was the first.",
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

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if not self.device.get("device_id"):
            msg = "device needs the first step's device_id"
            raise ValueError(msg)
        if not (self.app.get("app_id") and self.app.get("client_token")):
            msg = "app needs app_id and client_token"
            raise ValueError(msg)
        return self


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
