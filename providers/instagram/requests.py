"""INSTAGRAM: the request that carries the code, one per route, and the state of a checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus, urlencode

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    CodeRequest,
    Cookie,
    MalformedRequestError,
    Request,
    normalise,
    source_of,
)
from checkpoint_worker.providers.http.cookies import cookie_header
from checkpoint_worker.providers.http.html import require_path
from checkpoint_worker.providers.instagram.contexts import (
    WEB_PATHS,
    AppContext,
    BloksAuthPlatformContext,
    BloksContext,
    BloksTwoFactorContext,
    ChallengeContext,
    ChallengeWebContext,
    CheckpointContext,
    InstagramContext,
    TwoFactorContext,
    WebContext,
)
from checkpoint_worker.providers.instagram.fields import CODE_FORMATS

TWO_FACTOR_PATH = "/api/v1/accounts/two_factor_login/"
VERIFY_ACTION = "com.bloks.www.two_step_verification.verify_code.async"
CODE_ENTRY_ACTION = "com.bloks.www.ap.two_step_verification.code_entry_async"

# Constants of the app, not of a device; ``app`` may replace each under its name here.
_APP = {
    "app_id": "567067343352427",
    "capabilities": "3brTv10=",
    "connection_type": "WIFI",
    "http_engine": "Liger",
    "locale": "en_US",  # Answers are localised, and their texts are read last.
}
_WEB_APP_ID = "936619743392459"
_QPL_MARKER_ID = 36707139  # The app's constant in requests of route ``bloks_auth_platform``.

# Source, with ``verification_method`` of ``two_factor`` and ``challenge`` of ``bloks_two_factor``.
_METHODS = {
    "SMS": ("1", "sms"),
    "BACKUP": ("2", "backup_codes"),
    "APP": ("3", "totp"),
    "WHATSAPP": ("6", "whatsapp"),
}


def code_request(context: InstagramContext, *, source: str | None, base_url: str) -> CodeRequest:
    """Return the one request that carries the code.

    Args:
        context: The context of any route.
        source: The checkpoint's: ``SMS``, ``EMAIL``, ``APP``, ``BACKUP`` or unknown.
        base_url: Address of the route's host.

    Raises:
        ActionRequiredError: This checkpoint takes no code.
        MalformedRequestError: Neither checkpoint nor context names the code's method.
        UnescapedCharactersError: ``api_path`` cannot go into a URL.
    """
    match context:
        case TwoFactorContext():
            return _two_factor(context, source, base_url)
        case ChallengeContext():
            return _challenge(context, base_url)
        case ChallengeWebContext():
            return _challenge_web(context, base_url)
        case BloksTwoFactorContext():
            return _bloks_two_factor(context, source, base_url)
        case BloksAuthPlatformContext():
            return _bloks_auth_platform(context, base_url)
        case WebContext():
            return _web(context, source, base_url)
    msg = f"no request for {type(context).__name__}"
    raise AssertionError(msg)


# The method a code belongs to ----------------------------------------------------------


def _method(context: InstagramContext, source: str | None) -> str | None:
    """Return the source of the prompt's method: the checkpoint's own, else one that is offered."""
    return source if source in _METHODS else context.usual()


def _source_of(context: InstagramContext, source: str, code: str) -> str:
    """Return the source that a code is of.

    A backup code typed at an app's prompt is sent as a backup code, and the reverse: the provider
    takes all codes in the same field.
    """
    found = source_of(code, source, CODE_FORMATS) or source
    if source == "BACKUP" and len(normalise(code)) < CODE_FORMATS["BACKUP"].whole_length:
        return _method(context, None) or source
    return found


def _need_method(context: InstagramContext, source: str | None) -> str:
    method = _method(context, source)
    if method is None:
        msg = "Neither the checkpoint nor its context says which second factor the code is of."
        raise MalformedRequestError(msg)
    return method


# Route by route ------------------------------------------------------------------------


def _two_factor(context: TwoFactorContext, source: str | None, base_url: str) -> CodeRequest:
    named = context.verification_method
    prompt = (_method(context, source) or "SMS") if named else _need_method(context, source)
    ids = _ids(context, "guid", "device_id", "phone_id")
    if context.waterfall_id:
        ids["waterfall_id"] = context.waterfall_id

    def body(code: str) -> bytes:
        of = _source_of(context, prompt, code)
        number = named if named and of != "BACKUP" else _METHODS[of][0]
        return _signed(
            {
                "verification_code": normalise(code),
                "two_factor_identifier": context.two_factor_identifier,
                "username": context.username,
                "verification_method": number,
                "trust_this_device": str(int(context.trust_this_device)),
                **ids,
            }
        )

    return CodeRequest(
        url=base_url + TWO_FACTOR_PATH, headers=_app_headers(context, TWO_FACTOR_PATH), body=body
    )


def _challenge(context: ChallengeContext, base_url: str) -> CodeRequest:
    path = "/api/v1" + _checkpoint_path(context)
    fields = _ids(context, "guid", "device_id")
    return CodeRequest(
        url=base_url + path,
        headers=_app_headers(context, path),
        body=lambda code: _signed({"security_code": normalise(code), **fields}),
    )


def state_request(context: ChallengeContext, *, base_url: str) -> Request:
    """Return the request for the step of a checkpoint. It carries no code."""
    path = "/api/v1" + require_path(context.api_path)
    query = {name: context.device[name] for name in ("guid", "device_id")}
    if context.challenge_context:
        query["challenge_context"] = context.challenge_context
    headers = _app_headers(context, path)
    del headers["Content-Type"]
    mark = "&" if "?" in path else "?"
    url = f"{base_url}{path}{mark}{urlencode(query)}"
    return Request(url=url, headers=headers)


def _checkpoint_path(context: CheckpointContext) -> str:
    if not context.takes_code:
        msg = "This checkpoint takes no code; the person must pass it in the provider's own app."
        raise ActionRequiredError(msg)
    return require_path(context.api_path)


def _challenge_web(context: ChallengeWebContext, base_url: str) -> CodeRequest:
    path = _checkpoint_path(context)
    return CodeRequest(
        url=base_url + path,
        headers=_web_headers(context, base_url, path, referer=path),
        body=lambda code: urlencode({"security_code": normalise(code)}).encode(),
    )


def _web(context: WebContext, source: str | None, base_url: str) -> CodeRequest:
    path = context.two_factor_path
    method = _method(context, source) or "SMS"

    def body(code: str) -> bytes:
        form = {
            "username": context.username,
            "verificationCode": normalise(code),
            "identifier": context.two_factor_identifier,
        }
        if path != WEB_PATHS[0]:  # The older path takes no method.
            form |= {
                "verification_method": _METHODS[_source_of(context, method, code)][0],
                "trust_signal": str(context.trust_this_device).lower(),
                "queryParams": "{}",
            }
        return urlencode(form).encode()

    return CodeRequest(
        url=base_url + path, headers=_web_headers(context, base_url, path, referer="/"), body=body
    )


def _bloks_two_factor(
    context: BloksTwoFactorContext, source: str | None, base_url: str
) -> CodeRequest:
    named = context.challenge
    prompt = (_method(context, source) or "APP") if named else _need_method(context, source)

    def params(code: str) -> dict[str, object]:
        of = _source_of(context, prompt, code)
        challenge = named if named and of != "BACKUP" else _METHODS[of][1]
        server_params = {
            "two_step_verification_context": context.two_step_verification_context,
            "challenge": challenge,
            "flow_source": "two_factor_login",
            "device_id": context.device["device_id"],
            "should_fallback_to_sms": 0,
            "spectra_reg_login_data": None,
        }
        client_input_params = {
            "code": normalise(code),
            "should_trust_device": int(context.trust_this_device),
            "family_device_id": context.device["phone_id"],
            "device_id": context.device["device_id"],
            "machine_id": context.machine_id,
            "auth_secure_device_id": "",
            "block_store_machine_id": "",
            "cloud_trust_token": None,
            "network_bssid": None,
        }
        return {"client_input_params": client_input_params, "server_params": server_params}

    return _bloks(context, VERIFY_ACTION, base_url, params)


def _bloks_auth_platform(context: BloksAuthPlatformContext, base_url: str) -> CodeRequest:
    def params(code: str) -> dict[str, object]:
        return {
            "client_input_params": {
                "code": normalise(code),
                "aac": context.aac,
                "family_device_id": context.device["phone_id"],
                "device_id": context.device["device_id"],
                "machine_id": context.machine_id,
                "auth_secure_device_id": "",
            },
            "server_params": {
                "context_data": context.context_data,
                "device_id": context.device["guid"],
                "INTERNAL__latency_qpl_marker_id": _QPL_MARKER_ID,
                "INTERNAL__latency_qpl_instance_id": time.time_ns() // 1_000_000,
            },
        }

    return _bloks(context, CODE_ENTRY_ACTION, base_url, params)


def _bloks(
    context: BloksContext, action: str, base_url: str, params: Callable[[str], object]
) -> CodeRequest:
    """Return the request of a Bloks action, which is a plain form."""
    path = f"/api/v1/bloks/async_action/{action}/"
    version = context.app["bloks_version_id"]
    client = _json({"bloks_version": version, "styles_id": "instagram"})

    def body(code: str) -> bytes:
        form = {
            "params": _json(params(code)),
            "_uuid": context.device["guid"],
            "bk_client_context": client,
            "bloks_versioning_id": version,
        }
        return urlencode(form).encode()

    friendly = {"X-FB-Friendly-Name": f"IgApi: bloks/async_action/{action}/"}
    headers = _app_headers(context, path) | friendly
    return CodeRequest(url=base_url + path, headers=headers, body=body)


# Helpers -------------------------------------------------------------------------------


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _signed(fields: Mapping[str, str]) -> bytes:
    """Return a form of the app's own API; ``SIGNATURE`` stands in the place of an old signature."""
    return b"signed_body=SIGNATURE." + quote_plus(_json(fields)).encode()


def _ids(context: AppContext, *names: str) -> dict[str, str]:
    """Return the device ids that the first step had, and the CSRF token."""
    found = {name: context.device.get(name, "") for name in names}
    found["_csrftoken"] = context.token
    return {name: value for name, value in found.items() if value}


def _sent(context: InstagramContext, made: Mapping[str, str]) -> dict[str, str]:
    """Return a request's headers: those of the adapter and the client's own.

    The client's header replaces the adapter's, for example the language.
    """
    own = {name.lower() for name in context.headers}
    kept = {name: value for name, value in made.items() if value and name.lower() not in own}
    return context.with_headers(kept)


def _app_headers(context: AppContext, path: str) -> dict[str, str]:
    app = {**_APP, **context.app}
    made = {
        "User-Agent": context.user_agent,
        "X-IG-App-ID": app["app_id"],
        "X-IG-Device-ID": context.device["guid"],
        "X-IG-Family-Device-ID": context.device.get("phone_id", ""),
        "X-IG-Android-ID": context.device["device_id"],
        "X-MID": context.machine_id,
        "X-Bloks-Version-Id": app.get("bloks_version_id", ""),
        "X-IG-App-Locale": app["locale"],
        "Accept-Language": app["locale"].replace("_", "-"),
        "X-IG-WWW-Claim": context.www_claim or "0",
        "IG-INTENDED-USER-ID": "0",
        "X-IG-Capabilities": app["capabilities"],
        "X-IG-Connection-Type": app["connection_type"],
        "X-FB-HTTP-Engine": app["http_engine"],
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "Cookie": cookie_header(context.cookies, path=path),
    }
    return _sent(context, made)


def _web_jar(context: InstagramContext) -> tuple[Cookie, ...]:
    """Return a browser's cookies, including the values that a client stores outside its jar."""
    kept = {"csrftoken": context.token, "mid": context.machine_id, "ig_did": context.ig_did}
    missing = (
        Cookie(name=name, value=value)
        for name, value in kept.items()
        if value and not context.cookie(name)
    )
    return (*context.cookies, *missing)


def _web_headers(
    context: InstagramContext, base_url: str, path: str, *, referer: str
) -> dict[str, str]:
    made = {
        "User-Agent": context.user_agent,
        "Accept": "*/*",
        "Accept-Language": "en-US",
        "X-CSRFToken": context.token,
        "X-Requested-With": "XMLHttpRequest",
        "X-Instagram-AJAX": context.app.get("instagram_ajax", "1"),
        "X-IG-App-ID": context.app.get("app_id", _WEB_APP_ID),
        "X-IG-WWW-Claim": context.www_claim,
        "Origin": base_url,
        "Referer": base_url + referer,
        "Content-Type": "application/x-www-form-urlencoded",
        "Cookie": cookie_header(_web_jar(context), path=path),
    }
    return _sent(context, made)
