"""linkedin-messaging and linkedin-api: the site's challenge page and its cookies.

linkedin-api stops before the challenge page. Only the traceback of its exception has the answer
that names the page: `challenge_of` finds it, and the client's session loads the page.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urljoin

from checkpoint_worker.providers.bridges.forms import (
    MissingError,
    State,
    checkpoint_of,
    cookies_of,
    fill_aiohttp,
    need,
    own_cookies,
    plain,
    values,
)

PROVIDER: Final = "LINKEDIN"
_LIBRARY: Final = "linkedin-messaging"
_PLACE: Final = "client.two_factor_payload (of linkedin-api give the page at challenge_of)"
_SITE: Final = "https://www.linkedin.com/"
_CONSTANT: Final = ("language", "recognizedDevice")
"""Fields that the library adds to the hidden inputs of the page."""


class _Forms(HTMLParser):
    """Reads the forms of a page: id, action, names and hidden inputs of each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[State] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            form = {"action": said.get("action", ""), "id": said.get("id", "")}
            self.found.append({**form, "names": [], "hidden": {}})
        elif tag == "input" and self.found and (name := said.get("name")):
            self.found[-1]["names"].append(name)
            if said.get("type", "").lower() == "hidden":
                self.found[-1]["hidden"][name] = said.get("value", "")


def challenge_of(client: Any, error: BaseException) -> str:  # noqa: ANN401  a Linkedin or its Client
    """Return the address of the challenge page at which linkedin-api stopped, for its session.

    The cookies of the answer go into the client's jar, which the library leaves as it was.

    Args:
        client: The client whose ``authenticate`` raised.
        error: Its ``ChallengeException``, caught where it was raised from.

    Raises:
        MissingError: The traceback has no answer with an address.
    """
    trace, answer = error.__traceback__, None
    while trace is not None:
        answer = trace.tb_frame.f_locals.get("res", answer)
        trace = trace.tb_next
    told = answer.json() if answer is not None else {}
    place = "the traceback of its ChallengeException"
    address = need("linkedin-api", told, "challenge_url", place)
    getattr(client, "client", client).session.cookies.update(answer.cookies)  # type: ignore[union-attr]
    return urljoin(_SITE, str(address))


def _form_of(page: Mapping[str, Any]) -> State:
    """Return the fields of a context that a challenge page has.

    Raises:
        MissingError: It has no form for a code.
    """
    forms = _Forms(str(page["html"])).found
    form = next((each for each in forms if "pin" in each["names"]), None)
    if form is None:
        msg = "linkedin-api: the form with the input pin is missing on the page of challenge_of"
        raise MissingError(msg)
    given_action = {"action": form["action"]} if form["action"] else {}
    return {
        "fields": {name: value for name, value in form["hidden"].items() if name != "pin"},
        "recognized_device": "recognizedDevice" in form["names"],
        "form_id": form["id"],
        "referer": str(page["url"]),
        **given_action,
    }


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
        answer: The form's hidden inputs, by default ``two_factor_payload``; of linkedin-api the
            page at `challenge_of`: the response, or ``url`` and ``html``.
        source: Source of the code: needed, unless the page asks for an emailed code.
        login: Not used.
    """
    state = client if isinstance(client, Mapping) else state_of(client)
    said = plain(answer)
    if isinstance(said, Mapping) and "html" in said:
        form = _form_of(said)
    else:
        given_inputs = {"two_factor_payload": said} if isinstance(said, Mapping) else {}
        held = need(_LIBRARY, {**state, **given_inputs}, "two_factor_payload", _PLACE)
        form = {
            "fields": {name: value for name, value in held.items() if name not in _CONSTANT},
            "recognized_device": held.get("recognizedDevice") == "on",
        }
    need(_LIBRARY, form["fields"], "csrfToken", _PLACE)
    kind = f"{form.get('form_id')} {form['fields'].get('pageInstance')}".lower()
    if not source and "email" in kind:
        source = "EMAIL"
    cookies = own_cookies(PROVIDER, state.get("cookies"))
    need(_LIBRARY, {"cookies": cookies}, "cookies", "client.session.cookie_jar")
    return checkpoint_of(_LIBRARY, "OTP" if source == "EMAIL" else "2FA", source), {
        "route": "http",
        "user_agent": need(_LIBRARY, state, "user_agent", "client.session.headers"),
        "cookies": cookies,
        **form,
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
