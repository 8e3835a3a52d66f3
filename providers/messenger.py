"""MESSENGER: a Facebook account, over the Android app's ``auth/login``.

The first step was refused with error 406 and an ``error_data``, whose values go back with
the code in a signed form. Text messages, authenticator apps and recovery codes share that
one form; the answer is JSON, either a session or an error with a number.

Not done here: codes by email (another route of the provider) and waiting for an approval in
the provider's app (it carries no code). App constants come with the context, none is here.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self
from urllib.parse import quote

from pydantic import Field, ValidationError, model_validator

from providers.answers import read_json, refuse_common
from providers.contract import (
    AccountRestrictedError,
    ActionRequiredError,
    Challenge,
    Cleared,
    CodeFormat,
    CodeRequest,
    Context,
    Cookie,
    DeadIntentError,
    Exchange,
    InvalidRequestError,
    MalformedRequestError,
    ProviderBrokenError,
    ProviderFailure,
    Rejected,
    Reply,
    SessionMismatchError,
    SolutionKind,
    UnknownContextError,
    Verdict,
    normalise,
)
from providers.cookies import parse_set_cookie
from providers.reading import cookie_value

LOGIN_PATH = "/auth/login"
TRIES_MAX = 99  # Far above any limit of failures; a context is bounded all the same.

STILL_TWO_FACTOR = 406
THROTTLED = 429

_GUARD = b"for (;;);"  # Put before JSON against its inclusion as a script.
_NUMBER = re.compile(r"[0-9]{1,20}")


class MessengerContext(Context):
    """What the first step's error 406 brought, and what that step was done with.

    ``device`` has ``device_id`` and, as far as the first step sent them, ``adid``,
    ``family_device_id``, ``secure_family_device_id``, ``locale`` (``en_US``), ``country``
    (``US``), ``connection_type``, ``sim_hni``, ``net_hni`` and ``device_group``.

    ``app`` has ``app_id`` and ``client_token``, the two halves of the form's ``access_token``;
    ``client_secret``, which signs (the client token, if left out); ``api_key`` (the app id, if
    left out); ``caller_class`` (that of the Messenger app, if left out).

    Attributes:
        uid: ``error_data.uid``, a number or its text.
        login_first_factor: ``error_data.login_first_factor``.
        machine_id: ``error_data.machine_id``, or the first step's if there was none.
        auth_token: ``error_data.auth_token``, for an approval in the app; never sent here.
        email: The login identifier as the person typed it.
        try_num: Which try at this login the next code is; the password was the first.
    """

    uid: str = Field(pattern=r"^[0-9]{1,20}$", coerce_numbers_to_str=True, repr=False)
    login_first_factor: str = Field(min_length=1, max_length=4096, repr=False)
    machine_id: str = Field(min_length=1, max_length=1024, repr=False)
    auth_token: str = Field(default="", max_length=4096, repr=False)
    email: str = Field(min_length=1, max_length=320, repr=False)
    try_num: int = Field(default=2, ge=1, le=TRIES_MAX)

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if not self.device.get("device_id"):
            msg = "device needs the first step's device_id"
            raise ValueError(msg)
        if not (self.app.get("app_id") and self.app.get("client_token")):
            msg = "app needs app_id and client_token"
            raise ValueError(msg)
        return self


# The request ---------------------------------------------------------------------------

_CONSTANTS: Mapping[str, str] = {
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
_CALLER_CLASS = "AuthOperations$PasswordAuthOperation"  # Of the Messenger app.

_DEVICE_HEADERS: Mapping[str, str] = {
    "x-fb-connection-type": "connection_type",
    "x-fb-sim-hni": "sim_hni",
    "x-fb-net-hni": "net_hni",
    "x-fb-device-group": "device_group",
}


def _code_request(context: MessengerContext, base_url: str) -> CodeRequest:
    app, fields = context.app, _fields(context)
    secret = app.get("client_secret") or app["client_token"]

    def body(code: str) -> bytes:
        code = normalise(code)
        # The password is not held here; the provider takes the code in its place.
        form = {**fields, "twofactor_code": code, "password": code}
        form["sig"] = _signature(form, secret)
        form["access_token"] = f"{app['app_id']}|{app['client_token']}"
        return "&".join(f"{quote(key)}={quote(form[key])}" for key in sorted(form)).encode()

    return CodeRequest(
        method="POST", url=base_url + LOGIN_PATH, headers=_headers(context), body=body
    )


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
        "Content-Type": "application/x-www-form-urlencoded",
        "x-fb-friendly-name": "authenticate",
        "x-fb-http-engine": "Liger",
        "x-fb-client-ip": "True",
        "x-fb-server-cluster": "True",
        "x-tigon-is-retry": "False",
    }
    for header, name in _DEVICE_HEADERS.items():
        if value := context.device.get(name):
            headers[header] = value
    return headers


# What errors mean ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Error:
    """One error of the provider, in whichever form it came.

    Attributes:
        line: ``graph 405/1348 what its title and messages say``, or ``legacy …``. Read, never
            repeated.
        speaks: Whether it has a message meant for the person.
        data: ``error_data``.
    """

    code: int
    line: str = field(repr=False)
    speaks: bool
    data: Mapping[str, object] = field(repr=False)


_ENDED = "The provider has ended this challenge; the login must start again."
_ON_SITE = "The provider asks the person to confirm the login on its site or in its app."
_RESTRICTED = "The provider has disabled, locked or blocked this account."
_APPROVE = (
    "The provider takes no code now: the person must approve the login on a device that is "
    "logged in already, or on its site; then the login must start again."
)
_ANOTHER_WAY = (
    "The provider takes a code by text message, from an authenticator app or from the recovery "
    "codes, any of them without asking first; or an approval on another device."
)

# The first pattern that fits a line from its start; `None`: the code was refused. Subcodes are
# the surest; words are localised and come after the numbers that leave no doubt.
_MEANINGS: tuple[tuple[str, type[ProviderFailure] | None, str], ...] = (
    (r"\w+ \d+/(459|490) ", ActionRequiredError, _ON_SITE),
    (r"\w+ \d+/460 ", DeadIntentError, "The account's password was changed; log in again."),
    (r"\w+ \d+/463 ", DeadIntentError, _ENDED),
    (r"\w+ (401|406)/", None, ""),
    (r"legacy 1/", AccountRestrictedError, _RESTRICTED),
    (r".*\b(disabled|locked)\b", AccountRestrictedError, _RESTRICTED),
    (r"\w+ 368/.*temporarily blocked", AccountRestrictedError, _RESTRICTED),
    (r"\w+ 405/", ActionRequiredError, _ON_SITE),
    (r".*checkpoint", ActionRequiredError, _ON_SITE),
    (r".*session (has )?expired", DeadIntentError, _ENDED),
    (r"\w+ 368/", ProviderBrokenError, "The provider blocks this as a guard against abuse."),
    (r"\w+ 400/", DeadIntentError, "The provider does not know this login; it must start again."),
    (r"\w+ 190/", SessionMismatchError, "The provider does not take the app's token here."),
    (r"\w+ (100|101|104)/", MalformedRequestError, "The provider refused the form or signature."),
)
_THROTTLING = frozenset({4, 17, 32, 613, 3252001})
_TRANSIENT = frozenset({1, 2})


class Messenger:
    """The MESSENGER adapter, route ``http``; ``auth_login`` is its name in full."""

    provider = "MESSENGER"
    default_url = "https://b-graph.facebook.com"
    contexts: MappingProxyType[str, type[Context]] = MappingProxyType(
        {"http": MessengerContext, "auth_login": MessengerContext},
    )
    code_formats: MappingProxyType[str, CodeFormat] = MappingProxyType(
        {
            "SMS": CodeFormat(max_length=6),
            "EMAIL": CodeFormat(max_length=8),
            "APP": CodeFormat(max_length=6),
            "BACKUP": CodeFormat(max_length=8),
        },
    )
    prepares = False
    knows_another_way = False

    async def verify(self, challenge: Challenge, exchange: Exchange) -> Verdict:
        """Send the signed form with the code and read the answer; see `Adapter.verify`."""
        held = challenge.context
        assert isinstance(held, MessengerContext), "the caller validates with `contexts`"
        if challenge.solution is SolutionKind.ANOTHER_WAY:
            raise ActionRequiredError(_ANOTHER_WAY)
        if challenge.checkpoint.source == "EMAIL":
            msg = "The provider takes no codes from an email at this step."
            raise InvalidRequestError(msg)
        return _read(await exchange.send_code(_code_request(held, challenge.base_url)), held)


# The answer ----------------------------------------------------------------------------


def _read(reply: Reply, held: MessengerContext) -> Verdict:
    _refuse_elsewhere(reply)
    body = _body(reply)
    error = _error_in(body)
    if body.get("access_token"):
        if error is not None or reply.status // 100 != 2:  # noqa: PLR2004  successes
            msg = "The provider's answer contradicts itself: a login and a refusal in one."
            raise ProviderBrokenError(msg)
        return _cleared(body)
    if error is None:
        refuse_common(reply)
        msg = "The provider's answer is neither a login nor an error."
        raise ProviderBrokenError(msg)
    return _judge(error, reply, held)


def _refuse_elsewhere(reply: Reply) -> None:
    """Refuse an answer that only leads somewhere else; redirects are never followed."""
    location = reply.headers.get("location", "")
    is_redirect = reply.status // 100 == 3  # noqa: PLR2004  redirects
    if is_redirect and "/accounts/suspended" in location:
        raise AccountRestrictedError(_RESTRICTED)
    wants_checkpoint = "checkpoint" in reply.headers.get("x-fb-integrity-required", "").lower()
    if wants_checkpoint or (is_redirect and "/checkpoint" in location):
        raise ActionRequiredError(_ON_SITE)
    if is_redirect:
        msg = "The provider redirects instead of answering; the code is sent only once."
        raise ProviderBrokenError(msg)


def _body(reply: Reply) -> Mapping[str, object]:
    try:
        body = read_json(reply, prefix=_GUARD)
    except ProviderBrokenError:
        refuse_common(reply)  # An error page's status says more than that it is no JSON.
        raise
    return body if isinstance(body, Mapping) else {}


def _judge(error: _Error, reply: Reply, held: MessengerContext) -> Rejected:
    """Return that the code was refused, or raise what else the error means."""
    for pattern, failure, detail in _MEANINGS:
        if re.match(pattern, error.line):
            if failure is None:
                return _rejected(error, held)
            raise failure(detail)
    # What 429 says in its status these say in a number; the wait asked for is the same.
    refuse_common(replace(reply, status=THROTTLED) if error.code in _THROTTLING else reply)
    if error.speaks and error.code not in _TRANSIENT:
        msg = "The provider asks something of the person that is not known here."
        raise UnknownContextError(msg)
    msg = "The provider reports an error of its own."
    raise ProviderBrokenError(msg)


def _rejected(error: _Error, held: MessengerContext) -> Rejected:
    """Return the refusal with the context for the next try; whose login it is never changes."""
    if error.code == STILL_TWO_FACTOR and not error.data.get("login_first_factor"):
        raise ActionRequiredError(_APPROVE)
    names = ("login_first_factor", "machine_id", "auth_token")
    fresh = {name: error.data[name] for name in names if error.data.get(name)}
    try_num = min(held.try_num + 1, TRIES_MAX)
    try:
        context = MessengerContext.model_validate({**dict(held), **fresh, "try_num": try_num})
    except ValidationError:
        msg = "The provider's error is not of a kind that can be answered."
        raise ProviderBrokenError(msg) from None
    return Rejected(context=context)


def _error_in(body: Mapping[str, object]) -> _Error | None:
    """Find the error: Graph's ``error``, a list ``errors``, or the legacy host's own fields."""
    several = body.get("errors")
    told = body.get("error") or (several[0] if isinstance(several, list) and several else None)
    form = "graph"
    if not told:
        form, told = "legacy", body if body.get("error_code") else None
    if not told:
        return None
    told = told if isinstance(told, Mapping) else {}
    names = ("error_user_title", "error_user_msg", "message", "error_msg")
    data = told.get("error_data")
    if isinstance(data, str):
        data = _parsed(data)
    code = _number(told.get("code") or told.get("error_code"))
    words = " ".join(str(told.get(name) or "") for name in names).lower().split()
    return _Error(
        code=code,
        line=" ".join([form, f"{code}/{_number(told.get('error_subcode'))}", *words, ""]),
        speaks=bool(told.get("error_user_msg")),
        data=data if isinstance(data, Mapping) else {},
    )


def _parsed(text: str) -> object:
    with contextlib.suppress(ProviderBrokenError):
        return read_json(Reply(status=200, headers={}, body=text.encode()))
    return None


def _number(value: object) -> int:
    text = str(value)  # Numbers, or numbers written as text.
    return int(text) if _NUMBER.fullmatch(text) else 0


# The finished login --------------------------------------------------------------------

_TOKENS = (
    "access_token", "session_key", "secret", "machine_id", "analytics_claim",
    "user_storage_key", "identifier",
)  # fmt: skip


def _cleared(body: Mapping[str, object]) -> Cleared:
    listed = body.get("session_cookies")
    made = (_cookie(each) for each in (listed if isinstance(listed, list) else []))
    cookies = [cookie for cookie in made if cookie is not None]
    owner = cookie_value(cookies, "c_user")
    if owner is None or cookie_value(cookies, "xs") is None:
        msg = "The provider accepted the code but gave no session."
        raise ProviderBrokenError(msg)
    user_id = str(body.get("uid", owner))
    if user_id != owner or not _NUMBER.fullmatch(user_id):
        msg = "The provider accepted the code but named no account, or more than one."
        raise ProviderBrokenError(msg)
    session: dict[str, object] = {name: body[name] for name in _TOKENS if name in body}
    session["cookies"] = [cookie.model_dump() for cookie in cookies]
    return Cleared(user_id=user_id, session=session)


def _cookie(listed: object) -> Cookie | None:
    """Read a cookie of the JSON list; its dates are those of ``Set-Cookie``, or numbers."""
    if not isinstance(listed, Mapping) or not isinstance(listed.get("value"), str | int):
        return None
    said = [f"{listed.get('name')}={listed['value']}"]
    said += [f"{name}={listed.get(name)}" for name in ("domain", "path", "expires", "max-age")]
    cookie = parse_set_cookie("; ".join(said))
    at = listed.get("expires")
    if cookie is None or not isinstance(at, int | float):
        return cookie
    return cookie.model_copy(update={"expires_at": float(at)})
