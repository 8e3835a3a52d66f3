"""mauigpapi (mautrix-instagram): an ``AndroidState``, or its ``serialize()``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers.bridges.forms import (
    State,
    cookies_of,
    fill_aiohttp,
    found,
    given,
    need,
    own_cookies,
    plain,
)
from checkpoint_worker.providers.bridges.instagram import intent_of

PROVIDER: Final = "INSTAGRAM"
_LIBRARY: Final = "mauigpapi"
_ADDED: Final = "api.state; its serialize() leaves it out, state_of() adds it"


def state_of(client: Any) -> State:  # noqa: ANN401  an AndroidState
    """Return the state as JSON, with what its ``serialize()`` leaves out."""
    app = client.application
    return {
        **client.serialize(),
        "user_agent": client.user_agent,
        "application": {
            "app_id": app.FACEBOOK_ANALYTICS_APPLICATION_ID,
            "bloks_version_id": app.BLOKS_VERSION_ID,
            "capabilities": app.CAPABILITIES,
        },
        "cookies": cookies_of(client.cookies),
    }


def context_from(
    client: Any,  # noqa: ANN401  an AndroidState, or its JSON
    answer: object = None,
    *,
    source: str | None = None,
    login: str = "",
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`.

    Args:
        client: ``api.state``, or its JSON from `state_of`.
        answer: ``error.body`` of the error that ``login`` raised. A checkpoint whose code was
            sent by ``challenge_auto`` is in the state.
        source: Source of the code, needed if the answer does not tell it.
        login: The user name, where the answer has none.
    """
    state = client if isinstance(client, Mapping) else state_of(client)
    said = plain(answer) or state.get("challenge") or {}
    common: State = {
        "user_agent": need(_LIBRARY, state, "user_agent", _ADDED),
        "cookies": own_cookies(PROVIDER, state.get("cookies")),
        "device": {
            "guid": need(_LIBRARY, state, "device.uuid", "api.state.device"),
            "device_id": need(_LIBRARY, state, "device.id", "api.state.device"),
            "phone_id": need(_LIBRARY, state, "device.phoneId", "api.state.device.phone_id"),
        },
        "app": {
            **(state.get("application") or {}),
            **given(locale=found(state, "device.language")),
        },
        **given(www_claim=found(state, "session.ig_www_claim")),
    }
    return intent_of(
        _LIBRARY,
        said,
        common,
        place="error.body",
        path=str(state.get("challenge_path") or ""),
        source=source,
        login=login,
    )


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:
    """Return a state for ``AndroidState.deserialize``."""
    kept = {
        name: value
        for name, value in state.items()
        if name
        not in {"user_agent", "application", "challenge", "challenge_context", "challenge_path"}
    }
    cookies = {
        each["name"]: {
            "value": each["value"].strip('"'),
            "domain": each["domain"],
            "path": each["path"],
        }
        for each in session.get("cookies", ())
    }
    owned = {**(kept.get("session") or {}), **_session(session)}
    return {**kept, "session": owned, "cookies": cookies}


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  an AndroidState
    """Put the finished login into ``api.state``."""
    for name, value in _session(session).items():
        setattr(client.session, name, value)
    for name, mine in (("uuid", "guid"), ("id", "device_id"), ("phone_id", "phone_id")):
        setattr(client.device, name, session["device"].get(mine) or getattr(client.device, name))
    fill_aiohttp(client.cookies.jar, session)


def _session(session: Mapping[str, Any]) -> State:
    return given(
        authorization=session.get("authorization"),
        ds_user_id=session.get("user_id"),
        rur=session.get("rur"),
        ig_www_claim=session.get("www_claim"),
    )
