"""instagrapi and aiograpi: one form, in `Client.get_settings` and ``last_json``."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from checkpoint_worker.providers.bridges.forms import (
    State,
    cookies_of,
    found,
    given,
    need,
    own_cookies,
    values,
)
from checkpoint_worker.providers.bridges.instagram import intent_of

PROVIDER: Final = "INSTAGRAM"
_LIBRARY: Final = "instagrapi"
_AGENT: Final = re.compile(
    r"Instagram (?P<app_version>[^ ]+) Android"
    r" \((?P<android_version>\d+)/(?P<android_release>[^;]+); (?P<dpi>[^;]+)"
    r"; (?P<resolution>[^;]+); (?P<manufacturer>[^;]+); (?P<model>[^;]+)"
    r"; (?P<device>[^;]+); (?P<cpu>[^;]+); (?P<locale>[^;]+); (?P<version_code>\d+)\)"
)
"""The user agent, which the library makes of ``device_settings`` whenever it loads settings."""
_OURS: Final = (
    "jar", "app_id", "bloks_versioning_id", "username", "last_json", "challenge_path", "headers",
)  # fmt: skip
"""The fields that `state_of` adds to the library's own settings."""
_APP: Final = {
    "X-FB-HTTP-Engine": "http_engine",
    "X-IG-Capabilities": "capabilities",
    "X-IG-Connection-Type": "connection_type",
}
"""Headers that a context has among its constants of the app."""
_STANDING: Final = (
    "X-Bloks-Is-Layout-RTL", "X-Bloks-Is-Panorama-Enabled", "X-FB-Client-IP", "X-FB-Server-Cluster",
    "X-IG-App-Startup-Country", "X-IG-Bandwidth-Speed-KBPS", "X-IG-Bandwidth-TotalBytes-B",
    "X-IG-Bandwidth-TotalTime-MS", "X-IG-Device-Locale", "X-IG-Mapped-Locale", "X-IG-Nav-Chain",
    "X-IG-Timezone-Offset", "X-Pigeon-Session-Id", "X-Tigon-Is-Retry", "X-Zero-Balance",
    "X-Zero-State", "Zero-HTTP-Network-Interface",
)  # fmt: skip
"""Headers of each of the library's requests that no adapter makes and that hold no time."""


def state_of(client: Any) -> State:  # noqa: ANN401  a Client
    """Return the client's settings, with its whole jar and the answer at which it stopped."""
    path = urlsplit(str(getattr(client.last_response, "url", ""))).path
    return {
        **client.get_settings(),
        "jar": cookies_of(client.private.cookies),
        "app_id": client.app_id,
        "bloks_versioning_id": client.bloks_versioning_id,
        "username": client.username,
        "headers": {
            name: value
            for name, value in getattr(client, "base_headers", {}).items()
            if name in {*_APP, *_STANDING}
        },
        "last_json": client.last_json,
        "challenge_path": path if "/challenge/" in path else "",
    }


def context_from(
    client: Any,  # noqa: ANN401  a Client, or its state
    answer: object = None,
    *,
    source: str | None = None,
    login: str = "",
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`.

    Args:
        client: The client, its state, or its settings file with an ``answer``.
        answer: By default ``last_json``. An exception of the newer login has it as attributes.
        source: Source of the code, needed if the answer does not tell it.
        login: The user name, where neither answer nor state has it.
    """
    state = client if isinstance(client, Mapping) else state_of(client)
    if isinstance(answer, BaseException):
        answer = vars(answer)
    said = answer if isinstance(answer, Mapping) else found(state, "last_json") or {}
    settings = "client.get_settings(), the file of dump_settings"
    cookies = own_cookies(PROVIDER, state.get("jar") or state.get("cookies"))
    # `ig-set-x-mid` renews the machine id, and not its cookie in the library's jar.
    newer = given(mid=state.get("mid"))
    common: State = {
        "user_agent": need(_LIBRARY, state, "user_agent", settings),
        "cookies": [{**each, "value": newer.get(each["name"], each["value"])} for each in cookies],
        "device": {
            "guid": need(_LIBRARY, state, "uuids.uuid", settings),
            "device_id": need(_LIBRARY, state, "uuids.android_device_id", settings),
            "phone_id": need(_LIBRARY, state, "uuids.phone_id", settings),
        },
        "app": given(
            app_id=state.get("app_id"),
            bloks_version_id=state.get("bloks_versioning_id")
            or found(state, "device_settings.bloks_versioning_id"),
            locale=state.get("locale"),
            **{ours: found(state, f"headers.{name}") for name, ours in _APP.items()},
        ),
        **given(
            mid=state.get("mid"),
            www_claim=state.get("ig_www_claim"),
            headers=given(**{name: found(state, f"headers.{name}") for name in _STANDING}),
        ),
    }
    return intent_of(
        _LIBRARY,
        said,
        common,
        place="client.last_json",
        path=str(state.get("challenge_path") or ""),
        source=source,
        login=login or str(state.get("username") or ""),
    )


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:
    """Return settings for `Client.set_settings` or, in a file, for `Client.load_settings`."""
    kept = {name: value for name, value in state.items() if name not in _OURS}
    device = session.get("device", {})
    ids = given(
        uuid=device.get("guid"),
        android_device_id=device.get("device_id"),
        phone_id=device.get("phone_id"),
    )
    return {
        **kept,
        "uuids": {**(kept.get("uuids") or {}), **ids},
        "cookies": values(session),
        "device_settings": {**(kept.get("device_settings") or {}), **_device_of(session)},
        "authorization_data": _token(session),
        **given(
            user_agent=session.get("user_agent"),
            locale=session.get("app", {}).get("locale"),
            mid=session.get("mid"),
            ig_u_rur=session.get("rur"),
            ig_www_claim=session.get("www_claim"),
        ),
    }


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  a Client
    """Put the finished login into a client, which may be a new one."""
    settings = settings_from(session, client.get_settings())
    client.private.cookies.clear()
    client.set_settings(settings)
    client.username = session.get("username") or client.username


def _device_of(session: Mapping[str, Any]) -> State:
    """Return the device that the login's user agent describes."""
    agent = _AGENT.fullmatch(str(session.get("user_agent")))
    if agent is None:
        return {}
    told: State = {**agent.groupdict(), "android_version": int(agent["android_version"])}
    del told["locale"]
    return told | given(bloks_versioning_id=session.get("app", {}).get("bloks_version_id"))


def _token(session: Mapping[str, Any]) -> State:
    """Return the content of the ``Authorization`` header, as the library keeps it."""
    packed = str(session.get("authorization") or "").rpartition(":")[2]
    if packed:
        plain = packed.replace("-", "+").replace("_", "/") + "=" * (-len(packed) % 4)
        return dict(json.loads(base64.b64decode(plain)))
    return {
        "ds_user_id": session["user_id"],
        "sessionid": session["sessionid"],
        "should_use_header_over_cookies": True,
    }
