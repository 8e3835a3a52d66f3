"""Cookies as providers write them: read from ``Set-Cookie``, written to ``Cookie``.

Values stay as they are on the wire. ``http.cookies`` strips the quotes that LinkedIn's
``JSESSIONID`` needs, so nothing of it is used. This is no cookie jar: a context carries the
cookies of one login at one provider, and its adapter says which request gets them.
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
"""Browsers keep no cookie longer than 400 days (RFC 6265bis); bounds absurd numbers too."""

_http_date = cookiejar.http2time  # type: ignore[attr-defined]  # the type stubs lack it
_MAX_AGE = re.compile(r"-?[0-9]{1,10}")


def parse_set_cookie(line: str, *, path: str = "/", now_s: float | None = None) -> Cookie | None:
    """Read one ``Set-Cookie`` value.

    Args:
        line: The header's value.
        path: Path of the request it answers; a cookie without its own path gets the folder.
        now_s: Seconds since the epoch, for ``Max-Age``; the wall clock by default.

    Returns:
        The cookie, quotes kept, or ``None`` if it has no name or breaks the limits of
        `Cookie`. One that is being revoked has ``expires_at`` 0 or in the past.
    """
    pair, *attributes = line.split(";")
    name, equals, value = pair.partition("=")
    if not equals:
        return None
    told: dict[str, str] = {}
    for attribute in attributes:
        key, _, said = attribute.partition("=")
        told[key.strip().lower()] = said.strip()
    own_path = told.get("path", "")
    try:
        return Cookie.model_validate(
            {
                "name": name.strip(),
                "value": value.strip(),
                "domain": told.get("domain", "").lower(),
                "path": own_path if own_path.startswith("/") else _folder(path),
                "expires_at": _expiry(told, time.time() if now_s is None else now_s),
                "secure": "secure" in told,
                "http_only": "httponly" in told,
                "same_site": told.get("samesite", ""),
            }
        )
    except ValidationError:
        return None


def _folder(path: str) -> str:
    """Return the default path of RFC 6265 §5.1.4."""
    folder = path.partition("?")[0].rpartition("/")[0]
    return folder if folder.startswith("/") else "/"


def _expiry(told: dict[str, str], now_s: float) -> float | None:
    """Return the end of a cookie; ``Max-Age`` wins over ``Expires``."""
    max_age = told.get("max-age", "")
    if _MAX_AGE.fullmatch(max_age):
        seconds = int(max_age)
        return 0.0 if seconds <= 0 else now_s + min(seconds, MAX_AGE_MAX_S)
    if "expires" not in told:
        return None
    try:
        # The library's own parser of the dates that are really sent; garbage gives None.
        expires_at: float | None = _http_date(told["expires"])
    except (OverflowError, ValueError):
        return None
    return expires_at


def is_expired(cookie: Cookie, *, now_s: float | None = None) -> bool:
    """Say whether a cookie is revoked or over."""
    now_s = time.time() if now_s is None else now_s
    return cookie.expires_at is not None and cookie.expires_at <= now_s


def cookie_header(cookies: Iterable[Cookie], *, path: str, host: str | None = None) -> str:
    """Write the ``Cookie`` header of a request.

    Args:
        cookies: In the order they are to be sent; of one name the last wins.
        path: Path of the request; cookies of other paths stay out.
        host: Host of the request, if cookies of several hosts are held.

    Returns:
        ``name=value; …``, empty if nothing fits: leave the header out then.
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
