"""Converts cookies and sessions between our form and those of client libraries and tools.

Sessions are those of ``take_session``: mappings with ``cookies``, ``user_agent``, ``device`` and
the provider's own fields. This module neither prints nor logs a value.
"""

from __future__ import annotations

import email.utils
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from http.cookiejar import CookieJar
from http.cookies import SimpleCookie
from types import MappingProxyType
from typing import Any, Final

State = dict[str, Any]
"""The state of a library, as JSON."""

_NETSCAPE: Final = "# Netscape HTTP Cookie File"
_NETSCAPE_FIELDS: Final = 7
_HTTP_ONLY: Final = "#HttpOnly_"


class MissingError(ValueError):
    """A library's state lacks a value; the message names it and its place, and holds no value."""


def need(library: str, state: Mapping[str, Any], name: str, place: str) -> Any:  # noqa: ANN401  JSON
    """Return a value of a state by its dotted name.

    Raises:
        MissingError: It is missing or empty.
    """
    if value := found(state, name):
        return value
    msg = f"{library}: {name} is missing; the library keeps it in {place}"
    raise MissingError(msg)


def found(state: object, name: str) -> Any:  # noqa: ANN401  JSON
    """Return a value of a state by its dotted name, ``None`` if it is missing."""
    for part in name.split("."):
        state = state.get(part) if isinstance(state, Mapping) else None
    return state


def plain(value: object) -> Any:  # noqa: ANN401  JSON
    """Return an answer as JSON: a mapping, a library's ``serialize()``, or a page's URL, HTML."""
    make = getattr(value, "serialize", None)
    if callable(make):
        return make()
    page = {"url": getattr(value, "url", None), "html": getattr(value, "text", None)}
    return page if all(isinstance(each, str) for each in page.values()) else value


def given(**fields: Any) -> State:  # noqa: ANN401  JSON
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value not in (None, "", (), [], {})}


def checkpoint_of(library: str, kind: str, source: str | None) -> dict[str, str]:
    """Return the checkpoint of an intent.

    Raises:
        MissingError: Neither the library nor the caller gives the source of the code.
    """
    if source:
        return {"type": kind, "source": source}
    msg = f"{library}: source is missing; the library does not keep it: give EMAIL, SMS or APP"
    raise MissingError(msg)


_HOSTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "INSTAGRAM": ("instagram.com",),
        "LINKEDIN": ("linkedin.com",),
        "TWITTER": ("x.com", "twitter.com"),
    }
)


# Cookies read ---------------------------------------------------------------------------


def cookies_of(said: object) -> list[State]:
    """Return cookies in a context's form.

    Args:
        said: A mapping of names to values, a list of cookies, a Netscape file's text, the JSON of
            Playwright or tough-cookie (or its text), or a jar of requests, httpx or aiohttp.
    """
    said = getattr(said, "jar", said)  # httpx
    if isinstance(said, str):
        text = said.lstrip()
        return cookies_of(json.loads(text)) if text[:1] in {"{", "["} else _netscape(said)
    if isinstance(said, Mapping) and not isinstance(said, CookieJar):
        listed = said.get("cookies")
        said = listed if isinstance(listed, list) else list(map(_named, said.items()))
    if not isinstance(said, Iterable):
        return []
    read = map(_cookie, said)
    return [each for each in read if each["name"] and each["value"]]


def own_cookies(provider: str, said: object) -> list[State]:
    """Return the cookies of `cookies_of` that a client would send to the provider's hosts."""

    def is_own(domain: str) -> bool:
        bare = domain.lower().lstrip(".")
        return not bare or any(f".{bare}".endswith(f".{host}") for host in _HOSTS[provider])

    return [each for each in cookies_of(said) if is_own(each.get("domain", ""))]


def _named(pair: tuple[str, object]) -> State:
    """Return a cookie from an item of a mapping; its value is a text or has attributes."""
    name, said = pair
    return {**(said if isinstance(said, Mapping) else {"value": said}), "name": name}


def _cookie(said: Any) -> State:  # noqa: ANN401  of whichever library
    """Read one cookie: JSON, a morsel of aiohttp, or a cookie of `http.cookiejar`."""
    if hasattr(said, "coded_value"):
        return _described(said.key, said.coded_value, dict(said))
    if isinstance(said, Mapping):
        return _described(said.get("name") or said.get("key"), said.get("value"), said)
    rest = {"domain": said.domain, "path": said.path, "expires": said.expires}
    return _described(said.name, said.value, {**rest, "secure": said.secure})


def _described(name: object, value: object, said: Mapping[str, Any]) -> State:
    """Return a context's cookie; the names of attributes may differ in case and underscores."""
    more = {key.lower().replace("_", ""): each for key, each in said.items()}
    expires = more.get("expiresat", more.get("expires"))
    if isinstance(expires, str):
        try:
            expires = email.utils.parsedate_to_datetime(str(expires)).timestamp()
        except ValueError:
            expires = _iso(str(expires))
    domain = str(more.get("domain") or "")
    if domain and more.get("hostonly") is False and not domain.startswith("."):
        domain = "." + domain  # tough-cookie keeps the dot in a separate field.
    return {
        "name": name,
        "value": value,
        **given(
            domain=domain,
            path=more.get("path"),
            expires_at=expires if isinstance(expires, int | float) and expires > 0 else None,
            same_site=str(more.get("samesite") or "").capitalize(),
        ),
        "secure": bool(more.get("secure")),
        "http_only": bool(more.get("httponly")),
    }


def _iso(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None  # "Infinity"


def _netscape(text: str) -> list[State]:
    cookies = []
    for line in text.splitlines():
        http_only = line.startswith(_HTTP_ONLY)
        fields = line.removeprefix(_HTTP_ONLY).split("\t")
        if len(fields) != _NETSCAPE_FIELDS or fields[0].startswith("#"):
            continue
        domain, _, path, secure, expires, name, value = fields
        said = {"domain": domain, "path": path, "secure": secure == "TRUE", "httponly": http_only}
        cookies.append(_described(name, value, {**said, "expires": float(expires or 0)}))
    return cookies


# Sessions written -----------------------------------------------------------------------


def values(session: Mapping[str, Any]) -> dict[str, str]:
    """Return a session's cookies as names and values, for libraries that keep only those."""
    return {each["name"]: each["value"] for each in session.get("cookies", ())}


def fill_aiohttp(jar: Any, session: Mapping[str, Any]) -> None:  # noqa: ANN401  aiohttp's jar
    """Replace the cookies of an aiohttp jar by a session's; quotes in values are kept."""
    jar.clear()
    for each in session.get("cookies", ()):
        held: SimpleCookie = SimpleCookie()
        held[each["name"]] = each["value"]
        morsel = held[each["name"]]
        morsel.set(each["name"], each["value"].strip('"'), each["value"])
        morsel.update({"domain": each["domain"], "path": each["path"]})
        jar.update_cookies(held)


def as_netscape(session: Mapping[str, Any]) -> str:
    """Return the text of a ``cookies.txt`` for curl, wget, yt-dlp and `http.cookiejar`."""
    lines = [_NETSCAPE]
    for each in session.get("cookies", ()):
        domain = each["domain"]
        flags = (str(flag).upper() for flag in (domain.startswith("."), each["secure"]))
        subdomains, secure = flags
        expires = str(int(each["expires"] or 0))
        fields = (domain, subdomains, each["path"], secure, expires, each["name"], each["value"])
        lines.append(_HTTP_ONLY * each["httpOnly"] + "\t".join(fields))
    return "\n".join([*lines, ""])


def as_storage_state(session: Mapping[str, Any]) -> State:
    """Return a storage state of Playwright: ``browser.new_context(storage_state=…)``."""
    cookies = [
        {**each, "expires": each["expires"] or -1, "sameSite": each["sameSite"] or "Lax"}
        for each in session.get("cookies", ())
    ]
    return {"cookies": cookies, "origins": []}


def as_tough(session: Mapping[str, Any]) -> State:
    """Return a jar of tough-cookie, for Node: ``CookieJar.deserialize(…)``."""
    now = _moment(datetime.now(UTC).timestamp())
    cookies = [
        given(
            key=each["name"],
            value=each["value"],
            domain=each["domain"].lstrip("."),
            path=each["path"],
            expires=_moment(each["expires"]) if each["expires"] else None,
            sameSite=(each["sameSite"] or "").lower(),
        )
        | {
            "secure": each["secure"],
            "httpOnly": each["httpOnly"],
            "hostOnly": not each["domain"].startswith("."),
            "creation": now,
            "lastAccessed": now,
        }
        for each in session.get("cookies", ())
    ]
    jar = {"version": "tough-cookie@4.1.3", "storeType": "MemoryCookieStore"}
    return {**jar, "rejectPublicSuffixes": True, "cookies": cookies}


def _moment(at: float) -> str:
    """Return an instant in JavaScript's ISO format: UTC, milliseconds, ``Z``."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def as_json(session: Mapping[str, Any]) -> State:
    """Return cookies and headers as plain objects, for programs that send their own requests."""
    agent = given(**{"User-Agent": session.get("user_agent")})
    return {"cookies": values(session), "headers": {**agent, **session.get("headers", {})}}


EXPORTS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = MappingProxyType(
    {
        "json": as_json,
        "netscape": as_netscape,
        "playwright": as_storage_state,
        "tough-cookie": as_tough,
    }
)
"""General forms of a session, by name."""
