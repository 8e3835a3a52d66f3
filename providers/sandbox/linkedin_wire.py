"""LINKEDIN's wire in the sandbox: cookies, forms and pages as the site writes them."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs

from aiohttp import web


def new_session() -> str:
    """Make up a value of ``JSESSIONID``, without its quotes."""
    return f"ajax:{secrets.randbelow(10**19):019}"


def first_cookies(session: str) -> dict[str, str]:
    """Return the cookies of a first visit."""
    return {
        "JSESSIONID": f'"{session}"',
        "bcookie": f'"v=2&{secrets.token_hex(16)}"',
        "bscookie": f'"v=1&{secrets.token_hex(16)}"',
        "lidc": '"b=VB01:s=V:r=V"',
        "li_gc": secrets.token_urlsafe(24),
        "lang": "v=2&lang=en-us",
    }


def session_of(request: web.Request) -> str:
    """Return the session of a request, or a new one."""
    return cookies_of(request).get("JSESSIONID", "").strip('"') or new_session()


def parse(body: bytes) -> dict[str, str]:
    """Read a form."""
    form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in form.items()}


def cookies_of(request: web.Request) -> dict[str, str]:
    """Cookies as they stand: libraries take the quotes off, which belong to the value."""
    pairs = (part.strip().partition("=") for part in request.headers.get("Cookie", "").split(";"))
    return {name: value for name, _, value in pairs if name}


def set_cookie(
    request: web.Request, response: web.Response, name: str, value: str, *, more: str = ""
) -> None:
    """Set a cookie, quotes kept. The real domain only where a client would accept it."""
    host = request.host.partition(":")[0]
    domain = "; Domain=.www.linkedin.com" if host.endswith("linkedin.com") else ""
    secure = "; Secure" if request.secure else ""
    response.headers.add("Set-Cookie", f"{name}={value}; Path=/{domain}{secure}{more}")


def page(body: str) -> web.Response:
    """Answer with a page."""
    text = f'<!DOCTYPE html><html lang="en"><head><title>-</title></head><body>{body}</body></html>'
    return web.Response(text=text, content_type="text/html")


def see_other(address: str) -> web.Response:
    """Answer with a redirect."""
    return web.Response(status=303, headers={"Location": address})
