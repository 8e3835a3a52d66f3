"""Reading one answer off a connection without believing it: caps, encodings, cookies."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from providers.contract import ProviderBrokenError, Reply
from providers.cookies import parse_set_cookie

if TYPE_CHECKING:
    import aiohttp

FIRST_FINAL_STATUS = 200
ZLIB_METHOD = 8
"""Low half of the first byte of zlib's frame (RFC 1950)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may weigh in either direction, in bytes unless said otherwise."""

    header_line_bytes: int = 16_384
    headers_count: int = 100
    headers_bytes: int = 65_536
    wire_bytes: int = 2 * 1024 * 1024
    """The body as it travels."""
    body_bytes: int = 2 * 1024 * 1024
    """The body decoded: 261 kB of gzip once became 256 MiB (FACTS 22)."""
    request_bytes: int = 262_144


async def read_reply(response: aiohttp.ClientResponse, path: str, limits: Limits) -> Reply:
    """Read a whole answer within the limits.

    Raises:
        ProviderBrokenError: It is too large, in an encoding we did not learn, or no final
            answer at all.
    """
    if response.status < FIRST_FINAL_STATUS:
        _unreadable()
    raw = response.raw_headers
    if sum(len(name) + len(value) for name, value in raw) > limits.headers_bytes:
        _too_large()
    headers: dict[str, str] = {}
    cookies = []
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "replace")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if name == "set-cookie" and (cookie := parse_set_cookie(value, path=path)):
            cookies.append(cookie)
    decoder = Decoder(headers.get("content-encoding", ""), limits.body_bytes)
    wire_bytes = 0
    async for chunk in response.content.iter_any():
        wire_bytes += len(chunk)
        if wire_bytes > limits.wire_bytes:
            _too_large()
        decoder.feed(chunk)
    return Reply(
        status=response.status, headers=headers, cookies=tuple(cookies), body=decoder.finish()
    )


def _unreadable() -> NoReturn:
    msg = "The provider's answer is cut short or unreadable."
    raise ProviderBrokenError(msg)


def _too_large() -> NoReturn:
    msg = "The provider's answer is too large."
    raise ProviderBrokenError(msg)


class Decoder:
    """Undoes one content encoding, never producing more than its limit.

    Args:
        encoding: The ``Content-Encoding``; gzip and deflate are known.
        limit_bytes: Cap on what comes out.
    """

    def __init__(self, encoding: str, limit_bytes: int) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            _unreadable()
        self._plain = self._encoding in {"", "identity"}
        self._left = limit_bytes
        self._inflate: zlib._Decompress | None = None
        self._out = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take in some bytes of the body."""
        if self._plain:
            self._keep(chunk)
            return
        while chunk:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(self._window_bits(chunk))
            # One byte more than allowed is enough to know; the rest of a bomb stays packed.
            self._keep(self._inflate.decompress(chunk, self._left + 1))
            if self._inflate.eof:
                # What follows the end is padding, and the answer was complete.
                return
            chunk = self._inflate.unconsumed_tail

    def finish(self) -> bytes:
        """Return the whole body."""
        if self._inflate is not None and not self._inflate.eof:
            _unreadable()
        return bytes(self._out)

    def _keep(self, data: bytes) -> None:
        if len(data) > self._left:
            _too_large()
        self._left -= len(data)
        self._out += data

    def _window_bits(self, first: bytes) -> int:
        """Return zlib's word for the format; "deflate" comes with and without its frame."""
        if self._encoding != "deflate":
            return zlib.MAX_WBITS | 16
        is_framed = first[0] & 0x0F == ZLIB_METHOD
        return zlib.MAX_WBITS if is_framed else -zlib.MAX_WBITS
