"""One HTTP request: validation of its URL and headers, and its bytes.

Paths, header values and bodies come from a context, so all of them are foreign input: none of them
may change the host, inject a header line or change the framing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from checkpoint_worker.providers.contract import (
    ContentTooLargeError,
    MalformedRequestError,
    UnescapedCharactersError,
)
from checkpoint_worker.providers.http.proxy import PORT_MAX, is_literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from checkpoint_worker.providers.http.response import Limits

_PORTS: Final = {"http": 80, "https": 443}

# The URL characters of RFC 3986, percent signs only before two hex digits.
_URL_CHARACTERS: Final = re.compile(
    r"https?://(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
)
# No credentials, and only the characters of DNS names; underscores occur.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_\-][A-Za-z0-9_.\-]*))"
    r"(?P<port>:[0-9]{0,5})?(?P<path>/[^?]*)?(?P<query>\?.*)?"
)
_METHOD: Final = re.compile(r"[A-Za-z]+")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
"""Pattern of a header value: no control character but the tab, and no half of a surrogate pair,
which UTF-8 cannot encode."""
# Only this package sets framing and addressing: with these headers a context could smuggle a second
# request after the first, or choose the host.
_OUR_HEADERS: Final = frozenset(
    {
        "content-length", "expect", "host", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that need no Content-Length without a body (RFC 9110, 8.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The parts of a request's URL.

    Attributes:
        is_secure: Whether the scheme is ``https``.
        host: Name or address as given, without brackets.
        port: 1 to 65535.
        authority: Value of ``Host``: without the scheme's default port, without a final dot.
        path: Path without the query, never empty. A path may hold a secret.
        query: Query with its question mark, or empty.
    """

    is_secure: bool
    host: str
    port: int
    authority: str
    path: str = field(repr=False)
    query: str = field(repr=False)


def checked_target(url: str) -> Target:
    """Return the parts of a URL, unchanged.

    Raises:
        UnescapedCharactersError: The URL has characters that must be escaped.
        MalformedRequestError: The URL has no usable host, has credentials or is no HTTP URL.
    """
    if not url.startswith(("http://", "https://")):
        _unusable()
    if not _URL_CHARACTERS.fullmatch(url):
        msg = "The request's address has unescaped characters."
        raise UnescapedCharactersError(msg)
    if (found := _URL.fullmatch(url)) is None:
        _unusable()
    scheme, address, name, given, path, query = found.groups()
    if address is not None and not is_literal(address):
        _unusable()
    usual = _PORTS[scheme]
    port = int(given[1:] or usual) if given else usual
    if not 0 < port <= PORT_MAX:
        _unusable()
    authority = f"[{address}]" if address else name.rstrip(".")
    return Target(
        is_secure=scheme == "https",
        host=address or name,
        port=port,
        authority=authority if port == usual else f"{authority}:{port}",
        path=path or "/",
        query=query or "",
    )


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return header lines by lower-case name; a later header replaces one of the same name.

    Raises:
        MalformedRequestError: A header would inject a line or change the framing.
    """
    lines = {}
    for name, value in headers.items():
        key = name.lower()
        known = _HEADER_NAME.fullmatch(name) and key not in _OUR_HEADERS
        if not known or not _HEADER_VALUE.fullmatch(value):
            msg = "A header of the request cannot be sent as it is."
            raise MalformedRequestError(msg)
        lines[key] = f"{name}: {value}\r\n"
    return lines


def checked_method(method: str) -> str:
    """Return the method in upper case.

    Raises:
        MalformedRequestError: The method does not consist of letters.
    """
    if not _METHOD.fullmatch(method):
        msg = "The request cannot be sent as it is."
        raise MalformedRequestError(msg)
    return method.upper()


def check_size(body: bytes, limits: Limits) -> None:
    """Refuse a body over the limit.

    Raises:
        ContentTooLargeError: The body is over the limit.
    """
    if len(body) > limits.request_bytes:
        msg = "The request is too large to be sent."
        raise ContentTooLargeError(msg)


@dataclass(slots=True, kw_only=True)
class PendingRequest:
    """A request without its body and without the headers that sign the body.

    Attributes:
        method: Method in upper case.
        target: The parts of the checked URL.
        headers: Header lines by lower-case name.
        proxy_authorization: Credentials for an HTTP proxy that forwards the request.
        is_forwarded: Whether an HTTP proxy forwards the request without a tunnel.
    """

    method: str
    target: Target
    headers: dict[str, str] = field(repr=False)
    proxy_authorization: str | None = field(default=None, repr=False)
    is_forwarded: bool = False

    def complete(self, body: bytes, signed: dict[str, str]) -> bytes:
        """Return all bytes of the request.

        ``Host`` comes first, then the headers in the given order. A signature header replaces a
        header of the same name in place; otherwise it follows ``Content-Length``.
        """
        target, lines = self.target, self.headers
        if self.proxy_authorization is not None:
            lines["proxy-authorization"] = f"Proxy-Authorization: {self.proxy_authorization}\r\n"
        if body or self.method not in _WITHOUT_BODY:
            lines["content-length"] = f"Content-Length: {len(body)}\r\n"
        lines.update(signed)
        lines.setdefault("connection", "Connection: close\r\n")
        place = f"http://{target.authority}" if self.is_forwarded else ""
        start = f"{self.method} {place}{target.path}{target.query} HTTP/1.1\r\n"
        head = f"{start}Host: {target.authority}\r\n{''.join(lines.values())}\r\n"
        return head.encode() + body


def _unusable() -> NoReturn:
    msg = "The request has no usable address."
    raise MalformedRequestError(msg)
