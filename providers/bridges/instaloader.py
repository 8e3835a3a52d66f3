"""instaloader: the site's login, which waits in ``context.two_factor_auth_pending``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers.bridges.forms import (
    State,
    checkpoint_of,
    cookies_of,
    found,
    need,
    own_cookies,
    values,
)

PROVIDER: Final = "INSTAGRAM"
_LIBRARY: Final = "instaloader"
_PLACE: Final = "loader.context.two_factor_auth_pending"


def state_of(client: Any) -> State:  # noqa: ANN401  an Instaloader
    """Return the login that waits for its code."""
    pending = client.context.two_factor_auth_pending
    if not pending:
        return {"username": client.context.username}
    session, username, identifier = pending
    return {
        "username": username,
        "two_factor_identifier": identifier,
        "user_agent": session.headers.get("User-Agent"),
        "cookies": cookies_of(session.cookies),
    }


def context_from(
    client: Any,  # noqa: ANN401  an Instaloader, or its state
    answer: object = None,  # noqa: ARG001  the library keeps it
    *,
    source: str | None = None,
    login: str = "",
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`.

    The library does not keep where the code comes from: ``source`` is needed.
    """
    state = client if isinstance(client, Mapping) else state_of(client)
    cookies = own_cookies(PROVIDER, state.get("cookies"))
    token = {"cookie": {each["name"]: each["value"] for each in cookies}}
    need(_LIBRARY, token, "cookie.csrftoken", f"{_PLACE}[0].cookies")
    return checkpoint_of(_LIBRARY, "2FA", source), {
        "route": "web",
        "user_agent": need(_LIBRARY, state, "user_agent", f"{_PLACE}[0].headers"),
        "cookies": cookies,
        "username": login or need(_LIBRARY, state, "username", f"{_PLACE}[1]"),
        "two_factor_identifier": need(_LIBRARY, state, "two_factor_identifier", f"{_PLACE}[2]"),
    }


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:
    """Return the arguments of ``loader.load_session``, whose file is a pickle of the second."""
    username = session.get("username") or found(state, "username")
    return {"username": username, "session_data": values(session)}


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  an Instaloader
    """Put the finished login into a loader."""
    loaded = settings_from(session, state_of(client))
    client.context.load_session(loaded["username"], loaded["session_data"])
    client.context._session.headers["User-Agent"] = session["user_agent"]  # noqa: SLF001  its only place
    client.context.two_factor_auth_pending = None
