"""Parsing of one HTTP response within limits: head, framing, body, cookies.

A connection carries only one response, and the code is used by the time it arrives. So the parser
accepts what browsers, curl and urllib3 accept, and refuses only what they refuse: an ambiguous
framing does no harm, because no second response follows. llhttp (through httptools) parses chunks.
This module parses heads itself, because llhttp refuses many heads that those clients accept, and
the outcome would be lost.
"""

from __future__ import annotations

import enum
import re
import zlib
from dataclasses import dataclass
from typing import Final

import httptools

from checkpoint_worker.providers.contract import Cookie, Reply, UnreadableAnswerError
from checkpoint_worker.providers.http.cookies import parse_set_cookie
from checkpoint_worker.providers.http.decoding import Body, too_large, unreadable
from checkpoint_worker.providers.http.heads import Heads

_STATUS: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+([1-9]\d\d)(?!\d)")
"""Pattern of a status line; the reason phrase is ignored and may be missing."""
_INFORMATIONAL: Final = range(100, 200)
_SWITCHING: Final = 101
_REDIRECTS: Final = range(300, 400)
_WITHOUT_BODY: Final = frozenset({204, 304})
_FRAMING_BYTES_MAX: Final = 16_384
"""Maximum number of bytes between two pieces of a body: a chunk's size and extension. llhttp also
buffers whole trailer lines, so a long one must not arrive in small pieces without a limit."""
_CHUNKED: Final = "chunked"
_CHUNKS_FOLLOW: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST_CHUNK: Final = re.compile(rb"(?:^|\n)0+[ \t]*(?:;[^\n]*)?\r?\n\r?\Z")
_LAST_CHUNK_BYTES: Final = 64
_LENGTH: Final = re.compile(r"\d{1,15}")
_FOLDS: Final = frozenset({"", " ", "\t", "\r"})
"""First characters of a line that is not a header: a folded line or the blank last line."""
_SPACE: Final = " \t\r"
_ONLY_ONE: Final = frozenset({"content-type", "location"})
"""Headers whose values form no list: the first one counts."""


_FORGIVEN: Final = (UnreadableAnswerError, OSError, httptools.HttpParserError, zlib.error)
"""Errors that are ignored in the body of a redirect, which is never read."""


class _Place(enum.Enum):
    """Position in a chunked body."""

    OUTSIDE = enum.auto()
    SIZE_READ = enum.auto()
    INSIDE = enum.auto()
    BETWEEN = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Maximum sizes of a request and its response."""

    headers_count: int = 1_000
    """Maximum number of header lines of a response."""
    headers_bytes: int = 262_144
    """Maximum size of a response's heads. Large pages send policies and cookies of tens of
    kilobytes; Chrome has the same limit."""
    wire_bytes: int = 2 * 1024 * 1024
    """Maximum size of the encoded body. The framing of chunks may add as much again."""
    chunks_count: int = 65_536
    """Maximum number of chunks; each costs a microsecond. With this number, the chunks of the
    longest body have 32 bytes each."""
    body_bytes: int = 2 * 1024 * 1024
    """Maximum size of the decoded body: a 261 kB gzip body can decode to 256 MiB (measured)."""
    request_bytes: int = 262_144
    """Maximum size of a request's body."""


class ResponseParser:
    """The listener that parses a provider's response into a `Reply`, within the limits.

    Args:
        path: Path of the request, for cookies without a path.
        limits: Maximum sizes.
        ends_with_head: Whether the response has no body, as the response to HEAD.
        refusal: A status whose body is not read (407 of a proxy), if there is one.
    """

    is_begun = False
    """Whether the head of the final response was read."""
    _reply: Reply | None = None
    _error: BaseException | None = None
    _is_over = False
    _head_count = 0
    _status = 0
    _body: Body | None = None
    _chunks: httptools.HttpResponseParser | None = None
    _left: int | None = None
    _place = _Place.OUTSIDE
    _tail = b""
    _wire_bytes = _all_bytes = _framing_bytes = _chunks_read = 0

    def __init__(
        self, *, path: str, limits: Limits, ends_with_head: bool, refusal: int | None = None
    ) -> None:
        self._path = path
        self._limits = limits
        self._ends_with_head = ends_with_head
        self._refusal = refusal
        self._heard: bytes | bytearray | None = None
        self._heads = Heads()
        self._headers: dict[str, str] = {}
        self._cookies: list[Cookie] = []

    @property
    def is_over(self) -> bool:
        """Whether there is a reply or an error."""
        return self._is_over

    def feed(self, data: bytes) -> bool:
        """Parse some bytes; return whether the response is complete or has failed."""
        if self._is_over:
            return True
        try:
            if not self.is_begun:
                data = self._read_heads(data)
            if data and not self._is_over:
                self._read_body(data)
        except httptools.HttpParserCallbackError as caught:
            self._fail(caught.__context__ or caught)  # The error that an `on_` method raised.
        except Exception as caught:  # noqa: BLE001  `result` raises it in the exchange
            self._fail(caught)
        return self._is_over

    def end(self, error: Exception | None) -> None:
        """Receive the end of the connection, which ends a body without a length.

        It also ends a chunked body after a complete chunk: some servers omit the last chunk.
        """
        if self._is_over:
            return
        if error is None and self._is_whole():
            try:
                self._finish()
            except Exception as caught:  # noqa: BLE001  as in `feed`
                self._fail(caught)
        else:
            self._fail(error or ConnectionResetError())

    def _is_whole(self) -> bool:
        """Whether the response is complete if the connection ends here."""
        if self._body is None or self._left is not None:
            return False
        if self._chunks is None:
            return not self._body.is_cut
        if self._place is _Place.BETWEEN:
            return self._tail.endswith(b"\n")
        return self._place is _Place.SIZE_READ and _LAST_CHUNK.search(self._tail) is not None

    def head(self) -> Reply | None:
        """Return what was read before the body, ``None`` if not even that was."""
        if not self.is_begun:
            return None
        return Reply(status=self._status, headers=self._headers, cookies=tuple(self._cookies))

    def result(self) -> Reply:
        """Return the reply.

        Raises:
            UnreadableAnswerError: It is too large, in an unsupported encoding, or no final answer
                at all.
            Exception: The parser's or the decoder's own error, or the connection's.
        """
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # Breaks the cycle of exception, traceback and this object.
        assert self._reply is not None
        return self._reply

    # Heads

    def _read_heads(self, data: bytes) -> bytes:
        """Parse complete heads, informational (1xx) ones included; return the bytes after them."""
        heads = self._heads
        heard = self._append(data)
        while (head := heads.next_of(heard)) is not None:
            self._check_size(heads.end)
            found = _STATUS.match(head)
            if found is None:
                raise _not_http()
            status = self._status = int(found[1])
            lines = _header_lines(head)
            self._head_count += len(lines)
            if self._head_count > self._limits.headers_count:
                raise too_large()
            if status not in _INFORMATIONAL:
                self._heard = None
                self._begin(lines)
                return bytes(heard[heads.end :])
            if status == _SWITCHING:  # The connection would change its protocol.
                raise unreadable()
        if heads.is_hopeless:
            raise _not_http()
        self._check_size(len(heard))
        return b""

    def _append(self, data: bytes) -> bytes | bytearray:
        """Return all bytes received so far; most heads arrive in one piece and need no copy."""
        if self._heard is None:
            self._heard = data
        elif isinstance(self._heard, bytes):
            self._heard = bytearray(self._heard) + data
        else:
            self._heard += data
        return self._heard

    def _check_size(self, head_bytes: int) -> None:
        if head_bytes > self._limits.headers_bytes:
            raise too_large()

    def _begin(self, lines: list[tuple[str, str]]) -> None:
        """Process the head of the final response and determine the length of its body."""
        self.is_begun = True
        headers = self._headers
        for name, value in lines:
            if name == "set-cookie" and (cookie := parse_set_cookie(value, path=self._path)):
                self._cookies.append(cookie)
            if name not in headers:
                headers[name] = value
            elif name not in _ONLY_ONE:
                headers[name] = f"{headers[name]}, {value}"
        if self._ends_with_head or self._status in _WITHOUT_BODY or self._status == self._refusal:
            self._finish()
            return
        transfer = headers.get("transfer-encoding", "")
        encodings = headers.get("content-encoding", "")
        if transfer and transfer != _CHUNKED:
            encodings = f"{encodings},{transfer}"
        self._body = Body(encodings, self._limits.body_bytes)
        if transfer and _CHUNKED in transfer.lower():  # Overrides Content-Length (RFC 9112, 6.3).
            self._chunks = httptools.HttpResponseParser(self)
            self._chunks.set_dangerous_leniencies(
                lenient_optional_cr_before_lf=True,
                lenient_spaces_after_chunk_size=True,
            )
            self._chunks.feed_data(_CHUNKS_FOLLOW)
            return
        self._left = _length(headers.get("content-length", ""))
        if self._left == 0:
            self._finish()

    # Bodies

    def _read_body(self, data: bytes) -> None:
        if self._chunks is not None:
            self._read_chunks(data)
        elif self._left is None:
            self.on_body(data)
        else:
            data = data[: self._left]
            self._left -= len(data)
            self.on_body(data)
            if self._left == 0:
                self._finish()

    def _read_chunks(self, data: bytes) -> None:
        """Pass some bytes to llhttp, which calls the ``on_`` methods.

        llhttp makes no call during a long chunk extension. So this method limits the bytes since
        the last call and the bytes of the whole body.
        """
        assert self._chunks is not None
        self._framing_bytes += len(data)
        self._all_bytes += len(data)
        self._tail = (self._tail + data)[-_LAST_CHUNK_BYTES:]
        try:
            self._chunks.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError:
            if self._place is not _Place.SIZE_READ:
                raise
            self._finish()  # At this position only trailer lines can be invalid.
        most = 2 * self._limits.wire_bytes
        if self._framing_bytes > _FRAMING_BYTES_MAX or self._all_bytes > most:
            raise too_large()

    def on_chunk_header(self) -> None:
        """Record that a chunk's size was read."""
        self._place = _Place.SIZE_READ

    def on_chunk_complete(self) -> None:
        """Record that a chunk was read."""
        self._place, self._framing_bytes = _Place.BETWEEN, 0
        self._chunks_read += 1
        if self._chunks_read > self._limits.chunks_count:
            raise too_large()

    def on_body(self, data: bytes) -> None:
        """Decode a part of the body."""
        if self._body is None:
            return
        self._place, self._framing_bytes = _Place.INSIDE, 0
        self._wire_bytes += len(data)
        if self._wire_bytes > self._limits.wire_bytes:
            raise too_large()
        self._body.feed(data)

    def on_header(self, _name: bytes, _value: bytes) -> None:
        """Finish the reply at a trailer line, because it shows that the body is complete."""
        if self._place is _Place.SIZE_READ:
            self._finish()

    def on_message_complete(self) -> None:
        """Finish the reply."""
        self._finish()

    # The end

    def _finish(self) -> None:
        if not self._is_over:
            self._set_reply(self._body.finish() if self._body is not None else b"")

    def _set_reply(self, body: bytes) -> None:
        self._reply = Reply(
            status=self._status, headers=self._headers, cookies=tuple(self._cookies), body=body
        )
        self._close()

    def _fail(self, error: BaseException) -> None:
        """Record an error; after a complete response it is ignored."""
        if self._is_over:
            return
        redirects = self._status in _REDIRECTS and "location" in self._headers
        if redirects and self._body is not None and isinstance(error, _FORGIVEN):
            self._set_reply(self._body.read())
            return
        self._error = error
        self._close()

    def _close(self) -> None:
        self._is_over = True
        self._chunks = None  # Breaks its reference cycle with this object.
        self._body = None


def _header_lines(head: bytes) -> list[tuple[str, str]]:
    """Return names and values; folded lines are joined, lines that are no headers are dropped."""
    found: list[tuple[str, str]] = []
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        if line[:1] in _FOLDS:
            if line.strip(_SPACE) and found:
                name, value = found[-1]
                found[-1] = name, f"{value} {line.strip(_SPACE)}"
            continue
        name, colon, value = line.partition(":")
        if colon and (name := name.rstrip(_SPACE)):
            found.append((name.lower(), value.strip(_SPACE)))
    return found


def _length(value: str) -> int | None:
    """Return the number in Content-Length; ``None`` without one: the connection's end counts.

    Raises:
        UnreadableAnswerError: Two numbers: clients differ in what they read then, or refuse it.
    """
    if _LENGTH.fullmatch(value):
        return int(value)
    numbers = {int(word) for word in map(str.strip, value.split(",")) if _LENGTH.fullmatch(word)}
    if len(numbers) > 1:
        raise unreadable()
    return next(iter(numbers), None)


def _not_http() -> UnreadableAnswerError:
    return UnreadableAnswerError("The provider's answer is not HTTP.")
