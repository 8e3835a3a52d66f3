"""instagram-private-api (Node): the JSON of ``await client.state.serialize()``.

Its cookies are a text of tough-cookie's JSON. The answer is ``error.response.body``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers.bridges.forms import (
    State,
    as_tough,
    found,
    given,
    need,
    own_cookies,
)
from checkpoint_worker.providers.bridges.instagram import intent_of

PROVIDER: Final = "INSTAGRAM"
_LIBRARY: Final = "instagram-private-api"
_PLACE: Final = "await client.state.serialize()"
_ANSWER: Final = "error.response.body"


def state_of(client: Any) -> State:  # noqa: ANN401  the parsed JSON
    """Return the state, which is JSON already."""
    return dict(client)


def context_from(
    client: Any,  # noqa: ANN401  the parsed JSON
    answer: object = None,
    *,
    source: str | None = None,
    login: str = "",
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`.

    Args:
        client: The state, in which ``answer`` may be under that name.
        answer: ``error.response.body`` of the error that the login raised; after
            ``challenge.auto``, ``client.state.checkpoint`` with the members of
            ``client.state.challenge``.
        source: Source of the code, needed if the answer does not tell it.
        login: The user name, where the answer has none.
    """
    state = client
    said = answer if isinstance(answer, Mapping) else state.get("answer") or {}
    constants = f"{_PLACE}, its constants"
    version = need(_LIBRARY, state, "constants.APP_VERSION", constants)
    code = need(_LIBRARY, state, "constants.APP_VERSION_CODE", constants)
    device = need(_LIBRARY, state, "deviceString", _PLACE)
    language = need(_LIBRARY, state, "language", _PLACE)
    common: State = {
        "user_agent": f"Instagram {version} Android ({device}; {language}; {code})",
        "cookies": own_cookies(PROVIDER, state.get("cookies")),
        "device": {
            "guid": need(_LIBRARY, state, "uuid", _PLACE),
            "device_id": need(_LIBRARY, state, "deviceId", _PLACE),
            "phone_id": need(_LIBRARY, state, "phoneId", _PLACE),
        },
        "app": given(
            app_id=found(state, "constants.FACEBOOK_ANALYTICS_APPLICATION_ID"),
            bloks_version_id=found(state, "constants.BLOKS_VERSION_ID"),
            capabilities=state.get("capabilitiesHeader"),
            connection_type=state.get("connectionTypeHeader"),
            locale=language,
        ),
        **given(www_claim=state.get("igWWWClaim")),
    }
    return intent_of(_LIBRARY, said, common, place=_ANSWER, source=source, login=login)


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:
    """Return a state for ``await client.state.deserialize(…)``."""
    kept = {name: value for name, value in state.items() if name != "answer"}
    ids = session.get("device", {})
    return {
        **kept,
        "cookies": json.dumps(as_tough(session)),
        **given(
            uuid=ids.get("guid"),
            deviceId=ids.get("device_id"),
            phoneId=ids.get("phone_id"),
            authorization=session.get("authorization"),
            igWWWClaim=session.get("www_claim"),
        ),
    }


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  the parsed JSON
    """Put the finished login into a state, for ``deserialize``."""
    client.update(settings_from(session, client))
    client.pop("answer", None)
