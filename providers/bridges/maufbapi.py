"""maufbapi (mautrix-facebook): an ``AndroidState``, or its ``serialize()``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers.bridges.forms import (
    MissingError,
    State,
    checkpoint_of,
    found,
    given,
    need,
)

PROVIDER: Final = "MESSENGER"
_LIBRARY: Final = "maufbapi"
_DEVICE: Final = {
    "device_id": "uuid",
    "adid": "adid",
    "family_device_id": "fdid",
    "locale": "language",
    "country": "country_code",
    "connection_type": "connection_type",
    "device_group": "device_group",
}
"""Fields of the context's device, with those of ``state.device``."""


def state_of(client: Any) -> State:  # noqa: ANN401  an AndroidState
    """Return the state as JSON, with what its ``serialize()`` leaves out."""
    state = dict(client.serialize())
    app = client.application
    constants = {"client_id": app.client_id, "client_secret": app.client_secret}
    state["application"] = {**(state.get("application") or {}), **constants}
    return {**state, "user_agent": client.user_agent}


def context_from(
    client: Any,  # noqa: ANN401  an AndroidState, or its JSON
    answer: object = None,  # noqa: ARG001  the state keeps it
    *,
    source: str | None = None,
    login: str = "",
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`.

    The library keeps neither the login name nor where the code comes from: ``login`` and
    ``source`` are needed.
    """
    state = client if isinstance(client, Mapping) else state_of(client)

    def held(name: str, more: str = "") -> Any:  # noqa: ANN401  JSON
        return need(_LIBRARY, state, name, f"api.state.{name.rpartition('.')[0]}{more}")

    hni = given(hni=found(state, "carrier.hni"))
    device = {name: found(state, f"device.{theirs}") for name, theirs in _DEVICE.items()}
    if not (named := login or state.get("login")):
        msg = f"{_LIBRARY}: login is missing; the library does not keep it: give the name typed"
        raise MissingError(msg)
    added = ", which serialize() leaves out and state_of() adds"
    return checkpoint_of(_LIBRARY, "2FA", source), {
        "route": "http",
        "user_agent": need(_LIBRARY, state, "user_agent", f"api.state{added}"),
        "device": {
            **given(**device),
            "device_id": held("device.uuid"),
            **{name: str(hni["hni"]) for name in ("sim_hni", "net_hni") if hni},
        },
        "app": {
            "app_id": held("application.client_id", added),
            "client_token": held("application.client_secret", added),
        },
        **given(
            headers=given(**{"x-fb-connection-quality": found(state, "device.connection_quality")})
        ),
        "email": named,
        "uid": str(held("session.uid")),
        "login_first_factor": held("session.login_first_factor"),
        "machine_id": held("session.machine_id"),
        **given(auth_token=found(state, "session.transient_auth_token")),
    }


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:
    """Return a state for ``AndroidState.deserialize``."""
    kept = {name: value for name, value in state.items() if name not in {"user_agent", "login"}}
    application = dict(kept.get("application") or {})
    for name in ("client_id", "client_secret"):
        application.pop(name, None)
    owned = {**(kept.get("session") or {}), **_session(session)}
    return {**kept, "application": application, "session": owned}


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  an AndroidState
    """Put the finished login into ``api.state``."""
    for name, value in _session(session).items():
        setattr(client.session, name, value)
    for name, theirs in _DEVICE.items():
        if value := session.get("device", {}).get(name):
            setattr(client.device, theirs, value)


def _session(session: Mapping[str, Any]) -> State:
    return {
        "access_token": session["access_token"],
        "uid": int(session["user_id"]),
        "machine_id": session["machine_id"],
        "login_first_factor": None,
        "transient_auth_token": None,
    }
