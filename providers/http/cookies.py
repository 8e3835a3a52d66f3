"""Cookies: parsing of ``Set-Cookie`` and writing of ``Cookie``.

Values keep the exact form in which the provider sent them. ``http.cookies`` strips the quotes that
LinkedIn's ``JSESSIONID`` needs, so this module does not use it. The module keeps no cookies: a
context carries the cookies of one login at one provider, and its adapter adds them to requests.
"""

from __future__ import annotations

import re
import time
from http import cookiejar
from typing import TYPE_CHECKING

from pydantic import ValidationError

from checkpoint_worker.providers.contract import Cookie

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_AGE_MAX_S = 400 * 24 * 3600
"""Maximum life of a cookie: browsers keep none longer than 400 days (RFC 6265bis)."""

_http_date = cookiejar.http2time  # type: ignore[attr-defined]  # the type stubs lack it
_MAX_AGE = re.compile(r"-?[0-9]{1,10}")


def parse_set_cookie(line: str, *, path: str = "/", now_s: float | None = None) -> Cookie | None:
    """Read one ``Set-Cookie`` value.

    Args:
        line: The header's value.
        path: Path of the request that it answers; a cookie without a path gets its folder.
        now_s: Seconds since the epoch, for ``Max-Age``; the wall clock by default.

    Returns:
        The cookie, quotes kept, or ``None`` if it has no name or breaks the limits of
        `Cookie`. A revoked cookie has ``expires_at`` 0 or in the past.
    """
    pair, *attributes = line.split(";")
    name, equals, value = pair.partition("=")
    if not equals:
        return None
    found: dict[str, str] = {}
    for attribute in attributes:
        key, _, setting = attribute.partition("=")
        found[key.strip().lower()] = setting.strip()
    own_path = found.get("path", "")
    try:
        return Cookie.model_validate(
            {
                "name": name.strip(),
                "value": value.strip(),
                "domain": found.get("domain", "").lower(),
                "path": own_path if own_path.startswith("/") else _folder(path),
                "expires_at": _expiry(found, time.time() if now_s is None else now_s),
                "secure": "secure" in found,
                "http_only": "httponly" in found,
                "same_site": found.get("samesite", ""),
            }
        )
    except ValidationError:
        return None


def _folder(path: str) -> str:
    """Return the default path of RFC 6265 §5.1.4."""
    folder = path.partition("?")[0].rpartition("/")[0]
    return folder if folder.startswith("/") else "/"


def _expiry(attributes: dict[str, str], now_s: float) -> float | None:
    """Return the end of a cookie; ``Max-Age`` takes precedence over ``Expires``."""
    max_age = attributes.get("max-age", "")
    if _MAX_AGE.fullmatch(max_age):
        seconds = int(max_age)
        return 0.0 if seconds <= 0 else now_s + min(seconds, MAX_AGE_MAX_S)
    if "expires" not in attributes:
        return None
    try:
        # The parser of `http.cookiejar` accepts all date forms in use; an invalid date gives None.
        expires_at: float | None = _http_date(attributes["expires"])
    except (OverflowError, ValueError):
        return None
    return expires_at


def is_expired(cookie: Cookie, *, now_s: float | None = None) -> bool:
    """Return whether a cookie is revoked or expired."""
    now_s = time.time() if now_s is None else now_s
    return cookie.expires_at is not None and cookie.expires_at <= now_s


def cookie_header(cookies: Iterable[Cookie], *, path: str, host: str | None = None) -> str:
    """Write the ``Cookie`` header of a request.

    Args:
        cookies: The cookies in the order of sending; of several with one name the last is sent.
        path: Path of the request; cookies of other paths are left out.
        host: Host of the request, if the cookies belong to several hosts.

    Returns:
        ``name=value; …``, empty if no cookie matches; the caller then omits the header.
    """
    path = path.partition("?")[0]
    chosen = {
        cookie.name: cookie.value
        for cookie in cookies
        if not is_expired(cookie)
        and _path_fits(cookie.path, path)
        and (host is None or _host_fits(cookie.domain, host))
    }
    return "; ".join(f"{name}={value}" for name, value in chosen.items())


def _path_fits(own: str, path: str) -> bool:
    return path == own or path.startswith(own if own.endswith("/") else own + "/")


def _host_fits(domain: str, host: str) -> bool:
    domain, host = domain.lower().lstrip("."), host.lower()
    return not domain or host == domain or host.endswith("." + domain)
