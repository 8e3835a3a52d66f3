"""linkedin-messaging, and linkedin-api's jar: the site's challenge page and its cookies.

linkedin-api stops without the challenge page, so it has nothing to hand over; a session of a login
that began elsewhere is put into it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers.bridges.forms import (
    State,
    checkpoint_of,
    cookies_of,
    fill_aiohttp,
    need,
    values,
)

PROVIDER: Final = "LINKEDIN"
_LIBRARY: Final = "linkedin-messaging"
_PLACE: Final = "client.two_factor_payload (linkedin-api keeps none: begin with linkedin-messaging)"
_CONSTANT: Final = ("language", "recognizedDevice")
"""Fields that the library adds to the hidden inputs of the page."""


def state_of(client: Any) -> State:  # noqa: ANN401  a LinkedInMessaging, a Linkedin or its Client
    """Return the challenge's hidden inputs and the jar."""
    client = getattr(client, "client", client)
    session = client.session
    # Without a header of its own aiohttp sends its name and version.
    default = getattr(sys.modules.get("aiohttp.http"), "SERVER_SOFTWARE", "")
    return {
        "two_factor_payload": dict(getattr(client, "two_factor_payload", {})),
        "user_agent": session.headers.get("user-agent") or default,
        "cookies": cookies_of(getattr(session, "cookie_jar", None) or session.cookies),
    }


def context_from(
    client: Any,  # noqa: ANN401  a LinkedInMessaging, or its state
    answer: object = None,
    *,
    source: str | None = None,
    login: str = "",  # noqa: ARG001  the provider does not ask again
) -> tuple[dict[str, str], State]:
    """Return the intent's checkpoint and context. See `Bridge.context_from`.

    Args:
        client: The client, or its state.
        answer: The form's hidden inputs, by default ``two_factor_payload``.
        source: Where the code comes from: needed, unless the page is that of an email.
        login: Not used.
    """
    state = client if isinstance(client, Mapping) else state_of(client)
    state = {**state, **({"two_factor_payload": answer} if isinstance(answer, Mapping) else {})}
    held = need(_LIBRARY, state, "two_factor_payload", _PLACE)
    need(_LIBRARY, held, "csrfToken", _PLACE)
    if not source and "email" in str(held.get("pageInstance", "")).lower():
        source = "EMAIL"
    fields = {name: value for name, value in held.items() if name not in _CONSTANT}
    cookies = cookies_of(state.get("cookies"))
    need(_LIBRARY, {"cookies": cookies}, "cookies", "client.session.cookie_jar")
    return checkpoint_of(_LIBRARY, "OTP" if source == "EMAIL" else "2FA", source), {
        "route": "http",
        "user_agent": need(_LIBRARY, state, "user_agent", "client.session.headers"),
        "cookies": cookies,
        "fields": fields,
        "recognized_device": held.get("recognizedDevice") == "on",
    }


def settings_from(session: Mapping[str, Any], state: Mapping[str, Any]) -> State:  # noqa: ARG001  none is kept
    """Return the arguments of ``LinkedInMessaging.login_manual`` and ``from_cookies``."""
    return {"li_at": values(session)["li_at"], "jsessionid": session["csrf_token"]}


def restore(session: Mapping[str, Any], client: Any) -> None:  # noqa: ANN401  as `state_of`
    """Put the finished login into a client of either library."""
    held = getattr(client, "client", client).session
    held.headers.update({"csrf-token": session["csrf_token"], "user-agent": session["user_agent"]})
    if hasattr(held, "cookie_jar"):
        fill_aiohttp(held.cookie_jar, session)
        return
    held.cookies.clear()
    for each in session["cookies"]:
        held.cookies.set(each["name"], each["value"], domain=each["domain"], path=each["path"])
