"""What one request looks like on the wire: its address and headers checked, its bytes made.

A context gives paths, header values and bodies, so all of them are foreign input: nothing
here may choose the host, break out of its line or change the framing.
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
# No credentials, and names as DNS has them; underscores occur.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_\-][A-Za-z0-9_.\-]*))"
    r"(?P<port>:[0-9]{0,5})?(?P<path>/[^?]*)?(?P<query>\?.*)?"
)
_METHOD: Final = re.compile(r"[A-Za-z]+")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
"""No control characters but the tab, and no half of a surrogate pair: UTF-8 cannot carry it."""
# Framing and addressing are the transport's: a context that could set these could smuggle a
# second request behind the first or choose the host.
_OUR_HEADERS: Final = frozenset(
    {
        "content-length", "expect", "host", "proxy-authorization", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that need not say that they have no body (RFC 9110, 8.6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A request's address taken apart.

    Attributes:
        is_secure: Whether it is ``https``.
        host: Name or address as it was given, without brackets.
        port: 1 to 65535.
        authority: What ``Host`` says: without the scheme's own port, without a final dot.
        path: Without the query, never empty. Paths can carry secrets.
        query: With its question mark, or empty.
    """

    is_secure: bool
    host: str
    port: int
    authority: str
    path: str = field(repr=False)
    query: str = field(repr=False)


def checked_target(url: str) -> Target:
    """Return the address exactly as it was given.

    Raises:
        UnescapedCharactersError: It has characters that a URL cannot have.
        MalformedRequestError: It has no usable host, carries credentials or is no HTTP URL.
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
    """Return each header's line under its name in lower case; a later spelling replaces.

    Raises:
        MalformedRequestError: One would break out of its line or change the framing.
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
        MalformedRequestError: It is not a word.
    """
    if not _METHOD.fullmatch(method):
        msg = "The request cannot be sent as it is."
        raise MalformedRequestError(msg)
    return method.upper()


def check_size(body: bytes, limits: Limits) -> None:
    """Refuse a body over the limit.

    Raises:
        ContentTooLargeError: It is.
    """
    if len(body) > limits.request_bytes:
        msg = "The request is too large to be sent."
        raise ContentTooLargeError(msg)


@dataclass(slots=True, kw_only=True)
class PendingRequest:
    """A request that is whole but for its body and what is signed over it.

    Attributes:
        method: In upper case.
        target: Its address, checked.
        headers: Lines under their names in lower case.
        proxy_authorization: For a proxy that reads the request itself.
        is_forwarded: Whether such a proxy does.
    """

    method: str
    target: Target
    headers: dict[str, str] = field(repr=False)
    proxy_authorization: str | None = field(default=None, repr=False)
    is_forwarded: bool = False

    def complete(self, body: bytes, signed: dict[str, str]) -> bytes:
        """Return every byte of the request.

        ``Host`` first, then headers as given, in their order; a signature replaces a header
        of its name in place and otherwise follows ``Content-Length``.
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
